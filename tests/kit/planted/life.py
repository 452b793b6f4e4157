"""Time, caches, threads, restarts and the frame around every call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Unpack

from ialstore import AppendResult, Message
from ialstore.component import StoreSettings
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from tests.kit.planted.registry import at, breaks


@breaks("C2")
class ShowsExpired(MemoryConversationStore):
    """A message that has expired is still found by its id."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        with at(0, op):
            return super()._get(op, user_id, ids)


@breaks("C2")
class ExpiresByTheWallClock(MemoryConversationStore):
    """The time is that of the host, not of the clock that was given."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        with at(int(datetime.now(UTC).timestamp()), op):
            return super()._history(op, query)


class Cached(MemoryConversationStore):
    """Has a cache of what was found by its id."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.cache: dict[tuple[str, str], Message] = {}


@breaks("C1")
class StaleAfterReplace(Cached):
    """What was read once is answered from a cache, whatever was replaced meanwhile."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, user_id, ids)
        return {
            one: self.cache.setdefault((user_id, one), message) for one, message in found.items()
        }


@breaks("C1")
class StaleAfterDelete(Cached):
    """A deleted message is still found by its id, in a cache."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, user_id, ids)
        self.cache |= {(user_id, one): message for one, message in found.items()}
        return {one: self.cache[user_id, one] for one in ids if (user_id, one) in self.cache}


@breaks("M6")
class OrderStepsBackWithTheClock(MemoryConversationStore):
    """The order is that of the store's clock at arrival, which may step back."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.arrived: dict[str, tuple[datetime, str]] = {}

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        self.arrived |= {one: (self._clock(), one[24:]) for one in result.stored}
        return result

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)

        def key(message: Message) -> tuple[datetime, str]:
            return self.arrived.get(message.id, (message.created_at, message.id))

        return replace(rows, items=sorted(rows.items, key=key, reverse=query.newest_first))
