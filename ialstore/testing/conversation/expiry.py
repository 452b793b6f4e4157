"""Expiry by the caller's clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ialstore.conversation import ConversationStore
from ialstore.model import Page
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Fill, OpenStore, Say
from ialstore.testing.conversation.helpers import everything

__all__ = ["Expiry"]


class Expiry(ConversationSuiteBase):
    """Expiry by the caller's clock."""

    def test_a_message_is_absent_from_the_second_it_expires(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """C2: once `now >= expires_at`, in every read."""
        message = say(expires_at=clock() + timedelta(seconds=10))
        store.append(message)

        clock.advance(9.999999)
        assert store.get("u1", [message.id]) == [message]
        assert list(store.history("u1")) == [message]
        assert len(store.summaries("u1")) == len(store.sessions("u1")) == 1

        clock.advance(0.000001)
        assert store.get("u1", [message.id]) == []
        for page in (
            store.history("u1"),
            store.history("u1", session_id="s1", newest_first=False),
            store.summaries("u1"),
        ):
            assert page == Page(())
        if store.capabilities.exact_sessions:
            assert store.sessions("u1") == Page(())
        assert store.replace(message) is False
        assert store.delete("u1", [message.id]) == 0
        assert store.delete_session("u1", "s1") == 0

    def test_the_clock_of_the_caller_decides(
        self, reader: ConversationStore, fill: Fill, say: Say, clock: ManualClock
    ) -> None:
        """C2, S15: stores take `clock=`."""
        message = say(expires_at=clock() + timedelta(seconds=1))
        fill(reader, [message])
        clock.advance(-10_000)
        assert list(reader.history("u1")) == [message]

    @pytest.mark.parametrize(
        "expires_at",
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            START - timedelta(days=1),
            START,
        ],
        ids=["year 1", "before 0", "0", "a day ago", "now"],
    )
    def test_an_expired_message_may_be_appended(
        self, store: ConversationStore, say: Say, expires_at: datetime
    ) -> None:
        """C2: it counts as stored and is never read."""
        message = say(expires_at=expires_at)
        for _ in range(2):
            assert store.append(message).stored == (message.id,)
            assert list(store.history("u1")) == []
            assert store.get("u1", [message.id]) == []

    def test_retention_gives_every_message_an_expiry(
        self, open_store: OpenStore, say: Say, clock: ManualClock
    ) -> None:
        """C2: `retention_days` sets a default expiry, counted from the message's creation."""
        store = open_store(retention_days=1)
        if not store.capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")
        old = say(created_at=datetime(2096, 2, 28, 12, 0, 1, tzinfo=UTC))
        late = say(created_at=clock())
        own = say(expires_at=clock() + timedelta(days=9))
        loaded = say(created_at=clock())
        store.append(old, late, own)
        store.bulk_load([loaded])

        assert [one.id for one in everything(store)] == sorted([old.id, late.id, own.id, loaded.id])
        clock.advance(1)
        assert {one.id for one in everything(store)} == {late.id, own.id, loaded.id}
        assert store.replace(replace(late, content="new"))
        clock.advance(86_399)
        assert everything(store) == [own]
