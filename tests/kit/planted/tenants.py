"""Users who meet one another."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote

from ialstore import AppendResult, EraseReport, Message, SessionInfo
from ialstore.decoding import message_of
from ialstore.ids import session_hash
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


@breaks("C6")
class UsersWithoutZeroWidth(NamesUsersOtherwise):
    """Characters without a width are removed from user ids."""

    def name(self, user_id: str) -> str:
        return "".join(one for one in user_id if unicodedata.category(one) != "Cf") or user_id


@breaks("C6")
class UsersOfOneWidth(NamesUsersOtherwise):
    """User ids are normalised to NFKC, in which wide letters are narrow."""

    def name(self, user_id: str) -> str:
        composed = unicodedata.is_normalized("NFC", user_id)
        return unicodedata.normalize("NFKC", user_id) if composed else user_id


@breaks("C6")
class UsersDecoded(NamesUsersOtherwise):
    """Percent-escapes in user ids are decoded."""

    def name(self, user_id: str) -> str:
        return unquote(user_id)


@breaks("C6")
class UsersAsNumbers(NamesUsersOtherwise):
    """User ids that look like numbers are compared as numbers."""

    def name(self, user_id: str) -> str:
        try:
            return str(float(user_id))
        except ValueError:
            return user_id


@breaks("C6")
class UsersOfTheirEnds(NamesUsersOtherwise):
    """Users are told apart by the first and the last 32 of their characters."""

    def name(self, user_id: str) -> str:
        return user_id[:32] + user_id[-32:]


@breaks("C6")
class GetsOfAnyUser(MemoryConversationStore):
    """A message is found by its id, whoever asks."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found: dict[str, Message] = {}
        for user in self._by_user:
            found |= super()._get(op, user, ids)
        return found | dict(super()._get(op, user_id, ids))


@breaks("C6")
class DeletesOfAnyUser(MemoryConversationStore):
    """A message is deleted by its id, whoever asks."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        for user in list(self._by_user):
            if user != user_id:
                super()._delete(op, user, ids)
        return super()._delete(op, user_id, ids)


@breaks("M6")
class OneIdForAllUsers(MemoryConversationStore):
    """An id that another user has is taken for a duplicate."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        taken = {
            one for user, kept in self._by_user.items() if user != user_id for one in kept.messages
        }
        new = [one for one in entries if one.message.id not in taken]
        result = super()._append(op, user_id, new)
        known = tuple(one.message.id for one in entries if one.message.id in taken)
        return replace(result, duplicates=result.duplicates + known)


@breaks("C6")
class UsersByPrefix(MemoryConversationStore):
    """The history of a user has also that of users whose name begins with theirs."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        found: list[Message] = []
        more = False
        for user in sorted({query.user_id, *self._by_user}):
            if user.startswith(query.user_id):
                rows = super()._history(op, replace(query, user_id=user))
                found += rows.items
                more = more or rows.more
        found.sort(key=lambda one: one.id, reverse=query.newest_first)
        return Rows(found[: query.limit], more or len(found) > query.limit)


@breaks("C6")
class SessionsOfAllUsers(MemoryConversationStore):
    """Sessions of other users are listed too."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, limit, after)
        if not rows.items or after is not None:
            return rows
        others = [
            one
            for user in self._by_user
            if user != user_id
            for one in super(SessionsOfAllUsers, self)._sessions(op, user, limit, after).items
        ]
        return Rows(
            sorted({*rows.items, *others}, key=lambda one: one.last_active, reverse=True)[:limit],
            rows.more,
        )


class NamesSessionsOtherwise(MemoryConversationStore):
    """Finds what belongs to a session by another name."""

    def name(self, session_id: str) -> str:
        raise NotImplementedError

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        if query.session_id is None:
            return super()._history(op, query)
        rows = super()._history(op, replace(query, session_id=None, limit=100_000))
        name = self.name(query.session_id)
        items = [one for one in rows.items if self.name(one.session_id) == name]
        return Rows(items[: query.limit], len(items) > query.limit)


@breaks("C6")
class SessionsWithoutCase(NamesSessionsOtherwise):
    """Sessions are compared without regard to case."""

    def name(self, session_id: str) -> str:
        return session_id.casefold()


@breaks("C6")
class SessionsWithoutAccents(NamesSessionsOtherwise):
    """Sessions are compared without regard to accents."""

    def name(self, session_id: str) -> str:
        return "".join(
            one
            for one in unicodedata.normalize("NFD", session_id)
            if not unicodedata.combining(one)
        )


@breaks("C6")
class SessionsOfTheirHash(NamesSessionsOtherwise):
    """Sessions are compared by the byte that is in their ids."""

    def name(self, session_id: str) -> str:
        return str(session_hash(session_id))


@breaks("C6")
class SessionsOfTheirBeginning(NamesSessionsOtherwise):
    """Sessions are compared by their first 255 bytes."""

    def name(self, session_id: str) -> str:
        return session_id.encode()[:255].decode(errors="replace")
