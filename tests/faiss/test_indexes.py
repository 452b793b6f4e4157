"""Indexes over the rows: how they come about, how they follow what is written, what they find."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray

from ialstore import UnsupportedOperationError, VectorRecord, Where
from ialstore.recall import true_scores
from ialstore.testing.clock import START
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import DIMENSION, USER, close_all, wide
from ialstore.testing.vector.crowd import WHERES, crowd, queries
from ialstore.testing.vector.life import in_a_child
from ialstore.testing.vector.oracle import Oracle
from ialstore.vector_model import METRICS
from ialstore_backends.faiss import FaissOptions, FaissVectorIndex, matrix, recipes
from ialstore_backends.faiss import index as index_module
from ialstore_backends.faiss.recipes import Asking
from ialstore_backends.faiss.scratch import on_disk
from tests.faiss.places import Place, built_of, matrix_of

KINDS = ("flat", "hnsw", "ivf")
STORAGES = ("float32", "float16", "int8", "rabitq")
BUILT = [one for one in itertools.product(KINDS, STORAGES) if one != ("flat", "float32")]


def recall(index: FaissVectorIndex, where: Where | None = None, **options: float) -> float:
    oracle = Oracle.of(index)
    asked = queries(crowd(1200), 20)
    return fmean(oracle.search(one, 10, where or Where(), **options) for one in asked)


def strict_recall(index: FaissVectorIndex, asked: Sequence[NDArray[np.float64]]) -> float:
    """Return the recall by true scores alone: the contract's tolerance takes near ones for ties."""
    oracle = Oracle.of(index)
    ids = list(oracle.records)
    shares: list[float] = []
    for query in asked:
        given = query.astype(np.float32).astype(np.float64)
        scores = true_scores(index.spec.metric, given, oracle.vectors)
        least = np.sort(scores)[-10] - 1e-6 * np.ptp(scores) - 1e-15 * np.abs(scores).max()
        found = [ids.index(hit.id) for hit in index.search(USER, query, 10)]
        shares.append(float((scores[found] >= least).sum()) / 10)
    return fmean(shares)


def with_text(records: Sequence[VectorRecord], text: str) -> list[VectorRecord]:
    return [VectorRecord(one.id, one.vector, one.session_id, one.role, text) for one in records]


@pytest.mark.parametrize(("kind", "storage"), BUILT)
def test_each_kind_and_storage_finds_what_it_says_before_and_after_reopening(
    place: Place, kind: str, storage: str
) -> None:
    """V6, S15: the second time with the index of the file."""
    with place.open(kind, storage) as index:
        index.upsert(USER, crowd(1200)[:1000])
        index.upsert(USER, crowd(1200)[1000:])
        index.optimize(USER)
        assert recall(index) >= index.capabilities.min_recall
        built = built_of(index)
        assert built is not None
        assert built.count == 1200
    with place.open(kind, storage) as index:
        assert recall(index) >= index.capabilities.min_recall
        again = built_of(index)
        assert again is not None
        assert again.count == 1200
        assert again.index is not built.index
        for where in ("one role", "one session", "since"):
            assert recall(index, WHERES[where]) >= index.capabilities.min_recall
        assert recall(index, effort=1) == 1
        assert index.check() == []


@pytest.mark.parametrize(
    ("kind", "storage", "metric"),
    [
        ("hnsw", "float32", "dot"),
        ("ivf", "rabitq", "dot"),
        ("hnsw", "rabitq", "euclidean"),
        ("ivf", "int8", "euclidean"),
        ("flat", "int8", "dot"),
    ],
)
def test_other_metrics_are_ranked_by_their_own_order(
    place: Place, kind: str, storage: str, metric: str
) -> None:
    """V4, V6."""
    with place.open(kind, storage, metric) as index:
        index.bulk_load((USER, one) for one in crowd(1200))
        index.optimize(USER)
        assert recall(index) >= index.capabilities.min_recall
    with place.open(kind, storage, metric) as index:
        assert recall(index) >= index.capabilities.min_recall
        assert built_of(index) is not None


def test_what_faiss_does_not_offer_is_refused(place: Place) -> None:
    """V1: it has no graph of RaBitQ codes that ranks by products."""
    with pytest.raises(UnsupportedOperationError, match="cosine, euclidean, not dot"):
        place.open("hnsw", "rabitq", "dot")


def test_searches_begin_a_graph_and_go_on_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V2: a little each time; what is not in it yet is searched exactly."""
    monkeypatch.setattr(matrix, "_ABSORB_SECONDS", 1e-9)
    index = place.open("hnsw")
    index.upsert(USER, crowd(1200)[:200])
    counts = []
    for query in queries(crowd(1200)[:200], 8):
        Oracle.of(index).search(query)
        built = built_of(index)
        assert built is not None
        counts.append(built.count)
    assert counts == sorted(counts)
    assert counts[-1] < 200
    monkeypatch.setattr(matrix, "_ABSORB_SECONDS", 60)
    assert recall(index) >= 0.95
    assert built_of(index).count == 200  # type: ignore[union-attr]


def test_clusters_are_made_by_optimize_alone(place: Place) -> None:
    """S13: until then every search is exact; a search has no time to learn them."""
    index = place.open("ivf")
    index.upsert(USER, crowd(1200)[:1000])
    assert recall(index) == 1
    assert built_of(index) is None
    index.optimize(USER)
    assert built_of(index) is not None
    index.upsert(USER, crowd(1200)[1000:])
    assert recall(index) >= 0.95
    assert built_of(index).count == 1200  # type: ignore[union-attr]


def test_few_vectors_have_no_index(place: Place) -> None:
    index = place.open("hnsw")
    index.upsert(USER, crowd(1200)[:99])
    index.optimize(USER)
    assert recall(index) == 1
    assert built_of(index) is None
    assert not place.snapshot.exists()


@pytest.mark.parametrize(("kind", "storage"), [("hnsw", "float32"), ("ivf", "int8")])
def test_replaced_and_deleted_vectors_are_passed_over(
    place: Place, kind: str, storage: str
) -> None:
    """V2, V6: whether the index was made before or after, in this process or an earlier one."""
    given = crowd(1200)
    moved = [
        VectorRecord(one.id, -np.asarray(one.vector), one.session_id, one.role, "moved")
        for one in given[100:200]
    ]
    with place.open(kind, storage) as index:
        index.bulk_load((USER, one) for one in given)
        index.optimize(USER)
        Oracle.of(index).search(given[0].vector)
        index.upsert(USER, moved)
        index.delete(USER, [one.id for one in given[300:400]])
        assert recall(index) >= 0.95
        assert built_of(index).count > 1200  # type: ignore[union-attr]
    with place.open(kind, storage) as index:
        assert recall(index) >= 0.95
        assert built_of(index) is not None
        hits = index.search(USER, moved[0].vector, 3).hits
        assert moved[0].id in {hit.id for hit in hits}
        index.delete(USER, [one.id for one in given[400:600]])
        index.optimize(USER)
        assert len(matrix_of(index)) == 900, "graves are removed"
        assert recall(index) >= 0.95


def test_when_most_is_removed_the_index_goes_with_it(place: Place) -> None:
    """V6: and the rest is searched exactly, from the same memory."""
    given = crowd(1200)
    index = place.open("ivf")
    index.bulk_load((USER, one) for one in with_text(given, "long " * 100))
    index.optimize(USER)
    Oracle.of(index).search(given[0].vector)
    held = index.held_bytes
    index.delete(USER, [one.id for one in given[:700]])
    assert recall(index) == 1
    assert built_of(index) is None
    assert len(matrix_of(index)) == 500
    assert index.held_bytes < held / 2


def test_expired_vectors_are_passed_over_whenever_they_expire(place: Place) -> None:
    """C2, V6: and are found again when the clock steps back."""
    given = crowd(1200)
    brief = [
        VectorRecord(
            one.id, one.vector, one.session_id, one.role, None, START + timedelta(seconds=n % 3 + 1)
        )
        for n, one in enumerate(given[:600])
    ]
    index = place.open("hnsw")
    index.bulk_load((USER, one) for one in [*brief, *given[600:]])
    index.optimize(USER)
    for seconds, live in ((0, 1200), (1, 1000), (1.5, 1000), (2, 800), (0, 1200), (9, 600)):
        place.clock.now = START + timedelta(seconds=seconds)
        assert index.count(USER) == live
        assert recall(index) >= 0.95
        assert recall(index) >= 0.95, "with the selector of the search before"


def test_a_longer_vector_than_all_before_is_found(place: Place) -> None:
    """V6: under the dot product it does not fit into the graph, until the next optimize."""
    given = crowd(1200)
    giant = VectorRecord(given[0].id, 100 * np.asarray(given[0].vector), "s1", "user", "giant")
    index = place.open("hnsw", metric="dot")
    index.bulk_load((USER, one) for one in given)
    index.optimize(USER)
    index.upsert(USER, [giant])
    index.upsert(USER, given[1:200])
    assert index.search(USER, given[0].vector, 1).hits[0].text == "giant"
    assert built_of(index).count == 1200  # type: ignore[union-attr]
    index.optimize(USER)
    assert matrix_of(index).pending == 0
    assert built_of(index).count == 1200  # type: ignore[union-attr]
    assert index.search(USER, given[0].vector, 1).hits[0].text == "giant"


def test_many_rows_that_do_not_fit_wear_an_index_out(place: Place) -> None:
    given = crowd(1200)
    index = place.open("hnsw", metric="dot")
    index.bulk_load((USER, one) for one in given[:1000])
    index.optimize(USER)
    long = [
        VectorRecord(one.id, 50 * np.asarray(one.vector), one.session_id, one.role)
        for one in given[1000:]
    ]
    index.upsert(USER, long)
    Oracle.of(index).search(given[0].vector)
    assert matrix_of(index).is_worn
    index.optimize(USER)
    assert not matrix_of(index).is_worn
    assert built_of(index).count == 1200  # type: ignore[union-attr]


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_vectors_beyond_the_squares_of_float32_are_searched_exactly(
    place: Place, metric: str
) -> None:
    """D1: FAISS would compare infinities."""
    given = crowd(1200)[:300]
    huge = [
        VectorRecord(one.id, 1e30 * np.asarray(one.vector), one.session_id, one.role)
        for one in given[:3]
    ]
    index = place.open("hnsw", metric=metric)
    index.upsert(USER, given)
    index.optimize(USER)
    assert Oracle.of(index).search(1e30 * np.asarray(given[0].vector)) == 1, "a query, too"
    index.upsert(USER, huge)
    assert Oracle.of(index).search(given[5].vector) == 1
    assert Oracle.of(index).search(huge[0].vector) == 1
    index.optimize(USER)
    assert Oracle.of(index).search(huge[0].vector) == 1
    assert Oracle.of(index).search(given[5].vector) == 1


def test_large_storage_is_kept_on_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors themselves take no memory of the process then, and no name in the folder."""
    monkeypatch.setattr(matrix, "ON_DISK_FROM", 20_000)
    sizes = {}
    for storage in ("float32", "int8"):
        with place.open("flat" if storage == "int8" else "hnsw", storage) as index:
            index.upsert(USER, crowd(1200)[:1000])
            assert recall(index) >= 0.95
            index.upsert(USER, crowd(1200)[1000:])
            assert recall(index) >= 0.95
            sizes[storage] = index.held_bytes
            assert {one.suffix for one in place.path.iterdir()} <= {
                ".db",
                ".db-wal",
                ".db-shm",
                ".lock",
                ".faiss",
            }
    assert sizes["int8"] < sizes["float32"] - 4 * DIMENSION * 1200


def test_a_user_beyond_the_memory_granted_is_searched_exactly(place: Place) -> None:
    """V6: block by block; optimize says so."""
    index = place.open("hnsw", cache_mb=0.1)
    index.upsert(USER, crowd(1200)[:1000])
    assert recall(index) == 1
    assert "need more memory than cache_mb" in index.optimize(USER).notes[-1]
    assert index.held_bytes == 0


def test_each_user_has_an_index_of_its_own(place: Place) -> None:
    """C6, V5."""
    index = place.open("hnsw")
    for user in ("u", "v"):
        index.upsert(user, crowd(1200, user=user)[:300])
        index.optimize(user)
    index.upsert("w", crowd(1200)[:5])
    assert len(list(place.path.glob("user-*.faiss"))) == 2
    for user in ("u", "v", "w"):
        Oracle.of(index, user).search(wide(1, 1))
    close_all([index])


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e7])
@pytest.mark.parametrize(
    ("kind", "storage", "metric"),
    [
        ("hnsw", "float16", "dot"),
        ("hnsw", "float16", "euclidean"),
        ("ivf", "float16", "dot"),
        ("ivf", "int8", "dot"),
        ("flat", "float16", "dot"),
    ],
)
def test_vectors_of_any_length_are_found(
    place: Place, kind: str, storage: str, metric: str, scale: float
) -> None:
    """V6: float16 ends at 65,504, and k-means takes very short vectors for one."""
    given = [
        VectorRecord(one.id, scale * np.asarray(one.vector), one.session_id, one.role)
        for one in crowd(1200)
    ]
    with place.open(kind, storage, metric) as index:
        index.bulk_load((USER, one) for one in given)
        index.optimize(USER)
        asked = [scale * query for query in queries(crowd(1200), 20)]
        assert strict_recall(index, asked) >= index.capabilities.min_recall
        assert built_of(index) is not None
    with place.open(kind, storage, metric) as index:
        assert strict_recall(index, asked) >= index.capabilities.min_recall
        assert built_of(index) is not None


def near_duplicates(spread: float, count: int, seed: int) -> NDArray[np.float64]:
    centre = np.random.default_rng(5).standard_normal(DIMENSION)
    return centre + spread * np.random.default_rng(seed).standard_normal((count, DIMENSION))


def fill_with(index: FaissVectorIndex, vectors: NDArray[np.float64]) -> None:
    index.bulk_load(
        (USER, VectorRecord(one.id, vector, one.session_id, one.role))
        for one, vector in zip(crowd(1200), vectors, strict=False)
    )
    index.optimize(USER)


@pytest.mark.parametrize("spread", [3e-4, 1e-5, 0.0])
@pytest.mark.parametrize(
    ("kind", "metric"), [*itertools.product(("hnsw", "flat"), METRICS), ("ivf", "dot")]
)
def test_near_duplicates_are_told_apart(
    place: Place, kind: str, metric: str, spread: float
) -> None:
    """V6: float16 takes them for the same; which of them are nearest, exact scores say."""
    with place.open(kind, "float16", metric) as index:
        fill_with(index, near_duplicates(spread, 600, 6))
        asked = [*near_duplicates(spread, 20, 7)]
        assert strict_recall(index, asked) >= index.capabilities.min_recall
        assert built_of(index) is not None


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("spread", [3e-4, 1e-5])
def test_clusters_of_near_duplicates_lose_nothing_by_rounding(
    tmp_path: Path, metric: str, spread: float
) -> None:
    """V6: which clusters are probed decides, whatever their vectors are kept in."""
    found: dict[str, float] = {}
    for storage in ("float32", "float16"):
        options = FaissOptions("ivf", storage)
        with FaissVectorIndex(tmp_path / storage, spec_of(metric), options=options) as index:
            fill_with(index, near_duplicates(spread, 600, 6))
            found[storage] = strict_recall(index, [*near_duplicates(spread, 20, 7)])
    assert found["float16"] >= found["float32"] > 0.5


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_vectors_that_are_all_zero_are_found(place: Place, metric: str) -> None:
    """V4: none has a length that another could be compared with."""
    with place.open("hnsw", metric=metric) as index:
        fill_with(index, np.zeros((600, DIMENSION)))
        assert Oracle.of(index).search(np.ones(DIMENSION)) == 1
        assert built_of(index).count == 600  # type: ignore[union-attr]


@pytest.mark.parametrize("length", [1e-6, 0.0, 1e6])
def test_the_length_of_a_query_changes_no_order_of_products(place: Place, length: float) -> None:
    """V4, V6: nor do the distances of a graph lose the product of a short one."""
    with place.open("hnsw", "float16", "dot") as index:
        index.bulk_load((USER, one) for one in crowd(1200))
        index.optimize(USER)
        asked = [length * query for query in queries(crowd(1200), 20)]
        assert strict_recall(index, asked) >= index.capabilities.min_recall


def test_what_float16_can_not_hold_is_searched_exactly(place: Place) -> None:
    """V6: until the next optimize, by which all are made shorter."""
    given = crowd(1200)
    index = place.open("hnsw", "float16", "euclidean")
    index.bulk_load((USER, one) for one in given)
    index.optimize(USER)
    far = VectorRecord(given[0].id, 1e4 * np.asarray(given[0].vector), "s1", "user", "far")
    index.upsert(USER, [far, given[1]])
    assert index.search(USER, far.vector, 1).hits[0].text == "far"
    assert matrix_of(index).pending == 0
    assert built_of(index).count == 1200  # type: ignore[union-attr]
    assert recall(index) >= 0.95
    index.delete(USER, [far.id])
    index.optimize(USER)
    assert recall(index) >= 0.95


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("kind", "storage"), [("hnsw", "float32"), ("flat", "float16")])
def test_a_forked_child_does_not_wait_for_threads_that_it_does_not_have(
    place: Place, kind: str, storage: str
) -> None:
    """A16: FAISS used threads in the parent; in the child there is none of them."""
    index = place.open(kind, storage)
    index.bulk_load((USER, one) for one in crowd(1200))
    index.optimize(USER)
    recall(index)

    def search() -> None:  # pragma: no cover - a child, which ends without a word
        assert recall(index) >= 0.95
        for _ in range(3):
            recall(index)

    assert in_a_child(search)


def test_progress_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """S13."""
    monkeypatch.setattr(index_module, "_SLICE_SECONDS", 1e-9)
    monkeypatch.setattr(
        matrix.FaissMatrix.absorb, "__kwdefaults__", {"starting": True, "at_once": 500}
    )
    index = place.open("flat", "int8")
    index.bulk_load((USER, one) for one in crowd(1200))
    told: list[tuple[int, int | None]] = []
    index.optimize(USER, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1000, 1200)
    assert matrix_of(index).pending == 0


def test_a_flat_index_of_floats_is_one_matrix_product(place: Place) -> None:
    """V3: exact, and nothing to build; it is faster than FAISS's own."""
    index = place.open("flat")
    index.bulk_load((USER, one) for one in crowd(1200))
    index.optimize(USER)
    assert recall(index) == 1
    assert not place.snapshot.exists()
    assert index.delete_session(USER, "s1") == 240
    assert recall(index) == 1


def test_filters_that_leave_little_are_answered_exactly(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V5: also where they leave out all that is not in the index yet."""
    given = crowd(1200)
    index = place.open("ivf")
    index.bulk_load((USER, one) for one in given[:1000])
    index.optimize(USER)
    monkeypatch.setattr(matrix, "_ABSORB_SECONDS", 0)
    monkeypatch.setitem(matrix._GENTLY, "ivf", 1)  # noqa: SLF001 - a search puts one row
    index.upsert(USER, given[1000:])
    assert recall(index, Where(until=START + timedelta(seconds=50))) == 1
    assert recall(index, Where(until=START + timedelta(seconds=900))) >= 0.95
    assert recall(index, Where(since=START + timedelta(seconds=900))) == 1
    assert recall(index) >= 0.95
    assert 1000 < built_of(index).count < 1200  # type: ignore[union-attr]


def test_what_comes_and_goes_between_two_searches_leaves_no_grave(place: Place) -> None:
    given = crowd(1200)
    index = place.open("hnsw")
    index.upsert(USER, given[:300])
    recall(index)
    index.upsert(USER, given[300:301])
    index.delete(USER, [given[300].id])
    assert index.search(USER, given[300].vector, 100, effort=1).examined == 300
    assert len(matrix_of(index)) == 300


def test_parts_of_a_graph_that_nothing_leads_to_are_searched_exactly(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V3: FAISS answers -1 then."""
    index = place.open("hnsw")
    index.upsert(USER, crowd(1200)[:300])
    recall(index)
    original = Asking.labels
    for left, least in ((11, 0.95), (3, 1.0)):

        def lose(self: Asking, parameters: object, left: int = left) -> NDArray[np.int64]:
            labels = original(self, parameters)
            labels[left:] = -1
            return labels

        monkeypatch.setattr(Asking, "labels", lose)
        assert recall(index) >= least


def test_a_quantizer_learns_from_a_part_of_many(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "_TRAINING", 500)
    index = place.open("flat", "int8")
    index.bulk_load((USER, one) for one in crowd(1200))
    assert recall(index) >= 0.95


def test_the_scratch_file_takes_its_room_at_once(tmp_path: Path) -> None:
    """B5: a full disk raises an error there; later it would end the process."""
    rows = np.ones((3, 4), np.float32)
    grown = on_disk(str(tmp_path), rows, 10)
    assert (grown[:3] == rows).all()
    assert grown.shape == (10, 4)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"."):
        on_disk(str(tmp_path), rows, 2**55)
