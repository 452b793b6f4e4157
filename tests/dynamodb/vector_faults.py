"""Faults between an index of vectors and its table, by a proxy in front of a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pytest

from ialstore import (
    Consistency,
    DeadlineExceededError,
    IalStoreError,
    Outcome,
    PartialWriteError,
    ThrottledError,
    UnavailableError,
    VectorIndex,
    VectorRecord,
    deadline,
)
from ialstore.testing.proxy import (
    BlackHole,
    Decision,
    Drip,
    FaultProxy,
    Instead,
    ProxiedRequest,
    ResetAfter,
    ResetBefore,
)
from ialstore.testing.vector.base import USER, X, Y
from ialstore.wrappers.retry import RetryVectorIndex
from tests.dynamodb.harm import FAULTS, unprocessed
from tests.harm import failing
from tests.timing import ends_within

__all__ = ["Place", "VectorTableFaults"]

SLACK_SECONDS = 0.5
"""Beyond a deadline, on a busy machine; the contract's own 100 ms is for an idle one."""
EVENTUAL = Consistency.EVENTUAL


@dataclass
class Place:
    """An index behind a proxy, the same table without one, what is in it, and another opening."""

    index: VectorIndex
    plain: VectorIndex
    proxy: FaultProxy
    there: list[VectorRecord]
    another: Callable[[], VectorIndex]

    def calls(self, one: VectorRecord) -> list[Callable[[], object]]:
        """Return every kind of call."""
        index = self.index
        return [
            lambda: index.upsert(USER, [one]),
            lambda: index.upsert(USER, [one, self.there[0]]),
            lambda: index.search(USER, X),
            lambda: index.search(USER, X, consistency=EVENTUAL),
            lambda: index.get(USER, [one.id]),
            lambda: index.get(USER, [one.id, self.there[0].id]),
            lambda: index.count(USER),
            lambda: index.ids(USER),
            index.users,
            lambda: index.delete(USER, [one.id]),
            lambda: index.delete_session(USER, "none"),
            lambda: index.erase("nobody"),
            lambda: index.optimize(USER),
        ]


class VectorTableFaults:
    """Whatever goes wrong; with a fixture ``place``, in which 30 vectors are.

    Attributes:
        REQUESTS: that a search makes there.
        BATCHED: consistency of a search that reads rows in a batch.
    """

    REQUESTS: ClassVar[Mapping[Consistency, int]]
    BATCHED: ClassVar[Consistency]

    @pytest.mark.parametrize(("decision", "error"), FAULTS, ids=repr)
    def test_a_fault_is_an_error_of_ours_and_loses_nothing(
        self, place: Place, record: Any, decision: Decision, error: type[Exception]
    ) -> None:
        """A1, A4, A5, A8, E1: whatever comes in place of a reply, to whichever call."""
        place.proxy.decide = failing(decision)
        one = record(Y)
        for call in place.calls(one):
            with pytest.raises((error, PartialWriteError)) as caught:
                call()
            assert type(caught.value) in (error, PartialWriteError)
            assert isinstance(caught.value, IalStoreError)
            assert caught.value.backend == place.plain.backend
            assert caught.value.__cause__ is not None
        place.proxy.decide = failing(None)
        place.index.upsert(USER, [one])
        assert place.plain.count(USER) == 31

    @pytest.mark.parametrize("operation", ["GetItem", "Query"])
    def test_the_first_call_fails_as_any(self, place: Place, operation: str) -> None:
        """A1: what the table was made for is read again by the next one."""
        with place.another() as other:
            place.proxy.decide = failing(Instead.error("ThrottlingException"), operation, times=1)
            with pytest.raises(ThrottledError):
                other.count(USER)
            assert other.count(USER) == 30

    @pytest.mark.parametrize("consistency", Consistency)
    def test_a_search_with_a_failed_part_raises(
        self, place: Place, consistency: Consistency
    ) -> None:
        """V3, C5: each request of a search in turn; never a shorter answer."""
        place.proxy.requests.clear()
        whole = place.index.search(USER, X, consistency=consistency)
        count = len(place.proxy.requests)
        assert count == self.REQUESTS[consistency]
        for number in range(count):
            seen = 0

            def decide(_: ProxiedRequest, fatal: int = number) -> Decision:
                nonlocal seen
                seen += 1
                return Instead.error("InternalServerError", 500) if seen == fatal + 1 else None

            place.proxy.decide = decide
            with pytest.raises(UnavailableError):
                place.index.search(USER, X, consistency=consistency)
        assert place.index.search(USER, X, consistency=consistency) == whole

    @pytest.mark.parametrize("decision", [BlackHole(), Drip(0.05)], ids=repr)
    def test_no_call_outlasts_its_deadline(
        self, place: Place, record: Any, decision: Decision
    ) -> None:
        """A6, A7, C3: and it heals."""
        place.proxy.decide = failing(decision)
        one = record(Y)

        def late(call: Callable[[], object]) -> None:
            with deadline(0.4), pytest.raises((DeadlineExceededError, PartialWriteError)):
                call()

        for call in place.calls(one):
            assert ends_within(0.4 + SLACK_SECONDS, partial(late, call))
        place.proxy.decide = failing(None)
        place.index.upsert(USER, [one])
        assert place.plain.count(USER) == 31

    @pytest.mark.parametrize(
        ("decision", "outcome"),
        [
            (Instead.error("ThrottlingException"), Outcome.NOT_APPLIED),
            (ResetBefore(), Outcome.UNKNOWN),
            (ResetAfter(), Outcome.UNKNOWN),
        ],
        ids=repr,
    )
    def test_a_write_says_what_became_of_it(
        self, place: Place, record: Any, decision: Decision, outcome: Outcome
    ) -> None:
        """C4, A5: one vector, and some of several; repeating is safe."""
        some = [record(Y) for _ in range(40)]
        place.proxy.decide = failing(decision, "PutItem")
        with pytest.raises(IalStoreError) as single:
            place.index.upsert(USER, some[:1])
        assert (single.value.outcome, single.value.retryable) == (outcome, True)
        place.proxy.decide = failing(decision, "BatchWriteItem", times=1)
        with pytest.raises(PartialWriteError) as caught:
            place.index.upsert(USER, some)
        error = caught.value
        lost = error.unknown if outcome is Outcome.UNKNOWN else error.not_stored
        assert len(error.stored) in (15, 25)
        assert [*error.stored, *lost] == sorted(
            [one.id for one in some], key=[*error.stored, *lost].index
        )
        assert {one.id for one in some} == {*error.stored, *lost}
        there = {
            one.id
            for first in (0, 20)
            for one in place.plain.get(USER, [one.id for one in some[first:][:20]])
        }
        assert {*error.stored} <= there
        place.index.upsert(USER, some)
        assert place.plain.count(USER) == 70

    def test_a_load_of_two_users_tells_every_id_that_may_be_lost(
        self, place: Place, record: Any
    ) -> None:
        """S12, E4: an id that two users share is rather sent again."""
        shared = [record(Y) for _ in range(20)]
        pairs = [(user, one) for user in ("a", "b") for one in shared]
        place.proxy.decide = failing(
            Instead.error("ThrottlingException"), "BatchWriteItem", times=1
        )
        report = place.index.bulk_load(pairs)
        assert report.failed >= 25
        assert report.written + report.failed == 40
        assert place.index.bulk_load(pairs).written == 40

    @pytest.mark.parametrize("times", [1, 3])
    def test_what_a_batch_left_undone_is_sent_again(
        self, place: Place, record: Any, times: int
    ) -> None:
        """A2, E4: unprocessed items and keys, with pauses."""
        some = [record(Y, text=str(number)) for number in range(30)]
        place.proxy.decide = unprocessed("Items", times)
        place.index.upsert(USER, some)
        place.proxy.decide = unprocessed("Keys", times)
        assert [one.text for one in place.index.get(USER, [one.id for one in some])] == [
            str(number) for number in range(30)
        ]
        place.proxy.decide = unprocessed("Keys", times)
        assert len(place.index.search(USER, Y, 30, consistency=self.BATCHED).hits) == 30

    def test_a_batch_that_never_ends_is_given_up_in_time(self, place: Place, record: Any) -> None:
        """A2, C3: for ever; no search is answered in part."""
        some = [record(Y) for _ in range(25)]
        place.proxy.decide = unprocessed("Items", 1 << 30)
        with deadline(0.5), pytest.raises(PartialWriteError) as caught:
            place.index.upsert(USER, some)
        error = caught.value
        assert {*error.stored, *error.not_stored, *error.unknown} == {one.id for one in some}

        def nothing_done(request: ProxiedRequest) -> Decision:
            if request.operation != "BatchGetItem":
                return None
            reply = {"Responses": {}, "UnprocessedKeys": request.json()["RequestItems"]}
            return Instead(200, json.dumps(reply).encode())

        place.proxy.decide = nothing_done
        for call in (
            lambda: place.index.get(USER, [one.id for one in place.there]),
            lambda: place.index.search(USER, X, consistency=self.BATCHED),
        ):
            # A busy machine may be late for the last pause.
            with deadline(0.5), pytest.raises((ThrottledError, DeadlineExceededError)):
                call()

    def test_a_delete_that_fails_in_part_is_told(self, place: Place) -> None:
        """C4: some went; another call removes the rest."""
        ids = [one.id for one in place.there]
        place.proxy.decide = failing(Instead.error("ThrottlingException"), "DeleteItem", times=1)
        with pytest.raises(ThrottledError) as caught:
            place.index.delete(USER, ids)
        assert caught.value.outcome is Outcome.PARTIAL
        assert place.plain.count(USER) == 1
        assert place.index.delete(USER, ids) == 1

    def test_what_others_write_during_an_erase_is_counted(self, place: Place, record: Any) -> None:
        """S11: at most three rounds."""

        def write(request: ProxiedRequest) -> Decision:
            if request.operation == "DeleteItem":
                place.plain.upsert(USER, [record(Y)])
            return None

        place.proxy.decide = write
        report = place.index.erase(USER)
        assert report.remaining == place.plain.count(USER) > 0
        assert report.vectors >= 30
        assert report.out_of_reach

    def test_the_retry_wrapper_stores_all(self, place: Place, record: Any) -> None:
        """E4, A1: throttled three times."""
        some = [record(Y) for _ in range(30)]
        place.proxy.decide = failing(
            Instead.error("ThrottlingException"), "BatchWriteItem", times=3
        )
        RetryVectorIndex(place.index).upsert(USER, some)
        assert place.plain.count(USER) == 60

    def test_long_calls_have_their_deadline_for_each_request(self, place: Place) -> None:
        """C3: all of them together take longer than one may."""

        def slow(_: ProxiedRequest) -> Decision:
            time.sleep(0.2)
            return None

        place.proxy.decide = slow
        began = time.monotonic()
        with deadline(0.5):
            place.index.optimize(USER)
            assert place.index.delete_session(USER, "s1") == 30
            assert place.index.erase(USER).remaining == 0
        assert time.monotonic() - began > 1.5
