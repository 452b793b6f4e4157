"""Vectors on the disk instead of in memory: an array in a file without a name.

The system keeps in memory what is used and drops the rest when it needs room. Without a name nobody
else can open the file, and nothing is left of it when the process ends, however it ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["on_disk"]

_ZEROS: Final = bytes(2**20)


def on_disk(folder: str, rows: NDArray[np.float32], capacity: int) -> NDArray[np.float32]:
    """Return a copy of rows with room for so many, 1 or more, in a file of a folder.

    Raises:
        OSError: there is no room on the disk. It is taken now: to write to memory that the disk
            can't take would end the process.
    """
    dimension = rows.shape[1]
    size = 4 * capacity * dimension
    with tempfile.TemporaryFile(dir=folder) as file:
        _allocate(file, size)
        memory = mmap.mmap(file.fileno(), size)  # keeps the file
    wider = np.frombuffer(memory, np.float32).reshape(capacity, dimension)
    wider[: len(rows)] = rows
    return wider


def _allocate(file: IO[Any], size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, len(_ZEROS)):  # pragma: no cover - macOS and Windows
        file.write(_ZEROS[: size - start])
    file.flush()  # pragma: no cover - as above
