"""The cache in this process: what it holds, for how long, and what goes first."""

from __future__ import annotations

from typing import Final

import pytest

from ialstore.caching.protocol import MAX_NAMES, MAX_VALUE_BYTES, Bucket, Found, Look
from ialstore.errors import ConfigurationError
from ialstore.registry import find
from ialstore.url import StoreURL
from ialstore_backends import memory_cache as module
from ialstore_backends.memory_cache import MemoryCache

BUCKET: Final = Bucket("owner", "part")
NOTHING: Final = Look(Found.NOTHING)
LONG: Final = 60_000


class Clock:
    """Monotonic seconds in the hands of a test."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> MemoryCache:
    return MemoryCache(1000, clock=clock)


def put(
    cache: MemoryCache, value: bytes, bucket: Bucket = BUCKET, name: str = "n", ttl_ms: int = LONG
) -> bool:
    assert cache.look(bucket, name, "t", LONG) == Look(Found.LEASED)
    return cache.fill(bucket, name, "t", value, ttl_ms)


def seen(cache: MemoryCache, bucket: Bucket = BUCKET, name: str = "n") -> Look:
    return cache.look(bucket, name, None, 0)


def test_a_bucket_ends_to_the_moment(cache: MemoryCache, clock: Clock) -> None:
    put(cache, b"one", ttl_ms=1000)
    clock.seconds += 0.9
    put(cache, b"two", name="m", ttl_ms=LONG)
    assert cache.held_bytes == 6
    clock.seconds += 0.0999
    assert seen(cache).value == b"one"
    clock.seconds += 0.0001
    assert (seen(cache), seen(cache, name="m"), cache.held_bytes) == (NOTHING, NOTHING, 0)


def test_a_lease_ends_to_the_moment(cache: MemoryCache, clock: Clock) -> None:
    cache.look(BUCKET, "n", "dead", 1000)
    clock.seconds += 0.999
    assert cache.look(BUCKET, "n", "t", LONG) == Look(Found.BUSY)
    clock.seconds += 0.001
    assert not cache.fill(BUCKET, "n", "dead", b"old", LONG)
    assert put(cache, b"new")


def test_a_mark_ends_to_the_moment(cache: MemoryCache, clock: Clock) -> None:
    cache.mark([BUCKET], "dead", 1000)
    cache.mark([BUCKET], "sooner", 500)
    clock.seconds += 0.999
    assert seen(cache) == Look(Found.MARKED)
    clock.seconds += 0.001
    assert seen(cache) == NOTHING


def test_a_mark_refuses_a_fill_whose_lease_came_before(cache: MemoryCache) -> None:
    cache.look(BUCKET, "n", "t", LONG)
    assert cache.mark([BUCKET], "w", LONG) == 0
    assert not cache.fill(BUCKET, "n", "t", b"old", LONG)
    cache.settle([BUCKET], "w")
    assert not cache.fill(BUCKET, "n", "t", b"old", LONG)


def test_each_writer_takes_its_own_mark_away(cache: MemoryCache) -> None:
    cache.mark([BUCKET], "one", LONG)
    cache.mark([BUCKET], "two", LONG)
    cache.settle([BUCKET], "one")
    assert seen(cache) == Look(Found.MARKED)
    cache.settle([BUCKET], "two")
    assert seen(cache) == NOTHING


def test_only_the_holder_fills_or_gives_up(cache: MemoryCache) -> None:
    cache.look(BUCKET, "n", "t", LONG)
    cache.release(BUCKET, "n", "other")
    assert not cache.fill(BUCKET, "n", "other", b"x", LONG)
    assert seen(cache) == Look(Found.BUSY)
    cache.release(BUCKET, "n", "t")
    assert seen(cache) == NOTHING


def test_what_is_too_large_is_refused_and_the_lease_given_up(cache: MemoryCache) -> None:
    assert not put(cache, b"x" * (MAX_VALUE_BYTES + 1))
    assert (seen(cache), cache.held_bytes) == (NOTHING, 0)


def test_what_was_not_used_for_longest_goes_first(cache: MemoryCache) -> None:
    buckets = [Bucket("owner", str(number)) for number in range(4)]
    for bucket in buckets[:3]:
        put(cache, b"x" * 300, bucket)
    seen(cache, buckets[0])
    put(cache, b"x" * 300, buckets[3])
    assert [seen(cache, one).found is Found.VALUE for one in buckets] == [True, False, True, True]
    assert cache.held_bytes == 900


def test_marks_and_leases_are_not_evicted(cache: MemoryCache) -> None:
    marked, leased = Bucket("owner", "marked"), Bucket("owner", "leased")
    cache.mark([marked], "w", LONG)
    put(cache, b"x" * 600, leased)
    cache.look(leased, "other", "t", LONG)
    put(cache, b"x" * 600)
    assert seen(cache, marked) == Look(Found.MARKED)
    assert (seen(cache, leased), seen(cache, leased, "other")) == (NOTHING, Look(Found.BUSY))
    assert (seen(cache).found, cache.held_bytes) == (Found.VALUE, 600)


def test_empty_buckets_are_not_kept_for_ever(
    cache: MemoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BUCKETS", 3)
    for number in range(10):
        seen(cache, Bucket("owner", str(number)))
        cache.settle([Bucket("settled", str(number))], "w")
    assert len(cache._buckets) <= 4  # noqa: SLF001 - nothing else tells


def test_the_marks_and_leases_of_the_dead_are_not_kept_for_ever(
    cache: MemoryCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BUCKETS", 3)
    for number in range(5):
        cache.mark([Bucket("marked", str(number))], "dead", 1000)
        cache.look(Bucket("leased", str(number)), "n", "dead", 1000)
    assert len(cache._buckets) == 10  # noqa: SLF001 - nothing else tells
    clock.seconds += 1
    put(cache, b"one")
    assert len(cache._buckets) <= 4  # noqa: SLF001 - as above
    assert seen(cache).value == b"one"


def test_a_bucket_with_too_many_names_forgets_the_others(cache: MemoryCache) -> None:
    for number in range(MAX_NAMES):
        cache.look(BUCKET, f"l{number}", "t", LONG)
    assert cache.look(BUCKET, "n", "t", LONG) == Look(Found.LEASED)
    assert not cache.fill(BUCKET, "l0", "t", b"", LONG)
    for number in range(MAX_NAMES + 1):
        put(cache, b"", name=f"v{number}")
    assert seen(cache, name="v0") == NOTHING
    assert seen(cache, name=f"v{MAX_NAMES}").value == b""


def test_a_write_says_how_much_it_removed(cache: MemoryCache) -> None:
    put(cache, b"one")
    put(cache, b"two", name="m")
    put(cache, b"three", Bucket("owner", "other"))
    assert cache.mark([BUCKET, Bucket("owner", "other")], "w", LONG) == 3
    assert (cache.settle([BUCKET], "w"), cache.held_bytes) == (0, 0)


def test_after_a_fork_nothing_is_known(cache: MemoryCache) -> None:
    put(cache, b"one")
    with cache._lock:  # noqa: SLF001 - the parent holds it at the fork
        cache.after_fork()
    assert (seen(cache), cache.held_bytes) == (NOTHING, 0)


def test_all_stores_of_a_process_share_one_cache() -> None:
    one, other = (
        find("cache", "memory").from_url(StoreURL.parse("memory:"), timeout_seconds=1)
        for _ in range(2)
    )
    assert one is other
    bucket = Bucket("test_all_stores_of_a_process_share_one_cache", "part")
    put(one, b"x", bucket)
    one.close()
    assert seen(other, bucket).value == b"x"
    other.settle([bucket], "t")
    with pytest.raises(ConfigurationError):
        find("cache", "memory").from_url(StoreURL.parse("memory:name"), timeout_seconds=1)
