"""How much room something takes: files of a store, and this process."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Final

from ialstore.errors import ConfigurationError
from ialstore.url import StoreURL

__all__ = ["file_bytes", "process_bytes"]

_STATM: Final = Path("/proc/self/statm")


def file_bytes(url: str) -> int | None:
    """Return the size of a store's file or folder and what lies beside it; None for other stores.

    Raises:
        ConfigurationError: the URL can't be read.
    """
    parsed = StoreURL.parse(url)
    try:
        path = Path(parsed.file_path())
    except ConfigurationError:
        return None
    # Only sizes are asked for: opening a database's file would drop the locks on it.
    beside = list(path.parent.glob(f"{glob.escape(path.name)}*"))
    inside = [one for folder in beside if folder.is_dir() for one in folder.rglob("*")]
    return sum(one.stat().st_size for one in (*beside, *inside) if one.is_file())


def process_bytes() -> int | None:
    """Return the memory that this process occupies; None where the system does not tell."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
