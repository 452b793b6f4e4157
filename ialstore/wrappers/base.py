"""What every wrapper starts from: all hooks forwarded to the inner store, one by one.

A wrapper overrides ``_around``, through which every hook passes, or single hooks. It changes what
the inner store says of itself with ``dataclasses.replace(self.inner.capabilities, ...)``.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ialstore.capabilities import ConversationCapabilities, VectorCapabilities
from ialstore.component import Component, Progress
from ialstore.conversation import ConversationStore
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
from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery, SearchResult

if TYPE_CHECKING:
    from ialstore.events import OperationEvent
    from ialstore.operation import Operation

__all__ = ["ConversationWrapper", "VectorWrapper", "Wrapper"]

C = TypeVar("C", bound=Component)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Of a wrapper that takes none."""


class Wrapper(Component, ABC, Generic[C]):
    """The part that both kinds share. ``inner`` is set before the constructor of ``Component``."""

    NAME: ClassVar[str]
    """What a config calls it."""
    OPTIONS: ClassVar[type[Any] | None] = NoOptions
    """Frozen dataclass of its options in a config; handed to the constructor after ``inner``."""

    inner: C

    @property
    def backend(self) -> str:
        """URL scheme of the innermost store."""
        return self.inner.backend

    @property
    def held_bytes(self) -> int:
        """Bytes that the inner store holds."""
        return self.inner.held_bytes

    def _is_heard(self) -> bool:
        return super()._is_heard() or self.inner._is_heard()

    def _tell(self, event: OperationEvent) -> None:
        super()._tell(event)
        self.inner._tell(event)

    def _around(self, op: Operation, call: Callable[[], T]) -> T:
        """Call a hook of the inner store; its driver errors are translated at its border."""
        with self.inner._translating(op):
            return call()

    def _address(self, op: Operation, user_id: str) -> tuple[str, ...] | None:
        with self.inner._translating(op):
            return self.inner._address(op, user_id)

    def _setup(self, op: Operation) -> None:
        self._around(op, lambda: self.inner._setup(op))

    def _check(self, op: Operation) -> list[str]:
        return self._around(op, lambda: self.inner._check(op))

    def _close(self) -> None:
        self.inner.close()


class ConversationWrapper(Wrapper[ConversationStore], ConversationStore):
    """A conversation store around another."""

    def __init__(self, inner: ConversationStore, options: Any = None) -> None:
        self.inner = inner
        super().__init__(**inner.settings)

    @property
    def capabilities(self) -> ConversationCapabilities:
        """Those of the inner store."""
        return self.inner.capabilities

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        return self._around(op, lambda: self.inner._append(op, user_id, entries))

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return self._around(op, lambda: self.inner._replace(op, entry))

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        return self._around(op, lambda: self.inner._get(op, user_id, ids))

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        return self._around(op, lambda: self.inner._history(op, query))

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        return self._around(op, lambda: self.inner._summaries(op, query))

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        return self._around(op, lambda: self.inner._sessions(op, user_id, limit, after))

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._around(op, lambda: self.inner._delete(op, user_id, ids))

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._around(op, lambda: self.inner._delete_session(op, user_id, session_id))

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return self._around(op, lambda: self.inner._erase(op, user_id))

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        self._around(op, lambda: self.inner._load(op, entries))

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self._around(op, lambda: self.inner._optimize(op, user_id, progress))

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        return self._around(op, lambda: self.inner._users(op, limit, after))


class VectorWrapper(Wrapper[VectorIndex], VectorIndex):
    """A vector index around another."""

    def __init__(self, inner: VectorIndex, options: Any = None) -> None:
        self.inner = inner
        super().__init__(inner.spec, **inner.settings)

    @property
    def capabilities(self) -> VectorCapabilities:
        """Those of the inner index."""
        return self.inner.capabilities

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        return self._around(op, lambda: self.inner._stored_spec(op))

    def _store_spec(self, op: Operation, spec: IndexSpec) -> None:
        self._around(op, lambda: self.inner._store_spec(op, spec))

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self._around(op, lambda: self.inner._upsert(op, user_id, records))

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        return self._around(op, lambda: self.inner._search(op, query))

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        return self._around(op, lambda: self.inner._get(op, user_id, ids))

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._around(op, lambda: self.inner._delete(op, user_id, ids))

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._around(op, lambda: self.inner._delete_session(op, user_id, session_id))

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return self._around(op, lambda: self.inner._ids(op, user_id, limit, after))

    def _count(self, op: Operation, user_id: str) -> int:
        return self._around(op, lambda: self.inner._count(op, user_id))

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return self._around(op, lambda: self.inner._erase(op, user_id))

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        self._around(op, lambda: self.inner._load(op, records))

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self._around(op, lambda: self.inner._optimize(op, user_id, progress))

    def _is_optimize_due(self, user_id: str) -> bool:
        return self.inner._is_optimize_due(user_id)

    def _optimize_due(self, op: Operation, user_id: str) -> OptimizeReport:
        return self._around(op, lambda: self.inner._optimize_due(op, user_id))

    def _is_prefetch_due(self, user_id: str) -> bool:
        return self.inner._is_prefetch_due(user_id)

    def _prefetch(self, op: Operation, user_id: str) -> None:
        self._around(op, lambda: self.inner._prefetch(op, user_id))

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        return self._around(op, lambda: self.inner._users(op, limit, after))
