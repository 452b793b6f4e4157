"""What calls cost: ``Units``, and ``meter()`` that sums them over a block of code."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Meter", "Units", "meter", "read_units", "record", "write_units"]

_READ_BYTES = 4096
_WRITE_BYTES = 1024


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


def read_units(size: int, *, strong: bool) -> float:
    """Return the read units of DynamoDB for items of so many bytes that are read together.

    Items of a query are added up before; those read by their keys are rounded up one by one. What
    is not there costs as much as the smallest item.
    """
    whole = max(1, -(-size // _READ_BYTES))
    return float(whole) if strong else whole / 2


def write_units(size: int) -> float:
    """Return the write units of DynamoDB for one item, or one entry of an index, of so many bytes.

    Where a write replaces or removes an item, the larger one counts.
    """
    return float(max(1, -(-size // _WRITE_BYTES)))


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
