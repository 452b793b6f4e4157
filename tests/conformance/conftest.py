"""What the tests of conversation stores share: the stores, their clock, and messages to store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Unpack

import pytest

from ialstore import (
    ConversationStore,
    IndexSpec,
    Message,
    VectorIndex,
    VectorRecord,
    message_id,
)
from ialstore.component import StoreSettings
from ialstore.wrappers.retry import RetryConversationStore
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteOptions, SqliteVectorIndex

START = datetime(2024, 2, 29, 12, tzinfo=UTC)

MakeStore = Callable[..., ConversationStore]
MakeIndex = Callable[..., VectorIndex]


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


def memory_index(_: Path, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> VectorIndex:
    return MemoryVectorIndex(spec, **settings)


def sqlite_index(folder: Path, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> VectorIndex:
    return SqliteVectorIndex(folder / "vectors.db", spec, **settings)


def uncached_index(folder: Path, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> VectorIndex:
    """Return an index that may keep nothing in memory and searches the file block by block."""
    options = SqliteOptions(cache_mb=0)
    return SqliteVectorIndex(folder / "vectors.db", spec, options=options, **settings)


@pytest.fixture(params=[memory_index, sqlite_index, uncached_index], ids=lambda kind: kind.__name__)
def new_index_place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], MakeIndex]]:
    """Return a function that returns a ``make_index`` with a new, empty place each time."""
    opened: list[VectorIndex] = []
    places = 0

    def place() -> MakeIndex:
        nonlocal places
        places += 1
        folder = tmp_path / str(places)
        folder.mkdir()

        def make_index(spec: IndexSpec, **settings: Unpack[StoreSettings]) -> VectorIndex:
            index: VectorIndex = request.param(folder, spec, **settings)
            if index.capabilities.needs_setup:
                index.setup()
            opened.append(index)
            return index

        return make_index

    yield place
    for index in opened:
        index.close()


@pytest.fixture
def make_index(new_index_place: Callable[[], MakeIndex]) -> MakeIndex:
    """Return a function that opens the index; called again it opens the same one, if durable."""
    return new_index_place()


@pytest.fixture
def index(make_index: MakeIndex, clock: Clock) -> VectorIndex:
    """Return an index of three dimensions under cosine."""
    return make_index(IndexSpec(3), clock=clock)


@pytest.fixture
def record() -> Callable[..., VectorRecord]:
    """Return a function that makes records, each a second later than the one before."""
    made = 0

    def record(vector: Any = (1.0, 2.0, 3.0), **fields: Any) -> VectorRecord:
        nonlocal made
        made += 1
        session = fields.setdefault("session_id", "s1")
        role = fields.setdefault("role", "user")
        at = fields.pop("at", START + timedelta(seconds=made))
        one = fields.pop("id", None) or message_id("u1", session, at, role, str(made))
        return VectorRecord(one, vector, **fields)

    return record
