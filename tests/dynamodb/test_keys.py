"""Keys of the conversation table: they sort as ids do, and no two users share one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ialstore import Role, message_id
from ialstore.ids import HIGHEST_ID, LOWEST_ID, lowest_id_at, next_id
from ialstore_backends.dynamodb import keys

BASE = datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)
times = st.one_of(
    st.integers(0, 3_000).map(lambda us: BASE + timedelta(microseconds=us)),
    st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - Hypothesis adds it
)
ids = st.builds(
    message_id,
    st.just("u"),
    st.sampled_from(["s1", "s10", "é", "x"]),
    times,
    st.sampled_from(list(Role)),
    st.text(max_size=3),
)


def beginning(at: datetime) -> str:
    """Return what sorts before every id of a time."""
    return lowest_id_at((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


@given(one=ids, other=ids)
def test_keys_sort_as_ids_do(one: str, other: str) -> None:
    """M6: order is id order, in the table and in its indexes."""
    assert (keys.sort_key(one) < keys.sort_key(other)) is (one < other)
    assert (keys.index_key(one) < keys.index_key(other)) is (one < other)
    assert keys.id_of(keys.sort_key(one)) == one


@given(
    one=ids,
    border=st.one_of(
        ids, ids.map(next_id), times.map(lambda at: lowest_id_at(int(at.timestamp() * 1e6)))
    ),
)
@example(one=message_id("u", "s", BASE, "user", ""), border=LOWEST_ID)
@example(one=message_id("u", "s", BASE, "user", ""), border=HIGHEST_ID)
@example(one=message_id("u", "s", BASE, "user", ""), border="018df4bc-9480-7fff-ffff-ffffffffffff")
def test_a_border_lies_among_keys_where_it_lies_among_ids(one: str, border: str) -> None:
    """S6: a range of keys holds what the range of ids holds, ends included as they should be."""
    assert (keys.sort_key(one) >= keys.bound(border)) is (one >= border)
    assert (keys.index_key(one) >= keys.index_bound(border)) is (one >= border)
    if border != LOWEST_ID:
        last = keys.previous(border)
        assert (keys.sort_key(one) <= keys.bound(last)) is (one < border)
        assert (keys.index_key(one) <= keys.index_bound(last)) is (one < border)


@given(pairs=st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=2, max_size=2))
def test_no_two_users_or_sessions_share_a_key(pairs: list[tuple[str, str]]) -> None:
    """C6: for any bytes in the ids."""
    one, other = pairs
    assert (keys.session_key(*one) == keys.session_key(*other)) is (one == other)
    assert keys.unescaped(keys.escaped(one[0])) == one[0]
    assert "#" not in keys.escaped(one[0])


@pytest.mark.parametrize("spread", [1, 4, 256])
@given(one=ids)
def test_a_message_lies_in_one_of_the_partitions_of_its_day(spread: int, one: str) -> None:
    layout = keys.Layout(spread)
    partitions = layout.partitions("u#1", keys.day_of(one))
    assert len(partitions) == len(set(partitions)) == spread
    assert layout.partition("u#1", one) in partitions
    assert all(partition.startswith("u%231#") for partition in partitions)
    assert layout.directory("u#1") not in partitions


def test_the_lowest_id_has_no_previous() -> None:
    assert keys.previous(LOWEST_ID) == LOWEST_ID
