"""The contract of conversation stores, on DynamoDB's two emulators."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ialstore.testing import ConversationStoreSuite
from ialstore.testing.conversation.base import MakeStore
from ialstore.testing.conversation.cursors import Cursors
from ialstore.testing.conversation.expiry import Expiry
from ialstore.testing.conversation.freshness import Freshness
from ialstore.testing.conversation.machine import Machine
from ialstore.testing.conversation.reading import Reading
from ialstore.testing.conversation.removing import Removing
from ialstore.testing.conversation.sessions import Sessions
from ialstore.testing.conversation.threads import Threads
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


class TestDynoxideSpreadWithoutIndexes(  # pytest begins with the last
    Machine, Cursors, Expiry, Freshness, Reading, Removing, Sessions, Threads
):
    """The chapters that read in another way without indexes."""

    MACHINE_SHARE = 1 / 10

    @pytest.fixture
    def make_store(self, dynoxide: RunningServer, prefix: str) -> MakeStore:
        return opener(prefix, dynoxide, spread=4, user_time_index=False, session_index=False)


class TestDynamoDBLocal(ConversationStoreSuite):
    MACHINE_SHARE = 1 / 6

    @pytest.fixture
    def make_store(self, dynamodb_local: RunningServer, prefix: str) -> MakeStore:
        return opener(prefix, dynamodb_local)
