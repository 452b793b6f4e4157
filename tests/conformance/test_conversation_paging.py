"""The contract of conversation stores: ranges, pages and cursors of histories and summaries."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore import ConversationStore, InvalidInputError, Message, MessageSummary, Page

Say = Callable[..., Message]
MakeStore = Callable[..., ConversationStore]
BOTH_WAYS = pytest.mark.parametrize("newest_first", [True, False], ids=["newest", "oldest"])
MICROSECOND = timedelta(microseconds=1)


def walk(
    listing: Callable[..., Page[Any]], user: str = "u1", *, limit: int, **query: Any
) -> list[Any]:
    """Return what all pages hold together; every page but the last is full."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = listing(user, limit=limit, cursor=cursor, **query)
        found += page
        cursor = page.cursor
        if cursor is None:
            return found
        assert len(page) in (limit, 0), "a page ends at its limit"


@BOTH_WAYS
@pytest.mark.parametrize("limit", range(1, 12))
def test_pages_neither_drop_nor_repeat(
    store: ConversationStore, say: Say, clock: Any, limit: int, *, newest_first: bool
) -> None:
    """S6, S7: in both directions, with any limit, at equal times too."""
    messages = [say() for _ in range(5)] + [say(created_at=clock()) for _ in range(5)]
    store.append(*messages)
    expected = sorted(messages, key=lambda one: one.id, reverse=newest_first)

    assert walk(store.history, limit=limit, newest_first=newest_first) == expected
    assert walk(store.summaries, limit=limit, newest_first=newest_first) == [
        MessageSummary.of(one) for one in expected
    ]


@BOTH_WAYS
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_a_session_hold_only_its_messages(
    store: ConversationStore, say: Say, limit: int, *, newest_first: bool
) -> None:
    """S6: `session_id`."""
    sessions = ["s1", "s10", "s1", "s", "s1#", "s1", "S1", "s1"]
    messages = [say(session_id=one) for one in sessions]
    store.append(*messages)
    expected = [one for one in messages if one.session_id == "s1"]
    if newest_first:
        expected.reverse()

    query: dict[str, Any] = {"limit": limit, "newest_first": newest_first, "session_id": "s1"}
    assert walk(store.history, **query) == expected
    assert [one.id for one in walk(store.summaries, **query)] == [one.id for one in expected]
    assert walk(store.history, limit=5, session_id="nobody") == []


@BOTH_WAYS
@pytest.mark.parametrize("limit", [1, 3, 50])
def test_a_range_of_times_is_half_open(
    store: ConversationStore, say: Say, limit: int, *, newest_first: bool
) -> None:
    """S6: [since, until), to the microsecond."""
    at = datetime(2024, 2, 29, 23, 59, 59, 999_998, tzinfo=UTC)  # past midnight, and a month's end
    messages = [say(created_at=at + place * MICROSECOND, key=str(place)) for place in range(5)]
    store.append(*messages)
    times: list[datetime | None] = [at + place * MICROSECOND for place in range(-1, 7)]

    for since in [None, *times]:
        for until in [None, *times]:
            if since is not None and until is not None and since > until:
                continue
            expected = [
                one
                for one in messages
                if (since is None or one.created_at >= since)
                and (until is None or one.created_at < until)
            ]
            if newest_first:
                expected.reverse()
            query: dict[str, Any] = {"since": since, "until": until, "newest_first": newest_first}
            assert walk(store.history, limit=limit, **query) == expected
    assert len(walk(store.summaries, limit=limit, since=times[2], until=times[4])) == 2


@BOTH_WAYS
def test_a_range_may_span_all_times(
    store: ConversationStore, say: Say, *, newest_first: bool
) -> None:
    """S6: years apart, and beyond what an id can hold."""
    times = [datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 1999, 2024, 2025, 9999)]
    messages = [say(created_at=at) for at in times]
    store.append(*messages)
    expected = messages[::-1] if newest_first else messages
    ends: dict[str, Any] = {
        "since": datetime.min.replace(tzinfo=UTC),
        "until": datetime.max.replace(tzinfo=UTC),
    }

    assert walk(store.history, limit=2, newest_first=newest_first, **ends) == expected
    assert walk(store.history, limit=2, newest_first=newest_first) == expected
    old: dict[str, Any] = {
        "since": times[0],
        "until": times[1] + MICROSECOND,
        "newest_first": newest_first,
    }
    assert len(walk(store.history, limit=1, **old)) == 2


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (datetime(2024, 1, 1), None),  # noqa: DTZ001 - a naive one is the point
        (None, datetime(2024, 1, 1)),  # noqa: DTZ001 - as above
    ],
)
def test_a_range_that_is_none_is_refused(
    store: ConversationStore, since: datetime | None, until: datetime | None
) -> None:
    """S6, M2: since > until, or naive."""
    for listing in (store.history, store.summaries):
        with pytest.raises(InvalidInputError):
            listing("u1", since=since, until=until)


def test_an_empty_range_holds_nothing(store: ConversationStore, say: Say) -> None:
    message = say()
    store.append(message)
    at = message.created_at
    assert store.history("u1", since=at, until=at) == Page(())
    assert store.summaries("u1", since=at, until=at) == Page(())
    assert store.history("nobody") == Page(())


def test_the_default_is_the_50_newest(store: ConversationStore, say: Say) -> None:
    """S6: limit 50, newest first."""
    messages = [say() for _ in range(51)]
    store.append(*messages)
    page = store.history("u1")
    assert list(page) == messages[:0:-1]
    assert list(store.history("u1", cursor=page.cursor)) == messages[:1]
    assert [one.id for one in store.summaries("u1")] == [one.id for one in page]


def test_a_page_holds_up_to_1000_messages(store: ConversationStore, say: Say) -> None:
    """S6: limit 1 to 1,000."""
    messages = [say() for _ in range(1001)]
    store.bulk_load(messages)
    page = store.history("u1", limit=1000, newest_first=False)
    assert list(page) == messages[:1000]
    assert list(store.history("u1", cursor=page.cursor, newest_first=False)) == messages[1000:]


@BOTH_WAYS
def test_a_page_ends_at_16_mib(store: ConversationStore, say: Say, *, newest_first: bool) -> None:
    """S6: of content, payload and metadata, but it holds at least one message."""
    mib = 1024 * 1024
    content = {"content": "x" * (mib - 100)}
    payload = {"content": "é" * (mib // 4), "payload": ["x" * (mib // 2 - 104)]}
    messages = [say(**(content if place % 2 else payload)) for place in range(18)]
    store.bulk_load(messages)
    expected = messages[::-1] if newest_first else messages

    page = store.history("u1", newest_first=newest_first)

    assert list(page) == expected[:16]
    assert page.cursor is not None
    rest = store.history("u1", newest_first=newest_first, cursor=page.cursor)
    assert list(rest) == expected[16:]
    assert rest.cursor is None
    brief = store.summaries("u1", newest_first=newest_first)
    assert brief.cursor is None or 0 < len(brief) < 18, (
        "a page of summaries may hold all or end too"
    )
    assert [one.id for one in walk(store.summaries, limit=9, newest_first=newest_first)] == [
        one.id for one in expected
    ]


@BOTH_WAYS
def test_a_page_of_exactly_16_mib_is_not_cut(
    store: ConversationStore, say: Say, *, newest_first: bool
) -> None:
    """S6: a page ends at 16 MiB, not before."""
    mib = 1024 * 1024
    messages = [say("x" * mib) for _ in range(16)]
    store.bulk_load(messages)
    assert len(store.history("u1", newest_first=newest_first)) == 16
    extra = say("x", created_at=messages[8].created_at + MICROSECOND)
    store.append(extra)
    assert len(store.history("u1", newest_first=newest_first)) == 16


# -- cursors --------------------------------------------------------------------------------------


@BOTH_WAYS
def test_a_cursor_is_for_any_limit_and_consistency(
    store: ConversationStore, say: Say, *, newest_first: bool
) -> None:
    """S8: it survives other limits and consistency."""
    messages = [say() for _ in range(6)]
    store.append(*messages)
    expected = messages[::-1] if newest_first else messages
    first = store.history("u1", limit=2, newest_first=newest_first)

    for limit in (1, 3, 4, 5, 1000):
        page = store.history("u1", limit=limit, cursor=first.cursor, newest_first=newest_first)
        assert list(page) == expected[2 : 2 + limit]
    eventual = store.history(
        "u1",
        cursor=first.cursor,
        newest_first=newest_first,
        consistency="eventual",  # type: ignore[arg-type]  # its name will do
    )
    assert {one.id for one in eventual} <= {one.id for one in expected[2:]}


@BOTH_WAYS
def test_a_cursor_survives_the_deletion_of_its_message(
    store: ConversationStore, say: Say, clock: Any, *, newest_first: bool
) -> None:
    """S8, S6: and what is appended before the position is not seen."""
    messages = [say(expires_at=clock() + timedelta(seconds=9)) for _ in range(3)]
    messages += [say() for _ in range(3)]
    store.append(*messages)
    if newest_first:
        messages.reverse()
    page = store.history("u1", limit=3, newest_first=newest_first)
    assert list(page) == messages[:3]

    store.delete("u1", [messages[2].id, messages[4].id])
    rest = [messages[3], messages[5]]
    assert list(store.history("u1", cursor=page.cursor, newest_first=newest_first)) == rest
    clock.advance(9)
    kept = [one for one in rest if one.expires_at is None]
    assert list(store.history("u1", cursor=page.cursor, newest_first=newest_first)) == kept
    store.erase("u1")
    assert store.history("u1", cursor=page.cursor, newest_first=newest_first) == Page(())


@BOTH_WAYS
def test_a_cursor_survives_reopening(
    make_store: MakeStore, say: Say, clock: Any, *, newest_first: bool
) -> None:
    """S8, S15: it survives restarts."""
    messages = [say(session_id=session) for session in "abcd"]
    first = make_store(clock=clock)
    first.append(*messages)
    page = first.history("u1", limit=2, newest_first=newest_first)
    sessions = first.sessions("u1", limit=3)
    expected = (messages[::-1] if newest_first else messages)[2:]
    durable = first.capabilities.durable
    first.close()

    second = make_store(clock=clock)
    if not durable:
        second.append(*messages)
    assert list(second.history("u1", cursor=page.cursor, newest_first=newest_first)) == expected
    assert [one.session_id for one in second.sessions("u1", cursor=sessions.cursor)] == ["a"]


def test_a_changed_cursor_is_refused(store: ConversationStore, say: Say) -> None:
    """S8: a damaged one is `InvalidInputError`, whichever character is changed."""
    store.append(*[say(session_id=session) for session in "abc"])
    store.append(say(user_id="u2"))
    listings: list[Callable[..., Page[Any]]] = [
        lambda **query: store.history("u1", **query),
        lambda **query: store.summaries("u1", newest_first=False, **query),
        lambda **query: store.sessions("u1", **query),
    ]
    if store.capabilities.users:
        listings.append(store.users)
    for listing in listings:
        cursor = listing(limit=1).cursor
        assert cursor is not None
        listing(limit=1, cursor=cursor)
        for place, right in enumerate(cursor):
            for wrong in string.ascii_letters + string.digits + "-_=":
                if wrong != right:
                    with pytest.raises(InvalidInputError):
                        listing(cursor=cursor[:place] + wrong + cursor[place + 1 :])
        for other in ("", cursor[:-1], cursor + "A", cursor * 2, "é", "\ud800", "x" * 10_000):
            with pytest.raises(InvalidInputError):
                listing(cursor=other)


def test_a_cursor_of_another_query_is_refused(store: ConversationStore, say: Say) -> None:
    """S8, C6: of another user, method, session, range or direction."""
    for user in ("u1", "u10"):
        store.append(*[say(user_id=user, session_id=session) for session in "abc"])
    at = datetime(2024, 1, 1, tzinfo=UTC)
    later = at + timedelta(days=3650)
    calls: list[Callable[..., Page[Any]]] = [
        lambda **query: store.history("u1", **query),
        lambda **query: store.history("u10", **query),
        lambda **query: store.history("u1", newest_first=False, **query),
        lambda **query: store.history("u1", since=at, **query),
        lambda **query: store.history("u1", since=at + MICROSECOND, **query),
        lambda **query: store.history("u1", until=later, **query),
        lambda **query: store.history("u1", since=at, until=later, **query),
        lambda **query: store.summaries("u1", **query),
        lambda **query: store.summaries("u10", **query),
        lambda **query: store.sessions("u1", **query),
        lambda **query: store.sessions("u10", **query),
    ]
    cursors = [call(limit=1).cursor for call in calls]
    session = store.history("u1", session_id="a", limit=1)
    assert len(session) == 1

    assert None not in cursors
    for place, call in enumerate(calls):
        for other, cursor in enumerate(cursors):
            if place == other:
                assert len(call(cursor=cursor)) == 2
                continue
            with pytest.raises(InvalidInputError):
                call(cursor=cursor)
        with pytest.raises(InvalidInputError):
            store.history("u1", session_id="a", cursor=cursors[place])


@BOTH_WAYS
def test_what_existed_throughout_is_seen_once_whatever_else_changes(
    store: ConversationStore, say: Say, *, newest_first: bool
) -> None:
    """S6: pages neither drop nor repeat a message that existed throughout."""
    kept = [say(content="kept") for _ in range(6)]
    gone = [say(content="gone", created_at=one.created_at + MICROSECOND) for one in kept]
    store.append(*kept, *gone)

    found: list[Message] = []
    cursor: str | None = None
    for step in range(100):
        page = store.history("u1", limit=2, cursor=cursor, newest_first=newest_first)
        found += page
        cursor = page.cursor
        if cursor is None:
            break
        at = kept[step % 6].created_at
        store.append(say(content="new", created_at=at + (2 + step) * MICROSECOND))
        store.delete("u1", [gone[step % 6].id])
        store.replace(replace(kept[0], summary=str(step)))

    seen = [one.id for one in found if one.content == "kept"]
    assert seen == sorted((one.id for one in kept), reverse=newest_first)
    assert len({one.id for one in found}) == len(found)
