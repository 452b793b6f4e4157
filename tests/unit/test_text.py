"""Single values: texts, JSON and times."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import InvalidInputError, LimitExceededError
from ialstore._text import (
    MAX_MICROSECONDS,
    ceil_seconds,
    check_int,
    check_text,
    from_microseconds,
    from_seconds,
    json_text,
    sorted_json,
    to_microseconds,
)

LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
WEST = timezone(timedelta(hours=-14))
EAST = timezone(timedelta(hours=14))


class Colour(StrEnum):
    RED = "red"


class Pair(dict[str, Any]):
    pass


def as_json(value: Any, *, max_depth: int = 8, max_bytes: int = 10_000) -> str:
    return json_text(value, "value", max_depth=max_depth, max_bytes=max_bytes)[0]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param("", 0, id="empty"),
        pytest.param("abc", 3, id="ascii"),
        pytest.param("\0", 1, id="NUL"),
        pytest.param("é", 2, id="two bytes"),
        pytest.param("€", 3, id="three bytes"),
        pytest.param("😀", 4, id="astral"),
    ],
)
def test_the_length_of_a_text_is_that_of_its_utf_8(text: str, size: int) -> None:
    assert check_text(text, "name") == size
    assert check_text(text, "name", at_most=size) == size
    if size:
        with pytest.raises(
            LimitExceededError, match=f"name has {size} bytes, more than {size - 1}"
        ):
            check_text(text, "name", at_most=size - 1)


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\ud83d\ude00", "\udc80.txt"])
def test_a_lone_surrogate_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="name holds a lone surrogate"):
        check_text(text, "name")


@pytest.mark.parametrize("value", [None, b"a", 1, ["a"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"must be a str, not {type(value).__name__}"):
        check_text(value, "name")


@pytest.mark.parametrize("value", [1, 5])
def test_an_int_may_be_at_its_limits(value: int) -> None:
    check_int(value, "limit", at_least=1, at_most=5)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param(0, InvalidInputError, id="below"),
        pytest.param(6, LimitExceededError, id="above"),
        pytest.param(10**9, LimitExceededError, id="far above"),
        pytest.param(True, InvalidInputError, id="bool"),
        pytest.param(1.0, InvalidInputError, id="float"),
        pytest.param("1", InvalidInputError, id="text"),
        pytest.param(None, InvalidInputError, id="None"),
    ],
)
def test_an_int_past_its_limits_or_of_another_type_is_refused(
    value: object, error: type[InvalidInputError]
) -> None:
    with pytest.raises(error, match=r"^limit must be ") as caught:
        check_int(value, "limit", at_least=1, at_most=5)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({}, "{}", id="empty object"),
        pytest.param([], "[]", id="empty list"),
        pytest.param([1, 1.0], "[1,1.0]", id="1 and 1.0"),
        pytest.param([-0.0, 0], "[-0.0,0]", id="minus zero"),
        pytest.param([1e308, 5e-324], "[1e+308,5e-324]", id="extreme floats"),
        pytest.param([10**99, -(10**100) + 1], None, id="100 digits"),
        pytest.param({"b": 1, "a": 2}, '{"b":1,"a":2}', id="key order"),
        pytest.param([True, False, None], "[true,false,null]", id="constants"),
        pytest.param({"": {'."$[': ""}}, '{"":{".\\"$[":""}}', id="odd keys"),
        pytest.param(["\0\u2028é😀"], '["\\u0000\u2028é😀"]', id="odd texts"),
    ],
)
def test_json_comes_back_as_it_was_given(value: Any, text: str | None) -> None:
    made = as_json(value)

    assert text is None or made == text
    assert repr(json.loads(made)) == repr(value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param([10**100], LimitExceededError, id="101 digits"),
        pytest.param([-(10**100)], LimitExceededError, id="minus 101 digits"),
        pytest.param([10**5000], LimitExceededError, id="5,000 digits"),
        pytest.param([float("nan")], InvalidInputError, id="nan"),
        pytest.param([float("inf")], InvalidInputError, id="inf"),
        pytest.param([float("-inf")], InvalidInputError, id="-inf"),
        pytest.param([()], InvalidInputError, id="tuple"),
        pytest.param([{1}], InvalidInputError, id="set"),
        pytest.param([b""], InvalidInputError, id="bytes"),
        pytest.param([LAST], InvalidInputError, id="datetime"),
        pytest.param([Colour.RED], InvalidInputError, id="enum"),
        pytest.param([Pair()], InvalidInputError, id="subclass of dict"),
        pytest.param({1: ""}, InvalidInputError, id="int key"),
        pytest.param({Colour.RED: ""}, InvalidInputError, id="enum key"),
        pytest.param({None: ""}, InvalidInputError, id="None as key"),
        pytest.param(["\ud800"], InvalidInputError, id="surrogate"),
        pytest.param({"\ud800": 1}, InvalidInputError, id="surrogate in a key"),
    ],
)
def test_what_is_not_json_is_refused(value: Any, error: type[InvalidInputError]) -> None:
    with pytest.raises(InvalidInputError, match=r"^value ") as caught:
        as_json(value)
    assert type(caught.value) is error


def test_json_may_be_as_deep_as_its_limit_and_no_deeper() -> None:
    assert as_json(nested(8)) == "[" * 8 + "]" * 8
    with pytest.raises(LimitExceededError, match="nested more than 8 deep"):
        as_json(nested(9))
    with pytest.raises(LimitExceededError, match="nested more than 8 deep"):
        as_json(nested(100_000))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(["x" * 96], id="text"),
        pytest.param(["é" * 48], id="two bytes each"),
        pytest.param({"x" * 94: 1}, id="key"),
        pytest.param([1] * 48 + [11], id="numbers"),
    ],
)
def test_json_may_be_as_long_as_its_limit_and_no_longer(value: Any) -> None:
    text, size = json_text(value, "value", max_depth=8, max_bytes=100)

    assert size == len(text.encode()) == 100
    with pytest.raises(LimitExceededError, match="value "):
        json_text(value, "value", max_depth=8, max_bytes=99)


texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**99), 10**99)
    | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


@given(values)
def test_any_json_comes_back_and_fits_exactly_its_length(value: Any) -> None:
    """M1: what is counted before the text is made is never more than its length."""
    text, size = json_text(value, "value", max_depth=64, max_bytes=10**9)

    assert repr(json.loads(text)) == repr(value)
    assert size == len(text.encode())
    assert json_text(value, "value", max_depth=64, max_bytes=size) == (text, size)
    with pytest.raises(LimitExceededError):
        json_text(value, "value", max_depth=64, max_bytes=size - 1)


def containing_itself() -> list[Any]:
    value: list[Any] = [None] * 500_000
    value[-1] = value
    return value


def doubled(levels: int) -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(containing_itself(), id="a wide list in itself"),
        pytest.param(["x" * 1_000_000] * 10_000, id="one long text, often"),
        pytest.param([{"x" * 1_000_000: None}] * 10_000, id="one long key, often"),
        pytest.param(doubled(50), id="two to the power of 50 texts"),
    ],
)
def test_json_that_would_unfold_without_end_is_refused_before_it_does(value: Any) -> None:
    with pytest.raises(LimitExceededError, match="value is longer than 1,048,576 bytes"):
        json_text(value, "value", max_depth=64, max_bytes=1024 * 1024)


def test_json_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(LimitExceededError, match="nested more than 8 deep"):
        as_json(value)


def test_keys_are_sorted_at_every_level() -> None:
    assert sorted_json({"b": {"d": 1, "c": [{"f": 1, "e": 2}]}, "a": 1}) == (
        '{"a":1,"b":{"c":[{"e":2,"f":1}],"d":1}}'
    )


@pytest.mark.parametrize(
    ("time", "microseconds"),
    [
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), 0, id="the beginning"),
        pytest.param(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), -1, id="before it"),
        pytest.param(LAST, MAX_MICROSECONDS, id="the end"),
        pytest.param(
            datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0, id="another zone"
        ),
        pytest.param(
            datetime(2024, 11, 3, 1, 30, 0, 5, tzinfo=UTC), 1_730_597_400_000_005, id="microsecond"
        ),
    ],
)
def test_times_are_exact_to_the_microsecond(time: datetime, microseconds: int) -> None:
    assert to_microseconds(time, "time") == microseconds
    assert from_microseconds(microseconds) == time
    assert from_microseconds(microseconds).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 1, 1),  # noqa: DTZ001 - a naive one is what it tests
        LAST.date(),
        1_700_000_000,
        "2024-01-01T00:00:00Z",
        None,
    ],
)
def test_a_time_without_a_zone_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^time must be "):
        to_microseconds(value, "time")


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), 1),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1),
        (datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC), 0),
        (LAST.replace(microsecond=0), MAX_MICROSECONDS // 1_000_000),
        (datetime.min.replace(tzinfo=UTC), -62_135_596_800),
    ],
)
def test_seconds_are_rounded_up(time: datetime, seconds: int) -> None:
    assert ceil_seconds(time, "time") == seconds
    assert timedelta(0) <= from_seconds(seconds) - time < timedelta(seconds=1)


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(LAST, id="rounded up past the end"),
        pytest.param(datetime.max.replace(tzinfo=WEST), id="past the end in UTC"),
        pytest.param(datetime.min.replace(tzinfo=EAST), id="before the beginning in UTC"),
    ],
)
def test_seconds_that_no_datetime_can_hold_are_refused(time: datetime) -> None:
    with pytest.raises(InvalidInputError, match="between the years 1 and 9999"):
        ceil_seconds(time, "time")
