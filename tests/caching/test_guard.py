"""The border behind which every fault of a cache stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final

import pytest

from ialstore.caching import guard as module
from ialstore.caching.guard import DISTRUST_SECONDS, GuardedCache, Removal, State
from ialstore.caching.protocol import Bucket, Found, Look
from ialstore.url import StoreURL

BUCKET: Final = Bucket("owner", "part")
NOTHING: Final = Look(Found.NOTHING)
VALUE: Final = Look(Found.VALUE, b"v")
TTL: Final = 300.0


class Clock:
    """Monotonic seconds in the hands of a test."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Doubtful:
    """A cache that does what a test asks of it, and notes what it was asked."""

    SHARED: ClassVar[bool] = True
    held_bytes = 7

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.fault: BaseException | None = None
        self.takes_seconds = 0.0
        self.calls: list[tuple[Any, ...]] = []
        self.before: Callable[[], None] = lambda: None

    @classmethod
    def from_url(cls, url: StoreURL, *, timeout_seconds: float) -> Doubtful:
        raise NotImplementedError

    def _do(self, *call: Any) -> None:
        self.calls.append(call)
        self.before()
        self.clock.seconds += self.takes_seconds
        if self.fault is not None:
            raise self.fault

    def look(self, bucket: Bucket, name: str, token: str | None, lease_ms: int) -> Look:
        self._do("look", bucket)
        return VALUE

    def fill(self, bucket: Bucket, name: str, token: str, value: bytes, ttl_ms: int) -> bool:
        self._do("fill", bucket)
        return True

    def release(self, bucket: Bucket, name: str, token: str) -> None:
        self._do("release", bucket)

    def mark(
        self, buckets: Sequence[Bucket], token: str, mark_ms: int, *, wait: bool = True
    ) -> int:
        self._do("mark" if wait else "tell", *buckets)
        return 1

    def settle(
        self, buckets: Sequence[Bucket], token: str, keep_ms: int = 0, *, wait: bool = True
    ) -> int:
        self._do("settle" if wait else "tell", *buckets)
        return 1

    def close(self) -> None:
        self._do("close")

    def after_fork(self) -> None:
        self._do("after_fork")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Doubtful:
    return Doubtful(clock)


@pytest.fixture
def guard(cache: Doubtful, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[GuardedCache]:
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_SECONDS", 0.002)
    guarded = GuardedCache(cache, TTL, clock=clock)
    yield guarded
    guarded.close()


def use(guard: GuardedCache) -> list[Any]:
    """Take every step of readers and writers; return what each gave."""
    return [step(guard) for name, step in STEPS.items() if name != "discard"]


def is_in(guard: GuardedCache, state: State) -> bool:
    return guard.state is state


STEPS: Final[dict[str, Callable[[GuardedCache], Any]]] = {
    "look": lambda guard: guard.look(BUCKET, "n", "t", 1),
    "fill": lambda guard: guard.fill(BUCKET, "n", "t", b"v", 1),
    "release": lambda guard: guard.release(BUCKET, "n", "t"),
    "mark": lambda guard: guard.mark([BUCKET], "t", 1),
    "settle": lambda guard: guard.settle([BUCKET], "t"),
    "discard": lambda guard: guard.discard(BUCKET),
}
SURE: Final = Removal(1, is_sent=True, is_sure=True)
SENT: Final = Removal(is_sent=True)
LOST: Final = Removal()
FAULTS: Final = (OSError("x"), TimeoutError(), RecursionError(), AttributeError(), MemoryError())


def eventually(happens: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < ends_at
        time.sleep(0.001)


def down(guard: GuardedCache, cache: Doubtful) -> None:
    cache.fault = OSError("down")
    guard.look(BUCKET, "n", "t", 1)
    assert is_in(guard, State.OPEN)


def back(guard: GuardedCache, cache: Doubtful) -> None:
    cache.fault = None
    eventually(lambda: guard.state is not State.OPEN)


def test_a_sound_cache_is_asked_and_believed(guard: GuardedCache, cache: Doubtful) -> None:
    assert use(guard) == [VALUE, True, None, SURE, SURE]
    guard.discard(BUCKET)
    assert [call[0] for call in cache.calls] == [*[*STEPS][:-1], "settle"]
    assert (guard.state, guard.shared, guard.held_bytes) == (State.CLOSED, True, 7)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: type(one).__name__)
def test_no_fault_passes(guard: GuardedCache, cache: Doubtful, step: str, fault: Exception) -> None:
    cache.fault = fault
    STEPS[step](guard)
    assert is_in(guard, State.OPEN)


def test_after_one_failure_calls_do_without(guard: GuardedCache, cache: Doubtful) -> None:
    down(guard, cache)
    mine = threading.get_ident()
    waited_for: list[str] = []

    def note() -> None:
        if threading.get_ident() == mine and cache.calls[-1][0] != "tell":
            waited_for.append(cache.calls[-1][0])

    cache.before = note
    for _ in range(100):
        assert use(guard) == [NOTHING, False, None, LOST, LOST]
    assert not waited_for, "a caller waited for a cache that is down"


def test_a_cache_that_only_seems_to_be_down_is_told_of_writes(
    guard: GuardedCache, cache: Doubtful
) -> None:
    cache.takes_seconds = 0.0625
    guard.look(BUCKET, "n", "t", 1)
    guard.look(BUCKET, "n", "t", 1)
    assert is_in(guard, State.OPEN)
    assert use(guard) == [NOTHING, False, None, SENT, SENT]
    assert ("tell", BUCKET) in cache.calls


def test_who_ends_a_program_is_not_held_up(guard: GuardedCache, cache: Doubtful) -> None:
    cache.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        guard.look(BUCKET, "n", "t", 1)
    cache.fault = None


def test_a_cache_that_is_back_is_distrusted_for_a_while(
    guard: GuardedCache, cache: Doubtful, clock: Clock
) -> None:
    down(guard, cache)
    back(guard, cache)
    assert is_in(guard, State.RECOVERING)
    cache.calls.clear()
    assert use(guard) == [NOTHING, False, None, SURE, SURE]
    assert [call[0] for call in cache.calls] == ["mark", "settle"]
    clock.seconds += DISTRUST_SECONDS
    assert is_in(guard, State.CLOSED)
    assert use(guard) == [VALUE, True, None, SURE, SURE]


def test_what_was_written_meanwhile_is_removed_before_the_cache_is_used(
    guard: GuardedCache, cache: Doubtful
) -> None:
    down(guard, cache)
    others = [Bucket("owner", "a"), Bucket("owner", "b"), Bucket("second", "a")]
    guard.mark(others[:2], "t", 1)
    guard.settle(others[:2], "t")
    guard.settle(others[2:], "t")
    states: list[State] = []
    cache.before = lambda: states.append(guard.state)
    cache.calls.clear()
    back(guard, cache)
    removed = [call[1:] for call in cache.calls if call[0] == "settle"]
    assert removed == [tuple(others[:2]), (others[2],)]
    assert set(states) == {State.OPEN}


@pytest.mark.parametrize("step", ["mark", "settle"])
def test_a_write_that_meets_the_failure_is_removed_too(
    guard: GuardedCache, cache: Doubtful, step: str
) -> None:
    cache.fault = OSError("down")
    assert STEPS[step](guard) == LOST
    cache.calls.clear()
    back(guard, cache)
    assert ("settle", BUCKET) in cache.calls


def test_what_could_not_be_removed_is_tried_again(guard: GuardedCache, cache: Doubtful) -> None:
    down(guard, cache)
    guard.settle([BUCKET], "t")
    failures = iter([OSError("again")])

    def fails_once() -> None:
        cache.fault = next(failures, None) if cache.calls[-1][0] == "settle" else None

    cache.before = fails_once
    cache.calls.clear()
    eventually(lambda: guard.state is not State.OPEN)
    assert cache.calls.count(("settle", BUCKET)) == 2


def test_with_too_many_writes_nothing_is_believed_until_all_values_ended(
    guard: GuardedCache, cache: Doubtful, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_UNSETTLED", 3)
    down(guard, cache)
    for number in range(5):
        guard.settle([Bucket(f"owner{number}", "part")], "t")
    guard.settle([Bucket("owner1", "other part")], "t")
    cache.calls.clear()
    back(guard, cache)
    assert [call[1:] for call in cache.calls if call[0] == "settle"] == [
        (Bucket("owner0", "part"),),
        (Bucket("owner1", "other part"), Bucket("owner1", "part")),
        (Bucket("owner2", "part"),),
    ]
    clock.seconds += TTL - 0.001
    assert is_in(guard, State.RECOVERING)
    clock.seconds += 0.001
    assert is_in(guard, State.CLOSED)


def test_slow_steps_in_a_row_are_a_failure(guard: GuardedCache, cache: Doubtful) -> None:
    cache.takes_seconds = 0.0625
    assert guard.look(BUCKET, "n", "t", 1) == VALUE
    assert is_in(guard, State.CLOSED)
    assert guard.look(BUCKET, "n", "t", 1) == VALUE
    assert is_in(guard, State.OPEN)


def test_a_fast_step_forgives_slow_ones(guard: GuardedCache, cache: Doubtful) -> None:
    for _ in range(10):
        cache.takes_seconds = 0.04
        guard.look(BUCKET, "n", "t", 1)
        cache.takes_seconds = 0.0
        guard.look(BUCKET, "n", "t", 1)
    assert is_in(guard, State.CLOSED)


def test_a_cache_that_answers_slowly_is_not_back(guard: GuardedCache, cache: Doubtful) -> None:
    down(guard, cache)
    cache.fault, cache.takes_seconds = None, 0.02
    cache.calls.clear()
    eventually(lambda: len(cache.calls) > 3)
    assert is_in(guard, State.OPEN)
    cache.takes_seconds = 0.0
    back(guard, cache)


def test_one_thread_asks_however_many_callers_find_it_down(
    guard: GuardedCache, cache: Doubtful
) -> None:
    down(guard, cache)
    prober = guard._prober  # noqa: SLF001 - nothing else tells
    for _ in range(20):
        guard.settle([BUCKET], "t")
        guard._give_up("another call that was on its way")  # noqa: SLF001 - as above
    assert guard._prober is prober  # noqa: SLF001 - as above


def test_closing_ends_the_thread_and_passes_no_fault(cache: Doubtful, clock: Clock) -> None:
    guard = GuardedCache(cache, TTL, clock=clock)
    down(guard, cache)
    prober = guard._prober  # noqa: SLF001 - nothing else tells
    assert prober is not None
    guard.close()
    assert not prober.is_alive()
    assert guard.settle([BUCKET], "t") == LOST
    assert not prober.is_alive()


def test_a_forked_process_asks_with_a_thread_of_its_own(
    guard: GuardedCache, cache: Doubtful
) -> None:
    down(guard, cache)
    guard.settle([BUCKET], "t")
    parents = guard._prober  # noqa: SLF001 - nothing else tells
    with guard._lock:  # noqa: SLF001 - the parent holds it at the fork
        cache.fault = None
        guard.after_fork()
    assert ("after_fork",) in cache.calls
    assert guard.look(BUCKET, "n", "t", 1) == NOTHING
    eventually(lambda: guard.state is not State.OPEN)
    assert guard._prober is not parents  # noqa: SLF001 - as above
    assert ("settle", BUCKET) in cache.calls


def test_who_waited_for_a_turn_does_without_a_cache_that_failed_meanwhile() -> None:
    clock = Clock()
    cache = Doubtful(clock)
    guard = GuardedCache(cache, TTL, clock=clock)
    at_work = threading.Barrier(module._MOST_AT_ONCE + 1)  # noqa: SLF001 - as many as it lets in
    go_on = threading.Event()
    found: list[Look] = []

    def before() -> None:
        at_work.wait(10)
        go_on.wait(10)
        raise ConnectionError

    cache.before = before
    looks = [
        threading.Thread(target=lambda: found.append(guard.look(BUCKET, "n", "t", 100)))
        for _ in range(module._MOST_AT_ONCE + 3)  # noqa: SLF001 - as above
    ]
    for look in looks:
        look.start()
    at_work.wait(10)
    calls = len(cache.calls)
    while guard._asking < len(looks):  # noqa: SLF001 - the others wait for their turn
        time.sleep(0.001)
    cache.before = lambda: None
    go_on.set()
    for look in looks:
        look.join()
    assert found == [NOTHING] * len(looks)
    asked = [call for call in cache.calls if call[:2] == ("look", BUCKET)]
    assert len(asked) == calls
    guard.close()


def test_threads_that_crowd_a_cache_do_not_make_it_slow() -> None:
    clock = Clock()
    cache = Doubtful(clock)
    guard = GuardedCache(cache, TTL, clock=clock)
    cache.takes_seconds = 0.06
    guard._asking = module._MOST_AT_ONCE  # noqa: SLF001 - as if others waited

    for _ in range(3):
        assert guard.look(BUCKET, "n", None, 0) == VALUE
    assert guard.state is State.CLOSED
    guard.close()
