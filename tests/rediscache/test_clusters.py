"""A real cluster of three nodes, one of which fails, and slots that move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from redis import exceptions
from redis.crc import key_slot

from ialstore.caching.protocol import Bucket, Found
from ialstore.testing.redis_servers import client_of, started_cluster
from ialstore.testing.servers import RunningServer
from ialstore_backends.redis import RedisCache

LONG = 60_000
TIMEOUT = 0.2
BUCKETS = [Bucket(f"{number:08x}", "p") for number in range(24)]


@pytest.fixture
def nodes() -> Iterator[list[RunningServer]]:
    with started_cluster() as nodes:
        yield nodes


def url(*nodes: RunningServer) -> str:
    return f"redis://{','.join(f'127.0.0.1:{node.port}' for node in nodes)}?cluster=true"


def slot(bucket: Bucket) -> int:
    return int(key_slot(f"ialstore:{{{bucket.owner}}}:".encode()))


def is_of(bucket: Bucket, number: int) -> bool:
    """Return whether a bucket is on one of the three nodes."""
    return slot(bucket) * 3 // 16_384 == number


def test_each_owner_has_its_node(opened: Any, nodes: list[RunningServer]) -> None:
    cache: RedisCache = opened(url(nodes[0]), TIMEOUT)
    for bucket in BUCKETS:
        assert cache.look(bucket, "n", "a", LONG).found is Found.LEASED
        assert cache.fill(bucket, "n", "a", b"one", LONG)
    many = [Bucket(BUCKETS[0].owner, str(number)) for number in range(260)]
    assert cache.mark([*many, BUCKETS[0]], "w", LONG) == 1
    for node in nodes:
        with client_of(node) as client:
            assert client.dbsize()
    cache.mark([BUCKETS[2]], "w", LONG, wait=False)
    ends_at = time.monotonic() + 10
    while cache.look(BUCKETS[2], "n", None, LONG).found is not Found.MARKED:
        assert time.monotonic() < ends_at, "what nobody waits for did not arrive"
    with pytest.raises(exceptions.ClusterDownError):
        opened(url(nodes[0])).mark([BUCKETS[2]], "w", LONG, wait=False)
    cache.after_fork()
    assert cache.look(BUCKETS[1], "n", None, LONG).value == b"one"


def look_at_all(cache: RedisCache) -> dict[Bucket, Found | None]:
    """Return what each look found, or None for an error; none takes long."""
    found: dict[Bucket, Found | None] = {}
    for bucket in BUCKETS:
        begun = time.monotonic()
        found[bucket] = None
        with suppress(redis.RedisError):
            found[bucket] = cache.look(bucket, "n", "a", LONG).found
        assert time.monotonic() - begun < 3 * TIMEOUT
    return found


@pytest.mark.parametrize("fault", ["dead", "hung"])
@pytest.mark.parametrize("knows", ["the map", "nothing"])
def test_the_slots_of_a_node_fail_alone(
    opened: Any, nodes: list[RunningServer], fault: str, knows: str
) -> None:
    cache: RedisCache = opened(url(*nodes), TIMEOUT)
    if knows == "the map":
        assert set(look_at_all(cache).values()) == {Found.LEASED}
    if fault == "dead":
        nodes[0].kill()
    else:
        nodes[0].pause()
        with suppress(redis.RedisError):  # the first to be asked for the map
            cache.look(BUCKETS[0], "n", None, LONG)
    found = look_at_all(cache)
    assert {one for one, what in found.items() if what is None} == {
        one for one in BUCKETS if is_of(one, 0)
    }
    nodes[0].resume()
    nodes[0].restart()
    ends_at = time.monotonic() + 30
    while None in look_at_all(cache).values():
        assert time.monotonic() < ends_at, "the node that came back is not used"


def test_a_slot_that_moves_is_followed(opened: Any, nodes: list[RunningServer]) -> None:
    bucket = next(one for one in BUCKETS if is_of(one, 0))
    cache: RedisCache = opened(url(nodes[0]), TIMEOUT)
    assert cache.look(bucket, "n", "a", LONG).found is Found.LEASED
    with client_of(nodes[0]) as source, client_of(nodes[1]) as target:
        ids = [one.execute_command("CLUSTER MYID") for one in (source, target)]
        target.execute_command("CLUSTER", "SETSLOT", slot(bucket), "IMPORTING", ids[0])
        source.execute_command("CLUSTER", "SETSLOT", slot(bucket), "MIGRATING", ids[1])
        with pytest.raises(exceptions.TryAgainError):
            cache.look(bucket, "n", "a", LONG)
        source.flushall()
        with pytest.raises(exceptions.AskError):
            cache.look(bucket, "n", "a", LONG)
        for client in (target, source):
            client.execute_command("CLUSTER", "SETSLOT", slot(bucket), "NODE", ids[1])
        for _ in range(2):
            found = cache.look(bucket, "n", "a", LONG).found
            assert found in {Found.LEASED, Found.BUSY}
        target.flushall()
        target.execute_command("CLUSTER", "SETSLOT", slot(bucket), "NODE", ids[0])
        with pytest.raises(exceptions.MovedError):  # each says that the other has it
            cache.look(bucket, "n", "a", LONG)


def test_a_slot_of_nobody_is_an_error(opened: Any, nodes: list[RunningServer]) -> None:
    bucket = next(one for one in BUCKETS if is_of(one, 0))
    with client_of(nodes[0]) as client:
        client.execute_command("CLUSTER", "DELSLOTS", slot(bucket))
    cache: RedisCache = opened(url(nodes[0]), TIMEOUT)
    with pytest.raises(exceptions.ClusterDownError):
        cache.look(bucket, "n", "a", LONG)


def test_a_server_that_is_no_cluster_is_an_error(opened: Any, shared_server: RunningServer) -> None:
    cache: RedisCache = opened(url(shared_server), TIMEOUT)
    with pytest.raises(redis.ResponseError):
        cache.look(BUCKETS[0], "n", "a", LONG)
