"""``check``, ``setup``, ``repair``, ``optimize`` and ``erase``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ialstore import EraseReport, OptimizeReport
from ialstore.cli import main
from ialstore.cli.exits import ExitCode
from ialstore.registry import register
from ialstore_backends.memory import MemoryConversationStore

Run = Callable[..., Any]


class Telling(MemoryConversationStore):
    """Finds differences, leftovers and copies out of reach."""

    SCHEME = "telling"

    def _check(self, op: Any) -> list[str]:
        return ["the table is missing; run ialstore setup"]

    def _erase(self, op: Any, user_id: str) -> EraseReport:
        return EraseReport(messages=2, cached=1, remaining=1, out_of_reach=("backups of the disk",))

    def _optimize(self, op: Any, user_id: str, progress: Any) -> OptimizeReport:
        progress(1, 2)
        return OptimizeReport(1, 4096, ("the rest needs a quiet moment",))


@pytest.fixture(autouse=True)
def telling(folder: Path) -> None:
    register("conversation", "telling", Telling)
    (folder / "telling.toml").write_text(
        '[conversation]\nurl = "telling:"\n[vector]\nurl = "memory:"\n'
    )


def test_check_of_a_good_store_says_so(run: Run, chat: str) -> None:
    result = run("check", "--url", chat)
    assert result.code == 0
    assert result.out == ("conversation: sqlite is as expected\nvector: sqlite is as expected\n")


def test_check_names_differences_and_fails(run: Run) -> None:
    result = run("check", "--config", "telling.toml")
    assert result.code == ExitCode.DIFFERENT
    assert "conversation: telling: the table is missing; run ialstore setup\n" in result.out
    items = run("check", "--config", "telling.toml", "--json").json["items"]
    assert [len(one["differences"]) for one in items] == [1, 0]


def test_check_finds_an_index_made_for_another_embedder(run: Run, chat: str, folder: Path) -> None:
    (folder / "other.toml").write_text(
        f'[conversation]\nurl = "{chat}"\n[embedder]\nuse = "hashing"\ndimension = 64\n'
    )
    result = run("check", "--config", "other.toml")
    assert result.code == ExitCode.DIFFERENT
    assert "vector: sqlite: the index was made for" in result.out


def test_setup_makes_what_is_missing(run: Run, folder: Path) -> None:
    result = run("setup", "--url", "sqlite:///new.db")
    assert result.out == "conversation: sqlite is ready\nvector: sqlite is ready\n"
    assert (folder / "new.db").exists()
    items = run("setup", "--url", "sqlite:///new.db", "--json").json["items"]
    assert items == [
        {"part": "conversation", "backend": "sqlite"},
        {"part": "vector", "backend": "sqlite"},
    ]


def test_repair_indexes_what_was_only_stored(run: Run, chat: str) -> None:
    line = '{"user_id": "bob", "session_id": "s", "role": "user", "content": "hello there", '
    line += '"created_at": "2026-05-01T00:00:00Z"}'
    run("import", "-", "--url", chat, "--no-index", stdin=line)
    assert run("repair", "--url", chat).out == (
        "alice: 4 messages, 0 vectors added, 0 removed\n"
        "bob: 2 messages, 1 vector added, 0 removed\n"
    )
    assert run("repair", "--url", chat, "--user", "bob", "--json").json["items"] == [
        {"user_id": "bob", "messages": 2, "added": 0, "removed": 0}
    ]


def test_optimize_reports_each_part(run: Run) -> None:
    result = run("optimize", "--user", "u", "--config", "telling.toml")
    assert result.out == (
        "conversation: telling: 1 leftover removed, 4,096 bytes given back\n"
        "  the rest needs a quiet moment\n"
        "vector: memory: 0 leftovers removed, 0 bytes given back\n"
    )
    items = run("optimize", "--user", "u", "--config", "telling.toml", "--json").json["items"]
    assert items[0]["reclaimed_bytes"] == 4096


def test_optimize_of_an_unknown_user_names_the_known(run: Run, chat: str) -> None:
    result = run("optimize", "--user", "nobody", "--url", chat)
    assert (result.code, result.out) == (ExitCode.DIFFERENT, "")
    assert result.err == "error: no messages for user nobody; known: alice, bob\n"
    assert run("optimize", "--user", "alice", "--url", chat).code == 0


def test_erase_removes_everything_of_a_user(run: Run, chat: str) -> None:
    result = run("erase", "--user", "alice", "--url", chat, "--yes")
    assert result.code == 0
    assert result.out.startswith("erased 4 messages, 4 vectors, 0 cached entries\n")
    assert run("users", "--url", chat).out == "bob\n"
    again = run("erase", "--user", "alice", "--url", chat, "--yes", "--json")
    assert (again.code, again.json["messages"]) == (0, 0)
    assert "there was nothing of alice; known: bob" in again.err
    run("erase", "--user", "bob", "--url", chat, "--yes")
    assert run("erase", "--user", "bob", "--url", chat, "--yes").err == ""


def test_erase_names_what_it_can_t_reach_and_what_came_back(run: Run) -> None:
    result = run("erase", "--user", "alice", "--config", "telling.toml", "--yes")
    assert result.code == ExitCode.DIFFERENT
    assert result.out == (
        "erased 2 messages, 0 vectors, 1 cached entry\n"
        "out of reach, and may still hold a copy:\n  backups of the disk\n"
    )
    assert result.err.startswith("warning: 1 message written meanwhile")


def test_erase_asks_and_needs_a_terminal_for_it(run: Run, chat: str) -> None:
    result = run("erase", "--user", "alice", "--url", chat, stdin="alice\n")
    assert result.code == ExitCode.USAGE
    assert "--yes" in result.err
    assert run("sessions", "--user", "alice", "--url", chat).code == 0


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard input is a terminal; what is written to this descriptor is typed there."""
    typing, typed = os.openpty()
    with os.fdopen(typed, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield typing
    os.close(typing)


def test_erase_wants_the_user_typed(
    chat: str, terminal: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def answered(typed: str) -> str:
        os.write(terminal, typed.encode())
        code = main(["erase", "--user", "alice", "--url", chat])
        said = capsys.readouterr()
        assert "alice has 4 messages in 2 sessions, 4 vectors, since 2026-03-02" in said.err
        return f"{code} {said.out or said.err.splitlines()[-1]}"

    for refusal in ("bob\n", "y\n", "\n", "\x04"):
        assert answered(refusal).startswith("1 "), refusal
    assert answered("alice\n").startswith("0 erased 4 messages")
