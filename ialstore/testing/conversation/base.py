"""Fixtures that all tests of conversation stores share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Unpack

import pytest

from ialstore.component import StoreSettings
from ialstore.conversation import ConversationStore
from ialstore.model import Message
from ialstore.testing.clock import START, ManualClock

__all__ = ["ConversationSuiteBase", "MakeStore", "Say"]

MakeStore = Callable[..., ConversationStore]
Say = Callable[..., Message]


class ConversationSuiteBase:
    """What the tests of every chapter of the suite start from."""

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
    def open_store(self, make_store: MakeStore) -> Iterator[MakeStore]:
        """Return ``make_store`` with ``setup()`` done where it is needed; closes what it opened."""
        opened: list[ConversationStore] = []

        def open_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
            store = make_store(**settings)
            opened.append(store)
            if store.capabilities.needs_setup:
                store.setup()
            return store

        yield open_store
        for store in opened:
            store.close()

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the time of the store."""
        return ManualClock()

    @pytest.fixture
    def store(self, open_store: MakeStore, clock: ManualClock) -> ConversationStore:
        """Return an empty store."""
        return open_store(clock=clock)

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
