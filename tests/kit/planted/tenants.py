"""Users who meet one another."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ialstore import AppendResult, EraseReport, Message, SessionInfo
from ialstore.decoding import message_of
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from tests.kit.planted.registry import breaks


class NamesUsersOtherwise(MemoryConversationStore):
    """Keeps what belongs to a user under another name."""

    def name(self, user_id: str) -> str:
        raise NotImplementedError

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        return super()._append(op, self.name(user_id), entries)

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        message = replace(entry.message, user_id=self.name(entry.message.user_id))
        return super()._replace(op, replace(entry, message=message))

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(
            op,
            [
                replace(one, message=replace(one.message, user_id=self.name(one.message.user_id)))
                for one in entries
            ],
        )

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, self.name(user_id), ids)
        return {one: message_of(user_id, message) for one, message in found.items()}

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, replace(query, user_id=self.name(query.user_id)))
        return Rows([message_of(query.user_id, one) for one in rows.items], rows.more)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        return super()._sessions(op, self.name(user_id), limit, after)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return super()._delete(op, self.name(user_id), ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return super()._delete_session(op, self.name(user_id), session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return super()._erase(op, self.name(user_id))


@breaks("C6")
class UsersWithoutCase(NamesUsersOtherwise):
    """User ids are compared without regard to case."""

    def name(self, user_id: str) -> str:
        return user_id.casefold()


@breaks("C6")
class UsersNormalised(NamesUsersOtherwise):
    """User ids are normalised to NFC."""

    def name(self, user_id: str) -> str:
        return unicodedata.normalize("NFC", user_id)


@breaks("C6")
class UsersStripped(NamesUsersOtherwise):
    """White space around a user id is lost."""

    def name(self, user_id: str) -> str:
        return user_id.strip() or user_id


@breaks("C6")
class UsersCut(NamesUsersOtherwise):
    """User ids are cut after 255 characters."""

    def name(self, user_id: str) -> str:
        return user_id[:255]


@breaks("C6")
class JoinsIds(MemoryConversationStore):
    """Sessions are kept under user#session, which two pairs may share."""

    def _alike(self, user_id: str, session_id: str) -> list[tuple[str, str]]:
        return [
            (user, session)
            for user, kept in self._by_user.items()
            for session in kept.sessions
            if f"{user}#{session}" == f"{user_id}#{session_id}"
        ]

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        if query.session_id is None:
            return super()._history(op, query)
        found: list[Message] = []
        for user, session in self._alike(query.user_id, query.session_id):
            found += super()._history(op, replace(query, user_id=user, session_id=session)).items
        found.sort(key=lambda one: one.id, reverse=query.newest_first)
        return Rows(found[: query.limit], len(found) >= query.limit)
