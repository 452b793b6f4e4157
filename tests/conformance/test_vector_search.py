"""The contract of vector search: every score is computed again here, from what ``get`` returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ialstore import (
    IndexSpec,
    InvalidInputError,
    LimitExceededError,
    Role,
    SearchResult,
    VectorIndex,
    VectorRecord,
    Where,
    message_id,
)
from ialstore.ids import id_time
from ialstore.limits import MIN_MAX_K

MakeIndex = Callable[..., VectorIndex]
Record = Callable[..., VectorRecord]
Vector = NDArray[np.float64]

START = datetime(2024, 2, 29, 12, tzinfo=UTC)
METRICS = ("cosine", "dot", "euclidean")
SESSIONS = ("s1", "s2", "s10", "%#", "\n")
ROLES = ("user", "assistant", "tool")


def true_scores(metric: str, query: Vector, vectors: Vector) -> Vector:
    """Return the true scores of rows."""
    if metric == "euclidean":
        return np.asarray(-np.linalg.norm(vectors - query, axis=1))
    if metric == "cosine":
        query = query / np.linalg.norm(query)
        vectors = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    return np.asarray(vectors @ query)


def passes(record: VectorRecord, where: Where) -> bool:
    """Whether a record passes the filters."""
    at = id_time(record.id)
    return (
        where.session_id in (None, record.session_id)
        and where.exclude_session_id != record.session_id
        and (where.roles is None or record.role in where.roles)
        and (where.since is None or at >= where.since)
        and (where.until is None or at < where.until)
    )


@dataclass
class Oracle:
    """Everything a user has in an index, as ``get`` returns it."""

    index: VectorIndex
    user: str = "u1"
    records: dict[str, VectorRecord] = field(default_factory=dict[str, VectorRecord])

    def __post_init__(self) -> None:
        cursor: str | None = None
        while True:
            page = self.index.ids(self.user, limit=100, cursor=cursor)
            self.records |= {one.id: one for one in self.index.get(self.user, page.items)}
            cursor = page.cursor
            if cursor is None:
                return

    def recall(self, query: Any, k: int, where: Where, **options: Any) -> float:
        """Search, hold every hit against the contract, and return the recall, ties counted."""
        metric = self.index.spec.metric
        wanted = np.asarray(query).astype(np.float32).astype(float)
        among = [one for one in self.records.values() if passes(one, where)]
        vectors = np.array([one.vector for one in among], float).reshape(len(among), len(wanted))
        scores = true_scores(metric, wanted, vectors).tolist()
        true = dict(zip((one.id for one in among), scores, strict=True))
        result = self.index.search(self.user, query, k, where=where, **options)

        assert len(result) <= min(k, len(true))
        assert len({hit.id for hit in result}) == len(result)
        assert result.reranked <= result.examined
        order = [(-hit.score, hit.id) for hit in result]
        assert order == sorted(order)
        best = sorted(true.values(), reverse=True)[:k]
        near = 0
        for hit in result:
            record = self.records[hit.id]
            assert passes(record, where)
            assert (hit.session_id, hit.role, hit.text) == (
                record.session_id,
                record.role,
                record.text,
            )
            assert isinstance(hit.score, float)
            size = float(np.linalg.norm(wanted) * np.linalg.norm(record.vector.astype(float)))
            tolerance = 1e-5 * max(1.0, size)
            assert hit.score == pytest.approx(true[hit.id], abs=tolerance, rel=0)
            near += true[hit.id] >= best[-1] - tolerance
        return near / len(best) if best else 1.0


def crowd(seed: int, count: int, dimension: int) -> list[VectorRecord]:
    """Return clustered records of all sessions and roles, a tenth of them twins of others."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((8, dimension))
    spread = rng.choice([1e-3, 0.1, 1.0], (count, 1))
    vectors = centres[rng.integers(8, size=count)] + spread * rng.standard_normal(
        (count, dimension)
    )
    vectors *= rng.choice([0.5, 1.0, 3.0], (count, 1))
    twins = rng.integers(count, size=(2, count // 10))
    vectors[twins[0]] = vectors[twins[1]]
    records: list[VectorRecord] = []
    for number, vector in enumerate(vectors):
        session, role = SESSIONS[number % 5], ROLES[number % 3]
        made = message_id("u1", session, START + timedelta(seconds=number), role, str(number))
        records.append(VectorRecord(made, vector, session, role, f"text {number}"))
    return records


def fill(index: VectorIndex, records: list[VectorRecord], user: str = "u1") -> None:
    index.bulk_load((user, one) for one in records)


WHERES = {
    "everything": Where(),
    "one session": Where(session_id="s1"),
    "all but a session": Where(exclude_session_id="%#"),
    "an unknown session": Where(session_id="never"),
    "all but an unknown session": Where(exclude_session_id="never"),
    "one role": Where(roles=["tool"]),
    "two roles": Where(roles={Role.USER, Role.ASSISTANT}),
    "a role nobody has": Where(roles=[Role.EVENT]),
    "all roles": Where(roles=list(Role)),
    "since": Where(since=START + timedelta(seconds=40)),
    "until": Where(until=START + timedelta(seconds=40)),
    "a span": Where(since=START + timedelta(seconds=9), until=START + timedelta(seconds=99.5)),
    "a moment": Where(since=START, until=START),
    "one second": Where(since=START, until=START + timedelta(seconds=1)),
    "before everything": Where(until=datetime(1969, 1, 1, tzinfo=UTC)),
    "all at once": Where(
        session_id="s2", roles=["user", "tool"], since=START, until=START + timedelta(seconds=200)
    ),
}


@pytest.mark.parametrize("metric", METRICS)
def test_a_search_returns_the_nearest_with_their_true_scores(
    make_index: MakeIndex, metric: str
) -> None:
    """V3, V4, V6: with the recall that the index stands for."""
    index = make_index(IndexSpec(24, metric))
    records = crowd(1, 600, 24)
    fill(index, records)
    oracle = Oracle(index)
    rng = np.random.default_rng(2)
    queries = [one.vector + 0.01 * rng.standard_normal(24) for one in records[:15]]
    queries += list(rng.standard_normal((5, 24)))
    for k in (1, 10, 100):
        recalls = [oracle.recall(query, k, Where()) for query in queries]
        assert np.mean(recalls) >= index.capabilities.min_recall
        if index.capabilities.exact:
            assert min(recalls) == 1


@pytest.mark.parametrize("name", WHERES)
@pytest.mark.parametrize("metric", METRICS)
def test_filters_apply_before_the_top_k(make_index: MakeIndex, metric: str, name: str) -> None:
    """V5: what passes is ranked as if it were alone."""
    index = make_index(IndexSpec(8, metric))
    fill(index, crowd(3, 200, 8))
    oracle = Oracle(index)
    queries = np.random.default_rng(4).standard_normal((5, 8))
    for k in (1, 7, 100):
        recalls = [oracle.recall(query, k, WHERES[name]) for query in queries]
        assert np.mean(recalls) >= index.capabilities.min_recall


def test_more_effort_finds_no_less(make_index: MakeIndex) -> None:
    """V6: recall does not fall, on average, as effort rises; 1 is the best there is."""
    index = make_index(IndexSpec(16))
    fill(index, crowd(5, 500, 16))
    oracle = Oracle(index)
    queries = np.random.default_rng(6).standard_normal((20, 16))
    recalls = [
        np.mean([oracle.recall(query, 10, Where(), effort=effort) for query in queries])
        for effort in (0.01, 0.3, 1)
    ]
    assert all(later >= earlier - 0.01 for earlier, later in pairwise(recalls))


@pytest.mark.parametrize("metric", METRICS)
def test_ties_are_sorted_by_id(make_index: MakeIndex, record: Record, metric: str) -> None:
    """V4: vectors that are equal have equal scores, wherever they stand."""
    index = make_index(IndexSpec(3, metric))
    ones = [record([0.1, 0.2, 0.3]) for _ in range(150)]
    others = [record([-0.3, 0.2, -0.1]) for _ in range(50)]
    fill(index, [*others, *ones[::-1]])

    result = index.search("u1", [0.2, 0.2, 0.2], 100)

    found = [hit.id for hit in result]
    assert len({hit.score for hit in result}) == 1
    assert found == sorted(found)
    assert set(found) <= {one.id for one in ones}


def test_a_search_of_nothing_finds_nothing(index: VectorIndex, record: Record) -> None:
    """V3: no vectors, or none that pass."""
    assert index.search("u1", [1.0, 0.0, 0.0]) == SearchResult((), 0, 0)
    index.upsert("u1", [record()])
    for where in (Where(session_id="other"), Where(roles=["tool"]), Where(until=START)):
        assert index.search("u1", [1.0, 0.0, 0.0], where=where).hits == ()


def test_k_may_be_larger_than_the_index(index: VectorIndex, record: Record) -> None:
    """V3: at most k, and no more than there are."""
    assert index.capabilities.max_k >= MIN_MAX_K
    index.upsert("u1", [record(), record(), record()])
    for k in (1, 2, 3, 4, index.capabilities.max_k):
        assert len(index.search("u1", [1.0, 0.0, 0.0], k)) == min(k, 3)
    assert len(index.search("u1", [1.0, 0.0, 0.0])) == 3


@pytest.mark.parametrize("k", [0, -1, 10**9, True, 1.0, "1", None])
def test_a_k_out_of_bounds_is_refused(index: VectorIndex, k: Any) -> None:
    """V3, E2."""
    with pytest.raises(InvalidInputError):
        index.search("u1", [1.0, 0.0, 0.0], k)


def test_the_largest_k_is_a_limit(index: VectorIndex) -> None:
    """V3, E1."""
    with pytest.raises(LimitExceededError):
        index.search("u1", [1.0, 0.0, 0.0], index.capabilities.max_k + 1)


@pytest.mark.parametrize("effort", [0, -1, 1.01, float("nan"), float("inf"), True, "1"])
def test_an_effort_out_of_bounds_is_refused(index: VectorIndex, effort: Any) -> None:
    """V6, E2."""
    with pytest.raises(InvalidInputError):
        index.search("u1", [1.0, 0.0, 0.0], effort=effort)


@pytest.mark.parametrize(
    "where",
    [
        Where(session_id="a", exclude_session_id="b"),
        Where(session_id=""),
        Where(exclude_session_id="\0"),
        Where(roles=[]),
        Where(roles="user"),
        Where(roles=["nobody"]),
        Where(roles=[None]),  # type: ignore[list-item]  # what is tested
        Where(since=datetime(2024, 1, 1)),  # noqa: DTZ001 - what is tested
        Where(until="2024-01-01"),  # type: ignore[arg-type]  # what is tested
        Where(since=START, until=START - timedelta(microseconds=1)),
        None,
        {},
    ],
)
def test_filters_that_say_nothing_sensible_are_refused(index: VectorIndex, where: Any) -> None:
    """V5, E2."""
    with pytest.raises(InvalidInputError):
        index.search("u1", [1.0, 0.0, 0.0], where=where)


def test_a_long_list_of_filters_is_answered(index: VectorIndex, record: Record) -> None:
    """V5: however often a role is named."""
    index.upsert("u1", [record()])
    assert len(index.search("u1", [1.0, 0.0, 0.0], where=Where(roles=["user"] * 10_000))) == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-20, 1.0, 1e18, 1e37])
def test_scores_are_true_at_any_magnitude(
    make_index: MakeIndex, record: Record, metric: str, scale: float
) -> None:
    """V4: subnormal and huge vectors, too."""
    index = make_index(IndexSpec(5, metric))
    rng = np.random.default_rng(7)
    vectors = rng.integers(1, 9, (120, 5)) * float(np.float32(scale))
    fill(index, [record(vector) for vector in vectors])
    oracle = Oracle(index)
    for query in (vectors[0], vectors[1] * 2, rng.standard_normal(5), [1e38] * 5, [1e-44] * 5):
        assert oracle.recall(query, 10, Where()) >= index.capabilities.min_recall
