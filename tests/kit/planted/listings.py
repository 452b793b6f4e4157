"""Histories and listings out of order, or with holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Unpack

from ialstore import AppendResult, Message, MessageSummary, SessionInfo
from ialstore.component import StoreSettings
from ialstore.ids import HIGHEST_ID, id_microseconds, next_id
from ialstore.listing import HistoryQuery, Rows, take_rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from tests.kit.planted.registry import at, breaks


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


@breaks("C2")
class ExpiredPageIsTheEnd(MemoryConversationStore):
    """A page that holds nothing but expired messages is taken for the end."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        with at(-(10**11), op):
            rows = super()._history(op, query)
        live = self._get(op, query.user_id, [one.id for one in rows.items])
        return Rows(list(live.values()), rows.more)


@breaks("C2")
class LongExpiryIsTheEnd(MemoryConversationStore):
    """Fifty expired messages in a row are taken for the end."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        with at(-(10**11), op):
            rows = super()._history(op, replace(query, limit=query.limit + 50))
        ids = [one.id for one in rows.items]
        live = list(self._get(op, query.user_id, ids).values())
        return Rows(live[: query.limit], bool(live) and (rows.more or len(live) > query.limit))


@breaks("S6")
class PagesOfAMebibyte(MemoryConversationStore):
    """What a page of 1 MiB leaves out is not read on."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        taken = take_rows(rows.items, query.limit, lambda one: len(one.content), at_most=2**20)
        return Rows(taken.items, rows.more)


@breaks("S6")
class PagesWithoutEnd(MemoryConversationStore):
    """A page has as many messages as are asked for, however large they are."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        found: list[Message] = []
        while True:
            rest = replace(query, limit=query.limit - len(found))
            if found and query.newest_first:
                rest = replace(rest, upper=found[-1].id)
            elif found:
                rest = replace(rest, lower=next_id(found[-1].id))
            rows = super()._history(op, rest)
            found += rows.items
            if not rows.more or len(found) == query.limit:
                return Rows(found, rows.more)


@breaks("M6")
class SessionBySession(MemoryConversationStore):
    """A page lists one session after the other."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        return Rows(sorted(rows.items, key=lambda one: one.session_id), rows.more)


@breaks("S6")
class MillisecondRanges(MemoryConversationStore):
    """Ranges of times are rounded to milliseconds."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        lower, upper = query.lower, query.upper
        if lower.endswith("-8000-000000000000"):
            lower = lower[:15] + "000" + lower[18:]
        if upper.endswith("-8000-000000000000"):
            upper = upper[:15] + "000" + upper[18:]
        return super()._history(op, replace(query, lower=lower, upper=upper))


@breaks("S6")
class RangesOfAYear(MemoryConversationStore):
    """A history looks back no more than a year from the newest message."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        newest = super()._history(op, HistoryQuery(query.user_id, limit=1)).items
        if not newest:
            return rows
        year = newest[0].created_at - timedelta(days=366)
        return Rows([one for one in rows.items if one.created_at > year], rows.more)


@breaks("M6")
class NewestFirstOnly(MemoryConversationStore):
    """Messages in short are listed with the newest first, whatever is asked for."""

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        return super()._summaries(op, replace(query, newest_first=True))


@breaks("S8")
class BareCursors(MemoryConversationStore):
    """A cursor is an offset, which moves when messages are added or removed."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.seen: dict[str, int] = {}

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        position = query.upper if query.newest_first else query.lower
        if not query.newest_first or position not in self.seen:
            rows = super()._history(op, query)
        else:
            whole = super()._history(op, replace(query, upper=HIGHEST_ID, limit=100_000))
            start = self.seen[position]
            items = whole.items[start : start + query.limit]
            rows = Rows(items, len(whole.items) > start + query.limit)
        if query.newest_first and rows.items:
            self.seen[rows.items[-1].id] = self.seen.get(position, 0) + len(rows.items)
        return rows


@breaks("S9")
class SessionsPast100(MemoryConversationStore):
    """Sessions beyond the first 100 are not listed."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        first = super()._sessions(op, user_id, 100, None).items
        rows = super()._sessions(op, user_id, limit, after)
        return Rows([one for one in rows.items if one in first], rows.more)


@breaks("S9")
class SessionsOfAPage(MemoryConversationStore):
    """Only sessions of the newest 1,000 messages are listed."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        page = self._history(op, HistoryQuery(user_id, limit=1000))
        known = {one.session_id for one in page.items}
        rows = super()._sessions(op, user_id, limit, after)
        return Rows([one for one in rows.items if one.session_id in known], rows.more)


@breaks("S9")
class SessionTiesAreLost(MemoryConversationStore):
    """Of sessions with the same activity those behind a page border are lost."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        if after is not None:
            after = replace(after, session_id="\U0010ffff" * 100)
        return super()._sessions(op, user_id, limit, after)


@breaks("S9")
class SessionsActiveNow(MemoryConversationStore):
    """A session is active when a message arrives, not at the message's time."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.active: dict[tuple[str, str], datetime] = {}

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        self.active |= {(user_id, one.message.session_id): self._clock() for one in entries}
        return result

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, limit, after)
        return Rows(
            [
                replace(
                    one, last_active=self.active.get((user_id, one.session_id), one.last_active)
                )
                for one in rows.items
            ],
            rows.more,
        )


@breaks("S9")
class SessionsKeepExpired(MemoryConversationStore):
    """A session whose messages have all expired is still listed."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        with at(-(10**11), op):
            return super()._sessions(op, user_id, limit, after)


@breaks("S9")
class SessionsOfMilliseconds(MemoryConversationStore):
    """The activity of a session is kept in milliseconds."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, limit, after)
        items: list[SessionInfo] = []
        for one in rows.items:
            rest = one.last_active.microsecond % 1000
            items.append(replace(one, last_active=one.last_active - timedelta(microseconds=rest)))
        return Rows(items, rows.more)


@breaks("S9")
class SessionsOfAppends(MemoryConversationStore):
    """Sessions that came by a load are not listed."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.known: set[tuple[str, str]] = set()

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        self.known |= {(user_id, one.message.session_id) for one in entries}
        return super()._append(op, user_id, entries)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, limit, after)
        return Rows(
            [one for one in rows.items if (user_id, one.session_id) in self.known], rows.more
        )


@breaks("S14")
class UsersAtAPageBorder(MemoryConversationStore):
    """The first user behind a page border is not listed."""

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        rows = super()._users(op, limit + 1, after)
        if after is None:
            return Rows(rows.items[:limit], rows.more or len(rows.items) > limit)
        return Rows(rows.items[1:], rows.more)


@breaks("S14")
class UsersInAFullPage(MemoryConversationStore):
    """Users end where a page is full to the last place."""

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        rows = super()._users(op, limit, after)
        return Rows(rows.items, rows.more and limit < 100)


@breaks("S14")
class UsersOfAppends(MemoryConversationStore):
    """Users whose messages came by a load are not listed."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.known: set[str] = set()

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        self.known.add(user_id)
        return super()._append(op, user_id, entries)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        rows = super()._users(op, limit, after)
        return Rows([one for one in rows.items if one in self.known], rows.more)


@breaks("S6")
class IgnoresLimits(MemoryConversationStore):
    """A page of a session holds all of it, whatever the limit."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        return super()._history(op, replace(query, limit=1000) if query.session_id else query)


@breaks("S7")
class SummariesIgnoreLimits(MemoryConversationStore):
    """A page of messages in short holds fifty, whatever the limit."""

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        return super()._summaries(op, replace(query, limit=50))


@breaks("S9")
class SessionsAreStale(MemoryConversationStore):
    """The activity of a session is that of when it was first listed."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.cache: dict[tuple[str, str], SessionInfo] = {}

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, limit, after)
        items = [self.cache.setdefault((user_id, one.session_id), one) for one in rows.items]
        return Rows(items, rows.more)
