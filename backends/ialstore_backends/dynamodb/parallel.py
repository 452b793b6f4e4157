"""Requests side by side, for one store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Final, TypeVar

from ialstore.operation import requests_waited, wait_also

__all__ = ["SideBySide"]

T = TypeVar("T")
_THREADS: Final = 16


class SideBySide:
    """A pool of threads that is made when first needed; made anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._inside = threading.local()

    def run(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what each call returns, in order; once all have ended, raise the first error."""
        outcomes = self.outcomes(calls)
        for one in outcomes:
            if isinstance(one, BaseException):
                raise one
        return outcomes  # type: ignore[return-value]  # no error is left

    def outcomes(self, calls: Sequence[Callable[[], T]]) -> list[T | BaseException]:
        """Return what each call returned or raised, in order.

        Within one of its own threads calls run one after another: a pool whose threads wait for
        others of their own would stand still.
        """
        if len(calls) < 2 or getattr(self._inside, "yes", False):  # noqa: PLR2004 - one is alone
            return [_outcome(call) for call in calls]
        others = [self.start(partial(_branch, call)) for call in calls[1:]]
        first = _outcome(calls[0])
        ended = [one.result() for one in others]
        wait_also(max(waited for _, waited in ended))
        return [first, *(outcome for outcome, _ in ended)]

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Start a call in another thread, in the caller's context."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    _THREADS, "ialstore-dynamodb", initializer=self._mark
                )
            return self._pool.submit(copy_context().run, call)

    def _mark(self) -> None:
        self._inside.yes = True

    def forget(self) -> None:  # pragma: no cover - runs in forked children only
        """Begin anew in a forked child, which has none of the threads."""
        self._lock = threading.Lock()
        self._pool = None

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()


def _branch(call: Callable[[], T]) -> tuple[T | BaseException, int]:
    """Return the outcome of a call in a copy of the context, and how many requests it awaited."""
    return _outcome(call), requests_waited()


def _outcome(call: Callable[[], T]) -> T | BaseException:
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - handed on, once the others have ended
        return error
