"""What the tests of conversation stores share: the stores, their clock, and messages to store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Unpack

import pytest

from ialstore import ConversationStore, Message
from ialstore.component import StoreSettings
from ialstore.wrappers.retry import RetryConversationStore
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore

START = datetime(2024, 2, 29, 12, tzinfo=UTC)

MakeStore = Callable[..., ConversationStore]


class Clock:
    """The time of a store, in the hands of a test."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class DefaultsStore(MemoryConversationStore):
    """A memory store that leaves every hook to its default that has one."""

    _summaries = ConversationStore._summaries  # noqa: SLF001 - as if it were not overridden
    _delete_session = ConversationStore._delete_session  # noqa: SLF001 - as above
    _load = ConversationStore._load  # noqa: SLF001 - as above
    _optimize = ConversationStore._optimize  # noqa: SLF001 - as above


def memory(_: Path, **settings: Unpack[StoreSettings]) -> ConversationStore:
    return MemoryConversationStore(**settings)


def defaults(_: Path, **settings: Unpack[StoreSettings]) -> ConversationStore:
    return DefaultsStore(**settings)


def retry(_: Path, **settings: Unpack[StoreSettings]) -> ConversationStore:
    return RetryConversationStore(MemoryConversationStore(**settings))


def sqlite(folder: Path, **settings: Unpack[StoreSettings]) -> ConversationStore:
    return SqliteConversationStore(folder / "conversations.db", **settings)


@pytest.fixture(params=[memory, defaults, retry, sqlite], ids=lambda kind: kind.__name__)
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], MakeStore]]:
    """Return a function that returns a ``make_store`` with a new, empty place each time."""
    opened: list[ConversationStore] = []
    places = 0

    def place() -> MakeStore:
        nonlocal places
        places += 1
        folder = tmp_path / str(places)
        folder.mkdir()

        def make_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
            store: ConversationStore = request.param(folder, **settings)
            if store.capabilities.needs_setup:
                store.setup()
            opened.append(store)
            return store

        return make_store

    yield place
    for store in opened:
        store.close()


@pytest.fixture
def make_store(new_place: Callable[[], MakeStore]) -> MakeStore:
    """Return a function that opens the store; called again it opens the same one, if durable."""
    return new_place()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(make_store: MakeStore, clock: Clock) -> ConversationStore:
    return make_store(clock=clock)


@pytest.fixture
def say() -> Callable[..., Message]:
    """Return a function that makes messages, each a second later than the one before."""
    made = 0

    def say(content: str = "hello", **fields: Any) -> Message:
        nonlocal made
        made += 1
        given: dict[str, Any] = {
            "user_id": "u1",
            "session_id": "s1",
            "role": "user",
            "content": content,
            "created_at": START + timedelta(seconds=made),
        }
        return Message.new(**(given | fields))

    return say
