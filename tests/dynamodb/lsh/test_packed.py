"""The layout ``packed`` on a server: costs, what is held, faults, expiry and repair."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from botocore.session import Session

from ialstore import (
    Consistency,
    CorruptError,
    IalStoreError,
    PartialWriteError,
    ThrottledError,
    UnavailableError,
    Units,
    VectorRecord,
    Where,
    meter,
)
from ialstore.component import Access
from ialstore.events import OperationEvent
from ialstore.ids import message_id
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.proxy import Decision, FaultProxy, Instead, ProxiedRequest, ResetAfter
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, X
from ialstore.testing.vector.crowd import crowd
from ialstore.url import StoreURL
from ialstore.vector_model import SearchResult
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.packed import entries, head, rebuilding, rows, tail_items, tail_writing
from ialstore_backends.lsh.packed.cells import Cells
from ialstore_backends.lsh.packed.codes import directions
from ialstore_backends.lsh.packed.entries import EntryFormat
from ialstore_backends.lsh.packed.prediction import PackedPrediction
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.table import PackedTable
from tests.dynamodb.harm import FAULTS
from tests.dynamodb.iam import allows
from tests.harm import failing

SPEC = spec_of("cosine")
EVENTUAL = Consistency.EVENTUAL
CODES = {"user_chunk": {"S": f"{USER}#@"}}
pytestmark = pytest.mark.usefixtures("by_codes")

Open = Callable[..., LshDynamoIndex]


@pytest.fixture
def opened(dynoxide: RunningServer, prefix: str, clock: ManualClock) -> Iterator[Open]:
    """Return what opens the index of another process on the same table."""
    made: list[LshDynamoIndex] = []

    def opened(endpoint: str = dynoxide.endpoint, **given: Any) -> LshDynamoIndex:
        options = LshOptions(endpoint=endpoint, layout="packed", chunks=2, **given)
        made.append(LshDynamoIndex(prefix, SPEC, options, clock=clock, timeout_seconds=20))
        return made[-1]

    yield opened
    for index in made:
        index.close()


@pytest.fixture
def packed(opened: Open) -> LshDynamoIndex:
    """Return an index that is set up and empty."""
    index = opened()
    index.setup()
    return index


@pytest.fixture
def client(dynoxide: RunningServer) -> Any:
    return Session().create_client("dynamodb", "us-east-1", endpoint_url=dynoxide.endpoint)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let segments take few entries, and rebuilds be due soon, in several cells."""
    monkeypatch.setattr(tail_items, "_UNIT_BYTES", 220)
    monkeypatch.setattr(tail_writing, "FIRST", 12)
    monkeypatch.setattr(rebuilding, "FIRST", 12)
    monkeypatch.setattr(rebuilding, "MIN_TAIL", 8)
    monkeypatch.setattr(rebuilding, "FLAT_CELLS", 2)
    monkeypatch.setattr(rebuilding, "_UNIT_BYTES", 160)


def found(index: LshDynamoIndex, **how: Any) -> set[str]:
    """Return what a search for everything finds by codes."""
    return {hit.id for hit in index.search(USER, np.ones(24), 100, effort=0.5, **how)}


def observed(
    index: LshDynamoIndex, call: Callable[[], SearchResult]
) -> tuple[OperationEvent, SearchResult]:
    """Return the event of a search, and its result."""
    events: list[OperationEvent] = []
    stop = index.subscribe(events.append)
    result = call()
    stop()
    (event,) = events
    return event, result


def maintained(index: LshDynamoIndex, records: Sequence[VectorRecord]) -> None:
    """Store records, with the maintenance that is due."""
    for first in range(0, len(records), 3):
        index.upsert(USER, records[first : first + 3])
        if index.is_optimize_due(USER):
            index.optimize(USER, only_due=True)


# -- costs ----------------------------------------------------------------------------------------


def test_an_upsert_takes_two_units_and_a_delete_as_well(
    packed: LshDynamoIndex, record: Any
) -> None:
    packed.upsert(USER, [record()])
    with meter() as upsert:
        packed.upsert(USER, [one := record()])
    with meter() as delete:
        packed.delete(USER, [one.id])
    assert (upsert.units.write, upsert.units.read, upsert.units.requests) == (2, 0, 2)
    assert (delete.units.write, delete.units.read, delete.units.requests) == (2, 0, 2)


@pytest.fixture
def filled(packed: LshDynamoIndex, opened: Open) -> LshDynamoIndex:
    """Return an index of 300 vectors in cells, which holds nothing of them."""
    packed.bulk_load((USER, one) for one in crowd(300, 3))
    packed.optimize(USER, only_due=True)
    return opened()


def test_a_search_that_holds_all_codes_reads_half_a_unit_and_the_rows(
    filled: LshDynamoIndex,
) -> None:
    """In one round trip; cold in three."""
    index = filled
    index.check()
    search = partial(index.search, USER, X, consistency=EVENTUAL)
    cold, _ = observed(index, search)
    held, result = observed(index, search)
    assert index.held_bytes > 0
    assert cold.round_trips <= 3
    assert (held.round_trips, held.units.requests) == (1, 2)
    assert 0.5 + result.reranked / 2 <= held.units.read < cold.units.read


def test_what_another_process_wrote_costs_a_round_trip_and_its_row(
    packed: LshDynamoIndex, filled: LshDynamoIndex
) -> None:
    index = filled
    search = partial(index.search, USER, X, consistency=EVENTUAL)
    before = search()
    best = replace(crowd(301, 3)[300], vector=X)
    packed.upsert(USER, [best])
    seen, after = observed(index, search)
    assert after.hits[0].id == best.id
    assert (seen.round_trips, seen.units.requests) == (2, 3)
    assert after.hits[1:] == before.hits[:-1]
    assert observed(index, search)[0].round_trips == 1


@pytest.mark.usefixtures("small")
def test_after_a_prefetch_a_search_takes_two_round_trips(
    packed: LshDynamoIndex, opened: Open
) -> None:
    """V8: cells are read beside the look at what is new."""
    maintained(packed, crowd(90, 3))
    index = opened()
    index.check()
    assert index.is_prefetch_due(USER)
    index.prefetch(USER)
    assert not index.is_prefetch_due(USER)
    with meter() as metered:
        index.prefetch(USER)
    assert metered.units.requests == 0
    seen, result = observed(index, partial(index.search, USER, X, 5))
    assert seen.round_trips == 2
    assert result == opened().search(USER, X, 5)
    assert not opened(cache_bytes=0).is_prefetch_due(USER)


# -- what a process holds -------------------------------------------------------------------------


def test_users_who_were_not_searched_lately_are_dropped(
    packed: LshDynamoIndex, opened: Open
) -> None:
    for user in ("a", "b", "c"):
        packed.bulk_load((user, one) for one in crowd(40, 3))
    index = opened()
    sizes = []
    for user in ("a", "b", "c"):
        index.search(user, X)
        sizes.append(index.held_bytes)
    bounded = opened(cache_bytes=sizes[1])
    for user in ("a", "b", "a", "c"):
        bounded.search(user, X)
        assert bounded.held_bytes <= sizes[1]
    for user, round_trips in (("c", 1), ("a", 1), ("b", 2)):
        search = partial(bounded.search, user, X, consistency=EVENTUAL)
        seen, _ = observed(bounded, search)
        assert (user, seen.round_trips, seen.units.requests) == (user, round_trips, 2)
    unable = opened(cache_bytes=0)
    unable.search("a", X)
    assert unable.held_bytes == 0
    assert packed.held_bytes == 0


@pytest.mark.usefixtures("small")
def test_what_another_process_wrote_is_found_at_once(packed: LshDynamoIndex, opened: Open) -> None:
    """V4: also when it rebuilt the codes meanwhile, and more than once."""
    other, records = opened(), crowd(60, 3)
    for last in range(3, 60, 3):
        maintained(packed, records[last - 3 : last])
        assert found(other) == {one.id for one in records[:last]}
        assert found(other, consistency=EVENTUAL) == {one.id for one in records[:last]}


@pytest.mark.usefixtures("small")
def test_a_writer_learns_that_the_codes_have_another_version(
    packed: LshDynamoIndex, opened: Open
) -> None:
    """Entries are made with the mean of the version that they are added to."""
    records = crowd(30, 3)
    packed.upsert(USER, records[:6])
    other = opened()
    other.upsert(USER, records[6:20])
    other.optimize(USER, only_due=True)
    packed.upsert(USER, records[20:21])

    found(other)
    layout: Any = other._layout  # noqa: SLF001 - what it holds
    snapshot = layout._cache.get(USER)  # noqa: SLF001 - as above
    (entry,) = snapshot.tail
    turned = rotation(24).apply(directions(records[20].vector[None], "cosine"))
    assert (entry["code"] == np.packbits(turned - snapshot.mean >= 0)).all()


@pytest.mark.parametrize("is_new", [False, True])
def test_a_tail_of_a_new_kind_is_not_merged_but_all_is_encoded(
    packed: LshDynamoIndex, *, is_new: bool
) -> None:
    records = crowd(500, 3)
    packed.bulk_load((USER, one) for one in records[:400])
    packed.optimize(USER, only_due=True)
    far = np.zeros(SPEC.dimension)
    far[:4] = 20.0 * is_new
    late = [replace(one, vector=np.asarray(one.vector) + far) for one in records[400:]]
    packed.bulk_load((USER, one) for one in late)
    events: list[OperationEvent] = []
    stop = packed.subscribe(events.append)
    packed.optimize(USER, only_due=True)
    stop()
    assert events[-1].details["rebuilt"] == ("encode" if is_new else "merge")
    for one in late[:5]:
        hits = packed.search(USER, one.vector, 10, consistency=EVENTUAL)
        assert one.id in {hit.id for hit in hits}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("operation", ["PutItem", "TransactWriteItems"])
def test_a_merge_gives_way_to_one_that_began_later(
    packed: LshDynamoIndex, opened: Open, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """S13, V2: before its first cell, or before its head."""
    monkeypatch.setattr(rebuilding, "GROWTH", 9)
    monkeypatch.setattr(rebuilding, "_MANY", 2)  # nothing is of a new kind
    records, other = crowd(80, 3), opened()
    maintained(packed, records[:40])
    there = stored_until_due(packed, records, 40)
    raced = before(packed, operation, lambda: other.optimize(USER, only_due=True))
    assert packed.optimize(USER, only_due=True).notes[0].startswith("somebody else")
    assert raced
    assert found(opened()) == {one.id for one in records[:there]}
    assert packed.check() == []


@pytest.mark.usefixtures("small")
def test_a_merged_segment_that_a_late_writer_makes_again_hides_nothing(
    packed: LshDynamoIndex, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V3: it holds what that writer knew, which is not all that was in it."""
    monkeypatch.setattr(rebuilding, "GROWTH", 9)
    records, late, reader = crowd(80, 3), opened(), opened()
    closing: Any = cast("Any", late)._layout._writer._tail  # noqa: SLF001 - it dies before this
    monkeypatch.setattr(closing, "delete", lambda *_: None)
    maintained(packed, records[:20])
    writer: Any = cast("Any", packed)._layout._writer  # noqa: SLF001 - what it knows
    room = tail_items.entries_of_segment(EntryFormat(SPEC.dimension, SPEC.metric), USER)
    there = 20

    def number() -> int:
        return int(writer._known[USER].opened.number)  # noqa: SLF001 - as above

    def store(index: LshDynamoIndex, count: int) -> None:
        nonlocal there
        index.upsert(USER, records[there : there + count])
        there += count

    before = number()
    while number() == before:  # the next segment begins with one entry
        store(packed, 1)
    store(late, room - 2)
    found(reader)
    store(packed, 1)
    store(packed, 1)
    assert number() == before + 2
    packed.optimize(USER)
    store(late, 2)
    assert found(reader) == {one.id for one in records[:there]}


@pytest.mark.usefixtures("small")
def test_a_writer_who_reads_while_codes_are_switched_is_not_told_of_damage(
    packed: LshDynamoIndex, opened: Open
) -> None:
    """E1: a mean that is deleted before the query comes to it."""
    records, other, writer = crowd(60, 3), opened(), opened()
    maintained(other, records[:20])
    writer.count(USER)
    client: Any = writer._table.client  # noqa: SLF001 - where requests go by
    send = client.call
    seen: list[str] = []

    def call(op: Any, operation: str, params: dict[str, Any], **more: Any) -> Any:
        if operation != "Query":
            return send(op, operation, params, **more)
        answer = send(op, operation, {**params, "Limit": 1}, **more)
        if not seen:
            seen.append(answer["Items"][0]["embedding_id"]["S"])
            maintained(other, records[20:59])
        return answer

    client.call = call
    writer.upsert(USER, records[59:])
    assert seen == ["U"]
    assert found(packed) == {one.id for one in records}


@pytest.mark.usefixtures("small")
def test_a_segment_that_is_closed_while_a_rebuild_reads_is_not_lost(
    packed: LshDynamoIndex, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S13: a query is no snapshot; it may pass by a segment, and then see its successor."""
    records, rebuilder = crowd(40, 3), opened()
    for one in records[:20]:
        packed.upsert(USER, [one])
    read, put_mean = tail_writing.TailWriter.read, tail_writing.TailWriter.put_mean
    passed: list[int] = []

    def put_mean_and_more(*args: Any) -> None:
        put_mean(*args)
        for one in records[20:]:
            packed.upsert(USER, [one])

    def read_past(*args: Any, behind: int | None = None, **more: Any) -> tail_items.Stored:
        stored = read(*args, behind=behind, **more)
        if behind is None or passed:
            return stored
        passed.append(behind)
        return replace(stored, segments={})

    monkeypatch.setattr(tail_writing.TailWriter, "put_mean", put_mean_and_more)
    monkeypatch.setattr(tail_writing.TailWriter, "read", read_past)
    assert rebuilder.optimize(USER, only_due=True).notes == ()
    assert passed
    assert found(rebuilder) == {one.id for one in records}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("growth", [1.5, 9])
def test_a_rebuild_that_was_stopped_before_it_cleans_up_removes_nothing_of_later_ones(
    packed: LshDynamoIndex, opened: Open, monkeypatch: pytest.MonkeyPatch, growth: float
) -> None:
    """S13: a process may be frozen for long between two requests."""
    monkeypatch.setattr(rebuilding, "GROWTH", growth)
    records, stopped = crowd(100, 3), opened()
    maintained(packed, records[:50])
    packed.delete(USER, [one.id for one in records[5:50]])
    cells: Any = cast("Any", stopped)._layout._maintenance._cells  # noqa: SLF001 - where it stops
    clean = cells._clean  # noqa: SLF001 - as above

    def clean_late(*args: Any, **more: Any) -> None:
        maintained(packed, records[50:])
        clean(*args, **more)

    monkeypatch.setattr(cells, "_clean", clean_late)
    stopped.optimize(USER, only_due=True)
    assert found(opened()) == {one.id for one in [*records[:5], *records[50:]]}


@pytest.mark.usefixtures("small")
def test_a_writer_who_knows_what_was_erased_does_not_bring_it_back(
    packed: LshDynamoIndex, opened: Open, client: Any
) -> None:
    """S11: however long ago it wrote."""
    records, late = crowd(20, 3), opened()
    room = tail_items.entries_of_segment(EntryFormat(SPEC.dimension, SPEC.metric), USER)
    late.upsert(USER, records[: room - 1])
    assert packed.erase(USER).remaining == 0
    late.upsert(USER, records[18:])
    (codes,) = client.query(
        TableName=packed.table,
        KeyConditionExpression="user_chunk = :p",
        ExpressionAttributeValues={":p": CODES["user_chunk"]},
    )["Items"]
    assert len(codes["e"]["BS"]) == 2


@pytest.mark.usefixtures("small")
def test_a_rebuild_of_a_user_who_was_erased_leaves_nothing(
    packed: LshDynamoIndex, opened: Open, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: also if the user has come back when it sees that."""
    records, rebuilder = crowd(60, 3), opened()
    packed.bulk_load((USER, one) for one in records[:50])
    cells: Any = cast("Any", rebuilder)._layout._maintenance._cells  # noqa: SLF001 - where it waits
    put_cells = cells._put_cells  # noqa: SLF001 - as above

    def put_cells_late(*args: Any) -> bool:
        assert packed.erase(USER).remaining == 0
        packed.upsert(USER, records[50:51])
        return bool(put_cells(*args))

    monkeypatch.setattr(cells, "_put_cells", put_cells_late)
    assert rebuilder.optimize(USER, only_due=True).notes
    (codes,) = client.query(
        TableName=packed.table,
        KeyConditionExpression="user_chunk = :p",
        ExpressionAttributeValues={":p": CODES["user_chunk"]},
    )["Items"]
    assert codes["embedding_id"] == {"S": "U"}


@pytest.mark.usefixtures("small")
def test_a_rebuild_that_another_has_overtaken_changes_nothing(
    packed: LshDynamoIndex, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S13: its cells are made, and then another switches to its own."""
    monkeypatch.setattr(rebuilding, "GROWTH", 9)
    records, overtaken = crowd(100, 3), opened()
    maintained(packed, records[:50])
    stored = stored_until_due(packed, records, 50)
    cells: Any = cast("Any", overtaken)._layout._maintenance._cells  # noqa: SLF001 - where it waits
    put_cells = cells._put_cells  # noqa: SLF001 - as above

    def slowly(*args: Any) -> bool:
        made = bool(put_cells(*args))
        packed.optimize(USER)
        return made

    monkeypatch.setattr(cells, "_put_cells", slowly)
    overtaken.optimize(USER, only_due=True)
    assert found(opened()) == {one.id for one in records[:stored]}


def stored_until_due(packed: LshDynamoIndex, records: Sequence[VectorRecord], there: int) -> int:
    """Store further records until maintenance pays; return how many are there then."""
    while not packed.is_optimize_due(USER):
        packed.upsert(USER, [records[there]])
        there += 1
    return there


def rebuilt_while_erased(
    packed: LshDynamoIndex, rebuilder: LshDynamoIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erase a user while a rebuild writes cells, which dies then."""
    packed.bulk_load((USER, one) for one in crowd(50, 3))
    cells: Any = cast("Any", rebuilder)._layout._maintenance._cells  # noqa: SLF001 - where it waits
    put_cells = cells._put_cells  # noqa: SLF001 - as above

    def put_cells_late(*args: Any) -> bool:
        assert packed.erase(USER).remaining == 0
        put_cells(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(cells, "_put_cells", put_cells_late)
    with pytest.raises(KeyboardInterrupt):
        rebuilder.optimize(USER, only_due=True)


REMEDIES: dict[str, Callable[[LshDynamoIndex], object]] = {
    "optimize": lambda index: index.optimize(USER),
    "optimize what is due": lambda index: index.optimize(USER, only_due=True),
    "erase": lambda index: index.erase(USER),
}


def codes_of(client: Any, index: LshDynamoIndex) -> list[dict[str, Any]]:
    """Return what the partition of codes of the user holds."""
    found: list[dict[str, Any]] = client.query(
        TableName=index.table,
        KeyConditionExpression="user_chunk = :p",
        ExpressionAttributeValues={":p": CODES["user_chunk"]},
    )["Items"]
    return found


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("remedy", REMEDIES)
def test_what_a_killed_rebuild_left_of_an_erased_user_goes(
    packed: LshDynamoIndex,
    opened: Open,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    remedy: str,
) -> None:
    """S11: it is no user, and has no vectors; another call removes its codes."""
    rebuilt_while_erased(packed, opened(), monkeypatch)
    assert len(codes_of(client, packed)) > 1
    assert list(packed.users().items) == []
    assert packed.count(USER) == 0
    REMEDIES[remedy](packed)
    assert codes_of(client, packed) == []
    with meter() as metered:
        packed.optimize(USER, only_due=True)
    assert metered.units == Units(read=1, write=1, requests=2)


@pytest.mark.usefixtures("small")
def test_what_was_left_goes_though_the_user_comes_back_and_what_comes_stays(
    packed: LshDynamoIndex,
    opened: Open,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    clock: ManualClock,
) -> None:
    """S11, V2: at any time."""
    rebuilt_while_erased(packed, opened(), monkeypatch)
    clock.advance(1)
    records, other, index = crowd(51, 3), opened(), opened()
    raced = before(index, "Query", lambda: other.upsert(USER, records[50:]), skip=1)
    index.optimize(USER, only_due=True)
    assert raced
    assert [one["embedding_id"]["S"] for one in codes_of(client, packed)] == ["U"]
    assert found(packed) == {records[50].id}


@pytest.mark.usefixtures("small")
def test_a_cell_that_is_overwritten_while_leftovers_are_removed_stays(
    packed: LshDynamoIndex, opened: Open, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S13: the user has come back, and a rebuild."""
    rebuilt_while_erased(packed, opened(), monkeypatch)
    cell = next(one for one in codes_of(client, packed) if "c" in one)
    cell["f"] = {"N": str(int(cell["f"]["N"]) + 1)}
    index = opened()
    write = partial(client.put_item, TableName=packed.table, Item=cell)
    raced = before(index, "DeleteItem", write)
    index.optimize(USER)
    assert raced
    assert codes_of(client, packed) == [cell]


FEW = 40


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a head take cells of few vectors."""
    layout = EntryFormat(SPEC.dimension, SPEC.metric)
    monkeypatch.setattr(rebuilding, "_MOST_ENTRIES", 4)
    cells = -(-FEW // int(4 * rebuilding.FILL))
    room = 2 * SPEC.dimension + cells * head.cell_record_bytes(layout)
    monkeypatch.setattr(rebuilding, "_LARGEST_HEAD_BYTES", room)


@pytest.mark.usefixtures("small", "few")
@pytest.mark.parametrize("growth", [1.5, 9], ids=["encode", "merge"])
def test_of_too_many_vectors_no_cells_are_made_and_all_are_found(
    packed: LshDynamoIndex, opened: Open, monkeypatch: pytest.MonkeyPatch, growth: float
) -> None:
    """S13: optimize says what to do, and is due again when the tail has grown as much anew."""
    monkeypatch.setattr(rebuilding, "GROWTH", growth)
    most = rebuilding.most_vectors(EntryFormat(SPEC.dimension, SPEC.metric))
    records = crowd(2 * most, 3)
    tries: list[tuple[str, ...]] = []
    for place in range(0, len(records), 2):
        packed.upsert(USER, records[place : place + 2])
        if packed.is_optimize_due(USER):
            tries.append(packed.optimize(USER, only_due=True).notes)
            packed.upsert(USER, records[:1])
            assert not packed.is_optimize_due(USER)
    assert tries[0] == ()
    assert f"cells can be made of {most}" in str(tries[-1])
    assert 2 <= sum(map(bool, tries)) < len(records) / 8
    there = {one.id for one in records}
    assert {hit.id for hit in opened().search(USER, X, len(records), effort=0.5)} == there
    assert packed.optimize(USER).notes[0].startswith("the user has")
    packed.delete(USER, [one.id for one in records[most // 2 :]])
    assert packed.optimize(USER).notes == ()
    assert found(opened()) == {one.id for one in records[: most // 2]}


@pytest.mark.usefixtures("small", "few")
def test_who_began_a_rebuild_later_says_when_the_next_is_due(
    packed: LshDynamoIndex, opened: Open
) -> None:
    """S13: as a rebuild of too many vectors sees that."""
    packed.bulk_load((USER, one) for one in crowd(3 * FEW, 3))
    index, other = opened(), opened()
    raced = before(index, "UpdateItem", lambda: other.optimize(USER, only_due=True), skip=1)
    assert index.optimize(USER, only_due=True).notes
    assert raced


def test_the_head_of_the_most_vectors_fits_into_an_item() -> None:
    """V2: 400 KiB, whatever the vectors."""
    for dimension, metric in ((16, "cosine"), (384, "dot"), (1536, "cosine"), (4096, "euclidean")):
        layout = EntryFormat(dimension, metric)
        most = rebuilding.most_vectors(layout)
        capacity = rebuilding.capacity(layout, most)
        number = -(-most // int(capacity * rebuilding.FILL))
        cells = np.zeros((number, dimension), np.float32)
        spreads, sizes = np.zeros(number, np.float32), np.zeros(number, np.intp)
        facts = head.Facts(
            layout,
            epoch=1,
            version=1,
            segment=0,
            count=most,
            encoded=most,
            flat=False,
            mean=cells[0],
            calibration=rebuilding._UNKNOWN,  # noqa: SLF001 - any
        )
        made = head.encode_head(facts, Cells(sizes, cells, spreads, spreads, sizes))
        keys = item_bytes(tail_items.code_key("u" * 1024, "H"))
        assert len(made) + keys + 100 < 400 * 1024
        assert capacity * layout.nbytes + keys + 100 < 400 * 1024


def test_an_erase_ends_though_somebody_goes_on_writing(
    packed: LshDynamoIndex, opened: Open, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: and says what is there."""
    writer: Any = cast("Any", packed)._layout._writer  # noqa: SLF001 - between its rounds
    erase, other = writer.erase, opened()

    def erase_and_write(*args: Any) -> Any:
        gone = erase(*args)
        other.upsert(USER, [record()])
        return gone

    monkeypatch.setattr(writer, "erase", erase_and_write)
    assert packed.erase(USER).remaining >= 1


def test_a_record_may_have_a_text_and_an_expiry(packed: LshDynamoIndex, record: Any) -> None:
    """V2: nothing of a row is removed then."""
    one = record(text="text", expires_at=START + timedelta(days=1))
    packed.upsert(USER, [one])
    (found,) = packed.get(USER, [one.id])
    assert (found.text, found.expires_at) == (one.text, one.expires_at)


# -- exactness ------------------------------------------------------------------------------------


def test_the_whole_effort_is_exact(packed: LshDynamoIndex) -> None:
    """V6: with any filter, an excluded session included."""
    records = crowd(200, 3)
    packed.bulk_load((USER, one) for one in records)
    for where in (Where(), Where(exclude_session_id=records[0].session_id)):
        wanted = [
            (float(np.dot(one.vector, X) / np.linalg.norm(one.vector)), one.id)
            for one in records
            if one.session_id != where.exclude_session_id
        ]
        best = [one for _, one in sorted(wanted, reverse=True)[:3]]
        hits = packed.search(USER, X, 10, effort=1, where=where)
        assert len(hits) == 10
        assert set(best) <= {hit.id for hit in hits}


def test_ids_that_share_a_key_are_told_apart(
    packed: LshDynamoIndex, monkeypatch: pytest.MonkeyPatch, record: Any
) -> None:
    """V2, V7: a second id takes another key."""
    plain = entries.tag_of
    monkeypatch.setattr(entries, "tag_of", lambda one, salt=0: plain(one, salt) if salt else 7)
    first, second, third = given = [record(), record(), record()]
    packed.upsert(USER, [first])
    packed.upsert(USER, [second, third])
    assert [one.id for one in packed.get(USER, [one.id for one in given])] == [
        one.id for one in given
    ]
    assert found(packed) == {one.id for one in given}
    assert packed.delete(USER, [second.id]) == 1
    assert packed.delete(USER, [second.id]) == 0
    assert found(packed) == {first.id, third.id}


def one_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all ids of an hour have one tag until another salt is taken."""
    plain = entries.tag_of
    monkeypatch.setattr(entries, "tag_of", lambda one, salt=0: plain(one, salt) if salt else 7)


def rows_of(client: Any, index: LshDynamoIndex) -> list[dict[str, Any]]:
    """Return the rows of the user, without codes."""
    found = client.scan(TableName=index.table)["Items"]
    return [row for row in found if row["embedding_id"]["S"] >= "0" and "g" in row]


GONE: dict[str, Callable[[LshDynamoIndex, ManualClock, VectorRecord], object]] = {
    "deleted": lambda index, _, one: index.delete(USER, [one.id]),
    "expired": lambda _, clock, __: clock.advance(3600),
}


@pytest.mark.parametrize("gone", GONE)
@pytest.mark.parametrize("is_late", [False, True])
def test_a_displaced_id_is_found_when_the_first_is_gone_altogether(  # noqa: PLR0917 - fixtures
    packed: LshDynamoIndex,
    monkeypatch: pytest.MonkeyPatch,
    clock: ManualClock,
    client: Any,
    record: Any,
    gone: str,
    is_late: bool,  # noqa: FBT001 - a case
) -> None:
    """V2, V7: it has one row, whatever optimize and expiry removed; ``erase`` leaves none."""
    one_tag(monkeypatch)
    first = record(expires_at=clock.now + timedelta(hours=1))
    second = record(text="old")
    packed.upsert(USER, [first])
    if not is_late:
        packed.upsert(USER, [second])
    GONE[gone](packed, clock, first)
    if is_late:
        packed.upsert(USER, [second])
    clock.advance(rows.STUB_SECONDS)
    assert packed.optimize(USER).removed == (gone == "expired")
    for row in rows_of(client, packed):
        assert "expires_at" not in row, "DynamoDB would remove what lookups pass by"
    assert packed.count(USER) == 1
    packed.upsert(USER, [replace(second, text="new")])
    assert packed.count(USER) == 1
    assert [hit.text for hit in packed.search(USER, X, effort=0.5)] == ["new"]
    (got,) = packed.get(USER, [first.id, second.id])
    assert (got.id, got.text) == (second.id, "new")
    assert packed.delete(USER, [second.id]) == 1
    assert (packed.count(USER), found(packed)) == (0, set())
    assert packed.erase(USER).remaining == 0
    assert rows_of(client, packed) == []


def test_a_row_that_is_kept_is_written_deleted_and_expires_like_any(
    packed: LshDynamoIndex, monkeypatch: pytest.MonkeyPatch, clock: ManualClock, record: Any
) -> None:
    """V2, C2: again and again."""
    one_tag(monkeypatch)
    first, second = record(), record()
    packed.upsert(USER, [first])
    packed.upsert(USER, [second])
    for seconds in (None, 10):
        expires = None if seconds is None else clock.now + timedelta(seconds=seconds)
        packed.upsert(USER, [replace(first, text="again", expires_at=expires)])
        (got,) = packed.get(USER, [first.id])
        assert (got.text, got.expires_at) == ("again", expires)
        assert packed.optimize(USER).removed == 0
        assert packed.delete(USER, [first.id]) == 1
        assert packed.delete(USER, [first.id]) == 0
        assert packed.get(USER, [first.id]) == []
        assert found(packed) == set(packed.ids(USER).items) == {second.id}
    packed.upsert(USER, [replace(first, expires_at=clock.now + timedelta(seconds=10))])
    clock.advance(10)
    assert packed.count(USER) == 1
    assert packed.get(USER, [first.id]) == []
    assert packed.delete(USER, [first.id]) == 0
    assert packed.optimize(USER).removed == 0


def before(
    index: LshDynamoIndex, operation: str, call: Callable[[], object], skip: int = 0
) -> list[str]:
    """Make a call of another process, once, before a request of this one; return what it saw."""
    client: Any = index._table.client  # noqa: SLF001 - where requests go by
    send, seen = client.call, list[str]()

    def first(op: Any, name: str, params: dict[str, Any], **more: Any) -> Any:
        nonlocal skip
        if name == operation:
            skip -= 1
        if skip < 0 and not seen:
            seen.append(name)
            call()
        return send(op, name, params, **more)

    client.call = first
    return seen


RACES: dict[str, Callable[[LshDynamoIndex, VectorRecord, VectorRecord], object]] = {
    "erased": lambda index, _, __: index.erase(USER),
    "stored": lambda index, _, second: index.upsert(USER, [second]),
}


@pytest.mark.parametrize("race", RACES)
def test_a_row_is_displaced_by_none_that_is_gone(  # noqa: PLR0917 - fixtures
    packed: LshDynamoIndex,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
    client: Any,
    record: Any,
    race: str,
) -> None:
    """V2: who was there when it was looked for may be erased, or the vector stored, meanwhile."""
    one_tag(monkeypatch)
    first, second, other = record(), record(), opened()
    packed.upsert(USER, [first])
    raced = before(packed, "TransactWriteItems", lambda: RACES[race](other, first, second))
    packed.upsert(USER, [second])
    assert raced
    assert packed.delete(USER, [second.id]) == 1
    assert second.id not in found(packed) | set(packed.ids(USER).items)
    assert len(rows_of(client, packed)) == (1 if race == "erased" else 2)


def erase_and_store(index: LshDynamoIndex, one: VectorRecord) -> None:
    index.erase(USER)
    index.upsert(USER, [one])


AGAIN: dict[str, Callable[[LshDynamoIndex, VectorRecord], object]] = {
    "erased": lambda index, _: index.erase(USER),
    "erased and stored": erase_and_store,
    "stored": lambda index, one: index.upsert(USER, [replace(one, text="again")]),
}


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("call", ["upsert", "delete", "optimize"])
def test_a_kept_row_may_change_before_it_is_written_again(  # noqa: PLR0917 - fixtures
    packed: LshDynamoIndex,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
    clock: ManualClock,
    record: Any,
    again: str,
    call: str,
) -> None:
    """V2, V7, S11: the first request finds that it is kept, the second that it is otherwise."""
    one_tag(monkeypatch)
    first, second, other = record(), record(), opened()
    packed.upsert(USER, [replace(first, expires_at=clock.now + timedelta(seconds=10))])
    packed.upsert(USER, [second])
    if call == "optimize":
        clock.advance(10)
    # Its first one takes a fence.
    skip = 2 if call == "optimize" else 1
    raced = before(packed, "UpdateItem", lambda: AGAIN[again](other, first), skip=skip)
    if call == "upsert":
        packed.upsert(USER, [first])
    elif call == "delete":
        assert packed.delete(USER, [first.id]) == (again != "erased")
    else:
        assert packed.optimize(USER).removed == 0
    assert raced
    is_there = call == "upsert" or (call == "optimize" and again != "erased")
    there = {first.id} if is_there else set()
    assert {one.id for one in packed.get(USER, [first.id])} == there
    assert set(packed.ids(USER).items) - {second.id} == there
    assert found(opened()) - {second.id} == there


def test_an_erase_leaves_no_row_that_displaces_one_that_came_meanwhile(
    packed: LshDynamoIndex, opened: Open, monkeypatch: pytest.MonkeyPatch, client: Any, record: Any
) -> None:
    """S11: it goes on until both are gone."""
    one_tag(monkeypatch)
    first, second, third, other = record(), record(), record(), opened()
    packed.upsert(USER, [first])
    raced = before(packed, "DeleteItem", lambda: other.upsert(USER, [second, third]))
    assert packed.erase(USER).remaining == 0
    assert raced
    assert rows_of(client, packed) == []


# -- expiry and repair ----------------------------------------------------------------------------


def row_key(index: LshDynamoIndex, one: str) -> dict[str, Any]:
    table = cast("PackedTable", index._table)  # noqa: SLF001 - where it lies
    return table.row_keys.row(USER, entries.key_of(one))


def test_rows_removed_by_expiry_leave_no_codes(
    packed: LshDynamoIndex, client: Any, clock: ManualClock, record: Any
) -> None:
    """C2: DynamoDB deletes rows; optimize drops their codes; the ids may come back."""
    soon = clock.now + timedelta(hours=1)
    brief = [record(expires_at=soon) for _ in range(5)]
    kept = [record() for _ in range(5)]
    packed.upsert(USER, [*brief, *kept])
    clock.advance(7200)
    for one in brief[:3]:
        client.delete_item(TableName=packed.table, Key=row_key(packed, one.id))
    assert found(packed) == {one.id for one in kept}
    assert packed.optimize(USER).removed == 2
    assert packed.search(USER, X, effort=0.5).examined == 5
    again = [record(id=one.id) for one in brief]
    packed.upsert(USER, again)
    assert found(packed) == {one.id for one in [*again, *kept]}
    assert packed.delete(USER, [brief[0].id]) == 1
    clock.advance(rows.STUB_SECONDS)
    packed.optimize(USER)
    scanned = client.scan(
        TableName=packed.table, Select="COUNT", FilterExpression="attribute_exists(g)"
    )
    assert scanned["Count"] == 9, "the counter of what was deleted stayed for ever"


def test_a_row_without_a_code_gets_one(packed: LshDynamoIndex, client: Any, record: Any) -> None:
    """A writer that died between the two leaves it."""
    given = [record() for _ in range(4)]
    packed.upsert(USER, given)
    client.delete_item(TableName=packed.table, Key={**CODES, "embedding_id": {"S": "U"}})
    assert found(packed) == set()
    packed.optimize(USER)
    assert found(packed) == {one.id for one in given}


HARM: dict[str, Callable[[Any, str], object]] = {
    "a head of other bytes": lambda client, table: client.update_item(
        TableName=table,
        Key={**CODES, "embedding_id": {"S": "H"}},
        UpdateExpression="SET h = :h",
        ExpressionAttributeValues={":h": {"B": b"\x01x"}},
    ),
    "no head": lambda client, table: client.delete_item(
        TableName=table, Key={**CODES, "embedding_id": {"S": "H"}}
    ),
    "no cells": lambda client, table: [
        client.delete_item(TableName=table, Key={**CODES, "embedding_id": {"S": f"{one}00000"}})
        for one in "AB"
    ],
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("harm", HARM)
def test_codes_that_are_damaged_are_an_error_until_optimize(
    packed: LshDynamoIndex, client: Any, opened: Open, harm: str
) -> None:
    """Never a shorter answer."""
    records = crowd(50, 3)
    maintained(packed, records)
    HARM[harm](client, packed.table)
    with pytest.raises(IalStoreError):
        found(opened())
    packed.optimize(USER)
    packed.upsert(USER, records[:20])  # a merge is due, of cells that are not there
    packed.optimize(USER)
    assert found(opened()) == {one.id for one in records}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("harm", HARM)
def test_optimize_mends_codes_when_nothing_else_is_due(
    packed: LshDynamoIndex, client: Any, opened: Open, harm: str
) -> None:
    """S13: a user who stores nothing more is searched again, too."""
    records = crowd(50, 3)
    maintained(packed, records)
    packed.optimize(USER)
    HARM[harm](client, packed.table)
    assert packed.optimize(USER).notes == ()
    assert found(opened()) == {one.id for one in records}


@pytest.mark.usefixtures("small")
def test_a_mean_that_is_missing_stops_writers_until_optimize(
    packed: LshDynamoIndex, client: Any, opened: Open
) -> None:
    """C5: what it would add would not fit the others."""
    records = crowd(50, 3)
    maintained(packed, records[:49])
    (mean,) = client.query(
        TableName=packed.table,
        KeyConditionExpression="user_chunk = :p AND begins_with(embedding_id, :v)",
        ExpressionAttributeValues={":p": CODES["user_chunk"], ":v": {"S": "V"}},
    )["Items"]
    client.delete_item(TableName=packed.table, Key={**CODES, "embedding_id": mean["embedding_id"]})
    with pytest.raises(CorruptError):
        opened().upsert(USER, records[49:])
    packed.optimize(USER)
    other = opened()
    other.upsert(USER, records[49:])
    assert found(other) == {one.id for one in records}


def test_a_row_that_is_damaged_is_an_error(
    packed: LshDynamoIndex, client: Any, record: Any
) -> None:
    packed.upsert(USER, [one := record()])
    client.update_item(
        TableName=packed.table,
        Key=row_key(packed, one.id),
        UpdateExpression="SET id = :i",
        ExpressionAttributeValues={":i": {"S": "x"}},
    )
    for call in (lambda: found(packed), lambda: packed.ids(USER)):
        with pytest.raises(CorruptError):
            call()
    assert packed.erase(USER).remaining == 0


@pytest.mark.usefixtures("small")
def test_what_was_removed_altogether_leaves_nothing(packed: LshDynamoIndex, client: Any) -> None:
    """A rebuild that finds no vectors removes the codes."""
    records = crowd(30, 3)
    maintained(packed, records)
    for first in range(0, 30, 3):
        packed.delete(USER, [one.id for one in records[first : first + 3]])
    for _ in range(3):
        packed.optimize(USER)
    assert found(packed) == set()
    packed.erase(USER)
    assert client.scan(TableName=packed.table, Select="COUNT")["Count"] == 1


# -- faults ---------------------------------------------------------------------------------------


@pytest.fixture
def proxy(dynoxide: RunningServer) -> Iterator[FaultProxy]:
    with FaultProxy(dynoxide.port) as proxy:
        yield proxy


@pytest.mark.parametrize(("decision", "error"), FAULTS, ids=repr)
def test_a_fault_is_an_error_of_ours_and_loses_nothing(  # noqa: PLR0917 - fixtures
    packed: LshDynamoIndex,
    opened: Open,
    proxy: FaultProxy,
    record: Any,
    decision: Decision,
    error: type[Exception],
) -> None:
    """A1, A4, A5, A8, E1: whatever comes in place of a reply, to whichever call."""
    there, one = [record() for _ in range(20)], record()
    packed.upsert(USER, there)
    index = opened(proxy.endpoint)
    index.count("nobody")
    proxy.decide = failing(decision)
    calls: list[Callable[[], object]] = [
        lambda: index.upsert(USER, [one]),
        lambda: index.upsert(USER, [one, there[0]]),
        lambda: index.search(USER, X),
        lambda: index.search(USER, X, consistency=EVENTUAL),
        lambda: index.search(USER, X, effort=1),
        lambda: index.get(USER, [one.id, there[0].id]),
        lambda: index.count(USER),
        lambda: index.ids(USER),
        index.users,
        lambda: index.delete(USER, [one.id]),
        lambda: index.delete_session(USER, "none"),
        lambda: index.erase("nobody"),
        lambda: index.optimize(USER),
    ]
    for call in calls:
        with pytest.raises((error, PartialWriteError)) as caught:
            call()
        assert isinstance(caught.value, IalStoreError)
        assert caught.value.backend == "lsh+dynamodb"
    proxy.decide = failing(None)
    index.upsert(USER, [one])
    assert found(packed) == {one.id, *(other.id for other in there)}


def nth(decision: Decision, fatal: int) -> Callable[[ProxiedRequest], Decision]:
    """Return what lets one request fail."""
    seen = 0

    def decide(_: ProxiedRequest) -> Decision:
        nonlocal seen
        seen += 1
        return decision if seen == fatal else None

    return decide


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("decision", [Instead.error("ThrottlingException"), ResetAfter()], ids=repr)
def test_any_request_of_a_call_may_fail(
    packed: LshDynamoIndex, opened: Open, proxy: FaultProxy, decision: Decision
) -> None:
    """A1, A5: each in turn, of writes and rebuilds; a repeated call completes it."""
    records = crowd(34, 3)
    maintained(packed, records[:30])
    index = opened(proxy.endpoint)
    index.count(USER)
    there = {one.id for one in records[:30]}

    def until_it_holds(call: Callable[[], object]) -> None:
        for fatal in range(1, 60):
            proxy.decide = nth(decision, fatal)
            try:
                call()
            except IalStoreError:
                assert found(packed) >= there, "a failed call took something away"
            else:
                return
        raise AssertionError("the call never ends")

    some = records[30:34]
    until_it_holds(lambda: index.upsert(USER, some))
    there |= {one.id for one in some}
    assert found(packed) == there
    until_it_holds(lambda: index.optimize(USER, only_due=True))
    assert found(packed) == there
    gone = sorted(there)[:3]
    there -= set(gone)
    until_it_holds(lambda: index.delete(USER, gone))
    assert found(packed) == there
    packed.optimize(USER)
    assert packed.search(USER, X, effort=0.5).examined == len(there)


def conflicting(proxy: FaultProxy, is_meant: Callable[[bytes], bool]) -> list[str]:
    """Refuse two writes of items, as a running transaction does; return which, as they come."""
    refused: list[str] = []

    def decide(request: ProxiedRequest) -> Decision:
        is_write = request.operation in {"UpdateItem", "DeleteItem"}
        if is_write and len(refused) < 2 and is_meant(request.body):
            refused.append(request.operation)
            return Instead.error("TransactionConflictException")
        return None

    proxy.decide = decide
    return refused


CONFLICTS: dict[str, Callable[[LshDynamoIndex, Sequence[VectorRecord]], object]] = {
    "upsert": lambda index, records: index.upsert(USER, records),
    "delete": lambda index, records: index.delete(USER, [records[0].id]),
    "optimize": lambda index, _: index.optimize(USER),
    "erase": lambda index, _: index.erase(USER),
}


@pytest.mark.parametrize("call", CONFLICTS)
def test_a_call_that_meets_a_switch_goes_on(
    packed: LshDynamoIndex, opened: Open, proxy: FaultProxy, call: str
) -> None:
    """E1: DynamoDB refuses what writes to an item of a running transaction."""
    records = crowd(4, 3)
    packed.upsert(USER, records)
    index = opened(proxy.endpoint)
    index.count(USER)
    refused = conflicting(proxy, lambda body: b'"S": "U"}' in body)
    CONFLICTS[call](index, records)
    assert len(refused) == 2


@pytest.mark.parametrize("call", ["upsert", "delete", "erase"])
def test_a_call_that_meets_a_row_that_is_being_displaced_goes_on(
    packed: LshDynamoIndex, opened: Open, proxy: FaultProxy, call: str
) -> None:
    """E1: the transaction writes to the row of another id, too."""
    records = crowd(4, 3)
    packed.upsert(USER, records)
    index = opened(proxy.endpoint)
    index.count(USER)
    refused = conflicting(proxy, lambda body: b"#@" not in body)
    CONFLICTS[call](index, records)
    assert len(refused) == 2


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("TransactionConflict", None),
        ("ThrottlingError", ThrottledError),
        ("Unheard", UnavailableError),
    ],
)
def test_a_switch_that_is_cancelled_is_made_again_or_says_why(
    packed: LshDynamoIndex, opened: Open, proxy: FaultProxy, reason: str, error: type | None
) -> None:
    """Fault A2: the reason stands among those of the transaction's parts."""
    packed.bulk_load((USER, one) for one in crowd(300, 3))
    told = {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "message": "as planned",
        "CancellationReasons": [{"Code": "None"}, {"Code": reason}],
    }
    cancelled = 0

    def decide(request: ProxiedRequest) -> Decision:
        nonlocal cancelled
        if request.operation == "TransactWriteItems" and not cancelled:
            cancelled += 1
            return Instead(400, json.dumps(told).encode())
        return None

    proxy.decide = decide
    with nullcontext() if error is None else pytest.raises(error, match=reason):
        opened(proxy.endpoint).optimize(USER)
    assert cancelled == 1
    assert packed.count(USER) == 300


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("consistency", Consistency)
def test_a_search_with_a_failed_part_raises(
    packed: LshDynamoIndex,
    opened: Open,
    proxy: FaultProxy,
    consistency: Consistency,
) -> None:
    """V3, C5: each request of a cold search in turn; never a shorter answer."""
    maintained(packed, crowd(60, 3))
    requests = 4
    for fatal in range(1, requests):
        index = opened(proxy.endpoint)
        proxy.decide = failing(None)
        index.count("nobody")
        proxy.decide = nth(Instead.error("InternalServerError", 500), fatal)
        with pytest.raises(IalStoreError):
            index.search(USER, X, consistency=consistency)
        proxy.decide = failing(None)
        assert len(index.search(USER, X, consistency=consistency)) == 10


# -- who may do it --------------------------------------------------------------------------------


@pytest.mark.usefixtures("packed", "small")
@pytest.mark.parametrize("user", [USER, "u*", "u10"])
def test_a_tenants_policy_opens_that_tenant_only(
    opened: Open, proxy: FaultProxy, prefix: str, user: str
) -> None:
    """C6: codes included; and nothing that is allowed is left over."""
    index = opened(proxy.endpoint)
    index.count("nobody")
    proxy.requests.clear()
    maintained(index, crowd(60, 3))
    index.search(USER, X)
    index.get(USER, [crowd(1, 3)[0].id])
    index.delete(USER, [crowd(1, 3)[0].id])
    index.optimize(USER)
    index.erase(USER)
    url = StoreURL.parse(f"lsh+dynamodb://{prefix}?layout=packed")
    document = LshDynamoIndex.iam_policy(url, Access.WRITE, user_id=user)
    statements = document["Statement"]
    assert [one["Sid"] for one in statements] == ["Vectors", "Spec"]
    let_through = {allows(statements, one, index.table, "user_chunk") for one in proxy.requests}
    assert let_through == {user == USER}


def test_only_what_is_due_is_done_where_that_is_asked_for(
    packed: LshDynamoIndex, clock: ManualClock, record: Any
) -> None:
    """S13: nothing is due of a few vectors, nor of somebody unknown."""
    packed.upsert(USER, [record(), record(expires_at=clock.now + timedelta(seconds=1))])
    clock.advance(2)
    assert not packed.is_optimize_due(USER)
    assert not packed.is_optimize_due("nobody")
    assert packed.optimize(USER, only_due=True).removed == 0
    assert packed.optimize(USER).removed == 1


def test_a_message_id_has_a_key_of_its_hour() -> None:
    made = message_id(USER, "s", START, "user", "k")
    assert rows.hour_key(made) == f"{int(START.timestamp()) // 3600:06x}"


def test_what_is_predicted_is_what_the_meter_shows(
    packed: LshDynamoIndex, clock: ManualClock, record: Any
) -> None:
    """To the unit: rows on both sides of a boundary, replaced, absent, in pages."""
    packed.upsert("u", [record()])
    options = LshOptions(layout="packed", chunks=2)
    prediction = PackedPrediction(SPEC, options, int(clock.now.timestamp()))
    small, long = record(text="x" * 500), record(text="x" * 2000)
    brief = record(text=None, expires_at=clock.now + timedelta(days=1))
    calls: list[tuple[Units, Callable[[], object]]] = [
        (prediction.upsert("u", small), lambda: packed.upsert("u", [small])),
        (prediction.upsert("u", long), lambda: packed.upsert("u", [long])),
        (prediction.upsert("u", brief), lambda: packed.upsert("u", [brief])),
        (prediction.upsert("u", small, there=small), lambda: packed.upsert("u", [small])),
        (prediction.delete("u", long), lambda: packed.delete("u", [long.id])),
        (prediction.delete("u", None), lambda: packed.delete("u", [record().id])),
    ]
    for consistency in Consistency:
        calls += [
            (
                prediction.get("u", [small, None], consistency=consistency),
                partial(packed.get, "u", [small.id, record().id], consistency=consistency),
            ),
            (
                prediction.count("v", crowd(1500, 3), consistency=consistency),
                partial(packed.count, "v", consistency=consistency),
            ),
        ]
    packed.bulk_load(("v", one) for one in crowd(1500, 3))
    for predicted, call in calls:
        with meter() as metered:
            call()
        assert metered.units == predicted


# -- users of several cells -----------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_cells_are_read_as_they_are_wanted(packed: LshDynamoIndex, opened: Open) -> None:
    """V4: what is held stays; where fewer than k are found, the other cells follow."""
    records = list(crowd(300, SPEC.dimension))
    packed.bulk_load((USER, one) for one in records)
    packed.optimize(USER, only_due=True)
    index = opened()
    near = np.asarray(records[0].vector)
    index.search(USER, near, 1, effort=0.2, consistency=EVENTUAL)
    held = index.held_bytes
    index.search(USER, -near, 1, effort=0.2, consistency=EVENTUAL)
    assert index.held_bytes > held > 0
    all_ = opened().search(USER, near, len(records), effort=0.2)
    assert {hit.id for hit in all_} == {one.id for one in records}


@pytest.mark.usefixtures("small")
def test_other_cells_are_read_where_the_rows_of_the_near_ones_are_gone(
    packed: LshDynamoIndex, opened: Open, client: Any
) -> None:
    """V4: as when all that is near has expired."""
    records = list(crowd(300, SPEC.dimension))
    packed.bulk_load((USER, one) for one in records)
    packed.optimize(USER, only_due=True)
    near = np.asarray(records[0].vector)
    by_score = sorted(records, key=lambda one: -float(np.dot(near, np.asarray(one.vector))))
    for one in by_score[:-5]:
        client.delete_item(TableName=packed.table, Key=row_key(packed, one.id))
    hits = opened().search(USER, near, 5, effort=0.1)
    assert {hit.id for hit in hits} == {one.id for one in by_score[-5:]}


@pytest.mark.parametrize("kind", [("T", "e"), ("V", "m"), ("AB", "c")], ids=lambda kind: kind[0])
@pytest.mark.usefixtures("small")
def test_any_row_of_codes_that_is_damaged_is_an_error_until_optimize(
    packed: LshDynamoIndex, opened: Open, client: Any, kind: tuple[str, str], record: Any
) -> None:
    """E1: an error of ours, and no vector is lost by it."""
    names, part = kind
    maintained(packed, list(crowd(60, SPEC.dimension)))
    packed.upsert(USER, [record() for _ in range(7)])
    found = client.query(
        TableName=packed.table,
        KeyConditionExpression="user_chunk = :p",
        ExpressionAttributeValues={":p": CODES["user_chunk"]},
    )["Items"]
    rows = [one for one in found if one["embedding_id"]["S"][0] in names]
    assert rows
    for row in rows:
        client.put_item(TableName=packed.table, Item={**row, part: {"BOOL": True}})

    def all_calls(index: LshDynamoIndex) -> None:
        index.upsert(USER, [record()])
        index.search(USER, np.ones(SPEC.dimension), 68, effort=0.9)

    with pytest.raises(CorruptError):
        all_calls(opened())
    packed.optimize(USER)
    all_calls(opened())
    assert packed.count(USER) >= 68


def test_a_row_without_its_vector_is_not_deleted_but_erased(
    packed: LshDynamoIndex, client: Any, monkeypatch: pytest.MonkeyPatch, record: Any
) -> None:
    """S11: whatever is damaged; a kept one, too."""
    one_tag(monkeypatch)
    first, second = record(), record()
    packed.upsert(USER, [first])
    packed.upsert(USER, [second])
    for row in rows_of(client, packed):
        key = {name: row[name] for name in ("user_chunk", "embedding_id")}
        client.update_item(
            TableName=packed.table,
            Key=key,
            UpdateExpression="SET metadata = :x REMOVE vector_compressed",
            ExpressionAttributeValues={":x": {"S": "x"}},
        )
    assert packed.delete(USER, [second.id]) == 0
    assert packed.count(USER) == 2
    assert packed.erase(USER).remaining == 0
    assert rows_of(client, packed) == []


def test_a_deletion_says_what_it_did_where_no_tombstone_could_be_added(
    packed: LshDynamoIndex, monkeypatch: pytest.MonkeyPatch, record: Any
) -> None:
    """S10: the row is gone; repeating the call is safe."""
    packed.upsert(USER, [one := record()])

    def fails(*_: Any, **__: Any) -> Any:
        raise UnavailableError("no network")

    with monkeypatch.context() as broken:
        broken.setattr(tail_writing.TailWriter, "add", fails)
        with pytest.raises(UnavailableError):
            packed.delete(USER, [one.id])
    assert packed.count(USER) == 0
    assert packed.delete(USER, [one.id]) == 0


def test_a_vector_without_codes_is_deleted_without_a_tombstone(
    packed: LshDynamoIndex, opened: Open, client: Any, record: Any
) -> None:
    packed.upsert(USER, [one := record()])
    client.delete_item(TableName=packed.table, Key={**CODES, "embedding_id": {"S": "U"}})
    assert opened().delete(USER, [one.id]) == 1
    assert packed.count(USER) == 0


def test_writers_forget_users_they_did_not_write_to_lately(
    packed: LshDynamoIndex, monkeypatch: pytest.MonkeyPatch, record: Any
) -> None:
    monkeypatch.setattr("ialstore_backends.lsh.packed.writing._USERS", 1)
    for user in ("u", "v", "u"):
        packed.upsert(user, [record()])
    assert [packed.count(user) for user in ("u", "v")] == [2, 1]
