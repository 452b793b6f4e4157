"""Cached tails and lists: whatever they answer is what a plain list answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import Message, SessionInfo
from ialstore.caching import envelope
from ialstore.caching.envelope import full_key, seal
from ialstore.caching.values import read_sessions, read_tail, sealed_sessions, sealed_tail
from ialstore.decoding import DAMAGE
from ialstore.ids import HIGHEST_ID, LOWEST_ID
from ialstore.listing import HistoryQuery, Rows

KEY: Final = full_key("store", "user")
NOW: Final = 2_000_000_000
START: Final = datetime.fromtimestamp(NOW, UTC)


def say(number: int, session: str = "s", *, lives: int | None = None) -> Message:
    one = Message.new(
        user_id="u",
        session_id=session,
        role="user",
        content=full_key(str(number)).hex(),
        expires_at=None if lives is None else START + timedelta(seconds=lives),
    )
    return one if number % 2 else replace(one, metadata={"n": number}, tokens=number, name="ada")


SAID: Final = [
    say(number, f"s{number % 2}", lives=None if number % 3 else number + 1) for number in range(12)
]
NEWEST: Final = SAID[::-1]
BOUNDS: Final = [LOWEST_ID, *(one.id for one in SAID), HIGHEST_ID]


def plain(messages: Sequence[Message], query: HistoryQuery, now: int) -> list[Message]:
    """Return what belongs to a range, live, in the order asked, without a limit."""
    found = [
        one
        for one in messages
        if query.lower <= one.id < query.upper
        and (one.expires_at is None or one.expires_at.timestamp() > now)
    ]
    return sorted(found, key=lambda one: one.id, reverse=query.newest_first)


@given(
    held=st.integers(0, len(SAID)),
    bounds=st.tuples(st.sampled_from(BOUNDS), st.sampled_from(BOUNDS)),
    order=st.sampled_from(["newest", "oldest"]),
    limit=st.integers(1, 14),
    passed=st.integers(0, 15),
)
def test_an_answer_is_that_of_a_plain_list(
    held: int, bounds: tuple[str, str], order: str, limit: int, passed: int
) -> None:
    lower, upper = bounds
    query = HistoryQuery("u", None, lower, upper, order == "newest", limit)
    sealed = sealed_tail(KEY, Rows(NEWEST[:held], more=held < len(NEWEST)), NOW)
    now = NOW + passed
    rows = read_tail(KEY, sealed, query, now)
    expected = plain(SAID, query, now)
    if rows is None:
        assert held < len(SAID), "a tail that is complete tells everything"
        inside = plain(NEWEST[:held], query, now)
        assert not query.newest_first or len(inside) <= limit, "it holds as many as were asked for"
        return
    assert list(rows.items) == expected[:limit]
    assert rows.more or len(expected) <= limit
    if held == len(SAID):
        assert rows.more == (len(expected) > limit)


def test_whatever_a_message_holds_comes_back() -> None:
    whole = Message.new(
        user_id="u",
        session_id="s",
        role="tool",
        content="\0 \u2028 \U0001f600 \r\n",
        name="n",
        turn_id="t",
        source_id="x",
        summary="brief",
        tokens=0,
        metadata={"k": [1, {"x": None}]},
        payload={"p": []},
        expires_at=START + timedelta(days=1),
    )
    sealed = sealed_tail(KEY, Rows([whole]), NOW)
    found = read_tail(KEY, sealed, HistoryQuery("u", "s", limit=5), NOW)
    assert found is not None
    assert list(found.items) == [whole]


def test_a_clock_behind_that_of_the_fill_gets_no_answer() -> None:
    query = HistoryQuery("u", limit=5)
    assert read_tail(KEY, sealed_tail(KEY, Rows(NEWEST), NOW), query, NOW - 1) is None
    listed = sealed_sessions(KEY, Rows([SessionInfo("s", START)]), NOW)
    assert read_sessions(KEY, listed, 5, None, NOW - 1) is None


def test_a_tail_that_is_too_large_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sealed_tail(KEY, Rows(NEWEST), NOW)
    monkeypatch.setattr(envelope, "MAX_VALUE_BYTES", len(whole) - 1)
    sealed = sealed_tail(KEY, Rows(NEWEST), NOW)
    assert len(sealed) < len(whole)
    half = read_tail(KEY, sealed, HistoryQuery("u", limit=6), NOW)
    assert half is not None
    assert (list(half.items), half.more) == (NEWEST[:6], True)
    assert read_tail(KEY, sealed, HistoryQuery("u", limit=7), NOW) is None


def test_a_message_too_large_for_a_cache_leaves_an_empty_tail() -> None:
    large = replace(SAID[1], content="".join(full_key(str(one)).hex() for one in range(10_000)))
    sealed = sealed_tail(KEY, Rows([large]), NOW)
    assert read_tail(KEY, sealed, HistoryQuery("u", limit=1), NOW) is None


SESSIONS: Final = sorted(
    (SessionInfo(f"s{number}", START + timedelta(seconds=number // 2)) for number in range(8)),
    key=lambda one: (-one.last_active.timestamp(), one.session_id),
)


@given(
    held=st.integers(0, len(SESSIONS)),
    after=st.none() | st.sampled_from(SESSIONS),
    limit=st.integers(1, 10),
)
def test_a_page_of_sessions_is_that_of_a_plain_list(
    held: int, after: SessionInfo | None, limit: int
) -> None:
    sealed = sealed_sessions(KEY, Rows(SESSIONS[:held], more=held < len(SESSIONS)), NOW)
    rows = read_sessions(KEY, sealed, limit, after, NOW)
    begin = 0 if after is None else SESSIONS.index(after) + 1
    expected = SESSIONS[begin:]
    if rows is None:
        assert held < len(SESSIONS)
        assert len(SESSIONS[begin:held]) < limit
        return
    assert list(rows.items) == expected[:limit]
    assert rows.more or len(expected) <= limit


def test_a_list_of_sessions_that_is_too_large_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sealed_sessions(KEY, Rows(SESSIONS), NOW)
    monkeypatch.setattr(envelope, "MAX_VALUE_BYTES", len(whole) - 1)
    sealed = sealed_sessions(KEY, Rows(SESSIONS), NOW)
    half = read_sessions(KEY, sealed, 4, None, NOW)
    assert half is not None
    assert (list(half.items), half.more) == (SESSIONS[:4], True)
    assert read_sessions(KEY, sealed, 5, None, NOW) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[1]", f'[1,true,[],[["{SAID[0].id}"]]]'.encode(), b"\xff", b"[" * 100_000],
    ids=["empty", "object", "short", "row", "text", "nested"],
)
def test_a_body_of_another_form_is_damage(body: bytes) -> None:
    sealed = seal(KEY, body)
    assert sealed is not None
    with pytest.raises(DAMAGE):
        read_tail(KEY, sealed, HistoryQuery("u", limit=5), NOW)


def test_a_value_of_another_key_is_damage() -> None:
    with pytest.raises(DAMAGE):
        read_tail(full_key("x"), sealed_tail(KEY, Rows(NEWEST), NOW), HistoryQuery("u"), NOW)
