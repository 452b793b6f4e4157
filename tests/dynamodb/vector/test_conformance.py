"""The contract of vector indexes, on the one emulator that has vector indexes."""

from __future__ import annotations

from typing import Any

import pytest

from ialstore.testing import VectorIndexSuite
from ialstore.testing.servers import RunningServer
from ialstore.testing.vector.base import MakeIndex, Settle
from ialstore.testing.vector.expiry import ExpiryChapter, IsolationChapter
from ialstore.testing.vector.machine import MachineChapter
from ialstore.testing.vector.search import SearchChapter
from ialstore.vector_model import IndexSpec
from ialstore_backends.dynamodb_vector import DynamoVectorIndex, VectorOptions
from tests.conformance.brief import OneMetric, OtherMetrics

PATIENCE_SECONDS = 30
"""On a busy machine an emulator takes seconds for a thousand deletes."""


def opener(prefix: str, server: RunningServer, **options: Any) -> MakeIndex:
    """Return what opens the index of a table of its own."""
    chosen = VectorOptions(endpoint=server.endpoint, **options)

    def make(spec: IndexSpec, **settings: Any) -> DynamoVectorIndex:
        return DynamoVectorIndex(prefix, spec, chosen, timeout_seconds=PATIENCE_SECONDS, **settings)

    return make


class Eventual:
    """Answers of the index as they are; the emulator keeps it up with the table."""

    @pytest.fixture
    def make_index(self, dynoxide: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynoxide, strong_reads=False)

    @pytest.fixture
    def settle(self) -> Settle:
        return lambda _: None


@pytest.mark.no_cover
class TestEventual(Eventual, OneMetric, VectorIndexSuite):
    MACHINE_SHARE = 1 / 20


class TestEventualOfOtherMetrics(Eventual, OtherMetrics, SearchChapter):
    """The server has indexes of two kinds, and scores of its own."""


@pytest.mark.no_cover
class TestStrong(  # pytest begins with the last
    OneMetric, IsolationChapter, ExpiryChapter, MachineChapter
):
    """Answers of the index are merged with what was written last, and read again.

    The chapters that store thousands at once are not for it: all of that was written last.
    """

    MACHINE_SHARE = 1 / 20

    @pytest.fixture
    def make_index(self, dynoxide: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynoxide, chunks=2)
