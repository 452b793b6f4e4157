"""Faults between the index and the service, by a proxy in front of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from ialstore import Consistency
from ialstore.testing.proxy import FaultProxy
from ialstore.testing.servers import RunningServer
from ialstore.testing.vector.base import USER, X
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from tests.dynamodb.vector_faults import Place, VectorTableFaults


class TestFaults(VectorTableFaults):
    """Strong searches read the chunks; eventual ones their index, and rows."""

    REQUESTS: ClassVar = {Consistency.STRONG: 3, Consistency.EVENTUAL: 4}
    BATCHED: ClassVar = Consistency.EVENTUAL

    @pytest.fixture
    def place(
        self, dynoxide: RunningServer, index: LshDynamoIndex, prefix: str, record: Any
    ) -> Iterator[Place]:
        there = [record(X, text="x" * 500) for _ in range(30)]
        index.upsert(USER, there)
        with FaultProxy(dynoxide.port) as proxy:
            options = LshOptions(endpoint=proxy.endpoint, chunks=3)

            def another() -> LshDynamoIndex:
                return LshDynamoIndex(prefix, index.spec, options)

            with another() as behind:
                behind.count("nobody")  # reads what the table was made for
                yield Place(behind, index, proxy, there, another)
