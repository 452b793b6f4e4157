"""Appending: once, however often, and never over what is there."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import (
    ConflictError,
    IalStoreError,
    InvalidInputError,
    LimitExceededError,
    Outcome,
    PartialWriteError,
)
from ialstore.model import AppendResult, Message
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import (
    SIZES,
    everything,
    exactly,
    listed,
    twin_of,
)

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
            {"content": "hello\0"},
            {"content": "Hello"},
            {"content": "he\u200bllo"},
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

    @pytest.mark.parametrize(
        ("field", "one", "other"),
        [
            ("payload", [1], [1.0]),
            ("payload", [1], [True]),
            ("payload", [0.0], [-0.0]),
            ("payload", {"a": 1, "b": 2}, {"b": 2, "a": 1}),
            ("payload", ["é"], ["e\u0301"]),
            ("metadata", {"a": 1}, {"a": 1.0}),
            ("metadata", {"a": 0.0}, {"a": -0.0}),
            ("metadata", {"a": {"b": [1, 2]}}, {"a": {"b": [2, 1]}}),
        ],
    )
    def test_values_are_compared_as_text(
        self, store: ConversationStore, say: Say, field: str, one: Any, other: Any
    ) -> None:
        """M7, M1: 1 and 1.0 are different, and so are 0.0 and -0.0; Python calls them equal."""
        message = say(**{field: one})
        store.append(message)
        with pytest.raises(ConflictError):
            store.append(replace(message, **{field: other}))
        (found,) = store.get("u1", [message.id])
        assert exactly(getattr(found, field)) == exactly(one)

    def test_the_order_of_keys_in_metadata_is_not_compared(
        self, store: ConversationStore, say: Say
    ) -> None:
        """M7: metadata with its keys sorted, at every depth."""
        message = say(metadata={"a": {"c": 1, "d": 2}, "b": 3})
        store.append(message)
        again = replace(message, metadata={"b": 3, "a": {"d": 2, "c": 1}})
        assert store.append(again).duplicates == (message.id,)

    def test_old_and_new_messages_of_a_batch_are_told_apart(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S1: ids in the order given, however they are mixed."""
        messages = [say(str(place)) for place in range(100)]
        there = messages[::3]
        store.append(*there)

        batch = messages[::-1]
        result = store.append(*batch)

        old = {one.id for one in there}
        assert result.stored == tuple(one.id for one in batch if one.id not in old)
        assert result.duplicates == tuple(one.id for one in batch if one.id in old)
        assert everything(store) == messages

    def test_batches_of_any_size_are_stored_whole(self, store: ConversationStore, say: Say) -> None:
        """S1: none is cut where a driver takes fewer at once."""
        kept: list[Message] = []
        for number in SIZES:
            batch = [say(str(place)) for place in range(number)]
            given = [*batch, *kept[: 100 - number]][::-1]
            ids = [one.id for one in batch[::-1]]
            there = [one.id for one in kept[: 100 - number][::-1]]
            assert store.append(*given) == AppendResult(tuple(ids), tuple(there))
            kept += batch
            assert everything(store) == kept
            assert listed(store) == ["s1"]

    def test_every_conflict_of_a_batch_is_named(self, store: ConversationStore, say: Say) -> None:
        """S2: in the order given."""
        messages = [say(str(place)) for place in range(40)]
        store.append(*messages)
        same, other = messages[:9], messages[9:][::-1]
        with pytest.raises(ConflictError) as caught:
            store.append(*same, *(replace(one, content="other") for one in other))
        assert list(caught.value.ids) == [one.id for one in other]
        assert everything(store) == messages

    def test_a_batch_with_a_conflict_says_what_became_of_each(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S2, C4, E1: and repeating it without the conflict completes it."""
        there, duplicate, before, after = say("there"), say("dup"), say("before"), say("after")
        store.append(there, duplicate)
        batch = (before, replace(there, content="other"), duplicate, after)

        with pytest.raises((ConflictError, PartialWriteError)) as caught:
            store.append(*batch)

        error: IalStoreError = caught.value
        stored: tuple[str, ...] = ()
        if isinstance(error, PartialWriteError):
            assert not store.capabilities.atomic_append, "a failed batch stores nothing"
            assert error.stored, "S2: ConflictError when nothing was stored"
            assert error.conflicting == (there.id,)
            told = (*error.stored, *error.duplicates, *error.conflicting, *error.not_stored)
            assert error.unknown == (), "nothing failed: what became of each is known"
            assert sorted(told) == sorted(one.id for one in batch)
            stored = error.stored
        assert error.outcome is (Outcome.PARTIAL if stored else Outcome.NOT_APPLIED)
        assert {one.id for one in everything(store)} == {there.id, duplicate.id, *stored}
        assert store.get("u1", [there.id]) == [there]

        result = store.append(before, duplicate, after)
        assert set(result.stored) == {before.id, after.id} - set(stored)
        assert everything(store) == [there, duplicate, before, after]

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

    @pytest.mark.parametrize("method", ["append", "replace", "bulk_load"])
    def test_a_store_keeps_a_copy_of_its_own(
        self, store: ConversationStore, say: Say, method: str
    ) -> None:
        """M5: what is changed outside changes nothing inside."""
        payload: dict[str, Any] = {"calls": [1]}
        message = say(payload=payload, metadata={"tags": ["a"]})
        before = exactly([message.payload, message.metadata])
        if method == "bulk_load":
            store.bulk_load([message])
        else:
            store.append(message if method == "append" else replace(message, payload=[]))
        if method == "replace":
            assert store.replace(message)

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

    def test_ids_do_not_step_back_with_the_clock(
        self, store: ConversationStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """M4, M6: nor does the order of what is read."""
        began = time.time_ns()
        made: list[Message] = []
        for step in range(9):
            monkeypatch.setattr(time, "time_ns", partial(int, began - step * 10**9))
            made.append(Message.new(user_id="u1", session_id="s1", role="user", content=str(step)))
            store.append(made[-1])
            clock.advance(-1)
        monkeypatch.undo()
        assert list(store.history("u1", newest_first=False)) == made
        assert list(store.history("u1", session_id="s1")) == made[::-1]
        assert [one.id for one in store.summaries("u1")] == [one.id for one in made[::-1]]
