"""Which way a search takes, what it reads, and that the index is never believed over the rows."""

from __future__ import annotations

import statistics
from datetime import timedelta
from typing import Any, cast

import numpy as np
import pytest
from botocore.session import Session

from ialstore import Consistency, CorruptError, OptimizeReport, Where, meter
from ialstore.events import OperationEvent
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.proxy import Decision, FaultProxy, ProxiedRequest, Rewrite
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, X, Y, Z
from ialstore.testing.vector.crowd import crowd, queries
from ialstore.testing.vector.oracle import Oracle
from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.gsi_layout import GsiLayout

STRONG, EVENTUAL = Consistency.STRONG, Consistency.EVENTUAL


@pytest.fixture
def events(index: LshDynamoIndex) -> list[OperationEvent]:
    found: list[OperationEvent] = []
    index.subscribe(found.append)
    return found


@pytest.fixture
def client(dynoxide: RunningServer) -> Any:
    """Return a client of botocore, to write what no index would."""
    return Session().create_client("dynamodb", "us-east-1", endpoint_url=dynoxide.endpoint)


def key(index: LshDynamoIndex, one: str) -> dict[str, Any]:
    return cast("EmbeddingTable", index._table).chunks.key(USER, one)  # noqa: SLF001 - where the row lies


def test_a_strong_search_reads_rows_and_an_eventual_one_the_index(
    index: LshDynamoIndex, events: list[OperationEvent]
) -> None:
    """C1: the event says which way; a beginning in time is where rows are better."""
    records = crowd(600)
    index.bulk_load((USER, one) for one in records)
    late = Where(since=START + timedelta(seconds=590))
    early = Where(until=START + timedelta(seconds=10))
    oracle = Oracle.of(index)
    with meter() as all_rows:
        index.search(USER, X)
    with meter() as cells:
        index.search(USER, X, consistency=EVENTUAL, effort=1e-9)
    with meter() as some_rows:
        assert oracle.search(X, 10, late) == 1
    for where in (late, early, Where()):
        oracle.search(X, 10, where, consistency=EVENTUAL)
    plans = [one.details["plan"] for one in events if one.operation == "search"]
    assert plans == [
        "rows",
        "SimilarityIndex",
        "rows",
        "rows",
        "SimilarityIndex",
        "SimilarityIndex",
    ]
    assert some_rows.units.read == 3  # the smallest read of each chunk
    assert all_rows.units.read > 8 * some_rows.units.read
    assert cells.units.read < all_rows.units.read / 3
    (said,) = [one for one in events if one.details.get("cells") == 8]
    assert said.details["rounds"] == 1
    assert set(said.details["units_by_partition"]) == {"SimilarityIndex"}


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("effort", [0.5, 0.9])
def test_the_recall_is_at_least_what_the_effort_aims_at(
    dynoxide: RunningServer, prefix: str, metric: str, effort: float
) -> None:
    """V6: the effort is the share of the nearest that is aimed at, and less is read for less."""
    options = LshOptions(endpoint=dynoxide.endpoint, chunks=1, strong_reads=False)
    records = crowd(1500)
    asked = queries(records, 60, 21)
    cells: list[int] = []
    with LshDynamoIndex(prefix, spec_of(metric), options, timeout_seconds=30) as index:
        index.setup()
        index.bulk_load((USER, one) for one in records)
        index.subscribe(lambda event: cells.append(event.details.get("cells", 0)))
        oracle = Oracle.of(index)
        cells.clear()
        recall = statistics.fmean(oracle.search(one, effort=effort) for one in asked)
    assert recall >= effort
    assert statistics.fmean(cells) < 64 * (0.6 if effort == 0.5 else 0.99)


def test_an_entry_that_is_behind_its_row_is_corrected(
    dynoxide: RunningServer, index: LshDynamoIndex, prefix: str, record: Any
) -> None:
    """C1, V3, V4: rows decide: a vector, text or expiry that changed, and one that went."""
    kept, moved, gone = record(X, text="kept"), record(X, text="new"), record(X)
    index.upsert(USER, [kept, moved, gone])

    def keep(request: ProxiedRequest) -> Decision:
        """Show the index as it was before the changes."""
        if request.operation != "Query":
            return None
        return Rewrite(reply=lambda body: before.setdefault(request.body, body))

    before: dict[bytes, bytes] = {}
    with FaultProxy(dynoxide.port) as proxy:
        proxy.decide = keep
        options = LshOptions(endpoint=proxy.endpoint, chunks=3)
        with LshDynamoIndex(prefix, index.spec, options) as behind:
            hits = behind.search(USER, X, 2, consistency=EVENTUAL).hits
            assert len(hits) == 2
            index.upsert(USER, [record(Y, id=moved.id, text="newer")])
            index.delete(USER, [gone.id])
            found = behind.search(USER, X, 3, consistency=EVENTUAL)
    assert [(hit.id, hit.text) for hit in found] == [(kept.id, "kept"), (moved.id, "newer")]
    assert found.hits[1].score == pytest.approx(0, abs=1e-6)


def test_expired_entries_cost_no_place(
    index: LshDynamoIndex, clock: ManualClock, record: Any
) -> None:
    """C2: although they are nearer, and still there."""
    soon = clock.now + timedelta(seconds=5)
    index.upsert(USER, [record(X, expires_at=soon) for _ in range(30)])
    lasting = record(Y)
    index.upsert(USER, [lasting])
    clock.advance(5)
    for consistency in Consistency:
        found = index.search(USER, X, 5, consistency=consistency)
        assert [hit.id for hit in found] == [lasting.id]


def test_optimize_mends_codes_and_removes_what_expired(
    index: LshDynamoIndex,
    client: Any,
    events: list[OperationEvent],
    clock: ManualClock,
    record: Any,
) -> None:
    """S13: a code that is wrong or missing hides a vector from eventual searches only."""
    wrong, bare, brief = record(X), record(Y), record(Z, expires_at=clock.now + timedelta(1))
    index.upsert(USER, [wrong, bare, brief])
    hidden = "0000" if index.search(USER, X, 1).hits[0].id != wrong.id else "ffff"
    for one, expression in ((wrong, "SET similarity_hash = :h"), (bare, "REMOVE similarity_hash")):
        values = {"ExpressionAttributeValues": {":h": {"S": hidden}}} if one is wrong else {}
        client.update_item(
            TableName=index.table, Key=key(index, one.id), UpdateExpression=expression, **values
        )
    assert bare.id not in {hit.id for hit in index.search(USER, Y, 9, consistency=EVENTUAL)}
    seen: list[int] = []
    clock.advance(86_400)
    report = index.optimize(USER, progress=lambda done, _: seen.append(done))
    assert report.removed == 1
    assert events[-1].details["mended"] == 2
    assert seen[-1] == 3
    found = index.search(USER, Y, 9, consistency=EVENTUAL)
    assert {hit.id for hit in found} == {wrong.id, bare.id}
    index.optimize(USER)
    assert events[-1].details["mended"] == 0
    index.optimize("nobody")
    index.upsert("past", [brief])
    assert index.optimize("past").removed == 1


def test_optimize_leaves_what_changed_meanwhile(
    index: LshDynamoIndex, client: Any, clock: ManualClock, record: Any
) -> None:
    """S13: safe beside writers: an expired row came back, and a vector was replaced."""
    soon = clock.now + timedelta(seconds=1)
    brief, other = record(X, expires_at=soon), record(Y)
    index.upsert(USER, [brief, other])
    client.update_item(
        TableName=index.table,
        Key=key(index, other.id),
        UpdateExpression="REMOVE similarity_hash",
    )
    clock.advance(2)
    reader = cast("GsiLayout", index._layout)._reader  # noqa: SLF001 - a writer comes in between
    rows = reader.rows_of_chunk

    def write_first(*args: Any, **given: Any) -> Any:
        found = list(rows(*args, **given))
        index.upsert(USER, [record(X, id=brief.id), record(Z, id=other.id)])
        return iter(found)

    reader.rows_of_chunk = write_first  # type: ignore[method-assign]
    assert index.optimize(USER).removed == 0
    assert index.count(USER) == 2
    assert [hit.id for hit in index.search(USER, Z, 1, consistency=EVENTUAL)] == [other.id]


DAMAGE: dict[str, dict[str, Any]] = {
    "no vector": {"vector_compressed": {"S": "x"}},
    "a vector of another length": {"vector_compressed": {"B": b"\x02" + bytes(4)}},
    "not finite": {"vector_compressed": {"B": b"\x02" + b"\xff" * 96}},
    "zero": {"vector_compressed": {"B": b"\x02" + bytes(96)}},
    "no JSON": {"metadata": {"S": "{"}},
    "no session": {"metadata": {"S": "{}"}},
    "another session": {"metadata": {"S": '{"session":"s2"}'}},
    "a session that is none": {"metadata": {"S": '{"session":1}'}},
    "a surrogate": {"metadata": {"S": '{"session":"\\ud800"}'}},
    "an expiry that is none": {"metadata": {"S": '{"session":"s1","expires":"1"}'}},
    "a text that is none": {"text": {"N": "1"}},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_row_is_an_error(
    index: LshDynamoIndex, client: Any, record: Any, damage: str
) -> None:
    """C5: never a shorter answer; a delete mends it."""
    good, bad = record(X), record(Y)
    index.upsert(USER, [good, bad])
    ((name, value),) = DAMAGE[damage].items()
    client.update_item(
        TableName=index.table,
        Key=key(index, bad.id),
        UpdateExpression="SET #n = :v",
        ExpressionAttributeNames={"#n": name},
        ExpressionAttributeValues={":v": value},
    )
    for consistency in Consistency:
        with pytest.raises(CorruptError, match="damaged"):
            index.search(USER, X, consistency=consistency)
    with pytest.raises(CorruptError, match="damaged"):
        index.get(USER, [bad.id])
    if damage in ("no JSON", "no session"):
        with pytest.raises(CorruptError, match="damaged"):
            index.delete_session(USER, "s1")
    assert index.delete(USER, [bad.id]) == 1
    assert [hit.id for hit in index.search(USER, X)] == [good.id]


def test_listings_go_over_many_pages(
    index: LshDynamoIndex, clock: ManualClock, record: Any
) -> None:
    """V7: one chunk may hold most of a page, or expired ones alone."""
    some = [record(X) for _ in range(400)]
    lopsided = [one for one in some if key(index, one.id)["user_chunk"]["S"].endswith("#0")]
    brief = [record(X, expires_at=clock.now + timedelta(seconds=1)) for _ in range(40)]
    index.upsert(USER, [*lopsided, *brief])
    clock.advance(1)
    wanted = sorted(one.id for one in lopsided)
    page = index.ids(USER, limit=50)
    assert list(page) == wanted[:50]
    rest = index.ids(USER, limit=1000, cursor=page.cursor)
    assert list(rest) == wanted[50:]
    assert index.count(USER) == len(wanted)


def test_users_are_listed_over_pages_of_the_table(index: LshDynamoIndex, record: Any) -> None:
    """S14, C6: hostile ids come back as they were given, and that of the layout is none."""
    users = [f"{one}{number}" for one in ("#", "%23", "é", "u") for number in range(3)]
    for user in users:
        index.upsert(user, [record(np.ones(24), text="x" * 2000) for _ in range(50)])
    first = index.users(limit=5)
    rest = index.users(limit=1000, cursor=first.cursor)
    assert [*first, *rest] == sorted(users)


def test_no_maintenance_is_due_where_there_are_no_codes(index: LshDynamoIndex) -> None:
    """V7: nor is it done."""
    assert not index.is_optimize_due(USER)
    assert index.optimize(USER, only_due=True) == OptimizeReport()
