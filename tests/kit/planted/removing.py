"""What is removed comes back, or takes others with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Unpack

from ialstore import EraseReport, Message, OptimizeReport, SessionInfo
from ialstore.component import Progress, StoreSettings
from ialstore.listing import HistoryQuery, Rows
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore
from tests.kit.planted.registry import at, breaks


@breaks("S10")
class DeletesByPrefix(MemoryConversationStore):
    """A session is deleted with every other whose name begins with its own."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        user = self._by_user.get(user_id)
        names = list(user.sessions) if user else []
        return sum(
            super(DeletesByPrefix, self)._delete_session(op, user_id, one)
            for one in names
            if one.startswith(session_id)
        )


@breaks("S10")
class CountsUnknownIds(MemoryConversationStore):
    """Delete counts the ids it was given, not the messages it removed."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        super()._delete(op, user_id, ids)
        return len(ids)


@breaks("S10")
class CountsExpired(MemoryConversationStore):
    """Delete counts messages that have expired."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        with at(-(10**11), op):
            return super()._delete(op, user_id, ids)


@breaks("S10")
class CountsExpiredOfSessions(MemoryConversationStore):
    """Deleting a session counts messages that have expired."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        with at(-(10**11), op):
            return super()._delete_session(op, user_id, session_id)


@breaks("S10")
class DeletesFullBatches(MemoryConversationStore):
    """The last batch of a delete, which is not full, stays."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        whole = ids[: len(ids) // 25 * 25] if len(ids) > 25 else ids
        return super()._delete(op, user_id, whole)


@breaks("S10")
class DeletesAPage(MemoryConversationStore):
    """Of a session no more than 1,000 messages are deleted."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        page = self._history(op, HistoryQuery(user_id, session_id, limit=1000))
        return self._delete(op, user_id, [one.id for one in page.items])


@breaks("S10")
class DeletesByPattern(SqliteConversationStore):
    """A session is deleted by LIKE, for which % and _ stand for others."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        rows = self._sessions(op, user_id, 100_000, None)
        with self._db.writing(op) as connection:
            names = [
                one.session_id
                for one in rows.items
                if connection.execute("SELECT ? LIKE ?", (one.session_id, session_id)).fetchone()[0]
            ]
        return sum(
            super(DeletesByPattern, self)._delete_session(op, user_id, one)
            for one in {*names, session_id}
        )


@breaks("C6")
class DeletesTheSessionOfAll(MemoryConversationStore):
    """A session is deleted of every user who has one of its name."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        counts = {
            user: super(DeletesTheSessionOfAll, self)._delete_session(op, user, session_id)
            for user in list(self._by_user)
        }
        return counts.get(user_id, 0)


@breaks("S10")
class DeleteLeavesTheSession(MemoryConversationStore):
    """A deleted message stays in the history of its session."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.gone: dict[str, Message] = {}

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        self.gone |= self._get(op, user_id, ids)
        return super()._delete(op, user_id, ids)

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        if query.session_id is None:
            return rows
        items = {one.id: one for one in (*rows.items, *self.gone.values())}
        of_it = [
            one
            for one in items.values()
            if (one.user_id, one.session_id) == (query.user_id, query.session_id)
        ]
        return Rows(sorted(of_it, key=lambda one: one.id, reverse=query.newest_first), rows.more)


@breaks("S9")
class DeletedSessionIsListed(MemoryConversationStore):
    """A deleted session is still listed."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.ghosts: dict[str, list[SessionInfo]] = {}

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        there = self._sessions(op, user_id, 1000, None).items
        kept = self.ghosts.setdefault(user_id, [])
        kept += [one for one in there if one.session_id == session_id and one not in kept]
        return super()._delete_session(op, user_id, session_id)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, limit, after)
        live = {one.session_id for one in rows.items}
        ghosts = [one for one in self.ghosts.get(user_id, ()) if one.session_id not in live]
        return Rows([*rows.items, *ghosts], rows.more)


@breaks("S11")
class EraseLeavesExpired(MemoryConversationStore):
    """Erase leaves what has expired, which a clock that steps back shows."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        user = self._by_user.get(user_id)
        ids = list(user.ids) if user else []
        live = list(self._get(op, user_id, ids))
        return EraseReport(messages=super()._delete(op, user_id, live))


@breaks("S11")
class EraseLeavesEvents(MemoryConversationStore):
    """Erase leaves messages of the system and of tools."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        page = self._history(op, HistoryQuery(user_id, limit=100_000))
        ids = [one.id for one in page.items if one.role in ("user", "assistant")]
        return EraseReport(messages=super()._delete(op, user_id, ids))


@breaks("S11")
class ErasesAPage(MemoryConversationStore):
    """Erase removes no more than 1,000 messages."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        page = self._history(op, HistoryQuery(user_id, limit=1000))
        return EraseReport(messages=super()._delete(op, user_id, [one.id for one in page.items]))


@breaks("C6")
class ErasesByPrefix(MemoryConversationStore):
    """Erase removes every user whose name begins with the one given."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        report = super()._erase(op, user_id)
        for one in list(self._by_user):
            if one.startswith(user_id):
                super()._erase(op, one)
        return report


@breaks("S11")
class EraseCountsRows(MemoryConversationStore):
    """Erase counts what has expired."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        with at(-(10**11), op):
            return super()._erase(op, user_id)


@breaks("C6")
class ErasesByGlob(SqliteConversationStore):
    """Erase takes the user id for a pattern, in which * and ? stand for others."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        alike = [one for one in self._users(op, 1000, None).items if fnmatchcase(one, user_id)]
        reports = [super(ErasesByGlob, self)._erase(op, one) for one in {*alike, user_id}]
        return replace(reports[0], messages=sum(one.messages for one in reports))


@breaks("C6")
class ListsByGlob(MemoryConversationStore):
    """The session of a history is taken for a pattern, in which * and ? stand for others."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        pattern = query.session_id
        if pattern is None:
            return super()._history(op, query)
        rows = super()._history(op, replace(query, session_id=None, limit=100_000))
        items = [
            one
            for one in rows.items
            if one.session_id == pattern or fnmatchcase(one.session_id, pattern)
        ]
        return Rows(items[: query.limit], rows.more or len(items) > query.limit)


@breaks("S11")
class ErasedComesBack(MemoryConversationStore):
    """What was read before an erase is still found by its id, in a cache."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.cache: dict[tuple[str, str], Message] = {}

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = dict(super()._get(op, user_id, ids))
        self.cache |= {(user_id, one): message for one, message in found.items()}
        if user_id in self._by_user:
            return found
        return {one: self.cache[user_id, one] for one in ids if (user_id, one) in self.cache}


@breaks("S13")
class OptimizeRemovesLive(MemoryConversationStore):
    """Optimize removes what is going to expire."""

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        with at(op.now + 86_400, op):
            return super()._optimize(op, user_id, progress)


@breaks("S13")
class OptimizeKeepsAPage(MemoryConversationStore):
    """Optimize writes the newest 1,000 messages anew, and no others."""

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        page = self._history(op, HistoryQuery(user_id, limit=1000))
        kept = {one.id for one in page.items}
        user = self._by_user.get(user_id)
        self._delete(op, user_id, [one for one in (user.ids if user else []) if one not in kept])
        return super()._optimize(op, user_id, progress)


@breaks("S10")
class DeletesTheMillisecond(MemoryConversationStore):
    """A message is deleted with every other of its millisecond."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        user = self._by_user.get(user_id)
        times = {one[:13] for one in ids}
        super()._delete(op, user_id, [one for one in user.ids if one[:13] in times] if user else [])
        return len(ids)
