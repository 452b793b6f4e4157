"""The kit's tests of a driver that fails, on a store over a driver that can be told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, Unpack

import pytest

from ialstore import (
    AppendResult,
    ConflictError,
    ConversationStore,
    IalStoreError,
    Message,
    Outcome,
    PartialWriteError,
    UnavailableError,
)
from ialstore.capabilities import ConversationCapabilities
from ialstore.component import StoreSettings
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore.testing.conversation.base import Faults, MakeStore, Say
from ialstore.testing.conversation.faults import Failures
from ialstore.testing.conversation.helpers import WRITES
from ialstore.wrappers.base import ConversationWrapper
from ialstore_backends.memory import MemoryConversationStore
from tests.conformance.brief import BriefStoreSuite

T = TypeVar("T")

BATCH = 25


class RefusedError(ConnectionError):
    """Of the driver: nothing was sent."""


class Driver:
    """Sends requests to what holds the messages; fails when it is told to."""

    def __init__(self) -> None:
        self.lock: Any = threading.Lock()
        self.by_user: dict[str, Any] = {}
        self.refusals = 0
        self.replies_lost = 0

    def unavailable(self, calls: int) -> None:
        self.refusals = calls

    def lost_reply(self) -> None:
        self.replies_lost = 1

    def send(self, call: Callable[[], T], *, writes: bool) -> T:
        if self.refusals:
            self.refusals -= 1
            raise RefusedError("connection refused")
        reply = call()
        if writes and self.replies_lost:
            self.replies_lost = 0
            raise ConnectionError("reset by peer")
        return reply


class KeptStore(MemoryConversationStore):
    """What is at the other end of a driver."""

    def __init__(self, driver: Driver, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self._lock = driver.lock
        self._by_user = driver.by_user


class RemoteStore(ConversationWrapper):
    """Reaches its messages through a driver."""

    def __init__(self, driver: Driver, **settings: Unpack[StoreSettings]) -> None:
        self.driver = driver
        super().__init__(KeptStore(driver, **settings))

    @property
    def capabilities(self) -> ConversationCapabilities:
        return replace(self.inner.capabilities, durable=True)

    def _around(self, op: Operation, call: Callable[[], T]) -> T:
        send = super()._around
        return self.driver.send(lambda: send(op, call), writes=op.name in WRITES)

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        if not isinstance(error, ConnectionError):
            return None
        in_doubt = op.name in WRITES and not isinstance(error, RefusedError)
        outcome = Outcome.UNKNOWN if in_doubt else Outcome.NOT_APPLIED
        return UnavailableError("the service is not there", retryable=True, outcome=outcome)


class BatchingStore(RemoteStore):
    """Appends 25 messages at a time, and goes on behind those that fail."""

    @property
    def capabilities(self) -> ConversationCapabilities:
        return replace(super().capabilities, atomic_append=False, durable=False)

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = AppendResult()
        lost: dict[str, list[str]] = {"not_stored": [], "unknown": []}
        conflicts: list[str] = []
        failure: Exception | None = None
        for place in range(0, len(entries), BATCH):
            batch = entries[place : place + BATCH]
            try:
                done = super()._append(op, user_id, batch)
            except ConflictError as error:
                conflicts += error.ids
                lost["not_stored"] += [
                    one.message.id for one in batch if one.message.id not in error.ids
                ]
            except ConnectionError as error:
                failure = error
                kind = "not_stored" if isinstance(error, RefusedError) else "unknown"
                lost[kind] += [one.message.id for one in batch]
            else:
                result = AppendResult(
                    result.stored + done.stored, result.duplicates + done.duplicates
                )
        if failure is None and not conflicts:
            return result
        if not result.stored:
            raise failure or ConflictError("stored with other content", ids=conflicts)
        raise PartialWriteError(
            "stored in part",
            stored=result.stored,
            duplicates=result.duplicates,
            conflicting=conflicts,
            retryable=failure is not None,
            not_stored=lost["not_stored"],
            unknown=lost["unknown"],
        ) from failure

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        try:
            super()._load(op, entries)
        except ConnectionError as error:
            ids = [one.message.id for one in entries]
            raise PartialWriteError("not loaded", unknown=ids, retryable=True) from error


class TestRemote(BriefStoreSuite):
    @pytest.fixture
    def driver(self) -> Driver:
        return Driver()

    @pytest.fixture
    def make_store(self, driver: Driver) -> MakeStore:
        return partial(RemoteStore, driver)

    @pytest.fixture
    def faults(self, driver: Driver) -> Faults:
        return driver


class TestBatching(TestRemote):
    @pytest.fixture
    def make_store(self, driver: Driver) -> MakeStore:
        return partial(BatchingStore, driver)


class IsSure(RemoteStore):
    """Says of every failure that nothing was written."""

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return UnavailableError("the service is not there", retryable=True)


class IsNeverSure(RemoteStore):
    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return UnavailableError("no answer", retryable=True, outcome=Outcome.UNKNOWN)


class GivesUp(RemoteStore):
    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        told = super()._translate(op, error)
        if told is not None:
            told.retryable = False
        return told


class Leaks(RemoteStore):
    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return None


class HidesOutages(RemoteStore):
    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        try:
            return super()._history(op, query)
        except ConnectionError:
            return Rows(())


class Pretends(RemoteStore):
    """Takes a message that the service did not."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except RefusedError:
            return AppendResult(tuple(one.message.id for one in entries))


class StartsAnew(RemoteStore):
    """Empties the place after an outage."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except ConnectionError:
            self.driver.by_user.clear()
            raise


class Tears(BatchingStore):
    """Claims that a failed batch stores nothing."""

    @property
    def capabilities(self) -> ConversationCapabilities:
        return replace(super().capabilities, atomic_append=True)


class GuessesParts(BatchingStore):
    """Says of messages whose reply was lost that they were not stored."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except PartialWriteError as error:
            error.not_stored, error.unknown = error.not_stored + error.unknown, ()
            raise


class LoadsAgain(RemoteStore):
    """Says that it loaded what the service did not take."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        with suppress(RefusedError):
            super()._load(op, entries)


def outage(suite: Failures, store: ConversationStore, driver: Driver, say: Say) -> None:
    suite.test_an_outage_ends_every_call_with_an_error_that_says_so(store, driver, say)


def load(suite: Failures, store: ConversationStore, driver: Driver, say: Say) -> None:
    suite.test_a_load_counts_what_an_outage_kept_out(store, driver, say)


def once(suite: Failures, store: ConversationStore, driver: Driver, say: Say) -> None:
    for fault in ("one call", "lost reply"):
        suite.test_a_message_is_stored_once_however_often_it_fails(store, driver, say, fault)
        store.erase("u1")


def batch(suite: Failures, store: ConversationStore, driver: Driver, say: Say) -> None:
    for fault in ("one call", "lost reply"):
        suite.test_a_failed_batch_says_what_became_of_each(store, driver, say, fault)
        store.erase("u1")


def others(suite: Failures, store: ConversationStore, driver: Driver, say: Say) -> None:
    suite.test_other_writes_whose_reply_is_lost_are_safe_to_repeat(store, driver, say)


def message(content: str = "hello", **given: Any) -> Message:
    fields: dict[str, Any] = {"user_id": "u1", "session_id": "s1", "role": "user"}
    fields |= {"content": content, **given}
    return Message.new(**fields)


@pytest.mark.parametrize("right", [RemoteStore, BatchingStore])
@pytest.mark.parametrize("test", [outage, load, once, batch, others])
def test_a_store_that_is_right_passes(test: Callable[..., None], right: type[RemoteStore]) -> None:
    driver = Driver()
    test(Failures(), right(driver), driver, message)


@pytest.mark.parametrize(
    ("wrong", "test", "told"),
    [
        (IsSure, once, "C4: it was called not applied, and is there"),
        (IsSure, batch, "C4: it was called not applied"),
        (IsSure, others, "C4: it was applied"),
        (IsNeverSure, outage, "append"),
        (GivesUp, once, "E1: the same call may succeed later"),
        (GivesUp, others, "E1: the same call may succeed later"),
        (Leaks, outage, "connection refused"),
        (HidesOutages, outage, "DID NOT RAISE"),
        (Pretends, once, "C4: it was acknowledged, and is not there"),
        (Pretends, batch, "C4: it was acknowledged"),
        (StartsAnew, once, "C4: what was acknowledged stays"),
        (Tears, batch, "S2: a failed batch stores nothing"),
        (GuessesParts, batch, "C4: what is called not stored is not there"),
        (LoadsAgain, load, "LoadReport"),
    ],
)
def test_a_store_that_is_wrong_is_found(
    wrong: type[RemoteStore], test: Callable[..., None], told: str
) -> None:
    driver = Driver()
    with pytest.raises((AssertionError, pytest.fail.Exception, RefusedError), match=told):
        test(Failures(), wrong(driver), driver, message)
