"""What a real Redis does on a bad day: each fault ends a step soon, and none leaves it stale."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis import exceptions

from ialstore.caching.protocol import MAX_VALUE_BYTES, Bucket, Found, Look
from ialstore.testing.redis_servers import client_of
from ialstore.testing.servers import RunningServer, started
from ialstore_backends.redis import RedisCache, connection
from tests.timing import ends_within

LONG = 60_000
VALUE = Look(Found.VALUE, b"one")
TIMEOUT = 0.2
PHRASE = "p@ss/?"


def put(cache: RedisCache, bucket: Bucket, name: str = "n", content: bytes = b"one") -> bool:
    return cache.look(bucket, name, "a", LONG).found is Found.LEASED and cache.fill(
        bucket, name, "a", content, LONG
    )


def key(bucket: Bucket, kind: str) -> str:
    return f"ialstore:{{{bucket.owner}}}:{bucket.part}:{kind}"


# -- its memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", ["flush", "restart", "kill"])
def test_an_emptied_server_is_a_miss_and_no_fault(
    cache: RedisCache, server: RunningServer, admin: Any, bucket: Bucket, lose: str
) -> None:
    assert put(cache, bucket)
    assert cache.look(bucket, "m", "old", LONG).found is Found.LEASED
    if lose == "flush":
        admin.flushall()
    else:
        if lose == "kill":
            server.kill()
        server.restart()
    assert not cache.fill(bucket, "m", "old", b"old", LONG), "its lease was lost"
    assert put(cache, bucket)


def test_scripts_that_the_server_forgot_are_sent_again(
    cache: RedisCache, admin: Any, bucket: Bucket
) -> None:
    assert put(cache, bucket)
    admin.script_flush()
    assert cache.look(bucket, "n", None, LONG) == VALUE


def test_every_key_ends_by_itself(cache: RedisCache, admin: Any, bucket: Bucket) -> None:
    put(cache, bucket)
    cache.look(bucket, "m", "a", 30_000)
    spans = {kind: admin.pttl(key(bucket, kind)) for kind in "vl"}
    assert 50_000 < spans["v"] <= LONG
    assert 20_000 < spans["l"] <= LONG
    cache.mark([bucket], "w", 40_000)
    cache.mark([bucket], "x", 30_000)
    assert 30_000 < admin.pttl(key(bucket, "m")) <= 40_000
    cache.settle([bucket], "w", 50_000)
    assert 40_000 < admin.pttl(key(bucket, "m")) <= 50_000
    assert admin.keys() == [key(bucket, "m")]
    cache.settle([bucket], "w")
    cache.settle([bucket], "x")
    assert admin.keys() == []


def test_marks_of_the_dead_are_cleared_away(cache: RedisCache, admin: Any, bucket: Bucket) -> None:
    cache.mark([bucket], "dead", 1)
    cache.mark([bucket], "alive", LONG)
    time.sleep(0.005)
    cache.mark([bucket], "later", LONG)
    assert sorted(admin.zrange(key(bucket, "m"), 0, -1)) == ["alive", "later"]


def test_what_is_evicted_is_a_miss(cache: RedisCache, admin: Any) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 4_000_000)
    buckets = [Bucket("e", str(number)) for number in range(100)]
    for one in buckets:
        put(cache, one, content=b"x" * 100_000)  # its lease may have been evicted
    found = [cache.look(one, "n", None, LONG).found for one in buckets]
    assert admin.info("stats")["evicted_keys"]
    assert set(found) == {Found.VALUE, Found.NOTHING}


def test_a_full_server_takes_no_value_but_lets_writers_mark(
    cache: RedisCache, admin: Any, bucket: Bucket
) -> None:
    assert put(cache, bucket)
    assert cache.look(bucket, "m", "a", LONG).found is Found.LEASED
    admin.config_set("maxmemory", 1)
    with pytest.raises(exceptions.OutOfMemoryError):
        cache.fill(bucket, "m", "a", b"two", LONG)
    assert cache.look(bucket, "m", "b", LONG).found is Found.LEASED, "the lease was kept"
    assert cache.look(bucket, "n", None, LONG) == VALUE
    assert cache.mark([bucket], "w", LONG) == 1
    assert cache.look(bucket, "n", "a", LONG).found is Found.MARKED
    assert cache.settle([bucket], "w", LONG) == 0
    assert cache.settle([bucket], "w") == 0
    admin.config_set("maxmemory", 0)
    assert put(cache, bucket)


def test_keys_of_another_type_are_removed(cache: RedisCache, admin: Any, bucket: Bucket) -> None:
    def spoil() -> None:
        for kind in "vlm":
            admin.set(key(bucket, kind), "another application's")

    spoil()
    assert put(cache, bucket)
    spoil()
    assert not cache.fill(bucket, "n", "a", b"one", LONG)
    spoil()
    cache.release(bucket, "n", "a")
    spoil()
    assert cache.mark([bucket], "w", LONG) == 0
    assert cache.look(bucket, "n", "a", LONG).found is Found.MARKED
    spoil()
    assert cache.settle([bucket], "w") == 0
    assert put(cache, bucket)


def test_a_lease_of_nonsense_is_none(cache: RedisCache, admin: Any, bucket: Bucket) -> None:
    for lease in ("", "a", "a soon", "a 1"):
        admin.hset(key(bucket, "l"), "n", lease)
        assert not cache.fill(bucket, "n", "a", b"one", LONG)
        assert cache.look(bucket, "n", "a", LONG).found is Found.LEASED
        cache.release(bucket, "n", "a")


def test_a_mark_forbids_a_lease_that_outlived_it(
    cache: RedisCache, admin: Any, bucket: Bucket
) -> None:
    cache.mark([bucket], "w", LONG)
    admin.hset(key(bucket, "l"), "n", f"a {2**53}")
    assert not cache.fill(bucket, "n", "a", b"old", LONG)
    assert not admin.exists(key(bucket, "l"), key(bucket, "v"))


def test_a_value_that_is_too_large_is_deleted_unread(
    cache: RedisCache, admin: Any, bucket: Bucket
) -> None:
    admin.hset(key(bucket, "v"), "n", b"x" * (MAX_VALUE_BYTES + 1))
    assert cache.look(bucket, "n", "a", LONG).found is Found.LEASED
    assert not admin.exists(key(bucket, "v"))


# -- its refusals ---------------------------------------------------------------------------------


def test_a_replica_refuses_every_step_that_answers(
    cache: RedisCache, admin: Any, server: RunningServer, bucket: Bucket
) -> None:
    assert put(cache, bucket)
    admin.replicaof("127.0.0.1", server.port)  # of itself: it keeps what it has, and is behind
    for step in (
        lambda: cache.look(bucket, "n", "b", LONG),
        lambda: cache.look(bucket, "n", None, LONG),
        lambda: cache.mark([bucket], "w", LONG),
        lambda: cache.settle([bucket], "w"),
    ):
        with pytest.raises(exceptions.ReadOnlyError):
            step()
    admin.replicaof("NO", "ONE")
    assert cache.look(bucket, "n", None, LONG) == VALUE


def test_a_server_that_still_loads_is_refused_soon(
    cache: RedisCache, admin: Any, server: RunningServer, bucket: Bucket
) -> None:
    admin.execute_command("DEBUG", "POPULATE", 20_000, "filling", 100)
    admin.save()
    server.restart("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    with pytest.raises(exceptions.BusyLoadingError):
        cache.look(bucket, "n", "a", LONG)


@pytest.mark.parametrize("userinfo", ["", ":wr0ng@", "nobody:wr0ng@"])
def test_whoever_has_no_password_is_refused(
    opened: Any, server: RunningServer, admin: Any, bucket: Bucket, userinfo: str
) -> None:
    admin.config_set("requirepass", "s3cret")
    cache = opened(f"redis://{userinfo}127.0.0.1:{server.port}")
    # Redis calls a long command of strangers an error of the protocol, and NOAUTH a short one.
    kind = exceptions.AuthenticationError if userinfo else redis.ResponseError
    with pytest.raises(kind) as refused:
        cache.look(bucket, "n", "a", LONG)
    assert "wr0ng" not in repr(refused.value)


@pytest.mark.parametrize("user", ["", "agent"])
def test_a_password_is_decoded_and_lets_in(
    opened: Any, server: RunningServer, admin: Any, bucket: Bucket, user: str
) -> None:
    admin.acl_setuser(
        "agent", enabled=True, passwords=[f"+{PHRASE}"], keys=["*"], categories=["+@all"]
    )
    admin.config_set("requirepass", PHRASE)
    cache = opened(f"redis://{user}:p%40ss%2F%3F@127.0.0.1:{server.port}/3")
    assert put(cache, bucket)
    with client_of(server, db=3, password=PHRASE) as client:
        assert client.exists(key(bucket, "v"))
    assert "p@ss" not in repr(vars(cache))


def test_a_database_that_is_not_there_is_refused(
    opened: Any, server: RunningServer, bucket: Bucket
) -> None:
    cache = opened(f"redis://127.0.0.1:{server.port}/999")
    with pytest.raises(exceptions.AuthenticationError, match="not let in"):
        cache.look(bucket, "n", "a", LONG)


# -- its connections ------------------------------------------------------------------------------


def test_a_hung_server_costs_no_more_than_the_timeout(
    opened: Any, server: RunningServer, bucket: Bucket
) -> None:
    used, unused = opened(server, TIMEOUT), opened(server, TIMEOUT)
    assert put(used, bucket)
    server.pause()
    for cache in (used, unused):
        begun = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            cache.look(bucket, "n", "a", LONG)
        assert TIMEOUT <= time.monotonic() - begun < 3 * TIMEOUT
    server.resume()
    assert used.look(bucket, "n", None, LONG) == VALUE, "an answer came late, to another question"
    assert used.look(bucket, "m", None, LONG).found is Found.NOTHING


def test_a_dead_server_costs_next_to_nothing(
    opened: Any, server: RunningServer, bucket: Bucket
) -> None:
    cache = opened(server, 5)
    assert put(cache, bucket)
    server.kill()
    begun = time.monotonic()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            cache.look(bucket, "n", "a", LONG)
    assert time.monotonic() - begun < 1
    server.restart()
    assert put(cache, bucket)


def test_a_connection_that_the_server_closed_is_no_fault(
    cache: RedisCache, admin: Any, bucket: Bucket
) -> None:
    for _ in range(3):
        cache.look(bucket, "n", None, LONG)
        admin.client_kill_filter(_type="normal", skipme=True)
    assert put(cache, bucket)


def test_many_threads_have_a_connection_each(cache: RedisCache, admin: Any, bucket: Bucket) -> None:
    start = Barrier(40)

    def work(number: int) -> Look:
        start.wait(30)
        mine = Bucket(bucket.owner, str(number))
        put(cache, mine, content=str(number).encode())
        return cache.look(mine, "n", None, LONG)

    with ThreadPoolExecutor(40) as threads:
        found = list(threads.map(work, range(40)))
    assert [one.value for one in found] == [str(number).encode() for number in range(40)]
    clients = len(admin.client_list())
    assert clients <= 41
    work_again = [cache.look(Bucket(bucket.owner, "0"), "n", None, LONG) for _ in range(100)]
    assert work_again[-1].value == b"0"
    assert len(admin.client_list()) == clients, "connections are not used again"
    cache.close()
    assert _becomes(lambda: len(admin.client_list()), 1)


def test_a_connection_in_use_while_the_cache_closes_is_closed(
    opened: Any, server: RunningServer, admin: Any, bucket: Bucket
) -> None:
    cache = opened(server)
    assert put(cache, bucket)
    server.pause()
    with ThreadPoolExecutor(1) as threads:
        look = threads.submit(cache.look, bucket, "n", None, LONG)
        time.sleep(0.1)
        cache.close()
        server.resume()
        assert look.result(30) == VALUE
    assert _becomes(lambda: len(admin.client_list()), 1)


def _becomes(what: Callable[[], Any], wanted: object) -> bool:
    ends_at = time.monotonic() + 10
    while what() != wanted:
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pytest-xdist has threads
def test_a_forked_child_uses_connections_of_its_own(
    cache: RedisCache, admin: Any, bucket: Bucket
) -> None:
    assert put(cache, bucket)
    before = {one["id"] for one in admin.client_list()}
    child = os.fork()
    if child == 0:  # pragma: no cover - ends without its coverage
        code = 1
        try:
            cache.after_fork()
            code = 0 if cache.look(bucket, "n", None, LONG) == VALUE else 2
            cache.close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert cache.look(bucket, "n", None, LONG) == VALUE
    assert before == {one["id"] for one in admin.client_list()}, "the parent had to connect anew"


def test_what_nobody_waits_for_arrives_when_a_hung_server_goes_on(
    opened: Any, server: RunningServer, bucket: Bucket
) -> None:
    cache = opened(server, timeout_seconds=5)
    cache.mark([bucket], "w", LONG)
    cache.settle([bucket], "w")
    assert put(cache, bucket)
    server.pause()

    def mark_three() -> None:
        for _ in range(3):
            assert cache.mark([bucket], "w", LONG, wait=False) == 0

    assert ends_within(TIMEOUT, mark_three), "it was waited for"
    server.resume()
    assert _becomes(lambda: cache.look(bucket, "n", "a", LONG).found, Found.MARKED)
    for _ in range(50):  # the replies that nobody reads are no hindrance
        assert cache.settle([bucket], "w", wait=False) == 0
    assert _becomes(lambda: cache.look(bucket, "n", "a", LONG).found, Found.LEASED)


def test_what_nobody_waits_for_is_sent_on_a_busy_machine(
    cache: RedisCache, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two steps a second may pass, and nothing of it was spent on the server."""
    assert put(cache, bucket)
    with monkeypatch.context() as patched:
        clock = count(time.monotonic())
        patched.setattr(connection, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        assert cache.mark([bucket], "w", LONG, wait=False) == 0
    assert _becomes(lambda: cache.look(bucket, "n", None, LONG).found, Found.MARKED)


def test_what_nobody_waits_for_goes_over_any_connection_that_is_there(
    cache: RedisCache, bucket: Bucket
) -> None:
    with pytest.raises(ConnectionError, match="no connection is there"):
        cache.mark([bucket], "w", LONG, wait=False)
    assert put(cache, bucket)
    cache.mark([bucket], "w", LONG, wait=False)
    assert _becomes(lambda: cache.look(bucket, "n", None, LONG).found, Found.MARKED)


@pytest.mark.parametrize("end", ["closed", "dead"])
def test_what_nobody_waits_for_is_refused_without_a_connection(
    cache: RedisCache, server: RunningServer, admin: Any, bucket: Bucket, end: str
) -> None:
    cache.mark([bucket], "w", LONG)
    if end == "dead":
        server.kill()
    else:
        admin.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(ConnectionError):
        cache.settle([bucket], "w", wait=False)


# -- names of hosts -------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", ""])
def test_a_host_is_found_by_its_name(
    opened: Any, shared_server: RunningServer, bucket: Bucket, host: str
) -> None:
    assert put(opened(f"redis://{host}:{shared_server.port}"), bucket)


def test_a_slow_resolver_is_waited_for_no_longer_than_the_timeout(
    opened: Any, shared_server: RunningServer, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, asked = socket.getaddrinfo, []

    def slow(host: str, *args: Any, **options: Any) -> Any:
        if host != "cache.test":
            return resolve(host, *args, **options)
        if options.get("flags"):
            raise socket.gaierror
        asked.append(host)
        time.sleep(2 * TIMEOUT)
        return resolve("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    cache = opened(f"redis://cache.test:{shared_server.port}", TIMEOUT)
    begun = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        cache.look(bucket, "n", "a", LONG)
    assert time.monotonic() - begun < 2 * TIMEOUT
    time.sleep(1.5 * TIMEOUT)
    assert put(cache, bucket), "what the resolver found too late is lost"
    cache.after_fork()
    with pytest.raises(redis.TimeoutError):
        cache.look(bucket, "n", "a", LONG)
    assert len(asked) == 2


def test_an_unknown_host_is_asked_for_again(
    opened: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(*_: Any, **options: Any) -> Any:
        asked.append(options.get("flags"))
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    cache = opened("redis://cache.test", TIMEOUT)
    for _ in range(2):
        with pytest.raises(redis.ConnectionError, match="no known host"):
            cache.look(bucket, "n", "a", LONG)
    assert asked.count(0) == 2


def test_the_second_address_of_a_host_is_tried(
    opened: Any, shared_server: RunningServer, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = resolve("127.0.0.1", nobody.getsockname()[1], type=socket.SOCK_STREAM)
        both = dead + resolve("127.0.0.1", shared_server.port, type=socket.SOCK_STREAM)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        assert put(opened(f"redis://cache.test:{shared_server.port}"), bucket)


def test_an_interrupted_call_leaves_no_connection(
    cache: RedisCache, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cache.look(bucket, "n", "a", LONG)
    assert put(cache, bucket)
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "recv", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cache.look(bucket, "n", "a", LONG)
    assert cache.look(bucket, "n", None, LONG) == VALUE


def test_a_server_is_started_with_arguments() -> None:
    with started("redis", "--maxmemory", "100mb") as server, client_of(server) as client:
        assert client.config_get("maxmemory") == {"maxmemory": "104857600"}
