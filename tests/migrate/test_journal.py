"""``Journal``: what a copy that was stopped finds when it goes on."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ialstore import StoreNotReadyError, UnavailableError
from ialstore.migrate import CopyOptions, Journal, Tally, UserReport, copy
from ialstore.migrate.journal import journal_key
from ialstore.wrappers.base import ConversationWrapper
from ialstore_backends.memory import MemoryConversationStore
from tests.migrate.stores import held, message, messages

REPORT = UserReport(
    user_id="\u00fc", source=Tally(1, "ab"), target=Tally(2, "cd"), extra=1, examples=("x",)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "copy.journal"


class Counted(ConversationWrapper):
    """A store that notes which users' histories were read, and stops when it is told to."""

    def __init__(self, inner: Any, stop_at: str = "") -> None:
        super().__init__(inner)
        self.read: list[tuple[str, str]] = []
        self.stop_at = stop_at

    def _history(self, op: Any, query: Any) -> Any:
        if query.user_id == self.stop_at:
            raise UnavailableError("stopped")
        self.read.append((query.user_id, query.lower))
        return super()._history(op, query)


def test_what_was_noted_is_there_for_the_next_process(path: Path) -> None:
    journal = Journal(path, "k")
    assert not journal.is_resumed
    assert journal.position("vector", "u") == ""
    assert journal.done("vector", "u") is None
    journal.move("vector", "u", "b")
    journal.move("vector", "u", "a")  # of another process, which is behind
    journal.finish_user("vector", REPORT)
    assert journal.done("vector", "u") is None
    journal.close()

    with closing(Journal(path, "other")) as other:
        assert other.position("vector", "u") == ""
    with Journal(path, "k") as journal:
        assert journal.is_resumed
        assert journal.position("vector", "u") == "b"
        assert journal.position("conversation", "u") == ""
        assert journal.done("vector", "\u00fc") == REPORT
        assert journal.done("conversation", "\u00fc") is None


def test_a_block_that_ends_well_is_the_end_of_the_run(path: Path) -> None:
    with suppress(UnavailableError), Journal(path, "k") as journal:
        journal.finish_user("vector", REPORT)
        raise UnavailableError("stopped")
    with Journal(path, "k") as journal:
        assert journal.is_resumed
    with Journal(path, "k") as journal:
        assert not journal.is_resumed
        assert journal.done("vector", "\u00fc") is None


def test_a_restart_forgets_what_was_done(path: Path) -> None:
    with closing(Journal(path, "k")) as journal:
        journal.finish_user("vector", REPORT)
    with Journal(path, "k", restart=True) as journal:
        assert not journal.is_resumed
        assert journal.done("vector", "\u00fc") is None


def test_two_processes_share_a_run_until_one_ends_it(path: Path) -> None:
    with Journal(path, "k") as one, Journal(path, "k") as other:
        one.finish_user("vector", REPORT)
        assert other.done("vector", "\u00fc") == REPORT
        one.finish()
        with Journal(path, "k") as later:
            other.move("vector", "u", "x")  # of the run before: no business of the later one
            other.finish_user("vector", UserReport(user_id="u"))
            assert later.position("vector", "u") == ""
            assert later.done("vector", "u") is None


def test_a_journal_is_for_its_owner_alone(path: Path) -> None:
    with Journal(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_tells_copies_apart_and_nothing_else() -> None:
    assert journal_key("a", ["b"]) == journal_key("a", ["b"])
    assert len({journal_key("a", "b"), journal_key("ab"), journal_key("a", ["b"])}) == 3
    assert "secret" not in journal_key("secret")


def test_a_file_that_is_no_journal_is_refused_and_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreNotReadyError, match="is no journal"):
        Journal(path)
    assert path.read_bytes() == before
    path.write_text("no database, " * 100)
    with pytest.raises(UnavailableError, match="not a database"):
        Journal(path)


def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    Journal(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    with pytest.raises(StoreNotReadyError):
        Journal(path)


def test_a_journal_that_cant_be_opened_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"the journal .*no folder"):
        Journal(tmp_path / "no folder" / "x")


def test_a_copy_that_was_stopped_goes_on_with_the_user_it_was_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("ialstore.migrate.copy"), "MOVE_EVERY", 10)
    source, target = MemoryConversationStore(), MemoryConversationStore()
    for user in ("a", "b", "c"):
        source.append(*messages(25, user))
    with pytest.raises(UnavailableError), Journal(path) as journal:
        copy(source, Counted(target, "b"), journal=journal)
    assert held(target, "a") == held(source, "a")

    class Full(Counted):
        def _append(self, op: Any, user_id: str, entries: Any) -> Any:
            if len(held(target, "b")) >= 20:
                raise UnavailableError("full")
            return super()._append(op, user_id, entries)

    with pytest.raises(UnavailableError), Journal(path) as journal:
        copy(source, Full(target), journal=journal)
    place = message(19, "b").id
    with Journal(path) as journal:
        assert journal.position("conversation", "b") == place
        counted = Counted(source)
        report = copy(counted, target, journal=journal)
    assert report.same
    assert report.resumed == 1
    assert [one.stored for one in report.users] == [25, 5, 25]
    assert counted.read[0][0] == "b"  # from its place on, and then whole
    assert counted.read[0][1] > message(18, "b").id
    assert "a" not in {user for user, _ in counted.read}
    with Journal(path) as journal:
        assert copy(source, target, journal=journal).resumed == 0


def test_what_was_copied_whole_is_only_compared(path: Path) -> None:
    source, target = MemoryConversationStore(), MemoryConversationStore()
    source.append(*messages(3))

    class Stopping(Journal):
        def finish_user(self, kind: str, report: UserReport) -> None:
            raise UnavailableError("stopped")

    with pytest.raises(UnavailableError), Stopping(path) as stopping:
        copy(source, target, journal=stopping)
    counted = Counted(source)
    with Journal(path) as journal:
        report = copy(counted, target, journal=journal)
    assert report.users[0].source.count == 3
    assert len(counted.read) == 1


def test_users_that_another_process_has_done_are_not_looked_at_again(path: Path) -> None:
    source, target = MemoryConversationStore(), MemoryConversationStore()
    for user in ("a", "b"):
        source.append(message(1, user))
    with Journal(path) as one, Journal(path) as other:
        for user in ("a", "b"):
            other.finish_user("conversation", UserReport(user_id=user))
        report = copy(source, target, CopyOptions(), journal=one)
    assert report.resumed == 0
    assert held(target, "a") == []
