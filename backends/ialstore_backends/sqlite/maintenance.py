"""Care of a whole SQLite file: leaving no trace of what was erased, giving space back, checking.

For the hooks of both kinds. An erase deletes its rows in a transaction that ends with
``mark_erased``, and then calls ``scrub``; ``_optimize`` calls ``compact``, ``_check``
``check_file``.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import struct
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ialstore.errors import AccessDeniedError, DeadlineExceededError, Outcome, StorageFullError
from ialstore_backends.sqlite.files import bytes_of, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ialstore.operation import Operation
    from ialstore_backends.sqlite.connection import Connection, Database

__all__ = [
    "check_file",
    "compact",
    "damaged_rows",
    "empty_log",
    "every_row",
    "mark_erased",
    "scrub",
]

_PAUSE_SECONDS: Final = 0.005
_WORTHWHILE_SHARE: Final = 0.25
"""``compact`` rewrites a file when more than this share of its pages are empty,"""
_WORTHWHILE_PAGES: Final = 256
"""and more than so many."""
_MOST_FAULTS: Final = 10
_LOG_HEADER: Final = struct.Struct(">8I")
"""Of the log: magic number, version, page size, sequence number, two salts, two checksums."""
_ORDERS: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""By magic number: the order of bytes in which checksums are computed."""
_FRAME_HEADER: Final = struct.Struct(">6I")
"""Of a page in it: its number, pages in the file or 0 if no commit, two salts, two checksums."""
_UNFINISHED: Final = 1
"""Commits that a crash may leave without SQLite being able to read them."""
_LOOKS: Final = 5
"""At a log that others may be writing to."""

# The mark of an erase: 'unscrubbed' until the file is rewritten, then 'unemptied' until the log is
# emptied. Its value says which erase, so that nobody takes away the mark of another one.
_MARK: Final = "INSERT OR REPLACE INTO meta VALUES ('unscrubbed', hex(randomblob(8)))"
_REWRITTEN: Final = (
    "UPDATE OR REPLACE meta SET name = 'unemptied' WHERE name = 'unscrubbed' AND value = ?"
)


def mark_erased(connection: Connection) -> None:
    """Note in the running transaction that copies of what it deletes may stand in the file."""
    connection.execute(_MARK)


def scrub(database: Database, op: Operation) -> tuple[str, ...]:
    """Remove every copy of deleted rows from every file; return what is still out of reach.

    ``secure_delete`` overwrites a deleted row where it stands, but not the copies that stay behind
    in the unused parts of pages when SQLite moves rows between them; only rewriting the file
    (``VACUUM``) does. Waiting for others ends with the call's time; rewriting takes as long as the
    file is large.
    """
    op.renew()
    try:
        _rewrite(database, op)
    except (DeadlineExceededError, StorageFullError) as error:
        return (f"{error}; unused parts of the file may hold copies: run optimize",)
    op.renew()
    return empty_log(database, op)


def compact(database: Database, op: Operation) -> tuple[int, tuple[str, ...]]:
    """Complete an erase that was held up, empty the log, and give space back where it pays.

    Returns:
        Bytes given back to the file system, and what is left to do.
    """
    before = _file_bytes(database)
    op.renew()
    ((pages, empty, held_up),) = database.read(
        op,
        "SELECT page_count, freelist_count, EXISTS (SELECT 1 FROM meta WHERE name = 'unscrubbed') "
        "FROM pragma_page_count, pragma_freelist_count",
    )
    if held_up or empty > max(_WORTHWHILE_PAGES, _WORTHWHILE_SHARE * pages):
        notes = scrub(database, op)
    else:
        notes = empty_log(database, op)
    return max(0, before - _file_bytes(database)), notes


def check_file(database: Database, op: Operation) -> list[str]:
    """Return one sentence per fault of the file: modes, tables, damage, an unfinished erase.

    That each index has one entry for each row, and in order, is checked too, because no read would
    miss what an index lost. It takes as long as the file is large.
    """
    faults = [
        f"{path} may be read by others (mode {mode:o}): chmod 600 it"
        for path in (database.path + suffix for suffix in ("", "-wal", "-shm"))
        if (found := status_of(path)) and (mode := stat.S_IMODE(found.st_mode)) & 0o077
    ]
    database.verify(op)
    with database.reading(op) as connection:
        there = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
        for name, statement in database.tables.items():
            if name not in there:
                faults.append(f"{name} is missing from {database.path}")
            elif there[name] != statement:
                faults.append(f"{name} is not as this library makes it in {database.path}")
        connection.op = None
        damage = connection.execute(f"PRAGMA integrity_check({_MOST_FAULTS})").fetchall()
        faults += [f"{database.path} is damaged: {line}" for (line,) in damage if line != "ok"]
        held_up = "SELECT 1 FROM meta WHERE name IN ('unscrubbed', 'unemptied')"
        if "meta" in there and connection.execute(held_up).fetchone():
            faults.append(f"{database.path}: an erase was held up: run optimize to complete it")
    return faults + _faults_of_log(database, op)


def _faults_of_log(database: Database, op: Operation) -> list[str]:
    """Return a sentence if commits stand in the log where SQLite does not reach them.

    It reads a log up to the first frame that fails its checksum, and takes what follows for the
    remains of a commit that was not finished. There is one such commit at most.
    """
    try:
        log, commits = _look_at_log(database, op), 0
    except sqlite3.OperationalError as error:
        reason = database.translate(error)
        if not isinstance(reason, (AccessDeniedError, StorageFullError)):
            raise
        return [f"its log could not be checked: {reason}"]
    for _ in range(_LOOKS):
        commits = _commits_behind(log)
        before, log = log, _look_at_log(database, op)
        if log == before:
            break
        commits = 0  # others were writing meanwhile: look again
    if commits <= _UNFINISHED:
        return []
    damage = (
        f"{commits} commits behind frame {log.frames} can't be read, and what they wrote is lost"
    )
    return [f"{log.path} is damaged: {damage}: restore a backup"]


class _Log(NamedTuple):
    """The log of a file: how many frames SQLite reads, bytes of a page, and its header."""

    path: Path
    frames: int
    page_bytes: int
    header: bytes


def _look_at_log(database: Database, op: Operation) -> _Log:
    """Return what SQLite knows of the log; it moves the frames into the file on the way."""
    path = Path(database.path + "-wal")
    with database.reading(op) as connection:
        frames = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        # Other than with the main file, closing this one drops no lock: SQLite takes none on it.
        with path.open("rb") as file:
            return _Log(path, max(0, frames), page_bytes, file.read(_LOG_HEADER.size))


def _commits_behind(log: _Log) -> int:
    """Return how many commits of the present generation stand where SQLite does not read."""
    commits: Counter[tuple[int, ...]] = Counter()
    with log.path.open("rb") as file:
        file.seek(_LOG_HEADER.size + log.frames * (_FRAME_HEADER.size + log.page_bytes))
        while len(head := file.read(_FRAME_HEADER.size)) == _FRAME_HEADER.size:
            _, is_commit, *salts, _, _ = _FRAME_HEADER.unpack(head)
            commits[tuple(salts)] += is_commit > 0
            file.seek(log.page_bytes, os.SEEK_CUR)
    if not commits:
        return 0
    present = _salts(log.header)
    return max(commits.values()) if present is None else commits[present]


def _salts(header: bytes) -> tuple[int, ...] | None:
    """Return what tells generations of a log apart, or None if its header is damaged."""
    if len(header) < _LOG_HEADER.size:  # pragma: no cover - others have begun a log meanwhile
        return None
    numbers = _LOG_HEADER.unpack(header)
    if numbers[0] not in _ORDERS:
        return None
    words = struct.unpack(f"{_ORDERS[numbers[0]]}6I", header[:24])
    one = other = 0
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + other) % 2**32
        other = (other + second + one) % 2**32
    return numbers[4:6] if (one, other) == numbers[6:] else None


def every_row(database: Database, op: Operation, statement: str) -> Iterator[tuple[Any, ...]]:
    """Yield what a statement returns behind the first column of the row before, till the end.

    A text that is not UTF-8 comes as bytes, so that one row does not end a check.
    """
    after = 0
    while True:
        op.renew()
        with database.reading(op) as connection:
            connection.text_factory = _text_or_bytes
            try:
                read = partial(connection.execute, statement, (after,))
                rows = database.until_free(op, read).fetchall()
            finally:
                connection.text_factory = str
        yield from rows
        # Where pages were exchanged, rows come back that were there before: it ends all the same.
        if not rows or rows[-1][0] <= after:
            return
        after = rows[-1][0]


def _text_or_bytes(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def damaged_rows(database: Database, what: str, rows: Sequence[str]) -> list[str]:
    """Return a sentence that names damaged rows, if there are any."""
    if not rows:
        return []
    named = ", ".join(rows[:_MOST_FAULTS])
    more = len(rows) - _MOST_FAULTS
    others = f" and {more} more" if more > 0 else ""
    return [
        (
            f"{len(rows)} {what} in {database.path} do not agree with their checksum: "
            f"{named}{others}: delete them, or restore a backup"
        )
    ]


def _rewrite(database: Database, op: Operation) -> None:
    with database.writers_turn(op), database.reading(op) as connection:
        # An erase of another process may be marked while this runs; it stays marked.
        mark = connection.execute("SELECT value FROM meta WHERE name = 'unscrubbed'").fetchone()
        connection.op = None
        try:
            database.until_free(op, lambda: connection.execute("VACUUM"))
            op.renew()
            if mark is not None:
                database.until_free(op, lambda: connection.execute(_REWRITTEN, mark))
        except sqlite3.Error as error:
            # What an erase deleted before is deleted.
            raise database.translate(error, Outcome.UNKNOWN) or error from error


def empty_log(database: Database, op: Operation) -> tuple[str, ...]:
    """Move all of the log into the file; return what keeps it from that."""
    try:
        # What is marked now stands in the log as it is now; what others mark later stays marked.
        marks = database.read(op, "SELECT value FROM meta WHERE name = 'unemptied'")
        while True:
            with database.reading(op) as connection:
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                break
            op.remaining()
            time.sleep(_PAUSE_SECONDS)
        for mark in marks:
            database.write(op, "DELETE FROM meta WHERE name = 'unemptied' AND value = ?", mark)
    except DeadlineExceededError:
        user = "another process still uses an earlier state of the file"
        return (f"{database.path}-wal: {user}; run optimize when it has ended",)
    return ()


def _file_bytes(database: Database) -> int:
    return sum(bytes_of(database.path + suffix) for suffix in ("", "-wal"))
