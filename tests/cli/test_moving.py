"""``import`` and ``export``."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ialstore import Message, PartialWriteError, Role, UnavailableError, open_store
from ialstore.cli.exits import ExitCode
from ialstore.formats import write_jsonl
from ialstore.registry import register
from ialstore_backends.memory import MemoryConversationStore

Run = Callable[..., Any]

DATA = os.environ.get("IALSTORE_DATA")
ODD = [
    "",
    " \n\t two\r\nlines\r ",
    "\x00\x1b[31m\x7f\x85\u2028\u2029\u202e\ufeff\uffff",
    'quotes " and \\ and </script>',
    "e\u0301 \u00e9 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U000e0041",
    "x" * 100_000,
]
OPENAI = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]}
LOCOMO = {
    "sample_id": "conv-1",
    "conversation": {
        "speaker_a": "Ann",
        "speaker_b": "Ben",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [{"speaker": "Ann", "dia_id": "D1:1", "text": "Hello Ben"}],
    },
}
LINE = {
    "user_id": "u",
    "session_id": "s",
    "role": "user",
    "created_at": "2026-01-01T00:00:00Z",
    "content": "hello",
}


@pytest.fixture
def odd(folder: Path) -> list[Message]:
    """Messages of two users with everything a message can have, in the file odd.jsonl."""
    messages = [
        Message.new(
            user_id=user,
            session_id=f"ses\u00efon {user}",
            role=role,
            content=text,
            payload={"b": [1, 1.0, None, text], "a": {"deep": [True]}},
            name="n",
            turn_id="t",
            source_id="x",
            summary="in short",
            tokens=7,
            metadata={"k": {"z": 1, "a": 2.5}},
        )
        for user in ("u#1", "\u00fc/2")
        for role, text in zip(Role, ODD, strict=True)
    ]
    with (folder / "odd.jsonl").open("w", encoding="utf-8") as stream:
        write_jsonl(messages, stream)
    return messages


def stored(url: str, user: str) -> list[Message]:
    """Return all messages of a user, oldest first."""
    with open_store(url) as store:
        return list(store.history(user, newest_first=False, limit=1000))


def test_export_and_import_give_equal_messages(run: Run, odd: list[Message]) -> None:
    assert run("import", "odd.jsonl", "--url", "sqlite:///a.db").code == 0
    assert run("export", "--url", "sqlite:///a.db", "-o", "out.jsonl").code == 0
    assert run("import", "out.jsonl", "--url", "sqlite:///b.db").code == 0
    for user in ("u#1", "\u00fc/2"):
        expected = [message for message in odd if message.user_id == user]
        assert stored("sqlite:///a.db", user) == stored("sqlite:///b.db", user) == expected


def test_an_export_on_standard_output_is_the_same_and_steers_no_terminal(
    run: Run, odd: list[Message]
) -> None:
    run("import", "odd.jsonl", "--url", "sqlite:///a.db")
    text = run("export", "--url", "sqlite:///a.db").out
    assert not set("\x00\x1b\x7f\x85\u202e").intersection(text)
    assert run("import", "-", "--url", "sqlite:///b.db", stdin=text).code == 0
    assert stored("sqlite:///b.db", "u#1") == odd[:6]


@pytest.mark.usefixtures("odd")
def test_importing_twice_stores_nothing_twice(run: Run) -> None:
    args = ("import", "odd.jsonl", "--url", "sqlite:///a.db")
    assert run(*args).out.startswith("stored 12 messages, 0 already there; 2 users, 2 sessions, ")
    assert run(*args).out.startswith("stored 0 messages, 12 already there; 2 users, 2 sessions, ")
    document = run(*args, "--json").json
    assert document.pop("seconds") >= 0
    assert document == {
        "format": "jsonl",
        "stored": 0,
        "duplicates": 12,
        "conflicts": [],
        "users": 2,
        "sessions": 2,
        "assumed_at": None,
        "expired": 0,
    }


@pytest.mark.skipif(DATA is None, reason="IALSTORE_DATA does not name the folder of locomo6.json")
def test_the_locomo_conversations_are_imported_once_and_answer(run: Run) -> None:
    file = Path(DATA or "") / "locomo6.json"
    args = ("import", file, "--format", "locomo", "--url", "sqlite:///locomo.db", "--json")
    first = run(*args).json
    assert (first["stored"], first["duplicates"], first["users"]) == (3435, 0, 6)
    again = run(*args).json
    assert (again["stored"], again["duplicates"], again["users"]) == (0, 3435, 6)
    counts = run("stats", "--url", "sqlite:///locomo.db", "--json").json["items"]
    assert sum(one["messages"] for one in counts) == 3435
    answer = run(
        "context",
        *("--user", "conv-26", "--url", "sqlite:///locomo.db"),
        "When did Caroline go to the LGBTQ support group?",
    )
    assert answer.code == 0
    assert "LGBTQ support group yesterday" in answer.out


@pytest.mark.parametrize(
    ("text", "options", "kind"),
    [
        pytest.param(json.dumps(LINE), [], "jsonl", id="a line"),
        pytest.param(
            "\ufeff\n\n" + f"{json.dumps(LINE)}\n" * 2, [], "jsonl", id="after blank lines"
        ),
        pytest.param(json.dumps(LOCOMO), [], "locomo", id="a conversation"),
        pytest.param(json.dumps([LOCOMO], indent=1), [], "locomo", id="conversations over lines"),
        pytest.param(json.dumps(LOCOMO["conversation"]), ["-u", "x"], "locomo", id="a bare one"),
        pytest.param(json.dumps(OPENAI), ["-u", "x"], "openai", id="a chat"),
        pytest.param(json.dumps(OPENAI, indent=1), ["-u", "x"], "openai", id="a chat over lines"),
        pytest.param(json.dumps(OPENAI["messages"]), ["-u", "x"], "openai", id="bare messages"),
        pytest.param(json.dumps([OPENAI["messages"]]), ["-u", "x"], "openai", id="lists of them"),
        pytest.param(f"{json.dumps(OPENAI)}\n" * 2, ["-u", "x"], "openai", id="lines of chats"),
    ],
)
def test_the_format_is_recognized(
    run: Run, folder: Path, text: str, options: list[str], kind: str
) -> None:
    (folder / "given").write_text(text, encoding="utf-8")
    from_file = run("import", "given", "--url", "memory:", "--json", *options)
    assert from_file.code == 0, from_file.err
    assert from_file.json["format"] == kind
    assert from_file.json["stored"] > 0
    piped = run("import", "-", "--url", "memory:", "--json", *options, stdin=text)
    assert piped.json["format"] == kind
    said = run("import", "given", "--url", "memory:", "--format", kind, *options)
    assert said.code == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"a": 1}', "[" * 100_000], ids=lambda text: repr(text[:8])
)
def test_a_format_that_is_not_recognized_has_to_be_said(run: Run, folder: Path, text: str) -> None:
    (folder / "given").write_text(text)
    result = run("import", "given", "--url", "memory:")
    assert result.code == ExitCode.USAGE
    assert result.err == (
        "error: the format of given is not recognized; say which it is: "
        "--format jsonl, locomo, openai\n"
    )


def test_an_empty_file_of_lines_holds_nothing(run: Run, folder: Path) -> None:
    (folder / "given.jsonl").write_text("\n \n")
    result = run("import", "given.jsonl", "--url", "memory:")
    assert result.out.startswith("stored 0 messages, 0 already there; 0 users, 0 sessions, ")


def test_a_broken_line_is_named(run: Run, folder: Path) -> None:
    (folder / "given.jsonl").write_text('{"a": \n')
    result = run("import", "given.jsonl", "--url", "memory:")
    assert result.code == ExitCode.USAGE
    assert result.err.startswith("error: line 1: not JSON")


def test_what_stands_before_a_broken_line_is_kept(run: Run, folder: Path) -> None:
    lines = [json.dumps({**LINE, "content": str(number)}) for number in range(150)]
    (folder / "given.jsonl").write_text("\n".join([*lines, '{"broken": ']))
    result = run("import", "given.jsonl", "--url", "sqlite:///a.db")
    assert result.code == ExitCode.USAGE
    warning, error = result.err.splitlines()
    assert warning == (
        "warning: 100 messages were imported before the error; "
        "importing the file again goes on from there"
    )
    assert error.startswith("error: line 151: not JSON")
    (folder / "given.jsonl").write_text("\n".join(lines))
    assert run("import", "given.jsonl", "--url", "sqlite:///a.db", "--json").json["stored"] == 50


@pytest.mark.parametrize("kind", ["jsonl", "locomo", None])
def test_a_file_that_is_not_utf_8_is_refused(run: Run, folder: Path, kind: str | None) -> None:
    (folder / "given").write_bytes(b"\xff\xfe{}")
    options = () if kind is None else ("--format", kind)
    result = run("import", "given", "--url", "memory:", *options)
    assert result.code == ExitCode.USAGE
    assert "not UTF-8" in result.err or "not utf-8" in result.err


def test_a_missing_file_is_named(run: Run) -> None:
    result = run("import", "none.jsonl", "--url", "memory:")
    assert result.code == ExitCode.USAGE
    assert result.err == "error: there is no file none.jsonl; - reads standard input\n"


def test_a_folder_is_no_file(run: Run) -> None:
    result = run("import", ".", "--url", "memory:")
    assert result.code == ExitCode.STORE
    assert result.err == "error: .: Is a directory\n"


def test_a_chat_needs_a_user(run: Run) -> None:
    result = run("import", "-", "--url", "memory:", stdin=json.dumps(OPENAI))
    assert result.code == ExitCode.USAGE
    assert "--user" in result.err


@pytest.mark.parametrize(
    ("options", "session", "year"),
    [
        ([], "talk-1", "2000"),
        (["--session", "s"], "s", "2000"),
        (["--at", "2025-12-24"], "talk-1", "2025"),
    ],
)
def test_a_chat_is_named_after_its_file_and_dated_by_the_caller(
    run: Run, folder: Path, options: list[str], session: str, year: str
) -> None:
    (folder / "talk.json").write_text(json.dumps(OPENAI))
    run("import", "talk.json", "--url", "sqlite:///a.db", "--user", "x", *options)
    messages = stored("sqlite:///a.db", "x")
    assert {message.session_id for message in messages} == {session}
    assert {f"{message.created_at:%Y}" for message in messages} == {year}


ROLES_ONLY = '{"role": "user", "content": "Hi"}\n{"role": "assistant", "content": "Yes?"}\n'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            [],
            (
                "format openai (recognized); session my-1; "
                "dated 2000-01-01 00:00:00 UTC, as the file gives no time; --at TIME sets it"
            ),
        ),
        (
            ["--at", "2026-05-01", "--session", "s"],
            "format openai (recognized); session s; dated 2026-05-01 00:00:00 UTC, by --at",
        ),
        (
            ["--at", "2026-05-01", "--session", "s", "--format", "jsonl"],
            "format jsonl; session s; dated 2026-05-01 00:00:00 UTC, by --at",
        ),
    ],
)
def test_an_import_says_how_it_understood_the_file(
    run: Run, folder: Path, options: list[str], said: str
) -> None:
    (folder / "my.jsonl").write_text(ROLES_ONLY)
    args = ("import", "my.jsonl", "--url", "sqlite:///a.db", "--user", "x", *options)
    first, second = run(*args).out.splitlines()
    assert first.startswith("stored 2 messages, 0 already there")
    assert second == said
    again = run(*args, "--json").json
    assert (again["stored"], again["duplicates"]) == (0, 2)
    assert again["assumed_at"] == f"{said.split('dated ')[1][:10]}T00:00:00.000000Z"


def test_only_some_of_many_sessions_are_named(run: Run) -> None:
    lines = [json.dumps(LINE | {"session_id": f"s{number}"}) for number in range(7)]
    result = run("import", "-", "--url", "memory:", stdin="\n".join(lines))
    assert result.out.endswith("format jsonl (recognized); sessions s0, s1, s2, s3, s4, ...\n")


def test_a_second_chat_gets_a_number_and_the_first_keeps_its_name(run: Run) -> None:
    args = ("import", "-", "--url", "sqlite:///a.db", "--user", "x", "--session", "s", "--json")
    assert run(*args, stdin=json.dumps([OPENAI])).json["stored"] == 2
    grown = run(*args, stdin=json.dumps([OPENAI, OPENAI])).json
    assert (grown["stored"], grown["duplicates"]) == (2, 2)
    assert {message.session_id for message in stored("sqlite:///a.db", "x")} == {"s", "s-2"}


def test_lines_without_a_time_take_the_given_one_in_their_order(run: Run) -> None:
    lines = [json.dumps({**LINE, "created_at": None, "content": str(n)}) for n in range(3)]
    args = ("import", "-", "--url", "sqlite:///a.db", "--at", "2026-05-01", "--json")
    run(*args, stdin="\n".join(lines[:2]))
    grown = run(*args, stdin="\n".join(lines)).json
    assert (grown["stored"], grown["duplicates"]) == (1, 2)
    messages = stored("sqlite:///a.db", "u")
    assert [message.content for message in messages] == ["0", "1", "2"]
    assert [f"{message.created_at:%Y-%m-%d %f}" for message in messages] == [
        "2026-05-01 000000",
        "2026-05-01 000001",
        "2026-05-01 000002",
    ]


def test_a_time_that_is_not_needed_is_refused_or_said(run: Run) -> None:
    args = ("import", "-", "--url", "sqlite:///a.db", "--user", "x", "--at", "2026-05-01")
    for given in (LOCOMO, {**OPENAI, "created": 1}):
        result = run(*args, stdin=json.dumps(given))
        assert result.code == ExitCode.USAGE
        assert result.err.endswith("leave out --at\n")
    assert not Path("a.db").exists()
    dated = run(*args, stdin=json.dumps(LINE))
    assert dated.code == 0
    assert dated.err == (
        "warning: every message in the file has its own time; --at was not needed\n"
    )


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        (
            json.dumps(OPENAI),
            [],
            (
                "warning: 2 of these are already expired (retention_days = 30) "
                "and will not be shown; give --at with a later time\n"
            ),
        ),
        (
            json.dumps({**LINE, "created_at": "2001-01-01T00:00:00Z"}),
            [],
            "warning: 1 of these are already expired (retention_days = 30) and will not be shown\n",
        ),
        (json.dumps({**LINE, "expires_at": "2999-01-01T00:00:00Z"}), [], ""),
    ],
)
def test_messages_that_arrive_expired_are_counted(
    run: Run, folder: Path, given: str, options: list[str], said: str
) -> None:
    (folder / "r.toml").write_text('[conversation]\nurl = "memory:"\nretention_days = 30\n')
    args = ("import", "-", "--config", "r.toml", "--user", "x", *options)
    assert run(*args, stdin=given).err == said
    assert run(*args, "--json", stdin=given).json["expired"] == int("0" + said[9:10])


def test_messages_with_an_expiry_of_their_own_in_the_past_are_counted(run: Run) -> None:
    line = json.dumps({**LINE, "expires_at": "2026-01-02T00:00:00Z"})
    result = run("import", "-", "--url", "memory:", stdin=line)
    assert result.err == "warning: 1 of these are already expired and will not be shown\n"


@pytest.mark.parametrize("name", ["none.jsonl", "broken.jsonl", "binary.jsonl", "odd.txt", "."])
def test_an_import_that_fails_at_its_beginning_makes_no_database(
    run: Run, folder: Path, name: str
) -> None:
    (folder / "broken.jsonl").write_text('{"role": "user", \n')
    (folder / "binary.jsonl").write_bytes(b"\xff\xfe")
    (folder / "odd.txt").write_text("hello")
    assert run("import", name, "--url", "sqlite:///a.db").code != 0
    assert not list(folder.glob("a.db*"))


def test_the_example_of_the_document_is_imported(run: Run) -> None:
    document = Path(__file__).parents[2].joinpath("docs", "formats.md").read_text(encoding="utf-8")
    example = document.split("<!-- example -->\n```json\n")[1].split("```")[0]
    args = ("import", "-", "--url", "sqlite:///a.db", "--json")
    assert run(*args, stdin=example).json["stored"] == 2
    assert run(*args, stdin=example).json["duplicates"] == 2


def test_the_document_names_every_key_of_a_line() -> None:
    document = Path(__file__).parents[2].joinpath("docs", "formats.md").read_text(encoding="utf-8")
    for key in ("id", "created_at", *(one.name for one in fields(Message))):
        assert f"\n| `{key}` |" in document


def test_a_message_with_other_content_is_left_and_the_rest_stored(
    run: Run, folder: Path, odd: list[Message]
) -> None:
    run("import", "odd.jsonl", "--url", "sqlite:///a.db")
    lines = (folder / "odd.jsonl").read_text(encoding="utf-8").splitlines()
    changed = json.loads(lines[1]) | {"content": "forged"}
    new = json.dumps(LINE | {"user_id": "u#1"})
    (folder / "changed.jsonl").write_text("\n".join([lines[0], json.dumps(changed), new]))
    result = run("import", "changed.jsonl", "--url", "sqlite:///a.db", "--json")
    assert result.code == ExitCode.CONFLICT
    assert (result.json["stored"], result.json["duplicates"]) == (1, 1)
    assert result.json["conflicts"] == [odd[1].id]
    assert "1 message stored with other content" in result.err
    assert odd[1] in stored("sqlite:///a.db", "u#1")


def test_an_id_twice_in_a_file_with_other_content_keeps_the_first(run: Run, folder: Path) -> None:
    message = Message.new(user_id="u", session_id="s", role="user", content="first")
    with (folder / "twice.jsonl").open("w") as stream:
        write_jsonl([message, message], stream)
    text = (folder / "twice.jsonl").read_text()
    text += text.splitlines()[0].replace('"first"', '"second"')
    result = run("import", "-", "--url", "sqlite:///a.db", "--json", stdin=text)
    assert (result.json["stored"], result.json["duplicates"]) == (1, 1)
    assert result.json["conflicts"] == [message.id]
    assert stored("sqlite:///a.db", "u") == [message]


def test_messages_of_users_in_turn_are_stored_in_few_calls(run: Run) -> None:
    calls: list[int] = []

    class Counting(MemoryConversationStore):
        def _append(self, op: Any, user_id: str, entries: Any) -> Any:
            calls.append(len(entries))
            return super()._append(op, user_id, entries)

    register("conversation", "counting", Counting)
    lines = [
        json.dumps(LINE | {"user_id": f"u{number % 30}", "content": str(number)})
        for number in range(4000)
    ]
    result = run("import", "-", "--url", "counting:", "--no-index", stdin="\n".join(lines))
    assert result.out.startswith("stored 4,000 messages")
    assert sum(calls) == 4000
    assert len(calls) <= 60
    assert max(calls) <= 100


def test_large_messages_are_stored_in_calls_of_4_mib(run: Run) -> None:
    text = "x" * 900_000
    lines = [json.dumps(LINE | {"content": f"{number}{text}"}) for number in range(6)]
    result = run("import", "-", "--url", "memory:", "--no-index", stdin="\n".join(lines))
    assert result.out.startswith("stored 6 messages")


class Partial(MemoryConversationStore):
    """Writes a batch in part, in the ways told."""

    ways: ClassVar[list[dict[str, int]]] = []

    def _append(self, op: Any, user_id: str, entries: Any) -> Any:
        if not self.ways:
            return super()._append(op, user_id, entries)
        ids = [entry.message.id for entry in entries]
        groups: dict[str, Any] = {}
        for name, number in self.ways.pop(0).items():
            groups[name], ids = ids[:number], ids[number:]
        super()._append(op, user_id, entries[: len(groups.get("stored", ()))])
        raise PartialWriteError("written in part; try again", **groups)


@pytest.mark.parametrize(
    ("ways", "code", "counts"),
    [
        ([{"stored": 1, "conflicting": 1, "not_stored": 2}], 4, (3, 0, 1)),
        ([{"stored": 2, "conflicting": 2}], 4, (2, 0, 2)),
        (
            [
                {"stored": 1, "conflicting": 1, "unknown": 2},
                {"duplicates": 1, "conflicting": 2},
            ],
            4,
            (1, 0, 3),
        ),
    ],
)
def test_a_batch_in_conflict_is_completed(
    run: Run, ways: list[dict[str, int]], code: int, counts: tuple[int, int, int]
) -> None:
    register("conversation", "partial", Partial)
    Partial.ways = ways
    lines = [json.dumps(LINE | {"content": str(number)}) for number in range(4)]
    args = ("import", "-", "--url", "partial:", "--no-index", "--json")
    result = run(*args, stdin="\n".join(lines))
    assert result.code == code
    document = result.json
    assert (document["stored"], document["duplicates"], len(document["conflicts"])) == counts


def test_a_failing_store_ends_the_import_with_what_was_done(run: Run, folder: Path) -> None:
    register("conversation", "partial", Partial)
    Partial.ways = [{"stored": 3, "not_stored": 1}] * 9  # and the retry wrapper gives up
    (folder / "p.toml").write_text('[conversation]\nurl = "partial:"\nwrap = []\n')
    lines = [json.dumps(LINE | {"content": str(number)}) for number in range(4)]
    args = ("import", "-", "--config", "p.toml", "--no-index")
    result = run(*args, stdin="\n".join(lines))
    assert result.code == ExitCode.CONFLICT
    assert "3 messages were imported before the error" in result.err
    assert result.err.endswith("error: written in part; try again\n")
    Partial.ways = []


def test_an_import_that_stored_nothing_before_an_error_says_nothing_about_it(run: Run) -> None:
    result = run("import", "-", "--url", "memory:", stdin=json.dumps(LINE) + '\n{"broken": ')
    assert result.code == ExitCode.USAGE
    assert result.err.startswith("error: line 2: not JSON")


def test_without_an_index_messages_are_stored_all_the_same(run: Run) -> None:
    run("import", "-", "--url", "sqlite:///a.db", "--no-index", stdin=json.dumps(LINE))
    (counts,) = run("stats", "--url", "sqlite:///a.db", "--json").json["items"]
    assert (counts["messages"], counts["vectors"]) == (1, 0)


def test_export_writes_the_users_and_sessions_asked(run: Run, chat: str) -> None:
    def exported(*options: str) -> list[tuple[str, str]]:
        lines = run("export", "--url", chat, *options).out.splitlines()
        return [(one["user_id"], one["content"][:4]) for one in map(json.loads, lines)]

    assert len(exported()) == 5
    assert exported("-u", "bob") == [("bob", "I lo")]
    assert exported("-u", "bob", "-u", "alice", "-u", "bob", "-s", "trip") == exported("-u", "bob")
    assert exported("-s", "tuesday") == [("alice", "Let "), ("alice", "Glad")]


def test_an_export_of_nothing_says_so(run: Run, chat: str, folder: Path) -> None:
    nobody = run("export", "--url", chat, "-u", "eve", "-o", "x.jsonl")
    assert (nobody.code, nobody.out) == (ExitCode.DIFFERENT, "")
    assert "known: alice, bob" in nobody.err
    for options in ((), ("-u", "bob")):
        nothing = run("export", "--url", chat, "-s", "sunday", "-o", "x.jsonl", *options)
        assert nothing.code == ExitCode.DIFFERENT
    assert not (folder / "x.jsonl").exists()


def test_an_exported_file_is_its_owner_s_alone_and_replaces_another(
    run: Run, chat: str, folder: Path
) -> None:
    file = folder / "out.jsonl"
    file.write_text("before")
    file.chmod(0o644)
    result = run("export", "--url", chat, "-o", file)
    assert result.out == f"wrote 5 messages to {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().splitlines()) == 5
    assert run("export", "--url", chat, "-o", file, "--json").json == {
        "messages": 5,
        "file": str(file),
    }
    assert [one.name for one in folder.iterdir() if "out" in one.name] == ["out.jsonl"]


def test_an_export_that_fails_leaves_the_file_as_it_was(run: Run, folder: Path) -> None:
    class Breaking(MemoryConversationStore):
        def _users(self, op: Any, limit: Any, after: Any) -> Any:
            raise UnavailableError("away")

    register("conversation", "breaking", Breaking)
    (folder / "out.jsonl").write_text("before")
    assert run("export", "--url", "breaking:", "-o", "out.jsonl").code == ExitCode.STORE
    assert (folder / "out.jsonl").read_text() == "before"
    assert [one.name for one in folder.iterdir()] == ["out.jsonl"]


def test_an_export_follows_a_link_and_replaces_no_device(run: Run, chat: str, folder: Path) -> None:
    (folder / "link").symlink_to("target.jsonl")
    assert run("export", "--url", chat, "-o", "link").code == 0
    assert (folder / "link").is_symlink()
    assert (folder / "target.jsonl").is_file()
    assert run("export", "--url", chat, "-o", os.devnull).code == 0
    assert not Path(os.devnull).is_file()


def test_an_export_into_a_missing_folder_is_refused(run: Run, chat: str) -> None:
    result = run("export", "--url", chat, "-o", "none/out.jsonl")
    assert result.code == ExitCode.USAGE
    assert "create it first" in result.err
