"""Restoring many messages, and maintenance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import ConflictError, InvalidInputError
from ialstore.model import LoadReport, Message
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import SIZES, everything, listed

__all__ = ["Loading"]


class Loading(ConversationSuiteBase):
    """Restoring many messages, and maintenance."""

    def test_bulk_load_restores_messages_of_any_users(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S12: of any users from any iterable; one already stored is replaced."""
        there = say("old", user_id="u1", summary="old")
        store.append(there)
        new = replace(there, content="new", summary=None)
        others = [say(user_id=user, payload={"a": [1, 1.0]}) for user in ("u10", "u1", "a#b")]

        def messages() -> Iterator[Message]:
            yield new
            yield from others

        assert store.bulk_load(messages()) == LoadReport(written=4, failed=0)
        assert everything(store) == [new, others[1]]
        assert everything(store, "u10") == [others[0]]
        assert everything(store, "a#b") == [others[2]]

    def test_what_was_loaded_is_listed_and_removed_like_any_other(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S12, S9, S10: whether it was there or not."""
        there, new = say("old"), say(session_id="s2")
        store.append(there)
        loaded = replace(there, content="new", name="n", tokens=3)
        assert store.bulk_load([loaded, new]) == LoadReport(written=2)
        assert listed(store) == ["s2", "s1"]
        assert store.append(loaded).duplicates == (there.id,)
        with pytest.raises(ConflictError):
            store.append(there)
        assert store.delete("u1", [there.id]) == 1
        assert store.delete_session("u1", "s2") == 1
        assert everything(store) == []

    def test_loads_of_any_size_are_stored_whole(self, store: ConversationStore, say: Say) -> None:
        """S12: none is cut where a driver takes fewer at once."""
        kept: list[Message] = []
        for number in (*SIZES, 126):
            batch = [say(str(place), session_id=f"s{number}") for place in range(number)]
            assert store.bulk_load(iter(batch)) == LoadReport(written=number)
            kept += batch
            assert everything(store, limit=1000) == kept
        assert listed(store) == [f"s{number}" for number in (*SIZES, 126)][::-1]

    def test_bulk_load_of_nothing_writes_nothing(self, store: ConversationStore) -> None:
        """S12: from any iterable."""
        assert store.bulk_load([]) == LoadReport()
        assert store.bulk_load(iter(())) == LoadReport()

    def test_the_last_of_several_contents_is_loaded(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S12: the same id may come twice."""
        message = say("first")
        last = replace(message, content="last")
        assert store.bulk_load([message, last]).written == 2
        assert everything(store) == [last]

    def test_bulk_load_restores_what_is_expired_already(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S12, C2: an expired message counts as stored and is never read."""
        expired, kept = say(expires_at=clock()), say()
        assert store.bulk_load([expired, kept]) == LoadReport(written=2)
        assert everything(store) == [kept]
        assert store.bulk_load([replace(expired, expires_at=None), kept]) == LoadReport(written=2)
        assert len(everything(store)) == 2

    def test_bulk_load_tells_its_progress(self, store: ConversationStore, say: Say) -> None:
        """S12: with the number done so far."""
        told: list[tuple[int, int | None]] = []
        store.bulk_load(
            (say() for _ in range(2001)), progress=lambda done, total: told.append((done, total))
        )

        assert told[-1] == (2001, None)
        assert told == sorted(told)
        assert len(told) > 1

    def test_a_load_that_failed_is_completed_by_repeating_it(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S12: repeating it after a failure is safe and completes it."""
        messages = [say(str(place)) for place in range(1500)]

        def failing() -> Iterator[Message]:
            yield from messages[:1200]
            raise KeyError("the backup is torn")

        with pytest.raises(KeyError):
            store.bulk_load(failing())
        before = everything(store, limit=1000)
        assert before == messages[: len(before)]
        assert store.bulk_load(messages) == LoadReport(written=1500)
        assert everything(store, limit=1000) == messages

    def test_a_wrong_message_in_a_load_is_refused(self, store: ConversationStore, say: Say) -> None:
        """S12, M5, E2: every write validates."""
        message = say()
        for wrong in (replace(message, content="\ud800"), "a text", None):
            with pytest.raises(InvalidInputError):
                store.bulk_load([wrong])  # type: ignore[list-item]  # the point of the test
        assert everything(store) == []

    def test_optimize_keeps_long_histories(self, store: ConversationStore, say: Say) -> None:
        """S13: however many messages there are."""
        messages = [say(str(place)) for place in range(1200)]
        store.bulk_load(messages)
        store.optimize("u1")
        assert everything(store, limit=1000) == messages

    def test_optimize_changes_no_answer(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S13: its only effect is on cost, speed and listings."""
        messages = [say(session_id=one) for one in "abc"]
        expiring = [
            say(session_id=name, expires_at=clock() + timedelta(seconds=seconds))
            for name, seconds in (("d", 1), ("e", 2))
        ]
        store.append(*messages, *expiring)
        store.delete("u1", [messages[0].id])
        clock.advance(1)
        told: list[tuple[int, int | None]] = []

        report = store.optimize("u1", progress=lambda done, total: told.append((done, total)))

        assert report.removed >= 0
        assert report.reclaimed_bytes >= 0
        assert everything(store) == [*messages[1:], expiring[1]]
        found = listed(store)
        assert [one for one in found if one not in ("a", "d")] == ["e", "c", "b"]
        if store.capabilities.exact_sessions:
            assert found == ["e", "c", "b"]
        clock.advance(1)
        assert everything(store) == messages[1:]
        assert store.optimize("nobody").removed == 0
