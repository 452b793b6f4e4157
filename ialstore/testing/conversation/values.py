"""Values come back as they were given: texts, JSON, times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.ids import Role
from ialstore.testing.cases import TEXTS, VALUES, named
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import exactly

__all__ = ["Values"]


class Values(ConversationSuiteBase):
    """Values come back as they were given: texts, JSON, times."""

    @named(TEXTS)
    def test_a_text_comes_back_code_point_for_code_point(
        self, store: ConversationStore, say: Say, value: str
    ) -> None:
        """M1: in contents, and in every short text."""
        short = value[:50]
        message = say(value, name=short, turn_id=short, source_id=short, summary=short)
        store.append(message)

        (found,) = store.get("u1", [message.id])
        assert found == message
        assert (found.content, found.name, found.turn_id) == (value, short, short)
        assert (found.source_id, found.summary) == (short, short)
        assert list(store.history("u1")) == [message]
        (brief,) = store.summaries("u1")
        assert brief.summary == short
        assert store.append(message).duplicates == (message.id,)

    @named(TEXTS)
    def test_a_summary_is_cut_between_characters(
        self, store: ConversationStore, say: Say, value: str
    ) -> None:
        """S7: the first 200 characters."""
        long = (value * 201)[: 250 if len(value) < 1000 else 1000]
        store.append(say(long))
        (brief,) = store.summaries("u1")
        assert brief.summary == long[:200]

    @named(VALUES)
    def test_json_comes_back_as_it_was_given(
        self, store: ConversationStore, say: Say, value: Any
    ) -> None:
        """M1: 1 and 1.0 stay different; key order is kept in payloads."""
        message = say(payload=[value], metadata={"value": value})
        store.append(message)

        (found,) = store.get("u1", [message.id])
        assert exactly(found.payload) == exactly([value])
        assert exactly(found.metadata["value"]) == exactly(value)
        assert store.append(message).duplicates == (message.id,)
        assert list(store.history("u1")) == [found]

    def test_short_texts_may_be_empty_or_none(self, store: ConversationStore, say: Say) -> None:
        """M1: an empty text is not None."""
        empty = say(name="", turn_id="", source_id="", summary="", tokens=0)
        none = say()
        store.append(empty, none)
        assert store.get("u1", [empty.id, none.id]) == [empty, none]

    @pytest.mark.parametrize("role", list(Role))
    def test_every_role_comes_back(self, store: ConversationStore, say: Say, role: Role) -> None:
        """M3: the role is in the id."""
        message = say(role=role)
        store.append(message)
        (found,) = store.history("u1")
        assert found.role is role
        (brief,) = store.summaries("u1")
        assert brief.role is role

    @pytest.mark.parametrize(
        "created_at",
        [
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
            datetime(2000, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        ],
    )
    def test_times_are_exact_to_the_microsecond(
        self, store: ConversationStore, say: Say, created_at: datetime
    ) -> None:
        """M2, M3: from 1970 to 9999, in histories and sessions."""
        message = say(created_at=created_at)
        store.append(message)
        (found,) = store.history("u1")
        assert found.created_at == created_at
        assert found.created_at.tzinfo is UTC
        (session,) = store.sessions("u1")
        assert created_at - session.last_active <= store.capabilities.activity_precision
        assert session.last_active.tzinfo is UTC

    @pytest.mark.parametrize("seconds", [1, 1.000001, 1e9, 2.4e11])
    def test_expiries_come_back_in_whole_seconds(
        self, store: ConversationStore, say: Say, clock: ManualClock, seconds: float
    ) -> None:
        """M2: `expires_at` is rounded up to whole seconds."""
        given = clock() + timedelta(seconds=min(seconds, 2.4e11))
        message = say()
        store.append(replace(message, expires_at=given))

        (found,) = store.get("u1", [message.id])
        assert found.expires_at is not None
        assert timedelta(0) <= found.expires_at - given < timedelta(seconds=1)
        assert found.expires_at.microsecond == 0
        assert found.expires_at.tzinfo is UTC
