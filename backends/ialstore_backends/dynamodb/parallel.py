"""Requests side by side, for one store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from ialstore.operation import requests_waited, wait_also
from ialstore_backends._meanwhile import both, take_next

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.client import DynamoClient

__all__ = ["SideBySide"]

T = TypeVar("T")
_THREADS: Final = 16
_SHARE: Final = 4  # requests on their way from one thread


class SideBySide:
    """A pool of threads that is made when first needed; made anew in a forked child.

    Args:
        client: sends the requests.
    """

    def __init__(self, client: DynamoClient) -> None:
        self._client = client
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

    def reads(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what reads of one request each return, in order.

        Some share a thread, which sends the request of each before it awaits a reply: threads of
        their own would take turns at both, and cost more. Where a read makes further requests, the
        others of its thread wait for them: such are for ``run``. The first error is raised once
        what was sent is answered; what was not sent then is left.
        """
        if len(calls) > 1 and not self._client.overlaps:
            return self.run(calls)
        if len(calls) <= _SHARE:
            return _overlapped(calls)
        shares = [calls[first : first + _SHARE] for first in range(0, len(calls), _SHARE)]
        return list(chain.from_iterable(self.run([partial(_overlapped, one) for one in shares])))

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
            context = copy_context()
            context.run(take_next)  # what is to be made meanwhile is the caller's
            return self._pool.submit(context.run, call)

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


def _overlapped(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Return what calls return, each made while the one before awaits its first reply."""
    if len(calls) < 2:  # noqa: PLR2004 - one is alone
        return [call() for call in calls]
    first, others = both(calls[0], partial(_overlapped, calls[1:]))
    return [first, *others]


def _branch(call: Callable[[], T]) -> tuple[T | BaseException, int]:
    """Return the outcome of a call in a copy of the context, and how many requests it awaited."""
    return _outcome(call), requests_waited()


def _outcome(call: Callable[[], T]) -> T | BaseException:
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - handed on, once the others have ended
        return error
