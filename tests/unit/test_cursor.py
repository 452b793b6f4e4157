"""Cursors: what one holds, and what is refused."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import InvalidInputError, _cursor
from ialstore._cursor import make_cursor, read_cursor

QUERY = ("history", "u1", None, 5, True)
ALPHABET = string.ascii_letters + string.digits + "-_"


def read(cursor: object, query: tuple[str | int | bool | None, ...] = QUERY) -> str:
    return read_cursor(query, cursor, str)  # type: ignore[arg-type]  # what callers without types pass


texts = st.text(st.characters(exclude_categories=["Cs"]))


parts = st.one_of(texts, st.integers(), st.booleans(), st.none())


@given(query=st.lists(parts).map(tuple), position=texts)
def test_a_cursor_gives_its_position_back(
    query: tuple[str | int | bool | None, ...], position: str
) -> None:
    """S8: a cursor holds a position, a digest of the query and a checksum."""
    cursor = make_cursor(query, position)

    assert read_cursor(query, cursor, str) == position
    assert set(cursor) <= set(ALPHABET)


def test_a_cursor_is_the_same_in_every_process() -> None:
    """S8: it survives restarts and other processes."""
    assert make_cursor(QUERY, "place") == "V2gRnSlEAQeN6CnjW6JLcGxhY2U"


@pytest.mark.parametrize(
    "other",
    [
        ("summaries", "u1", None, 5, True),
        ("history", "u10", None, 5, True),
        ("history", "u1", "", 5, True),
        ("history", "u1", "None", 5, True),
        ("history", "u1", None, "5", True),
        ("history", "u1", None, 5, False),
        ("history", "u1", None, 5, 1),
        ("history", "u1", None, 5),
        ("history", "u1, None", 5, True),
    ],
)
def test_a_cursor_of_another_query_is_refused(
    other: tuple[str | int | bool | None, ...],
) -> None:
    """S8: one of another query is `InvalidInputError`."""
    with pytest.raises(InvalidInputError, match="belongs to another query"):
        read(make_cursor(other, "place"))


def test_a_cursor_with_any_character_changed_is_refused() -> None:
    """S8: a damaged one is `InvalidInputError`."""
    cursor = make_cursor(QUERY, "01a2049c-c6e3-774b-af40-dce0cd2bb0b6")

    for place, right in enumerate(cursor):
        for wrong in ALPHABET + "+/= \n":
            if wrong != right:
                with pytest.raises(InvalidInputError, match="the cursor is damaged"):
                    read(cursor[:place] + wrong + cursor[place + 1 :])


@pytest.mark.parametrize("length", range(54))
def test_a_cursor_cut_short_is_refused(length: int) -> None:
    cursor = make_cursor(QUERY, "01a2049c-c6e3-774b-af40-dce0cd2bb0b6")
    assert length < len(cursor)
    with pytest.raises(InvalidInputError, match="the cursor is damaged"):
        read(cursor[:length])


GOOD = make_cursor(QUERY, "place")


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="empty"),
        pytest.param(GOOD + "=", id="padded"),
        pytest.param(GOOD + "\n", id="newline behind"),
        pytest.param(" " + GOOD, id="space before"),
        pytest.param(GOOD * 2, id="twice"),
        pytest.param(GOOD.swapcase(), id="other case"),
        pytest.param(GOOD + "é", id="not ASCII"),
        pytest.param(GOOD + "\ud800", id="surrogate"),
        pytest.param("A" * 5000, id="very long"),
        pytest.param("A" * 1_000_000, id="a million characters"),
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInputError, match="the cursor is damaged"):
        read(cursor)


@pytest.mark.parametrize("cursor", [5, b"AAAA", ["A"], GOOD.encode()])
def test_a_cursor_is_a_text(cursor: object) -> None:
    with pytest.raises(InvalidInputError, match="a cursor must be a str"):
        read(cursor)


@given(st.text(ALPHABET))
def test_random_text_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidInputError):
        read(text)


def overflow(position: str) -> str:
    raise OverflowError(position)


def test_a_position_that_its_listing_cannot_use_is_damage() -> None:
    """S8: it grants nothing; whoever makes one with a checksum of its own gets no further."""
    for parse in (int, overflow):
        with pytest.raises(InvalidInputError, match="the cursor is damaged"):
            read_cursor(QUERY, GOOD, parse)


def test_a_cursor_of_bytes_that_are_no_text_is_damage() -> None:
    class Bytes(str):
        __slots__ = ()

        def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
            return b"\xff"

    with pytest.raises(InvalidInputError, match="the cursor is damaged"):
        read(make_cursor(QUERY, Bytes("")))


def test_a_cursor_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cursor, "_VERSION", b"\x02")
    later = make_cursor(QUERY, "place")
    monkeypatch.undo()
    with pytest.raises(InvalidInputError, match="the cursor is damaged"):
        read(later)
