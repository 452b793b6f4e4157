"""Replacing a message as a whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import ConflictError
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import everything, listed, twin_of

__all__ = ["Replacing"]


class Replacing(ConversationSuiteBase):
    """Replacing a message as a whole."""

    def test_replace_changes_a_message_as_a_whole(self, store: ConversationStore, say: Say) -> None:
        """S4: replaces the message of the same id."""
        first = say(
            "a",
            name="n",
            summary="s",
            tokens=1,
            payload={"a": 1},
            metadata={"b": 2},
            turn_id="t",
            source_id="x",
        )
        other = say("c")
        store.append(first, other)
        second = replace(first, content="b", name=None, summary=None, tokens=None, payload=None)
        second = replace(second, metadata={}, turn_id=None, source_id=None)

        assert store.replace(second) is True
        assert everything(store) == [second, other]
        assert [one.summary for one in store.summaries("u1", newest_first=False)] == ["b", "c"]
        assert store.append(second).duplicates == (first.id,)
        with pytest.raises(ConflictError):
            store.append(first)

    def test_replace_stores_nothing_where_nothing_is(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S4: False when it is absent, deleted or expired."""
        absent, deleted = say(), say()
        expired = say(expires_at=clock() + timedelta(seconds=1))
        store.append(deleted, expired)
        store.delete("u1", [deleted.id])
        clock.advance(1)

        for message in (absent, deleted, replace(expired, expires_at=None)):
            assert store.replace(message) is False
        assert everything(store) == []
        if store.capabilities.exact_sessions:
            assert listed(store) == []

    def test_replace_may_set_move_and_lift_an_expiry(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S4, C2: the expiry is replaced too."""
        message = say()
        store.append(message)
        for seconds in (10, 20, None):
            expires = None if seconds is None else clock() + timedelta(seconds=seconds)
            assert store.replace(replace(message, expires_at=expires))
        clock.advance(100)
        assert everything(store) == [message]
        assert store.replace(replace(message, expires_at=clock()))
        assert everything(store) == []

    def test_replace_moves_no_message_to_another_session(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S4: what the hash byte lets through is a `ConflictError`."""
        message = say()
        store.append(message)
        with pytest.raises(ConflictError) as caught:
            store.replace(replace(message, session_id=twin_of("s1")))
        assert caught.value.ids == (message.id,)
        assert everything(store) == [message]
        assert store.replace(replace(say(), session_id=twin_of("s1"))) is False
