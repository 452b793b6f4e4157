"""Appending: once, however often, and never over what is there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import ConflictError, InvalidInputError, LimitExceededError
from ialstore.model import AppendResult, Message
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import everything, exactly, listed, twin_of

__all__ = ["Appending"]


class Appending(ConversationSuiteBase):
    """Appending: once, however often, and never over what is there."""

    def test_what_is_appended_is_read(self, store: ConversationStore, say: Say) -> None:
        """S1, S5, S6: appended messages come back whole."""
        messages = [
            say("hello", name="Ann", summary="greets", tokens=1, metadata={"mood": "good"}),
            say("", role="assistant", payload={"calls": [{"id": 1}]}, turn_id="t1", source_id="x"),
        ]

        result = store.append(*messages)

        assert result == AppendResult(stored=tuple(one.id for one in messages), duplicates=())
        assert store.get("u1", [one.id for one in messages]) == messages
        assert everything(store) == messages

    def test_appending_nothing_stores_nothing(self, store: ConversationStore) -> None:
        """S1: 0 to 100 messages."""
        assert store.append() == AppendResult()

    def test_appending_the_same_message_twice_stores_it_once(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S1: idempotent."""
        first, second, third = say("a"), say("b"), say("c")
        store.append(second)

        result = store.append(third, second, first)

        assert result == AppendResult(stored=(third.id, first.id), duplicates=(second.id,))
        assert store.append(first, second) == AppendResult((), (first.id, second.id))
        assert everything(store) == [first, second, third]

    def test_a_duplicate_keeps_its_first_summary_tokens_and_expiry(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S1, M7: a duplicate is not written again."""
        first = say(summary="first", tokens=1, expires_at=clock() + timedelta(hours=1))
        later = replace(first, summary=None, tokens=2, expires_at=None)
        store.append(first)

        assert store.append(later).duplicates == (first.id,)
        assert store.get("u1", [first.id]) == [first]

    @pytest.mark.parametrize(
        "changed",
        [
            {"content": "other"},
            {"content": "hello "},
            {"payload": {}},
            {"name": ""},
            {"turn_id": "t"},
            {"source_id": "x"},
            {"metadata": {"a": 1}},
        ],
    )
    def test_the_same_id_with_other_content_is_a_conflict(
        self, store: ConversationStore, say: Say, changed: dict[str, Any]
    ) -> None:
        """S2, M7: nothing is stored, and what is there stays."""
        first, other = say(), say()
        store.append(first)

        with pytest.raises(ConflictError) as caught:
            store.append(replace(first, **changed))
        assert caught.value.ids == (first.id,)
        assert (caught.value.operation, caught.value.retryable) == ("append", False)
        assert caught.value.backend == store.backend

        if store.capabilities.atomic_append:
            with pytest.raises(ConflictError) as caught:
                store.append(other, replace(first, **changed))
            assert caught.value.ids == (first.id,)
            assert everything(store) == [first]

    def test_a_message_of_a_session_with_the_same_hash_is_a_conflict(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S2, M7: the session is part of what is compared."""
        first = say()
        store.append(first)
        with pytest.raises(ConflictError):
            store.append(replace(first, session_id=twin_of("s1")))
        if store.capabilities.exact_sessions:
            assert listed(store) == ["s1"]

    def test_the_same_message_twice_in_a_call_is_stored_once(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S2: the same id twice in one call: once if equal."""
        one, other = say("a", summary="first"), say("b")

        result = store.append(one, other, replace(one, summary="second"), one)

        assert result == AppendResult(stored=(one.id, other.id))
        assert everything(store) == [one, other]

    def test_two_contents_of_one_id_in_a_call_are_a_conflict(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S2: else `ConflictError` before any I/O."""
        one = say("a")
        with pytest.raises(ConflictError) as caught:
            store.append(say("b"), one, replace(one, content="c"))
        assert caught.value.ids == (one.id,)
        assert everything(store) == []

    def test_a_deleted_message_may_be_appended_again(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S3: deleted ids are forgotten."""
        message = say("a")
        store.append(message)
        store.delete("u1", [message.id])
        again = replace(message, content="b")

        assert store.append(again).stored == (message.id,)
        assert everything(store) == [again]

    def test_an_expired_message_may_be_appended_again(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S3: expired ids are forgotten, even those of another session with the same hash."""
        message = say("a", expires_at=clock() + timedelta(seconds=1))
        store.append(message)
        clock.advance(1)
        again = replace(message, session_id=twin_of("s1"), content="b", expires_at=None)

        assert store.append(again).stored == (message.id,)
        assert everything(store) == [again]
        assert store.get("u1", [message.id]) == [again]
        if store.capabilities.exact_sessions:
            assert listed(store) == [again.session_id]
        assert everything(store, session_id="s1") == []

    @pytest.mark.parametrize(("number", "error"), [(100, None), (101, LimitExceededError)])
    def test_an_append_takes_up_to_100_messages(
        self, store: ConversationStore, say: Say, number: int, error: type[Exception] | None
    ) -> None:
        """S1: 0 to 100 messages."""
        messages = [say(str(place)) for place in range(number)]
        if error is None:
            assert store.append(*messages).stored == tuple(one.id for one in messages)
            assert everything(store) == messages
        else:
            with pytest.raises(error):
                store.append(*messages)
            assert everything(store) == []

    def test_an_append_takes_up_to_4_mib(self, store: ConversationStore, say: Say) -> None:
        """S1: 4 MiB in all; repeated messages count once."""
        messages = [say("x" * 1024 * 1024) for _ in range(4)]
        one_byte = say("x")

        with pytest.raises(LimitExceededError):
            store.append(*messages, one_byte)
        assert everything(store) == []
        assert len(store.append(*messages, messages[0], say("")).stored) == 5

    def test_an_append_takes_messages_of_one_user(self, store: ConversationStore, say: Say) -> None:
        """S1, C6: of one user."""
        with pytest.raises(InvalidInputError, match="one user"):
            store.append(say(), say(user_id="u10"))
        assert everything(store) == everything(store, "u10") == []

    @pytest.mark.parametrize("payload", [None, {}, [], {"a": None}])
    def test_an_empty_payload_is_not_none(
        self, store: ConversationStore, say: Say, payload: Any
    ) -> None:
        """M1, M7: None, {} and [] are three payloads."""
        message = say(payload=payload, metadata={})
        store.append(message)
        assert exactly(store.get("u1", [message.id])[0].payload) == exactly(payload)
        others: list[Any] = [None, {}, []]
        for other in others:
            if exactly(other) != exactly(payload):
                with pytest.raises(ConflictError):
                    store.append(replace(message, payload=other))

    def test_a_store_keeps_a_copy_of_its_own(self, store: ConversationStore, say: Say) -> None:
        """M5: what is changed outside changes nothing inside."""
        payload: dict[str, Any] = {"calls": [1]}
        message = say(payload=payload, metadata={"tags": ["a"]})
        before = exactly([message.payload, message.metadata])
        store.append(message)

        payload["calls"].append(2)
        message.metadata["tags"].append("b")
        for _ in range(2):
            (found,) = store.get("u1", [message.id])
            (listed,) = store.history("u1")
            for one in (found, listed):
                assert exactly([one.payload, one.metadata]) == before
                assert isinstance(one.payload, dict)
                one.payload["calls"].append(3)
                one.metadata.clear()

    def test_ids_made_in_a_row_are_read_in_that_order(self, store: ConversationStore) -> None:
        """M4, M6: without `created_at` each id is later than the one before."""
        made = [
            Message.new(user_id="u1", session_id="s1", role=role, content=str(place))
            for place in range(20)
            for role in ("user", "assistant")
        ]
        store.append(*made[::-1])
        assert list(store.history("u1", newest_first=False)) == made
