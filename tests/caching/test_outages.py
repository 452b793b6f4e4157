"""A cache that is dead, hung, full or read-only: right answers, no error, and it comes back."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator

import pytest

from ialstore import ContextEngine, IndexSpec, Message, meter
from ialstore.embedding import HashingEmbedder
from ialstore.testing.redis_servers import client_of
from ialstore.testing.servers import RunningServer, started
from ialstore.wrappers.cache import CacheConversationStore, CacheOptions
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

LONG_SECONDS = 2.5
"""What twenty calls may take beside a dead cache; without a breaker each would take 0.08 s."""
CALLS = 20
PATIENCE_SECONDS = 20.0

_numbers = itertools.count()


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with started("redis") as server:
        yield server


@pytest.fixture
def store(server: RunningServer) -> Iterator[CacheConversationStore]:
    options = CacheOptions(url=f"redis://127.0.0.1:{server.port}")
    with CacheConversationStore(MemoryConversationStore(), options) as store:
        yield store


def say(text: str) -> Message:
    return Message.new(user_id="u", session_id="s", role="user", content=text)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what a busy machine may need some tries for."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < ends_at, "the cache is not used"
        time.sleep(0.02)


def read_only(server: RunningServer) -> None:
    with client_of(server) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")


def writable(server: RunningServer) -> None:
    with client_of(server) as client:
        client.execute_command("REPLICAOF", "NO", "ONE")


def fill_up(server: RunningServer) -> None:
    with client_of(server) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)


def make_room(server: RunningServer) -> None:
    with client_of(server) as client:
        client.config_set("maxmemory", 0)


def locked(server: RunningServer) -> None:
    with client_of(server) as client:
        client.config_set("requirepass", "secret")
        client.execute_command("AUTH", "secret")
        client.client_kill_filter(_type="normal", skipme=True)


def unlocked(server: RunningServer) -> None:
    with client_of(server, password="secret") as client:  # noqa: S106 - the test's own
        client.config_set("requirepass", "")


@pytest.mark.parametrize(
    ("fail", "mend"),
    [
        pytest.param(RunningServer.kill, RunningServer.restart, id="killed"),
        pytest.param(RunningServer.pause, RunningServer.resume, id="hung"),
        pytest.param(read_only, writable, id="read-only"),
        pytest.param(fill_up, make_room, id="full"),
        pytest.param(locked, unlocked, id="locked"),
    ],
)
def test_answers_stay_right_and_the_cache_comes_back(
    store: CacheConversationStore,
    server: RunningServer,
    fail: Callable[[RunningServer], None],
    mend: Callable[[RunningServer], None],
) -> None:
    """W2: faults C1, C2, C7: a cache that fails is not noticed."""
    hits = 0

    def count(event: object) -> None:
        nonlocal hits
        hits += getattr(event, "details", {}).get("cache_hits", 0)

    store.subscribe(count)
    said = [say("0")]
    store.append(*said)
    until(lambda: list(store.history("u", session_id="s")) == said and hits > 0)

    fail(server)
    began = time.monotonic()
    for number in range(CALLS):
        said.insert(0, say(str(number)))
        store.append(said[0])
        assert list(store.history("u", session_id="s")) == said
    assert time.monotonic() - began < LONG_SECONDS

    mend(server)
    before = hits

    def is_used() -> bool:
        assert list(store.history("u", session_id="s")) == said
        return hits > before

    until(is_used)


def test_with_a_warm_cache_a_context_asks_the_store_for_no_recent_message(
    dynoxide: RunningServer, redis_server: RunningServer
) -> None:
    """W2: what the cache has makes no request."""
    prefix = f"warm{os.getpid()}-{next(_numbers)}-"
    inner = DynamoConversationStore(prefix, DynamoOptions(endpoint=dynoxide.endpoint))
    inner.setup()
    store = CacheConversationStore(
        inner, CacheOptions(url=f"redis://127.0.0.1:{redis_server.port}")
    )
    embedder = HashingEmbedder(dimension=64)
    index = MemoryVectorIndex(IndexSpec(64, model=embedder.model))
    with ContextEngine(store, index, embedder) as engine:
        for text in ("The train leaves at seven.", "From which platform?"):
            engine.save("u", "s", "user", text)
        cold = engine.build_context("the train", "u", "s")
        assert cold.units.requests > 0

        def is_warm() -> bool:
            with meter() as metered:
                warm = engine.build_context("the train", "u", "s")
            assert warm.recent == cold.recent != ()
            return metered.units.requests == 0

        until(is_warm)
        assert engine.get_performance_metrics()["cache_hit_rate"] > 0
