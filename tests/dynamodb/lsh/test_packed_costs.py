"""What searches of the layout ``packed`` cost: never more than all rows, and what was predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from botocore.session import Session

from ialstore import Consistency, IndexSpec, Units, VectorRecord, Where, meter
from ialstore.ids import message_id
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.servers import RunningServer
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.packed import rebuilding

DIMENSION = 48
TEXT = "x" * 500
EVENTUAL = Consistency.EVENTUAL

Open = Callable[..., LshDynamoIndex]


@pytest.fixture
def opened(dynoxide: RunningServer, prefix: str, clock: ManualClock) -> Iterator[Open]:
    """Return what opens the index of another process on the same table."""
    made: list[LshDynamoIndex] = []

    def opened(chunks: int = 1) -> LshDynamoIndex:
        options = LshOptions(endpoint=dynoxide.endpoint, layout="packed", chunks=chunks)
        spec = IndexSpec(DIMENSION)
        made.append(LshDynamoIndex(prefix, spec, options, clock=clock, timeout_seconds=20))
        return made[-1]

    yield opened
    for index in made:
        index.close()


def uniform(count: int) -> list[VectorRecord]:
    """Return records of vectors without structure, a minute apart: the dearest to search."""
    vectors = np.random.default_rng(4).standard_normal((count, DIMENSION))
    return [
        VectorRecord(
            message_id("u", "s", START + timedelta(minutes=n), "user", str(n)),
            vector,
            "s",
            "user",
            TEXT,
        )
        for n, vector in enumerate(vectors)
    ]


def measured(call: Callable[[], object]) -> Units:
    with meter() as metered:
        call()
    return metered.units


def read_by_first_query(server: RunningServer, table: str) -> float:
    """Return what the query for head and tail takes."""
    client: Any = Session().create_client("dynamodb", "us-east-1", endpoint_url=server.endpoint)
    answer = client.query(
        TableName=table,
        KeyConditionExpression="user_chunk = :p AND embedding_id BETWEEN :a AND :b",
        ExpressionAttributeValues={":p": {"S": "u#@"}, ":a": {"S": "H"}, ":b": {"S": "U"}},
        ReturnConsumedCapacity="TOTAL",
    )
    return float(answer["ConsumedCapacity"]["CapacityUnits"])


@pytest.mark.parametrize(
    ("count", "chunks", "flat"), [(5, 1, True), (100, 10, True), (450, 1, True), (450, 10, False)]
)
def test_no_search_costs_more_than_to_read_all_rows(
    dynoxide: RunningServer,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    chunks: int,
    *,
    flat: bool,
) -> None:
    """V6: of whatever effort; besides the query that tells how many there are."""
    if not flat:
        monkeypatch.setattr(rebuilding, "FLAT_CELLS", 2)
        monkeypatch.setattr(rebuilding, "_UNIT_BYTES", 1024)
    index = opened(chunks)
    index.setup()
    index.bulk_load(("u", one) for one in uniform(count))
    index.optimize("u", only_due=True)
    first = read_by_first_query(dynoxide, index.table)
    query = np.random.default_rng(5).standard_normal(DIMENSION)
    for where in (Where(), Where(since=START + timedelta(hours=2))):
        how: dict[str, Any] = {"where": where, "consistency": EVENTUAL}
        everything = measured(partial(index.search, "u", query, 10, effort=1, **how)).read
        for effort in (0.1, 0.5, 0.7, 0.95):
            other = opened(chunks)
            other.check()
            search = partial(other.search, "u", query, 10, effort=effort, **how)
            cold, held = measured(search).read, measured(search).read
            assert held <= everything + 0.5
            if flat or where == Where():  # otherwise what passes is known when cells are read
                assert cold <= everything + first
            if effort == 0.1 and count == 450:
                assert cold < everything / 2, "codes are cheaper"
