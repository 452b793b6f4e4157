"""The contract of conversation stores, on DynamoDB's two emulators."""

from __future__ import annotations

from functools import partial

import pytest

from ialstore.testing import ConversationStoreSuite
from ialstore.testing.conversation.base import MakeStore
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions


class TestDynoxide(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self, dynoxide: RunningServer, prefix: str) -> MakeStore:
        options = DynamoOptions(endpoint=dynoxide.endpoint)
        return partial(DynamoConversationStore, prefix, options)


class TestDynoxideSpreadWithoutIndexes(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self, dynoxide: RunningServer, prefix: str) -> MakeStore:
        options = DynamoOptions(
            endpoint=dynoxide.endpoint, spread=4, user_time_index=False, session_index=False
        )
        return partial(DynamoConversationStore, prefix, options)


class TestDynamoDBLocal(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self, dynamodb_local: RunningServer, prefix: str) -> MakeStore:
        options = DynamoOptions(endpoint=dynamodb_local.endpoint)
        # It writes one row after another: a thousand deletes take seconds.
        return partial(DynamoConversationStore, prefix, options, timeout_seconds=30)
