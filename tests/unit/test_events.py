"""Listeners of events: who hears what, and that nobody is harmed."""

from __future__ import annotations

import logging

import pytest

from ialstore import Units, events
from ialstore.events import OperationEvent, Subscribers

EVENT = OperationEvent(
    kind="conversation",
    backend="memory",
    operation="append",
    seconds=0.1,
    units=Units(),
    consistency=None,
    items=1,
    error=None,
)


def test_a_listener_hears_events_until_it_ends() -> None:
    subscribers = Subscribers()
    heard: list[OperationEvent] = []
    subscribers.emit(EVENT)
    end = subscribers.subscribe(heard.append)
    subscribers.emit(EVENT)
    end()
    subscribers.emit(EVENT)
    assert heard == [EVENT]
    end()


def test_there_are_listeners_or_there_are_none() -> None:
    subscribers = Subscribers()
    assert not subscribers.listeners
    end = subscribers.subscribe(print)
    assert subscribers.listeners
    end()
    assert not subscribers.listeners


def test_a_listener_that_subscribed_twice_ends_once_at_a_time() -> None:
    subscribers = Subscribers()
    heard: list[OperationEvent] = []
    first = subscribers.subscribe(heard.append)
    second = subscribers.subscribe(heard.append)
    listener = heard.append
    third, fourth = subscribers.subscribe(listener), subscribers.subscribe(listener)
    subscribers.emit(EVENT)
    assert len(heard) == 4

    third()
    third()
    subscribers.emit(EVENT)
    assert len(heard) == 7
    for end in (first, second, fourth):
        end()
    assert not subscribers.listeners


def test_a_listener_that_raises_harms_nobody_and_its_words_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """E3: no secret and no content in any log."""
    subscribers = Subscribers()
    heard: list[OperationEvent] = []

    def fail(event: OperationEvent) -> None:
        raise ValueError(f"secret content of {event}")

    subscribers.subscribe(fail)
    subscribers.subscribe(heard.append)
    with caplog.at_level(logging.DEBUG):
        subscribers.emit(EVENT)

    assert heard == [EVENT]
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_a_listener_may_end_itself_while_events_are_emitted() -> None:
    subscribers = Subscribers()
    heard: list[str] = []

    def once(event: OperationEvent) -> None:
        heard.append(f"once {event.operation}")
        end()

    end = subscribers.subscribe(once)
    subscribers.subscribe(lambda event: heard.append(event.operation))
    subscribers.emit(EVENT)
    subscribers.emit(EVENT)
    assert heard == ["once append", "append", "append"]


def test_the_process_has_listeners_of_its_own() -> None:
    heard: list[OperationEvent] = []
    end = events.subscribe(heard.append)
    try:
        events.everyone.emit(EVENT)
    finally:
        end()
    assert heard == [EVENT]
    assert EVENT.details == {}
