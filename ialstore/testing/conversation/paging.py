"""Pages: nothing dropped, nothing repeated, however large."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.model import Message, MessageSummary
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Fill, Say
from ialstore.testing.conversation.helpers import BOTH_WAYS, MICROSECOND, walk

__all__ = ["Paging"]


class Paging(ConversationSuiteBase):
    """Pages: nothing dropped, nothing repeated, however large."""

    @BOTH_WAYS
    @pytest.mark.parametrize("limit", range(1, 12))
    def test_pages_neither_drop_nor_repeat(
        self,
        reader: ConversationStore,
        fill: Fill,
        say: Say,
        clock: ManualClock,
        limit: int,
        *,
        newest_first: bool,
    ) -> None:
        """S6, S7: in both directions, with any limit, at equal times too."""
        messages = [say() for _ in range(5)] + [say(created_at=clock()) for _ in range(5)]
        fill(reader, messages)
        expected = sorted(messages, key=lambda one: one.id, reverse=newest_first)

        assert walk(reader.history, limit=limit, newest_first=newest_first) == expected
        assert walk(reader.summaries, limit=limit, newest_first=newest_first) == [
            MessageSummary.of(one) for one in expected
        ]

    @BOTH_WAYS
    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_pages_of_a_session_hold_only_its_messages(
        self, reader: ConversationStore, fill: Fill, say: Say, limit: int, *, newest_first: bool
    ) -> None:
        """S6: `session_id`."""
        sessions = ["s1", "s10", "s1", "s", "s1#", "s1", "S1", "s1"]
        messages = [say(session_id=one) for one in sessions]
        fill(reader, messages)
        expected = [one for one in messages if one.session_id == "s1"]
        if newest_first:
            expected.reverse()

        query: dict[str, Any] = {"limit": limit, "newest_first": newest_first, "session_id": "s1"}
        assert walk(reader.history, **query) == expected
        assert [one.id for one in walk(reader.summaries, **query)] == [one.id for one in expected]
        assert walk(reader.history, limit=5, session_id="nobody") == []

    def test_pages_that_are_asked_for_again_are_the_same(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S6, S7: whatever was kept of the first time, the last page alone has no cursor."""
        messages = [say() for _ in range(40)]
        fill(reader, messages)
        for limit in (8, 16, 20, 32):
            query: dict[str, Any] = {"limit": limit, "session_id": "s1"}
            for _ in range(2):
                assert walk(reader.history, newest_first=True, **query) == messages[::-1]

    def test_a_page_holds_up_to_1000_messages(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S6: limit 1 to 1,000."""
        messages = [say() for _ in range(1001)]
        fill(reader, messages)
        page = reader.history("u1", limit=1000, newest_first=False)
        assert list(page) == messages[:1000]
        assert list(reader.history("u1", cursor=page.cursor, newest_first=False)) == messages[1000:]

    @BOTH_WAYS
    def test_a_page_ends_at_16_mib(
        self, store: ConversationStore, say: Say, *, newest_first: bool
    ) -> None:
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
        self, store: ConversationStore, say: Say, *, newest_first: bool
    ) -> None:
        """S6: a page ends at 16 MiB, not before."""
        mib = 1024 * 1024
        messages = [say("x" * mib) for _ in range(16)]
        store.bulk_load(messages)
        assert len(store.history("u1", newest_first=newest_first)) == 16
        extra = say("x", created_at=messages[8].created_at + MICROSECOND)
        store.append(extra)
        assert len(store.history("u1", newest_first=newest_first)) == 16

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_pages_pass_over_what_is_expired(
        self, reader: ConversationStore, fill: Fill, say: Say, clock: ManualClock, limit: int
    ) -> None:
        """C2, S6: a page ends at its limit of live messages."""
        soon = clock() + timedelta(seconds=1)
        messages = [say(expires_at=None if place % 3 else soon) for place in range(10)]
        fill(reader, messages)
        clock.advance(1)
        live = [one for one in messages if one.expires_at is None]

        assert walk(reader.history, limit=limit, newest_first=False) == live

    @BOTH_WAYS
    def test_many_expired_messages_in_a_row_are_passed_over(
        self,
        reader: ConversationStore,
        fill: Fill,
        say: Say,
        clock: ManualClock,
        *,
        newest_first: bool,
    ) -> None:
        """C2, S6: more than a page of any driver holds; they are not the end."""
        soon = clock() + timedelta(seconds=1)
        first, last = say("first"), say("last", created_at=clock() + timedelta(days=9))
        fill(reader, [first, *(say(expires_at=soon) for _ in range(1200)), last])
        clock.advance(1)
        expected = [last, first] if newest_first else [first, last]
        brief = [MessageSummary.of(one) for one in expected]
        for limit in (1, 2, 50):
            for session in (None, "s1"):
                query: dict[str, Any] = {"session_id": session, "newest_first": newest_first}
                assert walk(reader.history, limit=limit, **query) == expected
                assert walk(reader.summaries, limit=limit, **query) == brief
        assert len(reader.sessions("u1")) == 1

    @BOTH_WAYS
    def test_what_existed_throughout_is_seen_once_whatever_else_changes(
        self, store: ConversationStore, say: Say, *, newest_first: bool
    ) -> None:
        """S6: pages neither drop nor repeat a message that existed throughout."""
        kept = [say(content="kept") for _ in range(6)]
        gone = [say(content="gone", created_at=one.created_at + MICROSECOND) for one in kept]
        store.append(*kept, *gone)

        found: list[Message] = []
        cursor: str | None = None
        for step in itertools.count():  # pragma: no branch - it ends with the pages
            assert step < 100, "S6: the pages come to an end"
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
