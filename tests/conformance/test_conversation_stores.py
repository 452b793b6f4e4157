"""The contract of conversation stores, on every one of ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Unpack

import pytest

from ialstore import ConversationStore
from ialstore.component import StoreSettings
from ialstore.testing import ConversationStoreSuite
from ialstore.testing.conversation.base import MakeStore
from ialstore.wrappers.retry import RetryConversationStore
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore
from tests.conformance.brief import BriefStoreSuite


class DefaultsStore(MemoryConversationStore):
    """A memory store that leaves every hook to its default that has one."""

    _summaries = ConversationStore._summaries  # noqa: SLF001 - as if it were not overridden
    _delete_session = ConversationStore._delete_session  # noqa: SLF001 - as above
    _load = ConversationStore._load  # noqa: SLF001 - as above
    _optimize = ConversationStore._optimize  # noqa: SLF001 - as above


class TestMemory(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return MemoryConversationStore


class TestDefaults(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return DefaultsStore


@pytest.mark.no_cover
class TestRetry(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        def make_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
            return RetryConversationStore(MemoryConversationStore(**settings))

        return make_store


class TestSqlite(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return partial(SqliteConversationStore, tmp_path / "conversations.db")
