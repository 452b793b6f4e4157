"""What a search should have found: every score is computed again, in float64, from ``get``.

Shares no code with the indexes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ialstore.ids import Role, id_time
from ialstore.limits import MAX_GET
from ialstore.testing.pages import pages
from ialstore.testing.vector.base import USER
from ialstore.vector import VectorIndex
from ialstore.vector_model import Hit, SearchResult, VectorRecord, Where

__all__ = [
    "TOLERANCE",
    "Oracle",
    "all_ids",
    "all_records",
    "all_users",
    "assert_honest",
    "assert_in_order",
    "assert_same",
    "passes",
    "tolerances",
    "true_scores",
]

Vector = NDArray[np.float64]

TOLERANCE: Final = 1e-5
_ALL: Final = Where()


def true_scores(metric: str, query: Vector, vectors: Vector) -> Vector:
    """Return the scores of rows, shape (n,)."""
    if metric == "euclidean":
        return -_lengths(vectors - query)
    products: Vector = np.sum(vectors * query, axis=1)
    if metric == "dot":
        return products
    # The lengths divide one after the other: their product may leave the range of float64.
    return products / _lengths(vectors) / float(np.linalg.norm(query))


def tolerances(metric: str, query: Vector, vectors: Vector, error: float = 0.0) -> Vector:
    """Return how far the score of each row may lie from the true one, shape (n,).

    Where the index keeps other vectors, ``error`` bounds their relative distance from the rows.

    1e-5 * max(1, |q| |v|), where cosine compares directions, so that both lengths are 1. A distance
    may also be off by 1e-5 of itself: between a long vector and a short one it is as large as the
    long one, of which float32 keeps seven digits, while the product of the lengths may be 1.
    """
    if metric == "cosine":  # a vector that is off by an error below 1 points at most pi/2 of it off
        return np.full(len(vectors), TOLERANCE + np.pi / 2 * error)
    lengths = _lengths(vectors)
    products = lengths * float(np.linalg.norm(query))
    if metric == "dot":
        return TOLERANCE * np.maximum(1.0, products) + error * products
    sizes = np.maximum(1.0, np.maximum(products, _lengths(vectors - query)))
    return TOLERANCE * sizes + error * lengths


def _lengths(vectors: Vector) -> Vector:
    lengths: Vector = np.linalg.norm(vectors, axis=1)
    return lengths


@lru_cache(10_000)
def _time_of(message_id: str) -> datetime:
    return id_time(message_id)


def passes(record: VectorRecord, where: Where) -> bool:
    """Whether a record passes the filters."""
    at = _time_of(record.id)
    return (
        where.session_id in (None, record.session_id)
        and where.exclude_session_id != record.session_id
        and (where.roles is None or record.role in where.roles)
        and (where.since is None or at >= where.since)
        and (where.until is None or at < where.until)
    )


def all_ids(index: VectorIndex, user: str = USER, limit: int = 1000) -> list[str]:
    """Return all ids of a user, page by page."""
    found: list[str] = []
    for page in pages(lambda cursor: index.ids(user, limit=limit, cursor=cursor)):
        assert len(page) <= limit, "V7, S6: a page is longer than its limit"
        found += page
    return found


def all_users(index: VectorIndex, limit: int = 1000) -> list[str]:
    """Return all users, page by page; one may come twice."""
    found: list[str] = []
    for page in pages(lambda cursor: index.users(limit=limit, cursor=cursor)):
        assert len(page) <= limit, "V7, S14: a page is longer than its limit"
        found += page
    return found


def all_records(index: VectorIndex, ids: Sequence[str], user: str = USER) -> Iterator[VectorRecord]:
    """Yield the records with these ids, as ``get`` returns them."""
    for start in range(0, len(ids), MAX_GET):
        yield from index.get(user, ids[start : start + MAX_GET])


def _facts(record: VectorRecord) -> tuple[object, ...]:
    return record.id, record.session_id, record.role, record.text, record.expires_at


def assert_same(found: VectorRecord, given: VectorRecord, error: float) -> None:
    """Assert that a record comes back as given, its vector within ``vector_error``."""
    assert _facts(found) == _facts(given), "V2, M1: a record comes back as it was given"
    wanted = np.asarray(given.vector).astype(np.float32).astype(np.float64)
    assert found.vector.dtype == np.float32, "V2: vectors are float32"
    assert not found.vector.flags.writeable, "V7: the vectors that get returns are read-only"
    away = float(np.linalg.norm(found.vector.astype(np.float64) - wanted))
    most = error * float(np.linalg.norm(wanted))
    assert away <= most, f"V4: the vector is {away} from the one given; vector_error allows {most}"


@dataclass(frozen=True)
class Oracle:
    """Everything that a user has in an index: what searches are held against.

    Attributes:
        index: the index that answers.
        user: whose vectors.
        records: by id.
        vectors: of the records, in their order, shape (n, dimension), float64.
    """

    index: VectorIndex
    user: str
    records: Mapping[str, VectorRecord]
    vectors: Vector

    @classmethod
    def of(cls, index: VectorIndex, user: str = USER) -> Self:
        """Return the oracle that knows what ``ids`` and ``get`` return now."""
        return cls.knowing(index, user, all_records(index, all_ids(index, user), user))

    @classmethod
    def knowing(cls, index: VectorIndex, user: str, records: Iterator[VectorRecord]) -> Self:
        """Return the oracle that knows these records."""
        by_id = {one.id: one for one in records}
        vectors = np.array([one.vector for one in by_id.values()], np.float64)
        return cls(index, user, by_id, vectors.reshape(len(by_id), index.spec.dimension))

    def count(self, where: Where) -> int:
        """Return how many records pass the filters."""
        return sum(passes(one, where) for one in self.records.values())

    def assert_holds(self, given: Mapping[str, VectorRecord], error: float = 0.0) -> None:
        """Assert that the records are those given, each vector within ``vector_error``.

        Args:
            given: by id, in the order of ids.
            error: how far the vectors given may lie from the true ones, relatively.
        """
        found, wanted = self.records.values(), given.values()
        assert list(map(_facts, found)) == list(map(_facts, wanted)), (
            "V2, M1: get returns records as they were given"
        )
        vectors = np.array([one.vector for one in wanted], np.float32).astype(np.float64)
        vectors = vectors.reshape(self.vectors.shape)
        most = (self.index.capabilities.vector_error + error) * _lengths(vectors)
        assert (_lengths(self.vectors - vectors) <= most).all(), (
            "V4: a vector is further from the one given than vector_error allows"
        )

    def search(self, query: Any, k: int = 10, where: Where = _ALL, **options: Any) -> float:
        """Search, hold the answer against the contract, and return its recall.

        Raises:
            AssertionError: names the promise that was broken.
        """
        result = self.index.search(self.user, query, k, where=where, **options)
        return self.judge(result, query, k, where)

    def judge(
        self,
        result: SearchResult,
        query: Any,
        k: int,
        where: Where = _ALL,
        answered_by: VectorIndex | None = None,
    ) -> float:
        """Hold an answer against the contract and return its recall, as ``search`` does.

        Args:
            result: the answer.
            query: what was asked for.
            k: how many were asked for.
            where: the filters.
            answered_by: another index with the same records; by default it is the oracle's own.
        """
        said, error = self.index.capabilities, 0.0
        if answered_by is not None:
            error = said.vector_error + answered_by.capabilities.vector_error
            said = answered_by.capabilities
        passing = [where == _ALL or passes(one, where) for one in self.records.values()]
        metric = self.index.spec.metric
        wanted = np.asarray(query).astype(np.float32).astype(np.float64)
        scores = true_scores(metric, wanted, self.vectors)
        allowed = tolerances(metric, wanted, self.vectors, error)
        place_of = {one: place for place, one in enumerate(self.records)}

        assert_in_order(result.hits, k)
        assert 0 <= result.reranked <= result.examined, "V3: more was reranked than examined"
        for hit in result:
            record = self.records.get(hit.id)
            assert record is not None, f"V3: hit {hit.id} is no live record of the user"
            place = place_of[hit.id]
            assert passing[place], f"V5: {hit} does not pass {where}"
            beside = (hit.session_id, hit.role, hit.text)
            assert beside == (record.session_id, record.role, record.text), (
                f"V3: {hit} carries another session, role or text than its record"
            )
            assert isinstance(hit.score, float), "V4: a score is a float"
            assert isinstance(hit.role, Role), "V3: the role of a hit is a Role"
            away = abs(hit.score - scores[place])
            assert away <= allowed[place], (
                f"V4: the score of {hit} is not the {metric} score {scores[place]} "
                f"to the vector that get returns"
            )
        places = [place_of[hit.id] for hit in result]
        recall = _recall(places, scores, allowed, np.array(passing, bool), k)
        if said.exact:
            assert recall == 1, (
                f"V3, V6: an exact index returned other than the {k} nearest under {where}: "
                f"recall {recall}"
            )
        return recall


def assert_honest(index: VectorIndex, recall: float, what: str) -> None:
    """Assert that a mean recall is what the index stands for."""
    least = index.capabilities.min_recall
    assert recall >= least, f"V6: recall of {recall:.3f} {what}; capabilities.min_recall is {least}"


def assert_in_order(hits: Sequence[Hit], k: int) -> None:
    """Assert what holds of any hits: at most k, unique, sorted by (-score, id)."""
    assert len(hits) <= k, f"V3: {len(hits)} hits for k={k}"
    assert len({hit.id for hit in hits}) == len(hits), "V3: an id was returned twice"
    order = [(-hit.score, hit.id) for hit in hits]
    assert all(one < other for one, other in pairwise(order)), "V4: sorted by (-score, id)"


def _recall(
    places: Sequence[int], scores: Vector, allowed: Vector, passing: NDArray[np.bool_], k: int
) -> float:
    """Return the share of the best k that was found; which of equals stand there is open.

    Scores may be off by what is allowed: what surely belongs to the best must be found, and the
    places left are open to all that may belong.
    """
    count = min(k, int(passing.sum()))
    if not count:
        return 1.0
    low, high = scores - allowed, scores + allowed
    must = passing.copy()
    if int(passing.sum()) > k:
        must &= low > np.sort(high[passing])[-k - 1]
    may = passing & ~must & (high >= np.sort(low[passing])[-count])
    found = np.zeros(len(scores), bool)
    found[list(places)] = True
    tied = min(int((may & found).sum()), count - int(must.sum()))
    return (int((must & found).sum()) + tied) / count
