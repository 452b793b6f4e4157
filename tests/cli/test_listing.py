"""``users``, ``sessions``, ``history`` and ``stats``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ialstore import open_store
from ialstore.cli.exits import ExitCode
from ialstore.listing import Rows
from ialstore.registry import register
from ialstore_backends.memory import MemoryConversationStore

Run = Callable[..., Any]

EVIL = "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b5m \u202eturned [bold]plain[/bold] :smile: \x00 end"


def import_line(run: Run, url: str, **fields: Any) -> None:
    """Store one message of carol."""
    record = {
        "user_id": "carol",
        "session_id": "s1",
        "role": "user",
        "created_at": "2026-01-01T10:00:00Z",
        "content": "hello",
    }
    result = run("import", "-", "--url", url, stdin=json.dumps({**record, **fields}))
    assert result.code == 0, result.err


def test_users_lists_the_users(run: Run, chat: str) -> None:
    assert run("users", "--url", chat).out == "alice\nbob\n"
    assert run("users", "--url", chat, "--json").json == {"items": ["alice", "bob"], "cursor": None}


def test_users_lists_those_who_have_vectors(run: Run, chat: str) -> None:
    """Who was left with vectors alone, by a call that was stopped, is found and can be erased."""
    nobody = run("users", "--vectors", "--url", "sqlite:///none.db")
    assert nobody.code == ExitCode.DIFFERENT
    assert run("users", "--vectors", "--url", chat).out == "alice\nbob\n"
    with open_store(chat) as store:
        store.erase("bob")
    assert run("users", "--url", chat).out == "alice\n"
    assert run("users", "--vectors", "--url", chat).out == "alice\nbob\n"
    erased = run("erase", "--user", "bob", "--url", chat, "--yes")
    assert erased.out.startswith("erased 0 messages, 1 vector")
    assert run("users", "--vectors", "--url", chat).out == "alice\n"
    run("erase", "--user", "alice", "--url", chat, "--yes")
    assert "nobody has vectors" in run("users", "--vectors", "--url", chat).err


def test_users_opens_no_index_that_is_not_asked_for(run: Run, chat: str, folder: Path) -> None:
    """Its file may be away, and its embedder large."""
    (folder / "away.toml").write_text(
        f'[conversation]\nurl = "{chat}"\n[vector]\nurl = "faiss:///away"\n'
        '[embedder]\nuse = "callable"\ntarget = "no.such:thing"\ndimension = 8\n'
    )
    assert run("users", "--config", "away.toml").out == "alice\nbob\n"
    assert run("users", "--vectors", "--config", "away.toml").code != 0


def test_a_user_listed_twice_is_counted_once(run: Run, folder: Path) -> None:
    class Repeating(MemoryConversationStore):
        def _users(self, op: Any, limit: int, after: str | None) -> Rows[str]:
            return Rows(["carol"], more=True) if after is None else Rows(["carol", "dave"])

    register("conversation", "repeating", Repeating)
    (folder / "r.toml").write_text('[conversation]\nurl = "repeating:"\n')
    items = run("stats", "--config", "r.toml", "--json").json["items"]
    assert [one["user_id"] for one in items] == ["carol", "dave"]


def test_an_empty_store_says_how_to_fill_it(run: Run) -> None:
    result = run("users", "--url", "memory:")
    assert result.code == ExitCode.DIFFERENT
    assert "ialstore import" in result.err


def test_sessions_lists_the_latest_active_first(run: Run, chat: str) -> None:
    lines = run("sessions", "--user", "alice", "--url", chat).out.splitlines()
    assert [line.split() for line in lines] == [
        ["session", "last", "active"],
        ["tuesday", "2026-03-03", "18:30:07"],
        ["monday", "2026-03-02", "09:00:05"],
    ]
    document = run("sessions", "--user", "alice", "--url", chat, "--json").json
    assert document["items"][0] == {
        "session_id": "tuesday",
        "last_active": "2026-03-03T18:30:07.000000Z",
    }


def test_history_reads_downwards_under_day_and_session(run: Run, chat: str) -> None:
    assert run("history", "--user", "alice", "--url", chat).out == (
        "2026-03-02  monday\n"
        "09:00:00  user\n"
        "          Nuts make my throat swell, mind that.\n"
        "09:00:05  assistant\n"
        "          Noted: you are allergic to nuts.\n"
        "2026-03-03  tuesday\n"
        "18:30:00  user\n"
        "          Let us plan a dinner for Friday.\n"
        "18:30:07  assistant\n"
        "          Gladly. How many guests?\n"
    )


def test_history_shows_the_newest_or_the_oldest(run: Run, chat: str) -> None:
    newest = run("history", "--user", "alice", "--url", chat, "-n", 1)
    assert "guests" in newest.out
    assert newest.err.startswith("older ones: --cursor ")
    oldest = run("history", "--user", "alice", "--url", chat, "-n", 1, "--oldest-first")
    assert "throat" in oldest.out
    assert oldest.err.startswith("newer ones: --cursor ")


@pytest.mark.parametrize("command", ["history", "sessions", "users"])
def test_a_cursor_leads_to_the_next_page(run: Run, chat: str, command: str) -> None:
    args = [command, "--url", chat, *(() if command == "users" else ("--user", "alice")), "-n", 1]
    first = run(*args, "--json").json
    cursor = run(*args).err.split()[-1]
    assert cursor == first["cursor"]
    assert run(*args, "--json", "--cursor", cursor).json["items"] != first["items"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--session", "monday"], 2),
        (["--since", "2026-03-03"], 2),
        (["--until", "2026-03-02T09:00:01+00:00"], 1),
        (["--since", "2026-03-02T09:00:05Z", "--until", "2026-03-03T18:30:07Z"], 2),
    ],
)
def test_history_shows_a_part(run: Run, chat: str, options: list[str], found: int) -> None:
    document = run("history", "--user", "alice", "--url", chat, "--json", *options).json
    assert len(document["items"]) == found


def test_history_gives_programs_every_field(run: Run, chat: str) -> None:
    (message,) = run("history", "-u", "bob", "--url", chat, "--json").json["items"]
    assert list(message) == [
        "id",
        "user_id",
        "session_id",
        "role",
        "created_at",
        "content",
        "payload",
        "name",
        "turn_id",
        "source_id",
        "summary",
        "tokens",
        "metadata",
        "expires_at",
    ]
    assert message["created_at"] == "2026-03-04T12:00:00.000000Z"
    assert message["content"] == "I lost my passport in Lisbon."


@pytest.mark.parametrize("command", ["history", "sessions", "stats"])
def test_an_unknown_user_is_told_who_is_known(run: Run, chat: str, command: str) -> None:
    result = run(command, "--user", "eve", "--url", chat)
    assert (result.code, result.out) == (ExitCode.DIFFERENT, "")
    assert result.err == "error: no messages for user eve; known: alice, bob\n"


def test_only_some_of_many_users_are_named(run: Run) -> None:
    for number in range(7):
        import_line(run, "sqlite:///many.db", user_id=f"user{number}")
    err = run("history", "--user", "eve", "--url", "sqlite:///many.db").err
    assert err.endswith("known: user0, user1, user2, user3, user4, ...\n")


def test_an_empty_store_is_named_as_such(run: Run) -> None:
    assert "the store is empty" in run("history", "--user", "eve", "--url", "memory:").err


def test_a_store_that_lists_no_users_names_none(run: Run) -> None:
    class Silent(MemoryConversationStore):
        CAPABILITIES = replace(MemoryConversationStore.CAPABILITIES, users=False)

    register("conversation", "silent", Silent)
    assert "check the id" in run("history", "--user", "eve", "--url", "silent:").err


def test_when_nothing_matches_the_user_is_not_called_unknown(run: Run, chat: str) -> None:
    result = run("history", "--user", "alice", "--url", chat, "--session", "sunday")
    assert result.code == ExitCode.DIFFERENT
    assert "no message of user alice matches" in result.err


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_time_that_is_none_is_refused_with_an_example(run: Run, chat: str, option: str) -> None:
    result = run("history", "--user", "alice", "--url", chat, option, "yesterday")
    assert result.code == ExitCode.USAGE
    assert result.err.startswith(f"error: {option} must be a time such as 2026-11-22")


def test_stored_text_can_t_steer_a_terminal(run: Run) -> None:
    import_line(run, "sqlite:///evil.db", content=EVIL, name="\x1b[2J", session_id="\x1b[H")
    for args in (
        ["history", "--user", "carol"],
        ["sessions", "--user", "carol"],
        ["search", "--user", "carol", "turned plain"],
        ["context", "--user", "carol", "turned plain"],
    ):
        result = run(*args, "--url", "sqlite:///evil.db")
        assert result.code == 0, result.err
        assert not set("\x00\x07\x1b\x9b\u202e").intersection(result.out + result.err), args
    shown = run("history", "--user", "carol", "--url", "sqlite:///evil.db").out
    assert r"\x1b[31mred\x1b[0m" in shown
    assert r"\u202eturned [bold]plain[/bold] :smile: \x00 end" in shown


def test_an_id_can_t_begin_a_line_of_its_own(run: Run) -> None:
    url = "sqlite:///lines.db"
    import_line(run, url, user_id="a\nroot", session_id="s\r\n1", name="x\n09:00:00  system")
    assert run("users", "--url", url).out == r"a\nroot" + "\n"
    assert r"s\r\n1" in run("sessions", "--url", url, "-u", "a\nroot").out
    shown = run("history", "--url", url, "-u", "a\nroot").out.splitlines()
    assert [line.split("  ")[0] for line in shown] == ["2026-01-01", "10:00:00", ""]
    assert "known: a root" in run("history", "--url", url, "-u", "eve").err


def test_json_escapes_what_could_steer_a_terminal_and_loses_nothing(run: Run) -> None:
    import_line(run, "sqlite:///evil.db", content=EVIL)
    result = run("history", "--user", "carol", "--url", "sqlite:///evil.db", "--json")
    assert not set("\x00\x07\x1b\x9b\u202e").intersection(result.out)
    assert result.json["items"][0]["content"] == EVIL


def test_history_notes_what_is_there_besides_the_text(run: Run) -> None:
    url = "sqlite:///notes.db"
    import_line(run, url, content="", payload={"role": "assistant", "tool_calls": []})
    import_line(run, url, content="b", payload=[1, 2], expires_at="2999-01-01T00:00:00Z")
    import_line(run, url, content="c", payload={}, name="Carol")
    out = run("history", "--user", "carol", "--url", url).out
    assert "user  [payload: role, tool_calls]\n" in out
    assert "user  [payload: 2 items]  [expires 2999-01-01]\n          b\n" in out
    assert "user Carol  [payload: 0 items]\n          c\n" in out


def test_stats_counts_each_user_and_all(run: Run, chat: str) -> None:
    result = run("stats", "--url", chat)
    rows = [line.split("  ") for line in result.out.splitlines()]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows[1:4]] == [
        ["alice", "4", "2", "4", "2026-03-02 09:00:00", "2026-03-03 18:30:07"],
        ["bob", "1", "1", "1", "2026-03-04 12:00:00", "2026-03-04 12:00:00"],
        ["2 users", "5", "3", "5", "2026-03-02 09:00:00", "2026-03-04 12:00:00"],
    ]
    assert result.out.endswith("bytes on disk\n")


def test_stats_of_one_user_for_programs(run: Run, chat: str, folder: Path) -> None:
    document = run("stats", "--user", "bob", "--url", chat, "--json").json
    assert document["items"] == [
        {
            "user_id": "bob",
            "messages": 1,
            "searchable": 1,
            "sessions": 1,
            "vectors": 1,
            "first": "2026-03-04T12:00:00.000000Z",
            "last": "2026-03-04T12:00:00.000000Z",
        }
    ]
    assert document["bytes"] >= (folder / "chat.db").stat().st_size


def test_stats_count_the_bytes_of_an_index_too(run: Run, folder: Path) -> None:
    (folder / "two.toml").write_text(
        '[conversation]\nurl = "sqlite:///two.db"\n[vector]\nurl = "faiss:///two"\n'
    )
    record = {"role": "user", "content": "hello", "created_at": "2026-01-01T10:00:00Z"}
    line = json.dumps({**record, "user_id": "carol", "session_id": "s"})
    assert run("import", "-", "--config", "two.toml", stdin=line).code == 0
    said = run("stats", "--config", "two.toml", "--json").json["bytes"]
    files = [*folder.glob("two.db*"), *(folder / "two").rglob("*")]
    assert said == sum(one.stat().st_size for one in files if one.is_file())


def test_stats_explain_why_there_are_fewer_vectors_than_messages(run: Run, chat: str) -> None:
    import_line(run, chat, role="tool", content="the result")
    import_line(run, chat, role="user", content="?!")
    assert (
        "\n5 of 5 messages that can have vectors: those of user and assistant, with words in "
        in (run("stats", "--url", chat).out)
    )
    line = '{"user_id": "dave", "session_id": "s", "role": "user", "content": "hi there", '
    line += '"created_at": "2026-05-01T00:00:00Z"}'
    run("import", "-", "--url", chat, "--no-index", stdin=line)
    assert (
        "\n0 of 1 message that can have vectors: those of user and assistant, with words in them; "
        in (run("stats", "--url", chat, "-u", "dave").out)
    )


@pytest.mark.parametrize("command", ["history", "sessions", "users"])
@pytest.mark.parametrize("cursor", ["", "damaged", "\u00fc"])
def test_a_damaged_cursor_is_refused_with_what_to_do(
    run: Run, chat: str, command: str, cursor: str
) -> None:
    user = () if command == "users" else ("--user", "alice")
    result = run(command, *user, "--url", chat, "--cursor", cursor)
    assert result.code == ExitCode.USAGE
    assert result.err == "error: the cursor is damaged; start without --cursor\n"


def test_another_error_is_not_blamed_on_the_cursor(run: Run, chat: str) -> None:
    result = run("users", "--url", chat, "--cursor", "damaged", "-n", 0)
    assert result.code == ExitCode.USAGE
    assert "--cursor" not in result.err


def test_stats_of_an_empty_store_are_zero(run: Run) -> None:
    assert run("stats", "--url", "memory:", "--json").json == {"items": [], "bytes": None}
