"""Which way a search takes, and what it sees of an index that is behind its table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import numpy as np
import pytest
from botocore.session import Session

from ialstore import (
    Consistency,
    CorruptError,
    IndexSpec,
    LimitExceededError,
    Where,
    meter,
    open_index,
)
from ialstore.events import OperationEvent
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.proxy import Decision, FaultProxy, ProxiedRequest, Rewrite
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, X, Y, Z
from ialstore.testing.vector.crowd import crowd
from ialstore.testing.vector.oracle import Oracle
from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable
from ialstore_backends.dynamodb_vector import DynamoVectorIndex, VectorOptions

STRONG, EVENTUAL = Consistency.STRONG, Consistency.EVENTUAL


@pytest.fixture
def events(index: DynamoVectorIndex) -> list[OperationEvent]:
    found: list[OperationEvent] = []
    index.subscribe(found.append)
    return found


@pytest.fixture
def client(dynoxide: RunningServer) -> Any:
    """Return a client of botocore, to write what no index would."""
    return Session().create_client("dynamodb", "us-east-1", endpoint_url=dynoxide.endpoint)


def key(index: DynamoVectorIndex, one: str) -> dict[str, Any]:
    return cast("EmbeddingTable", index._table).chunks.key(USER, one)  # noqa: SLF001 - where the row lies


def test_a_search_goes_over_the_index_as_long_as_that_can_answer(
    index: DynamoVectorIndex, events: list[OperationEvent], clock: ManualClock
) -> None:
    """V3: the hundred nearest are looked through; where too few pass, the rows answer."""
    records = crowd(900)
    index.bulk_load((USER, one) for one in records)
    clock.advance(61)
    oracle = Oracle.of(index)
    half = Where(since=START + timedelta(seconds=450))
    late = Where(since=START + timedelta(seconds=890))
    plans = {
        "all": (Where(), {}, ("VectorIndex", 1)),
        "a role": (Where(roles=["user"]), {}, ("VectorIndex", 1)),
        "roles": (Where(roles=["user", "assistant"]), {}, ("VectorIndex", 1)),
        "half of the time": (half, {}, ("VectorIndex", 1)),
        "the last seconds": (late, {}, ("rows", 1)),
        "the best there is": (Where(), {"effort": 1}, ("rows", 0)),
    }
    for what, (where, given, wanted) in plans.items():
        for consistency in Consistency:
            assert oracle.search(X, 10, where, consistency=consistency, **given) == 1, what
            details = events[-1].details
            assert (details["plan"], details["rounds"]) == wanted, what


def test_a_search_asks_for_no_more_than_it_needs(
    dynoxide: RunningServer, index: DynamoVectorIndex, prefix: str, clock: ManualClock, record: Any
) -> None:
    """V3: expired entries are nearer than any other, so that k results are too few."""
    soon = clock.now + timedelta(seconds=5)
    index.upsert(USER, [record(X, expires_at=soon) for _ in range(40)])
    lasting = record(Y)
    index.upsert(USER, [lasting])
    clock.advance(5)
    with FaultProxy(dynoxide.port) as proxy:
        options = VectorOptions(endpoint=proxy.endpoint, chunks=2)
        with DynamoVectorIndex(prefix, index.spec, options, clock=clock) as behind:
            for consistency in Consistency:
                proxy.requests.clear()
                found = behind.search(USER, X, 5, consistency=consistency)
                assert [hit.id for hit in found] == [lasting.id]
                asked = [one.json() for one in proxy.requests if one.operation == "SearchVectors"]
                assert sorted(one["TopK"] for one in asked) == [5, 5, 100, 100]
                only_ids = {one.get("ProjectionExpression") for one in asked}
                assert only_ids == {"embedding_id" if consistency is STRONG else None}
            with pytest.raises(LimitExceededError, match="100"):
                behind.search(USER, X, 101)


class Frozen:
    """Shows the vector index as it was, whatever is written."""

    def __init__(self) -> None:
        self._before: dict[bytes, bytes] = {}

    def __call__(self, request: ProxiedRequest) -> Decision:
        if request.operation != "SearchVectors":
            return None
        return Rewrite(reply=lambda body: self._before.setdefault(request.body, body))


@pytest.fixture
def frozen(
    dynoxide: RunningServer, index: DynamoVectorIndex, prefix: str, clock: ManualClock
) -> Iterator[DynamoVectorIndex]:
    """Return the index with a vector index that stays as at its first search."""
    with FaultProxy(dynoxide.port, Frozen()) as proxy:
        options = VectorOptions(endpoint=proxy.endpoint, chunks=2, lag_seconds=30)
        with DynamoVectorIndex(prefix, index.spec, options, clock=clock) as frozen:
            yield frozen


def test_a_strong_search_sees_what_the_index_does_not_know_yet(
    index: DynamoVectorIndex, frozen: DynamoVectorIndex, clock: ManualClock, record: Any
) -> None:
    """C1, V3: what is new, replaced or deleted, however old its message, for the whole lag."""
    kept, moved, gone = record(X, text="kept"), record(X, text="old"), record(X)
    index.upsert(USER, [kept, moved, gone])
    clock.advance(60)
    for consistency in Consistency:
        assert len(frozen.search(USER, X, 9, consistency=consistency)) == 3
    new = record(X)
    index.upsert(USER, [new, record(Y, id=moved.id, text="newer")])
    index.delete(USER, [gone.id])
    for seconds in (0, 30):
        clock.advance(seconds)
        found = frozen.search(USER, X, 9)
        assert {hit.id for hit in found.hits[:2]} == {kept.id, new.id}
        assert [(hit.id, hit.text) for hit in found.hits[2:]] == [(moved.id, "newer")]
        assert found.hits[2].score == pytest.approx(0, abs=1e-6)
    stale = {hit.id: hit.text for hit in frozen.search(USER, X, 9, consistency=EVENTUAL)}
    assert stale == {kept.id: "kept", moved.id: "old", gone.id: None}


def test_an_index_that_is_further_behind_than_told_is_believed(
    index: DynamoVectorIndex, frozen: DynamoVectorIndex, clock: ManualClock, record: Any
) -> None:
    """C1: the bound of strong searches, as docs/dynamodb-vector.md says it."""
    assert frozen.search(USER, X).hits == ()
    one = record(X)
    index.upsert(USER, [one])
    clock.advance(30)
    assert [hit.id for hit in frozen.search(USER, X)] == [one.id]
    clock.advance(1)
    assert frozen.search(USER, X).hits == ()
    assert [hit.id for hit in frozen.search(USER, X, effort=1)] == [one.id]


def test_a_load_tells_when_it_wrote_and_not_when_it_began(
    frozen: DynamoVectorIndex, clock: ManualClock, record: Any
) -> None:
    """C1: it may take longer than the lag."""
    assert frozen.search(USER, X).hits == ()
    some = [record(X) for _ in range(1001)]

    def slow() -> Iterator[Any]:
        for number, one in enumerate(some):
            if number == 1000:
                clock.advance(3600)
            yield USER, one

    frozen.bulk_load(slow())
    assert [hit.id for hit in frozen.search(USER, X)] == [some[-1].id]


def test_without_strong_reads_nothing_is_written_for_them(
    dynoxide: RunningServer, index: DynamoVectorIndex, prefix: str, record: Any
) -> None:
    """C1: each new vector costs a unit less."""
    options = VectorOptions(endpoint=dynoxide.endpoint, strong_reads=False)
    with DynamoVectorIndex(f"{prefix}2-", index.spec, options) as other:
        other.setup()
        assert not other.capabilities.strong_reads
        one = record(X)
        with meter() as with_them:
            index.upsert(USER, [one])
        with meter() as without:
            other.upsert(USER, [one])
    assert with_them.units.write - without.units.write == 1
    assert with_them.units.vector_write_bytes == without.units.vector_write_bytes


@pytest.mark.parametrize("dimension", [1, 24, 384])
def test_numbers_are_exact(
    dynoxide: RunningServer, prefix: str, record: Any, dimension: int
) -> None:
    """V4, D1: nine digits are what a float32 needs, from the smallest to the largest."""
    rng = np.random.default_rng(dimension)
    rows = rng.integers(0, 1 << 32, (20, dimension), np.uint32).view(np.float32)
    rows = np.where(np.isfinite(rows), rows, np.float32(1e-45))
    rows[0], rows[1], rows[2] = np.finfo(np.float32).max, -0.0, np.float32(1e-45)
    some = [record(row) for row in rows]
    spec = spec_of("dot") if dimension == 24 else None
    options = VectorOptions(endpoint=dynoxide.endpoint)
    with DynamoVectorIndex(prefix, spec or IndexSpec(dimension, "dot"), options) as index:
        index.setup()
        index.upsert(USER, some)
        found = index.get(USER, [one.id for one in some])
    for given, one in zip(rows, found, strict=True):
        assert one.vector.tolist() == given.tolist()


@pytest.mark.parametrize("consistency", Consistency)
def test_scores_that_the_service_cannot_tell_are_taken_from_rows(
    dynoxide: RunningServer, prefix: str, record: Any, consistency: Consistency
) -> None:
    """V4: it tells the largest float32 for any that is larger, so that its order says nothing."""
    url = f"dynamodb-vector://{prefix}?endpoint={dynoxide.endpoint}"
    some = [record(np.full(24, size)) for size in (1e37, 3e37, 2e37)]
    with open_index(url, spec_of("dot")) as index:
        index.setup()
        index.upsert(USER, some)
        found = index.search(USER, np.full(24, 1e37), 1, consistency=consistency)
    assert [hit.id for hit in found] == [some[1].id]
    assert found.hits[0].score == pytest.approx(24 * 3e74)


def test_optimize_removes_what_expired(
    index: DynamoVectorIndex, clock: ManualClock, record: Any
) -> None:
    """S13: what DynamoDB has not removed yet."""
    index.upsert(USER, [record(X), record(Y, expires_at=clock.now + timedelta(seconds=1))])
    assert index.optimize(USER).removed == 0
    clock.advance(1)
    assert index.optimize(USER).removed == 1
    assert index.count(USER) == 1


DAMAGE: dict[str, dict[str, Any]] = {
    "no vector": {"vector": {"S": "x"}},
    "a number too few": {"vector": {"L": [{"N": "1"}] * 23}},
    "no numbers": {"vector": {"L": [{"S": "x"}] * 24}},
    "zero": {"vector": {"L": [{"N": "0"}] * 24}},
    "another session": {"session_id": {"S": "s2"}},
    "an expiry that is none": {"expires_at": {"S": "1"}},
    "an expiry that is no time": {"expires_at": {"N": "1e30"}},
    "a text that is none": {"text": {"N": "1"}},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_row_is_an_error(
    dynoxide: RunningServer, index: DynamoVectorIndex, record: Any, prefix: str, damage: str
) -> None:
    """C5: never a shorter answer; a delete mends it."""
    good, bad = record(X), record(Y)
    index.upsert(USER, [good, bad])
    ((name, value),) = DAMAGE[damage].items()

    def harm(request: ProxiedRequest) -> Decision:
        """Change the row on its way: the service would not take such a vector."""
        if request.operation not in ("BatchGetItem", "GetItem", "Query", "SearchVectors"):
            return None

        def changed(body: bytes) -> bytes:
            told = json.loads(body)
            for items in (
                [told.get("Item", {})],
                *told.get("Responses", {}).values(),
                told.get("Items", []),
                [one["Item"] for one in told.get("SearchResults", [])],
            ):
                for item in items:
                    if item.get("embedding_id") == {"S": bad.id} and len(item) > 3:
                        item[name] = value
            return json.dumps(told).encode()

        return Rewrite(reply=changed)

    with FaultProxy(dynoxide.port, harm) as proxy:
        options = VectorOptions(endpoint=proxy.endpoint, chunks=2)
        with DynamoVectorIndex(prefix, index.spec, options, clock=index._clock) as harmed:  # noqa: SLF001 - the same time
            for consistency in Consistency if name != "vector" else [STRONG]:
                with pytest.raises(CorruptError, match="damaged"):
                    harmed.search(USER, X, consistency=consistency)
            with pytest.raises(CorruptError, match="damaged"):
                harmed.get(USER, [bad.id])
            assert harmed.delete(USER, [bad.id]) == 1
            assert [hit.id for hit in harmed.search(USER, X)] == [good.id]


def test_a_row_of_another_length_is_not_taken_by_the_service(
    index: DynamoVectorIndex, client: Any, record: Any
) -> None:
    """V1: not even from another program."""
    one = record(Z)
    index.upsert(USER, [one])
    with pytest.raises(client.exceptions.ClientError, match="Invalid size"):
        client.update_item(
            TableName=index.table,
            Key=key(index, one.id),
            UpdateExpression="SET vector = :v",
            ExpressionAttributeValues={":v": {"L": [{"N": "1"}]}},
        )
