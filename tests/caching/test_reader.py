"""One read, and the many that meet at one value: who loads, who waits, and what each gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from ialstore.caching import reader as module
from ialstore.caching.envelope import seal, unseal
from ialstore.caching.guard import GuardedCache
from ialstore.caching.protocol import Bucket, Found, Look
from ialstore.caching.reader import Reader, Slot, milliseconds, owner_of, slot_of
from ialstore.errors import CorruptError, UnavailableError
from ialstore_backends.memory_cache import MemoryCache

SLOT: Final = slot_of(("store", "user"), "part", "kind", "name")
TTL: Final = 60.0


class Call:
    """A call with time left, and the numbers of its event."""

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self.counts: dict[str, int] = {}

    def remaining(self) -> float:
        return self.seconds

    def count(self, key: str, amount: int = 1) -> None:
        self.counts[key] = self.counts.get(key, 0) + amount


def answer(sealed: bytes) -> str:
    body = unseal(SLOT.key, sealed)
    if body is None:
        raise ValueError("damaged")
    return body.decode()


def loads(text: str) -> Callable[[], tuple[str, bytes | None]]:
    return lambda: (text, seal(SLOT.key, text.encode()))


def refuses() -> tuple[str, bytes | None]:
    raise AssertionError("nothing is to be loaded")


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def reader(cache: MemoryCache) -> Reader:
    return Reader(GuardedCache(cache, TTL), TTL)


def elsewhere(cache: MemoryCache) -> Reader:
    """Return a reader of another process."""
    return Reader(GuardedCache(cache, TTL), TTL)


class Meeting:
    """Stops a call of a method until the test lets it go on."""

    def __init__(self, of: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.goes_on = threading.Event()
        original = getattr(of, name)

        def stops(*args: Any) -> Any:
            gave = original(*args)
            if not self.reached.is_set():
                self.reached.set()
                assert self.goes_on.wait(10)
            return gave

        monkeypatch.setattr(of, name, stops)


def test_the_first_read_loads_and_fills_and_the_second_hits(reader: Reader) -> None:
    first, second = Call(), Call()
    assert reader.read(first, SLOT, answer, loads("one")) == "one"
    assert reader.read(second, SLOT, answer, refuses) == "one"
    assert first.counts == {"cache_misses": 1, "cache_fills": 1}
    assert second.counts == {"cache_hits": 1}


def test_who_loads_nothing_takes_no_lease(reader: Reader, cache: MemoryCache) -> None:
    assert reader.read(Call(), SLOT, answer, None) is None
    assert cache.look(SLOT.bucket, SLOT.name, None, 0) == Look(Found.NOTHING)


def test_who_loads_what_is_not_kept_gives_the_lease_up(reader: Reader, cache: MemoryCache) -> None:
    call = Call()
    assert reader.read(call, SLOT, answer, lambda: ("large", None)) == "large"
    assert cache.look(SLOT.bucket, SLOT.name, None, 0) == Look(Found.NOTHING)
    assert call.counts == {"cache_misses": 1}


def test_a_failed_load_gives_the_lease_up_and_raises(reader: Reader, cache: MemoryCache) -> None:
    def fails() -> tuple[str, bytes | None]:
        raise UnavailableError("the store is gone")

    with pytest.raises(UnavailableError, match="the store is gone"):
        reader.read(Call(), SLOT, answer, fails)
    assert cache.look(SLOT.bucket, SLOT.name, None, 0) == Look(Found.NOTHING)


@pytest.mark.parametrize("error", [CorruptError("x"), ValueError("x")], ids=["corrupt", "value"])
def test_a_damaged_value_is_counted_removed_and_read_anew(reader: Reader, error: Exception) -> None:
    def damaged(_: bytes) -> str:
        raise error

    reader.read(Call(), SLOT, answer, loads("one"))
    call = Call()
    assert reader.read(call, SLOT, damaged, None) is None
    assert call.counts == {"cache_damaged": 1, "cache_misses": 1}
    again = Call()
    assert reader.read(again, SLOT, answer, loads("two")) == "two"
    assert again.counts["cache_fills"] == 1


def test_a_value_that_cannot_tell_is_a_miss_and_stays(reader: Reader) -> None:
    reader.read(Call(), SLOT, answer, loads("one"))
    call = Call()
    assert reader.read(call, SLOT, lambda _: None, refuses) is None
    assert call.counts == {"cache_misses": 1}
    assert reader.read(Call(), SLOT, answer, refuses) == "one"


def test_a_writer_between_load_and_fill_refuses_the_fill(
    reader: Reader, cache: MemoryCache
) -> None:
    def load() -> tuple[str, bytes | None]:
        cache.mark([SLOT.bucket], "w", 60_000)
        return loads("old")()

    call = Call()
    assert reader.read(call, SLOT, answer, load) == "old"
    assert call.counts == {"cache_misses": 1, "cache_refused_fills": 1}
    # While the mark stands, nobody fills, and each caller reads for itself.
    assert reader.read(Call(), SLOT, answer, refuses) is None


# -- a herd ---------------------------------------------------------------------------------------


def test_of_a_herd_one_loads(reader: Reader) -> None:
    herd = 200
    calls = [Call() for _ in range(herd)]
    loaded: list[str] = []
    start = threading.Barrier(herd)

    def load() -> tuple[str, bytes | None]:
        loaded.append("one")
        time.sleep(0.02)
        return loads("one")()

    def read(call: Call) -> str | None:
        start.wait(30)
        return reader.read(call, SLOT, answer, load)

    with ThreadPoolExecutor(herd) as threads:
        found = list(threads.map(read, calls))
    assert (set(found), len(loaded)) == ({"one"}, 1)
    assert sum(call.counts.get("cache_hits", 0) for call in calls) == herd - 1


def waiting(reader: Reader, call: Call, meeting: threading.Event) -> str | None:
    assert meeting.wait(10)
    return reader.read(call, SLOT, answer, refuses)


@pytest.mark.parametrize("fate", ["the fill is refused", "the load fails"])
def test_who_waits_in_vain_reads_for_itself(
    reader: Reader, cache: MemoryCache, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    leased, joined = threading.Event(), threading.Event()
    follower = Call()

    def load() -> tuple[str, bytes | None]:
        leased.set()
        assert joined.wait(10)
        if fate == "the load fails":
            raise UnavailableError("the store is gone")
        cache.mark([SLOT.bucket], "w", 60_000)
        return loads("old")()

    wait = module._Flight.wait  # noqa: SLF001 - the moment at which somebody waits

    def waits(flight: Any, seconds: float) -> Look:
        joined.set()
        return wait(flight, seconds)

    monkeypatch.setattr(module._Flight, "wait", waits)  # noqa: SLF001 - as above
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(reader.read, Call(), SLOT, answer, load)
        second = threads.submit(waiting, reader, follower, leased)
        assert second.result(10) is None, "the follower reads for itself, and sees no error"
        if fate == "the load fails":
            with pytest.raises(UnavailableError):
                first.result(10)
        else:
            assert first.result(10) == "old"
    assert follower.counts == {"cache_misses": 1}


def test_nobody_waits_for_a_fill_that_the_cache_has_already_taken(
    reader: Reader, cache: MemoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Found by the checker: the first reader's thread sleeps with the cache's answer in hand.
    monkeypatch.setattr(module, "_LONGEST_WAIT_SECONDS", 0.01)
    filled = Meeting(cache, "fill", monkeypatch)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(reader.read, Call(), SLOT, answer, loads("old"))
        assert filled.reached.wait(10)
        cache.mark([SLOT.bucket], "w", 60_000)
        cache.settle([SLOT.bucket], "w")  # a write is over, from here on "old" is stale
        assert cache.look(SLOT.bucket, SLOT.name, "another process", 60_000).found is Found.LEASED
        second = Call(0.2)
        late = threading.Timer(0.02, filled.goes_on.set)
        late.start()
        assert reader.read(second, SLOT, answer, refuses) is None
        filled.goes_on.set()
        assert first.result(10) == "old"
        late.join()


# -- other processes ------------------------------------------------------------------------------


def test_a_reader_of_another_process_is_waited_for(reader: Reader, cache: MemoryCache) -> None:
    assert cache.look(SLOT.bucket, SLOT.name, "t", 60_000).found is Found.LEASED
    value = seal(SLOT.key, b"one")
    assert value is not None
    fills = threading.Timer(0.01, cache.fill, (SLOT.bucket, SLOT.name, "t", value, 60_000))
    fills.start()
    call = Call()
    assert reader.read(call, SLOT, answer, refuses) == "one"
    fills.join()
    assert call.counts == {"cache_hits": 1}


def test_a_dead_reader_is_waited_for_once(
    reader: Reader, cache: MemoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT_SECONDS", 0.005)
    cache.look(SLOT.bucket, SLOT.name, "dead", 60_000)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    assert reader.read(Call(), SLOT, answer, refuses) is None
    assert slept
    slept.clear()
    assert reader.read(Call(), SLOT, answer, refuses) is None
    assert not slept, "it waited for the dead reader again"


def test_pauses_grow_up_to_a_limit(
    reader: Reader, cache: MemoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    slept: list[float] = []

    def sleep(pause: float) -> None:
        slept.append(pause)
        seconds[0] += pause

    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(time, "sleep", sleep)
    cache.look(SLOT.bucket, SLOT.name, "dead", 60_000)
    assert reader.read(Call(0.2), SLOT, answer, refuses) is None
    assert slept[:5] == [0.002, 0.004, 0.008, 0.016, 0.02]
    assert 0.1 <= seconds[0] <= 0.13, "it waits for half of the time left"


def test_too_many_dead_readers_are_forgotten(
    reader: Reader, cache: MemoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(module, "_MOST_IMPATIENT", 2)
    slots = [Slot(Bucket("o", "p"), str(number), SLOT.key) for number in range(3)]
    for slot in slots:
        cache.look(slot.bucket, slot.name, "dead", 60_000)
        assert reader.read(Call(), slot, answer, refuses) is None
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    reader.read(Call(), slots[2], answer, refuses)
    assert not slept
    reader.read(Call(), slots[0], answer, refuses)
    assert slept


def test_after_a_fork_nobody_waits_for_readers_of_the_parent(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.take_off(SLOT)
    reader.after_fork()
    monkeypatch.setattr(module, "_LONGEST_WAIT_SECONDS", 0.0)
    assert reader.wait(Call(), SLOT, "t", 60_000) == Look(Found.LEASED)


def test_the_end_of_an_old_reader_leaves_a_new_one(reader: Reader) -> None:
    old, new = reader.take_off(SLOT), reader.take_off(SLOT)
    reader.end(SLOT, old)
    new.land(b"new")
    assert reader.wait(Call(), SLOT, "t", 60_000) == Look(Found.VALUE, b"new")


# -- places and times -----------------------------------------------------------------------------


def test_places_differ_by_every_part_of_an_address() -> None:
    slots = {
        slot_of(address, part, *names)
        for address in (("a", "bc"), ("ab", "c"), ("a", "b", "c"))
        for part in ("p", "q")
        for names in (("k",), ("k", "n"), ("kn",))
    }
    assert len({(one.bucket, one.name) for one in slots}) == 18
    assert len({one.key for one in slots}) == 9
    assert owner_of(("a", "bc")) != owner_of(("ab", "c"))


def test_no_value_lives_longer_than_it_may(reader: Reader) -> None:
    lives = [reader.ttl_ms() for _ in range(100)]
    assert 0.9 * TTL * 1000 <= min(lives) < max(lives) <= TTL * 1000


def test_milliseconds_are_rounded_up() -> None:
    assert [milliseconds(one) for one in (0.0, 0.0001, 0.001, 1.5)] == [0, 1, 1, 1500]
