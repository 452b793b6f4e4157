"""What a thread does while it awaits a reply: requests side by side without a thread for each."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token, copy_context
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from ialstore.operation import requests_waited, wait_also

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Meanwhile", "branch", "outcome_of", "take"]

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """A call that is made once the next request within a ``with`` block has been sent.

    The transport makes it, before it awaits the reply.

    Args:
        call: to be made.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._ended: tuple[T | BaseException, int] | None = None

    def __enter__(self) -> Self:
        self._token: Token[Meanwhile[object] | None] = _next.set(cast("Meanwhile[object]", self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _next.reset(self._token)

    def run(self) -> None:
        """Make the call; what it raises is kept for ``result``."""
        self._ended = copy_context().run(branch, self._call)

    def result(self) -> T:
        """Return what the call returned or raise what it raised; make it if nothing was sent."""
        if self._ended is None:
            return self._call()
        outcome, waited = self._ended
        wait_also(waited)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


_next: ContextVar[Meanwhile[object] | None] = ContextVar("ialstore_meanwhile", default=None)


def take() -> Meanwhile[object] | None:
    """Return what is to be done while the request that begins now is on its way."""
    found = _next.get()
    if found is not None:
        _next.set(None)
    return found


def branch(call: Callable[[], T]) -> tuple[T | BaseException, int]:
    """Return the outcome of a call in a copy of the context, and how many requests it awaited."""
    return outcome_of(call), requests_waited()


def outcome_of(call: Callable[[], T]) -> T | BaseException:
    """Return what a call returns, or what it raises."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - handed on, once what runs beside has ended
        return error
