"""Time, caches, threads, restarts and the frame around every call."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Unpack

import pytest

from ialstore import (
    AppendResult,
    ConflictError,
    Consistency,
    EraseReport,
    Message,
    StoreNotReadyError,
)
from ialstore.capabilities import ConversationCapabilities
from ialstore.component import StoreSettings
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage, encode_message
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore
from tests.kit.planted.registry import BreaksOthers, at, breaks


@breaks("C2")
class ShowsExpired(MemoryConversationStore):
    """A message that has expired is still found by its id."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        with at(0, op):
            return super()._get(op, user_id, ids)


@breaks("C2")
class ExpiresByTheWallClock(MemoryConversationStore):
    """The time is that of the host, not of the clock that was given."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        with at(int(datetime.now(UTC).timestamp()), op):
            return super()._history(op, query)


class Cached(MemoryConversationStore):
    """Has a cache of what was found by its id."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.cache: dict[tuple[str, str], Message] = {}


@breaks("C1")
class StaleAfterReplace(Cached):
    """What was read once is answered from a cache, whatever was replaced meanwhile."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, user_id, ids)
        return {
            one: self.cache.setdefault((user_id, one), message) for one, message in found.items()
        }


@breaks("C1")
class StaleAfterDelete(Cached):
    """A deleted message is still found by its id, in a cache."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, user_id, ids)
        self.cache |= {(user_id, one): message for one, message in found.items()}
        return {one: self.cache[user_id, one] for one in ids if (user_id, one) in self.cache}


@breaks("M6")
class OrderStepsBackWithTheClock(MemoryConversationStore):
    """The order is that of the store's clock at arrival, which may step back."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.arrived: dict[str, tuple[datetime, str]] = {}

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        self.arrived |= {one: (self._clock(), one) for one in result.stored}
        return result

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)

        def key(message: Message) -> tuple[datetime, str]:
            return self.arrived.get(message.id, (message.created_at, message.id))

        return replace(rows, items=sorted(rows.items, key=key, reverse=query.newest_first))


@breaks("S15")
class AnswersAfterClose(MemoryConversationStore):
    """A closed store goes on answering."""

    def close(self) -> None:
        pass


@breaks("S15")
class GetsAfterClose(Cached):
    """What was read before is still found by its id after the store was closed."""

    def get(
        self, user_id: str, ids: Sequence[str], *, consistency: Consistency | None = None
    ) -> list[Message]:
        if self._closed and ids and all((user_id, one) in self.cache for one in ids):
            return [self.cache[user_id, one] for one in ids]
        found = super().get(user_id, ids, consistency=consistency)
        self.cache |= {(user_id, one.id): one for one in found}
        return found


@breaks("S15")
class ClosesAtOnce(MemoryConversationStore):
    """Close ends what is running, and does not wait for it."""

    def close(self) -> None:
        self._closed = True
        self._by_user.clear()

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        if self._closed:
            raise StoreNotReadyError("closed")
        super()._load(op, entries)


@breaks("S15")
class ClosesOnce(MemoryConversationStore):
    """Closing a store a second time raises."""

    def close(self) -> None:
        if self._closed:
            raise StoreNotReadyError("closed already")
        super().close()


@breaks("S15")
class SetupWipes(MemoryConversationStore):
    """Setup empties what is there."""

    def _setup(self, op: Operation) -> None:
        self._by_user.clear()


@breaks("S15")
class AlwaysComplains(MemoryConversationStore):
    """Check names a difference where there is none."""

    def _check(self, op: Operation) -> list[str]:
        return ["the table is not what it should be"]


@breaks("C3")
class IgnoresTimeouts(MemoryConversationStore):
    """The timeout that was given is ignored."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        settings.pop("timeout_seconds", None)
        super().__init__(**settings)


@breaks("C3")
class Dawdles(MemoryConversationStore):
    """A history that has less than a second takes a fifth of a second more."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        left = op.remaining()
        time.sleep(left + 0.2 if left < 1 else 0)
        return super()._history(op, query)


@breaks("E3")
class ErrorsShowContents(MemoryConversationStore):
    """The error of a conflict shows the content."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except ConflictError as error:
            raise ConflictError(f"{entries[0].message.content} differs", ids=error.ids) from error


@breaks("E3")
class ErrorsShowNames(MemoryConversationStore):
    """The error of a conflict shows user and session."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except ConflictError as error:
            raise ConflictError(
                f"conflict in session {entries[0].message.session_id} of {user_id}", ids=error.ids
            ) from error


@breaks("E3")
class ErrorsOfReplaceShowNames(MemoryConversationStore):
    """The error of a replace that moves a message shows the session."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        try:
            return super()._replace(op, entry)
        except ConflictError as error:
            raise ConflictError(
                f"not of session {entry.message.session_id}", ids=error.ids
            ) from error


@breaks("E3")
class EventsShowUsers(MemoryConversationStore):
    """The details of an event name the user."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        op.details["partition"] = f"{user_id}#messages"
        return super()._get(op, user_id, ids)


@breaks("E3")
class EventsShowSessions(MemoryConversationStore):
    """The details of an event name the session."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        if query.session_id is not None:
            op.details["index"] = query.session_id
        return super()._history(op, query)


@breaks("E3")
class EventsShowMetadata(MemoryConversationStore):
    """The details of an event show the metadata."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        op.details["metadata"] = str(entries[0].metadata_text)
        return super()._append(op, user_id, entries)


@breaks("S1")
class AppendRaces(MemoryConversationStore):
    """Two threads that append one message at once both store it."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        there = self._get(op, user_id, [one.message.id for one in entries])
        time.sleep(0.001)
        new = tuple(one.message.id for one in entries if one.message.id not in there)
        result = super()._append(op, user_id, entries)
        known = tuple(one for one in result.duplicates if one not in new)
        return AppendResult(new, known)


@breaks("S2")
class ConflictRaces(MemoryConversationStore):
    """Of two threads that append one id with different contents the last one wins."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        there = self._get(op, user_id, [one.message.id for one in entries])
        if there:
            return super()._append(op, user_id, entries)
        time.sleep(0.001)
        self._load(op, entries)
        return AppendResult(tuple(one.message.id for one in entries))


@breaks("S15")
class FirstWriteRaces(MemoryConversationStore):
    """Of two threads that write for a new user at once one loses what it wrote."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        if user_id in self._by_user:
            return super()._append(op, user_id, entries)
        alone = MemoryConversationStore()
        result = alone._append(op, user_id, entries)  # noqa: SLF001 - as a store does
        time.sleep(0.001)
        self._by_user |= alone._by_user  # noqa: SLF001 - as above
        return result


@breaks("S15")
class FirstWriteOfASessionRaces(MemoryConversationStore):
    """Of two threads that begin a session at once one loses its place in the listing."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        session = entries[0].message.session_id
        user = self._by_user.get(user_id)
        is_new = user is not None and session not in user.sessions
        time.sleep(0.001 if is_new else 0)
        result = super()._append(op, user_id, entries)
        user = self._by_user.get(user_id)
        if is_new and user is not None and result.stored:
            with self._lock:
                user.sessions[session] = sorted(one.message.id for one in entries)
        return result


@breaks("S10")
class DeleteRaces(MemoryConversationStore):
    """Two threads that delete one message at once both count it."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        there = len(self._get(op, user_id, ids))
        time.sleep(0.001)
        super()._delete(op, user_id, ids)
        return there


@breaks("S10")
class DeleteOfSessionsRaces(MemoryConversationStore):
    """Two threads that delete one session at once both count its messages."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        user = self._by_user.get(user_id)
        ids = list(user.sessions.get(session_id, ())) if user else []
        there = len(self._get(op, user_id, ids))
        time.sleep(0.001)
        super()._delete_session(op, user_id, session_id)
        return there


@breaks("S4")
class ReplaceIsTorn(MemoryConversationStore):
    """A message is gone for a moment while it is replaced."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        message = entry.message
        there = self._get(op, message.user_id, [message.id]).get(message.id)
        if there is None or there.session_id != message.session_id:
            return super()._replace(op, entry)
        self._delete(op, message.user_id, [message.id])
        time.sleep(0.001)
        self._load(op, [entry])
        return True


@breaks("S4")
class ReplaceInTwoSteps(MemoryConversationStore):
    """Content and payload are replaced one after the other."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        half = replace(entry, payload_text=None)
        if not super()._replace(op, half):
            return False
        time.sleep(0.001)
        return super()._replace(op, entry)


@breaks("C1")
class HandlesDoNotMeet(SqliteConversationStore):
    """What another handle changed is not noticed by one that read it before."""

    def __init__(self, path: Path, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(path, **settings)
        self.cache: dict[tuple[str, str], Message] = {}

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, user_id, ids)
        return {
            one: deepcopy(self.cache.setdefault((user_id, one), message))
            for one, message in found.items()
        }

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        self.cache.pop((entry.message.user_id, entry.message.id), None)
        return super()._replace(op, entry)

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        for one in entries:
            self.cache.pop((one.message.user_id, one.message.id), None)
        super()._load(op, entries)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        self.cache.clear()
        return super()._delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        self.cache.clear()
        return super()._delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        self.cache.clear()
        return super()._erase(op, user_id)


@breaks("C4")
class DeletesUntilRestart(SqliteConversationStore):
    """What was deleted comes back after a restart."""

    def __init__(self, path: Path, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(path, **settings)
        self.gone: list[EncodedMessage] = []

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        self.gone += map(encode_message, self._get(op, user_id, ids).values())
        return super()._delete(op, user_id, ids)

    def close(self) -> None:
        if self.gone and not self._closed:
            with self._operation("bulk_load") as op:
                self._load(op, self.gone)
        super().close()


@breaks("C4")
class ReplacesUntilRestart(SqliteConversationStore):
    """What was replaced is as before after a restart."""

    def __init__(self, path: Path, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(path, **settings)
        self.before: list[EncodedMessage] = []

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        there = self._get(op, entry.message.user_id, [entry.message.id])
        self.before += map(encode_message, there.values())
        return super()._replace(op, entry)

    def close(self) -> None:
        if not self._closed:
            for one in self.before[:1]:
                self.replace(one.message)
        super().close()


@breaks("M4")
class IdsStepBack(BreaksOthers, MemoryConversationStore):
    """New ids step back with the clock of the host."""

    @classmethod
    def plant(cls, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "ialstore.ids._Clock.next", lambda _, at_least: max(time.time_ns() // 1000, at_least)
        )


@breaks("S15")
class ClaimsToBeDurable(MemoryConversationStore):
    """What is lost at the end of the process is said to be durable."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        MemoryConversationStore.CAPABILITIES, durable=True
    )


@breaks("C1")
class ClaimsProcesses(MemoryConversationStore):
    """A store that is alone is said to be for many processes."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        MemoryConversationStore.CAPABILITIES, multi_process=True
    )


@breaks("S15")
class ChildrenWaitForEver(MemoryConversationStore):
    """A forked child waits for a lock that nobody holds."""

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
