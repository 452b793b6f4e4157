"""The contract of vector indexes, on DynamoDB's two emulators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ialstore.testing import VectorDifferentialSuite, VectorIndexSuite
from ialstore.testing.servers import RunningServer
from ialstore.testing.vector.base import MakeIndex, Settle, VectorSuiteBase
from ialstore.testing.vector.expiry import ExpiryChapter, IsolationChapter
from ialstore.testing.vector.filters import FiltersChapter
from ialstore.testing.vector.recall import RecallChapter
from ialstore.testing.vector.removing import RemovingChapter
from ialstore.testing.vector.search import SearchChapter
from ialstore.vector_model import IndexSpec
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.memory import MemoryVectorIndex
from tests.conformance.brief import OneMetric, OtherMetrics

PATIENCE_SECONDS = 30
"""On a busy machine an emulator takes seconds for a thousand deletes."""


def opener(prefix: str, server: RunningServer, **options: Any) -> MakeIndex:
    """Return what opens the index of a table of its own."""
    chosen = LshOptions(endpoint=server.endpoint, **options)

    def make(spec: IndexSpec, **settings: Any) -> LshDynamoIndex:
        return LshDynamoIndex(prefix, spec, chosen, timeout_seconds=PATIENCE_SECONDS, **settings)

    return make


@pytest.mark.no_cover
class TestDynoxide(OneMetric, VectorIndexSuite):
    """Searches go through the index, which the emulators keep up with the table."""

    MACHINE_SHARE = 1 / 15

    @pytest.fixture
    def make_index(self, dynoxide: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynoxide, chunks=2, strong_reads=False)

    @pytest.fixture
    def settle(self) -> Settle:
        return lambda _: None


class Packed:
    """The layout ``packed``."""

    @pytest.fixture
    def make_index(self, dynoxide: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynoxide, layout="packed", chunks=2)


@pytest.mark.no_cover
@pytest.mark.usefixtures("by_codes")
class TestPacked(Packed, OneMetric, VectorIndexSuite):
    """By codes."""

    MACHINE_SHARE = 1 / 15


@pytest.mark.no_cover
@pytest.mark.usefixtures("by_codes")
class TestPackedOfOtherMetrics(Packed, OtherMetrics, SearchChapter):
    """By codes, whose estimates are calibrated for each metric in its own way."""

    test_the_recall_is_what_the_index_stands_for = (
        RecallChapter.test_the_recall_is_what_the_index_stands_for
    )


@pytest.mark.usefixtures("by_codes")
class TestPackedMeasured(Packed, VectorSuiteBase):
    """Of what is not measured elsewhere, the test that meets what others of the layout don't."""

    test_a_search_that_is_asked_again_sees_what_was_written = (
        SearchChapter.test_a_search_that_is_asked_again_sees_what_was_written
    )


@pytest.mark.no_cover
class TestPackedAsItIsCheaper(Packed, OneMetric, FiltersChapter, SearchChapter):
    """Of users of few vectors, searches read all rows."""


class OnDynamoDBLocal:
    """Searches read rows."""

    @pytest.fixture
    def make_index(self, dynamodb_local: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynamodb_local, chunks=3, codec="float16", compression="zlib")


class PackedOnDynamoDBLocal:
    @pytest.fixture
    def make_index(self, dynamodb_local: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynamodb_local, layout="packed", chunks=3, codec="float16")


class WhereServersCouldDiffer(  # pytest begins with the last
    OneMetric, IsolationChapter, ExpiryChapter, RemovingChapter, FiltersChapter, SearchChapter
):
    """A few chapters."""


@pytest.mark.no_cover
class TestDynamoDBLocal(OnDynamoDBLocal, WhereServersCouldDiffer):
    pass


@pytest.mark.no_cover
class TestPackedOnDynamoDBLocal(PackedOnDynamoDBLocal, WhereServersCouldDiffer):
    pass


@pytest.mark.no_cover
@pytest.mark.nightly
class TestAllOnDynamoDBLocal(OnDynamoDBLocal, VectorIndexSuite):
    MACHINE_SHARE = 1 / 15


@pytest.mark.no_cover
@pytest.mark.nightly
class TestAllPackedOnDynamoDBLocal(PackedOnDynamoDBLocal, VectorIndexSuite):
    MACHINE_SHARE = 1 / 15


@pytest.mark.no_cover
class TestBesideExactSearch(VectorDifferentialSuite):
    """All ways of a search beside an index that is exact."""

    MACHINE_SHARE = 1 / 15

    @pytest.fixture
    def make_indexes(self, dynoxide: RunningServer, prefix: str) -> Mapping[str, MakeIndex]:
        return {
            "memory": MemoryVectorIndex,
            "rows": opener(f"{prefix}rows-", dynoxide, chunks=2, codec="float32"),
            "cells": opener(f"{prefix}cells-", dynoxide, chunks=2, strong_reads=False),
            "packed": opener(f"{prefix}packed-", dynoxide, layout="packed", codec="float32"),
        }

    @pytest.fixture
    def settles(self) -> Mapping[str, Settle]:
        return {"cells": lambda _: None}
