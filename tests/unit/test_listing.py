"""Ranges, pages and lists of ids."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore import (
    InvalidInputError,
    LimitExceededError,
    Message,
    MessageSummary,
    Page,
    SessionInfo,
)
from ialstore._cursor import make_cursor
from ialstore.ids import HIGHEST_ID, LOWEST_ID, lowest_id_at, next_id
from ialstore.limits import MAX_PAGE_BYTES
from ialstore.listing import (
    HistoryQuery,
    Rows,
    check_ids,
    history_query,
    id_bounds,
    id_page,
    session_rows,
    take_rows,
    text_bytes,
    text_listing_after,
    text_page,
)

START = datetime(2024, 2, 29, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


EMPTY_MESSAGES: Rows[Message] = Rows((), more=True)
EMPTY_TEXTS: Rows[str] = Rows((), more=True)


def new(seq: int = 0) -> Message:
    return Message.new(
        user_id="u", session_id="s", role="user", content="", created_at=START, seq=seq
    )


def query(**changed: Any) -> tuple[Any, HistoryQuery]:
    arguments: dict[str, Any] = {
        "session_id": None,
        "since": None,
        "until": None,
        "newest_first": True,
        "limit": 50,
        "cursor": None,
    }
    return history_query("history", "u", **(arguments | changed))


def identity(size: int) -> int:
    return size


@pytest.mark.parametrize(
    ("sizes", "limit", "taken", "more"),
    [
        pytest.param([], 3, [], False, id="nothing"),
        pytest.param([1, 2], 3, [1, 2], False, id="fewer than the limit"),
        pytest.param([1, 2, 3], 3, [1, 2, 3], False, id="as many as the limit"),
        pytest.param([1, 2, 3, 4], 3, [1, 2, 3], True, id="one more than the limit"),
        pytest.param([6, 4], 3, [6, 4], False, id="as many bytes as fit"),
        pytest.param([6, 5], 3, [6], True, id="a byte too many"),
        pytest.param([11], 3, [11], False, id="one that is too large alone"),
        pytest.param([11, 1], 3, [11], True, id="one that is too large, and another"),
        pytest.param([0, 0, 11], 3, [0, 0], True, id="small ones before"),
    ],
)
def test_a_page_ends_at_its_limit_or_its_bytes_but_holds_one(
    *, sizes: list[int], limit: int, taken: list[int], more: bool
) -> None:
    """S6: a page ends at `limit` or at 16 MiB and holds at least one message."""
    rows = take_rows(sizes, limit, identity, at_most=10)
    assert (list(rows.items), rows.more) == (taken, more)


def test_the_bytes_of_a_page_are_16_mib_unless_said() -> None:
    half = MAX_PAGE_BYTES // 2
    assert MAX_PAGE_BYTES == 16 * 1024 * 1024
    assert take_rows([half, half], 9, identity) == Rows([half, half], more=False)
    assert take_rows([half, half + 1], 9, identity) == Rows([half], more=True)


def test_no_more_is_read_than_one_past_the_page() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            read.append(item)
            yield item

    take_rows(items(), 3, lambda _: 0)
    assert read == [0, 1, 2, 3]


@pytest.mark.parametrize(("text", "size"), [(None, 0), ("", 0), ("abc", 3), ("é😀", 6)])
def test_texts_are_counted_in_bytes_of_utf_8(text: str | None, size: int) -> None:
    assert text_bytes(text) == size


def test_repeated_ids_are_asked_for_once() -> None:
    one, other = new().id, new(1).id
    assert check_ids([other, one, other], at_most=3) == (other, one)
    assert check_ids((), at_most=3) == ()


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(new().id, id="a single text"),
        pytest.param(new().id.encode(), id="bytes"),
        pytest.param({new().id}, id="a set"),
        pytest.param(iter([new().id]), id="an iterator"),
        pytest.param({new().id: 1}, id="a dict"),
        pytest.param(None, id="None"),
        pytest.param([None], id="None in it"),
        pytest.param([[new().id]], id="a list in it"),
        pytest.param(["x"], id="another text in it"),
        pytest.param([new().id, ""], id="an empty text in it"),
        pytest.param(bytearray(b"ab"), id="bytearray"),
    ],
)
def test_what_is_no_list_of_message_ids_is_refused(ids: Any) -> None:
    """E2: refused before any I/O."""
    with pytest.raises(InvalidInputError, match="message id"):
        check_ids(ids, at_most=3)


def test_a_list_of_ids_has_a_limit_that_counts_repeats() -> None:
    assert check_ids([new().id] * 3, at_most=3)
    with pytest.raises(LimitExceededError, match="4 ids in one call, more than 3"):
        check_ids([new().id] * 4, at_most=3)


def test_a_range_of_times_is_half_open() -> None:
    """S6: [since, until)."""
    lower, upper = id_bounds(START, START + MICROSECOND)
    assert lower <= new().id < upper <= new(1).id
    assert id_bounds(START, START)[0] == id_bounds(START, START)[1]
    assert id_bounds(None, None) == (LOWEST_ID, HIGHEST_ID)
    early, late = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert id_bounds(early, late)[0] == LOWEST_ID


@pytest.mark.parametrize(
    ("since", "until"),
    [
        pytest.param(START + MICROSECOND, START, id="the wrong way round"),
        pytest.param(START.replace(tzinfo=None), None, id="naive since"),
        pytest.param(None, START.replace(tzinfo=None), id="naive until"),
        pytest.param("2024-01-01", None, id="a text"),
        pytest.param(None, 5, id="a number"),
    ],
)
def test_a_range_that_is_none_is_refused(since: Any, until: Any) -> None:
    """S6, M2: since > until is `InvalidInputError`; naive times are refused."""
    with pytest.raises(InvalidInputError, match=r"^(since|until) must "):
        query(since=since, until=until)


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_cursor_goes_on_behind_its_message(*, newest_first: bool) -> None:
    scope, _ = query(newest_first=newest_first)
    middle = new(5).id
    _, rest = query(newest_first=newest_first, cursor=make_cursor(scope, middle))

    bounds = (LOWEST_ID, middle) if newest_first else (next_id(middle), HIGHEST_ID)
    assert (rest.lower, rest.upper) == bounds


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("place", [-5, 500])
def test_a_cursor_leads_out_of_no_range(*, newest_first: bool, place: int) -> None:
    """S8: a cursor grants nothing."""
    times = {"since": START, "until": START + timedelta(microseconds=100)}
    scope, whole = query(newest_first=newest_first, **times)
    position = Message.new(
        user_id="u",
        session_id="s",
        role="user",
        content="",
        created_at=START + timedelta(microseconds=place),
    ).id

    _, rest = query(newest_first=newest_first, **times, cursor=make_cursor(scope, position))

    assert whole.lower <= rest.lower
    assert rest.upper <= whole.upper


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("position", ["", "zz", "u#2024", LOWEST_ID, HIGHEST_ID, "\0"])
def test_a_forged_cursor_of_a_history_is_damage(*, newest_first: bool, position: str) -> None:
    """S8: only ids are positions, so that no backend meets another text."""
    scope, _ = query(newest_first=newest_first)
    with pytest.raises(InvalidInputError, match="the cursor is damaged"):
        query(newest_first=newest_first, cursor=make_cursor(scope, position))


@pytest.mark.parametrize(
    "changed",
    [
        {"session_id": "s"},
        {"since": START},
        {"until": START},
        {"newest_first": False},
    ],
)
def test_a_cursor_belongs_to_its_query(changed: dict[str, Any]) -> None:
    scope, _ = query()
    cursor = make_cursor(scope, new().id)

    assert query(cursor=cursor, limit=1)[1].limit == 1
    with pytest.raises(InvalidInputError, match="another query"):
        query(cursor=cursor, **changed)


@pytest.mark.parametrize(
    ("limit", "error"),
    [(0, InvalidInputError), (-1, InvalidInputError), (1001, LimitExceededError)],
)
def test_a_limit_is_1_to_1000(limit: int, error: type[InvalidInputError]) -> None:
    """S6: limit 1 to 1,000."""
    for call in (query, lambda limit: text_listing_after(("users",), limit, None)):
        with pytest.raises(error, match="limit must be at"):
            call(limit=limit)
    for good in (1, 1000):
        assert query(limit=good)[1].limit == good


def test_a_page_has_a_cursor_if_more_may_follow() -> None:
    """S6: `cursor=None` is the end."""
    scope, _ = query()
    message = new()

    assert id_page(scope, Rows((message,), more=False)).cursor is None
    assert id_page(scope, EMPTY_MESSAGES).cursor is None
    page = id_page(scope, Rows([MessageSummary.of(message)], more=True))
    assert query(cursor=page.cursor)[1].upper == message.id
    assert page.items == (MessageSummary.of(message),)


def test_a_listing_of_texts_goes_on_behind_its_last() -> None:
    scope = ("users",)
    page = text_page(scope, Rows(["a", "é#%"], more=True))

    assert page.items == ("a", "é#%")
    assert text_listing_after(scope, 5, page.cursor) == "é#%"
    assert text_listing_after(scope, 5, None) is None
    assert text_page(scope, Rows(["a"])).cursor is None
    assert text_page(scope, EMPTY_TEXTS).cursor is None


def test_a_listing_goes_on_behind_a_user_of_a_namespace() -> None:
    """W3: whose id in the store is longer than that of any caller."""
    scope = ("users",)
    page = text_page(scope, Rows(["n" * 128 + "/" + "u" * 384], more=True))
    assert text_listing_after(scope, 1, page.cursor) == page[0]


@pytest.mark.parametrize("position", ["", "a\0", "x" * 1025])
def test_a_forged_cursor_of_a_listing_of_texts_is_damage(position: str) -> None:
    with pytest.raises(InvalidInputError, match="the cursor is damaged"):
        text_listing_after(("users",), 5, make_cursor(("users",), position))


def test_no_repr_of_rows_shows_content() -> None:
    """E3: no content in any `repr`."""
    assert "secret" not in repr(Rows(["secret"]))


def test_a_range_is_all_of_a_user_unless_said() -> None:
    made = HistoryQuery("u")
    assert (made.lower, made.upper, made.session_id) == (LOWEST_ID, HIGHEST_ID, None)
    assert lowest_id_at(0) == made.lower


def test_the_items_of_a_page_are_found_by_place() -> None:
    assert Page(("first", "last"))[0] == "first"
    assert Page(("first", "last"))[-1] == "last"


def test_sessions_are_listed_by_newest_activity_then_id() -> None:
    """S9: of the same microsecond by session id, whatever the rest of the message ids says."""
    ids = sorted(new(0).id for _ in range(3))
    newest = {"c": ids[0], "a": ids[1], "b": ids[2], "late": new(1).id}
    newest["early"] = Message.new(
        user_id="u",
        session_id="s",
        role="user",
        content="",
        created_at=START - MICROSECOND,
    ).id
    expected = [
        SessionInfo("late", START + MICROSECOND),
        *(SessionInfo(one, START) for one in "abc"),
        SessionInfo("early", START - MICROSECOND),
    ]

    assert session_rows(newest, 5, None) == Rows(expected)
    assert session_rows(newest, 4, None) == Rows(expected[:4], more=True)
    for place, after in enumerate(expected, 1):
        assert session_rows(newest, 2, after).items == expected[place : place + 2]
    gone = SessionInfo("aa", START)
    assert session_rows(newest, 1, gone) == Rows(expected[2:3], more=True)
    assert session_rows({}, 1, None) == Rows([])
