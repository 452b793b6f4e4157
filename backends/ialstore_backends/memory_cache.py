"""``MemoryCache``: a cache in this process, for stores that no other process writes to."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from ialstore.caching.protocol import MAX_NAMES, MAX_VALUE_BYTES, Bucket, Found, Look
from ialstore_backends.memory import check_memory_url

if TYPE_CHECKING:
    from ialstore.url import StoreURL

__all__ = ["MemoryCache"]

MAX_BYTES: Final = 64 * 1024 * 1024
"""Of all values together; those that were not used for longest go first."""


@dataclass(slots=True)
class _Held:
    """One bucket. Times are monotonic seconds."""

    values: dict[str, bytes] = field(default_factory=dict[str, bytes])
    ends_at: float = 0.0
    leases: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])
    marks: dict[str, float] = field(default_factory=dict[str, float])

    def is_needed(self, now: float) -> bool:
        """Return whether a mark or a lease has not ended."""
        ends = (*self.marks.values(), *(ends_at for _, ends_at in self.leases.values()))
        return any(ends_at > now for ends_at in ends)


class MemoryCache:
    """A cache that all stores of this process share; see ``Cache``.

    Args:
        max_bytes: of all values together.
        clock: monotonic seconds.
    """

    SHARED: ClassVar[bool] = False

    def __init__(
        self, max_bytes: int = MAX_BYTES, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[Bucket, _Held] = OrderedDict()
        self._bytes = 0

    @classmethod
    def from_url(cls, url: StoreURL, *, timeout_seconds: float) -> MemoryCache:
        """Return the cache of this process; ``memory:`` takes no name and no options."""
        check_memory_url(url)
        return _shared

    @property
    def held_bytes(self) -> int:
        """Bytes of all values."""
        return self._bytes

    def look(self, bucket: Bucket, name: str, token: str | None, lease_ms: int) -> Look:
        """Return the value of a name, or else take its lease."""
        with self._lock:
            held, now = self._bucket(bucket)
            if (value := held.values.get(name)) is not None:
                return Look(Found.VALUE, value)
            if held.marks:
                return Look(Found.MARKED)
            if held.leases.get(name, ("", now))[1] > now:
                return Look(Found.BUSY)
            if token is None:
                return Look(Found.NOTHING)
            if len(held.leases) >= MAX_NAMES:
                held.leases.clear()
            held.leases[name] = (token, now + lease_ms / 1000)
            return Look(Found.LEASED)

    def fill(self, bucket: Bucket, name: str, token: str, value: bytes, ttl_ms: int) -> bool:
        """Put a value if this token still holds the lease and no mark stands."""
        with self._lock:
            held, now = self._bucket(bucket)
            leased_to, ends_at = held.leases.get(name, ("", now))
            if leased_to != token:
                return False
            del held.leases[name]
            if held.marks or ends_at <= now or len(value) > MAX_VALUE_BYTES:
                return False
            if len(held.values) >= MAX_NAMES:
                self._drop(held)
            if not held.values:
                held.ends_at = now + ttl_ms / 1000
            held.values[name] = value
            self._bytes += len(value)
            self._shrink(now)
        return True

    def release(self, bucket: Bucket, name: str, token: str) -> None:
        """Give up a lease without a value, if this token still holds it."""
        with self._lock:
            held, now = self._bucket(bucket)
            if held.leases.get(name, ("", now))[0] == token:
                del held.leases[name]

    def mark(
        self, buckets: Sequence[Bucket], token: str, mark_ms: int, *, wait: bool = True
    ) -> int:
        """Remove values and leases of an owner's buckets, and keep any from being put."""
        return self._remove(buckets, token, mark_ms)

    def settle(
        self, buckets: Sequence[Bucket], token: str, keep_ms: int = 0, *, wait: bool = True
    ) -> int:
        """Remove values and leases of an owner's buckets, and the mark of this token."""
        return self._remove(buckets, token, keep_ms)

    def close(self) -> None:
        """Keep everything: other stores use it too."""

    def after_fork(self) -> None:
        """Forget what the parent held: from now on it learns of no write of this process."""
        self._lock = threading.Lock()
        self._buckets.clear()
        self._bytes = 0

    def _remove(self, buckets: Sequence[Bucket], token: str, mark_ms: int) -> int:
        removed = 0
        with self._lock:
            for bucket in buckets:
                held, now = self._bucket(bucket)
                removed += self._drop(held)
                held.leases.clear()
                held.marks.pop(token, None)
                if mark_ms:
                    held.marks[token] = now + mark_ms / 1000
                elif not held.marks:
                    del self._buckets[bucket]
        return removed

    def _bucket(self, bucket: Bucket) -> tuple[_Held, float]:
        """Return a bucket without what has ended, and the time."""
        now = self._clock()
        if bucket not in self._buckets:
            self._shrink(now)
            self._buckets[bucket] = _Held()
        held = self._buckets[bucket]
        self._buckets.move_to_end(bucket)
        if held.values and held.ends_at <= now:
            self._drop(held)
        if held.marks:
            held.marks = {one: ends_at for one, ends_at in held.marks.items() if ends_at > now}
        return held, now

    def _drop(self, held: _Held) -> int:
        dropped = len(held.values)
        self._bytes -= sum(map(len, held.values.values()))
        held.values.clear()
        return dropped

    def _shrink(self, now: float) -> None:
        """Let go of what was not used for longest; a bucket with a mark or a lease stays."""
        if not self._is_too_large():
            return
        for bucket, held in list(self._buckets.items()):
            self._drop(held)
            if not held.is_needed(now):
                del self._buckets[bucket]
            if not self._is_too_large():
                return

    def _is_too_large(self) -> bool:
        return self._bytes > self._max_bytes or len(self._buckets) > _MOST_BUCKETS


_MOST_BUCKETS: Final = 100_000
_shared: Final = MemoryCache()
