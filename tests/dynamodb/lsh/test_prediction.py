"""What was predicted is what the service's meter shows, to the unit."""

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

from ialstore import (
    ConfigurationError,
    Consistency,
    IndexSpec,
    Units,
    VectorRecord,
    Where,
    meter,
)
from ialstore.ids import message_id
from ialstore.testing.profiles import profile
from ialstore.testing.servers import RunningServer
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.codec import CODECS
from ialstore_backends.lsh.prediction import Prediction

START = datetime(2096, 2, 29, tzinfo=UTC)
SPEC = IndexSpec(48)
_numbers = itertools.count()


@st.composite
def some_records(draw: st.DrawFn) -> VectorRecord:
    """Return a record of up to some 3 KB."""
    session = draw(st.sampled_from(["s", "#" * 50, '"é' * 100]))
    role = draw(st.sampled_from(["user", "assistant"]))
    number = draw(st.integers(0, 10**6))
    made = message_id("u", session, START + timedelta(seconds=number), role, "k")
    vector = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(SPEC.dimension)
    vector[7] *= draw(st.sampled_from([1, 1000]))  # such a one is not written as int8
    return VectorRecord(
        made,
        vector,
        session,
        role,
        draw(st.sampled_from([None, "", "x" * 200, "é" * 1000])),
        draw(st.sampled_from([None, START + timedelta(days=9)])),
    )


@pytest.fixture(scope="module", params=["dynoxide", "dynamodb_local"])
def indexes(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Return an index and its prediction for each codec."""
    server: RunningServer = request.getfixturevalue(request.param)
    opened: dict[str, Any] = {}
    for codec in CODECS:
        options = LshOptions(endpoint=server.endpoint, chunks=3, codec=codec)
        index = LshDynamoIndex(f"p{request.param}{codec}", SPEC, options)
        index.setup()
        index.count("nobody")
        opened[codec] = (index, Prediction(SPEC, options))
    yield opened
    for index, _ in opened.values():
        index.close()


def measured(call: Callable[[], object]) -> Units:
    with meter() as metered:
        call()
    return metered.units


@profile().property(max_examples=25)
@given(given=some_records(), other=some_records(), codec=st.sampled_from(CODECS))
def test_the_prediction_agrees_with_the_meter(
    indexes: dict[str, Any], given: VectorRecord, other: VectorRecord, codec: str
) -> None:
    """Puts, replacements, reads and deletes."""
    index, prediction = indexes[codec]
    user = f"u{next(_numbers)}"
    assert measured(lambda: index.delete(user, [given.id])) == prediction.delete(user, None)
    assert measured(lambda: index.upsert(user, [given])) == prediction.upsert(user, given)
    changed = replace(given, vector=other.vector, text=other.text, expires_at=other.expires_at)
    for record, there in ((given, given), (changed, given), (given, changed)):
        units = prediction.upsert(user, record, there=there)
        assert measured(partial(index.upsert, user, [record])) == units
    absent = message_id("u", "s", START - timedelta(days=1), "user", "k")
    for consistency in Consistency:
        for asked, known in (
            ([given.id], [given]),
            ([absent], [None]),
            ([given.id, absent], [given, None]),
        ):
            found = measured(partial(index.get, user, asked, consistency=consistency))
            assert found == prediction.get(user, known, consistency=consistency)
    assert measured(lambda: index.delete(user, [given.id])) == prediction.delete(user, given)


@profile().property(max_examples=30)
@given(
    some=st.lists(some_records(), max_size=60, unique_by=lambda one: one.id),
    query=st.integers(0, 99),
    k=st.integers(1, 12),
    given=st.fixed_dictionaries(
        {
            "effort": st.sampled_from([None, 0.3, 1]),
            "where": st.sampled_from(
                [Where(), Where(session_id="s"), Where(since=START + timedelta(seconds=500_000))]
            ),
            "consistency": st.sampled_from(Consistency),
        }
    ),
)
def test_a_search_costs_what_was_predicted(
    indexes: dict[str, Any],
    some: list[VectorRecord],
    query: int,
    k: int,
    given: dict[str, Any],
) -> None:
    """Of rows and of the index; and a count."""
    index, prediction = indexes["int8"]
    user = f"u{next(_numbers)}"
    index.upsert(user, some)
    vector = np.random.default_rng(query).standard_normal(SPEC.dimension)
    found = measured(partial(index.search, user, vector, k, **given))
    assert found == prediction.search(user, vector, k, records=some, **given)
    consistency = given["consistency"]
    found = measured(partial(index.count, user, consistency=consistency))
    assert found == prediction.count(user, some, consistency=consistency)


@pytest.mark.parametrize("over", [0, 1])
def test_the_prediction_is_right_at_the_border_of_a_unit(
    indexes: dict[str, Any], over: int
) -> None:
    """A byte more is a unit more; of the row, and of what a search reads."""
    index, prediction = indexes["int8"]
    user = f"u{next(_numbers)}"
    made = message_id("u", "s", START, "user", str(over))
    record = VectorRecord(made, np.ones(48), "s", "user", "x")
    size = 1 + 1024 + over - prediction.row_bytes(user, record)
    record = replace(record, text="x" * size)
    assert prediction.row_bytes(user, record) == 1024 + over
    assert measured(lambda: index.upsert(user, [record])).write == 2 + over
    assert prediction.upsert(user, record).write == 2 + over


def test_pages_are_rounded_up_one_by_one() -> None:
    """A query over more than 1 MiB; both servers cut pages a little differently."""
    options = LshOptions(chunks=1)
    records = [
        VectorRecord(
            message_id("u", "s", START, "user", str(n)), np.ones(48), "s", "user", "x" * 2048
        )
        for n in range(1000)
    ]
    units = Prediction(SPEC, options).count("u", records, consistency=Consistency.EVENTUAL)
    assert units.requests == 3
    assert (
        0
        <= units.read - sum(Prediction(SPEC, options).row_bytes("u", one) for one in records) / 8192
        < 1.5
    )


def test_the_entry_of_an_index_is_smaller_than_its_row() -> None:
    """It holds no text: a long one costs its row alone."""
    record = VectorRecord(
        message_id("u", "s", START, "user", "k"), np.ones(48), "s", "user", "x" * 2000
    )
    prediction = Prediction(SPEC, LshOptions())
    assert prediction.entry_bytes("u", record) == prediction.row_bytes("u", record) - 2004
    assert prediction.upsert("u", record) == Units(write=4, requests=1)


@pytest.mark.parametrize("chunks", [1, 3])
def test_all_rows_cost_what_an_exact_search_of_them_costs(chunks: int) -> None:
    """Where each chunk holds as many, or one more."""
    prediction = Prediction(SPEC, LshOptions(chunks=chunks))
    records = [
        VectorRecord(
            message_id("u", "s", START, "user", str(n)), np.ones(48), "s", "user", "x" * 1900
        )
        for n in range(900)
    ]
    strong = Consistency.STRONG
    searched = prediction.search("u", np.ones(48), records=records, consistency=strong)
    units = prediction.all_rows("u", records[0], len(records), consistency=strong)
    assert units.requests == searched.requests
    assert abs(units.read - searched.read) <= chunks
    assert prediction.all_rows("u", records[0], 0, consistency=strong).requests == chunks


def test_a_full_page_is_followed_by_none() -> None:
    prediction = Prediction(SPEC, LshOptions(chunks=1))
    record = VectorRecord(message_id("u", "s", START, "user", "k"), np.ones(48), "s", "user", "x")
    full = (1 << 20) // prediction.row_bytes("u", record)
    for count, requests in ((full, 1), (full + 1, 2), (2 * full, 2)):
        units = prediction.all_rows("u", record, count, consistency="strong")
        assert units.requests == requests


def test_the_other_layout_has_a_prediction_of_its_own() -> None:
    """E2: it is named."""
    with pytest.raises(ConfigurationError, match="PackedPrediction"):
        Prediction(IndexSpec(2), LshOptions(layout="packed"))
