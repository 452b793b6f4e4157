"""What was predicted is what the service's meter shows, to the unit and byte."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import Consistency, IndexSpec, Units, VectorRecord, Where, meter
from ialstore.estimate import Workload
from ialstore.ids import message_id
from ialstore.testing.clock import ManualClock
from ialstore.testing.profiles import profile
from ialstore.testing.servers import RunningServer
from ialstore.url import StoreURL
from ialstore_backends.dynamodb_vector import DynamoVectorIndex, VectorOptions
from ialstore_backends.dynamodb_vector.prediction import Prediction

URL = StoreURL.parse("dynamodb-vector://p-?region=eu-west-1")
START = datetime(2096, 2, 29, tzinfo=UTC)
SPEC = IndexSpec(48)
_numbers = itertools.count()


@st.composite
def some_records(draw: st.DrawFn) -> VectorRecord:
    """Return a record of up to some 3 KB."""
    session = draw(st.sampled_from(["s", "#" * 50, '"é' * 100]))
    role = draw(st.sampled_from(["user", "assistant", "tool"]))
    number = draw(st.integers(0, 10**6))
    made = message_id("u", session, START + timedelta(seconds=number), role, "k")
    vector = np.random.default_rng(number).standard_normal(SPEC.dimension)
    return VectorRecord(
        made,
        vector,
        session,
        role,
        draw(st.sampled_from([None, "", "x" * 200, "é" * 1000])),
        draw(st.sampled_from([None, START + timedelta(days=9)])),
    )


class Place:
    """An index, the clock that it lives by, and its prediction."""

    def __init__(self, server: RunningServer, options: VectorOptions, name: str) -> None:
        self.clock = ManualClock()
        self.index = DynamoVectorIndex(f"p{name}-", SPEC, options, clock=self.clock)
        self.index.setup()
        self.index.count("nobody")
        self.prediction = Prediction(SPEC, options)


@pytest.fixture(scope="module")
def places(dynoxide: RunningServer) -> Iterator[dict[bool, Place]]:
    """Return one with strong reads and one without."""
    opened = {
        strong: Place(
            dynoxide,
            VectorOptions(endpoint=dynoxide.endpoint, chunks=2, strong_reads=strong),
            str(strong),
        )
        for strong in (True, False)
    }
    yield opened
    for place in opened.values():
        place.index.close()


def measured(call: Callable[[], object]) -> Units:
    with meter() as metered:
        call()
    return metered.units


@profile().property(max_examples=15)
@given(given=some_records(), other=some_records(), strong=st.booleans())
def test_the_prediction_agrees_with_the_meter(
    places: dict[bool, Place],
    given: VectorRecord,
    other: VectorRecord,
    strong: bool,  # noqa: FBT001 - a case
) -> None:
    """Puts, replacements, reads and deletes; bytes of vectors included."""
    index, prediction = places[strong].index, places[strong].prediction
    user = f"u{next(_numbers)}"
    assert measured(lambda: index.delete(user, [given.id])) == prediction.delete(user, None)
    assert measured(lambda: index.upsert(user, [given])) == prediction.upsert(user, given)
    changed = replace(given, vector=other.vector, text=other.text, expires_at=other.expires_at)
    for record, there in ((given, given), (changed, given), (given, changed)):
        places[strong].clock.advance(1)
        units = prediction.upsert(user, record, there=there)
        assert measured(partial(index.upsert, user, [record])) == units
    absent = message_id("u", "s", START - timedelta(days=1), "user", "k")
    for consistency in Consistency if strong else [Consistency.EVENTUAL]:
        for asked, known in (
            ([given.id], [given]),
            ([absent], [None]),
            ([given.id, absent], [given, None]),
        ):
            found = measured(partial(index.get, user, asked, consistency=consistency))
            assert found == prediction.get(user, known, consistency=consistency)
    assert measured(lambda: index.delete(user, [given.id])) == prediction.delete(user, given)


FILTERS = [
    Where(),
    Where(session_id="s"),
    Where(roles=["user", "tool"]),
    Where(exclude_session_id="s"),
    Where(since=START + timedelta(seconds=500_000)),
]


@profile().property(max_examples=25)
@given(
    some=st.lists(some_records(), max_size=40, unique_by=lambda one: one.id),
    query=st.integers(0, 99),
    k=st.integers(1, 12),
    is_recent=st.booleans(),
    given=st.fixed_dictionaries(
        {
            "effort": st.sampled_from([None, None, 1]),
            "where": st.sampled_from(FILTERS),
            "consistency": st.sampled_from(Consistency),
        }
    ),
)
def test_a_search_costs_what_was_predicted(
    places: dict[bool, Place],
    some: list[VectorRecord],
    *,
    query: int,
    k: int,
    is_recent: bool,
    given: dict[str, Any],
) -> None:
    """Of the index, of what was written last, and of rows; and a count."""
    place = places[True]
    index, prediction = place.index, place.prediction
    user = f"u{next(_numbers)}"
    index.upsert(user, some)
    if not is_recent:
        place.clock.advance(61)
    recent = some if is_recent else []
    vector = np.random.default_rng(-1 - query & 0xFFFF).standard_normal(SPEC.dimension)
    found = measured(partial(index.search, user, vector, k, **given))
    assert found == prediction.search(user, vector, k, records=some, recent=recent, **given)
    consistency = given["consistency"]
    found = measured(partial(index.count, user, consistency=consistency))
    assert found == prediction.count(user, some, consistency=consistency)


def many(count: int) -> list[VectorRecord]:
    """Return records a second apart, the later the further from one direction."""
    vectors = np.zeros((count, SPEC.dimension))
    vectors[:, 0], vectors[:, 1] = 1, np.arange(count)
    return [
        VectorRecord(
            message_id("u", "s", START + timedelta(seconds=n), "user", str(n)), one, "s", "user"
        )
        for n, one in enumerate(vectors)
    ]


@pytest.mark.parametrize("consistency", Consistency)
def test_a_search_that_falls_back_on_rows_costs_both(
    places: dict[bool, Place], consistency: Consistency
) -> None:
    """The hundred nearest of each partition are older than asked for."""
    place = places[True]
    user = f"u{next(_numbers)}"
    some = many(260)
    place.index.upsert(user, some)
    place.clock.advance(61)
    where = Where(since=START + timedelta(seconds=250))
    query = np.eye(1, SPEC.dimension)[0]
    found = measured(partial(place.index.search, user, query, where=where, consistency=consistency))
    assert found == place.prediction.search(
        user, query, records=some, where=where, consistency=consistency
    )
    assert found.vector_search_bytes > 1024
    assert found.requests == (6 if consistency is Consistency.STRONG else 4)


@pytest.mark.parametrize("over", [0, 1])
def test_the_prediction_is_right_at_the_border_of_a_unit(
    places: dict[bool, Place], over: int
) -> None:
    """A byte more is a unit of the row more; the vector counts four bytes a number."""
    index, prediction = places[False].index, places[False].prediction
    user = f"u{next(_numbers)}"
    made = message_id("u", "s", START, "user", str(over))
    record = VectorRecord(made, np.random.default_rng(1).random(48), "s", "user", "x")
    size = 1 + 1024 + over - prediction.row_bytes(user, record)
    record = replace(record, text="x" * size)
    assert prediction.row_bytes(user, record) == 1024 + over
    assert prediction.entry_bytes(user, record) == 1024 + over
    units = measured(lambda: index.upsert(user, [record]))
    assert (units.write, units.vector_write_bytes) == (1 + over, 1024 + over)
    assert prediction.upsert(user, record) == units


@pytest.mark.parametrize("consistency", Consistency)
@pytest.mark.parametrize("count", [0, 1, 260])
def test_the_usual_search_is_that_of_vectors_which_are_alike(
    consistency: Consistency, count: int
) -> None:
    """What estimates go by: the meter's own, but for how evenly ids spread over chunks."""
    prediction = Prediction(SPEC, VectorOptions(chunks=1))
    some = many(count)
    query = np.eye(1, SPEC.dimension)[0]
    like = some[0] if some else many(1)[0]
    assert prediction.usual_search(
        "u", like, count, 10, consistency=consistency
    ) == prediction.search("u", query, 10, records=some, consistency=consistency)


def test_a_workload_is_priced_with_the_bytes_of_the_index() -> None:
    """On demand only; `strong_reads=false` reads no rows."""
    workload = Workload(users=1, turns_per_day=10, retention_days=None)
    plain, eventual = (
        DynamoVectorIndex.estimate(
            StoreURL.parse(f"dynamodb-vector://p-?strong_reads={strong}"), workload, age_days=10
        )
        for strong in ("true", "false")
    )
    assert plain.is_on_demand_only
    assert plain.expired_per_day == 0
    (store, search), (_, weak) = ([*one.calls] for one in (plain, eventual))
    (stored,), (found,), (less,) = (one.units.values() for one in (store, search, weak))
    assert stored.vector_write_bytes > 2 * 4 * workload.dimension
    assert found.vector_search_bytes == less.vector_search_bytes
    assert found.read > 0 == less.read
    assert {one.place for one in plain.stored} == {"conversation-vectors", "VectorIndex"}
    without = Workload(users=1, memories=0)
    assert len(DynamoVectorIndex.estimate(URL, without, age_days=10).calls) == 1
