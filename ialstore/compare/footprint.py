"""How much room something takes: files of a store, rows of a service, and this process."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path
from typing import Final

from ialstore.errors import ConfigurationError, UnsupportedOperationError
from ialstore.estimate import Workload
from ialstore.registry import find
from ialstore.url import StoreURL

__all__ = ["estimated_bytes", "file_bytes", "file_of", "is_missing", "process_bytes"]

_ENDS: Final = ("", "-*")
"""What a store's own name may end with: SQLite's logs have its name and a dash."""
_STATM: Final = Path("/proc/self/statm")


def file_bytes(*urls: str) -> int | None:
    """Return the size of stores' files or folders, each once, and of the logs beside them.

    None where no store is in files.

    Raises:
        ConfigurationError: a URL can't be read.
    """
    paths = {path for url in urls if (path := file_of(url)) is not None}
    if not paths:
        return None
    # Only sizes are asked for: opening a database's file would drop the locks on it.
    named = [path.parent.glob(f"{glob.escape(path.name)}{end}") for path in paths for end in _ENDS]
    found = {one for matches in named for one in matches}
    inside = {one for folder in found if folder.is_dir() for one in folder.rglob("*")}
    return sum(_file_bytes(one) for one in found | inside)


def _file_bytes(path: Path) -> int:
    """Return the size of a file, 0 for anything else: a log goes with the last who had it open."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def is_missing(url: str) -> bool:
    """Return whether a store is a file or folder that is not there.

    Raises:
        ConfigurationError: the URL can't be read.
    """
    path = file_of(url)
    return path is not None and not path.exists()


def file_of(url: str) -> Path | None:
    """Return the file or folder that a store is in, whatever way leads there; None for others.

    Raises:
        ConfigurationError: the URL can't be read.
    """
    parsed = StoreURL.parse(url)
    try:
        return Path(parsed.file_path()).resolve()
    except ConfigurationError:
        return None


def estimated_bytes(url: str, vectors: int, *, dimension: int, text_bytes: int) -> int | None:
    """Return what an index itself says that vectors of one user take; None where it does not say.

    Args:
        url: of the index.
        vectors: how many.
        dimension: of each.
        text_bytes: of each one's text, a mean.
    """
    parsed = StoreURL.parse(url)
    workload = Workload(
        users=1,
        turns_per_day=1,
        sessions_per_day=1,
        message_bytes=max(1, text_bytes),
        dimension=dimension,
        retention_days=None,
        memories=0,
    )
    age_days = vectors / workload.messages_per_day
    try:
        found = find("vector", parsed.scheme).estimate(parsed, workload, age_days=age_days)
    except UnsupportedOperationError:
        return None
    return round(sum(one.bytes_per_user for one in found.stored)) or None


def process_bytes() -> int | None:
    """Return the memory that this process occupies; None where the system does not tell."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
