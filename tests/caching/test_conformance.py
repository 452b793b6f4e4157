"""W1, W2: a store behind a cache passes the whole kit, whatever happens to the cache."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import pytest

from ialstore import ConversationStore
from ialstore.component import StoreSettings
from ialstore.testing import ConversationStoreSuite
from ialstore.testing.conversation.base import MakeStore
from ialstore.testing.conversation.expiry import Expiry
from ialstore.testing.conversation.faults import Failures
from ialstore.testing.conversation.freshness import Freshness
from ialstore.testing.conversation.machine import Machine
from ialstore.testing.conversation.removing import Removing
from ialstore.testing.conversation.threads import Threads
from ialstore.testing.redis_servers import client_of
from ialstore.testing.servers import RunningServer
from ialstore.wrappers.cache import CacheConversationStore, CacheOptions
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore

PATIENCE_SECONDS = 30
"""On a busy machine an emulator takes seconds for a thousand deletes."""

_numbers = itertools.count()


def cached(make: Callable[..., ConversationStore], url: str) -> MakeStore:
    """Return what opens a store with a small tail in front of it, so that tests reach its end."""
    options = CacheOptions(url=url, tail=3)

    def make_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
        return CacheConversationStore(make(**settings), options)

    return make_store


@pytest.mark.no_cover
class TestInProcessOverMemory(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return cached(MemoryConversationStore, "memory:")


class TestInProcessOverSqlite(ConversationStoreSuite):
    MACHINE_SHARE = 1 / 6

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return cached(partial(SqliteConversationStore, tmp_path / "conversations.db"), "memory:")


class BehindRedis:
    """What may happen to a Redis while a test runs."""

    @pytest.fixture
    def url(self, redis_server: RunningServer) -> str:
        return f"redis://127.0.0.1:{redis_server.port}"

    @pytest.fixture
    def disturbances(self, redis_server: RunningServer) -> Sequence[Callable[[], object]]:
        def client(call: Callable[[Any], object]) -> object:
            with client_of(redis_server) as one:
                return call(one)

        def evict() -> None:
            client(lambda one: [one.delete(key) for key in [*one.scan_iter(count=1000)][::2]])

        def forget_scripts() -> None:
            client(lambda one: one.script_flush())

        return [
            lambda: client(lambda one: one.flushall()),
            evict,
            forget_scripts,
            redis_server.restart,
        ]


class TestRedisOverMemory(BehindRedis, ConversationStoreSuite):
    MACHINE_SHARE = 1 / 2

    @pytest.fixture
    def make_store(self, url: str) -> MakeStore:
        return cached(MemoryConversationStore, url)


@pytest.mark.no_cover
class TestRedisOverSqlite(BehindRedis, ConversationStoreSuite):
    MACHINE_SHARE = 1 / 6

    @pytest.fixture
    def make_store(self, tmp_path: Path, url: str) -> MakeStore:
        return cached(partial(SqliteConversationStore, tmp_path / "conversations.db"), url)


@pytest.mark.no_cover
class TestRedisOverDynamoDB(  # pytest begins with the last
    BehindRedis, Machine, Expiry, Failures, Freshness, Removing, Threads
):
    """The chapters in which a cache may be late; both pass the whole kit by themselves."""

    MACHINE_SHARE = 1 / 10

    @pytest.fixture
    def make_store(self, dynoxide: RunningServer, url: str) -> MakeStore:
        prefix = f"cached{os.getpid()}-{next(_numbers)}-"
        options = DynamoOptions(endpoint=dynoxide.endpoint)
        make = partial(DynamoConversationStore, prefix, options, timeout_seconds=PATIENCE_SECONDS)
        return cached(make, url)
