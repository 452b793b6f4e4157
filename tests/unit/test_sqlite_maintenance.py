"""Erasing every trace from a SQLite file, giving its space back, and checking it."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ialstore import CorruptError, Message, Outcome, UnavailableError, deadline
from ialstore.model import encode_message
from ialstore.operation import Operation
from ialstore_backends.sqlite import SqliteConversationStore, maintenance
from ialstore_backends.sqlite import conversation_statements as sql
from ialstore_backends.sqlite.connection import Database
from ialstore_backends.sqlite.maintenance import mark_erased, scrub

START = datetime(2024, 2, 29, 12, tzinfo=UTC)
POSIX = pytest.mark.skipif(os.name != "posix", reason="file modes and limits are POSIX")
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT count(*) FROM message").fetchone()
print("ready", flush=True)
sys.stdin.read()
"""


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[SqliteConversationStore]:
    with SqliteConversationStore(path, clock=clock) as store:
        yield store


def new(content: str, *, user: str = "u", session: str = "s", **fields: object) -> Message:
    return Message.new(
        user_id=user,
        session_id=session,
        role="user",
        content=content,
        **fields,  # type: ignore[arg-type]  # fields of a message
    )


def bytes_on_disk(path: Path) -> bytes:
    """Return what all files of the database hold, read by another process.

    Closing a file in this one would drop the locks that SQLite holds on it.
    """
    program = """
import pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).parent.iterdir()):
    sys.stdout.buffer.write(path.read_bytes())
"""
    return subprocess.run(
        [sys.executable, "-IS", "-c", program, str(path)], capture_output=True, check=True
    ).stdout


@contextmanager
def other_process(path: Path, begin: str) -> Generator[None]:
    """Hold a transaction open."""
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", HOLD, str(path), begin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"ready"
        try:
            yield
        finally:
            process.communicate()


def run_sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


# -- erase


class Workload:
    """A random life of some users, whose texts, ids and sessions all hold their mark."""

    def __init__(self, store: SqliteConversationStore, seed: int) -> None:
        self.store = store
        self.rng = random.Random(seed)
        self.marks = [f"<{self.rng.getrandbits(64):016x}>" for _ in range(6)]
        self.live: dict[str, Message] = {}

    def run(self, steps: int) -> None:
        for _ in range(steps):
            kind = self.rng.choices(
                ["appending", "replacing", "deleting", "dropping"], [60, 15, 15, 3]
            )
            if not self.live or kind == ["appending"]:
                self.append()
            elif kind == ["replacing"]:
                message = self.any()
                message = replace(message, content=self.text(message.user_id))
                assert self.store.replace(message)
                self.live[message.id] = message
            elif kind == ["deleting"]:
                message = self.any()
                assert self.store.delete(message.user_id, [message.id]) == 1
                del self.live[message.id]
            else:
                dropped = self.any()
                self.store.delete_session(dropped.user_id, dropped.session_id)
                self.live = {
                    one: message
                    for one, message in self.live.items()
                    if message.session_id != dropped.session_id
                }

    def any(self) -> Message:
        return self.rng.choice(list(self.live.values()))

    def append(self) -> None:
        mark = self.rng.choice(self.marks)
        messages = [
            new(
                self.text(mark),
                user=mark,
                session=f"{mark} session {self.rng.randrange(5)}",
                metadata={mark: mark} if self.rng.random() < 0.3 else None,
                summary=mark if self.rng.random() < 0.3 else None,
            )
            for _ in range(self.rng.choice([1, 1, 1, 5]))
        ]
        self.store.append(*messages)
        self.live |= {message.id: message for message in messages}

    def text(self, mark: str) -> str:
        """Return a text of 10 bytes to 60 KB in which every 18 bytes hold the mark."""
        length = int(10 ** self.rng.uniform(1, 4.78))
        return (mark * (length // len(mark) + 1))[:length]


@pytest.mark.parametrize("seed", range(8))
def test_erase_leaves_no_byte_of_a_user_in_any_file(
    path: Path, store: SqliteConversationStore, seed: int
) -> None:
    workload = Workload(store, seed)
    workload.run(150)
    while workload.marks:
        mark = workload.marks.pop()
        expected = sum(message.user_id == mark for message in workload.live.values())
        report = store.erase(mark)
        assert (report.messages, report.remaining, report.out_of_reach) == (expected, 0, ())
        on_disk = bytes_on_disk(path)
        assert not [part for part in parts(mark) if part in on_disk]
        assert all(other.encode() in on_disk for other in workload.marks)
        workload.live = {
            one: message for one, message in workload.live.items() if message.user_id != mark
        }
        workload.run(10 if workload.marks else 0)
    assert store.check() == []


def parts(mark: str) -> list[bytes]:
    """Return all parts of 8 bytes: remnants need not be whole."""
    return [mark[first : first + 8].encode() for first in range(len(mark) - 7)]


def test_erase_after_plain_deletes_removes_what_they_left(
    path: Path, store: SqliteConversationStore
) -> None:
    messages = [new(f"<secret {n}>" * 20, session=f"s{n % 7}") for n in range(300)]
    others = [new("x" * (n % 300), user="other") for n in range(300)]
    for message, other in zip(messages, others, strict=True):
        store.append(message)
        store.append(other)
    for message in messages:
        store.delete("u", [message.id])
    assert store.erase("u").messages == 0
    assert b"<secret" not in bytes_on_disk(path)


def test_erase_reaches_expired_messages_and_counts_live_ones(
    path: Path, store: SqliteConversationStore, clock: Clock
) -> None:
    store.append(new("a secret", expires_at=START + timedelta(seconds=1)), new("live"))
    clock.now += timedelta(seconds=1)
    assert store.erase("u").messages == 1
    assert b"a secret" not in bytes_on_disk(path)


def test_erase_of_a_large_user_takes_several_steps(store: SqliteConversationStore) -> None:
    store.bulk_load(new("x") for _ in range(2500))
    assert store.erase("u").messages == 2500
    assert store.history("u").items == ()


class Overlapped(SqliteConversationStore):
    """Another writer appends a message of the user whenever an erase has deleted all of them."""

    def _count(self, op: Operation, user_id: str) -> int:
        self._append(op, user_id, [encode_message(new("meanwhile", user=user_id))])
        return super()._count(op, user_id)


def test_erase_goes_three_rounds_and_counts_what_others_wrote_in_the_last(path: Path) -> None:
    with Overlapped(path) as store:
        store.append(new("before"))
        report = store.erase("u")
        assert (report.messages, report.remaining) == (3, 2)
        assert len(store.history("u")) == report.remaining


@POSIX
def test_an_erase_that_fails_while_it_rewrites_may_be_repeated(
    path: Path, store: SqliteConversationStore
) -> None:
    import resource

    store.append(new("a secret"))
    store.bulk_load(new("x" * 3000, user="other") for _ in range(500))
    store.optimize("u")  # the log is empty: only the rewriting needs more than the limit
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(UnavailableError, match="SQLITE_IOERR") as caught:
            store.erase("u")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert "an erase was held up" in store.check()[0]
    assert store.erase("u").out_of_reach == ()
    assert b"a secret" not in bytes_on_disk(path)
    assert store.check() == []


def test_an_erase_that_fails_behind_its_deletes_says_that_it_was_done_in_part(
    store: SqliteConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C4: what was deleted is deleted, whatever fails then."""

    def fail(*_: object) -> tuple[str, ...]:
        raise UnavailableError("the log can't be emptied")

    monkeypatch.setattr("ialstore_backends.sqlite.conversations.scrub", fail)
    store.append(new("a secret"))
    with pytest.raises(UnavailableError) as caught:
        store.erase("u")
    assert caught.value.outcome is Outcome.PARTIAL
    with pytest.raises(UnavailableError) as caught:
        store.erase("nobody")
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_an_optimize_that_fails_behind_its_deletes_says_that_it_was_done_in_part(
    store: SqliteConversationStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> tuple[int, tuple[str, ...]]:
        raise UnavailableError("the log can't be emptied")

    monkeypatch.setattr("ialstore_backends.sqlite.conversations.compact", fail)
    store.append(new("x", expires_at=START + timedelta(seconds=1)))
    clock.now += timedelta(seconds=1)
    with pytest.raises(UnavailableError) as caught:
        store.optimize("u")
    assert caught.value.outcome is Outcome.PARTIAL


def test_a_reader_of_another_process_holds_an_erase_up_and_optimize_completes_it(
    path: Path, store: SqliteConversationStore
) -> None:
    store.append(new("a secret"))
    store.append(new("kept", user="other"))
    with other_process(path, "BEGIN"):
        with deadline(0.2):
            report = store.erase("u")
        assert report.messages == 1
        (sentence,) = report.out_of_reach
        assert "run optimize" in sentence
        with deadline(0.2):
            assert store.optimize("other").notes == report.out_of_reach
        assert b"a secret" in bytes_on_disk(path)
        assert "an erase was held up" in store.check()[0]
    assert "an erase was held up" in store.check()[0]
    assert store.optimize("other").notes == ()
    assert b"a secret" not in bytes_on_disk(path)
    assert store.check() == []


class Inside(SqliteConversationStore):
    """Shows what a hook gets."""

    @property
    def database(self) -> Database:
        return self._db

    def operation(self) -> Operation:
        return self._operation("test", renewable=True)


def test_a_writer_of_another_process_holds_the_rewriting_up_and_optimize_completes_it(
    path: Path,
) -> None:
    with Inside(path, timeout_seconds=0.2) as store:
        store.append(new("kept"))
        # An erase has deleted its rows, and then another process takes the write lock.
        with store.database.writing(store.operation()) as connection:
            mark_erased(connection)
        with other_process(path, "BEGIN IMMEDIATE"):
            (sentence,) = scrub(store.database, store.operation())
            assert "holds the write lock" in sentence
            assert "run optimize" in sentence
            assert "an erase was held up" in store.check()[0]
        assert store.optimize("u").notes == ()
        assert store.check() == []


def test_emptying_the_log_for_one_erase_leaves_the_mark_of_another(path: Path) -> None:
    with Inside(path, timeout_seconds=0.5) as store:
        store.append(new("a secret"))
        with other_process(path, "BEGIN"):
            assert store.erase("u").out_of_reach
        with store.database.writing(store.operation()) as connection:
            mark_erased(connection)  # by another process, which has not rewritten the file yet
        assert maintenance.empty_log(store.database, store.operation()) == ()
        assert "an erase was held up" in store.check()[0]
        assert store.optimize("u").notes == ()
        assert store.check() == []


# -- optimize


def test_optimize_removes_expired_messages_and_gives_space_back(
    path: Path, store: SqliteConversationStore, clock: Clock
) -> None:
    soon = START + timedelta(seconds=1)
    store.bulk_load(new("x" * 2000, expires_at=soon) for _ in range(1500))
    store.append(new("kept"), new("kept"))
    store.append(new("expired too", user="other", expires_at=soon))
    clock.now = soon
    before = path.stat().st_size
    steps: list[tuple[int, int | None]] = []
    report = store.optimize("u", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1000, 1500), (1500, 1500)]
    assert report.removed == 1500
    assert report.reclaimed_bytes > 2_000_000
    assert path.stat().st_size < before / 10
    assert len(store.history("u")) == 2
    assert store.optimize("u").removed == 0


def test_optimize_passes_over_a_message_that_was_written_anew_meanwhile(
    store: SqliteConversationStore, clock: Clock
) -> None:
    soon = START + timedelta(seconds=1)
    first = [new("x", expires_at=soon) for _ in range(1500)]
    store.bulk_load(first)
    clock.now = soon
    revived = replace(first[-1], expires_at=None)

    def progress(done: int, total: int | None) -> None:
        if done != total:
            store.append(revived)

    assert store.optimize("u", progress=progress).removed == 1499
    assert store.history("u").items == (revived,)


# -- check


def test_a_sound_file_has_no_faults(store: SqliteConversationStore) -> None:
    store.append(*[new("x" * 50_000, metadata={"b": 1, "a": [1.0, None]}) for _ in range(30)])
    assert store.check() == []


@POSIX
def test_check_names_files_that_others_may_read(path: Path, store: SqliteConversationStore) -> None:
    store.append(new("x"))
    path.chmod(0o644)
    (fault,) = store.check()
    assert fault == f"{path} may be read by others (mode 644): chmod 600 it"


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DROP INDEX message_by_session", "message_by_session is missing"),
        ("ALTER TABLE message ADD COLUMN more", "message is not as this library makes it"),
        ("DROP TABLE meta", "meta is missing"),
        ("UPDATE message SET content = 'forged'", "1 messages .* do not agree with their checksum"),
        ("UPDATE message SET metadata = '{'", "1 messages .* do not agree with their checksum"),
    ],
)
def test_check_names_what_is_not_as_expected(
    path: Path, store: SqliteConversationStore, statement: str, fault: str
) -> None:
    store.append(new("x"))
    run_sql(path, statement)
    assert re.search(fault, "\n".join(store.check()))


CHECKED = {
    **dict.fromkeys(("name", "turn_id", "source_id", "summary", "content", "metadata"), b"blob"),
    "id": "zz",
    "user_id": b"u",
    "session_id": "other",
    "payload": "5",
    "tokens": -1,
    "expires": "zz",
}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *CHECKED.items(),
        ("content", "CAST(x'ff' AS TEXT)"),
        ("metadata", "5"),
        ("payload", b"[]"),
        ("id", b"\x00"),
        ("expires", 1e300),
        ("expires", 2**62),
        ("tokens", "many"),
    ],
)
def test_check_names_the_row_that_is_damaged(
    path: Path, store: SqliteConversationStore, column: str, value: object
) -> None:
    store.append(new("sound"), new("damaged"), new("sound"))
    is_expression = isinstance(value, str) and value.startswith("CAST")
    change = "UPDATE message SET {} = {} WHERE rowid = 2"
    connection = sqlite3.connect(path)
    with connection:
        if is_expression:
            connection.execute(change.format(column, value))
        else:
            connection.execute(change.format(column, "?"), (value,))
    connection.close()
    (fault,) = store.check()
    assert "zz" not in fault
    assert re.search(
        "1 messages .* do not agree with their checksum: row 2 \\(message .*: delete them", fault
    )


def test_check_names_ten_damaged_rows_and_counts_the_others(
    path: Path, store: SqliteConversationStore
) -> None:
    store.append(*[new("x") for _ in range(12)])
    run_sql(path, "UPDATE message SET tokens = 5")
    (fault,) = store.check()
    assert fault.startswith("12 messages")
    assert re.search("row 10 .* and 2 more: delete them", fault)
    assert "row 11" not in fault


def logged(path: Path, *contents: str) -> bytearray:
    """Append messages, as if their writer was killed then; return the log they are in."""
    with SqliteConversationStore(path) as store:
        store.setup()
    with SqliteConversationStore(path) as store:
        store.append(*map(new, contents[:1]))
        file = path.read_bytes()
        for content in contents[1:]:
            store.append(new(content))
        log = path.with_name(f"{path.name}-wal").read_bytes()
    path.write_bytes(file)
    return bytearray(log)


DAMAGED_LOGS = {
    "sound": ([], ""),
    "the last commit": ([-5], ""),
    "the one before": ([-5 - 3 * 4120], "2 commits behind frame"),
    "the first": ([60], "4 commits behind frame 0"),
    "its checksum": ([30], "4 commits behind frame 0"),
    "its salt": ([18], "4 commits behind frame 0"),
    "its salt and that of the first frame": ([18, 32 + 9], "4 commits behind frame 0"),
    "its order of bytes": ([3], "4 commits behind frame 0"),
    "its magic number": ([0], "4 commits behind frame 0"),
}


@pytest.mark.parametrize("name", DAMAGED_LOGS)
def test_check_names_a_log_that_is_damaged_before_its_last_commit(path: Path, name: str) -> None:
    """C5: SQLite reads what comes before the damage, and says nothing."""
    places, fault = DAMAGED_LOGS[name]
    log = logged(path, "one", "two", "three", "four")
    for place in places:
        log[place] ^= 1
    path.with_name(f"{path.name}-wal").write_bytes(log)
    path.with_name(f"{path.name}-wal").chmod(0o600)
    with SqliteConversationStore(path) as store:
        found = "\n".join(store.check())
    assert fault in found
    assert bool(fault) == bool(found)


def test_check_looks_again_at_a_log_that_others_write_to(
    store: SqliteConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written between two looks is no damage."""
    looks = iter([2, 2, 0])

    def overtaken(*_: object) -> int:
        commits = next(looks)
        if commits:
            store.append(new("meanwhile"))
        return commits

    monkeypatch.setattr(maintenance, "_commits_behind", overtaken)
    store.append(new("x"))
    assert store.check() == []
    assert list(looks) == []


def test_check_gives_up_looking_at_a_log_that_others_never_leave_alone(
    store: SqliteConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*_: object) -> int:
        store.append(new("meanwhile"))
        return 2

    monkeypatch.setattr(maintenance, "_commits_behind", overtaken)
    assert store.check() == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [("SQLITE_FULL", "its log could not be checked"), ("SQLITE_IOERR", None)],
)
def test_check_says_that_the_log_can_not_be_moved_into_the_file(
    store: SqliteConversationStore, monkeypatch: pytest.MonkeyPatch, name: str, fault: str | None
) -> None:
    def fail(*_: object) -> None:
        error = sqlite3.OperationalError("as SQLite says it")
        error.sqlite_errorcode = getattr(sqlite3, name)
        error.sqlite_errorname = name
        raise error

    monkeypatch.setattr(maintenance, "_look_at_log", fail)
    if fault is None:
        with pytest.raises(UnavailableError):
            store.check()
    else:
        assert fault in store.check()[0]


def lose_row(path: Path, store: SqliteConversationStore) -> None:
    """Delete the second message, but not its entry in an index."""
    whole, none = "checksum)", "checksum) WHERE id IS NULL)"
    change = (
        "UPDATE sqlite_master SET sql = replace(sql, '{}', '{}') WHERE name = 'message_by_session'"
    )
    writable = "PRAGMA writable_schema = ON"
    run_sql(path, writable, change.format(whole, none[:-1]))
    run_sql(path, "DELETE FROM message WHERE rowid = 2")
    run_sql(path, writable, change.format(none[:-1], whole))
    store.close()


def test_check_names_an_index_that_does_not_agree_with_its_table(
    path: Path, store: SqliteConversationStore
) -> None:
    """C5: no read can miss what an index does not lead to."""
    store.append(*[new("x") for _ in range(3)])
    lose_row(path, store)
    with SqliteConversationStore(path) as reopened:
        assert any("wrong # of entries in index" in fault for fault in reopened.check())


def test_removing_what_an_index_leads_to_in_vain_ends_with_an_error(
    path: Path, store: SqliteConversationStore
) -> None:
    """C5: and not never."""
    store.append(*[new("x") for _ in range(3)])
    lose_row(path, store)
    with SqliteConversationStore(path) as reopened:
        for remove in (lambda: reopened.erase("u"), lambda: reopened.delete_session("u", "s")):
            with pytest.raises(CorruptError, match="an index of messages is damaged") as caught:
                remove()
            assert caught.value.outcome is Outcome.NOT_APPLIED


def test_check_ends_where_rows_lead_in_circles(
    store: SqliteConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do where pages of a table were exchanged."""
    store.append(*[new("x") for _ in range(3)])
    backwards = sql.CHECK.replace("rowid > ?", "rowid <> ?").replace("ORDER BY rowid", "")
    monkeypatch.setattr(sql, "CHECK", backwards)
    assert store.check() == []


def test_optimize_leaves_what_only_seems_to_be_expired(
    path: Path, store: SqliteConversationStore, clock: Clock
) -> None:
    """C5: a damaged expiry hides a message; what check can name is still there."""
    soon = START + timedelta(seconds=1)
    store.append(new("expired", expires_at=soon), new("hidden"))
    run_sql(path, "UPDATE message SET expires = 1 WHERE expires IS NULL")
    clock.now = soon
    report = store.optimize("u")
    assert report.removed == 1
    assert report.notes == ("1 messages that seem to be expired are damaged: run check",)
    assert "(message " in store.check()[0]


def test_check_names_damage(path: Path, store: SqliteConversationStore) -> None:
    store.append(*[new("x" * 100) for _ in range(100)])
    # Rows go, their index entries stay.
    run_sql(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET rootpage = "
        "(SELECT rootpage FROM sqlite_master WHERE name = 'meta') "
        "WHERE name = 'message_by_session'",
    )
    store.close()
    with SqliteConversationStore(path) as reopened:
        assert any("is damaged" in fault for fault in reopened.check())


def test_damage_that_is_met_raises(path: Path, store: SqliteConversationStore) -> None:
    store.append(*[new("x" * 1000) for _ in range(100)])
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xaa" * (len(content) - 8192)
    path.write_bytes(content)
    with SqliteConversationStore(path) as reopened:
        for call in (reopened.check, lambda: reopened.history("u")):
            with pytest.raises(CorruptError, match="restore a backup"):
                call()
