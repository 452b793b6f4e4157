"""The contract of vector indexes, held against FAISS's kinds of index and storages.

Three suites stand for all: a graph of halves, clusters of bytes, and bits; beside an exact index
there is a graph of floats, too. Each kind and storage is held to its recall in ``tests/faiss``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from ialstore.testing import VectorDifferentialSuite, VectorIndexSuite
from ialstore.testing.vector.base import MakeIndex
from ialstore_backends.faiss import FaissOptions, FaissVectorIndex, matrix
from ialstore_backends.faiss.recipes import Recipe
from ialstore_backends.memory import MemoryVectorIndex

pytestmark = pytest.mark.no_cover


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small users have an index, whole in the first search; else few tests would meet one."""
    monkeypatch.setattr(matrix, "LEAST", 20)
    monkeypatch.setattr(matrix, "_ABSORB_SECONDS", 60)
    monkeypatch.setattr(Recipe, "starts_by_itself", True)


class TestGraph(VectorIndexSuite):
    @pytest.fixture
    def make_index(self, tmp_path: Path) -> MakeIndex:
        return partial(FaissVectorIndex, tmp_path / "faiss", options=FaissOptions("hnsw"))


class TestClustersOfBytes(VectorIndexSuite):
    MACHINE_SHARE = 1 / 8

    @pytest.fixture
    def make_index(self, tmp_path: Path) -> MakeIndex:
        return partial(FaissVectorIndex, tmp_path / "faiss", options=FaissOptions("ivf", "int8"))


class TestBits(VectorIndexSuite):
    MACHINE_SHARE = 1 / 8

    @pytest.fixture
    def make_index(self, tmp_path: Path) -> MakeIndex:
        return partial(FaissVectorIndex, tmp_path / "faiss", options=FaissOptions("flat", "rabitq"))


class TestBesideAnExactIndex(VectorDifferentialSuite):
    @pytest.fixture
    def make_indexes(self, tmp_path: Path) -> Mapping[str, MakeIndex]:
        return {
            "memory": MemoryVectorIndex,
            "flat": partial(
                FaissVectorIndex,
                tmp_path / "flat",
                options=FaissOptions("flat", synchronous="normal"),
            ),
            "hnsw": partial(
                FaissVectorIndex,
                tmp_path / "hnsw",
                options=FaissOptions("hnsw", "float32", synchronous="normal"),
            ),
            "ivf": partial(
                FaissVectorIndex,
                tmp_path / "ivf",
                options=FaissOptions("ivf", "rabitq", synchronous="normal"),
            ),
        }
