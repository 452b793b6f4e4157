"""What a cache is to ialstore, and the steps that keep it from ever answering with what is stale.

A reader looks; where nothing is there it takes a lease, reads the store and fills, which the cache
refuses once a writer came between. A writer marks, which removes the values, writes the store, and
settles, which removes them again with the leases. ``reading`` and ``writing`` are those steps
without any I/O: whoever runs them sends in what each step gave. A test visits every state that two
readers and two writers can reach with them.

Leases: R. Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias

from ialstore.errors import IalStoreError, Outcome, PartialWriteError

if TYPE_CHECKING:
    from ialstore.url import StoreURL

__all__ = [
    "MAX_NAMES",
    "MAX_VALUE_BYTES",
    "Bucket",
    "Cache",
    "Found",
    "Look",
    "Step",
    "Steps",
    "reading",
    "run",
    "writing",
]

MAX_VALUE_BYTES: Final = 256 * 1024
"""Of one value as the cache keeps it; what is larger is not cached, nor read."""
MAX_NAMES: Final = 1_000
"""Values of one bucket; a cache that is given more may forget the others."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The values that one write makes stale together.

    Attributes:
        owner: hash of store and user, in hex; all buckets of an owner lie on one node of a cluster.
        part: which of the owner's buckets.
    """

    owner: str
    part: str


class Found(StrEnum):
    """What a look at one value found."""

    VALUE = "value"
    """It is there."""
    LEASED = "leased"
    """Nothing is there; the caller has the lease and may fill it."""
    BUSY = "busy"
    """Nothing is there; somebody else has the lease."""
    MARKED = "marked"
    """Nothing is there, and a writer is at work: nobody may fill it."""
    NOTHING = "nothing"
    """Nothing is there; no lease was asked for, or the cache does not answer."""


@dataclass(frozen=True, slots=True)
class Look:
    """The answer to a look."""

    found: Found
    value: bytes | None = field(default=None, repr=False)


class Cache(Protocol):
    """A cache that understands leases and marks. Each method is one atomic step.

    Values are opaque. Any method may raise anything: the caller answers without the cache then.
    Times to live are whole milliseconds by the cache's own clock. Safe from many threads.
    """

    SHARED: ClassVar[bool]
    """Whether other processes see what this one puts into it."""

    @property
    def held_bytes(self) -> int:
        """Bytes that it holds in this process."""
        ...

    @classmethod
    def from_url(cls, url: StoreURL, *, timeout_seconds: float) -> Cache:
        """Return the cache that a URL names; connects to nothing yet.

        Args:
            url: see ``StoreURL``.
            timeout_seconds: for one step, connecting included.

        Raises:
            ConfigurationError: the URL or an option in it is wrong.
        """
        ...

    def look(self, bucket: Bucket, name: str, token: str | None, lease_ms: int) -> Look:
        """Return the value of a name, or else take its lease.

        Args:
            bucket: where it is.
            name: of the value within the bucket.
            token: of the lease; None takes none.
            lease_ms: time to live of the lease.
        """
        ...

    def fill(self, bucket: Bucket, name: str, token: str, value: bytes, ttl_ms: int) -> bool:
        """Put a value if this token still holds the lease and no mark stands; give the lease up.

        Args:
            bucket: where it goes.
            name: of the value.
            token: of the lease.
            value: at most ``MAX_VALUE_BYTES``.
            ttl_ms: time to live of the whole bucket, counted from the first value in it.

        Returns:
            Whether it was put.
        """
        ...

    def release(self, bucket: Bucket, name: str, token: str) -> None:
        """Give up a lease without a value, if this token still holds it."""
        ...

    def mark(
        self, buckets: Sequence[Bucket], token: str, mark_ms: int, *, wait: bool = True
    ) -> int:
        """Remove the values and leases of buckets, and keep any from being put until ``settle``.

        Args:
            buckets: of one owner.
            token: of the mark; several may stand at once.
            mark_ms: when the mark ends by itself, because its writer is dead.
            wait: for the answer; else send it, if that can be done at once, and return 0.

        Returns:
            How many values were removed.
        """
        ...

    def settle(
        self, buckets: Sequence[Bucket], token: str, keep_ms: int = 0, *, wait: bool = True
    ) -> int:
        """Remove the values and leases of buckets, and the mark of this token.

        Args:
            buckets: of one owner.
            token: of the mark; where there is none, values and leases go all the same.
            keep_ms: how long the mark stays instead, because the write may still reach the store.
            wait: as for ``mark``.

        Returns:
            How many values were removed.
        """
        ...

    def close(self) -> None:
        """Give connections back."""
        ...

    def after_fork(self) -> None:
        """Forget connections inherited from the parent, without closing them."""
        ...


class Step(StrEnum):
    """What ``reading`` and ``writing`` ask for; what each gives stands behind it."""

    LOOK = "look"
    """Look, and take the lease where nothing is there: a ``Look``."""
    WAIT = "wait"
    """Wait a while for whoever has the lease, and look again: a ``Look``."""
    LOAD = "load"
    """Read the store, strongly consistent: what was read."""
    FILL = "fill"
    """Put what was read, if the lease still stands: nothing."""
    RELEASE = "release"
    """Give the lease up: nothing."""
    MARK = "mark"
    """Mark: nothing."""
    WRITE = "write"
    """Write the store: nothing, or raises."""
    SETTLE = "settle"
    """Settle: nothing."""
    SETTLE_IN_DOUBT = "settle in doubt"
    """Settle, but leave the mark: nothing."""


Steps: TypeAlias = Generator[Step, Any, Any]
"""Each step is answered with what it gave, or with what it raised."""


def run(steps: Steps, do: Callable[[Step], Any]) -> Any:
    """Return what the steps end with; ``do`` does each."""
    try:
        step = next(steps)
        while True:
            try:
                gave = do(step)
            except Exception as error:  # noqa: BLE001 - the steps decide what it means
                step = steps.throw(error)
            else:
                step = steps.send(gave)
    except StopIteration as end:
        return end.value


def reading() -> Steps:
    """Return a ``Look`` with the value that the cache had, or else what the store gave."""
    look: Look = yield Step.LOOK
    if look.found is Found.BUSY:
        look = yield Step.WAIT
    if look.found is Found.VALUE:
        return look
    if look.found is not Found.LEASED:
        return (yield Step.LOAD)
    try:
        loaded = yield Step.LOAD
    except Exception:
        yield Step.RELEASE
        raise
    yield Step.FILL
    return loaded


def writing() -> Steps:
    """Return what the write gave."""
    yield Step.MARK
    try:
        written = yield Step.WRITE
    except Exception as error:
        yield Step.SETTLE if _is_over(error) else Step.SETTLE_IN_DOUBT
        raise
    yield Step.SETTLE
    return written


def _is_over(error: Exception) -> bool:
    """Return whether a failed write can no longer reach the store."""
    if isinstance(error, PartialWriteError):
        return not error.unknown
    return isinstance(error, IalStoreError) and error.outcome is Outcome.NOT_APPLIED
