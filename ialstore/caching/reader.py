"""``Reader``: answers from a cached value, or reads what belongs there and fills it.

Of readers who miss the same value at once, one reads the store. The others wait for it: those of
this process for its end, those of other processes by looking again. What they get was taken by the
cache after their call began, so it is as fresh as what they would have read.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from ialstore.caching.envelope import full_key
from ialstore.caching.protocol import Bucket, Found, Look, Step, reading, run
from ialstore.decoding import DAMAGE
from ialstore.errors import CorruptError

if TYPE_CHECKING:
    from ialstore.caching.guard import GuardedCache

__all__ = ["Call", "Reader", "Slot", "milliseconds", "owner_of", "slot_of"]

T = TypeVar("T")

_LONGEST_LEASE_SECONDS: Final = 60.0
_JITTER: Final = 0.1
"""Times to live are shortened by up to so much, so that values don't end all at once."""
_LONGEST_WAIT_SECONDS: Final = 0.5
"""For a reader of another process that has the lease."""
_FIRST_PAUSE_SECONDS: Final = 0.002
_LAST_PAUSE_SECONDS: Final = 0.02
_MOST_IMPATIENT: Final = 1_000


class Call(Protocol):
    """What a read asks of the call that it belongs to, such as an ``Operation``."""

    def remaining(self) -> float:
        """Return the seconds left, or raise."""
        ...

    def count(self, key: str, amount: int = 1) -> None:
        """Add to a number of the call's event."""
        ...


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value is: its bucket, its name there, and the hash of its whole key."""

    bucket: Bucket
    name: str
    key: bytes


@lru_cache(maxsize=4096)
def owner_of(address: tuple[str, ...]) -> str:
    """Return the owner of buckets: a hash of the store and the user."""
    return full_key(*address)[:16].hex()


@lru_cache(maxsize=4096)
def slot_of(address: tuple[str, ...], part: str, *names: str) -> Slot:
    """Return where the value of these names is; the first one says of what kind it is."""
    key = full_key(*address, "", *names)
    return Slot(Bucket(owner_of(address), part), f"{names[0]}:{key[:16].hex()}", key)


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, rounded up."""
    return math.ceil(seconds * 1000)


class _Flight:
    """A reader of this process that has a lease, and those who wait for what it fills."""

    def __init__(self) -> None:
        self._landed = threading.Event()
        self._value: bytes | None = None

    def land(self, value: bytes | None) -> None:
        """Let those who wait go on, with the value if the cache took it."""
        if not self._landed.is_set():
            self._value = value
            self._landed.set()

    def wait(self, seconds: float) -> Look:
        """Return what was filled, or ``NOTHING``."""
        if self._landed.wait(seconds) and self._value is not None:
            return Look(Found.VALUE, self._value)
        return Look(Found.NOTHING)


class Reader:
    """Reads values of one cache for many threads.

    Args:
        cache: where they are.
        ttl_seconds: how long a value stays.
    """

    def __init__(self, cache: GuardedCache, ttl_seconds: float) -> None:
        self.cache = cache
        self._ttl_seconds = ttl_seconds
        self._flights: dict[Slot, _Flight] = {}
        self._impatient: dict[Slot, float] = {}

    def read(
        self,
        call: Call,
        slot: Slot,
        answer: Callable[[bytes], T | None],
        load: Callable[[], tuple[T, bytes | None]] | None,
    ) -> T | None:
        """Return the answer from the cache, or what ``load`` reads to fill it; else None.

        Args:
            call: has a deadline and an event.
            slot: where the value is.
            answer: reads the answer off a value; None when it can't tell, one of ``DAMAGE`` or
                ``CorruptError`` when it is no value of this slot.
            load: reads the source, and returns the answer and what to keep, if anything; None
                where only a value that is there will do. Not called while others hold the lease.
        """
        one = _Read(self, call, slot, answer, load)
        try:
            run(reading(), one.do)
        finally:
            one.end()
        call.count("cache_hits" if one.is_hit else "cache_misses")
        return one.answered

    def after_fork(self) -> None:
        """Forget the readers of the parent."""
        self._flights = {}
        self.cache.after_fork()

    # -- for _Read ------------------------------------------------------------------------------

    def ttl_ms(self) -> int:
        """Return the time to live of a new value."""
        return milliseconds(
            self._ttl_seconds * (1 - _JITTER * int.from_bytes(os.urandom(2)) / 65_536)
        )

    def take_off(self, slot: Slot) -> _Flight:
        """Note that a thread of this process has a lease."""
        flight = self._flights[slot] = _Flight()
        return flight

    def is_on_its_way(self, slot: Slot) -> bool:
        """Return whether a thread of this process has the lease."""
        return slot in self._flights

    def board_no_more(self, slot: Slot, flight: _Flight) -> None:
        """Let nobody else wait for it: what the cache takes may be old for who comes later."""
        if self._flights.get(slot) is flight:
            del self._flights[slot]

    def end(self, slot: Slot, flight: _Flight) -> None:
        """Note that it has it no longer."""
        flight.land(None)
        self.board_no_more(slot, flight)

    def wait(self, call: Call, slot: Slot, token: str | None, lease_ms: int) -> Look:
        """Wait for another reader's value, and look again."""
        now = time.monotonic()
        impatient = self._impatient.get(slot, 0.0) > now
        ends_at = now + min(call.remaining() / 2, _LONGEST_WAIT_SECONDS)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if (flight := self._flights.get(slot)) is not None:
                return flight.wait(call.remaining() / 2)
            if impatient:
                return Look(Found.NOTHING)
            time.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_SECONDS)
            look = self.cache.look(slot.bucket, slot.name, token, lease_ms)
            if look.found is not Found.BUSY:
                return look
            if time.monotonic() >= ends_at:
                break
        # Its reader may be dead: until the lease ends, nobody here waits for it again.
        if len(self._impatient) >= _MOST_IMPATIENT:
            self._impatient.clear()
        self._impatient[slot] = time.monotonic() + lease_ms / 1000
        return Look(Found.NOTHING)


class _Read(Generic[T]):
    """One read on its way."""

    def __init__(
        self,
        reader: Reader,
        call: Call,
        slot: Slot,
        answer: Callable[[bytes], T | None],
        load: Callable[[], tuple[T, bytes | None]] | None,
    ) -> None:
        self.answered: T | None = None
        self.is_hit = False
        self._reader = reader
        self._cache = reader.cache
        self._call = call
        self._slot = slot
        self._answer = answer
        self._load = load
        self._token = None if load is None else os.urandom(8).hex()
        self._lease_ms = milliseconds(min(call.remaining() + 1, _LONGEST_LEASE_SECONDS))
        self._flight: _Flight | None = None
        self._value: bytes | None = None

    def do(self, step: Step) -> Any:
        """Do a step of ``reading``."""
        bucket, name, token = self._slot.bucket, self._slot.name, self._token
        match step:
            case Step.LOOK if self._reader.is_on_its_way(self._slot):
                return Look(Found.BUSY)
            case Step.LOOK:
                return self._looked(self._cache.look(bucket, name, token, self._lease_ms))
            case Step.WAIT:
                return self._looked(
                    self._reader.wait(self._call, self._slot, token, self._lease_ms)
                )
            case Step.LOAD if self._flight is not None and self._load is not None:
                self.answered, self._value = self._load()
            case Step.FILL if self._flight and self._value is not None and token is not None:
                self._fill(self._flight, token, self._value)
            case Step.FILL | Step.RELEASE if token is not None:
                self._cache.release(bucket, name, token)
            case _:  # nobody here may fill it: the caller reads what it needs
                pass
        return None

    def end(self) -> None:
        """Let go of those who wait."""
        if self._flight is not None:
            self._reader.end(self._slot, self._flight)

    def _looked(self, look: Look) -> Look:
        if look.found is Found.LEASED:
            self._flight = self._reader.take_off(self._slot)
        if look.found is not Found.VALUE or look.value is None:
            return look
        try:
            self.answered = self._answer(look.value)
        except (CorruptError, *DAMAGE):
            self._call.count("cache_damaged")
            self._cache.discard(self._slot.bucket)
        self.is_hit = self.answered is not None
        return look if self.is_hit else Look(Found.NOTHING)

    def _fill(self, flight: _Flight, token: str, value: bytes) -> None:
        slot = self._slot
        self._reader.board_no_more(slot, flight)
        if self._cache.fill(slot.bucket, slot.name, token, value, self._reader.ttl_ms()):
            self._call.count("cache_fills")
            flight.land(value)
        else:
            self._call.count("cache_refused_fills")
