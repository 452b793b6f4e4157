"""What a search returns: the nearest vectors, with their true scores, in the true order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from ialstore.errors import InvalidInputError, LimitExceededError
from ialstore.testing.clock import ManualClock
from ialstore.testing.vector.base import (
    DIMENSION,
    USER,
    Fill,
    MakeRecord,
    VectorSuiteBase,
    X,
    Y,
    wide,
)
from ialstore.testing.vector.crowd import crowd, queries
from ialstore.testing.vector.oracle import Oracle
from ialstore.vector import VectorIndex
from ialstore.vector_model import SearchResult, Where

__all__ = ["SearchChapter"]


class SearchChapter(VectorSuiteBase):
    """V3 and V4."""

    def test_hits_carry_their_true_scores(self, searched: VectorIndex, fill: Fill) -> None:
        """V3, V4: at most k live, unique ids, sorted, each with what is kept beside it."""
        fill(searched, crowd(300))
        oracle = Oracle.of(searched)
        for query in queries(crowd(300), 12):
            for k in (1, 3, 100):
                oracle.search(query, k)

    def test_a_prefetch_changes_no_answer(self, index: VectorIndex, record: MakeRecord) -> None:
        """V8: what is written, deleted and erased after it is searched as it is."""
        index.prefetch("nobody")
        first, *rest = crowd(60)
        index.upsert(USER, rest)
        index.prefetch(USER)
        best = record(wide(100))  # under dot, too
        index.upsert(USER, [best])
        index.delete(USER, [rest[0].id])
        Oracle.of(index).search(best.vector, 20)
        assert index.search(USER, best.vector, 1).hits[0].id == best.id
        index.prefetch(USER)
        index.erase(USER)
        index.upsert(USER, [first])
        assert [hit.id for hit in index.search(USER, X)] == [first.id]

    def test_scores_are_those_of_the_metric(self, searched: VectorIndex, fill: Fill) -> None:
        """V4: also of vectors and queries far from unit length."""
        fill(searched, crowd(100))
        oracle = Oracle.of(searched)
        for scale in (0.01, 1.0, 50.0):
            for query in queries(crowd(100), 4):
                oracle.search(scale * query, 20)

    def test_equal_vectors_have_equal_scores_and_are_sorted_by_id(
        self, searched: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V4: wherever they stand, and however many."""
        ones = [record(wide(0.1, 0.2, 0.3)) for _ in range(150)]
        others = [record(wide(-0.3, 0.2, -0.1)) for _ in range(50)]
        mixed = [*others, *ones[::-1]]
        fill(searched, [mixed[int(one)] for one in np.random.default_rng(3).permutation(200)])
        same = {one.id for one in ones}

        query = wide(0.2, 0.2, 0.2)
        oracle = Oracle.of(searched)
        for k in (100, 1, 10, searched.capabilities.max_k):
            oracle.search(query, k)
            scores = {hit.score for hit in searched.search(USER, query, k) if hit.id in same}
            assert len(scores) <= 1, "V4: equal vectors have equal scores"

    def test_twins_rank_by_id_among_others(
        self, searched: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V4: after a record was replaced, deleted and added again, too."""
        given = [record(wide(1.0, n % 4)) for n in range(40)]
        fill(searched, given[::-1])
        oracle = Oracle.of(searched)
        for k in (5, 15, 40):
            oracle.search(X, k)
            oracle.search(wide(1.0, 3.0), k)

    def test_a_search_of_nothing_finds_nothing(self, reader: VectorIndex) -> None:
        """V3: an index without vectors."""
        for k in (1, 100):
            assert reader.search(USER, X, k).hits == ()

    def test_k_may_be_larger_than_the_index(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V3: at most k, and no more than there are."""
        given = [record(X), record(Y), record()]
        fill(reader, given)
        oracle = Oracle.of(reader)
        for k in (1, 2, 3, 4, 100, reader.capabilities.max_k):
            result = reader.search(USER, X, k)
            assert {hit.id for hit in result} <= {one.id for one in given}
            oracle.judge(result, X, k)
        assert len(reader.search(USER, X)) <= 3

    def test_ten_are_found_unless_told_otherwise(self, reader: VectorIndex, fill: Fill) -> None:
        """V3: k is 10."""
        fill(reader, crowd(100))
        query = queries(crowd(100), 4)[0]
        result = reader.search(USER, query)
        Oracle.of(reader).judge(result, query, 10)

    @pytest.mark.parametrize("k", [0, -1, 10**9, True, 1.0, "1", None])
    def test_a_k_out_of_bounds_is_refused(self, reader: VectorIndex, k: Any) -> None:
        """V3, E2: before any I/O."""
        with pytest.raises(InvalidInputError):
            reader.search(USER, X, k)

    def test_the_largest_k_is_a_limit(self, reader: VectorIndex, fill: Fill) -> None:
        """V3, E1: up to `capabilities.max_k`, and then a limit is exceeded."""
        fill(reader, crowd(300))
        most = reader.capabilities.max_k
        Oracle.of(reader).search(X, most)
        with pytest.raises(LimitExceededError):
            reader.search(USER, X, most + 1)

    def test_a_search_that_is_asked_again_sees_what_was_written(
        self, index: VectorIndex, record: MakeRecord, clock: ManualClock
    ) -> None:
        """V3, C1: after every kind of write, and when a vector expires."""
        soon = clock() + timedelta(seconds=5)
        given = [record(wide(1.0, n), session_id=f"s{n % 3}", text="old") for n in range(12)]
        brief = record(X, expires_at=soon)
        other = record(wide(1.0, 0.5))
        moved = record(wide(-1.0), id=given[1].id, session_id=given[1].session_id)
        writes: dict[str, Callable[[], object]] = {
            "upsert": lambda: index.upsert(USER, [*given, brief]),
            "upsert again": lambda: index.upsert(USER, [moved]),
            "bulk_load": lambda: index.bulk_load([(USER, other)]),
            "delete": lambda: index.delete(USER, [given[0].id]),
            "delete_session": lambda: index.delete_session(USER, "s2"),
            "optimize": lambda: index.optimize(USER),
            "time": lambda: clock.advance(5),
            "erase": lambda: index.erase(USER),
            "upsert at last": lambda: index.upsert(USER, [given[2]]),
        }
        where = Where(roles=["user"])
        for write in writes.values():
            for k in (3, 100):
                Oracle.of(index).search(X, k)
                Oracle.of(index).search(X, k, where)
            write()
            for k in (3, 100):
                Oracle.of(index).search(X, k)
                Oracle.of(index).search(X, k, where)

    def test_a_result_can_be_gone_over(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V3: hits, and how many vectors were looked at."""
        fill(reader, [record(text="secret")])
        result = reader.search(USER, X)
        assert isinstance(result, SearchResult)
        assert isinstance(result.hits, tuple)
        assert list(result) == list(result.hits)
        assert len(result) == len(result.hits)
        assert "secret" not in repr(result), "E3: no text in a repr"

    @pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-20, 1.0, 1e18, 1e37])
    def test_scores_are_true_at_any_magnitude(
        self, searched: VectorIndex, fill: Fill, record: MakeRecord, scale: float
    ) -> None:
        """V4: of subnormal and of huge vectors."""
        rng = np.random.default_rng(7)
        vectors = rng.integers(1, 9, (120, DIMENSION)) * float(np.float32(scale))
        fill(searched, [record(vector) for vector in vectors])
        oracle = Oracle.of(searched)
        for query in (
            vectors[0],
            vectors[1] * 2,
            rng.standard_normal(DIMENSION),
            np.full(DIMENSION, 1e37),
            np.full(DIMENSION, 1e-44),
        ):
            oracle.search(query, 10)

    def test_scores_are_true_beside_vectors_of_other_magnitudes(
        self, searched: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V4: a long vector harms the scores of short ones no more than its own."""
        rng = np.random.default_rng(8)
        vectors = rng.standard_normal((120, DIMENSION)) * np.logspace(-6, 6, 120)[:, None]
        fill(searched, [record(vector) for vector in vectors])
        oracle = Oracle.of(searched)
        for place in (0, 30, 60, 90, 119):
            oracle.search(vectors[place], 10)
            oracle.search(vectors[place] + 1, 120 if searched.capabilities.max_k > 120 else 100)

    def test_near_neighbours_of_long_vectors_are_told_apart(
        self, searched: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V4: far from the origin, where a formula that expands the square cancels."""
        rng = np.random.default_rng(9)
        centre = 100 * rng.standard_normal(DIMENSION)
        vectors = centre + rng.standard_normal((60, DIMENSION))
        fill(searched, [record(vector) for vector in vectors])
        oracle = Oracle.of(searched)
        for vector in vectors[:5]:
            oracle.search(vector, 10)
