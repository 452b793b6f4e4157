"""The contract of vector indexes, on DynamoDB's two emulators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ialstore.testing import VectorDifferentialSuite, VectorIndexSuite
from ialstore.testing.servers import RunningServer
from ialstore.testing.vector.base import MakeIndex, Settle
from ialstore.testing.vector.expiry import ExpiryChapter, IsolationChapter
from ialstore.testing.vector.filters import FiltersChapter
from ialstore.testing.vector.removing import RemovingChapter
from ialstore.testing.vector.search import SearchChapter
from ialstore.vector_model import IndexSpec
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.memory import MemoryVectorIndex

PATIENCE_SECONDS = 30
"""On a busy machine an emulator takes seconds for a thousand deletes."""


def opener(prefix: str, server: RunningServer, **options: Any) -> MakeIndex:
    """Return what opens the index of a table of its own."""
    chosen = LshOptions(endpoint=server.endpoint, **options)

    def make(spec: IndexSpec, **settings: Any) -> LshDynamoIndex:
        return LshDynamoIndex(prefix, spec, chosen, timeout_seconds=PATIENCE_SECONDS, **settings)

    return make


class _OneMetric:
    """The others are those of ``TestBesideExactSearch``, and nothing to a server."""

    @pytest.fixture
    def metric(self) -> str:
        return "euclidean"


class TestDynoxide(_OneMetric, VectorIndexSuite):
    """Searches go through the index, which the emulators keep up with the table."""

    MACHINE_SHARE = 1 / 15

    @pytest.fixture
    def make_index(self, dynoxide: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynoxide, chunks=2, strong_reads=False)

    @pytest.fixture
    def settle(self) -> Settle:
        return lambda _: None


@pytest.mark.usefixtures("by_codes")
class TestPacked(VectorIndexSuite):
    """The layout ``packed``, by codes."""

    MACHINE_SHARE = 1 / 15

    @pytest.fixture
    def make_index(self, dynoxide: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynoxide, layout="packed", chunks=2)


class TestPackedAsItIsCheaper(_OneMetric, FiltersChapter, SearchChapter):
    """The same; of users of few vectors, searches read all rows."""

    @pytest.fixture
    def make_index(self, dynoxide: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynoxide, layout="packed", chunks=2)


class TestDynamoDBLocal(  # pytest begins with the last
    _OneMetric, IsolationChapter, ExpiryChapter, RemovingChapter, FiltersChapter, SearchChapter
):
    """Searches read rows; the chapters in which the servers could differ."""

    @pytest.fixture
    def make_index(self, dynamodb_local: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynamodb_local, chunks=3, codec="float16", compression="zlib")


class TestPackedOnDynamoDBLocal(  # pytest begins with the last
    _OneMetric, IsolationChapter, ExpiryChapter, RemovingChapter, FiltersChapter, SearchChapter
):
    """The chapters in which the servers could differ."""

    @pytest.fixture
    def make_index(self, dynamodb_local: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynamodb_local, layout="packed", chunks=3, codec="float16")


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
