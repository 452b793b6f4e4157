"""What the cache protocol asks of every cache, one step at a time and with two clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ialstore.caching.protocol import MAX_NAMES, MAX_VALUE_BYTES, Bucket, Cache, Found, Look

LONG = 60_000
SOON = 40
LEASED = Look(Found.LEASED)
BUSY = Look(Found.BUSY)
MARKED = Look(Found.MARKED)
NOTHING = Look(Found.NOTHING)


def value(content: bytes = b"one") -> Look:
    return Look(Found.VALUE, content)


def put(
    cache: Cache, bucket: Bucket, name: str = "n", content: bytes = b"one", ttl_ms: int = LONG
) -> None:
    assert cache.look(bucket, name, "filler", LONG) == LEASED
    assert cache.fill(bucket, name, "filler", content, ttl_ms)


def eventually(happens: Callable[[], bool]) -> None:
    """Wait for a time to live to end, by the cache's own clock."""
    ends_at = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < ends_at, "a time to live did not end"
        time.sleep(0.002)


Call = tuple[str, Sequence[Any], Any]
"""Method, arguments after the bucket, and what it returns."""

HISTORIES: dict[str, list[Call]] = {
    "a value is found by whoever looks": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "a", b"one", LONG), True),
        ("look", ("n", "b", LONG), value()),
        ("look", ("n", None, LONG), value()),
    ],
    "an empty value is one": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "a", b"", LONG), True),
        ("look", ("n", "b", LONG), value(b"")),
    ],
    "any byte is kept": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "a", bytes(range(256)) + b"\r\n", LONG), True),
        ("look", ("n", "b", LONG), value(bytes(range(256)) + b"\r\n")),
    ],
    "one lease at a time": [
        ("look", ("n", "a", LONG), LEASED),
        ("look", ("n", "b", LONG), BUSY),
        ("look", ("n", None, LONG), BUSY),
    ],
    "names have leases of their own": [
        ("look", ("n", "a", LONG), LEASED),
        ("look", ("m", "b", LONG), LEASED),
    ],
    "no lease is taken without a token": [
        ("look", ("n", None, LONG), NOTHING),
        ("look", ("n", "a", LONG), LEASED),
    ],
    "only the holder of the lease fills": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "b", b"one", LONG), False),
        ("look", ("n", "c", LONG), BUSY),
        ("fill", ("n", "a", b"one", LONG), True),
    ],
    "nobody fills without a lease": [
        ("fill", ("n", "a", b"one", LONG), False),
        ("look", ("n", None, LONG), NOTHING),
    ],
    "a lease is used up by filling": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "a", b"one", LONG), True),
        ("fill", ("n", "a", b"two", LONG), False),
        ("look", ("n", None, LONG), value()),
    ],
    "a lease is given up by its holder alone": [
        ("look", ("n", "a", LONG), LEASED),
        ("release", ("n", "b"), None),
        ("look", ("n", "c", LONG), BUSY),
        ("release", ("n", "a"), None),
        ("look", ("n", "c", LONG), LEASED),
        ("fill", ("n", "a", b"one", LONG), False),
    ],
    "the largest value is kept": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "a", b"x" * MAX_VALUE_BYTES, LONG), True),
        ("look", ("n", "b", LONG), value(b"x" * MAX_VALUE_BYTES)),
    ],
    "a larger value is not, and the lease is given up": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "a", b"x" * (MAX_VALUE_BYTES + 1), LONG), False),
        ("look", ("n", "b", LONG), LEASED),
    ],
}

WRITES: dict[str, list[Call]] = {
    "a mark removes values": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "a", b"one", LONG), True),
        ("look", ("m", "a", LONG), LEASED),
        ("fill", ("m", "a", b"one", LONG), True),
        ("mark", ("w", LONG), 2),
        ("look", ("n", "b", LONG), MARKED),
        ("look", ("n", None, LONG), MARKED),
        ("mark", ("w", LONG), 0),
    ],
    "a mark ends leases": [
        ("look", ("n", "a", LONG), LEASED),
        ("mark", ("w", LONG), 0),
        ("fill", ("n", "a", b"old", LONG), False),
        ("settle", ("w",), 0),
        ("fill", ("n", "a", b"old", LONG), False),
        ("look", ("n", "b", LONG), LEASED),
    ],
    "settling ends leases": [
        ("look", ("n", "a", LONG), LEASED),
        ("settle", ("w",), 0),
        ("fill", ("n", "a", b"old", LONG), False),
        ("look", ("n", "b", LONG), LEASED),
    ],
    "settling removes values without a mark": [
        ("look", ("n", "a", LONG), LEASED),
        ("fill", ("n", "a", b"old", LONG), True),
        ("settle", ("w",), 1),
        ("look", ("n", "b", LONG), LEASED),
    ],
    "several marks stand at once": [
        ("mark", ("w1", LONG), 0),
        ("mark", ("w2", LONG), 0),
        ("settle", ("w1",), 0),
        ("look", ("n", "a", LONG), MARKED),
        ("settle", ("w2",), 0),
        ("look", ("n", "a", LONG), LEASED),
    ],
    "another's mark is left": [
        ("mark", ("w1", LONG), 0),
        ("settle", ("w2",), 0),
        ("look", ("n", "a", LONG), MARKED),
    ],
    "a mark in doubt stays": [
        ("mark", ("w", LONG), 0),
        ("settle", ("w", LONG), 0),
        ("look", ("n", "a", LONG), MARKED),
    ],
    "a mark in doubt is set where it was lost": [
        ("settle", ("w", LONG), 0),
        ("look", ("n", "a", LONG), MARKED),
    ],
}


def call(cache: Cache, bucket: Bucket, step: Call) -> Any:
    method, args, _ = step
    place: Any = [bucket] if method in {"mark", "settle"} else bucket
    return getattr(cache, method)(place, *args)


@pytest.mark.parametrize("name", [*HISTORIES, *WRITES])
def test_a_history_goes_as_the_protocol_says(cache: Cache, bucket: Bucket, name: str) -> None:
    for step in (HISTORIES | WRITES)[name]:
        assert call(cache, bucket, step) == step[2], step[:2]


@pytest.mark.parametrize("name", [*HISTORIES, *WRITES])
def test_a_history_goes_the_same_with_two_clients(
    cache: Cache, other: Cache, bucket: Bucket, name: str
) -> None:
    for number, step in enumerate((HISTORIES | WRITES)[name]):
        assert call((cache, other)[number % 2], bucket, step) == step[2], step[:2]


def test_a_value_ends_with_its_time_to_live(cache: Cache, bucket: Bucket) -> None:
    put(cache, bucket, ttl_ms=SOON)
    eventually(lambda: cache.look(bucket, "n", None, LONG) == NOTHING)


def test_the_time_to_live_of_a_bucket_counts_from_its_first_value(
    cache: Cache, bucket: Bucket
) -> None:
    put(cache, bucket, "first", ttl_ms=300)
    put(cache, bucket, "second", ttl_ms=LONG)
    eventually(lambda: cache.look(bucket, "second", None, LONG) == NOTHING)


def test_a_lease_ends_by_itself(cache: Cache, bucket: Bucket) -> None:
    assert cache.look(bucket, "n", "dead", SOON) == LEASED
    assert cache.look(bucket, "m", "alive", LONG) == LEASED
    eventually(lambda: cache.look(bucket, "n", "b", LONG) == LEASED)
    assert not cache.fill(bucket, "n", "dead", b"old", LONG)
    assert cache.fill(bucket, "m", "alive", b"one", LONG)


def test_who_has_let_a_lease_end_does_not_fill(cache: Cache, bucket: Bucket) -> None:
    assert cache.look(bucket, "m", "alive", LONG) == LEASED
    assert cache.look(bucket, "n", "late", SOON) == LEASED
    eventually(lambda: cache.look(bucket, "n", None, LONG) == NOTHING)
    assert not cache.fill(bucket, "n", "late", b"old", LONG)


def test_the_mark_of_a_dead_writer_ends_by_itself(cache: Cache, bucket: Bucket) -> None:
    cache.mark([bucket], "alive", 500)
    cache.mark([bucket], "dead", SOON)
    cache.settle([bucket], "alive")
    eventually(lambda: cache.look(bucket, "n", "a", LONG) == LEASED)


def test_a_mark_in_doubt_ends_by_itself(cache: Cache, bucket: Bucket) -> None:
    cache.mark([bucket], "w", LONG)
    cache.settle([bucket], "w", SOON)
    eventually(lambda: cache.look(bucket, "n", "a", LONG) == LEASED)


def test_a_short_mark_does_not_end_a_long_one(cache: Cache, bucket: Bucket) -> None:
    cache.mark([bucket], "long", LONG)
    cache.mark([bucket], "short", SOON)
    time.sleep(SOON * 2 / 1000)
    assert cache.look(bucket, "n", "a", LONG) == MARKED


def test_one_call_marks_many_buckets_of_an_owner(cache: Cache, bucket: Bucket) -> None:
    many = [Bucket(bucket.owner, f"part{number}") for number in range(260)]
    for one in many[::100]:
        put(cache, one)
        put(cache, one, "m")
    assert cache.mark(many, "w", LONG) == 6
    assert {cache.look(one, "n", "a", LONG).found for one in many} == {Found.MARKED}
    assert cache.settle(many, "w") == 0
    assert {cache.look(one, "n", "a", LONG).found for one in many} == {Found.LEASED}


def test_other_buckets_are_left_alone(cache: Cache, buckets: list[Bucket]) -> None:
    marked, other = buckets
    namesake = Bucket("0" + marked.owner, marked.part)
    for one in (*buckets, namesake):
        put(cache, one)
    assert cache.mark([marked], "w", LONG) == 1
    assert cache.look(other, "n", None, LONG) == value()
    assert cache.look(namesake, "n", None, LONG) == value()


def test_a_bucket_with_too_many_names_forgets_them(cache: Cache, bucket: Bucket) -> None:
    for number in range(MAX_NAMES + 1):
        put(cache, bucket, f"n{number}")
    assert cache.look(bucket, f"n{MAX_NAMES}", None, LONG) == value()
    assert cache.settle([bucket], "w") <= MAX_NAMES


def test_leases_of_too_many_names_are_not_kept(cache: Cache, bucket: Bucket) -> None:
    for number in range(MAX_NAMES + 1):
        assert cache.look(bucket, f"n{number}", "a", LONG) == LEASED
    assert cache.fill(bucket, f"n{MAX_NAMES}", "a", b"one", LONG)


@pytest.mark.parametrize(
    "name",
    ["a b", "\0\r\n$5", "\N{SNOWMAN}", "x" * 1000],
    ids=["space", "protocol", "unicode", "long"],
)
def test_a_name_is_any_text(cache: Cache, bucket: Bucket, name: str) -> None:
    put(cache, bucket, name)
    assert cache.look(bucket, name, None, LONG) == value()
    assert cache.look(bucket, "n", None, LONG) == NOTHING


def test_of_racing_clients_one_gets_the_lease(cache: Cache, other: Cache, bucket: Bucket) -> None:
    start = threading.Barrier(8)

    def race(number: int) -> list[Found]:
        start.wait(30)
        client = (cache, other)[number % 2]
        return [client.look(bucket, f"n{one}", f"t{number}", LONG).found for one in range(50)]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(race, range(8)))
    for of_one_name in zip(*found, strict=True):
        assert sorted(of_one_name) == [Found.BUSY] * 7 + [Found.LEASED]


def test_no_value_from_before_a_write_is_read_after_it(
    cache: Cache, other: Cache, bucket: Bucket
) -> None:
    stored = 0
    stale: list[tuple[bytes, int]] = []
    is_over = threading.Event()

    def read(number: int) -> int:
        client, hits = (cache, other)[number % 2], 0
        while not is_over.is_set():
            written = stored
            look = client.look(bucket, "n", f"r{number}", LONG)
            if look.value is not None:
                hits += 1
                if int(look.value) < written:
                    stale.append((look.value, written))
            elif look.found is Found.LEASED:
                client.fill(bucket, "n", f"r{number}", str(stored).encode(), LONG)
        return hits

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read, number) for number in range(4)]
        for write in range(1, 201):
            other.mark([bucket], "w", LONG)
            stored = write
            other.settle([bucket], "w")
        is_over.set()
        hits = sum(one.result(30) for one in readers)
    assert not stale
    assert hits
