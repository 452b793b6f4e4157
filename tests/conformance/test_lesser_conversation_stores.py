"""Stores that promise less, and keep it: the kit takes each for what it says of itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, TypeVar, Unpack

import pytest

from ialstore import (
    AppendResult,
    ConflictError,
    ConversationStore,
    EraseReport,
    LockedError,
    Message,
    OptimizeReport,
    PartialWriteError,
    SessionInfo,
    StoreNotReadyError,
)
from ialstore.capabilities import ConversationCapabilities
from ialstore.component import Progress, StoreSettings
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore.testing.conversation.base import MakeStore, Settle
from ialstore.wrappers.base import ConversationWrapper
from ialstore_backends.memory import MemoryConversationStore
from tests.conformance.brief import BriefStoreSuite

T = TypeVar("T")


@dataclass
class Place:
    """What several handles share, as a file or a server would be."""

    lock: Any = field(default_factory=threading.Lock)
    by_user: dict[str, Any] = field(default_factory=dict[str, Any])
    ready: bool = False
    owner: object = None


class PlacedStore(MemoryConversationStore):
    """Keeps its messages in a place that other handles may open, too."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        MemoryConversationStore.CAPABILITIES, durable=True
    )

    def __init__(self, place: Place, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self._lock = place.lock
        self._by_user = place.by_user


class ReadOnlyStore(PlacedStore):
    """Reads what another handle wrote."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        PlacedStore.CAPABILITIES, writable=False
    )


class RoughStore(MemoryConversationStore):
    """Appends one by one, and lists sessions from a directory that it seldom renews."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        MemoryConversationStore.CAPABILITIES,
        atomic_append=False,
        exact_sessions=False,
        activity_precision=timedelta(minutes=10),
    )

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self._directory: dict[str, dict[str, datetime]] = {}

    def _announce(self, message: Message) -> None:
        with self._lock:
            sessions = self._directory.setdefault(message.user_id, {})
            told = sessions.setdefault(message.session_id, message.created_at)
            if message.created_at - told > self.capabilities.activity_precision:
                sessions[message.session_id] = message.created_at

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        stored: list[str] = []
        duplicates: list[str] = []
        conflicting: list[str] = []
        for entry in entries:
            self._announce(entry.message)
            try:
                result = super()._append(op, user_id, [entry])
            except ConflictError:
                conflicting.append(entry.message.id)
            else:
                stored += result.stored
                duplicates += result.duplicates
        if conflicting and not stored:
            raise ConflictError("stored with other content", ids=conflicting)
        if conflicting:
            raise PartialWriteError(
                "stored in part", stored=stored, duplicates=duplicates, conflicting=conflicting
            )
        return AppendResult(tuple(stored), tuple(duplicates))

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        for entry in entries:
            self._announce(entry.message)
        super()._load(op, entries)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        with self._lock:
            sessions = sorted(self._directory.get(user_id, {}).items())
        listed = [SessionInfo(*one) for one in sessions]
        listed.sort(key=lambda one: one.last_active, reverse=True)
        if after is not None:
            listed = [
                one
                for one in listed
                if one.last_active < after.last_active
                or (one.last_active == after.last_active and one.session_id > after.session_id)
            ]
        return Rows(listed[:limit], more=len(listed) > limit)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        with self._lock:
            self._directory.get(user_id, {}).pop(session_id, None)
        return super()._delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        with self._lock:
            self._directory.pop(user_id, None)
        return super()._erase(op, user_id)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        live = {one.session_id for one in super()._sessions(op, user_id, 10**6, None).items}
        with self._lock:
            ghosts = self._directory.get(user_id, {}).keys() - live
            for one in ghosts:
                del self._directory[user_id][one]
        return super()._optimize(op, user_id, progress)


class LateStore(ConversationWrapper):
    """Shows what was written when it is told to, and serves one handle at a time."""

    def __init__(self, place: Place, shown: Place, **settings: Unpack[StoreSettings]) -> None:
        self.place = place
        self.shown = PlacedStore(shown, **settings)
        super().__init__(PlacedStore(place, **settings))

    @property
    def capabilities(self) -> ConversationCapabilities:
        return replace(self.inner.capabilities, strong_reads=False, needs_setup=True, users=False)

    def show(self) -> None:
        shown = self.shown._by_user  # noqa: SLF001 - as a driver does
        with self.place.lock:
            shown.clear()
            for name, user in self.place.by_user.items():
                sessions = {session: list(ids) for session, ids in user.sessions.items()}
                shown[name] = replace(
                    user, messages=dict(user.messages), ids=list(user.ids), sessions=sessions
                )

    def _around(self, op: Operation, call: Callable[[], T]) -> T:
        with self.place.lock:
            if self.place.owner not in (None, self):
                raise LockedError("another handle has it")
            if not self.place.ready:
                raise StoreNotReadyError("call setup()")
            self.place.owner = self
        return super()._around(op, call)

    def _setup(self, op: Operation) -> None:
        self.place.ready = True
        super()._setup(op)

    def _check(self, op: Operation) -> list[str]:
        return super()._check(op) if self.place.ready else ["nothing is there: call setup()"]

    def _close(self) -> None:
        super()._close()
        if self.place.owner is self:
            self.place.owner = None

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        return self._around(op, lambda: self.shown._get(op, user_id, ids))  # noqa: SLF001 - as a wrapper does

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        return self._around(op, lambda: self.shown._history(op, query))  # noqa: SLF001 - as a wrapper does

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        return self._around(op, lambda: self.shown._sessions(op, user_id, limit, after))  # noqa: SLF001 - as a wrapper does

    _summaries = ConversationStore._summaries  # noqa: SLF001 - as if it were not overridden

    def _after_fork(self) -> None:
        self.place.lock = threading.Lock()


class TestRough(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return RoughStore


class TestReadOnly(BriefStoreSuite):
    @pytest.fixture
    def place(self) -> Place:
        return Place()

    @pytest.fixture
    def make_store(self, place: Place) -> MakeStore:
        return partial(ReadOnlyStore, place)

    @pytest.fixture
    def make_writer(self, place: Place) -> MakeStore:
        return partial(PlacedStore, place)


class TestLate(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return partial(LateStore, Place(), Place())

    @pytest.fixture
    def settle(self) -> Settle:
        def settle(store: ConversationStore) -> None:
            assert isinstance(store, LateStore)
            store.show()

        return settle
