"""One writer of a directory at a time: a lock that ends with its process, however it ends."""

from __future__ import annotations

import os
import stat
import sys
import threading
import weakref
from pathlib import Path
from typing import Final

from ialstore.errors import ConfigurationError, LockedError

if sys.platform == "win32":  # pragma: no cover - Windows
    import msvcrt
else:
    import fcntl

__all__ = ["WriterLock"]

_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class WriterLock:
    """Taken with the first write, and kept; safe from many threads.

    Args:
        path: of the lock's file, which stays empty and is never removed.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._held: list[int] = []
        weakref.finalize(self, _close_all, self._held)

    @property
    def is_held(self) -> bool:
        """Whether this handle is the writer."""
        return bool(self._held)

    def take(self) -> bool:
        """Take the lock, unless it is held already; return whether it was taken now.

        Raises:
            LockedError: another process, or another handle of this one, has it.
            ConfigurationError: what is there is no regular file.
        """
        if self._held:
            return False
        with self._guard:
            if self._held:  # pragma: no cover - another thread was faster
                return False
            if Path(self._path).is_symlink():  # named here; else the flags refuse it
                raise ConfigurationError(f"{self._path} is a symbolic link; remove it")
            descriptor = os.open(self._path, _FLAGS, 0o600)
            try:
                _lock(descriptor, self._path)
            except BaseException:
                os.close(descriptor)
                raise
            self._held.append(descriptor)
        return True

    def give_back(self) -> None:
        """Let others write."""
        with self._guard:
            _close_all(self._held)

    def after_fork(self) -> None:  # pragma: no cover - in forked children only
        """Begin as a child, without the lock: the parent keeps it."""
        self._guard = threading.Lock()
        self.give_back()


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _lock(descriptor: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ConfigurationError(f"{path} is no regular file; remove it")
    try:
        if sys.platform == "win32":  # pragma: no cover - Windows
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            # Not fcntl's record locks, which a process loses with any descriptor of the file.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        folder = Path(path).parent
        raise LockedError(
            f"{folder} has a writer already, and takes one at a time; close that one, or read only"
        ) from error
