"""Faults between the index and OpenSearch, by a proxy in front of a real node."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from ialstore import (
    Consistency,
    CorruptError,
    DeadlineExceededError,
    IalStoreError,
    Outcome,
    PartialWriteError,
    StoreNotReadyError,
    ThrottledError,
    UnavailableError,
    VectorRecord,
    deadline,
)
from ialstore.ids import message_id
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.proxy import BlackHole, Decision, Drip, FaultProxy, ProxiedRequest
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, MakeIndex, X, Y
from ialstore.wrappers.retry import RetryVectorIndex
from ialstore_backends.opensearch import OpenSearchVectorIndex
from ialstore_backends.opensearch.documents import document_id, routing
from tests.harm import failing
from tests.opensearch.conftest import opened, tell
from tests.opensearch.harm import FAULTS, SECRET, changed, mixed, refusal
from tests.timing import ends_within

SLACK_SECONDS = 1.0
"""Beyond a deadline, on a busy machine; the contract's own 100 ms is for an idle one."""


@dataclass
class Place:
    """An index behind a proxy, the same one without, and what is in it."""

    index: OpenSearchVectorIndex
    plain: OpenSearchVectorIndex
    proxy: FaultProxy
    there: list[VectorRecord]
    clock: ManualClock

    def calls(self, one: VectorRecord) -> list[Callable[[], object]]:
        """Return every kind of call."""
        index = self.index
        return [
            lambda: index.upsert(USER, [one]),
            lambda: index.upsert(USER, [one, self.there[0]]),
            lambda: index.search(USER, X),
            lambda: index.search(USER, X, consistency=Consistency.EVENTUAL),
            lambda: index.get(USER, [self.there[0].id]),
            lambda: index.count(USER),
            lambda: index.ids(USER),
            index.users,
            lambda: index.delete(USER, [self.there[0].id]),
            lambda: index.delete_session(USER, "none"),
            lambda: index.erase("nobody"),
            lambda: index.optimize(USER),
        ]


def some(count: int, first: int = 0, **fields: Any) -> list[VectorRecord]:
    """Return records of one session."""
    return [
        VectorRecord(message_id(USER, "s1", START, "user", str(n)), Y, "s1", "user", **fields)
        for n in range(first, first + count)
    ]


@pytest.fixture
def place(port: int, shared: MakeIndex) -> Iterator[Place]:
    clock = ManualClock()
    plain = shared(spec_of("cosine"), clock=clock)
    assert isinstance(plain, OpenSearchVectorIndex)
    with plain, FaultProxy(port) as proxy:
        plain.setup()
        there = some(5, text=SECRET)
        plain.upsert(USER, there)
        behind = int(proxy.endpoint.rpartition(":")[2])
        with opened(behind, plain.name, plain.spec, clock=clock) as index:
            index.count("nobody")  # reads what it was made for
            yield Place(index, plain, proxy, there, clock)


@pytest.mark.parametrize(("decision", "error"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_is_an_error_of_ours_and_quotes_nothing(
    place: Place, decision: Decision, error: type[Exception]
) -> None:
    """A1, A4, A5, A8, D9, E1, E3: whatever comes in place of a reply, to whichever call."""
    place.proxy.decide = failing(decision)
    (one,) = some(1, 9, text=SECRET)
    for call in place.calls(one):
        with pytest.raises((error, PartialWriteError)) as caught:
            call()
        assert type(caught.value) in (error, PartialWriteError)
        assert isinstance(caught.value, IalStoreError)
        assert caught.value.backend == "opensearch"
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    place.proxy.decide = failing(None)
    place.index.upsert(USER, [one])
    place.index.upsert(USER, place.there)
    assert place.plain.count(USER) == 6


@pytest.mark.parametrize(
    ("path", "error"),
    [("_mapping", ThrottledError), ("_refresh", ThrottledError), ("_search", ThrottledError)],
)
def test_each_request_of_a_call_may_fail(place: Place, path: str, error: type[Exception]) -> None:
    """A1, V3: the first call asks what the index was made for; the next one asks again."""
    behind = int(place.proxy.endpoint.rpartition(":")[2])
    with opened(behind, place.plain.name, place.plain.spec) as other:
        place.proxy.decide = failing(refusal(429, "es_rejected_execution_exception"), path, 1)
        with pytest.raises(error):
            other.search(USER, X)
        assert len(other.search(USER, X)) == 5


def test_the_items_of_a_bulk_have_each_their_outcome(place: Place) -> None:
    """A3, C4: HTTP 200, and some were stored, some not, and of some nobody knows."""
    given = some(8, 20)
    place.proxy.decide = mixed(
        {
            1: (429, "es_rejected_execution_exception"),
            3: (500, "internal_server_error"),
            5: (400, "mapper_parsing_exception"),
        }
    )
    with pytest.raises(PartialWriteError) as caught:
        place.index.upsert(USER, given)
    error = caught.value
    ids = [one.id for one in given]
    assert error.stored == (ids[0], ids[2], ids[4], ids[6], ids[7])
    assert error.not_stored == (ids[1], ids[5])
    assert error.unknown == (ids[3],)
    assert not error.retryable
    assert SECRET not in "".join(traceback.format_exception(error))


def test_what_was_throttled_is_sent_again_by_the_retry_wrapper(place: Place) -> None:
    """A1, A3, E4: and nothing else."""
    given = some(8, 20)
    throttled = mixed(dict.fromkeys((1, 3), (429, "es_rejected_execution_exception")))
    bodies: list[int] = []

    def decide(request: ProxiedRequest) -> Decision:
        if "_bulk" not in request.path:
            return None
        bodies.append(request.body.count(b"\n") // 2)
        return throttled(request) if len(bodies) == 1 else None

    place.proxy.decide = decide
    RetryVectorIndex(place.index).upsert(USER, given)
    assert bodies == [8, 2]
    assert place.plain.count(USER) == 13


def test_a_bulk_of_which_nothing_was_stored_raises_the_plain_error(place: Place) -> None:
    """A1, A3: for ever."""
    place.proxy.decide = mixed(dict.fromkeys(range(8), (429, "es_rejected_execution_exception")))
    with pytest.raises(ThrottledError) as caught:
        place.index.upsert(USER, some(8, 20))
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_a_bulk_is_sent_in_parts_and_what_is_behind_a_failed_one_is_not_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A5, C4: of the part that failed nobody knows."""
    monkeypatch.setattr("ialstore_backends.opensearch.writing._MOST_BYTES", 9_000)
    given = some(9, 20)
    seen = 0

    def decide(request: ProxiedRequest) -> Decision:
        nonlocal seen
        seen += "_bulk" in request.path
        return refusal(500, "internal_server_error") if seen == 2 else None

    place.proxy.decide = decide
    with pytest.raises(PartialWriteError) as caught:
        place.index.upsert(USER, given)
    error = caught.value
    ids = tuple(one.id for one in given)
    assert (error.stored, error.unknown, error.not_stored) == (ids[:3], ids[3:6], ids[6:])
    place.proxy.decide = failing(None)
    place.index.upsert(USER, given)
    assert place.plain.count(USER) == 14


def test_an_answer_about_other_items_leaves_open_what_was_stored(place: Place) -> None:
    """A8, C4: an item is missing."""
    place.proxy.decide = changed("_bulk", lambda told: told["items"].pop())
    with pytest.raises(UnavailableError) as caught:
        place.index.upsert(USER, some(1, 20))
    assert caught.value.outcome is Outcome.UNKNOWN


def test_a_delete_that_fails_in_part_is_told(place: Place) -> None:
    """A3, C4: some went; another call removes the rest."""
    ids = [one.id for one in place.there]
    place.proxy.decide = failing(refusal(429, "x"), "_bulk")
    with pytest.raises(ThrottledError) as caught:
        place.index.delete(USER, ids)
    assert caught.value.outcome is Outcome.NOT_APPLIED
    place.proxy.decide = mixed({1: (503, "unavailable_shards_exception")})
    with pytest.raises(UnavailableError) as other:
        place.index.delete(USER, ids)
    assert other.value.outcome is Outcome.PARTIAL
    place.proxy.decide = failing(None)
    place.index.delete(USER, ids)
    assert place.plain.count(USER) == 0


def _one_shard_failed(told: Any) -> None:
    told["_shards"]["failed"] = 1


def _gave_up(told: Any) -> None:
    told["timed_out"] = True


@pytest.mark.parametrize(
    ("path", "change", "error"),
    [
        ("_search", _one_shard_failed, UnavailableError),
        ("_refresh", _one_shard_failed, UnavailableError),
        ("_search", _gave_up, DeadlineExceededError),
    ],
)
def test_an_answer_in_part_is_none(
    place: Place, path: str, change: Callable[[Any], None], error: type[Exception]
) -> None:
    """V3, C5: never a shorter one."""
    place.proxy.decide = changed(path, change)
    for call in (place.index.search, place.index.search):
        with pytest.raises(error):
            call(USER, X)
    with pytest.raises(error):
        place.index.count(USER)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("index_not_found_exception", StoreNotReadyError), ("io_exception", UnavailableError)],
)
def test_a_document_that_could_not_be_read_is_not_absent(
    place: Place, kind: str, error: type[Exception]
) -> None:
    """C5: of several that are asked for by id."""

    def change(told: Any) -> None:
        told["docs"][0] = {"error": {"type": kind, "reason": SECRET}}

    place.proxy.decide = changed("_mget", change)
    with pytest.raises(error):
        place.index.get(USER, [one.id for one in place.there])


@pytest.mark.parametrize("decision", [Drip(0.05), BlackHole()], ids=["drip", "black hole"])
def test_no_call_outlasts_its_deadline(place: Place, decision: Decision) -> None:
    """A6, A7, C3, C4: a write may have been applied."""
    place.proxy.decide = failing(decision)

    def late(number: int, call: Callable[[], object]) -> None:
        with deadline(0.3), pytest.raises((DeadlineExceededError, PartialWriteError)) as caught:
            call()
        assert isinstance(caught.value, IalStoreError)
        assert caught.value.retryable
        if number == 0:
            assert caught.value.outcome is Outcome.UNKNOWN

    for number, call in enumerate(place.calls(some(1, 9)[0])[:7]):
        assert ends_within(0.3 + SLACK_SECONDS, partial(late, number, call))
    place.proxy.decide = failing(None)
    assert place.index.count(USER) == place.plain.count(USER)


def test_what_others_write_during_an_erase_is_counted(place: Place) -> None:
    """S11, C6: at most three rounds; nobody else's goes."""
    place.plain.upsert("other", place.there)
    written = 100

    def write(request: ProxiedRequest) -> Decision:
        nonlocal written
        if "_bulk" in request.path:
            written += 1
            place.plain.upsert(USER, some(1, written))
        return None

    place.proxy.decide = write
    report = place.index.erase(USER)
    assert report.remaining == place.plain.count(USER) > 0
    assert report.vectors >= 5
    assert report.out_of_reach
    assert place.plain.count("other") == 5


def test_what_is_given_a_later_end_meanwhile_outlives_optimize(place: Place) -> None:
    """S13: it removes what it saw, and only as it was seen."""
    brief = some(2, 50, expires_at=START)
    place.plain.upsert(USER, brief)

    def replace(request: ProxiedRequest) -> Decision:
        if "_bulk" in request.path:
            place.plain.upsert(USER, some(1, 50))
        return None

    place.clock.advance(1)
    place.proxy.decide = replace
    assert place.index.optimize(USER).removed == 1
    assert place.plain.count(USER) == 6


@pytest.mark.parametrize(
    "damage",
    [
        {"exact": "AAAA"},
        {"exact": "AAAAwH8"},
        {"session": "another"},
        {"id": None},
        {"expires": 10**17},
    ],
    ids=repr,
)
def test_a_damaged_document_is_corrupt_and_not_quoted(
    place: Place, port: int, damage: dict[str, Any]
) -> None:
    """C5, E3: by get and by search; a new record mends it."""
    one = place.there[0]
    path = f"/{place.plain.name}/_doc/{document_id(USER, one.id)}?routing={routing(USER)}"
    source = tell(port, "GET", path)["_source"]
    tell(port, "PUT", f"{path}&refresh=true", source | {"vector": list(Y)} | damage)
    for call in (
        lambda: place.plain.get(USER, [one.id]),
        lambda: place.plain.search(USER, Y),
    ):
        with pytest.raises(CorruptError) as caught:
            call()
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    place.plain.upsert(USER, [one])
    assert len(place.plain.search(USER, Y)) == 5
