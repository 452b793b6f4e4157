"""``search`` and ``context``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ialstore import open_store
from ialstore.cli.exits import ExitCode
from ialstore.context.engine import ContextEngine
from ialstore.context.model import Timings
from ialstore.embedding import HashingEmbedder
from ialstore.registry import register

Run = Callable[..., Any]


def test_search_shows_the_nearest_first(run: Run, chat: str) -> None:
    result = run("search", "--user", "alice", "--url", chat, "Who is allergic to nuts?")
    first, text = result.out.splitlines()[:2]
    score, *rest = first.split()
    assert 0 < float(score) < 1
    assert rest == ["2026-03-02", "09:00:05", "assistant", "monday"]
    assert text.strip() == "Noted: you are allergic to nuts."


def test_search_gives_programs_whole_messages(run: Run, chat: str) -> None:
    items = run("search", "-u", "alice", "--url", chat, "nuts", "--json", "-k", 2).json["items"]
    assert len(items) == 2
    assert items[0]["score"] >= items[1]["score"]
    assert items[0]["message"]["session_id"] == "monday"
    assert "nuts" in items[0]["message"]["content"].lower()


@pytest.mark.parametrize(
    "command",
    [["search", "-u", "alice", "nuts"], ["context", "-u", "alice", "nuts"], ["config", "check"]],
    ids=lambda command: command[0],
)
def test_a_command_makes_the_embedder_once(
    run: Run, chat: str, folder: Path, command: list[str]
) -> None:
    made: list[HashingEmbedder] = []

    class Counted(HashingEmbedder):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    register("embedder", "counted", Counted)
    (folder / "ialstore.toml").write_text(
        f'[conversation]\nurl = "{chat}"\n[embedder]\nuse = "counted"\n'
    )
    assert run(*command).code == 0
    assert len(made) == 1, "making one may load a model"


@pytest.mark.parametrize(
    ("options", "sessions", "roles"),
    [
        (["--session", "tuesday"], {"tuesday"}, {"user", "assistant"}),
        (["--exclude-session", "tuesday"], {"monday"}, {"user", "assistant"}),
        (["--role", "user"], {"monday", "tuesday"}, {"user"}),
        (["--role", "user", "--role", "assistant"], {"monday", "tuesday"}, {"user", "assistant"}),
        (["--since", "2026-03-03"], {"tuesday"}, {"user", "assistant"}),
        (["--until", "2026-03-02T09:00:05Z"], {"monday"}, {"user"}),
    ],
)
def test_search_considers_a_part(
    run: Run, chat: str, options: list[str], sessions: set[str], roles: set[str]
) -> None:
    items = run("search", "-u", "alice", "--url", chat, "nuts", "--json", *options).json["items"]
    assert {one["message"]["session_id"] for one in items} == sessions
    assert {one["message"]["role"] for one in items} == roles


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["-u", "eve", "nuts"], ExitCode.DIFFERENT, "no messages for user eve; known: alice"),
        (["-u", "alice", "nuts", "-s", "sunday"], ExitCode.DIFFERENT, "no message of user alice"),
        (["-u", "alice", "?!"], ExitCode.USAGE, "no letters or digits"),
        (["-u", "alice", "nuts", "-k", "0"], ExitCode.USAGE, "k must be at least 1"),
    ],
)
def test_search_says_why_there_is_nothing(
    run: Run, chat: str, args: list[str], code: int, said: str
) -> None:
    result = run("search", "--url", chat, *args)
    assert (result.code, result.out) == (code, "")
    assert said in result.err


def test_a_vector_whose_message_is_gone_is_not_shown(run: Run, chat: str) -> None:
    with open_store(chat) as store:
        (message,) = store.history("bob")
        store.delete("bob", [message.id])
    assert run("search", "-u", "bob", "--url", chat, "passport").code == ExitCode.DIFFERENT


def test_search_names_the_remedy_where_vectors_are_missing(
    run: Run, chat: str, folder: Path
) -> None:
    (folder / "split.toml").write_text(
        f'[conversation]\nurl = "{chat}"\n[vector]\nurl = "memory:"\n'
    )
    result = run("search", "-u", "alice", "nuts", "--config", "split.toml")
    assert result.code == ExitCode.DIFFERENT
    assert "alice has messages, and no vectors here; ialstore repair" in result.err


@pytest.mark.parametrize("command", ["search", "context"])
def test_without_an_index_there_is_no_search(run: Run, folder: Path, command: str) -> None:
    write_unindexed(folder)
    result = run(command, "-u", "alice", "nuts", "--config", "plain.toml")
    assert result.code == ExitCode.USAGE
    assert "no vector index is configured" in result.err


def write_unindexed(folder: Path) -> None:
    """Write a configuration whose store keeps no vectors."""
    from ialstore.registry import register
    from ialstore_backends.memory import MemoryConversationStore

    register("conversation", "plain", MemoryConversationStore)
    (folder / "plain.toml").write_text('[conversation]\nurl = "plain:"\n')


def test_parts_without_an_index_are_the_store_alone(run: Run, folder: Path) -> None:
    write_unindexed(folder)
    for command in ("check", "setup"):
        (part,) = run(command, "--config", "plain.toml", "--json").json["items"]
        assert part["part"] == "conversation"
    assert run("config", "check", "--config", "plain.toml", "--json").json["vector"] == {
        "url": None
    }
    line = '{"user_id": "u", "session_id": "s", "role": "user", "content": "hi", '
    line += '"created_at": "2026-01-01T00:00:00Z"}'
    run("import", "-", "--config", "plain.toml", "--no-index", stdin=line)
    assert "vector" not in run("stats", "--config", "plain.toml").err


def test_context_shows_recent_messages_memories_and_what_it_took(run: Run, chat: str) -> None:
    args = ("context", "-u", "alice", "-s", "tuesday", "--url", chat)
    result = run(*args, "Which nuts can I eat?")
    recent, memories = result.out.split("\nMemories\n")
    assert recent.startswith("Recent messages\n2026-03-03  tuesday\n18:30:00  user\n")
    assert "throat" not in recent
    assert "throat swell" in memories
    assert " of 2,000 tokens; " in memories
    assert " ms (store " in memories


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (24.1, "84.2 ms (store 24.1 + embed 0.3 + search 81.8 - 22.0 side by side)"),
        (1.04, "84.2 ms (store 1.0 + embed 0.3 + search 81.8 + other 1.1)"),
    ],
)
def test_the_times_of_a_context_add_up(
    run: Run, chat: str, monkeypatch: pytest.MonkeyPatch, store: float, said: str
) -> None:
    build = ContextEngine.build_context

    def timed(*args: Any, **kwargs: Any) -> Any:
        times = Timings(store_ms=store, embed_ms=0.3, search_ms=81.8, total_ms=84.2)
        return replace(build(*args, **kwargs), timings=times)

    monkeypatch.setattr(ContextEngine, "build_context", timed)
    assert f" tokens; {said}\n" in run("context", "-u", "alice", "--url", chat, "nuts").out


def test_context_names_what_was_left_out(run: Run, chat: str) -> None:
    args = ("context", "-u", "alice", "--url", chat, "nuts", "--max-tokens", "12")
    assert re.search(
        r"\nMemories\nnone\n\n.* of 12 tokens; .*; left out: \d budget\n", run(*args).out
    )
    document = run(*args, "--json").json
    assert document["max_tokens"] == 12
    assert {one["reason"] for one in document["left_out"]} == {"budget"}


def test_context_for_programs(run: Run, chat: str) -> None:
    args = ("context", "-u", "alice", "-s", "tuesday", "--url", chat, "nuts", "--json")
    document = run(*args).json
    assert list(document) == [
        "recent",
        "memories",
        "tokens",
        "max_tokens",
        "timings",
        "units",
        "left_out",
    ]
    assert [one["content"] for one in document["recent"]][-1] == "Gladly. How many guests?"
    assert list(document["memories"][0]) == [
        "id",
        "role",
        "session_id",
        "created_at",
        "score",
        "text",
    ]
    assert set(document["timings"]) == {"store_ms", "embed_ms", "search_ms", "total_ms"}


def test_context_writes_messages_for_a_provider(run: Run, chat: str) -> None:
    args = ("context", "-u", "alice", "-s", "tuesday", "--url", chat, "nuts", "--messages")
    messages = json.loads(run(*args).out)
    assert [message["role"] for message in messages] == ["user", "user", "assistant"]
    assert messages[0]["content"].startswith("[Recalled memories]")


def test_context_of_an_unknown_user_names_the_known(run: Run, chat: str) -> None:
    result = run("context", "-u", "eve", "--url", chat, "nuts")
    assert result.code == ExitCode.DIFFERENT
    assert "known: alice, bob" in result.err
