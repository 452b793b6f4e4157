"""Recall: what an index stands for, on clustered data, with filters and after changes.

Recall is counted by score, so that ties cost nothing. The mean is over the queries of the kit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from statistics import fmean
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from ialstore.errors import InvalidInputError
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.vector.base import (
    DIMENSION,
    USER,
    Fill,
    OpenIndex,
    VectorSuiteBase,
    X,
    let_others_in,
    spec_of,
)
from ialstore.testing.vector.crowd import WHERES, crowd, queries
from ialstore.testing.vector.oracle import Oracle, assert_honest
from ialstore.vector import VectorIndex
from ialstore.vector_model import VectorRecord, Where

__all__ = ["RecallChapter", "mean_recall"]

EFFORTS: Final = (0.001, 0.05, 0.2, 0.5, 0.8, 1)
RECALL_TOLERANCE: Final = 0.01
MANY: Final = 2000
LONG: Final = 1e6
QUERIES: Final = 40
FILTERED: Final = ("one session", "all but a session", "one role", "since", "all at once")

Queries = list[NDArray[np.float64]]


def mean_recall(
    oracle: Oracle, asked: Queries, k: int = 10, where: Where | None = None, **options: Any
) -> float:
    """Return the mean recall over some queries."""
    where = where or Where()
    return fmean(oracle.search(query, k, where, **options) for query in asked)


def enough_queries(index: VectorIndex, records: Sequence[VectorRecord], seed: int) -> Queries:
    """Return enough for a mean; an exact index is held to find everything for each."""
    return queries(records, 8 if index.capabilities.exact else QUERIES, seed)


class RecallChapter(VectorSuiteBase):
    """V6."""

    def test_the_recall_is_what_the_index_stands_for(
        self, searched: VectorIndex, fill: Fill
    ) -> None:
        """V6, V3: `capabilities.min_recall`, at the default effort, is honest."""
        records = crowd(MANY)
        fill(searched, records)
        oracle = Oracle.of(searched)
        asked = enough_queries(searched, records, 2)
        for k in (10, 100):
            assert_honest(searched, mean_recall(oracle, asked, k), f"for k={k}")
        for name in FILTERED:
            recall = mean_recall(oracle, asked, 10, WHERES[name])
            assert_honest(searched, recall, f"for {name}")

    def test_recall_is_the_same_for_long_vectors(self, searched: VectorIndex, fill: Fill) -> None:
        """V6: as of a model that does not shorten them; float16, for one, ends at 65,504."""
        records = [
            VectorRecord(one.id, LONG * np.asarray(one.vector), one.session_id, one.role)
            for one in crowd(400)
        ]
        fill(searched, records)
        oracle = Oracle.of(searched)
        asked = [LONG * query for query in enough_queries(searched, crowd(400), 6)]
        assert_honest(searched, mean_recall(oracle, asked), "for long vectors")

    def test_recall_does_not_fall_as_effort_rises(self, searched: VectorIndex, fill: Fill) -> None:
        """V6: on average; 1 is the best the index can do."""
        records = crowd(800)
        fill(searched, records)
        oracle = Oracle.of(searched)
        asked = enough_queries(searched, records, 5)
        for where in (Where(), WHERES["one role"]):
            recalls = {
                effort: mean_recall(oracle, asked, 10, where, effort=effort) for effort in EFFORTS
            }
            for (effort, recall), (more, better) in pairwise(recalls.items()):
                assert better >= recall - RECALL_TOLERANCE, (
                    f"V6: recall falls from {recall:.3f} to {better:.3f} "
                    f"as effort rises from {effort} to {more} under {where}"
                )
            usual = mean_recall(oracle, asked, 10, where)
            assert recalls[1] >= usual - RECALL_TOLERANCE, (
                f"V6: effort 1 is the best the index can do: {recalls[1]:.3f} after {usual:.3f}"
            )

    def test_recall_holds_after_much_was_changed(self, index: VectorIndex) -> None:
        """V6, V2: records that were replaced, deleted or added again are found like any other."""
        records = crowd(600, 6)
        rng = np.random.default_rng(7)
        moved = [
            VectorRecord(one.id, rng.standard_normal(DIMENSION), one.session_id, one.role, "moved")
            for one in records[100:300]
        ]
        index.upsert(USER, records)
        Oracle.of(index).search(X)
        assert index.delete(USER, [one.id for one in records[::2]]) == 300
        index.upsert(USER, records[:100])
        index.upsert(USER, moved)
        index.optimize(USER)
        asked = [*enough_queries(index, records, 8), *(one.vector for one in moved[:20])]
        assert_honest(index, mean_recall(Oracle.of(index), asked), "after changes")

    def test_recall_holds_where_most_is_expired(
        self, reader: VectorIndex, fill: Fill, clock: ManualClock
    ) -> None:
        """V6, C2: expired vectors crowd out no live ones."""
        records = crowd(400, 9)
        soon = START + timedelta(seconds=5)
        brief = [
            VectorRecord(one.id, one.vector, one.session_id, one.role, "brief", soon)
            for number, one in enumerate(records)
            if number % 8
        ]
        fill(reader, [*brief, *records[::8]])
        asked = enough_queries(reader, records, 10)
        mean_recall(Oracle.of(reader), asked[:2])
        clock.advance(5)
        assert_honest(reader, mean_recall(Oracle.of(reader), asked), "among expired vectors")

    def test_recall_holds_beside_many_vectors_of_others(
        self, reader: VectorIndex, fill: Fill
    ) -> None:
        """V6, C6: vectors of other users crowd out none."""
        mine = crowd(60, 11)
        for user in ("u10", "u", "u1 "):
            fill(reader, crowd(400, 12), user)
        fill(reader, mine)
        asked = enough_queries(reader, crowd(400, 12), 13)
        recall = mean_recall(Oracle.of(reader), asked)
        assert_honest(reader, recall, "beside others")

    def test_recall_holds_after_reopening(self, index: VectorIndex, open_index: OpenIndex) -> None:
        """V6, S15: what was learned or built is there again."""
        records = crowd(600, 14)
        index.upsert(USER, records)
        asked = enough_queries(index, records, 15)
        before = mean_recall(Oracle.of(index), asked)
        let_others_in(index)
        again = open_index()
        recall = mean_recall(Oracle.of(again), asked)
        assert_honest(again, recall, f"after reopening, {before:.3f} before")

    @pytest.mark.parametrize("effort", [0, -1, 1.01, float("nan"), float("inf"), True, "1"])
    def test_an_effort_out_of_bounds_is_refused(self, reader: VectorIndex, effort: Any) -> None:
        """V6, E2: it is above 0 and at most 1."""
        with pytest.raises(InvalidInputError):
            reader.search(USER, X, effort=effort)

    def test_any_effort_answers_a_small_index(
        self, open_index: OpenIndex, fill: Fill, metric: str
    ) -> None:
        """V6, V3: with few vectors, or none."""
        index = open_index(spec_of(metric))
        for effort in (1e-9, *EFFORTS):
            assert index.search(USER, X, effort=effort).hits == ()
        fill(index, crowd(12))
        oracle = Oracle.of(index)
        for effort in (1e-9, *EFFORTS):
            oracle.search(X, effort=effort)
