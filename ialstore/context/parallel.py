"""Two calls side by side: one in a thread of a small pool, one in the caller's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SideBySide"]

_L = TypeVar("_L")
_R = TypeVar("_R")

_THREADS: Final = 8


class SideBySide:
    """Runs pairs of calls; no caller ever waits for a free thread."""

    def __init__(self) -> None:
        self._pool = _new_pool()

    def run(self, left: Callable[[], _L], right: Callable[[], _R]) -> tuple[_L, _R]:
        """Return the results of both; ``meter()`` and ``deadline()`` hold for either.

        When the pool is busy, or closed, the caller runs one after the other.
        """
        context = copy_context()
        try:
            future = self._pool.submit(context.run, left)
        except RuntimeError:  # closed, or the interpreter is ending
            return left(), right()
        try:
            second = right()
        except BaseException:
            future.cancel()
            raise
        if future.cancel():  # no thread has come to it yet
            return left(), second
        return future.result(), second

    def after_fork(self) -> None:
        """Take a new pool: the threads of the old one stayed in the parent."""
        self._pool = _new_pool()

    def close(self) -> None:
        """Wait for running calls and end the threads; idempotent."""
        self._pool.shutdown()


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="ialstore-context")
