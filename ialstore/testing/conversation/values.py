"""Values come back as they were given: texts, JSON, times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.ids import Role
from ialstore.model import LoadReport, MessageSummary
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

        for found in (*store.get("u1", [message.id]), *store.history("u1")):
            assert exactly(found.payload) == exactly([value])
            assert exactly(found.metadata["value"]) == exactly(value)
        assert store.append(message).duplicates == (message.id,)

    @pytest.mark.parametrize("way", ["append", "replace", "bulk_load"])
    def test_every_write_stores_what_it_was_given(
        self, store: ConversationStore, say: Say, way: str
    ) -> None:
        """M1, S4, S12: and every read returns it."""
        texts = "".join(text for name, text in TEXTS.items() if "MiB" not in name)
        messages = [
            say(
                texts,
                payload={"values": VALUES, "text": texts},
                metadata=VALUES,
                name=texts[:50],
                turn_id=texts[-50:],
                source_id=texts[10:60],
                summary=texts[20:70],
                tokens=7,
                expires_at=datetime(2100, 1, 1, tzinfo=UTC),  # a service may go by its own clock
            ),
            say("long " * 100_000, payload=["long " * 50_000], metadata={"a": "long " * 1000}),
        ]
        if way == "replace":
            store.append(*(replace(one, content="", payload=None) for one in messages))
            assert [store.replace(one) for one in messages] == [True, True]
        elif way == "bulk_load":
            assert store.bulk_load(messages) == LoadReport(written=2)
        else:
            store.append(*messages)

        given = exactly([[one.payload, one.metadata] for one in messages])
        for found in (
            store.get("u1", [one.id for one in messages]),
            list(store.history("u1", newest_first=False)),
            list(store.history("u1", session_id="s1", newest_first=False)),
        ):
            assert found == messages
            assert exactly([[one.payload, one.metadata] for one in found]) == given
        brief = store.summaries("u1", newest_first=False)
        assert list(brief) == [MessageSummary.of(one) for one in messages]
        ids = tuple(one.id for one in messages)
        assert store.append(*messages).duplicates == ids

    @pytest.mark.parametrize("letter", ["x", "é", "😀"])
    def test_short_texts_may_be_as_long_as_their_limits(
        self, store: ConversationStore, say: Say, letter: str
    ) -> None:
        """M1: name and turn 256 bytes, source 512, summary 1 KiB; metadata 32 KiB."""
        size = len(letter.encode())
        message = say(
            name=letter * (256 // size),
            turn_id=letter * (256 // size),
            source_id=letter * (512 // size),
            summary=letter * (1024 // size),
            metadata={"a": letter * ((32 * 1024 - 8) // size)},
        )
        store.append(message)
        assert store.get("u1", [message.id]) == list(store.history("u1")) == [message]
        assert [one.summary for one in store.summaries("u1")] == [message.summary]

    def test_json_may_be_as_deep_as_its_limits(self, store: ConversationStore, say: Say) -> None:
        """M1: payloads to 64 levels, metadata to 16."""

        def nested(depth: int) -> Any:
            value: Any = {"bottom": [1.0]} if depth % 2 else ["bottom", {"a": 1}]
            for level in range(depth - 2):
                value = {"a": value} if level % 2 else [value]
            return value

        messages = [say(payload=nested(depth), metadata={"a": nested(15)}) for depth in (63, 64)]
        store.append(*messages)
        found = store.get("u1", [one.id for one in messages])
        assert [exactly([one.payload, one.metadata]) for one in found] == [
            exactly([one.payload, one.metadata]) for one in messages
        ]

    def test_numbers_of_tokens_come_back(self, store: ConversationStore, say: Say) -> None:
        """M1, S7: from 0 to 2^31 - 1, also in short; none is none."""
        numbers = [None, 0, 1, 255, 256, 2**15, 2**16, 2**24 + 1, 2**31 - 1]
        messages = [say(tokens=one) for one in numbers]
        store.append(*messages)
        for found in (
            store.get("u1", [one.id for one in messages]),
            store.history("u1", newest_first=False),
            store.summaries("u1", newest_first=False),
            store.summaries("u1", session_id="s1", newest_first=False),
        ):
            assert [one.tokens for one in found] == numbers

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
