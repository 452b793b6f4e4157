"""The ``faults`` wrapper: what it does, that a seed repeats it, and that ``retry`` survives it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import (
    ConfigurationError,
    ConversationStore,
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
    open_store,
)
from ialstore.wrappers.base import ConversationWrapper
from ialstore.wrappers.faults import (
    FaultsConversationStore,
    FaultsOptions,
    FaultsVectorIndex,
)
from ialstore.wrappers.retry import RetryConversationStore, RetryOptions
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

NO_WAIT = RetryOptions(
    attempts=50, first_wait_seconds=1e-9, longest_wait_seconds=1e-9, budget=100, burst=10_000
)


def says(number: int) -> list[Message]:
    return [
        Message.new(user_id="u", session_id="s", role="user", content=str(place))
        for place in range(number)
    ]


def faulty(**rates: Any) -> tuple[MemoryConversationStore, FaultsConversationStore]:
    inner = MemoryConversationStore()
    return inner, FaultsConversationStore(inner, FaultsOptions(**rates))


@pytest.mark.parametrize(
    ("rate", "error"), [("throttled", ThrottledError), ("unavailable", UnavailableError)]
)
def test_a_refused_call_does_not_reach_the_store(rate: str, error: type[IalStoreError]) -> None:
    """C4: not applied, and worth a retry."""
    inner, store = faulty(**{rate: 1.0})
    with pytest.raises(error) as caught:
        store.append(*says(2))
    assert (caught.value.retryable, caught.value.outcome) == (True, Outcome.NOT_APPLIED)
    assert list(inner.history("u")) == []
    with pytest.raises(error):
        store.history("u")


def test_a_lost_reply_leaves_the_write_applied() -> None:
    """C4: unknown to the caller; of a read nothing is in doubt."""
    inner, store = faulty(lost_reply=1.0)
    messages = says(2)
    with pytest.raises(UnavailableError) as caught:
        store.append(*messages)
    assert (caught.value.retryable, caught.value.outcome) == (True, Outcome.UNKNOWN)
    assert list(inner.history("u", newest_first=False)) == messages
    with pytest.raises(UnavailableError) as caught:
        store.history("u")
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_a_batch_is_written_in_part_and_the_error_says_which() -> None:
    """S2: exactly; and no such batch is atomic."""
    inner, store = faulty(partial=1.0)
    messages = says(10)
    assert not store.capabilities.atomic_append
    with pytest.raises(PartialWriteError) as caught:
        store.append(*messages)
    error = caught.value
    assert [*error.stored, *error.not_stored] == [one.id for one in messages]
    assert error.stored
    assert error.not_stored
    assert [one.id for one in inner.history("u", newest_first=False)] == list(error.stored)
    assert store.append(says(1)[0]).stored  # one message has no parts


def test_a_load_is_counted_in_part() -> None:
    """S12: what could not be written is counted."""
    inner, store = faulty(partial=1.0)
    report = store.bulk_load(says(10))
    assert report.written + report.failed == 10
    assert 0 < report.written < 10
    assert len(inner.history("u")) == report.written


def test_a_delay_ends_at_the_deadline() -> None:
    """C3: a call that is delayed past it fails then."""
    _, store = faulty(delayed=1.0, delay_seconds=60.0)
    began = time.monotonic()
    with deadline(0.05), pytest.raises(DeadlineExceededError):
        store.history("u")
    assert time.monotonic() - began < 5
    _, quick = faulty(delayed=1.0, delay_seconds=0.0)
    assert list(quick.history("u")) == []


def test_only_the_operations_that_are_named_fail() -> None:
    _, store = faulty(unavailable=1.0, operations=("history",))
    assert store.append(*says(2)).stored
    with pytest.raises(UnavailableError):
        store.history("u")


def test_an_index_fails_too() -> None:
    """V7, C4: of an upsert or a load, a part."""
    inner = MemoryVectorIndex(IndexSpec(2))
    index = FaultsVectorIndex(inner, FaultsOptions(partial=1.0))
    records = [VectorRecord(one.id, [1.0, 0.0], "s", "user") for one in says(10)]
    with pytest.raises(PartialWriteError) as caught:
        index.upsert("u", records)
    assert inner.count("u") == len(caught.value.stored)
    report = index.bulk_load(("u", one) for one in records)
    assert report.failed == 10 - report.written
    throttled = FaultsVectorIndex(inner, FaultsOptions(throttled=1.0))
    with pytest.raises(ThrottledError):
        throttled.search("u", [1, 0])


def outcomes(seed: int) -> list[str]:
    _, store = faulty(
        seed=seed, throttled=0.2, unavailable=0.2, lost_reply=0.2, partial=0.3, delay_seconds=0.0
    )
    found: list[str] = []
    for message in says(40):
        try:
            found.append(repr(len(store.append(message).stored)))
        except IalStoreError as error:
            found.append(type(error).__name__)
    return found


def test_a_seed_repeats_its_faults() -> None:
    assert outcomes(1) == outcomes(1)
    assert outcomes(1) != outcomes(2)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"throttled": 1.5}, "throttled must be from 0 to 1"),
        ({"partial": -0.1}, "partial must be from 0 to 1"),
        ({"delay_seconds": -1.0}, "delay_seconds must not be negative"),
        ({"operations": ("appnd",)}, "no operation appnd; did you mean append"),
    ],
)
def test_wrong_options_are_named(given: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        FaultsOptions(**given)


def test_a_configuration_plans_faults() -> None:
    wrap = [{"use": "faults", "unavailable": 1, "operations": ["history"]}]
    with open_store({"conversation": {"url": "memory:", "wrap": wrap}}) as store:
        store.append(*says(1))
        with pytest.raises(UnavailableError):
            store.history("u")
    wrap = [{"use": "faults", "unavailabl": 1}]
    with pytest.raises(ConfigurationError, match="did you mean unavailable"):
        open_store({"conversation": {"url": "memory:", "wrap": wrap}})


# -- retry over faults ----------------------------------------------------------------------------


def rehearse(store: ConversationStore, inner: ConversationStore, batches: list[int]) -> None:
    """Append batches through faults; compare what is told with what is stored."""
    acknowledged: set[str] = set()
    possible: set[str] = set()
    for size in batches:
        messages = says(size)
        ids = {one.id for one in messages}
        try:
            result = store.append(*messages)
        except PartialWriteError as error:
            told = [
                *error.stored,
                *error.duplicates,
                *error.conflicting,
                *error.not_stored,
                *error.unknown,
            ]
            assert sorted(told) == sorted(ids), "every id is in exactly one of the tuples"
            acknowledged |= {*error.stored, *error.duplicates}
            possible |= set(error.unknown)
        except IalStoreError as error:
            if error.outcome is not Outcome.NOT_APPLIED:
                possible |= ids
        else:
            assert {*result.stored, *result.duplicates} == ids
            acknowledged |= ids
    there = [one.id for one in inner.history("u", limit=1000)]
    assert len(there) == len(set(there)), "nothing is doubled"
    assert acknowledged <= set(there), "what was acknowledged is there"
    assert set(there) <= acknowledged | possible, "what was not applied is not there"


rates = st.sampled_from([0.0, 0.1, 0.5])
sizes = st.lists(st.integers(1, 6), min_size=1, max_size=8)


@given(
    seed=st.integers(0, 1000),
    throttled=rates,
    unavailable=rates,
    lost_reply=rates,
    partial=rates,
    batches=sizes,
    attempts=st.sampled_from([1, 3, 50]),
)
def test_retry_loses_and_doubles_nothing_whatever_fails(
    seed: int, batches: list[int], attempts: int, **given_rates: float
) -> None:
    """E4, C4, S2: with any seed and any rates."""
    inner, store = faulty(seed=seed, **given_rates)
    policy = RetryOptions(
        attempts=attempts,
        first_wait_seconds=1e-9,
        longest_wait_seconds=1e-9,
        budget=100,
        burst=10_000,
    )
    rehearse(RetryConversationStore(store, policy), inner, batches)


class Misreporting(ConversationWrapper):
    """Says of a batch that was written in part that all of it is."""

    def _append(self, op: Any, user_id: str, entries: Any) -> Any:
        try:
            return super()._append(op, user_id, entries)
        except PartialWriteError as error:
            return type(self.inner._append(op, user_id, entries[:1]))(  # noqa: SLF001 - a layer
                stored=(*error.stored, *error.not_stored)
            )


def test_the_rehearsal_finds_a_batch_that_is_reported_too_well() -> None:
    """A checker that can't fail proves nothing."""
    inner, store = faulty(partial=1.0)
    with pytest.raises(AssertionError, match="what was acknowledged is there"):
        rehearse(RetryConversationStore(Misreporting(store), NO_WAIT), inner, [5, 5])
