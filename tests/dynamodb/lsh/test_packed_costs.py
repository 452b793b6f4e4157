"""What searches of the layout ``packed`` cost: never more than all rows, and what was predicted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.session import Session
from numpy.typing import NDArray

from ialstore import Consistency, HashingEmbedder, IndexSpec, Units, VectorRecord, Where, meter
from ialstore.cli import main
from ialstore.ids import message_id
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.servers import RunningServer
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.packed import rebuilding
from ialstore_backends.lsh.packed.prediction import PackedPrediction

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


def topics(count: int, seed: int) -> NDArray[np.float64]:
    """Return vectors of topics and subtopics, like those of text."""
    fixed, rng = np.random.default_rng(8), np.random.default_rng(seed)
    fine = fixed.standard_normal((60, DIMENSION)) + fixed.standard_normal((1, DIMENSION))
    return np.asarray(fine[rng.integers(60, size=count)] + rng.standard_normal((count, DIMENSION)))


@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.no_cover)])
def test_a_search_costs_what_was_predicted(
    opened: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """After a rebuild within 2 %, and with a tail within 10 %; in cells of 1 KB beside the head."""
    if count == 1000:
        monkeypatch.setattr(rebuilding, "_UNIT_BYTES", 1024)
    records = [
        replace(one, vector=vector)
        for one, vector in zip(uniform(count + 40), topics(count + 40, 1), strict=True)
    ]
    index = opened()
    index.setup()
    options = LshOptions(layout="packed", chunks=1)
    prediction = PackedPrediction(IndexSpec(DIMENSION), options, int(clock.now.timestamp()))
    for tail, tolerance in ((0, 0.02), (40, 0.1)):
        index.bulk_load(("u", one) for one in (records[count:] if tail else records[:count]))
        if not tail:
            index.optimize("u", only_due=True)
        there = prediction.prepared("u", records[: count + tail], tail=tail)
        for held in (False, True):
            found = predicted = Units()
            for query in topics(5, 2):
                other = opened()
                other.check()
                if held:
                    other.search("u", query, where=Where(session_id="none"), consistency=EVENTUAL)
                search = partial(other.search, "u", query, consistency=EVENTUAL)
                found += measured(search)
                predicted += prediction.search(
                    "u", query, records=there, consistency=EVENTUAL, held=held
                )
            assert predicted.read == pytest.approx(found.read, rel=tolerance)
            assert predicted.requests == found.requests


def test_a_search_of_nobody_costs_what_was_predicted(opened: Open, clock: ManualClock) -> None:
    index = opened(3)
    index.setup()
    query = np.ones(DIMENSION)
    options = LshOptions(layout="packed", chunks=3)
    prediction = PackedPrediction(IndexSpec(DIMENSION), options, int(clock.now.timestamp()))
    found = measured(partial(index.search, "nobody", query, consistency=EVENTUAL))
    assert prediction.search("nobody", query, records=[], consistency=EVENTUAL) == found


@pytest.mark.parametrize("effort", [0.5, 1])
def test_a_search_that_reads_rows_costs_what_was_predicted(
    opened: Open, clock: ManualClock, effort: float
) -> None:
    """To the unit: of few vectors; with a filter by time, and strongly."""
    index, records = opened(3), uniform(90)
    index.setup()
    index.bulk_load(("u", one) for one in records)
    options = LshOptions(layout="packed", chunks=3)
    prediction = PackedPrediction(IndexSpec(DIMENSION), options, int(clock.now.timestamp()))
    vector = np.ones(DIMENSION)
    for where in (Where(), Where(since=START + timedelta(minutes=70))):
        for consistency in Consistency:
            how: dict[str, Any] = {"where": where, "consistency": consistency, "effort": effort}
            other = opened(3)
            other.check()
            found = measured(partial(other.search, "u", vector, **how))
            assert found == prediction.search("u", vector, records=records, **how)


def test_a_merge_costs_about_what_was_predicted(
    opened: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a fifth: cells are not quite alike."""
    monkeypatch.setattr(rebuilding, "_UNIT_BYTES", 1024)
    records, index = uniform(600), opened()
    index.setup()
    index.bulk_load(("u", one) for one in records[:400])
    index.optimize("u", only_due=True)
    rest = iter(records[400:])
    while not index.is_optimize_due("u"):
        index.upsert("u", [next(rest)])
    found = measured(partial(index.optimize, "u", only_due=True))
    options = LshOptions(layout="packed", chunks=1)
    prediction = PackedPrediction(IndexSpec(DIMENSION), options, int(clock.now.timestamp()))
    predicted = prediction.merge("u", 400)
    assert predicted.write == pytest.approx(found.write, rel=0.2)
    assert predicted.read == pytest.approx(found.read, rel=0.2)


@pytest.mark.parametrize("chunks", [1, 3])
def test_encoding_all_anew_reads_all_rows_as_was_predicted(
    opened: Open, clock: ManualClock, chunks: int
) -> None:
    """Within a twentieth: rows are spread over chunks by chance."""
    records, index = uniform(300), opened(chunks)
    index.setup()
    index.bulk_load(("u", one) for one in records)
    found = measured(partial(index.count, "u", consistency=Consistency.STRONG))
    options = LshOptions(layout="packed", chunks=chunks)
    prediction = PackedPrediction(IndexSpec(DIMENSION), options, int(clock.now.timestamp()))
    predicted = prediction.all_rows("u", records[0], len(records), consistency="strong")
    assert predicted.read == pytest.approx(found.read, rel=0.05)
    assert predicted.requests == found.requests == chunks


@pytest.mark.usefixtures("by_codes")
def test_explain_shows_the_way_of_a_search_and_its_units(
    dynoxide: RunningServer,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Cold, and with ``--again`` held: half a unit for what is new, and as many rows."""
    url = f"lsh+dynamodb://{prefix}?endpoint={dynoxide.endpoint}&layout=packed&chunks=1"
    file = tmp_path / "ialstore.toml"
    file.write_text(
        '[conversation]\nurl = "memory:"\n[vector]\n'
        f'url = "{url}"\n[embedder]\nuse = "hashing"\ndimension = {DIMENSION}\n'
    )
    embedder = HashingEmbedder(dimension=DIMENSION)
    options = LshOptions(endpoint=dynoxide.endpoint, layout="packed", chunks=1)
    with LshDynamoIndex(prefix, IndexSpec(DIMENSION, "cosine", embedder.model), options) as index:
        index.setup()
        vectors = topics(300, 1)
        some = (replace(one, vector=v) for one, v in zip(uniform(300), vectors, strict=True))
        index.bulk_load(("u", one) for one in some)
        index.optimize("u", only_due=True)
    monkeypatch.chdir(tmp_path)
    asked = ["explain", "search", "-u", "u", "--query", "x", "--limit", "5", "--eventual", "--json"]
    told: list[dict[str, Any]] = []
    for again in ([], ["--again"]):
        assert main([*asked, *again]) == 0
        told.append(json.loads(capsys.readouterr().out))
    cold, held = told
    assert cold["backend"] == "lsh+dynamodb"
    assert (cold["plan"], held["plan"]) == ("codes", "codes")
    assert cold["rows"] == held["rows"] >= 5
    assert held["read_units"] == 0.5 + held["rows"] / 2
    assert held["read_units"] < cold["read_units"]
    assert held["requests"] == 2


@pytest.mark.usefixtures("by_codes")
@pytest.mark.parametrize("flat_cells", [rebuilding.FLAT_CELLS, 1])
def test_codes_that_others_made_cost_as_those_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, flat_cells: int
) -> None:
    """Rows of another codec are larger, and lie in other chunks; codes are of the same vectors."""
    monkeypatch.setattr(rebuilding, "FLAT_CELLS", flat_cells)
    records = uniform(400)
    plain, other = (
        PackedPrediction(IndexSpec(DIMENSION), options, 0)
        for options in (
            LshOptions(layout="packed"),
            LshOptions(layout="packed", codec="float32", chunks=1),
        )
    )
    own = other.prepared("u", records, tail=20)
    taken = other.prepared("u", records, tail=20, like=plain.prepared("u", records, tail=20))
    search = partial(other.search, "u", records[0].vector, consistency=EVENTUAL)
    for effort in (0.5, 1.0):
        for held in (False, True):
            found = search(records=taken, effort=effort, held=held)
            assert found.read == pytest.approx(
                search(records=own, effort=effort, held=held).read, rel=0.05
            )
    none = other.prepared("u", (), like=plain.prepared("u", ()))
    assert search(records=none) == search(records=other.prepared("u", ()))
