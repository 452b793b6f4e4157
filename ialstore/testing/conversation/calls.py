"""What every call has: a deadline, an event, units."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

import pytest

from ialstore import events
from ialstore.conversation import ConversationStore
from ialstore.cost import Units, meter
from ialstore.errors import ConflictError, DeadlineExceededError, Outcome
from ialstore.events import OperationEvent
from ialstore.operation import deadline
from ialstore.testing.conversation.base import ConversationSuiteBase, OpenStore, Say
from ialstore.testing.conversation.helpers import calls_of

__all__ = ["Calls"]


SHORT_SECONDS: Final = 0.05


def _seconds_of(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    with deadline(SHORT_SECONDS), suppress(DeadlineExceededError):
        call()
    return time.perf_counter() - started


class Calls(ConversationSuiteBase):
    """What every call has: a deadline, an event, units."""

    def test_a_deadline_that_is_over_ends_every_call(
        self, store: ConversationStore, say: Say
    ) -> None:
        """C3, C4: with the outcome."""
        message = say()
        store.append(message)
        for name, call in calls_of(store, replace(message, content="other")).items():
            with deadline(1e-9), pytest.raises(DeadlineExceededError) as caught:
                call()
            assert caught.value.operation == name
            assert caught.value.backend == store.backend
            assert caught.value.outcome in (Outcome.NOT_APPLIED, Outcome.UNKNOWN)
        assert list(store.history("u1")) == [message]

    def test_no_call_outlasts_its_deadline(self, store: ConversationStore, say: Say) -> None:
        """C3: by more than 100 ms; one of a few tries counts, because the machine may be busy."""
        for name, call in calls_of(store, say()).items():
            assert any(_seconds_of(call) <= SHORT_SECONDS + 0.1 for _ in range(5)), (
                f"C3: {name} outlasts its deadline"
            )

    def test_the_timeout_of_a_store_ends_its_calls(
        self, store: ConversationStore, open_store: OpenStore, say: Say
    ) -> None:
        """C3: where no `with deadline(seconds)` says otherwise."""
        store.close()
        message = say()
        hasty = open_store(set_up=False, timeout_seconds=1e-9)
        for name, call in calls_of(hasty, message).items():
            with pytest.raises(DeadlineExceededError) as caught:
                call()
            assert caught.value.operation == name
        with deadline(60):
            for call in calls_of(hasty, message).values():
                call()

    def test_a_long_deadline_changes_nothing(self, store: ConversationStore, say: Say) -> None:
        """C3: set by `with deadline(seconds)`, also nested."""
        with deadline(60), deadline(30):
            for call in calls_of(store, say()).values():
                call()

    def test_every_call_emits_one_event(self, store: ConversationStore, say: Say) -> None:
        """E3: one event a call, from the outermost layer, without ids of users or content."""
        heard: list[OperationEvent] = []
        everywhere: list[OperationEvent] = []
        store.subscribe(heard.append)
        end = events.subscribe(everywhere.append)
        calls = calls_of(store, say("zanzibar"))
        try:
            for call in calls.values():
                call()
        finally:
            end()

        assert [one.operation for one in heard] == list(calls)
        assert everywhere == heard
        strongest = "strong" if store.capabilities.strong_reads else "eventual"
        for event in heard:
            assert (event.kind, event.backend, event.error) == ("conversation", store.backend, None)
            if event.operation in ("get", "history", "summaries", "sessions"):
                assert event.consistency == strongest
            assert "zanzibar" not in repr(event)
            assert "u1" not in repr(event.details)
        items = {one.operation: one.items for one in heard}
        assert (items["append"], items["replace"], items["get"], items["history"]) == (1, 1, 1, 1)

    def test_an_event_names_the_error(self, store: ConversationStore, say: Say) -> None:
        """E1: the class that the caller sees."""
        message = say()
        store.append(message)
        heard: list[OperationEvent] = []
        store.subscribe(heard.append)
        with pytest.raises(ConflictError):
            store.append(replace(message, content="other"))
        assert [(one.operation, one.error) for one in heard] == [("append", "ConflictError")]

    def test_a_listener_that_raises_breaks_no_call(
        self, store: ConversationStore, say: Say
    ) -> None:
        """C4: the call was made, whatever became of its event."""
        message = say()

        def fail(event: OperationEvent) -> None:
            raise RuntimeError(event.operation)

        end = store.subscribe(fail)
        assert store.append(message).stored == (message.id,)
        end()
        assert list(store.history("u1")) == [message]

    def test_meters_sum_and_nest(self, store: ConversationStore, say: Say) -> None:
        """E3, W4: units of the events."""
        heard: list[OperationEvent] = []
        store.subscribe(heard.append)
        with meter() as outer:
            store.append(say())
            with meter() as inner:
                store.history("u1")
        assert inner.units == heard[1].units
        assert outer.units == heard[0].units + heard[1].units
        assert isinstance(outer.units, Units)
