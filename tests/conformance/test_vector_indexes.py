"""The contract of vector indexes, held against the indexes that come with the library."""

from __future__ import annotations

from pathlib import Path

import pytest

from ialstore.testing import VectorIndexSuite
from ialstore.testing.vector.base import MakeIndex
from ialstore.wrappers.retry import RetryVectorIndex
from ialstore_backends.memory import MemoryVectorIndex
from ialstore_backends.sqlite import SqliteOptions, SqliteVectorIndex
from tests.conformance.brief import BriefIndexSuite


class TestMemory(VectorIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return MemoryVectorIndex


class TestSqlite(VectorIndexSuite):
    @pytest.fixture
    def make_index(self, tmp_path: Path) -> MakeIndex:
        return lambda spec, **settings: SqliteVectorIndex(tmp_path / "v.db", spec, **settings)


@pytest.mark.no_cover
class TestSqliteThatHoldsNothing(VectorIndexSuite):
    """It may keep nothing in memory, and searches the file block by block."""

    MACHINE_SHARE = 1 / 8

    @pytest.fixture
    def make_index(self, tmp_path: Path) -> MakeIndex:
        options = SqliteOptions(cache_mb=0)
        return lambda spec, **settings: SqliteVectorIndex(
            tmp_path / "v.db", spec, options=options, **settings
        )


@pytest.mark.no_cover
class TestRetry(BriefIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return lambda spec, **settings: RetryVectorIndex(MemoryVectorIndex(spec, **settings))
