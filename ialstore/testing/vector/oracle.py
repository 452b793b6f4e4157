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
from ialstore.recall import TOLERANCE, Best, tolerances, true_scores
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

_ALL: Final = Where()


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
        kept = np.array(passing, bool)
        recall = Best.of(scores[kept], allowed[kept], k).recall(scores[places], allowed[places])
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
