"""The listing of sessions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ialstore.conversation import ConversationStore
from ialstore.model import SessionInfo
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Fill, Say
from ialstore.testing.conversation.helpers import listed, walk
from ialstore.testing.pages import pages

__all__ = ["Sessions"]


class Sessions(ConversationSuiteBase):
    """The listing of sessions."""

    def test_sessions_are_listed_the_latest_active_first(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S9: newest activity first, exact to `capabilities.activity_precision`."""
        messages = [say(session_id=session) for session in ("a", "b", "c", "a")]
        fill(reader, messages)

        precision = reader.capabilities.activity_precision
        page = reader.sessions("u1")
        if not precision:
            assert list(page) == [
                SessionInfo("a", messages[3].created_at),
                SessionInfo("c", messages[2].created_at),
                SessionInfo("b", messages[1].created_at),
            ]
        newest = {one.session_id: one.created_at for one in messages}
        assert {one.session_id for one in page} == set(newest)
        for one in page:
            assert timedelta(0) <= newest[one.session_id] - one.last_active <= precision
        assert [one.last_active for one in page] == sorted(
            (one.last_active for one in page), reverse=True
        )

    def test_sessions_active_at_the_same_time_are_listed_by_id(
        self, reader: ConversationStore, fill: Fill, say: Say, clock: ManualClock
    ) -> None:
        """S9: ties by session id."""
        sessions = ["b", "a", "é", "a#", "a%", "B", "s10", "s1", "😀", "\uffff"]
        fill(reader, [say(session_id=one, created_at=clock()) for one in sessions])
        assert listed(reader) == sorted(sessions)

    @pytest.mark.parametrize("limit", range(1, 9))
    def test_pages_of_sessions_neither_drop_nor_repeat(
        self, reader: ConversationStore, fill: Fill, say: Say, clock: ManualClock, limit: int
    ) -> None:
        """S9, S8: every session is listed once over all pages."""
        fill(
            reader,
            [
                *[say(session_id=f"early {place}", created_at=clock()) for place in range(4)],
                *[say(session_id=f"late #%:{place}") for place in range(3)],
            ],
        )
        whole = list(reader.sessions("u1"))
        assert len(whole) == 7

        found: list[SessionInfo] = []
        for page in pages(lambda cursor: reader.sessions("u1", limit=limit, cursor=cursor)):
            assert len(page) <= limit
            found += page
        assert found == whole

    def test_a_user_may_have_many_sessions(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S9: all are listed, those whose last message is long ago among them."""
        old = [say(session_id=f"s{place}") for place in range(230)]
        new = [say(session_id="new") for _ in range(1100)]
        fill(reader, [*old, *new])
        names = ["new", *(f"s{place}" for place in reversed(range(230)))]
        assert set(listed(reader)) == set(names)
        for limit in (99, 100, 101):
            found = [one.session_id for one in walk(reader.sessions, limit=limit)]
            assert len(found) == len(names)
            assert set(found) == set(names)
        assert [one.session_id for one in reader.sessions("u1", limit=1)] == ["new"]
        if not reader.capabilities.activity_precision:
            assert listed(reader) == names

    def test_a_page_of_sessions_goes_on_although_its_last_one_is_gone(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S9, S8: a cursor is a position, not a session."""
        store.append(*[say(session_id=one) for one in "abcde"])
        page = store.sessions("u1", limit=2)
        assert [one.session_id for one in page] == ["e", "d"]
        store.delete_session("u1", "d")
        store.append(say(session_id="f"))

        rest = store.sessions("u1", cursor=page.cursor)
        assert [one.session_id for one in rest] == ["c", "b", "a"]

    def test_a_session_without_messages_is_not_listed(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S9: exact with `capabilities.exact_sessions`; always after `delete_session`."""
        emptied, expiring, gone, kept = (
            say(session_id="emptied"),
            say(session_id="expiring", expires_at=clock() + timedelta(seconds=1)),
            say(session_id="gone"),
            say(session_id="kept"),
        )
        store.append(emptied, expiring, gone, kept)
        store.delete("u1", [emptied.id])
        store.delete_session("u1", "gone")
        clock.advance(1)

        found = listed(store)
        assert "kept" in found
        assert "gone" not in found
        if store.capabilities.exact_sessions:
            assert found == ["kept"]

    def test_the_activity_of_a_session_is_that_of_its_newest_live_message(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S9: the time of the session's newest live message."""
        if store.capabilities.activity_precision:
            pytest.skip("capabilities.activity_precision is above zero")
        first, second = say(), say()
        third = say(expires_at=clock() + timedelta(seconds=1))
        store.append(third, first, second)
        assert list(store.sessions("u1")) == [SessionInfo("s1", third.created_at)]
        clock.advance(1)
        assert list(store.sessions("u1")) == [SessionInfo("s1", second.created_at)]
        store.delete("u1", [second.id])
        assert list(store.sessions("u1")) == [SessionInfo("s1", first.created_at)]
