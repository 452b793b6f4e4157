"""``GuardedCache``: the border behind which every fault of a cache stays.

No method raises. After a failure, or once the cache has been slow for a while, calls do without it:
a thread asks in the background whether it is back. What was written meanwhile is remembered and
removed from the cache before anybody here uses it again; and since other processes may need a
moment longer to do the same, nothing that the cache holds is believed for ``DISTRUST_SECONDS``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from ialstore.caching.protocol import Bucket, Found, Look

if TYPE_CHECKING:
    from ialstore.caching.protocol import Cache

__all__ = ["GuardedCache", "Removal", "State"]

T = TypeVar("T")

DISTRUST_SECONDS: Final = 1.0
"""After the cache is back; twice the longest pause of any process between two probes."""
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 0.5
_SLOW_SECONDS: Final = 0.01
"""A step that lasts longer is slow; a faster one forgives those before it."""
_PATIENCE_SECONDS: Final = 0.08
"""So much time may slow steps in a row take together."""
_MOST_AT_ONCE: Final = 8
"""Steps of one process. More would only wait for the interpreter, and make the cache look slow."""
_MOST_UNSETTLED: Final = 10_000
"""Owners whose values could not be removed; with more, nothing is believed until all expired."""

_PROBE: Final = Bucket("", "probe")
_log: Final = logging.getLogger("ialstore.cache")


class State(StrEnum):
    """Whether a cache is used."""

    CLOSED = "closed"
    """It is, as the circuit of a breaker is closed."""
    OPEN = "open"
    """It failed, and is not asked."""
    RECOVERING = "recovering"
    """It answers again; writers use it, readers not yet."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of a mark or a settlement.

    Attributes:
        values: how many it removed, as far as the cache said.
        is_sent: it was sent; a cache that hangs or is slow gets it before what is sent later.
        is_sure: the cache said that it is done.
    """

    values: int = 0
    is_sent: bool = False
    is_sure: bool = False


class GuardedCache:
    """A cache that never raises and never holds a caller up for long; safe from many threads.

    Args:
        cache: what it guards.
        ttl_seconds: the longest time that a value stays in it.
        clock: monotonic seconds.
    """

    def __init__(
        self, cache: Cache, ttl_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cache = cache
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._open = False
        self._trusted_from = 0.0
        self._asking = 0
        self._slow_seconds = 0.0
        self._slow_until = 0.0
        self._unsettled: dict[str, set[str]] = {}
        """Parts by owner."""
        self._lost_count = False
        self._prober: threading.Thread | None = None
        self._turns = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._over = threading.Event()

    @property
    def shared(self) -> bool:
        """Whether other processes see what this one puts into it."""
        return self._cache.SHARED

    @property
    def held_bytes(self) -> int:
        """Bytes that it holds in this process."""
        return self._cache.held_bytes

    @property
    def state(self) -> State:
        """Whether it is used."""
        if self._open:
            return State.OPEN
        return State.CLOSED if self._clock() >= self._trusted_from else State.RECOVERING

    # -- steps ----------------------------------------------------------------------------------

    def look(self, bucket: Bucket, name: str, token: str | None, lease_ms: int) -> Look:
        """Look, as ``Cache`` does; ``NOTHING`` when the cache is not used."""
        if (state := self.state) is not State.CLOSED:
            if state is State.OPEN:
                self._look_after()  # after a fork, no thread does it yet
            return _NOTHING
        answer = self._ask(lambda: self._cache.look(bucket, name, token, lease_ms))
        return answer or _NOTHING

    def fill(self, bucket: Bucket, name: str, token: str, value: bytes, ttl_ms: int) -> bool:
        """Fill, as ``Cache`` does; False also when the cache did not answer."""
        if self.state is not State.CLOSED:
            return False
        return bool(self._ask(lambda: self._cache.fill(bucket, name, token, value, ttl_ms)))

    def release(self, bucket: Bucket, name: str, token: str) -> None:
        """Give a lease up."""
        if self.state is State.CLOSED:
            self._ask(lambda: self._cache.release(bucket, name, token))

    def mark(self, buckets: Sequence[Bucket], token: str, mark_ms: int) -> Removal:
        """Mark, as ``Cache`` does."""
        return self._remove(buckets, partial(self._cache.mark, buckets, token, mark_ms))

    def settle(self, buckets: Sequence[Bucket], token: str, keep_ms: int = 0) -> Removal:
        """Settle, as ``Cache`` does; what can't be done is done later."""
        return self._remove(buckets, partial(self._cache.settle, buckets, token, keep_ms))

    def discard(self, bucket: Bucket) -> None:
        """Remove a bucket that holds what does not belong there."""
        self._ask(lambda: self._cache.settle([bucket], ""))

    def _remove(self, buckets: Sequence[Bucket], call: Callable[..., int]) -> Removal:
        with self._lock:
            is_open = self._open
            if is_open:
                self._leave_unsettled(buckets)
        if not is_open:
            removed = self._ask(partial(call, wait=True))
            if removed is not None:
                return Removal(removed, is_sent=True, is_sure=True)
            with self._lock:
                self._leave_unsettled(buckets)
        self._look_after()
        # A cache that is slow, or that only this process finds slow, is told all the same: others
        # may believe it.
        try:
            call(wait=False)
        except Exception:  # noqa: BLE001 - as in _ask
            return Removal()
        return Removal(is_sent=True)

    def _leave_unsettled(self, buckets: Sequence[Bucket]) -> None:
        for bucket in buckets:
            if bucket.owner not in self._unsettled and len(self._unsettled) >= _MOST_UNSETTLED:
                self._lost_count = True
                return
            self._unsettled.setdefault(bucket.owner, set()).add(bucket.part)

    # -- the breaker ----------------------------------------------------------------------------

    def _ask(self, call: Callable[[], T]) -> T | None:
        """Return what a step gives; None when it fails, as every error of a cache ends here."""
        with self._lock:
            self._asking += 1
        try:
            with self._turns:
                if self._open:  # since this thread began to wait
                    return None
                started = self._clock()
                answer = call()
                self._note_pace(started, self._clock())
        except Exception as error:  # noqa: BLE001 - a parser that met garbage raises anything
            self._give_up(type(error).__name__)
            return None
        finally:
            with self._lock:
                self._asking -= 1
        return answer

    def _note_pace(self, began: float, ended: float) -> None:
        """Give up when steps have been slow for a while; each thread waits for the interpreter."""
        if ended - began < _SLOW_SECONDS * min(max(self._asking, 1), _MOST_AT_ONCE):
            self._slow_seconds = 0.0
            return
        with self._lock:
            self._slow_seconds += max(ended - max(began, self._slow_until), 0.0)
            self._slow_until = ended
            too_slow = self._slow_seconds >= _PATIENCE_SECONDS
        if too_slow:
            self._give_up("slow answers")

    def _give_up(self, why: str) -> None:
        with self._lock:
            was_open, self._open = self._open, True
            self._slow_seconds = 0.0
        if not was_open:
            _log.warning("the cache is not used for now: %s", why)
        self._look_after()

    def _look_after(self) -> None:
        """Let a thread ask for the cache until it is back."""
        with self._lock:
            needed = self._open or self._unsettled
            alive = self._prober is not None and self._prober.is_alive()
            if not needed or alive or self._over.is_set():
                return
            self._open = True
            self._prober = threading.Thread(
                target=self._probe, name="ialstore-cache-probe", daemon=True
            )
            self._prober.start()

    def _probe(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._over.wait(pause):
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            try:
                if self._is_back():
                    return
            except Exception:  # noqa: BLE001, S112 - as in _ask; it is not back
                continue

    def _is_back(self) -> bool:
        """Remove what could not be removed before; return whether the cache may be used again."""
        started = self._clock()
        self._cache.look(_PROBE, "", None, 0)
        if self._clock() - started >= _SLOW_SECONDS:
            return False
        while True:
            with self._lock:
                if not self._unsettled:
                    wait = self._ttl_seconds if self._lost_count else DISTRUST_SECONDS
                    self._trusted_from = self._clock() + wait
                    self._open = self._lost_count = False
                    self._prober = None
                    _log.warning("the cache is back")
                    return True
                owner, parts = next(iter(self._unsettled.items()))
                del self._unsettled[owner]
            try:
                self._cache.settle([Bucket(owner, part) for part in sorted(parts)], "")
            except BaseException:
                with self._lock:
                    self._unsettled.setdefault(owner, set()).update(parts)
                raise

    # -- its life -------------------------------------------------------------------------------

    def close(self) -> None:
        """End the thread and give connections back."""
        self._over.set()
        prober = self._prober
        if prober is not None:
            prober.join()
        try:
            self._cache.close()
        except Exception as error:  # noqa: BLE001 - nothing is left to be saved
            _log.debug("closing the cache failed: %s", type(error).__name__)

    def after_fork(self) -> None:
        """Forget what belongs to the parent: connections, threads, and locks they may hold."""
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._asking = 0
        self._prober = None
        self._cache.after_fork()


_NOTHING: Final = Look(Found.NOTHING)
