"""``namespace``: gives a program users of its own in a store that it shares with others.

User ``u`` of the namespace ``a`` is ``a/u`` in the store. The prefix is escaped, so that no two
pairs of prefix and user meet: ``/`` is ``%2F``, ``%`` is ``%25``, and the first ``/`` is its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ialstore._text import check_text
from ialstore.conversation import ConversationStore
from ialstore.decoding import message_of
from ialstore.errors import InvalidInputError, LimitExceededError
from ialstore.limits import MAX_NAMESPACE_BYTES, MAX_PAGE
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import (
    AppendResult,
    EncodedMessage,
    EraseReport,
    Message,
    MessageSummary,
    OptimizeReport,
    SessionInfo,
)
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord, SearchQuery, SearchResult
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.operation import Operation

__all__ = ["Names", "NamespaceConversationStore", "NamespaceOptions", "NamespaceVectorIndex"]

_ESCAPES: Final = str.maketrans({"%": "%25", "/": "%2F"})


@dataclass(frozen=True, slots=True)
class NamespaceOptions:
    """Whose users these are.

    Attributes:
        prefix: the namespace: 1 to 128 UTF-8 bytes. ``%`` and ``/`` are five of them, ``#`` is
            three: they are escaped here and, within keys, again by a backend.
    """

    prefix: str

    def __post_init__(self) -> None:
        if not self.prefix or "\0" in self.prefix:
            raise InvalidInputError("prefix must not be empty or hold NUL")
        escaped = self.prefix.translate(_ESCAPES)
        size = check_text(escaped, "prefix") + 2 * (escaped.count("%") + escaped.count("#"))
        if size > MAX_NAMESPACE_BYTES:
            raise LimitExceededError(
                f"prefix has {size:,} bytes after escaping, more than {MAX_NAMESPACE_BYTES}"
            )


class Names:
    """User ids as the store knows them, and as the caller does."""

    def __init__(self, options: NamespaceOptions) -> None:
        self._prefix = f"{options.prefix.translate(_ESCAPES)}/"

    def stored(self, user_id: str) -> str:
        """Return a caller's user as the store knows it."""
        return self._prefix + user_id

    def users(
        self, after: str | None, limit: int, listed: Callable[[int, str | None], Rows[str]]
    ) -> Rows[str]:
        """Return users of this namespace behind ``after``, out of those of all.

        Args:
            after: the last one of the page before; None for the first page.
            limit: users at most.
            listed: returns at most so many users of the store that follow one of them.
        """
        found: list[str] = []
        position = None if after is None else self.stored(after)
        size = limit
        while True:
            rows = listed(size, position)
            for place, one in enumerate(rows.items, 1):
                if one.startswith(self._prefix) and one != self._prefix:
                    found.append(one.removeprefix(self._prefix))
                    if len(found) == limit:
                        return Rows(found, more=rows.more or place < len(rows.items))
            if not rows.items or not rows.more:
                return Rows(found)
            position = rows.items[-1]
            size = MAX_PAGE  # others are in the way: pass them quickly


class NamespaceConversationStore(ConversationWrapper):
    """Conversations of users whose ids get a prefix in the inner store."""

    NAME: ClassVar[str] = "namespace"
    OPTIONS: ClassVar[type[Any] | None] = NamespaceOptions

    def __init__(self, inner: ConversationStore, options: NamespaceOptions) -> None:
        super().__init__(inner)
        self._names = Names(options)

    def _address(self, op: Operation, user_id: str) -> tuple[str, ...] | None:
        return super()._address(op, self._names.stored(user_id))

    def _stored(self, entry: EncodedMessage) -> EncodedMessage:
        message = entry.message
        return EncodedMessage(
            message_of(self._names.stored(message.user_id), message),
            entry.payload_text,
            entry.metadata_text,
            entry.content_hash,
            entry.expires,
            entry.size,
        )

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        stored = [self._stored(entry) for entry in entries]
        return super()._append(op, self._names.stored(user_id), stored)

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return super()._replace(op, self._stored(entry))

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, self._names.stored(user_id), ids)
        return {one: message_of(user_id, message) for one, message in found.items()}

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, replace(query, user_id=self._names.stored(query.user_id)))
        return Rows([message_of(query.user_id, one) for one in rows.items], rows.more)

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        user_id = query.user_id
        rows = super()._summaries(op, replace(query, user_id=self._names.stored(user_id)))
        return Rows(
            [
                MessageSummary(one.id, user_id, one.session_id, one.role, one.summary, one.tokens)
                for one in rows.items
            ],
            rows.more,
        )

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        return super()._sessions(op, self._names.stored(user_id), limit, after)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return super()._delete(op, self._names.stored(user_id), ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return super()._delete_session(op, self._names.stored(user_id), session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return super()._erase(op, self._names.stored(user_id))

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(op, [self._stored(entry) for entry in entries])

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return super()._optimize(op, self._names.stored(user_id), progress)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        inner = super()._users

        def listed(size: int, position: str | None) -> Rows[str]:
            op.renew()
            return inner(op, size, position)

        return self._names.users(after, limit, listed)


class NamespaceVectorIndex(VectorWrapper):
    """Vectors of users whose ids get a prefix in the inner index."""

    NAME: ClassVar[str] = "namespace"
    OPTIONS: ClassVar[type[Any] | None] = NamespaceOptions

    def __init__(self, inner: VectorIndex, options: NamespaceOptions) -> None:
        super().__init__(inner)
        self._names = Names(options)

    def _address(self, op: Operation, user_id: str) -> tuple[str, ...] | None:
        return super()._address(op, self._names.stored(user_id))

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        super()._upsert(op, self._names.stored(user_id), records)

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        return super()._search(op, replace(query, user_id=self._names.stored(query.user_id)))

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        return super()._get(op, self._names.stored(user_id), ids)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return super()._delete(op, self._names.stored(user_id), ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return super()._delete_session(op, self._names.stored(user_id), session_id)

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return super()._ids(op, self._names.stored(user_id), limit, after)

    def _count(self, op: Operation, user_id: str) -> int:
        return super()._count(op, self._names.stored(user_id))

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return super()._erase(op, self._names.stored(user_id))

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        super()._load(op, [(self._names.stored(user_id), one) for user_id, one in records])

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return super()._optimize(op, self._names.stored(user_id), progress)

    def _is_optimize_due(self, user_id: str) -> bool:
        return super()._is_optimize_due(self._names.stored(user_id))

    def _optimize_due(self, op: Operation, user_id: str) -> OptimizeReport:
        return super()._optimize_due(op, self._names.stored(user_id))

    def _is_prefetch_due(self, user_id: str) -> bool:
        return super()._is_prefetch_due(self._names.stored(user_id))

    def _prefetch(self, op: Operation, user_id: str) -> None:
        super()._prefetch(op, self._names.stored(user_id))

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        inner = super()._users

        def listed(size: int, position: str | None) -> Rows[str]:
            op.renew()
            return inner(op, size, position)

        return self._names.users(after, limit, listed)
