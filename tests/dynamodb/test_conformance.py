"""The contract of conversation stores, on DynamoDB's two emulators."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ialstore.testing import ConversationStoreSuite
from ialstore.testing.conversation.base import MakeStore
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions

PATIENCE_SECONDS = 30
"""On a busy machine an emulator takes seconds for a thousand deletes."""


def opener(prefix: str, server: RunningServer, **options: Any) -> MakeStore:
    """Return what opens the store of a table of its own."""
    chosen = DynamoOptions(endpoint=server.endpoint, **options)
    return partial(DynamoConversationStore, prefix, chosen, timeout_seconds=PATIENCE_SECONDS)


class TestDynoxide(ConversationStoreSuite):
    MACHINE_SHARE = 1 / 3

    @pytest.fixture
    def make_store(self, dynoxide: RunningServer, prefix: str) -> MakeStore:
        return opener(prefix, dynoxide)


class TestDynoxideSpreadWithoutIndexes(ConversationStoreSuite):
    MACHINE_SHARE = 1 / 10

    @pytest.fixture
    def make_store(self, dynoxide: RunningServer, prefix: str) -> MakeStore:
        return opener(prefix, dynoxide, spread=4, user_time_index=False, session_index=False)


class TestDynamoDBLocal(ConversationStoreSuite):
    MACHINE_SHARE = 1 / 6

    @pytest.fixture
    def make_store(self, dynamodb_local: RunningServer, prefix: str) -> MakeStore:
        return opener(prefix, dynamodb_local)
