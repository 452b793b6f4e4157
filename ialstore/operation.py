"""One public call while it runs: ``Operation``, and ``deadline()`` that bounds it.

Hooks get the operation as their first argument. It tells them the time they have and the time it
is, and takes note of what they used.
"""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from ialstore._text import to_microseconds
from ialstore.cost import Units
from ialstore.errors import DeadlineExceededError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from ialstore.model import Consistency

__all__ = [
    "Deadline",
    "Operation",
    "OperationOwner",
    "count_from_now",
    "deadline",
    "end_of_call",
    "requests_waited",
    "seconds_to_begin",
    "wait_also",
    "waited_beside",
]

_NOTHING: Final = Units()
_TOO_LONG: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class _Span:
    """The time between entering a ``deadline()`` and its end."""

    seconds: float
    ends_at: float
    outer: _Span | None


_current: ContextVar[_Span | None] = ContextVar("ialstore_deadline", default=None)
_waited: ContextVar[int] = ContextVar("ialstore_waited", default=0)


class Deadline:
    """Gives a span of time to all calls inside its ``with`` block; may be entered often."""

    def __init__(self, seconds: float) -> None:
        check_span(seconds, "the seconds of a deadline")
        self.seconds = float(seconds)

    def __enter__(self) -> Self:
        outer = _current.get()
        seconds, ends_at = self.seconds, time.monotonic() + self.seconds
        if outer is not None:
            seconds, ends_at = min(seconds, outer.seconds), min(ends_at, outer.ends_at)
        _current.set(_Span(seconds, ends_at, outer))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        span = _current.get()
        if span is not None:
            _current.set(span.outer)


def deadline(seconds: float) -> Deadline:
    """Return a context manager that gives all calls inside it so many seconds together.

    It replaces the store's own timeout, also by a longer one. An inner deadline never outlasts an
    outer one. For ``setup``, ``check``, ``erase``, ``delete_session``, ``bulk_load``, ``optimize``
    and ``users`` the seconds hold for each request.

    Raises:
        InvalidInputError: ``seconds`` is no number above 0 and below 10,000,000.
    """
    return Deadline(seconds)


def end_of_call(timeout_seconds: float) -> float:
    """Return the ``time.monotonic()`` at which a call that begins now must have ended.

    For what calls a service but is no store: the end of the ``deadline()`` around it, else after
    its own timeout.
    """
    scope = _current.get()
    return time.monotonic() + timeout_seconds if scope is None else scope.ends_at


def check_span(value: object, what: str) -> None:
    """Refuse what is no number above 0 and below 10,000,000: beyond it is a mistake of units."""
    if not isinstance(value, (int, float)) or not 0 < value < _TOO_LONG:
        raise InvalidInputError(f"{what} must be a number above 0 and below {_TOO_LONG:,}")


def count_from_now(timeout_seconds: float) -> None:
    """Let the timeout of a call begin now, before the call, unless a deadline is set already.

    For a context made for one call, such as that of a call that still waits for a thread.
    """
    if _current.get() is None:
        _current.set(_Span(timeout_seconds, time.monotonic() + timeout_seconds, None))


def seconds_to_begin(timeout_seconds: float, *, renewable: bool) -> float:
    """Return how long a call may wait before it begins; 0 or less when its time is up.

    Args:
        timeout_seconds: its time outside any deadline.
        renewable: whether its deadline holds for each request.
    """
    if not renewable:
        return end_of_call(timeout_seconds) - time.monotonic()
    span = _current.get()
    return timeout_seconds if span is None else span.seconds


def requests_waited() -> int:
    """Return how many requests this context has waited for, one after another."""
    return _waited.get()


def wait_also(waited: int) -> None:
    """Take note that this context waited for another one, which has waited for so many requests.

    For what runs requests side by side, in copies of its context, once they have ended.
    """
    _waited.set(max(waited, _waited.get()))


def waited_beside(before: int) -> None:
    """Take note that the first request since then was made while another awaits its reply.

    Args:
        before: ``requests_waited()`` of that time.
    """
    _waited.set(max(before, _waited.get() - 1))


class OperationOwner(Protocol):
    """What an ``Operation`` asks of the component whose public method opened it."""

    @property
    def backend(self) -> str:
        """URL scheme."""
        ...

    def _begin(self, op: Operation) -> None: ...

    def _end(self, op: Operation, error: BaseException | None) -> None: ...


class Operation:
    """One running public call.

    Attributes:
        name: the public method, such as ``append``.
        consistency: what the call asks for, never None for reads.
        items: how many items it returned or wrote, for the event.
        details: what else the event shows; see ``note``.
        is_partly_applied: whether a long call has written something already; an error that then
            says ``NOT_APPLIED`` speaks of one request only, and is corrected.
        callers_error: what the caller's own iterable or callback raised; passes as it is, although
            it may look like one of the driver.
        round_trips: requests that were made one after another; those side by side count once.
        started: ``time.perf_counter()`` at its beginning.
    """

    __slots__ = (
        "_clock",
        "_ends_at",
        "_lock",
        "_now",
        "_owner",
        "_renewable",
        "_seconds",
        "_units",
        "_waited_before",
        "callers_error",
        "consistency",
        "details",
        "is_partly_applied",
        "items",
        "name",
        "round_trips",
        "started",
    )

    def __init__(
        self,
        owner: OperationOwner,
        name: str,
        *,
        consistency: Consistency | None,
        clock: Callable[[], datetime],
        timeout_seconds: float,
        renewable: bool,
    ) -> None:
        self.name = name
        self.consistency = consistency
        self.items: int | None = None
        self.details: dict[str, Any] = {}
        self.is_partly_applied = False
        self.callers_error: Exception | None = None
        self.round_trips = 0
        self.started = time.perf_counter()
        self._owner = owner
        self._clock = clock
        self._now: int | None = None
        self._units = _NOTHING
        self._waited_before = _waited.get()
        self._lock = threading.Lock()
        self._renewable = renewable
        scope = _current.get()
        if scope is None:
            self._seconds = timeout_seconds
            self._ends_at = time.monotonic() + timeout_seconds
        else:
            self._seconds = scope.seconds
            self._ends_at = time.monotonic() + scope.seconds if renewable else scope.ends_at

    @property
    def now(self) -> int:
        """Seconds since 1970 by the store's clock, the same throughout the call.

        What expires at or before it is gone.
        """
        if self._now is None:
            self._now = to_microseconds(self._clock(), "what the clock returns") // 1_000_000
        return self._now

    @property
    def units(self) -> Units:
        """What the call used so far."""
        return self._units

    def add(self, units: Units) -> None:
        """Take note of units used, after the requests that used them; thread-safe."""
        waited = _waited.get() + units.requests
        _waited.set(waited)
        with self._lock:
            self._units += units
            self.round_trips = max(self.round_trips, waited - self._waited_before)

    def note(self, key: str, value: object) -> None:
        """Add a detail to the event: the plan, units per partition; never content or ids."""
        self.details[key] = value

    def count(self, key: str, amount: int = 1) -> None:
        """Add to a number among the details; thread-safe."""
        with self._lock:
            self.details[key] = self.details.get(key, 0) + amount

    def tally(self, key: str, name: str, amount: float) -> None:
        """Add an amount to one of the named numbers of a detail; thread-safe."""
        with self._lock:
            amounts: dict[str, float] = self.details.setdefault(key, {})
            amounts[name] = amounts.get(name, 0.0) + amount

    def remaining(self) -> float:
        """Return the seconds left, above 0.

        Raises:
            DeadlineExceededError: none are left.
        """
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(
                f"{self.name} did not end within {self._seconds:g} s", retryable=True
            )
        return left

    def renew(self) -> None:
        """Give the next request its whole time, in the calls whose deadline holds per request."""
        if self._renewable:
            self._ends_at = time.monotonic() + self._seconds

    def __enter__(self) -> Self:
        self._owner._begin(self)  # noqa: SLF001 - the two are one mechanism
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._owner._end(self, error)  # noqa: SLF001 - the two are one mechanism
