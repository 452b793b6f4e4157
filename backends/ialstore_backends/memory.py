"""``memory:`` stores and indexes: private to their object, gone with it; for tests and trials."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Self, Unpack

import numpy as np

from ialstore.capabilities import ConversationCapabilities, VectorCapabilities
from ialstore.conversation import ConversationStore
from ialstore.decoding import decode_message
from ialstore.errors import ConfigurationError, ConflictError
from ialstore.estimate import Estimate
from ialstore.listing import HistoryQuery, Rows, session_rows, take_rows
from ialstore.model import (
    AppendResult,
    EncodedMessage,
    EraseReport,
    Message,
    OptimizeReport,
    SessionInfo,
)
from ialstore.vector import VectorIndex
from ialstore_backends._exact import ExactMatrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ialstore.component import Progress, StoreSettings
    from ialstore.estimate import Workload
    from ialstore.operation import Operation
    from ialstore.url import StoreURL
    from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery, SearchResult

__all__ = ["MemoryConversationStore", "MemoryVectorIndex"]


@dataclass(slots=True)
class _User:
    """Messages of one user: by id, and all ids in order, for the user and for each session."""

    messages: dict[str, EncodedMessage] = field(default_factory=dict[str, EncodedMessage])
    ids: list[str] = field(default_factory=list[str])
    sessions: dict[str, list[str]] = field(default_factory=dict[str, "list[str]"])

    def put(self, entry: EncodedMessage) -> None:
        message = entry.message
        if message.id not in self.messages:
            insort(self.ids, message.id)
            insort(self.sessions.setdefault(message.session_id, []), message.id)
        self.messages[message.id] = entry

    def remove(self, message_id: str) -> EncodedMessage:
        entry = self.messages.pop(message_id)
        session_id = entry.message.session_id
        for ids in (self.ids, self.sessions[session_id]):
            del ids[bisect_left(ids, message_id)]
        if not self.sessions[session_id]:
            del self.sessions[session_id]
        return entry


class MemoryConversationStore(ConversationStore):
    """Conversations in this process's memory."""

    SCHEME: ClassVar[str] = "memory"
    CAPABILITIES: ClassVar[ConversationCapabilities] = ConversationCapabilities(
        atomic_append=True, exact_sessions=True, activity_precision=timedelta(0), users=True
    )

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self._lock = threading.Lock()
        self._by_user: dict[str, _User] = {}
        self._name = os.urandom(16).hex()

    @classmethod
    def from_url(cls, url: StoreURL, **settings: Unpack[StoreSettings]) -> Self:
        """Return a new, empty store; ``memory:`` takes no name and no options."""
        check_memory_url(url)
        return cls(**settings)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return that nothing is billed: what is held goes with the process."""
        check_memory_url(url)
        return Estimate()

    def _address(self, op: Operation, user_id: str) -> tuple[str, ...]:
        return (self.SCHEME, self._name, user_id)

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        with self._lock:
            user = self._by_user.get(user_id, _User())
            fresh: list[EncodedMessage] = []
            duplicates: list[str] = []
            conflicts: list[str] = []
            for entry in entries:
                there = _live(user, entry.message.id, op.now)
                if there is None:
                    fresh.append(entry)
                elif there.content_hash == entry.content_hash:
                    duplicates.append(entry.message.id)
                else:
                    conflicts.append(entry.message.id)
            if conflicts:
                raise ConflictError(f"{conflicts[0]} is stored with other content", ids=conflicts)
            for entry in fresh:
                # An expired message may be there, perhaps of another session of the same hash.
                if entry.message.id in user.messages:
                    user.remove(entry.message.id)
                user.put(entry)
            if fresh:
                self._by_user[user_id] = user
        return AppendResult(tuple(entry.message.id for entry in fresh), tuple(duplicates))

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        message = entry.message
        with self._lock:
            user = self._by_user.get(message.user_id, _User())
            there = _live(user, message.id, op.now)
            if there is None:
                return False
            if there.message.session_id != message.session_id:
                raise ConflictError(f"{message.id} belongs to another session", ids=[message.id])
            user.put(entry)
        return True

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        with self._lock:
            user = self._by_user.get(user_id, _User())
            found = [_live(user, one, op.now) for one in ids]
        return {entry.message.id: _decode(entry) for entry in found if entry is not None}

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        with self._lock:
            user = self._by_user.get(query.user_id, _User())
            ids = user.ids
            if query.session_id is not None:
                ids = user.sessions.get(query.session_id, [])
            first, end = bisect_left(ids, query.lower), bisect_left(ids, query.upper)
            order = range(end - 1, first - 1, -1) if query.newest_first else range(first, end)

            def live() -> Iterator[EncodedMessage]:
                for place in order:
                    entry = _live(user, ids[place], op.now)
                    if entry is not None:
                        yield entry

            rows = take_rows(live(), query.limit, _size)
        return Rows([_decode(entry) for entry in rows.items], rows.more)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        with self._lock:
            user = self._by_user.get(user_id, _User())
            newest: dict[str, str] = {}
            for session_id, ids in user.sessions.items():
                live = next((one for one in reversed(ids) if _live(user, one, op.now)), None)
                if live is not None:
                    newest[session_id] = live
        return session_rows(newest, limit, after)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        with self._lock:
            user = self._by_user.get(user_id, _User())
            there = [one for one in ids if one in user.messages]
            live = sum(1 for one in there if _live(user, one, op.now))
            for one in there:  # expired ones too, which a clock set back would show again
                user.remove(one)
        return live

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        with self._lock:
            user = self._by_user.get(user_id, _User())
            ids = list(user.sessions.get(session_id, ()))
            live = sum(1 for one in ids if _live(user, one, op.now))
            for one in ids:
                user.remove(one)
        return live

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        with self._lock:
            for entry in entries:
                user = self._by_user.setdefault(entry.message.user_id, _User())
                if entry.message.id in user.messages:
                    user.remove(entry.message.id)
                user.put(entry)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        with self._lock:
            user = self._by_user.pop(user_id, _User())
            live = sum(1 for one in user.ids if _live(user, one, op.now))
        return EraseReport(messages=live)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        with self._lock:
            user = self._by_user.get(user_id, _User())
            expired = [one for one in user.ids if _live(user, one, op.now) is None]
            for one in expired:
                user.remove(one)
            if not user.ids:
                self._by_user.pop(user_id, None)
        progress(len(expired), len(expired))
        return OptimizeReport(removed=len(expired))

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        with self._lock:
            return _users_behind(self._by_user, limit, after)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()


@dataclass(slots=True)
class _Vectors:
    """Vectors of one user: records by id, all ids in order, and the matrix that is searched."""

    matrix: ExactMatrix
    records: dict[str, EncodedRecord] = field(default_factory=dict[str, "EncodedRecord"])
    ids: list[str] = field(default_factory=list[str])

    def put(self, records: Sequence[EncodedRecord]) -> None:
        self.matrix.put(records, np.stack([record.vector for record in records]))
        for record in records:
            if record.id not in self.records:
                insort(self.ids, record.id)
            self.records[record.id] = record

    def remove(self, ids: Iterable[str], now: int) -> int:
        """Remove records; return how many of them were live."""
        records = [self.records.pop(one) for one in ids if one in self.records]
        for record in records:
            del self.ids[bisect_left(self.ids, record.id)]
        self.matrix.discard(record.id for record in records)
        return sum(_is_live(record, now) for record in records)


class MemoryVectorIndex(VectorIndex):
    """Vectors in this process's memory, searched exactly."""

    SCHEME: ClassVar[str] = "memory"
    CAPABILITIES: ClassVar[VectorCapabilities] = VectorCapabilities(
        exact=True, min_recall=1.0, max_k=1000, vector_error=0.0, users=True
    )

    def __init__(self, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(spec, **settings)
        self._lock = threading.Lock()
        self._by_user: dict[str, _Vectors] = {}

    @classmethod
    def from_url(cls, url: StoreURL, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Self:
        """Return a new, empty index; ``memory:`` takes no name and no options."""
        check_memory_url(url)
        return cls(spec, **settings)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return that nothing is billed: what is held goes with the process."""
        check_memory_url(url)
        return Estimate()

    @property
    def held_bytes(self) -> int:
        """Bytes of the matrices that are searched, beside the records themselves."""
        with self._lock:
            return sum(user.matrix.nbytes for user in self._by_user.values())

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        return self.spec

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        with self._lock:
            user = self._user(user_id)
            user.put(records)
            self._by_user[user_id] = user

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        with self._lock:
            ranking = self._user(query.user_id).matrix.search(query, op.now)
        return ranking.result()

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        with self._lock:
            records = self._user(user_id).records
            found = [records[one] for one in ids if one in records]
        return {record.id: record for record in found if _is_live(record, op.now)}

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        with self._lock:
            return self._remove(user_id, ids, op.now)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        with self._lock:
            records = self._user(user_id).records.values()
            ids = [record.id for record in records if record.session_id == session_id]
            return self._remove(user_id, ids, op.now)

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        with self._lock:
            user = self._user(user_id)
            first = 0 if after is None else bisect_right(user.ids, after)
            live = (one for one in user.ids[first:] if _is_live(user.records[one], op.now))
            listed = list(islice(live, limit + 1))
        return Rows(listed[:limit], more=len(listed) > limit)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        with self._lock:
            user = self._user(user_id)
            self._by_user.pop(user_id, None)
            live = sum(_is_live(record, op.now) for record in user.records.values())
        return EraseReport(vectors=live)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        with self._lock:
            records = self._user(user_id).records.values()
            expired = [record.id for record in records if not _is_live(record, op.now)]
            self._remove(user_id, expired, op.now)
        progress(len(expired), len(expired))
        return OptimizeReport(removed=len(expired))

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        with self._lock:
            return _users_behind(self._by_user, limit, after)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def _user(self, user_id: str) -> _Vectors:
        """Return the vectors of a user; empty ones, which are not kept, where there are none."""
        return self._by_user.get(user_id) or _Vectors(ExactMatrix(self.spec))

    def _remove(self, user_id: str, ids: Sequence[str], now: int) -> int:
        user = self._user(user_id)
        live = user.remove(ids, now)
        if not user.ids:
            self._by_user.pop(user_id, None)
        return live


def check_memory_url(url: StoreURL) -> None:
    """Refuse anything behind ``memory:``."""
    url.require_no_userinfo()
    if url.authority or url.path:
        raise ConfigurationError("memory: takes no name; each store is private")
    url.options(_NoOptions)


@dataclass(frozen=True, slots=True)
class _NoOptions:
    """``memory:`` takes none."""


def _users_behind(users: Iterable[str], limit: int, after: str | None) -> Rows[str]:
    listed = sorted(one for one in users if after is None or one > after)
    return Rows(listed[:limit], more=len(listed) > limit)


def _is_live(record: EncodedRecord, now: int) -> bool:
    return record.expires is None or record.expires > now


def _live(user: _User, message_id: str, now: int) -> EncodedMessage | None:
    entry = user.messages.get(message_id)
    if entry is None or (entry.expires is not None and entry.expires <= now):
        return None
    return entry


def _size(entry: EncodedMessage) -> int:
    return entry.size


def _decode(entry: EncodedMessage) -> Message:
    """Return a message of its own, so that a caller who changes its JSON changes no other."""
    message = entry.message
    return decode_message(
        id=message.id,
        user_id=message.user_id,
        session_id=message.session_id,
        content=message.content,
        payload_text=entry.payload_text,
        name=message.name,
        turn_id=message.turn_id,
        source_id=message.source_id,
        summary=message.summary,
        tokens=message.tokens,
        metadata_text=entry.metadata_text,
        expires=entry.expires,
    )
