"""The contract of vector indexes, on DynamoDB's two emulators."""

from __future__ import annotations

from typing import Any

import pytest

from ialstore.testing import VectorIndexSuite
from ialstore.testing.servers import RunningServer
from ialstore.testing.vector.base import MakeIndex, Settle
from ialstore.vector_model import IndexSpec
from ialstore_backends.lsh import LshDynamoIndex, LshOptions

PATIENCE_SECONDS = 30
"""On a busy machine an emulator takes seconds for a thousand deletes."""


def opener(prefix: str, server: RunningServer, **options: Any) -> MakeIndex:
    """Return what opens the index of a table of its own."""
    chosen = LshOptions(endpoint=server.endpoint, **options)

    def make(spec: IndexSpec, **settings: Any) -> LshDynamoIndex:
        return LshDynamoIndex(prefix, spec, chosen, timeout_seconds=PATIENCE_SECONDS, **settings)

    return make


class TestDynoxide(VectorIndexSuite):
    """Searches go through the index, which the emulators keep up with the table."""

    @pytest.fixture
    def make_index(self, dynoxide: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynoxide, chunks=2, strong_reads=False)

    @pytest.fixture
    def settle(self) -> Settle:
        return lambda _: None


class TestDynamoDBLocal(VectorIndexSuite):
    """Searches read rows."""

    @pytest.fixture
    def make_index(self, dynamodb_local: RunningServer, prefix: str) -> MakeIndex:
        return opener(prefix, dynamodb_local, chunks=3, codec="float16", compression="zlib")
