"""Setting the table up, comparing it, and what it was made for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.session import Session

from ialstore import ConfigurationError, IndexSpec, StoreNotReadyError, open_index
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore_backends.lsh import LshDynamoIndex, LshOptions

SPEC = spec_of("cosine")


def client(server: RunningServer) -> Any:
    """Return a client of botocore."""
    return Session().create_client("dynamodb", "us-east-1", endpoint_url=server.endpoint)


def test_the_table_is_that_of_the_design(server: RunningServer, prefix: str) -> None:
    """Keys, index, projection and expiry; setting up again changes nothing."""
    with LshDynamoIndex(prefix, SPEC, LshOptions(endpoint=server.endpoint)) as index:
        assert index.check() == [
            f"{prefix}conversation-embeddings is not there; run ialstore setup"
        ]
        with pytest.raises(StoreNotReadyError, match="ialstore setup"):
            index.count("u")
        index.setup()
        index.setup()
        assert index.check() == []
    found = client(server).describe_table(TableName=f"{prefix}conversation-embeddings")["Table"]
    keys = {one["AttributeName"]: one["KeyType"] for one in found["KeySchema"]}
    assert keys == {"user_chunk": "HASH", "embedding_id": "RANGE"}
    (one,) = found["GlobalSecondaryIndexes"]
    assert one["IndexName"] == "SimilarityIndex"
    keys = {key["AttributeName"]: key["KeyType"] for key in one["KeySchema"]}
    assert keys == {"user_chunk": "HASH", "similarity_hash": "RANGE"}
    assert set(one["Projection"]["NonKeyAttributes"]) == {"vector_compressed", "metadata"}


def test_a_packed_table_has_no_index(dynoxide: RunningServer, prefix: str) -> None:
    """Its codes lie in rows; and neither layout is taken for the other."""
    packed = LshOptions(endpoint=dynoxide.endpoint, layout="packed")
    with LshDynamoIndex(prefix, SPEC, packed) as index:
        index.setup()
        assert index.check() == []
    found = client(dynoxide).describe_table(TableName=index.table)["Table"]
    assert "GlobalSecondaryIndexes" not in found
    with LshDynamoIndex(prefix, SPEC, replace(packed, layout="gsi")) as other:
        assert other.check() == [
            f"{index.table}: layout is packed, not gsi",
            f"{index.table}: index SimilarityIndex is missing",
        ]
        with pytest.raises(ConfigurationError, match="layout is packed, not gsi"):
            other.count("u")


@pytest.mark.parametrize(
    ("changed", "difference"),
    [({"chunks": 4}, "chunks is 3, not 4"), ({"codec": "float16"}, "codec is int8, not float16")],
    ids=["chunks", "codec"],
)
def test_a_table_of_another_layout_is_not_used(
    index: LshDynamoIndex,
    options: LshOptions,
    prefix: str,
    changed: dict[str, Any],
    difference: str,
) -> None:
    """S15: with other chunks, vectors would not be found; with another codec, get would differ."""
    with LshDynamoIndex(prefix, SPEC, replace(options, **changed)) as other:
        assert other.check() == [f"{index.table}: {difference}"]
        with pytest.raises(ConfigurationError, match=difference):
            other.count("u")


def test_a_table_of_another_spec_is_told_beside_other_differences(
    index: LshDynamoIndex, options: LshOptions, prefix: str
) -> None:
    """V1, S15: each difference once."""
    wanted = replace(options, deletion_protection=True)
    with LshDynamoIndex(prefix, IndexSpec(25), wanted) as other:
        protection, spec = other.check()
        assert protection == f"{index.table}: it is not protected from being deleted"
        assert "was made for" in spec
        with pytest.raises(ConfigurationError, match="was made for"):
            other.setup()


def test_compression_may_change_at_any_time(
    index: LshDynamoIndex, options: LshOptions, prefix: str, record: Any
) -> None:
    given = record([1.0] * 24)
    with LshDynamoIndex(prefix, SPEC, replace(options, compression="zstd")) as other:
        assert other.check() == []
        other.upsert("u", [given])
    (found,) = index.get("u", [given.id])
    assert (found.vector == given.vector).all()


def test_a_table_that_somebody_else_made_is_not_used(dynoxide: RunningServer, prefix: str) -> None:
    """S15: neither keys nor a layout."""
    client(dynoxide).create_table(
        TableName=f"{prefix}conversation-embeddings",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with LshDynamoIndex(prefix, SPEC, LshOptions(endpoint=dynoxide.endpoint)) as index:
        found = index.check()
        assert "its keys are id HASH, not user_chunk HASH, embedding_id RANGE" in found[0]
        with pytest.raises(StoreNotReadyError):
            index.count("u")


def test_a_table_without_a_layout_is_not_used(
    index: LshDynamoIndex, options: LshOptions, prefix: str, dynoxide: RunningServer
) -> None:
    key = {"user_chunk": {"S": "#"}, "embedding_id": {"S": "layout"}}
    client(dynoxide).delete_item(TableName=index.table, Key=key)
    with LshDynamoIndex(prefix, SPEC, options) as other:
        assert other.check() == [
            f"{index.table}: it was not set up by ialstore; run ialstore setup"
        ]
        with pytest.raises(StoreNotReadyError, match="not set up"):
            other.count("u")


def test_a_newer_format_is_refused(
    index: LshDynamoIndex, options: LshOptions, prefix: str, dynoxide: RunningServer
) -> None:
    """S15: by every call."""
    client(dynoxide).update_item(
        TableName=index.table,
        Key={"user_chunk": {"S": "#"}, "embedding_id": {"S": "layout"}},
        UpdateExpression="SET #f = :n",
        ExpressionAttributeNames={"#f": "format"},
        ExpressionAttributeValues={":n": {"N": "2"}},
    )
    with LshDynamoIndex(prefix, SPEC, options) as other:
        for call in (other.check, lambda: other.count("u")):
            with pytest.raises(StoreNotReadyError, match="newer"):
                call()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("layout=flat", "packed"),
        ("cache_bytes=-1", "cache_bytes must be at least 0"),
        ("chunks=0", "chunks must be 1 to 100"),
        ("chunks=101", "chunks must be 1 to 100"),
        ("codec=int4", "int8"),
        ("compression=gzip", "zlib"),
        ("chunk=3", "chunks"),
        ("endpoint=http://169.254.169.254", "link-local"),
    ],
)
def test_a_wrong_option_is_named(query: str, fault: str) -> None:
    """U1: also an endpoint that hands out credentials."""
    with pytest.raises(ConfigurationError, match=fault):
        open_index(f"lsh+dynamodb://p-?{query}", SPEC)


def test_the_url_says_how_the_index_is_opened(prefix: str, dynoxide: RunningServer) -> None:
    """U1: and what it can do follows from it."""
    url = f"lsh+dynamodb://{prefix}?endpoint={dynoxide.endpoint}&layout=gsi&codec=float32"
    with open_index(f"{url}&strong_reads=false&chunks=1", SPEC) as index:
        index.setup()
        assert index.check() == []
        said = index.capabilities
        assert (said.strong_reads, said.vector_error, said.exact) == (False, 0.0, False)
        assert (said.needs_setup, said.users, said.multi_process) == (True, True, True)
