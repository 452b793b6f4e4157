"""The retry wrapper: what may pass is sent again, what is stored is not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ialstore import (
    AccessDeniedError,
    AppendResult,
    ConflictError,
    DeadlineExceededError,
    IalStoreError,
    IndexSpec,
    InvalidInputError,
    Message,
    Outcome,
    PartialWriteError,
    ThrottledError,
    UnavailableError,
    VectorRecord,
    deadline,
)
from ialstore.events import OperationEvent
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore.vector_model import EncodedRecord
from ialstore.wrappers.retry import RetryConversationStore, RetryOptions, RetryVectorIndex
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from tests.timing import ends_within

QUICK = RetryOptions(first_wait_seconds=0.001, longest_wait_seconds=0.002)
Fault = Callable[[Sequence[Any]], None]


def throttled() -> ThrottledError:
    return ThrottledError("slow down", retryable=True)


class Faulty(MemoryConversationStore):
    """A memory store that meets one planned fault per call, until none is left."""

    def __init__(
        self, *faults: IalStoreError | Callable[[Any, Sequence[EncodedMessage]], None]
    ) -> None:
        super().__init__()
        self.faults = list(faults)
        self.sent: list[int] = []

    def _fault(self, entries: Sequence[EncodedMessage], op: Operation, user_id: str) -> None:
        self.sent.append(len(entries))
        if not self.faults:
            return
        fault = self.faults.pop(0)
        if isinstance(fault, IalStoreError):
            raise fault

        def store(some: Sequence[EncodedMessage]) -> AppendResult:
            return super(Faulty, self)._append(op, user_id, some)

        fault(store, entries)

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        self._fault(entries, op, user_id)
        return super()._append(op, user_id, entries)

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        self._fault(entries, op, "u")
        super()._load(op, entries)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        self._fault((), op, user_id)
        return super()._delete(op, user_id, ids)


def retrying(inner: MemoryConversationStore, **options: Any) -> RetryConversationStore:
    return RetryConversationStore(
        inner, RetryOptions(first_wait_seconds=0.001, longest_wait_seconds=0.002, **options)
    )


def messages(count: int) -> list[Message]:
    return [
        Message.new(user_id="u", session_id="s", role="user", content=str(number))
        for number in range(count)
    ]


def ids(entries: Sequence[Any]) -> tuple[str, ...]:
    return tuple(one.id if isinstance(one, Message) else one.message.id for one in entries)


def half_stored() -> Callable[[Any, Sequence[EncodedMessage]], None]:
    """Store every other message and say so."""

    def fault(store: Any, entries: Sequence[EncodedMessage]) -> None:
        store(entries[::2])
        raise PartialWriteError(
            "half", stored=ids(entries[::2]), not_stored=ids(entries[1::2]), retryable=True
        )

    return fault


def reply_lost(store: Any, entries: Sequence[EncodedMessage]) -> None:
    """Store everything and lose the reply."""
    store(entries)
    raise UnavailableError("no reply", retryable=True, outcome=Outcome.UNKNOWN)


def test_a_throttled_call_succeeds_in_the_end() -> None:
    inner = Faulty(throttled(), throttled())
    store = retrying(inner)
    events: list[OperationEvent] = []
    store.subscribe(events.append)
    (one,) = messages(1)
    assert store.append(one).stored == (one.id,)
    assert inner.sent == [1, 1, 1]
    assert [event.details for event in events] == [{"retries": 2}]


def test_every_kind_of_call_is_repeated() -> None:
    store = retrying(Faulty(throttled()))
    assert store.delete("u", ids(messages(1))) == 0


def test_what_can_not_pass_is_not_repeated() -> None:
    inner = Faulty(UnavailableError("for good"))
    with pytest.raises(UnavailableError, match="for good"):
        retrying(inner).append(*messages(1))
    assert inner.sent == [1]


def test_what_is_given_up_is_marked_as_not_retryable() -> None:
    inner = Faulty(*(throttled() for _ in range(9)))
    with pytest.raises(ThrottledError) as raised:
        retrying(inner, attempts=3).append(*messages(1))
    assert raised.value.retryable is False
    assert inner.sent == [1, 1, 1]


def test_a_second_error_that_can_not_pass_ends_it() -> None:
    inner = Faulty(throttled(), UnavailableError("for good"))
    with pytest.raises(UnavailableError, match="for good"):
        retrying(inner).append(*messages(1))
    assert inner.sent == [1, 1]


def test_only_what_is_not_stored_is_sent_again() -> None:
    inner = Faulty(half_stored())
    given = messages(6)
    result = retrying(inner).append(*given)
    assert result == AppendResult(stored=ids(given))
    assert inner.sent == [6, 3]


def test_a_lost_reply_is_reported_as_stored() -> None:
    given = messages(3)
    store = retrying(Faulty(reply_lost))
    assert store.append(*given) == AppendResult(stored=ids(given))
    assert store.append(*given) == AppendResult(duplicates=ids(given)), "a later call knows better"


def test_a_lost_reply_within_a_partial_write_is_reported_as_stored() -> None:
    def fault(store: Any, entries: Sequence[EncodedMessage]) -> None:
        store(entries)
        raise PartialWriteError(
            "", stored=ids(entries[:1]), unknown=ids(entries[1:]), retryable=True
        )

    given = messages(3)
    assert retrying(Faulty(fault)).append(*given).stored == ids(given)


def test_giving_up_tells_of_all_attempts_together() -> None:
    given = messages(4)
    inner = Faulty(half_stored(), *(throttled() for _ in range(9)))
    with pytest.raises(PartialWriteError) as raised:
        retrying(inner, attempts=2).append(*given)
    error = raised.value
    assert error.stored == ids(given[::2])
    assert error.not_stored == ids(given[1::2])
    assert error.unknown == error.conflicting == error.duplicates == ()
    assert not error.retryable
    assert (error.backend, error.operation) == ("memory", "append")


def test_a_conflict_among_the_rest_is_reported_with_what_was_stored() -> None:
    given = messages(4)

    def conflict(_store: Any, entries: Sequence[EncodedMessage]) -> None:
        raise ConflictError("", ids=[entries[0].message.id])

    with pytest.raises(PartialWriteError) as raised:
        retrying(Faulty(half_stored(), conflict)).append(*given)
    assert raised.value.conflicting == (given[1].id,)
    assert raised.value.not_stored == (given[3].id,)
    assert raised.value.stored == ids(given[::2])


def test_a_partial_write_with_nothing_left_to_send_is_not_repeated() -> None:
    given = messages(2)

    def fault(store: Any, entries: Sequence[EncodedMessage]) -> None:
        store(entries[:1])
        raise PartialWriteError(
            "", stored=ids(entries[:1]), conflicting=ids(entries[1:]), retryable=True
        )

    inner = Faulty(fault)
    with pytest.raises(PartialWriteError) as raised:
        retrying(inner).append(*given)
    assert raised.value.conflicting == (given[1].id,)
    assert inner.sent == [2]


def test_an_unknown_outcome_given_up_stays_unknown() -> None:
    given = messages(2)
    lost = UnavailableError("", retryable=True, outcome=Outcome.UNKNOWN)
    with pytest.raises(PartialWriteError) as raised:
        retrying(Faulty(half_stored(), lost), attempts=2).append(*given)
    assert raised.value.unknown == (given[1].id,)


def test_a_steady_outage_is_burdened_by_a_tenth_at_most() -> None:
    calls = 500
    inner = Faulty(*(throttled() for _ in range(10 * calls)))
    store = retrying(inner, burst=5)
    for _ in range(calls):
        with pytest.raises(ThrottledError):
            store.append(*messages(1))
    assert calls < len(inner.sent) <= 1.1 * calls + 5


def test_waiting_never_outlasts_the_deadline() -> None:
    def late() -> None:
        inner = Faulty(*(throttled() for _ in range(99)))
        store = RetryConversationStore(
            inner, RetryOptions(attempts=99, first_wait_seconds=0.02, burst=99)
        )
        with pytest.raises(ThrottledError) as raised, deadline(0.2):
            store.append(*messages(1))
        assert not raised.value.retryable

    assert ends_within(0.3, late)


def test_a_call_that_used_up_its_time_is_not_repeated() -> None:
    def slow(_store: Any, _entries: Sequence[EncodedMessage]) -> None:
        time.sleep(0.02)
        raise throttled()

    inner = Faulty(slow)
    with pytest.raises(ThrottledError) as raised, deadline(0.01):
        retrying(inner).append(*messages(1))
    assert inner.sent == [1]
    assert not raised.value.retryable


def test_a_deadline_met_while_repeating_is_given_up() -> None:
    late = DeadlineExceededError("late", retryable=True)
    with pytest.raises(DeadlineExceededError) as raised:
        retrying(Faulty(throttled(), late), attempts=2).append(*messages(1))
    assert not raised.value.retryable


def test_bulk_load_sends_only_the_rest_again() -> None:
    inner = Faulty(half_stored())
    given = messages(5)
    report = retrying(inner).bulk_load(given)
    assert (report.written, report.failed) == (5, 0)
    assert inner.sent == [5, 2]


def test_bulk_load_counts_what_it_gave_up() -> None:
    inner = Faulty(half_stored(), *(throttled() for _ in range(9)))
    report = retrying(inner, attempts=2).bulk_load(messages(5))
    assert (report.written, report.failed) == (3, 2)


def test_bulk_load_that_stored_nothing_raises_what_failed() -> None:
    inner = Faulty(*(throttled() for _ in range(9)))
    with pytest.raises(ThrottledError):
        retrying(inner, attempts=2).bulk_load(messages(5))


class FaultyIndex(MemoryVectorIndex):
    """A memory index that meets one planned fault per write."""

    def __init__(self, *faults: Callable[[Sequence[Any]], IalStoreError]) -> None:
        super().__init__(IndexSpec(2))
        self.faults = list(faults)
        self.sent: list[int] = []

    def _meet(self, records: Sequence[Any]) -> None:
        self.sent.append(len(records))
        if self.faults:
            raise self.faults.pop(0)(records)

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self._meet(records)
        super()._upsert(op, user_id, records)

    def _count(self, op: Operation, user_id: str) -> int:
        self._meet(())
        return super()._count(op, user_id)


def records(count: int) -> list[VectorRecord]:
    return [
        VectorRecord(one.id, np.array([1.0, number]), "s", "user")
        for number, one in enumerate(messages(count))
    ]


def first_unknown(given: Sequence[Any]) -> IalStoreError:
    names = [one.id for one in given]
    return PartialWriteError(
        "", stored=names[2:], unknown=names[:1], not_stored=names[1:2], retryable=True
    )


def lost(_given: Sequence[Any]) -> IalStoreError:
    return UnavailableError("", retryable=True, outcome=Outcome.UNKNOWN)


def test_an_upsert_sends_only_the_rest_again() -> None:
    inner = FaultyIndex(first_unknown)
    RetryVectorIndex(inner, QUICK).upsert("u", records(5))
    assert inner.sent == [5, 2]


def test_an_upsert_given_up_tells_of_all_attempts_together() -> None:
    inner = FaultyIndex(first_unknown, lost)
    given = records(5)
    with pytest.raises(PartialWriteError) as raised:
        RetryVectorIndex(inner, RetryOptions(attempts=2, first_wait_seconds=0.001)).upsert(
            "u", given
        )
    assert raised.value.stored == ids_of(given[2:])
    assert raised.value.unknown == ids_of(given[:2])


def ids_of(given: Sequence[VectorRecord]) -> tuple[str, ...]:
    return tuple(one.id for one in given)


def test_loading_vectors_sends_only_the_rest_again() -> None:
    inner = FaultyIndex(first_unknown)
    report = RetryVectorIndex(inner, QUICK).bulk_load(("u", one) for one in records(5))
    assert (report.written, report.failed) == (5, 0)
    assert inner.sent == [5, 2]


def test_reading_an_index_is_repeated() -> None:
    assert RetryVectorIndex(FaultyIndex(lost)).count("u") == 0


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"first_wait_seconds": 0},
        {"longest_wait_seconds": -1},
        {"budget": -1},
        {"burst": -1},
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        RetryOptions(**options)


def test_a_lock_held_at_a_fork_does_not_stop_the_child() -> None:
    for wrapper in (retrying(Faulty(throttled())), RetryVectorIndex(FaultyIndex(lost), QUICK)):
        wrapper._policy._lock.acquire()  # noqa: SLF001 - as another thread of the parent might
        wrapper._after_fork()  # noqa: SLF001 - what a fork calls in the child
        assert wrapper.check() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_child_retries_too() -> None:
    store, index = retrying(Faulty(throttled())), RetryVectorIndex(FaultyIndex(lost))
    child = os.fork()
    if child == 0:
        stored = store.append(*messages(1)).stored
        os._exit(0 if stored and index.count("u") == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_an_attempt_left_in_doubt_stays_in_doubt() -> None:
    """C4: though the last attempt did certainly nothing."""
    lost = UnavailableError("lost", retryable=True, outcome=Outcome.UNKNOWN)
    for call in ("append", "delete"):
        store = RetryConversationStore(Faulty(lost, AccessDeniedError("no")), QUICK)
        one = Message.new(user_id="u", session_id="s", role="user", content="x")
        with pytest.raises(AccessDeniedError) as caught:
            store.append(one) if call == "append" else store.delete("u", [one.id])
        assert caught.value.outcome is Outcome.UNKNOWN
