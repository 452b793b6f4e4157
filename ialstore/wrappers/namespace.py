"""``namespace``: gives a program users of its own in a store that it shares with others.

User ``u`` of the namespace ``a`` is ``a/u`` in the store. The namespace is escaped, so that no two
pairs of namespace and user meet: ``/`` is ``%2F``, ``%`` is ``%25``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ialstore._text import check_text
from ialstore.conversation import ConversationStore
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

__all__ = ["NamespaceConversationStore", "NamespaceOptions", "NamespaceVectorIndex"]

T = TypeVar("T", Message, MessageSummary)


@dataclass(frozen=True, slots=True)
class NamespaceOptions:
    """Whose users these are.

    Attributes:
        prefix: the namespace: 1 to 128 UTF-8 bytes once ``%``, ``#`` and ``/`` are escaped.
    """

    prefix: str

    def __post_init__(self) -> None:
        size = check_text(self.prefix, "namespace: prefix")
        size += 2 * sum(self.prefix.count(one) for one in "%#/")
        if not size or "\0" in self.prefix:
            raise InvalidInputError("namespace: prefix must not be empty or hold NUL")
        if size > MAX_NAMESPACE_BYTES:
            raise LimitExceededError(
                f"namespace: prefix has {size:,} bytes after escaping, more than "
                f"{MAX_NAMESPACE_BYTES}"
            )


class _Names:
    """User ids inside and outside."""

    def __init__(self, options: NamespaceOptions) -> None:
        self._prefix = f"{options.prefix.replace('%', '%25').replace('/', '%2F')}/"

    def inner(self, user_id: str) -> str:
        """Return a user as the store knows it."""
        return self._prefix + user_id

    def outer(self, inner_id: str) -> str:
        """Return a user as the caller knows it."""
        return inner_id[len(self._prefix) :]

    def users(
        self, after: str | None, limit: int, listed: Callable[[str | None], Rows[str]]
    ) -> Rows[str]:
        """Return users of this namespace behind ``after``, out of those of all."""
        found: list[str] = []
        position = None if after is None else self.inner(after)
        while True:
            rows = listed(position)
            for one in rows.items:
                position = one
                if one.startswith(self._prefix):
                    found.append(self.outer(one))
                    if len(found) == limit:
                        return Rows(found, more=True)
            if not rows.items or not rows.more:
                return Rows(found)


class NamespaceConversationStore(ConversationWrapper):
    """Conversations of users whose ids get a prefix in the inner store."""

    NAME: ClassVar[str] = "namespace"
    OPTIONS: ClassVar[type[Any] | None] = NamespaceOptions

    def __init__(self, inner: ConversationStore, options: NamespaceOptions) -> None:
        super().__init__(inner)
        self._names = _Names(options)

    def _moved_in(self, entry: EncodedMessage) -> EncodedMessage:
        message = entry.message
        return replace(entry, message=replace(message, user_id=self._names.inner(message.user_id)))

    def _moved_out(self, one: T) -> T:
        return replace(one, user_id=self._names.outer(one.user_id))

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        moved = [self._moved_in(entry) for entry in entries]
        return super()._append(op, self._names.inner(user_id), moved)

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return super()._replace(op, self._moved_in(entry))

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, self._names.inner(user_id), ids)
        return {one: self._moved_out(message) for one, message in found.items()}

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, replace(query, user_id=self._names.inner(query.user_id)))
        return Rows([self._moved_out(one) for one in rows.items], rows.more)

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        rows = super()._summaries(op, replace(query, user_id=self._names.inner(query.user_id)))
        return Rows([self._moved_out(one) for one in rows.items], rows.more)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        return super()._sessions(op, self._names.inner(user_id), limit, after)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return super()._delete(op, self._names.inner(user_id), ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return super()._delete_session(op, self._names.inner(user_id), session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return super()._erase(op, self._names.inner(user_id))

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(op, [self._moved_in(entry) for entry in entries])

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return super()._optimize(op, self._names.inner(user_id), progress)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        listed = super()._users
        return self._names.users(after, limit, lambda position: listed(op, MAX_PAGE, position))


class NamespaceVectorIndex(VectorWrapper):
    """Vectors of users whose ids get a prefix in the inner index."""

    NAME: ClassVar[str] = "namespace"
    OPTIONS: ClassVar[type[Any] | None] = NamespaceOptions

    def __init__(self, inner: VectorIndex, options: NamespaceOptions) -> None:
        super().__init__(inner)
        self._names = _Names(options)

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        super()._upsert(op, self._names.inner(user_id), records)

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        return super()._search(op, replace(query, user_id=self._names.inner(query.user_id)))

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        return super()._get(op, self._names.inner(user_id), ids)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return super()._delete(op, self._names.inner(user_id), ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return super()._delete_session(op, self._names.inner(user_id), session_id)

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return super()._ids(op, self._names.inner(user_id), limit, after)

    def _count(self, op: Operation, user_id: str) -> int:
        return super()._count(op, self._names.inner(user_id))

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return super()._erase(op, self._names.inner(user_id))

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        super()._load(op, [(self._names.inner(user_id), one) for user_id, one in records])

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return super()._optimize(op, self._names.inner(user_id), progress)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        listed = super()._users
        return self._names.users(after, limit, lambda position: listed(op, MAX_PAGE, position))
