"""The exact matrix: true order, true scores, and no more work than they need."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ialstore import IndexSpec, Role, Where, message_id
from ialstore.errors import CorruptError
from ialstore.vector_model import EncodedRecord, encode_search
from ialstore_backends import _exact
from ialstore_backends._exact import ExactMatrix, Ranking, bytes_per_vector, lower_bound, merge

pytestmark = pytest.mark.usefixtures("cores")

METRICS = ("cosine", "dot", "euclidean")
START = datetime(2024, 2, 29, 12, tzinfo=UTC)
NOW = int(START.timestamp())

IDS = [message_id("u", f"s{n % 4}", START + timedelta(seconds=n), "user", "") for n in range(4000)]


@pytest.fixture(scope="module", params=["one core", "all cores"])
def cores(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let estimates be computed in both ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_exact, "_ONE_CORE", 2**62 if request.param == "one core" else 0)
        yield


def entry(number: int, **fields: Any) -> EncodedRecord:
    given: dict[str, Any] = {
        "session_id": f"s{number % 4}",
        "role": Role.USER,
        "text": None,
        "expires": None,
    }
    return EncodedRecord(id=IDS[number], vector=np.zeros(0, np.float32), **(given | fields))


def matrix_of(vectors: Any, metric: str = "cosine") -> ExactMatrix:
    rows = np.asarray(vectors, np.float32)
    matrix = ExactMatrix(IndexSpec(rows.shape[1], metric))
    matrix.put([entry(number) for number in range(len(rows))], rows)
    return matrix


def search(
    matrix: ExactMatrix,
    query: Any,
    k: int = 10,
    *,
    metric: str = "cosine",
    where: Where | None = None,
    now: int = NOW,
) -> Ranking:
    spec = IndexSpec(len(query), metric)
    asked = encode_search(spec, "u", query, k=k, max_k=1000, where=where or Where(), effort=None)
    return matrix.search(asked, now)


def numbers(ranking: Ranking) -> list[int]:
    """Return the numbers of the entries found."""
    return [IDS.index(found.id) for _, found in ranking.places]


def dot(one: Any, other: Any, context: Context) -> Decimal:
    total = Decimal(0)
    for a, b in zip(one, other, strict=True):
        total = context.fma(Decimal(float(a)), Decimal(float(b)), total)
    return total


def true_score(metric: str, query: Any, vector: Any) -> Decimal:
    """Return a score to 120 digits."""
    context = Context(prec=120, Emin=-999_999, Emax=999_999)
    if metric == "dot":
        return dot(query, vector, context)
    if metric == "cosine":
        size = context.multiply(dot(query, query, context), dot(vector, vector, context))
        return context.divide(dot(query, vector, context), context.sqrt(size))
    apart = [
        context.subtract(Decimal(float(a)), Decimal(float(b)))
        for a, b in zip(query, vector, strict=True)
    ]
    total = Decimal(0)
    for one in apart:
        total = context.fma(one, one, total)
    return -context.sqrt(total)


def precision(metric: str, query: Any, vectors: Any) -> float:
    """Return how far a float64 score may lie from the truth."""
    lengths = float(np.linalg.norm(np.asarray(vectors, float), axis=1).max())
    length = float(np.linalg.norm(np.asarray(query, float)))
    scale = {"cosine": 1.0, "dot": length * lengths, "euclidean": length + lengths}[metric]
    return 1e-13 * scale


@st.composite
def crowds(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return rows and a query, of any magnitude that float32 has."""
    dimension = draw(st.integers(1, 4))
    number = st.one_of(
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.sampled_from([0.0, 1.0, -1.0, 1e-45, 3e38, 1.0000001, 1e-38, 1e19]),
    )
    row = st.lists(number, min_size=dimension, max_size=dimension).filter(any)
    rows = draw(st.lists(row, min_size=1, max_size=40))
    return np.array(rows, np.float32), np.array(draw(row), np.float32)


@pytest.mark.parametrize("metric", METRICS)
@given(crowd=crowds(), k=st.integers(1, 12))
def test_scores_and_order_are_true_at_any_magnitude(
    metric: str, crowd: tuple[NDArray[np.float32], NDArray[np.float32]], k: int
) -> None:
    rows, query = crowd
    ranking = search(matrix_of(rows, metric), query, k, metric=metric)

    true = [true_score(metric, query, row) for row in rows]
    error = Decimal(precision(metric, query, rows))
    found = numbers(ranking)
    assert len(found) == len(set(found)) == min(k, len(rows))
    for (score, _), number in zip(ranking.places, found, strict=True):
        assert abs(Decimal(score) - true[number]) <= error
    order = [(-score, one.id) for score, one in ranking.places]
    assert order == sorted(order)
    worst = min(true[number] for number in found)
    assert all(true[other] <= worst + 2 * error for other in set(range(len(rows))) - set(found))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("scale", "query_scale"), [(1.0, 1.0), (1e30, 1.0), (1e-30, 1.0)])
def test_near_ties_are_sorted_by_their_true_scores(
    metric: str, scale: float, query_scale: float
) -> None:
    rng = np.random.default_rng(1)
    base = rng.standard_normal(64)
    rows = (base * (1 + 2e-6 * rng.standard_normal((300, 64))) * scale).astype(np.float32)
    if metric == "euclidean":
        query_scale = scale
    query = ((base + 0.01 * rng.standard_normal(64)) * query_scale).astype(np.float32)

    ranking = search(matrix_of(rows, metric), query, 20, metric=metric)

    true = [true_score(metric, query, row) for row in rows]
    best = sorted(range(300), key=lambda number: (-true[number], IDS[number]))[:20]
    assert [float(true[number]) for number in numbers(ranking)] == pytest.approx(
        [float(true[number]) for number in best], rel=1e-13, abs=0
    )
    if metric == "dot":
        in_float32 = np.argsort(-(rows @ query))[:20].tolist()
        assert set(in_float32) != set(best), "the estimates alone would have done"


def test_products_that_nearly_vanish_in_float32_are_told_apart() -> None:
    rng = np.random.default_rng(8)
    rows = (rng.standard_normal((300, 64)) * 3e-23).astype(np.float32)
    query = (rng.standard_normal(64) * 3e-23).astype(np.float32)
    ranking = search(matrix_of(rows, "dot"), query, 20, metric="dot")
    true = np.argsort(-(rows.astype(float) @ query.astype(float)))[:20].tolist()
    assert numbers(ranking) == true
    assert set(np.argsort(-(rows @ query))[:20].tolist()) != set(true)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 3, 129, 4096])
def test_equal_vectors_score_equal_to_the_bit(metric: str, dimension: int) -> None:
    rng = np.random.default_rng(2)
    one = rng.standard_normal(dimension)
    rows = np.array([one, -one])[rng.integers(2, size=203)]
    matrix = ExactMatrix(IndexSpec(dimension, metric))
    for first, end in ((0, 1), (1, 40), (40, 203)):  # what is put together must not matter either
        batch = rows[first:end].astype(np.float32)
        matrix.put([entry(number) for number in range(first, end)], batch)
    ranking = search(matrix, rng.standard_normal(dimension), 203, metric=metric)
    assert len({score for score, _ in ranking.places}) == 2
    assert numbers(ranking)[:2] == sorted(numbers(ranking)[:2])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 300])
@pytest.mark.parametrize(
    "where",
    [
        Where(),
        Where(session_id="s1"),
        Where(exclude_session_id="s1"),
        Where(since=START + timedelta(seconds=3950)),
        Where(until=START + timedelta(seconds=5)),
    ],
    ids=["all", "a quarter", "three quarters", "few", "fewer than k"],
)
def test_large_matrices_are_ranked_like_small_ones(metric: str, k: int, where: Where) -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((4000, 12)).astype(np.float32)
    query = rng.standard_normal(12).astype(np.float32)
    wide, asked = rows.astype(float), query.astype(float)
    scores = {
        "cosine": wide @ asked / np.linalg.norm(wide, axis=1) / np.linalg.norm(asked),
        "dot": wide @ asked,
        "euclidean": -np.linalg.norm(wide - asked, axis=1),
    }[metric]
    passing = [
        n
        for n in range(4000)
        if where.session_id in (None, f"s{n % 4}")
        and where.exclude_session_id != f"s{n % 4}"
        and (where.since is None or n >= 3950)
        and (where.until is None or n < 5)
    ]
    expected = sorted(passing, key=lambda n: -scores[n])[:k]

    ranking = search(matrix_of(rows, metric), query, k, metric=metric, where=where)

    assert numbers(ranking) == expected
    assert [score for score, _ in ranking.places] == pytest.approx(scores[expected], abs=1e-12)
    assert ranking.examined == len(passing)
    assert ranking.reranked <= len(expected) + 64


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_one_long_vector_makes_no_other_score_doubtful(metric: str) -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((3000, 16)).astype(np.float32)
    rows[7] *= 1e9
    query = rng.standard_normal(16)
    ranking = search(matrix_of(rows, metric), query, 5, metric=metric)
    assert ranking.reranked < 50
    apart = -np.linalg.norm(rows.astype(float) - query.astype(np.float32), axis=1)
    true = rows.astype(float) @ query.astype(np.float32) if metric == "dot" else apart
    assert numbers(ranking) == np.argsort(-true)[:5].tolist()


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_what_float32_products_can_not_hold_is_scored_in_float64(metric: str) -> None:
    rows = np.full((30, 4), 3e38, np.float32)
    rows[5] = 1e38
    ranking = search(matrix_of(rows, metric), [3e38] * 4, 5, metric=metric)
    assert ranking.reranked == 30
    assert numbers(ranking) == [0, 1, 2, 3, 4]
    high = float(np.float32(3e38))
    assert ranking.places[0][0] == (pytest.approx(4 * high**2) if metric == "dot" else 0.0)


def test_a_cosine_is_never_beyond_one() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        row = rng.standard_normal(7)
        matrix = matrix_of([row, -row, row * 3, row / 3])
        scores = [score for score, _ in search(matrix, row * 0.7).places]
        assert scores == sorted(scores, reverse=True)
        assert max(map(abs, scores)) <= 1


def test_vectors_are_replaced_and_discarded_in_place() -> None:
    rng = np.random.default_rng(6)
    matrix = ExactMatrix(IndexSpec(6), 3)
    model: dict[int, NDArray[np.float32]] = {}
    for _ in range(200):
        batch = rng.choice(60, rng.integers(1, 6), replace=False).tolist()
        if rng.random() < 0.6:
            rows = rng.standard_normal((len(batch), 6)).astype(np.float32)
            matrix.put([entry(n, text="x" * n) for n in batch], rows)
            model |= dict(zip(batch, rows, strict=True))
        else:
            matrix.discard(IDS[n] for n in batch)
            model = {n: row for n, row in model.items() if n not in batch}
        assert len(matrix) == len(model)
        assert set(matrix.ids) == {IDS[n] for n in model}
        query = rng.standard_normal(6)
        ranking = search(matrix, query, 60)
        best = sorted(model, key=lambda n: -float(true_score("cosine", query, model[n])))
        assert numbers(ranking) == best
        assert all(len(found.text or "") == IDS.index(found.id) for _, found in ranking.places)
    texts = matrix.nbytes - len(matrix) * bytes_per_vector(6)
    assert texts >= sum(model)
    matrix.discard(list(matrix.ids))
    assert (len(matrix), matrix.nbytes) == (0, 0)
    assert search(matrix, [1.0] * 6) == Ranking()


def test_what_is_expired_does_not_count() -> None:
    matrix = ExactMatrix(IndexSpec(1, "dot"))
    matrix.put([entry(0, expires=NOW), entry(1, expires=NOW + 1)], np.ones((2, 1), np.float32))
    matrix.put([entry(2)], np.ones((1, 1), np.float32))
    for now, left in ((NOW - 1, [0, 1, 2]), (NOW, [1, 2]), (NOW + 1, [2])):
        ranking = search(matrix, [1.0], metric="dot", now=now)
        assert numbers(ranking) == left
        assert ranking.examined == len(left)


@pytest.mark.parametrize(
    ("metric", "bad"),
    [("cosine", [0.0, 0.0]), ("cosine", [np.nan, 1.0]), ("dot", [np.inf, 1.0])],
)
def test_what_is_no_vector_is_corrupt_and_changes_nothing(metric: str, bad: list[float]) -> None:
    matrix = matrix_of([[1.0, 2.0]], metric)
    rows = np.array([[2.0, 1.0], bad], np.float32)
    with pytest.raises(CorruptError, match=IDS[2]):
        matrix.put([entry(0), entry(2)], rows)
    assert numbers(search(matrix, [1.0, 2.0], metric=metric)) == [0]
    assert len(matrix) == 1


def test_the_best_of_two_matrices() -> None:
    one = Ranking([(0.9, entry(3)), (0.5, entry(2))], 5, 3)
    other = Ranking([(0.9, entry(1)), (0.7, entry(4))], 7, 2)
    merged = merge(one, other, 3)
    assert numbers(merged) == [1, 3, 4]
    assert (merged.examined, merged.reranked) == (12, 5)
    assert merge(Ranking(), one, 5).result().hits == one.result().hits


def test_sums_do_not_depend_on_where_a_row_stands() -> None:
    """The premise of equal scores for equal vectors: of NumPy's sums, not of BLAS."""
    rng = np.random.default_rng(7)
    for dimension in (1, 2, 7, 8, 9, 128, 129, 384, 1000):
        row = rng.standard_normal(dimension)
        tiles = [np.tile(row, (count, 1)) for count in (1, 2, 3, 8, 33, 100)]
        sums = {one for tile in tiles for one in np.add.reduce(tile, axis=1).tolist()}
        assert len(sums) == 1


@pytest.mark.parametrize(
    ("count", "k"), [(1, 1), (40, 10), (641, 10), (2600, 130), (10_200, 130), (10_200, 1000)]
)
def test_the_bound_of_the_best_is_close_to_them_and_not_above(count: int, k: int) -> None:
    estimates = np.random.default_rng(count + k).standard_normal(count).astype(np.float32)
    bound = lower_bound(estimates, k)
    assert bound <= np.sort(estimates)[-k]
    assert (estimates >= bound).sum() <= 1.5 * k + 10
