"""Two calls side by side in one thread: one is made while the other awaits a reply."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ialstore.operation import requests_waited, waited_beside

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Meanwhile", "both", "take_next"]

F = TypeVar("F")
T = TypeVar("T")


class Meanwhile(Generic[T]):
    """A call to be made once, as soon as a request has been sent.

    Args:
        call: to be made.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call: Callable[[], T] | None = call
        self._error: Exception | None = None
        self._value: T

    def run(self) -> None:
        """Make the call, before the reply is awaited; an error is kept for ``result``.

        An interruption is none: it goes through the request that awaits its reply.
        """
        call, self._call = self._call, None
        if call is None:  # a hook of the driver has sent a request of its own
            return
        before = requests_waited()
        try:
            self._value = call()
        except Exception as error:  # noqa: BLE001 - raised by ``result``
            self._error = error
        waited_beside(before)

    def result(self) -> T:
        """Return what the call returned, or raise its error; make it if nothing was sent."""
        if self._call is not None:
            return self._call()
        if self._error is not None:
            raise self._error
        return self._value


_next: ContextVar[Meanwhile[Any] | None] = ContextVar("ialstore_meanwhile", default=None)


def both(first: Callable[[], F], other: Callable[[], T]) -> tuple[F, T]:
    """Return what two calls return; ``other`` is made once ``first`` has sent its first request.

    The error of ``first`` goes before that of ``other``, which is not made at all where ``first``
    fails before it sends anything.
    """
    later = Meanwhile(other)
    token = _next.set(later)
    try:
        found = first()
    finally:
        _next.reset(token)
    return found, later.result()


def take_next() -> Meanwhile[Any] | None:
    """Return what is to be made beside the request that begins now; nobody else gets it."""
    found = _next.get()
    if found is not None:
        _next.set(None)
    return found
