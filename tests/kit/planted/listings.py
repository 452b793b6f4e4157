"""Histories and listings out of order, or with holes."""

from __future__ import annotations

from dataclasses import replace

from ialstore import Message, SessionInfo
from ialstore.ids import id_microseconds, next_id
from ialstore.listing import HistoryQuery, Rows
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from tests.kit.planted.registry import breaks


@breaks("M6")
class UnpaddedSortKeys(MemoryConversationStore):
    """Sort keys are numbers without leading zeros, compared as texts."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, replace(query, limit=100_000))

        def key(message: Message) -> tuple[str, str]:
            return str(id_microseconds(message.id)), message.id

        items = sorted(rows.items, key=key, reverse=query.newest_first)
        return Rows(items[: query.limit], rows.more or len(items) > query.limit)


@breaks("S6")
class DropsAtAPageBorder(MemoryConversationStore):
    """The first message of every page but the first is dropped."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, replace(query, limit=query.limit + 1))
        if len(rows.items) <= query.limit:
            return Rows(rows.items)
        return Rows([*rows.items[: query.limit - 1], rows.items[-1]], rows.more)


@breaks("S6")
class IncludesUntil(MemoryConversationStore):
    """The range of times ends behind until, not before it."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        if query.upper.endswith("-8000-000000000000"):  # a time, not a cursor
            query = replace(query, upper=query.upper[:18] + "-ffff-ffffffffffff")
        return super()._history(op, query)


@breaks("S6")
class ExcludesSince(MemoryConversationStore):
    """The range of times begins a microsecond behind since."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        begin = query.lower[:18]
        return Rows([one for one in rows.items if one.id[:18] != begin], rows.more)


@breaks("S6")
class FiltersSessionsLate(MemoryConversationStore):
    """A page of a session is what a page of all sessions holds of it."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, replace(query, session_id=None))
        if query.session_id is None:
            return rows
        return Rows([one for one in rows.items if one.session_id == query.session_id], rows.more)


@breaks("M6")
class SortsByTimeOnly(MemoryConversationStore):
    """Messages of the same time are listed in the order of their random bits."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)

        def key(message: Message) -> tuple[int, str]:
            return id_microseconds(message.id), message.id[24:]

        return Rows(sorted(rows.items, key=key, reverse=query.newest_first), rows.more)


@breaks("S6")
class RepeatsAtAPageBorder(MemoryConversationStore):
    """A page of the oldest messages first begins with the last one of the page before."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        if query.newest_first:
            return super()._history(op, query)
        before = f"{int(query.lower.replace('-', ''), 16) - 1:032x}" if query.lower[0] else ""
        there = f"{before[:8]}-{before[8:12]}-{before[12:16]}-{before[16:20]}-{before[20:]}"
        lower = there if there > "0" and next_id(there) == query.lower else query.lower
        return super()._history(op, replace(query, lower=lower))


@breaks("S9")
class SessionsByName(MemoryConversationStore):
    """Sessions are listed by name, whatever their activity."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, 100_000, None)
        items = sorted(rows.items, key=lambda one: one.session_id)
        if after is not None:
            items = [one for one in items if one.session_id > after.session_id]
        return Rows(items[:limit], len(items) > limit)


@breaks("S9")
class SessionTiesByArrival(MemoryConversationStore):
    """Sessions of the same activity are not sorted by name."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, limit, after)
        items = sorted(rows.items, key=lambda one: one.session_id, reverse=True)
        return Rows(sorted(items, key=lambda one: one.last_active, reverse=True), rows.more)
