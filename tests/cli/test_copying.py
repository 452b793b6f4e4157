"""``copy``: one store into another from the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ialstore import open_index, open_store
from ialstore.cli.exits import ExitCode
from ialstore.migrate import Journal
from ialstore_backends.sqlite import SqliteConversationStore

Run = Callable[..., Any]

HELLO = (
    '{{"user_id":"{}","session_id":"s","role":"user","created_at":"{}T00:00:00Z",'
    '"content":"hello you"}}\n'
)
AGREE = "counts and hashes agree for every user"


def fails(*_: object) -> None:
    raise OSError(28, "No space left on device")


def history(url: str, user: str = "alice") -> list[Any]:
    with open_store(url) as store:
        return list(store.history(user, newest_first=False, limit=1000))


def test_conversations_and_vectors_are_copied_and_compared(run: Run, chat: str) -> None:
    result = run("copy", chat, "sqlite:///new.db")
    assert result.code == ExitCode.OK
    assert result.err == ""
    assert result.out.splitlines() == [
        f"conversations: 5 messages of 2 users; 5 stored, 0 replaced, 0 deleted; {AGREE}",
        f"vectors: 5 vectors of 2 users; 5 stored, 0 replaced, 0 deleted; {AGREE}",
    ]
    assert history("sqlite:///new.db") == history(chat)
    question = ("search", "--user", "alice", "nuts", "--json")
    assert run(*question, "--url", chat).out == run(*question, "--url", "sqlite:///new.db").out
    again = run("copy", chat, "sqlite:///new.db").out
    assert "5 messages of 2 users; 0 stored" in again


def test_what_shares_its_conversations_may_move_its_vectors(
    run: Run, chat: str, folder: Path
) -> None:
    for name in ("one", "two"):
        (folder / f"{name}.toml").write_text(
            f'[conversation]\nurl = "{chat}"\n[vector]\nurl = "faiss:///{name}"\n'
        )
    assert run("copy", chat, "faiss:///one").code == 0
    assert "vectors: 5 vectors of 2 users" in run("copy", "one.toml", "two.toml").out
    same = run("copy", "one.toml", "./one.toml")
    assert "FROM and TO are the same" in same.err


def test_only_what_both_keep_is_copied(run: Run, chat: str) -> None:
    copied = run("copy", chat, "faiss:///folder")
    assert copied.out.startswith("vectors: 5 vectors of 2 users")
    assert "TO keeps no conversations: those of FROM are not copied" in copied.err
    with open_index("faiss:///folder") as index:
        assert index.count("alice") == 4
    assert run("copy", "faiss:///folder", "sqlite:///new.db", "--only", "vectors").code == 0
    result = run("copy", chat, "faiss:///folder", "--only", "conversations")
    assert result.code == ExitCode.USAGE
    assert result.err == "error: FROM and TO don't both keep conversations\n"


def test_configuration_files_are_taken_with_their_wrappers_and_embedders(
    run: Run, chat: str, folder: Path
) -> None:
    (folder / "new.toml").write_text(
        '[conversation]\nurl = "sqlite:///new.db"\nwrap = [{use = "namespace", prefix = "n"}]\n'
        '[vector]\nurl = "sqlite:///new.db"\n[embedder]\nuse = "hashing"\ndimension = 64\n'
    )
    result = run("copy", chat, "new.toml")
    assert result.code == ExitCode.USAGE
    assert "the source holds" in result.err
    with open_store("sqlite:///new.db") as store:
        assert list(store.users()) == []  # conversations neither
    assert run("copy", chat, "new.toml", "--only", "conversations").code == ExitCode.OK
    with open_store("sqlite:///new.db") as store:
        assert set(store.users()) == {"n/alice", "n/bob"}


def test_the_embedder_of_a_url_is_that_of_the_configuration(run: Run, folder: Path) -> None:
    (folder / "small.toml").write_text(
        '[conversation]\nurl = "sqlite:///small.db"\n[embedder]\nuse = "hashing"\ndimension = 64\n'
    )
    line = HELLO.format("u", "2026-01-01")
    assert run("import", "-", "--config", "small.toml", stdin=line).code == 0
    refused = run("copy", "sqlite:///small.db", "sqlite:///new.db")
    assert refused.code == ExitCode.USAGE
    assert "the index was made for" in refused.err
    copied = run("copy", "sqlite:///small.db", "sqlite:///new.db", "--config", "small.toml")
    assert copied.code == ExitCode.OK


def test_a_configuration_without_vectors_copies_conversations(
    run: Run, chat: str, folder: Path
) -> None:
    (folder / "old.toml").write_text(f'[conversation]\nurl = "{chat}"\n[vector]\nurl = "memory:"\n')
    (folder / "dynamo.toml").write_text('[conversation]\nurl = "dynamodb://x-?region=us-east-1"\n')
    assert run("copy", "old.toml", "sqlite:///new.db", "--json").json["items"][1]["same"]
    result = run("copy", "dynamo.toml", "faiss:///f")
    assert "don't both keep conversations nor vectors" in result.err


def test_a_dry_run_says_what_there_is_to_do_and_makes_nothing(
    run: Run, chat: str, folder: Path
) -> None:
    result = run("copy", chat, "sqlite:///new.db", "--dry-run")
    assert result.code == ExitCode.OK
    assert result.out.splitlines() == [
        "conversations: 5 messages of 2 users; 5 to store, 0 to replace, 0 only in TO",
        "vectors: 5 vectors of 2 users; 5 to store, 0 to replace, 0 only in TO",
    ]
    assert not {"new.db", "ialstore-copy.journal"} & {one.name for one in folder.iterdir()}
    run("copy", chat, "sqlite:///new.db", "--user", "bob")
    assert (
        "5 messages of 2 users; 4 to store"
        in run("copy", chat, "sqlite:///new.db", "--dry-run").out
    )


def test_a_dry_run_makes_no_folder_either(run: Run, chat: str, folder: Path) -> None:
    result = run("copy", chat, "faiss:///new", "--dry-run", "--only", "vectors")
    assert "5 vectors of 2 users; 5 to store" in result.out
    assert not (folder / "new").exists()
    missing = run("copy", chat, "faiss:///new", "--verify-only", "--only", "vectors")
    assert missing.code == ExitCode.DIFFERENT
    assert "there is no database at faiss:///new; name another TO" in missing.err


def test_verifying_names_the_users_that_differ_and_deletes_nothing(run: Run, chat: str) -> None:
    run("copy", chat, "sqlite:///new.db")
    verified = run("copy", chat, "sqlite:///new.db", "--verify-only")
    assert verified.code == ExitCode.OK
    assert f"conversations: 5 messages of 2 users; {AGREE}" in verified.out
    run("erase", "--user", "bob", "--yes", "--url", chat)
    result = run("copy", chat, "sqlite:///new.db", "--verify-only", "--only", "conversations")
    assert result.code == ExitCode.DIFFERENT
    first, second = result.out.splitlines()
    assert first == "conversations: 4 messages of 2 users; TO differs for 1 user"
    assert second.startswith(
        "  bob: 0 in FROM, 1 in TO: 0 missing, 0 different, 1 only in TO, such as "
    )
    assert result.err == "--delete-extra removes what is only in TO\n"
    assert run("copy", chat, "sqlite:///new.db").code == ExitCode.DIFFERENT
    removed = run("copy", chat, "sqlite:///new.db", "--delete-extra", "--json")
    assert removed.code == ExitCode.OK
    assert [one["deleted"] for one in removed.json["items"]] == [1, 1]
    assert history("sqlite:///new.db", "bob") == []


def test_many_users_that_differ_are_not_all_listed(run: Run) -> None:
    text = "".join(HELLO.format(f"u{n}", "2026-01-01") for n in range(22))
    run("import", "-", "--url", "sqlite:///a.db", stdin=text)
    run("import", "-", "--url", "sqlite:///b.db", stdin=HELLO.format("u0", "2026-01-02"))
    result = run("copy", "sqlite:///a.db", "sqlite:///b.db", "--verify-only", "--only", "vectors")
    assert result.out.splitlines()[-1] == "  and 2 more; --json names all"
    assert result.err.count("\n") == 1  # about the one that only b.db has


def test_json_has_counts_and_hashes_of_every_user_and_no_secret(
    run: Run, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC", "full")
    target = "sqlite:///new.db?synchronous=${SYNC}"
    item = run("copy", chat, target, "--json").json["items"][0]
    users = item.pop("users")
    assert item == {
        "part": "conversation",
        "source": "sqlite:///chat.db",
        "target": "sqlite:///new.db?synchronous=***",
        "same": True,
        "resumed": 0,
        "stored": 5,
        "replaced": 0,
        "deleted": 0,
        "missing": 0,
        "different": 0,
        "extra": 0,
        "expired": 0,
    }
    assert {one["user_id"]: one["source"]["count"] for one in users} == {"alice": 4, "bob": 1}
    assert all(one["source"] == one["target"] and one["same"] for one in users)


def test_users_and_times_narrow_what_is_copied(run: Run, chat: str, folder: Path) -> None:
    (folder / "users").write_text('bob\r\n\n"al\\u0069ce"\n')
    args = ("copy", chat, "sqlite:///new.db", "--only", "conversations")
    result = run(*args, "--users-from", "users", "--user", "alice", "--since", "2026-03-03")
    assert result.out.startswith("conversations: 3 messages of 2 users; 3 stored")
    for text, said in ((b'"x\n', "no JSON text"), (b"\xff", "users is not UTF-8")):
        (folder / "users").write_bytes(text)
        wrong = run(*args, "--users-from", "users")
        assert wrong.code == ExitCode.USAGE
        assert said in wrong.err
    (folder / "users").write_text("")
    assert "0 messages of 0 users" in run(*args, "--users-from", "users").out


def test_a_user_who_is_nowhere_is_an_error_that_names_others(
    run: Run, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("copy", chat, "sqlite:///new.db", "--user", "alice", "--user", "alcie")
    for more in ((), ("--dry-run",), ("--only", "vectors", "--verify-only")):
        result = run(*args, *more)
        assert result.code == ExitCode.DIFFERENT
        assert "1 user" in result.out or "2 users" in result.out
        assert result.err.splitlines()[-1] == (
            "error: neither FROM nor TO has anything of user alcie; known to FROM: alice, bob"
        )
    assert len(history("sqlite:///new.db")) == 4
    monkeypatch.setattr(
        "ialstore_backends.sqlite.SqliteConversationStore.CAPABILITIES",
        replace(SqliteConversationStore.CAPABILITIES, users=False),
    )
    unlisted = run(*args, "--only", "conversations", "--json")
    assert unlisted.error["message"].endswith("user alcie; check the id and FROM")
    assert unlisted.json["items"][0]["same"]


def test_a_user_without_anything_new_or_left_is_no_error(run: Run, chat: str) -> None:
    args = ("copy", chat, "sqlite:///new.db", "--user", "bob")
    for only in ("conversations", "vectors"):
        late = run(*args, "--since", "2027-01-01", "--only", only)
        assert (late.code, late.err) == (ExitCode.OK, "")
    assert run(*args).code == ExitCode.OK
    run("erase", "--user", "bob", "--yes", "--url", chat)
    removed = run(*args, "--delete-extra")
    assert (removed.code, removed.err) == (ExitCode.OK, "")
    assert "1 deleted" in removed.out


def test_a_stopped_copy_that_left_nothing_of_a_user_comes_to_its_end(
    run: Run, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("copy", chat, "sqlite:///new.db", "--user", "bob", "--delete-extra")
    run(*args)
    run("erase", "--user", "bob", "--yes", "--url", chat)
    with monkeypatch.context() as broken:
        broken.setattr(Journal, "finish_user", fails)
        assert run(*args).code == ExitCode.STORE
    run("erase", "--user", "bob", "--yes", "--url", "sqlite:///new.db")
    assert run(*args).code == ExitCode.OK
    assert run(*args).code == ExitCode.DIFFERENT


def test_what_is_older_than_the_target_keeps_is_left_out_with_a_warning(
    run: Run, folder: Path
) -> None:
    line = HELLO.format("u", "2001-01-01")
    run("import", "-", "--url", "sqlite:///a.db", stdin=line)
    (folder / "new.toml").write_text(
        '[conversation]\nurl = "sqlite:///new.db"\nretention_days = 30\n'
    )
    result = run("copy", "sqlite:///a.db", "new.toml", "--only", "conversations")
    assert result.code == ExitCode.OK
    assert "warning: 1 are older than TO keeps them (retention_days) and were left out" in (
        result.err
    )


def test_a_copy_that_was_stopped_goes_on(
    run: Run, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Journal, "finish", fails)
        stopped = run("copy", chat, "sqlite:///new.db", "--only", "conversations")
    assert stopped.code == ExitCode.STORE
    assert "what is copied stays; the same command goes on from there" in stopped.err
    other = run("copy", chat, "sqlite:///new.db", "--only", "conversations", "--user", "bob")
    assert "done before" not in other.out
    again = ("copy", chat, "sqlite:///new.db", "--only", "conversations")
    result = run(*again)
    assert result.err.startswith("going on with what ialstore-copy.journal has")
    assert "5 stored, 0 replaced, 0 deleted, 2 users done before" in result.out
    with monkeypatch.context() as broken:
        broken.setattr(Journal, "finish", fails)
        run(*again)
    assert "done before" not in run(*again, "--restart").out


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        pytest.param(["sqlite:///no.db", "sqlite:///x.db"], 1, "name another FROM", id="no source"),
        pytest.param(
            ["CHAT", "sqlite:///x.db", "--verify-only"], 1, "name another TO", id="no target"
        ),
        pytest.param(["CHAT", "nosuch:///x"], 2, "there is no store or index nosuch", id="odd"),
        pytest.param(["CHAT", "CHAT"], 2, "FROM and TO are the same", id="the same"),
        pytest.param(
            ["sqlite:///no.db", "sqlite:///./no.db"], 2, "FROM and TO are the same", id="one file"
        ),
        pytest.param(
            ["CHAT", "sqlite:///x.db", "--dry-run", "--verify-only"], 2, "not both", id="two modes"
        ),
        pytest.param(["CHAT", "chat.db"], 2, "is not a URL", id="a path"),
        pytest.param(["CHAT", "sqlite:///x.db", "--url", "memory:"], 2, "not by --url", id="url"),
        pytest.param(["CHAT", "no.toml"], 2, "no.toml can't be read", id="no file"),
        pytest.param(["CHAT", "sqlite:///x.db", "--since", "soon"], 2, "--since", id="since"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    run: Run, chat: str, args: list[str], code: int, said: str
) -> None:
    result = run("copy", *(chat if arg == "CHAT" else arg for arg in args))
    assert result.code == code
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not Path("x.db").exists()
