"""What an index on FAISS says that it takes, against what it does take."""

from __future__ import annotations

from pathlib import Path

import pytest

from ialstore.estimate import Workload, sample_records
from ialstore.url import StoreURL
from ialstore.vector_model import IndexSpec
from ialstore_backends.faiss import FaissOptions, FaissVectorIndex
from ialstore_backends.faiss.recipes import LEAST

COUNT = LEAST + 100
DIMENSION = 32


@pytest.fixture(autouse=True)
def small() -> None:
    """Small users have no index, as everywhere but in other tests."""


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_the_disk_and_the_memory_are_those_of_an_index_that_is_optimized(
    kind: str, tmp_path: Path
) -> None:
    url = StoreURL.parse(f"faiss:///{tmp_path.name}?kind={kind}")
    workload = Workload(
        users=1, turns_per_day=COUNT / 2, dimension=DIMENSION, message_bytes=50, retention_days=None
    )
    said = FaissVectorIndex.estimate(url, workload, age_days=1)
    stored = {one.place: one.bytes_per_user for one in said.stored}
    path = tmp_path / "index"
    options = url.options(FaissOptions)
    with FaissVectorIndex(path, IndexSpec(DIMENSION), options=options) as index:
        index.setup()
        records = sample_records(COUNT, DIMENSION, 50, is_kept=True)
        index.bulk_load(("u", one) for one in records)
        index.optimize("u")
        held = index.held_bytes
    (file,) = path.glob("*.faiss")
    assert stored["disk, indexes"] == pytest.approx(file.stat().st_size, rel=0.1)
    assert stored["disk, vectors"] == pytest.approx((path / "vectors.db").stat().st_size, rel=0.1)
    assert said.held_bytes_per_user == pytest.approx(held, rel=0.1)


def test_long_vectors_of_coarse_storages_are_not_held_in_memory() -> None:
    """From 16 MiB of a user on they lie on the disk."""
    workload = Workload(turns_per_day=2000, dimension=1100)
    held = {
        storage: FaissVectorIndex.estimate(
            StoreURL.parse(f"faiss:///x?storage={storage}"), workload, age_days=1
        ).held_bytes_per_user
        for storage in ("float32", "float16", "int8")
    }
    assert held["float32"] - held["float16"] == pytest.approx(4000 * 1100 * 2, rel=0.01)
    assert held["float16"] - held["int8"] == pytest.approx(4000 * 1100 * (4 + 1), rel=0.01)


@pytest.mark.parametrize(("kind", "days"), [("hnsw", 1), ("flat", 100)])
def test_what_is_searched_exactly_has_no_file_of_an_index(kind: str, days: int) -> None:
    url = StoreURL.parse(f"faiss:///x?kind={kind}")
    workload = Workload(turns_per_day=40, dimension=DIMENSION)
    said = FaissVectorIndex.estimate(url, workload, age_days=days)
    assert [one.place for one in said.stored] == ["disk, vectors"]


def test_what_is_searched_exactly_holds_no_index(tmp_path: Path) -> None:
    """Below a number of vectors all kinds hold the same."""
    held: set[int] = set()
    for kind in ("flat", "hnsw", "ivf"):
        options = FaissOptions(kind, "float32")
        with FaissVectorIndex(tmp_path / kind, IndexSpec(DIMENSION), options=options) as index:
            records = sample_records(LEAST - 1, DIMENSION, 50, is_kept=True)
            index.bulk_load(("u", one) for one in records)
            index.search("u", records[0].vector)
            held.add(index.held_bytes)
    assert max(held) == pytest.approx(min(held), rel=0.05)
