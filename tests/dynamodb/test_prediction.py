"""What was predicted is what the service's meter shows, to the unit."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ialstore import ConflictError, Consistency, Message, Units, meter
from ialstore.testing.profiles import profile
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from ialstore_backends.dynamodb.prediction import Prediction

STRONG, EVENTUAL = Consistency.STRONG, Consistency.EVENTUAL
INDEXES = list(itertools.product((False, True), repeat=2))
_numbers = itertools.count(1000)  # of one length, whatever ran before


def text(size: int, *, packs: bool) -> str:
    """Return a text that compresses well, or hardly."""
    if packs:
        return "é" * (size // 2)
    letters = random.Random(size).choices("abcdefghijklmnopqrstuvwxyz0123456789+-", k=size)
    return "".join(letters)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Return a message of any size up to some 20 KB; its user is to be replaced."""
    sizes = st.one_of(st.integers(0, 300), st.integers(600, 1100), st.integers(1900, 20_000))
    optional = st.one_of(st.none(), st.integers(1, 200).map(lambda n: "n" * n))
    return Message.new(
        user_id="u",
        session_id=draw(st.sampled_from(["s", "#" * 50, "é" * 100])),
        role=draw(st.sampled_from(["user", "assistant", "tool"])),
        content=text(draw(sizes), packs=draw(st.booleans())),
        name=draw(optional),
        summary=draw(optional),
        tokens=draw(st.one_of(st.none(), st.integers(0, 2**31 - 1))),
        metadata=draw(st.sampled_from([None, {"k": "v" * 700}])),
        payload=draw(st.sampled_from([None, {"k": [1, 2.5, None]}])),
        expires_at=draw(st.sampled_from([None, datetime(2099, 1, 1, tzinfo=UTC)])),
        created_at=datetime(2096, 2, 29, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 99))),
    )


@pytest.fixture(scope="module", params=["dynoxide", "dynamodb_local"])
def stores(request: pytest.FixtureRequest) -> Iterator[dict[tuple[bool, bool], Any]]:
    """Return a store and its prediction for each choice of indexes."""
    server: RunningServer = request.getfixturevalue(request.param)
    with ExitStack() as opened:
        found: dict[tuple[bool, bool], Any] = {}
        for by_user, by_session in INDEXES:
            options = DynamoOptions(
                endpoint=server.endpoint, user_time_index=by_user, session_index=by_session
            )
            store = DynamoConversationStore(f"p{request.param}{by_user}{by_session}", options)
            opened.enter_context(store).setup()
            found[by_user, by_session] = (store, Prediction(options))
        yield found


def measured(call: Callable[[], object]) -> Units:
    with meter() as metered:
        call()
    return metered.units


LONG = Message.new(
    user_id="u",
    session_id="s",
    role="user",
    content=text(800_000, packs=False),
    created_at=datetime(2096, 2, 29, tzinfo=UTC),
)


@profile().property(max_examples=25)
@given(given=messages(), other=messages(), indexes=st.sampled_from(INDEXES))
@example(given=LONG, other=LONG, indexes=(True, True))
def test_the_prediction_agrees_with_the_meter(
    stores: dict[tuple[bool, bool], Any], given: Message, other: Message, indexes: tuple[bool, bool]
) -> None:
    """Appends, duplicates, conflicts, reads and deletes; indexes on and off."""
    store, prediction = stores[indexes]
    message = replace(given, user_id=f"u{next(_numbers)}")
    user = message.user_id
    first = prediction.append(message, is_first_of_day=True, is_first_of_session=True)
    assert measured(lambda: store.get(user, [message.id])) == prediction.get(
        None, consistency=STRONG
    )
    assert measured(lambda: store.append(message)) == first
    assert measured(lambda: store.append(message)) == prediction.append(message, there=message)
    conflicting = replace(message, content=other.content + "!")

    def conflict() -> None:
        with pytest.raises(ConflictError):
            store.append(conflicting)

    assert measured(conflict) == prediction.append(conflicting, there=message)
    for consistency in Consistency:
        assert measured(
            partial(store.get, user, [message.id], consistency=consistency)
        ) == prediction.get(message, consistency=consistency)
    if len(message.content) < 300_000:
        assert measured(lambda: store.delete(user, [message.id])) == prediction.delete(message)
        assert measured(lambda: store.delete(user, [message.id])) == prediction.delete(None)
        assert measured(lambda: store.append(message)) == prediction.append(message)


@profile().property(max_examples=10)
@given(some=st.lists(messages(), min_size=1, max_size=12, unique_by=lambda one: one.id))
def test_a_page_costs_what_was_predicted(
    stores: dict[tuple[bool, bool], Any], some: list[Message]
) -> None:
    """Of the table, beside one unit of the directory; and of either index."""
    store, prediction = stores[True, True]
    user = f"u{next(_numbers)}"
    written = sorted((replace(one, user_id=user) for one in some), key=lambda one: one.id)
    store.bulk_load(written)
    directory = {STRONG: Units(read=1, requests=1), EVENTUAL: Units(read=0.5, requests=1)}
    for how in Consistency:
        found = measured(partial(store.history, user, limit=1000, consistency=how))
        assert found == prediction.day(written, consistency=how) + directory[how]
    found = measured(lambda: store.summaries(user, limit=1000, consistency=EVENTUAL))
    assert found == prediction.summaries(written, "UserTimeIndex")
    session = written[0].session_id
    mine = [one for one in written if one.session_id == session]
    found = measured(
        lambda: store.summaries(user, session_id=session, limit=1000, consistency=EVENTUAL)
    )
    assert found == prediction.summaries(mine, "SessionIndex")


@pytest.mark.parametrize("size", [1024, 2048, 4096])
@pytest.mark.parametrize("over", [0, 1])
def test_the_prediction_is_right_at_the_border_of_a_unit(
    stores: dict[tuple[bool, bool], Any], size: int, over: int
) -> None:
    """A byte more is a unit more."""
    store, prediction = stores[False, False]
    empty = replace(LONG, user_id=f"u{next(_numbers)}", content="", metadata={"k": "v"})
    row = prediction.row_bytes(replace(empty, content="x" * 300))
    message = replace(empty, content="x" * (300 + size + over - row))
    assert prediction.row_bytes(message) == size + over
    write = prediction.append(message)
    assert write == Units(write=size // 1024 + over, requests=1)
    units = measured(partial(store.append, message))
    assert units == write + Units(write=2, requests=2)
    read = prediction.get(message, consistency=STRONG)
    assert measured(partial(store.get, message.user_id, [message.id])) == read
    assert read.read == max(1, -(-(size + over) // 4096))


@pytest.mark.parametrize("over", [0, 1])
def test_the_prediction_of_an_index_is_right_at_the_border(
    stores: dict[tuple[bool, bool], Any], over: int
) -> None:
    """Of an entry of the index by session, whose summary is of the length that it takes."""
    store, prediction = stores[False, True]
    empty = replace(LONG, user_id=f"u{next(_numbers)}", content="x", summary="x" * 500)
    entry = prediction.entry_bytes(empty, "SessionIndex")
    message = replace(empty, summary="x" * (500 + 1024 + over - entry))
    assert prediction.entry_bytes(message, "SessionIndex") == 1024 + over
    assert measured(partial(store.append, message)).write == 2 + 2 + 1 + over
    assert prediction.append(message).write == 2 + 1 + over


DAY = datetime(2096, 2, 29, 8, tzinfo=UTC)


def say(user: str, session: str, number: int, size: int = 900, days: int = 0) -> Message:
    return Message.new(
        user_id=user,
        session_id=session,
        role="user",
        content="x" * size,
        created_at=DAY + timedelta(days=days, seconds=number),
        key=str(number),
    )


@pytest.mark.parametrize(
    ("sessions", "each", "limit"),
    [
        pytest.param(1, 6, 20, id="a short session alone"),
        pytest.param(1, 20, 20, id="just the limit"),
        pytest.param(1, 30, 20, id="a long session"),
        pytest.param(3, 6, 20, id="a short session behind others"),
        pytest.param(3, 10, 30, id="all that a first page may hold"),
        pytest.param(3, 20, 60, id="the limit is the day"),
        pytest.param(2, 0, 20, id="nothing"),
    ],
)
@pytest.mark.parametrize("consistency", Consistency)
def test_the_newest_of_a_session_cost_what_was_predicted(
    stores: dict[tuple[bool, bool], Any],
    sessions: int,
    each: int,
    limit: int,
    consistency: Consistency,
) -> None:
    """As the context engine reads them, after others were read on this day."""
    store, prediction = stores[False, False]
    user = f"u{next(_numbers)}"
    for number in range(sessions * each):
        store.append(say(user, f"s{number // each}", number))
    last = f"s{sessions - 1}"
    units = measured(
        partial(store.history, user, session_id=last, limit=limit, consistency=consistency)
    )
    assert units == prediction.newest(
        say(user, last, 0), limit, of_session=each, of_day=sessions * each, consistency=consistency
    )


@pytest.mark.parametrize(
    ("of_day", "days", "limit"),
    [(30, 1, 20), (20, 1, 20), (6, 1, 20), (6, 3, 20), (5, 9, 20), (20, 3, 20), (6, 20, 1000)],
)
@pytest.mark.parametrize("consistency", Consistency)
def test_the_newest_of_a_user_cost_what_was_predicted(
    stores: dict[tuple[bool, bool], Any],
    of_day: int,
    days: int,
    limit: int,
    consistency: Consistency,
) -> None:
    """Over days, the more at once the further back."""
    store, prediction = stores[False, False]
    user = f"u{next(_numbers)}"
    for day in range(-days + 1, 1):
        store.append(*(say(user, "s", number, days=day) for number in range(of_day)))
    units = measured(partial(store.history, user, limit=limit, consistency=consistency))
    assert units == prediction.newest_of_user(
        say(user, "s", 0), limit, of_day=of_day, days=days, consistency=consistency
    )


@pytest.mark.parametrize("count", [0, 1, 60])
@pytest.mark.parametrize("consistency", Consistency)
def test_a_list_of_sessions_costs_what_was_predicted(
    stores: dict[tuple[bool, bool], Any], count: int, consistency: Consistency
) -> None:
    store, prediction = stores[False, False]
    user = f"u{next(_numbers)}"
    some = [say(user, f"session-{number:03d}", number) for number in range(count)]
    if some:
        store.append(*some)
    units = measured(partial(store.sessions, user, consistency=consistency))
    sample = say(user, "session-001", 1)  # the first one's time is a byte shorter
    assert units == prediction.sessions(sample, count, consistency=consistency)


def test_pages_are_rounded_up_one_by_one() -> None:
    """What is more than 1 MiB takes several requests: messages, and rows of the directory."""
    prediction = Prediction(DynamoOptions())
    message = replace(LONG, content=text(200_000, packs=False))
    units = prediction.newest(message, 20, of_session=30, of_day=30)
    row = prediction.row_bytes(message)
    per_page = (1 << 20) // row
    assert units.requests == 1 + -(-20 // per_page)
    listed = prediction.sessions(message, 20_000)
    size = prediction.session_bytes(message)
    assert listed.requests == -(-20_000 // ((1 << 20) // size))
    assert 0 <= listed.read - 20_000 * size / 4096 < 2 * listed.requests


def test_parts_of_contents_are_read_beside_their_rows() -> None:
    prediction = Prediction(DynamoOptions())
    units = prediction.newest(LONG, 20, of_session=2, of_day=2)
    alone = prediction.get(LONG, consistency=STRONG)
    rows = prediction.newest(replace(LONG, content="x"), 20, of_session=2, of_day=2)
    assert units.read == rows.read + 2 * (alone.read - 1)


def test_what_is_spread_is_read_from_each_partition() -> None:
    message = say("u", "s", 0)
    one, four = (Prediction(DynamoOptions(spread=spread)) for spread in (1, 4))
    of_user = [p.newest_of_user(message, 20, of_day=40, days=1).requests for p in (one, four)]
    assert of_user == [2, 5]
    crowded = [p.newest(message, 20, of_session=2, of_day=402).read for p in (one, four)]
    assert crowded[1] < crowded[0] / 2


@pytest.mark.parametrize("message", [LONG, say("u", "s", 0)], ids=["long", "short"])
@pytest.mark.parametrize("indexes", INDEXES)
def test_what_an_append_costs_by_place_is_what_it_costs(
    message: Message, indexes: tuple[bool, bool]
) -> None:
    prediction = Prediction(DynamoOptions(user_time_index=indexes[0], session_index=indexes[1]))
    places = prediction.by_place(message)
    assert len(places) == len(prediction.stored_bytes(message)) == 1 + sum(indexes)
    assert sum(places.values(), Units()) == prediction.append(message)
    stored = prediction.stored_bytes(message)
    assert stored.pop("conversation-history-v2") >= prediction.row_bytes(message) + 100
    for index, size in stored.items():
        assert size == prediction.entry_bytes(message, index) + 100
