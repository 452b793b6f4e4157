"""Fixtures that all tests of conversation stores share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, Protocol, Unpack

import pytest

from ialstore.component import StoreSettings
from ialstore.conversation import ConversationStore
from ialstore.events import OperationEvent
from ialstore.limits import MAX_APPEND
from ialstore.model import LoadReport, Message
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.conversation.helpers import WRITES

__all__ = [
    "ConversationSuiteBase",
    "Faults",
    "Fill",
    "MakeStore",
    "OpenStore",
    "Say",
    "Settle",
    "opener",
]

MakeStore = Callable[..., ConversationStore]
Say = Callable[..., Message]
Settle = Callable[[ConversationStore], object]


class OpenStore(Protocol):
    """Opens the store of a test, again if called again."""

    def __call__(
        self, *, set_up: bool = True, settled: bool = True, **settings: Unpack[StoreSettings]
    ) -> ConversationStore:
        """Return the store.

        Args:
            set_up: call ``setup()`` where it is needed.
            settled: without strong reads, end no write before every read sees it.
            **settings: as every store takes them; the test's clock is the default.
        """
        ...


class Fill(Protocol):
    """Stores messages, whether the store may be written to or not."""

    def __call__(self, store: ConversationStore, messages: Iterable[Message]) -> None:
        """Store messages of any users, so that ``store`` has them."""
        ...


class Faults(Protocol):
    """Makes the driver below a store fail."""

    def unavailable(self, calls: int) -> None:
        """Let the next calls of the driver fail before anything happened; 0 ends it."""
        ...

    def lost_reply(self) -> None:
        """Let the next write of the driver be applied, and its reply be lost."""
        ...


class ConversationSuiteBase:
    """What the tests of every chapter of the suite start from.

    A subclass defines ``make_store``, and of the others those that its store needs.
    """

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Return a function that opens your store; define it in your subclass.

        It takes the keyword arguments that every store takes (``StoreSettings``: ``clock``,
        ``timeout_seconds``, ``retention_days``) and hands them on. Each test begins in a new, empty
        place; called again within a test, it opens the same place again.
        """
        raise NotImplementedError(
            "define a fixture make_store that returns a function: "
            "lambda **settings: MyStore(tmp_path / 'db', **settings)"
        )

    @pytest.fixture
    def make_writer(self, make_store: MakeStore) -> MakeStore:
        """Return a function like ``make_store`` whose stores may be written to.

        Define it for a store that is read-only, so that there is something to read: both open the
        same place.
        """
        return make_store

    @pytest.fixture
    def settle(self) -> Settle | None:
        """Return a function that waits until all reads of a store see all writes before it.

        Define it for a store without strong reads; it is called after each write, with the store.
        Use your driver: calls of the store itself would be counted.
        """
        return None

    @pytest.fixture
    def faults(self, make_store: MakeStore) -> Faults | None:
        """Return what makes the driver below the stores of ``make_store`` fail, if you can."""
        return None

    @pytest.fixture
    def disturbances(self) -> Sequence[Callable[[], object]]:
        """Return what may happen beside your store at any time without any answer changing.

        Such as a cache that is flushed, or a server of it that starts again empty.
        """
        return ()

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the time of the store."""
        return ManualClock()

    @pytest.fixture
    def opened(self) -> Iterator[list[ConversationStore]]:
        """Return the list of what is closed at the end."""
        opened: list[ConversationStore] = []
        yield opened
        for store in opened:
            store.close()

    @pytest.fixture
    def open_store(
        self,
        make_store: MakeStore,
        settle: Settle | None,
        clock: ManualClock,
        opened: list[ConversationStore],
    ) -> OpenStore:
        """Return a function that opens the store."""
        return opener(make_store, settle, clock, opened)

    @pytest.fixture
    def open_writer(
        self,
        make_writer: MakeStore,
        settle: Settle | None,
        clock: ManualClock,
        opened: list[ConversationStore],
    ) -> OpenStore:
        """Return a function that opens the same place to be written to."""
        return opener(make_writer, settle, clock, opened)

    @pytest.fixture
    def reader(self, open_store: OpenStore) -> ConversationStore:
        """Return an empty store; use ``fill`` to give it messages."""
        return open_store()

    @pytest.fixture
    def store(self, reader: ConversationStore) -> ConversationStore:
        """Return an empty store that may be written to."""
        if not reader.capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")
        return reader

    @pytest.fixture
    def fill(self, open_writer: OpenStore, settle: Settle | None) -> Fill:
        """Return a function that stores messages."""

        def fill(store: ConversationStore, messages: Iterable[Message]) -> None:
            writer = store
            if not store.capabilities.writable:
                writer = open_writer()
                if not writer.capabilities.writable:
                    pytest.skip("capabilities.writable is false: define a fixture make_writer")
            _store(writer, list(messages))
            if writer is not store and settle is not None:  # pragma: no cover - ours are not both
                settle(store)

        return fill

    @pytest.fixture
    def say(self) -> Say:
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


def opener(
    make: MakeStore,
    settle: Settle | None,
    clock: ManualClock,
    opened: list[ConversationStore],
) -> OpenStore:
    """Return the function that opens stores with ``make``, and puts them on a list."""

    def open_store(
        *, set_up: bool = True, settled: bool = True, **settings: Unpack[StoreSettings]
    ) -> ConversationStore:
        settings.setdefault("clock", clock)
        store = make(**settings)
        opened.append(store)
        can = store.capabilities
        if not can.strong_reads:
            if settle is None:
                pytest.fail("capabilities.strong_reads is false: define a fixture settle")
            if settled:
                _settle_after_writes(store, settle)
        if set_up and can.needs_setup and can.writable:
            store.setup()
        return store

    return open_store


def _settle_after_writes(store: ConversationStore, settle: Settle) -> None:
    def wrote(event: OperationEvent) -> None:
        if event.operation in WRITES:
            settle(store)

    store.subscribe(wrote)


def _store(store: ConversationStore, messages: list[Message]) -> None:
    """Store messages by ``append``, large crowds by ``bulk_load``."""
    if len(messages) > MAX_APPEND:
        report = store.bulk_load(iter(messages))
        assert report == LoadReport(written=len(messages)), "S12: bulk_load says what it wrote"
        return
    for _, batch in groupby(messages, lambda one: one.user_id):
        store.append(*batch)
