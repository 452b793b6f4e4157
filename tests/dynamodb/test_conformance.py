"""The contract of conversation stores, on DynamoDB's two emulators."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ialstore.testing import ConversationStoreSuite
from ialstore.testing.conversation.appending import Appending
from ialstore.testing.conversation.base import MakeStore
from ialstore.testing.conversation.cursors import Cursors
from ialstore.testing.conversation.expiry import Expiry
from ialstore.testing.conversation.freshness import Freshness
from ialstore.testing.conversation.loading import Loading
from ialstore.testing.conversation.machine import Machine
from ialstore.testing.conversation.paging import Paging
from ialstore.testing.conversation.reading import Reading
from ialstore.testing.conversation.removing import Removing
from ialstore.testing.conversation.replacing import Replacing
from ialstore.testing.conversation.sessions import Sessions
from ialstore.testing.conversation.threads import Threads
from ialstore.testing.conversation.values import Values
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions

PATIENCE_SECONDS = 30
"""On a busy machine an emulator takes seconds for a thousand deletes."""


def opener(prefix: str, server: RunningServer, **options: Any) -> MakeStore:
    """Return what opens the store of a table of its own."""
    chosen = DynamoOptions(endpoint=server.endpoint, **options)
    return partial(DynamoConversationStore, prefix, chosen, timeout_seconds=PATIENCE_SECONDS)


@pytest.mark.no_cover
class TestDynoxide(ConversationStoreSuite):
    MACHINE_SHARE = 1 / 5

    @pytest.fixture
    def make_store(self, dynoxide: RunningServer, prefix: str) -> MakeStore:
        return opener(prefix, dynoxide)


class SpreadWithoutIndexes:
    @pytest.fixture
    def make_store(self, dynoxide: RunningServer, prefix: str) -> MakeStore:
        return opener(prefix, dynoxide, spread=4, user_time_index=False, session_index=False)


@pytest.mark.no_cover
class TestDynoxideSpreadWithoutIndexes(  # pytest begins with the last
    SpreadWithoutIndexes, Machine, Cursors, Expiry, Freshness, Removing, Sessions, Threads
):
    """The chapters that read in another way without indexes."""

    MACHINE_SHARE = 1 / 10


class TestMeasured(SpreadWithoutIndexes, Reading, Replacing):
    """Of these the short chapters, and a test: they meet what other tests of the backend don't."""

    test_an_expired_message_may_be_appended = Expiry.test_an_expired_message_may_be_appended


class OnDynamoDBLocal:
    @pytest.fixture
    def make_store(self, dynamodb_local: RunningServer, prefix: str) -> MakeStore:
        return opener(prefix, dynamodb_local)


@pytest.mark.no_cover
class TestDynamoDBLocal(  # pytest begins with the last
    OnDynamoDBLocal,
    Machine,
    Appending,
    Loading,
    Paging,
    Removing,
    Replacing,
    Sessions,
    Threads,
    Values,
):
    """The chapters in which the servers could differ: conditions, pages, sizes, values."""

    MACHINE_SHARE = 1 / 10


@pytest.mark.no_cover
@pytest.mark.nightly
class TestAllOnDynamoDBLocal(OnDynamoDBLocal, ConversationStoreSuite):
    MACHINE_SHARE = 1 / 6
