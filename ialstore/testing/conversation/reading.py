"""Reading: by id, in order, in short, and by ranges of time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import LimitExceededError
from ialstore.ids import Role
from ialstore.model import MessageSummary, Page
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Fill, Say
from ialstore.testing.conversation.helpers import (
    BOTH_WAYS,
    MICROSECOND,
    SIZES,
    twin_of,
    walk,
)

__all__ = ["Reading"]


class Reading(ConversationSuiteBase):
    """Reading: by id, in order, in short, and by ranges of time."""

    def test_get_answers_in_the_order_asked(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S5: repeats are answered as asked, unknown ones left out."""
        one, two, three = say("1"), say("2"), say("3")
        unknown = say()
        fill(reader, [one, two, three])

        asked = [three.id, unknown.id, one.id, three.id]
        assert reader.get("u1", asked) == [three, one, three]
        assert reader.get("u1", tuple(asked)) == [three, one, three]
        assert reader.get("u1", []) == []
        assert reader.get("nobody", asked) == []

    def test_get_takes_up_to_100_ids(self, reader: ConversationStore, fill: Fill, say: Say) -> None:
        """S5: up to 100 ids."""
        messages = [say(str(place)) for place in range(100)]
        fill(reader, messages)
        ids = [one.id for one in messages]

        assert reader.get("u1", ids[::-1]) == messages[::-1]
        with pytest.raises(LimitExceededError):
            reader.get("u1", [*ids, ids[0]])

    def test_get_takes_any_number_of_ids(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S5: none is left out where a driver takes fewer at once."""
        messages = [say(str(place)) for place in range(100)]
        fill(reader, messages)
        for number in SIZES:
            some = messages[-number:]
            assert reader.get("u1", [one.id for one in some]) == some
            mixed = [one.id for one in some[: number // 2]]
            unknown = [say().id for _ in range(number - len(mixed))]
            assert reader.get("u1", [*unknown, *mixed]) == some[: number // 2]

    def test_summaries_are_histories_in_short(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S7: where no summary was given, the first 200 characters of the content."""
        long = "é😀\0\n" * 100
        messages = [
            say(long),
            say(long, summary="short", tokens=3, role="tool"),
            say(long, summary=""),
            say("", session_id="s2", payload={"a": 1}),
        ]
        fill(reader, messages)

        page = reader.summaries("u1", newest_first=False)

        assert isinstance(page, Page)
        assert page.cursor is None
        assert list(page) == [
            MessageSummary(one.id, "u1", one.session_id, one.role, text, one.tokens)
            for one, text in zip(messages, [long[:200], "short", "", ""], strict=True)
        ]

    def test_order_is_the_order_of_ids(
        self, reader: ConversationStore, fill: Fill, say: Say, clock: ManualClock
    ) -> None:
        """M6: also at equal times, in every listing."""
        messages = [
            say(role=role, session_id=session, created_at=clock())
            for role in Role
            for session in ("s1", "s2", "s3")
        ]
        fill(reader, messages)
        ids = sorted(one.id for one in messages)
        assert [one.id for one in reader.history("u1", newest_first=False)] == ids
        assert [one.id for one in reader.history("u1")] == ids[::-1]
        assert [one.id for one in reader.summaries("u1")] == ids[::-1]

    def test_the_default_is_the_50_newest(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S6: limit 50, newest first."""
        messages = [say() for _ in range(51)]
        fill(reader, messages)
        page = reader.history("u1")
        assert list(page) == messages[:0:-1]
        assert list(reader.history("u1", cursor=page.cursor)) == messages[:1]
        assert [one.id for one in reader.summaries("u1")] == [one.id for one in page]

    @BOTH_WAYS
    @pytest.mark.parametrize("limit", [1, 3, 50])
    def test_a_range_of_times_is_half_open(
        self, reader: ConversationStore, fill: Fill, say: Say, limit: int, *, newest_first: bool
    ) -> None:
        """S6: [since, until), to the microsecond."""
        at = datetime(
            2096, 2, 29, 23, 59, 59, 999_998, tzinfo=UTC
        )  # past midnight, and a month's end
        messages = [say(created_at=at + place * MICROSECOND, key=str(place)) for place in range(5)]
        fill(reader, messages)
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
                query: dict[str, Any] = {
                    "since": since,
                    "until": until,
                    "newest_first": newest_first,
                }
                assert walk(reader.history, limit=limit, **query) == expected
        assert len(walk(reader.summaries, limit=limit, since=times[2], until=times[4])) == 2

    @BOTH_WAYS
    @pytest.mark.parametrize("limit", [1, 2, 50])
    def test_a_range_of_times_of_a_session_holds_nothing_else(
        self,
        reader: ConversationStore,
        fill: Fill,
        say: Say,
        limit: int,
        *,
        newest_first: bool,
    ) -> None:
        """S6: session and range together, at equal times too."""
        messages = [
            say(session_id=session, created_at=START + place * MICROSECOND, key=session)
            for place in range(4)
            for session in ("s1", "s10", twin_of("s1"))
        ]
        fill(reader, messages)
        query: dict[str, Any] = {
            "session_id": "s1",
            "since": START + MICROSECOND,
            "until": START + 3 * MICROSECOND,
            "newest_first": newest_first,
        }
        expected = messages[3:9:3]
        if newest_first:
            expected.reverse()
        assert walk(reader.history, limit=limit, **query) == expected
        brief = walk(reader.summaries, limit=limit, **query)
        assert brief == [MessageSummary.of(one) for one in expected]

    def test_get_returns_more_than_a_page_holds(self, store: ConversationStore, say: Say) -> None:
        """S5: up to 100 ids, whatever the size of their messages."""
        messages = [say("x" * 1024 * 1024) for _ in range(17)]
        store.bulk_load(messages)
        assert store.get("u1", [one.id for one in messages]) == messages

    @BOTH_WAYS
    def test_a_range_may_span_all_times(
        self, reader: ConversationStore, fill: Fill, say: Say, *, newest_first: bool
    ) -> None:
        """S6: years apart, and beyond what an id can hold."""
        times = [datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 1999, 2024, 2025, 9999)]
        messages = [say(created_at=at) for at in times]
        fill(reader, messages)
        expected = messages[::-1] if newest_first else messages
        ends: dict[str, Any] = {
            "since": datetime.min.replace(tzinfo=UTC),
            "until": datetime.max.replace(tzinfo=UTC),
        }

        assert walk(reader.history, limit=2, newest_first=newest_first, **ends) == expected
        assert walk(reader.history, limit=2, newest_first=newest_first) == expected
        old: dict[str, Any] = {
            "since": times[0],
            "until": times[1] + MICROSECOND,
            "newest_first": newest_first,
        }
        assert len(walk(reader.history, limit=1, **old)) == 2

    def test_an_empty_range_holds_nothing(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """S6, S7: `since` may be `until`."""
        message = say()
        fill(reader, [message])
        at = message.created_at
        assert reader.history("u1", since=at, until=at) == Page(())
        assert reader.summaries("u1", since=at, until=at) == Page(())
        assert reader.history("nobody") == Page(())
