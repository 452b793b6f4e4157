"""Cursors: what they survive, and what is refused."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import InvalidInputError
from ialstore.model import Page
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Fill, OpenStore, Say
from ialstore.testing.conversation.helpers import BOTH_WAYS, MICROSECOND

__all__ = ["Cursors"]


class Cursors(ConversationSuiteBase):
    """Cursors: what they survive, and what is refused."""

    @BOTH_WAYS
    def test_a_cursor_is_for_any_limit_and_consistency(
        self, reader: ConversationStore, fill: Fill, say: Say, *, newest_first: bool
    ) -> None:
        """S8: it survives other limits and consistency."""
        messages = [say() for _ in range(6)]
        fill(reader, messages)
        expected = messages[::-1] if newest_first else messages
        first = reader.history("u1", limit=2, newest_first=newest_first)

        for limit in (1, 3, 4, 5, 1000):
            page = reader.history("u1", limit=limit, cursor=first.cursor, newest_first=newest_first)
            assert list(page) == expected[2 : 2 + limit]
        eventual = reader.history(
            "u1",
            cursor=first.cursor,
            newest_first=newest_first,
            consistency="eventual",  # type: ignore[arg-type]  # its name will do
        )
        assert {one.id for one in eventual} <= {one.id for one in expected[2:]}

    @BOTH_WAYS
    def test_a_cursor_survives_the_deletion_of_its_message(
        self, store: ConversationStore, say: Say, clock: ManualClock, *, newest_first: bool
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
        self,
        reader: ConversationStore,
        open_store: OpenStore,
        fill: Fill,
        say: Say,
        *,
        newest_first: bool,
    ) -> None:
        """S8, S15: it survives restarts."""
        messages = [say(session_id=session) for session in "abcd"]
        fill(reader, messages)
        page = reader.history("u1", limit=2, newest_first=newest_first)
        sessions = reader.sessions("u1", limit=3)
        expected = (messages[::-1] if newest_first else messages)[2:]
        durable = reader.capabilities.durable
        reader.close()

        second = open_store()
        if not durable:
            fill(second, messages)
        assert list(second.history("u1", cursor=page.cursor, newest_first=newest_first)) == expected
        assert [one.session_id for one in second.sessions("u1", cursor=sessions.cursor)] == ["a"]

    def test_a_changed_cursor_is_refused(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S8: a damaged one is `InvalidInputError`, whichever character is changed."""
        fill(reader, [say(session_id=session) for session in "abc"])
        fill(reader, [say(user_id="u2")])
        listings: list[Callable[..., Page[Any]]] = [
            partial(reader.history, "u1"),
            partial(reader.summaries, "u1", newest_first=False),
            partial(reader.sessions, "u1"),
        ]
        if reader.capabilities.users:
            listings.append(reader.users)
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

    def test_a_cursor_of_another_query_is_refused(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S8, C6: of another user, method, session, range or direction."""
        for user in ("u1", "u10"):
            fill(reader, [say(user_id=user, session_id=session) for session in "abc"])
        at = datetime(2096, 1, 1, tzinfo=UTC)
        later = at + timedelta(days=365)
        calls: list[Callable[..., Page[Any]]] = [
            partial(reader.history, "u1"),
            partial(reader.history, "u10"),
            partial(reader.history, "u1", newest_first=False),
            partial(reader.history, "u1", since=at),
            partial(reader.history, "u1", since=at + MICROSECOND),
            partial(reader.history, "u1", until=later),
            partial(reader.history, "u1", since=at, until=later),
            partial(reader.summaries, "u1"),
            partial(reader.summaries, "u10"),
            partial(reader.sessions, "u1"),
            partial(reader.sessions, "u10"),
        ]
        cursors = [call(limit=1).cursor for call in calls]
        session = reader.history("u1", session_id="a", limit=1)
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
                reader.history("u1", session_id="a", cursor=cursors[place])
