"""Opening a SQLite file safely: creation with mode 0600, whose file it is, its format and modes.

Nothing opens the file but SQLite: closing any other descriptor of it would drop the locks that
this process holds through SQLite, because fcntl locks belong to the process. The one descriptor
that creates the file is closed before SQLite sees it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ialstore.errors import (
    ConfigurationError,
    CorruptError,
    StoreNotReadyError,
    UnavailableError,
)

__all__ = [
    "APPLICATION_ID",
    "FORMAT",
    "bytes_of",
    "create_file",
    "file_uri",
    "prepare",
    "require_ours",
    "status_of",
    "sync_folder",
]

FORMAT: Final = 3
"""``PRAGMA user_version``: the layout of everything in the file."""
APPLICATION_ID: Final = int.from_bytes(b"ialS", "big")
"""``PRAGMA application_id``: says whose file it is."""

_creating = threading.Lock()


def create_file(path: str) -> None:
    """Create an empty file of mode 0600 unless something is there.

    Raises:
        ConfigurationError: what is there is no regular file, or the folder is missing.
        CorruptError: the file is missing or empty, but not its log: SQLite would remove that.
    """
    file = Path(path)
    # The log comes first: whoever makes the file right now has put a page into it before the log.
    if bytes_of(path + "-wal") and not bytes_of(path):
        raise CorruptError(
            f"{path} is missing or empty, but {path}-wal holds what was written to it last: put "
            "the file back, or remove its log to begin anew"
        )
    with _creating:
        if not file.exists():
            if not file.parent.is_dir():
                raise ConfigurationError(f"the folder {file.parent} is missing; create it first")
            _create(path)
            return
    if not stat.S_ISREG(file.stat().st_mode):
        raise ConfigurationError(f"{path} is no regular file; name a file for SQLite")


def bytes_of(path: str) -> int:
    """Return the size of a file, 0 if there is none."""
    found = status_of(path)
    return 0 if found is None else found.st_size


def status_of(path: str) -> os.stat_result | None:
    """Return what the system says of a file; None if there is none.

    Another process may remove a log at any time, so nobody asks first whether it is there.
    """
    try:
        return Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _create(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # pragma: no cover - another process was faster
        return
    os.close(descriptor)
    Path(path).chmod(0o600)  # whatever the umask took away


def sync_folder(path: str) -> None:
    """Put the names of a file and its log on the disk.

    SQLite does it with the first commit, too, but passes over an error: a log whose name is lost
    takes acknowledged writes with it.
    """
    if os.name != "posix":  # pragma: no cover - elsewhere folders can't be opened
        return
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def file_uri(path: str) -> str:
    """Return the URI under which SQLite opens, but never creates, an absolute path."""
    return f"file:{quote(os.fsencode(path))}?mode=rw"


def prepare(
    connection: sqlite3.Connection, path: str, synchronous: str, tables: Mapping[str, str]
) -> None:
    """Make a new connection ready: check whose file it is, set its modes, create what is missing.

    May be repeated after a lock made it fail.

    Raises:
        ConfigurationError: the file belongs to another application.
        StoreNotReadyError: its format is not this library's.
        UnavailableError: SQLite can't keep a write-ahead log or overwrite what is deleted.
    """
    there = require_ours(connection, path)
    # After an I/O error, or on a network drive, SQLite keeps another mode and raises nothing.
    for pragma, expected in (("journal_mode=WAL", "wal"), ("secure_delete=ON", 1)):
        if connection.execute(f"PRAGMA {pragma}").fetchone() != (expected,):
            raise UnavailableError(
                f"{path}: SQLite did not accept {pragma}; keep the file on a local disk",
                retryable=True,
            )
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA fullfsync=ON")  # macOS: plain fsync leaves data in the drive
    connection.execute("PRAGMA cell_size_check=ON")
    connection.execute("PRAGMA trusted_schema=OFF")
    if not tables.keys() <= there:
        _create_tables(connection, path, tables)


def _create_tables(connection: sqlite3.Connection, path: str, tables: Mapping[str, str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        there = require_ours(connection, path)  # another process may have been faster
        for name, statement in tables.items():
            if name not in there:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def require_ours(connection: sqlite3.Connection, path: str) -> frozenset[str]:
    """Return the names of the tables and indexes there are; none in an empty file.

    Raises:
        ConfigurationError: the file belongs to another application.
        StoreNotReadyError: its format is not this library's.
    """
    # One statement, so that both numbers and the names are of the same moment.
    rows = connection.execute(
        "SELECT application_id, user_version, name FROM pragma_application_id, "
        "pragma_user_version LEFT JOIN sqlite_master"
    ).fetchall()
    application, version = rows[0][:2]
    names = frozenset(name for _, _, name in rows if name is not None)
    if application == APPLICATION_ID:
        if version > FORMAT:
            raise StoreNotReadyError(
                f"{path} has format {version}, this library knows {FORMAT}: upgrade ialstore"
            )
        if version < FORMAT:
            raise StoreNotReadyError(
                f"{path} has format {version}, this library reads {FORMAT}: export it with the "
                "ialstore that wrote it, and import it into a new file"
            )
    elif application or version or names:
        raise ConfigurationError(
            f"{path} is a database of another application; name a new file for ialstore"
        )
    return names


def _after_fork() -> None:  # pragma: no cover - runs in forked children only
    global _creating  # noqa: PLW0603 - a lock that another thread of the parent held stays locked
    _creating = threading.Lock()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)
