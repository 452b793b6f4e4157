"""Faults between the index and the service, by a proxy in front of a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from ialstore import Consistency, CorruptError
from ialstore.testing.proxy import FaultProxy, Instead
from ialstore.testing.servers import RunningServer
from ialstore.testing.vector.base import USER, X
from ialstore_backends.dynamodb_vector import DynamoVectorIndex, VectorOptions
from tests.dynamodb.vector_faults import Place, VectorTableFaults
from tests.harm import failing


class TestFaults(VectorTableFaults):
    """A search asks both partitions; a strong one both for what is new, and then reads rows."""

    REQUESTS: ClassVar = {Consistency.STRONG: 5, Consistency.EVENTUAL: 2}
    BATCHED: ClassVar = Consistency.STRONG

    @pytest.fixture
    def place(
        self, dynoxide: RunningServer, index: DynamoVectorIndex, prefix: str, record: Any
    ) -> Iterator[Place]:
        there = [record(X, text="x" * 500) for _ in range(30)]
        index.upsert(USER, there)
        with FaultProxy(dynoxide.port) as proxy:
            options = VectorOptions(endpoint=proxy.endpoint, chunks=2)

            def another() -> DynamoVectorIndex:
                return DynamoVectorIndex(prefix, index.spec, options)

            with another() as behind:
                behind.count("nobody")  # reads what the table was made for
                yield Place(behind, index, proxy, there, another)

    @pytest.mark.parametrize(
        ("consistency", "result"),
        [
            (Consistency.STRONG, {}),
            (Consistency.STRONG, {"Score": "near", "Item": {}}),
            (Consistency.STRONG, {"Score": 0.5, "Item": {}}),
            (Consistency.STRONG, {"Score": 0.5, "Item": []}),
            (Consistency.EVENTUAL, {"Item": {"embedding_id": {"S": "x"}}}),
            (Consistency.EVENTUAL, {"Score": 0.5, "Item": {}}),
            (Consistency.EVENTUAL, {"Score": 0.5, "Item": {"embedding_id": {"S": "x"}}}),
        ],
        ids=str,
    )
    def test_an_answer_that_makes_no_sense_is_an_error(
        self, place: Place, consistency: Consistency, result: dict[str, Any]
    ) -> None:
        """C5, A8: of the vector index; a strong search asks it for ids alone."""
        reply = {"SearchResults": [result], "ConsumedCapacity": {"VectorSearchRequestBytes": 1}}
        place.proxy.decide = failing(Instead(200, json.dumps(reply).encode()), "SearchVectors")
        with pytest.raises(CorruptError):
            place.index.search(USER, X, consistency=consistency)
