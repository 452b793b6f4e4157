"""What errors of SQLite and of the file system mean: the errors of ialstore to raise for them."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ialstore.errors import (
    AccessDeniedError,
    CorruptError,
    DeadlineExceededError,
    IalStoreError,
    Outcome,
    StorageFullError,
    UnavailableError,
)

__all__ = ["DamagedRowError", "is_busy", "is_in_doubt", "translated"]


class DamagedRowError(Exception):
    """A row is not as it was written; becomes a ``CorruptError`` that names the file."""


_FULL: Final = "no room left on the device or in a quota"
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_MEANINGS: Final[Mapping[int, tuple[type[IalStoreError], str]]] = {
    **dict.fromkeys(_BUSY, (DeadlineExceededError, "another process holds the write lock")),
    sqlite3.SQLITE_INTERRUPT: (DeadlineExceededError, "the time for the call was used up"),
    sqlite3.SQLITE_FULL: (StorageFullError, _FULL),
    sqlite3.SQLITE_CORRUPT: (CorruptError, "the file is damaged; restore a backup"),
    sqlite3.SQLITE_NOTADB: (CorruptError, "not a SQLite database; name another file"),
    sqlite3.SQLITE_ERROR: (CorruptError, "the tables are not as expected; run check"),
    sqlite3.SQLITE_READONLY: (UnavailableError, "the file was opened for reading only"),
    sqlite3.SQLITE_PERM: (AccessDeniedError, "the file can't be used; see its mode"),
    sqlite3.SQLITE_CANTOPEN: (UnavailableError, "the file or its log can't be opened"),
    sqlite3.SQLITE_IOERR: (UnavailableError, "reading or writing failed"),
}
_AMBIGUOUS: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
)
"""What SQLite says of modes, of a full disk, and of calls that failed for no lasting reason."""
_KINDS: Final[Mapping[int, type[IalStoreError]]] = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), AccessDeniedError),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), StorageFullError),
}


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process holds a lock."""
    return _primary(error) in _BUSY


def is_in_doubt(error: sqlite3.Error) -> bool:
    """Whether a commit that failed so may stand in the log all the same."""
    return _primary(error) == sqlite3.SQLITE_IOERR


def translated(error: Exception, path: str, outcome: Outcome) -> IalStoreError | None:
    """Return the error of ialstore, or None for what is a bug or passes unchanged."""
    if isinstance(error, DamagedRowError):
        return CorruptError(f"{path}: {error}; run check, or restore a backup")
    if isinstance(error, OSError):
        kind = _KINDS.get(error.errno or 0, UnavailableError)
        return kind(f"{path}: {error.strerror}", retryable=kind is UnavailableError)
    if not isinstance(error, sqlite3.Error) or not hasattr(error, "sqlite_errorcode"):
        return None
    code = _primary(error)
    kind, text = _MEANINGS.get(code, (UnavailableError, "SQLite failed"))
    if code in _AMBIGUOUS:
        kind, text = _seen_from_outside(path, code, text)
    return kind(
        f"{path}: {text} ({error.sqlite_errorname})",
        retryable=kind in (DeadlineExceededError, UnavailableError),
        outcome=outcome,
    )


def _seen_from_outside(path: str, code: int, text: str) -> tuple[type[IalStoreError], str]:
    """Return the meaning of a code that has several, by what the file system says."""
    file = Path(path)
    if code != sqlite3.SQLITE_IOERR and not (
        os.access(file, os.R_OK | os.W_OK) and os.access(file.parent, os.W_OK | os.X_OK)
    ):
        return AccessDeniedError, "the file or its folder can't be written; see their modes"
    if _is_full(file.parent):
        return StorageFullError, _FULL
    return UnavailableError, text


def _is_full(folder: Path) -> bool:
    """Whether a file system has no room left, or none for the name of another file."""
    if not hasattr(os, "statvfs"):  # pragma: no cover - Windows
        return False
    try:
        there = os.statvfs(folder)
    except OSError:
        return False
    return not there.f_bavail or bool(there.f_files and not there.f_favail)


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
