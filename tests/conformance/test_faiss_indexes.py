"""The contract of vector indexes, held against FAISS's kinds of index and storages."""

from __future__ import annotations

from pathlib import Path

import pytest

from ialstore.testing import VectorIndexSuite
from ialstore.testing.vector.base import MakeIndex
from ialstore_backends.faiss import FaissOptions, FaissVectorIndex, matrix


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small users have an index, whole in the first search; else few tests would meet one."""
    monkeypatch.setattr(matrix, "LEAST", 20)
    monkeypatch.setattr(matrix, "_ABSORB_SECONDS", 60)


class FaissSuite(VectorIndexSuite):
    __test__ = False
    options: FaissOptions

    @pytest.fixture
    def make_index(self, tmp_path: Path) -> MakeIndex:
        return lambda spec, **settings: FaissVectorIndex(
            tmp_path / "faiss", spec, options=self.options, **settings
        )


class TestFlat(FaissSuite):
    __test__ = True
    options = FaissOptions("flat")


class TestGraph(FaissSuite):
    __test__ = True
    options = FaissOptions("hnsw")


class TestClustersOfBytes(FaissSuite):
    __test__ = True
    options = FaissOptions("ivf", "int8")


class TestBits(FaissSuite):
    __test__ = True
    options = FaissOptions("flat", "rabitq")
