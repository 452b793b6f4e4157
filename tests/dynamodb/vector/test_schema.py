"""``setup`` and ``check`` of a table with a vector index."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.session import Session

from ialstore import ConfigurationError, IndexSpec, InvalidInputError, StoreNotReadyError
from ialstore.testing.proxy import Decision, FaultProxy, ProxiedRequest, Rewrite
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, X
from ialstore_backends.dynamodb_vector import DynamoVectorIndex, VectorOptions
from ialstore_backends.dynamodb_vector.table import VECTOR_INDEX

FILTERS = "with user_chunk HASH, session_id INLINE_FILTER, role INLINE_FILTER"


def lines(index: DynamoVectorIndex) -> list[str]:
    return [line.removeprefix(f"{index.table}: ") for line in index.check()]


def test_nothing_is_created_unless_asked(dynoxide: RunningServer, prefix: str) -> None:
    """S15: `capabilities.needs_setup`."""
    options = VectorOptions(endpoint=dynoxide.endpoint)
    with DynamoVectorIndex(prefix, spec_of("cosine"), options) as index:
        with pytest.raises(StoreNotReadyError, match="run ialstore setup"):
            index.search(USER, X)
        assert index.check() == [f"{index.table} is not there; run ialstore setup"]
        index.setup()
        index.setup()
        assert index.check() == []


def test_check_names_each_difference(index: DynamoVectorIndex, prefix: str) -> None:
    """V1, S15: of the indexes, the options and the spec."""
    endpoint = index._table.client.endpoint  # noqa: SLF001 - that of the server
    options = VectorOptions(endpoint=endpoint, chunks=3, strong_reads=False)
    with DynamoVectorIndex(prefix, IndexSpec(8, "dot"), options) as other:
        by = "numbers of vector by"
        assert lines(other) == [
            "chunks is 2, not 3",
            "strong_reads is 1, not 0",
            "index WrittenIndex is there, though the options switch it off",
            f"index VectorIndex has 24 {by} COSINE, {FILTERS}, not 8 {by} DOT_PRODUCT, {FILTERS}",
        ]
        with pytest.raises(ConfigurationError, match="chunks is 2, not 3"):
            other.count(USER)


def test_a_vector_index_of_others_is_not_ours(dynoxide: RunningServer, prefix: str) -> None:
    """S15: another projection, no filters, no index of what was written last."""
    client: Any = Session().create_client("dynamodb", "us-east-1", endpoint_url=dynoxide.endpoint)
    options = VectorOptions(endpoint=dynoxide.endpoint)
    with DynamoVectorIndex(prefix, spec_of("cosine"), options) as index:
        client.create_table(
            TableName=index.table,
            KeySchema=[
                {"AttributeName": "user_chunk", "KeyType": "HASH"},
                {"AttributeName": "embedding_id", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "user_chunk", "AttributeType": "S"},
                {"AttributeName": "embedding_id", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
            VectorIndexes=[
                {
                    "IndexName": VECTOR_INDEX,
                    "VectorAttribute": {"AttributeName": "vector"},
                    "Dimensions": 24,
                    "DistanceFunction": "COSINE",
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
        found = lines(index)
    by = "24 numbers of vector by COSINE"
    assert found == [
        "it was not set up by ialstore; run ialstore setup",
        "index WrittenIndex is missing",
        f"index VectorIndex has {by}, with no filters, not {by}, {FILTERS}",
        "index VectorIndex projects KEYS_ONLY, not INCLUDE expires_at, text",
        "expiry follows no attribute, not expires_at",
    ]


def test_setup_waits_until_the_vector_index_is_active(dynoxide: RunningServer, prefix: str) -> None:
    """A12: adding one takes minutes."""
    described = 0

    def creating(body: bytes) -> bytes:
        nonlocal described
        described += 1
        if described > 2:
            return body
        return body.replace(b'"IndexStatus":"ACTIVE"', b'"IndexStatus":"CREATING"')

    def decide(request: ProxiedRequest) -> Decision:
        return Rewrite(reply=creating) if request.operation == "DescribeTable" else None

    with FaultProxy(dynoxide.port, decide) as proxy:
        options = VectorOptions(endpoint=proxy.endpoint)
        with DynamoVectorIndex(prefix, spec_of("cosine"), options) as index:
            index.setup()
            assert described > 2
            described = 1
            assert lines(index) == ["index VectorIndex is CREATING"]


def test_a_service_without_vector_indexes_is_no_place_for_one(
    dynamodb_local: RunningServer, prefix: str
) -> None:
    """S15: such as DynamoDB Local 3.1.0; the error says so."""
    options = VectorOptions(endpoint=dynamodb_local.endpoint)
    with DynamoVectorIndex(prefix, spec_of("cosine"), options, timeout_seconds=30) as index:
        with pytest.raises(StoreNotReadyError, match="not every service has vector indexes"):
            index.setup()
        assert index.check() == [f"{index.table} is not there; run ialstore setup"]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"chunks": 0}, "chunks must be 1 to 100"),
        ({"chunks": 101}, "chunks must be 1 to 100"),
        ({"lag_seconds": 0}, "lag_seconds must be 1 to 86400"),
        ({"lag_seconds": 86_401}, "lag_seconds must be 1 to 86400"),
        ({"billing": "provisioned"}, "billed on-demand"),
        ({"tags": "x"}, "tags are key:value"),
    ],
    ids=str,
)
def test_options_out_of_bounds_are_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInputError, match=fault):
        VectorOptions(**given)


@pytest.mark.parametrize(("strong", "seconds"), [(True, 31), (False, 0)])
def test_strong_searches_cost_more_until_the_index_shows_a_write(
    *, strong: bool, seconds: float
) -> None:
    options = VectorOptions(region="eu-west-1", lag_seconds=30, strong_reads=strong)
    with DynamoVectorIndex("p-", spec_of("cosine"), options) as index:
        assert index.capabilities.settling_seconds == seconds
