"""What calls cost: ``Units``, and ``meter()`` that sums them over a block of code."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Meter", "Units", "meter", "record"]


@dataclass(frozen=True, slots=True)
class Units:
    """What a call used, as the service bills it.

    Embedded stores make no requests and use no units: all zeros.
    """

    read: float = 0.0
    """Read units: 4 KiB strongly consistent, or 8 KiB eventually consistent."""
    write: float = 0.0
    """Write units of 1 KiB."""
    requests: int = 0
    """Requests sent over the network, retries included."""
    vector_write_bytes: int = 0
    """Bytes written to a vector index that bills by the byte."""
    vector_search_bytes: int = 0
    """Bytes examined and returned by such an index."""

    def __add__(self, other: Units) -> Units:
        return Units(
            self.read + other.read,
            self.write + other.write,
            self.requests + other.requests,
            self.vector_write_bytes + other.vector_write_bytes,
            self.vector_search_bytes + other.vector_search_bytes,
        )


_ZERO = Units()
_active: ContextVar[tuple[Meter, ...]] = ContextVar("ialstore_meters", default=())


class Meter:
    """Sums the units of every call made inside its ``with`` block, in any thread of the library.

    Meters nest: an outer one also counts what an inner one counts. One that is entered twice counts
    each call once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._units = _ZERO

    @property
    def units(self) -> Units:
        """The sum so far; may be read inside and after the block."""
        return self._units

    def add(self, units: Units) -> None:
        """Add units of one call; thread-safe."""
        with self._lock:
            self._units += units

    def __enter__(self) -> Self:
        _active.set((*_active.get(), self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _active.set(_active.get()[:-1])


def meter() -> Meter:
    """Return a context manager whose ``units`` sums the cost of the calls inside it.

    >>> with meter() as m:
    ...     pass
    >>> m.units.requests
    0

    Embedded stores use no units; services report theirs.
    """
    return Meter()


def record(units: Units) -> None:
    """Add the units of a finished call to every meter that is open around it."""
    active = _active.get()
    for one in set(active) if active else ():
        one.add(units)
