"""W1, W2: a store behind a cache passes the whole kit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Unpack

import pytest

from ialstore import ConversationStore
from ialstore.component import StoreSettings
from ialstore.testing import ConversationStoreSuite
from ialstore.testing.conversation.base import MakeStore
from ialstore.wrappers.cache import CacheConversationStore, CacheOptions
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore


class TestInProcessOverMemory(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        def make_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
            return CacheConversationStore(
                MemoryConversationStore(**settings), CacheOptions(url="memory:")
            )

        return make_store


class TestInProcessOverSqlite(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        make = partial(SqliteConversationStore, tmp_path / "conversations.db")

        def make_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
            return CacheConversationStore(make(**settings), CacheOptions(url="memory:"))

        return make_store
