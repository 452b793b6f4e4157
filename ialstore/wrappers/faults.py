"""``faults``: makes a store fail as services do, by a seed, for tests and rehearsals.

The same seed and the same calls give the same faults. With every rate at zero nothing changes.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from ialstore.conversation import ConversationStore
from ialstore.errors import (
    DeadlineExceededError,
    InvalidInputError,
    Outcome,
    PartialWriteError,
    ThrottledError,
    UnavailableError,
)
from ialstore.model import AppendResult, EncodedMessage
from ialstore.url import closest
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper

if TYPE_CHECKING:
    from ialstore.capabilities import ConversationCapabilities
    from ialstore.operation import Operation

__all__ = ["FaultsConversationStore", "FaultsOptions", "FaultsVectorIndex"]

T = TypeVar("T")

_WRITES: Final = frozenset(
    {
        "append",
        "bulk_load",
        "delete",
        "delete_session",
        "erase",
        "optimize",
        "replace",
        "setup",
        "upsert",
    }
)
_READS: Final = frozenset(
    {"check", "count", "get", "history", "ids", "search", "sessions", "summaries", "users"}
)


@dataclass(frozen=True, slots=True)
class FaultsOptions:
    """How often what goes wrong. Rates are from 0 to 1, each drawn for itself.

    Attributes:
        seed: of the draws.
        throttled: rate of calls that are refused with ``ThrottledError``.
        unavailable: rate of calls that fail before they reach the store.
        lost_reply: rate of calls that reach the store and whose reply is lost.
        partial: rate of batches of which only a part is written.
        delayed: rate of calls that take ``delay_seconds`` longer.
        delay_seconds: see ``delayed``.
        operations: only these, such as ``append``; all of them by default.
    """

    seed: int = 0
    throttled: float = 0.0
    unavailable: float = 0.0
    lost_reply: float = 0.0
    partial: float = 0.0
    delayed: float = 0.0
    delay_seconds: float = 1.0
    operations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("throttled", "unavailable", "lost_reply", "partial", "delayed"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInputError(f"faults: {name} must be from 0 to 1")
        if not self.delay_seconds >= 0:
            raise InvalidInputError("faults: delay_seconds must not be negative")
        for name in self.operations:
            if name not in _READS | _WRITES:
                raise InvalidInputError(
                    f"faults: there is no operation {name}{closest(name, _READS | _WRITES)}"
                )


class _Dice:
    """Draws the faults of all calls of one store; thread-safe."""

    def __init__(self, options: FaultsOptions) -> None:
        self.options = options
        self._random = random.Random(options.seed)  # noqa: S311 - faults are no secret
        self.renew_lock()

    def renew_lock(self) -> None:
        self._lock = threading.Lock()

    def call(self, op: Operation, send: Callable[[], T]) -> T:
        """Return what ``send`` returns, unless a fault comes before or after it."""
        if not self._concerns(op):
            return send()
        self._before(op)
        result = send()
        if self._falls(self.options.lost_reply):
            is_write = op.name in _WRITES
            raise UnavailableError(
                "the reply was lost, as planned",
                retryable=True,
                outcome=Outcome.UNKNOWN if is_write else Outcome.NOT_APPLIED,
            )
        return result

    def part(self, op: Operation, items: Sequence[T]) -> int | None:
        """Return how many items of a batch are to be written; None for all of them."""
        if len(items) < 2 or not self._concerns(op):  # noqa: PLR2004 - one has no parts
            return None
        if not self._falls(self.options.partial):
            return None
        with self._lock:
            return self._random.randrange(1, len(items))

    def _concerns(self, op: Operation) -> bool:
        return not self.options.operations or op.name in self.options.operations

    def _before(self, op: Operation) -> None:
        if self._falls(self.options.delayed):
            left = op.remaining()
            time.sleep(min(self.options.delay_seconds, left))
            if self.options.delay_seconds >= left:
                raise DeadlineExceededError(
                    f"{op.name}: delayed past its deadline, as planned", retryable=True
                )
        if self._falls(self.options.throttled):
            raise ThrottledError("throttled, as planned", retryable=True)
        if self._falls(self.options.unavailable):
            raise UnavailableError("unavailable, as planned", retryable=True)

    def _falls(self, rate: float) -> bool:
        if not rate:
            return False
        with self._lock:
            return self._random.random() < rate


def _in_part(op: Operation, ids: Sequence[str], written: int) -> PartialWriteError:
    return PartialWriteError(
        f"{op.name}: {written} of {len(ids)} were written, as planned",
        stored=ids[:written],
        not_stored=ids[written:],
        retryable=True,
    )


class FaultsConversationStore(ConversationWrapper):
    """A conversation store that fails by a seed."""

    NAME: ClassVar[str] = "faults"
    OPTIONS: ClassVar[type[Any] | None] = FaultsOptions

    def __init__(self, inner: ConversationStore, options: FaultsOptions | None = None) -> None:
        super().__init__(inner)
        self._dice = _Dice(options or FaultsOptions())

    @property
    def capabilities(self) -> ConversationCapabilities:
        """Those of the inner store; a batch that may be written in part is not atomic."""
        can = self.inner.capabilities
        return replace(can, atomic_append=False) if self._dice.options.partial else can

    def _around(self, op: Operation, call: Callable[[], T]) -> T:
        send = super()._around
        return self._dice.call(op, lambda: send(op, call))

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        written = self._dice.part(op, entries)
        if written is None:
            return super()._append(op, user_id, entries)
        done = super()._append(op, user_id, entries[:written])
        rest = [entry.message.id for entry in entries[written:]]
        raise PartialWriteError(
            f"{written} of {len(entries)} messages were written, as planned",
            stored=done.stored,
            duplicates=done.duplicates,
            not_stored=rest,
            retryable=True,
        )

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        written = self._dice.part(op, entries)
        super()._load(op, entries[:written])
        if written is not None:
            raise _in_part(op, [entry.message.id for entry in entries], written)

    def _after_fork(self) -> None:  # pragma: no cover - in a child only
        self._dice.renew_lock()


class FaultsVectorIndex(VectorWrapper):
    """A vector index that fails by a seed."""

    NAME: ClassVar[str] = "faults"
    OPTIONS: ClassVar[type[Any] | None] = FaultsOptions

    def __init__(self, inner: VectorIndex, options: FaultsOptions | None = None) -> None:
        super().__init__(inner)
        self._dice = _Dice(options or FaultsOptions())

    def _around(self, op: Operation, call: Callable[[], T]) -> T:
        send = super()._around
        return self._dice.call(op, lambda: send(op, call))

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        written = self._dice.part(op, records)
        super()._upsert(op, user_id, records[:written])
        if written is not None:
            raise _in_part(op, [record.id for record in records], written)

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        written = self._dice.part(op, records)
        super()._load(op, records[:written])
        if written is not None:
            raise _in_part(op, [record.id for _, record in records], written)

    def _after_fork(self) -> None:  # pragma: no cover - in a child only
        self._dice.renew_lock()
