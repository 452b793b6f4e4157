"""The threads of an async face: calls wait for one in a queue, cancelled callers leave at once."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ialstore._text import check_int
from ialstore.errors import DeadlineExceededError, StoreNotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["DEFAULT_THREADS", "Threads", "check_max_threads", "in_new_thread"]

T = TypeVar("T")

DEFAULT_THREADS: Final = 16
"""Of each face. Services answer side by side; embedded stores gain nothing from more."""
_MOST_THREADS: Final = 1000


def check_max_threads(max_threads: object) -> None:
    """Refuse what is no number of threads."""
    check_int(max_threads, "max_threads", at_least=1, at_most=_MOST_THREADS)


class Threads:
    """At most so many threads, for calls from any number of event loops; first come, first served.

    A thread is only taken while a call runs, so that waiting calls can't block one another.
    """

    def __init__(self, max_threads: int, backend: str) -> None:
        check_max_threads(max_threads)
        self._max_threads = max_threads
        self._backend = backend
        self._refusing = False
        self.closed = False
        """Whether ``close`` is done, with ``last``."""
        self._renew()
        _living.add(self)

    async def run(
        self,
        name: str,
        call: Callable[[], T],
        *,
        context: Context,
        patience_seconds: float,
        is_part: bool = False,
    ) -> T:
        """Return what the call returns, or raise what it raises.

        When the caller is cancelled, a call that has begun runs on, and one that has not is
        dropped.

        Args:
            name: the public method, for errors.
            call: runs in a thread.
            context: its context variables; of this call alone.
            patience_seconds: how long it may wait for a thread.
            is_part: made inside ``held_open``.

        Raises:
            StoreNotReadyError: the face is closed.
            DeadlineExceededError: no thread was free in time; the call was not made.
        """
        loop = asyncio.get_running_loop()  # raises before anything is done, where there is none
        with self._guard:
            if not is_part:
                self._require_open(name)
            future = self._pool.submit(context.run, _without_stop_iteration, call)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        result = asyncio.wrap_future(future, loop=loop)
        try:
            if len(self._unfinished) > self._max_threads:
                await asyncio.wait([result], timeout=max(0.0, patience_seconds))
                if future.cancel():  # it has not begun
                    raise DeadlineExceededError(
                        f"{name} found no free thread in time; {self._max_threads} were busy",
                        backend=self._backend,
                        operation=name,
                        retryable=True,
                    )
            return await result
        except asyncio.CancelledError:
            result.cancel()  # and with it the call, unless it has begun
            raise

    @contextmanager
    def held_open(self, name: str) -> Generator[None]:
        """Let ``close`` wait for the block, whose calls are parts of one.

        Raises:
            StoreNotReadyError: the face is closed.
        """
        with self._guard:
            self._require_open(name)
            self._holders += 1
        try:
            yield
        finally:
            with self._guard:
                self._holders -= 1
                self._released.notify_all()

    def close(self, last: Callable[[], object]) -> None:
        """Refuse further calls, wait for those that were made, end the threads, then call ``last``.

        Blocks; whoever comes second waits for the first.
        """
        with self._guard:
            self._refusing = True
            self._released.wait_for(lambda: self._holders == 0)
        with self._closing:
            self._pool.shutdown()
            try:
                last()
            finally:
                self.closed = True

    def after_fork(self) -> None:
        """Take new threads: the old ones stayed in the parent, and their calls with them."""
        self._renew()

    def _require_open(self, name: str) -> None:
        if self._refusing:
            raise StoreNotReadyError(
                f"{name}: this {self._backend} store is closed; open it again",
                backend=self._backend,
                operation=name,
            )

    def _renew(self) -> None:
        self._pool = ThreadPoolExecutor(self._max_threads, thread_name_prefix="ialstore-async")
        self._unfinished: set[Future[Any]] = set()
        self._guard = threading.RLock()  # a collected coroutine leaves `held_open` anywhere
        self._released = threading.Condition(self._guard)
        self._holders = 0
        self._closing = threading.Lock()


def _without_stop_iteration(call: Callable[[], T]) -> T:
    try:
        return call()
    except StopIteration as error:  # no future can carry it: the caller would wait for ever
        raise RuntimeError("a call raised StopIteration") from error


async def in_new_thread(
    call: Callable[[], T], *, name: str, unwanted: Callable[[T], object] = bool
) -> T:
    """Return what the call returns, or raise what it raises; it runs in a thread of its own.

    Args:
        call: runs to its end, also when the caller is cancelled.
        name: of the thread.
        unwanted: what to do with a result for which nobody waits any more.
    """
    loop = asyncio.get_running_loop()
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from now on nothing cancels it
    context = copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(call))
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            future.set_exception(error)

    def discard(done: Future[T]) -> None:
        if done.exception() is None:
            unwanted(done.result())

    threading.Thread(target=work, name=name).start()
    try:
        return await asyncio.wrap_future(future, loop=loop)
    except asyncio.CancelledError:
        future.add_done_callback(discard)
        raise


_living: weakref.WeakSet[Threads] = weakref.WeakSet()


def _forget_parent() -> None:
    for threads in list(_living):
        threads.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_forget_parent)
