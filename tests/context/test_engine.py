"""The engine as a whole: its parts, its figures, its end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ialstore import (
    ConfigurationError,
    IndexSpec,
    InvalidInputError,
    StoreNotReadyError,
    UnavailableError,
    Units,
    deadline,
    meter,
)
from ialstore.context import ContextEngine
from ialstore.context.parallel import SideBySide
from ialstore.embedding import HashingEmbedder
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex


@pytest.mark.parametrize(
    "spec", [IndexSpec(32), IndexSpec(64, model="another"), IndexSpec(65, model="hashing-64-v1")]
)
def test_an_index_for_other_vectors_is_refused(spec: IndexSpec) -> None:
    with pytest.raises(ConfigurationError, match="use the embedder that the index was made with"):
        ContextEngine(
            MemoryConversationStore(), MemoryVectorIndex(spec), HashingEmbedder(dimension=64)
        )


@pytest.mark.parametrize("spec", [IndexSpec(64), IndexSpec(64, model="hashing-64-v1")])
def test_an_index_for_these_vectors_is_accepted(spec: IndexSpec) -> None:
    store, index = MemoryConversationStore(), MemoryVectorIndex(spec)
    embedder = HashingEmbedder(dimension=64)

    with ContextEngine(store, index, embedder) as engine:
        assert engine.store is store
        assert engine.index is index
        assert engine.embedder is embedder
        assert engine.budget.max_tokens == 2000


def test_a_token_counter_must_be_callable() -> None:
    counter: Any = 4
    with pytest.raises(ConfigurationError, match="token_counter"):
        ContextEngine(
            MemoryConversationStore(),
            MemoryVectorIndex(IndexSpec(64)),
            HashingEmbedder(dimension=64),
            token_counter=counter,
        )


@pytest.mark.parametrize(
    ("query", "user_id", "session_id"),
    [
        ("\ud800", "u", "s"),
        (7, "u", "s"),
        ("hello", "", "s"),
        ("hello", "u\0", "s"),
        ("hello", "u", ""),
        ("hello", "u", 7),
    ],
)
def test_arguments_are_checked_before_anything_is_read(
    rig: Any, query: Any, user_id: Any, session_id: Any
) -> None:
    with pytest.raises(InvalidInputError):
        rig.engine.build_context(query, user_id, session_id)
    assert rig.store.calls == rig.index.calls == []


def test_a_long_query_is_accepted(rig: Any) -> None:
    rig.say("a cat")

    assert rig.build("cat " * 100_000).recent


# -- deadlines, meters, threads -----------------------------------------------------------------


class BilledStore(MemoryConversationStore):
    """Counts a read unit for each history."""

    def _history(self, op: Any, query: Any) -> Any:
        op.add(Units(read=2.5, requests=1))
        op.note("cache_hits", 3)
        op.note("cache_misses", 1)
        return super()._history(op, query)


class BilledIndex(MemoryVectorIndex):
    """Counts a read unit for each search, a write unit for each upsert."""

    def _search(self, op: Any, query: Any) -> Any:
        op.add(Units(read=0.5, requests=2))
        return super()._search(op, query)

    def _upsert(self, op: Any, user_id: str, records: Any) -> None:
        op.add(Units(write=len(records)))
        super()._upsert(op, user_id, records)


@pytest.fixture
def billed(new_rig: Any) -> Any:
    return new_rig(BilledStore(), BilledIndex(IndexSpec(64)))


def test_a_context_carries_its_units_and_an_outer_meter_sums_them(billed: Any) -> None:
    billed.say("a cat")

    with meter() as outer:
        first = billed.build("cat")
        second = billed.build("")

    assert first.units == Units(read=3.0, requests=3)
    assert second.units == Units(read=2.5, requests=1)
    assert outer.units == first.units + second.units


@pytest.mark.parametrize("side", ["history", "search"])
def test_a_deadline_holds_for_both_sides(rig: Any, side: str) -> None:
    left: list[float] = []
    part = rig.store if side == "history" else rig.index
    part.watch = lambda op: left.append(op.remaining())

    with deadline(3600):
        rig.build("cat")
    rig.build("cat")

    assert left[0] > 3000
    assert left[1] <= 5


def test_reading_and_searching_run_side_by_side(rig: Any) -> None:
    """Each waits until the other has begun: one after the other would never end."""
    meet = threading.Barrier(2, timeout=10)
    rig.store.before["history"] = meet.wait
    rig.index.before["search"] = meet.wait

    rig.build("cat")


class IndexThatLooksAhead(MemoryVectorIndex):
    """Says that a prefetch helps, until there was one."""

    def __init__(self, spec: IndexSpec) -> None:
        super().__init__(spec)
        self.prefetch_due = {"u"}
        self.ahead: Callable[[], object] = bool

    def _is_prefetch_due(self, user_id: str) -> bool:
        return user_id in self.prefetch_due

    def _prefetch(self, op: Any, user_id: str) -> None:
        op.add(Units(read=1, requests=1))
        self.ahead()
        self.prefetch_due.discard(user_id)


def test_what_searches_begin_with_is_read_while_the_query_is_embedded(new_rig: Any) -> None:
    """V8: each waits until the other has begun; not when nothing is due."""
    index = IndexThatLooksAhead(IndexSpec(64))
    rig = new_rig(index=index)
    (said,) = rig.say("a cat", session_id="old")
    meet = threading.Barrier(2, timeout=10)
    index.ahead = meet.wait

    def embed() -> Any:
        meet.wait()
        return rig.embedder.inner.embed_query("cat")

    rig.embedder.instead = embed
    first = rig.build("cat")
    second = rig.build("cat")

    assert [memory.id for memory in first.memories] == [said.id]
    assert first.memories == second.memories
    assert (first.units, second.units) == (Units(read=1, requests=1), Units())


def test_a_prefetch_that_fails_fails_the_build(new_rig: Any) -> None:
    """V8: as the search would."""
    index = IndexThatLooksAhead(IndexSpec(64))

    def fail() -> None:
        raise UnavailableError("as planned")

    index.ahead = fail
    with pytest.raises(UnavailableError, match="as planned"):
        new_rig(index=index).build("cat")


def test_more_callers_than_threads_are_all_served(rig: Any) -> None:
    rig.say("a cat", session_id="old")
    meet = threading.Barrier(32, timeout=20)
    contexts: list[Any] = []

    def build() -> None:
        meet.wait()
        contexts.extend(rig.build("cat") for _ in range(10))

    threads = [threading.Thread(target=build) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(contexts) == 320
    assert all(len(context.memories) == 1 for context in contexts)
    assert rig.engine.get_performance_metrics()["context_builds"] == 320


class BusyPool:
    """All threads of a pool, held until the block ends."""

    def __init__(self, side_by_side: SideBySide) -> None:
        self._side_by_side = side_by_side
        self._begun = threading.Semaphore(0)
        self._release = threading.Event()

    def __enter__(self) -> None:
        self._callers = [threading.Thread(target=self._call) for _ in range(8)]
        for caller in self._callers:
            caller.start()
        for _ in self._callers:
            assert self._begun.acquire(timeout=20)

    def __exit__(self, *error: object) -> None:
        self._release.set()
        for caller in self._callers:
            caller.join()

    def _call(self) -> None:
        self._side_by_side.run(self._hold, bool)

    def _hold(self) -> None:
        self._begun.release()
        self._release.wait(20)


def test_a_caller_reads_itself_when_no_thread_is_free() -> None:
    side_by_side = SideBySide()

    with BusyPool(side_by_side):
        left, right = side_by_side.run(threading.get_ident, threading.get_ident)

    assert left == right == threading.get_ident()
    side_by_side.close()


def test_what_cannot_be_used_any_more_is_not_begun() -> None:
    side_by_side = SideBySide()
    begun: list[int] = []

    def fail() -> None:
        raise UnavailableError("down")

    with BusyPool(side_by_side), pytest.raises(UnavailableError):
        side_by_side.run(lambda: begun.append(1), fail)

    side_by_side.close()
    assert not begun


FORK = """
import os, sys
from ialstore import IndexSpec
from ialstore.context import ContextEngine
from ialstore.embedding import HashingEmbedder
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

engine = ContextEngine(
    MemoryConversationStore(),
    MemoryVectorIndex(IndexSpec(64)),
    HashingEmbedder(dimension=64),
)
engine.save("u", "old", "user", "a cat")
engine.build_context("cat", "u", "s")
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
engine.save("u", "s", "user", "hello")
context = engine.build_context("cat", "u", "s")
assert len(context.recent) == len(context.memories) == 1
assert engine.get_performance_metrics()["context_builds"] == 2
engine.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_builds_and_saves_with_threads_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        cwd=tmp_path,
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


# -- figures ------------------------------------------------------------------------------------


def test_figures_of_an_unused_engine_are_zero(rig: Any) -> None:
    figures = rig.engine.get_performance_metrics()

    assert set(figures) >= {
        "avg_context_build_ms",
        "p95_context_build_ms",
        "avg_embedding_search_ms",
        "p95_embedding_search_ms",
        "cache_hit_rate",
        "read_units",
        "write_units",
        "memory_bytes_per_session",
    }
    assert set(figures.values()) == {0.0}
    assert all(type(value) is float for value in figures.values())


def test_figures_tell_times_and_units(billed: Any) -> None:
    billed.say("a cat", "a dog")
    contexts = [billed.build("cat") for _ in range(20)]
    last = billed.build("?")

    figures = billed.engine.get_performance_metrics()

    times = sorted(context.timings.total_ms for context in [*contexts, last])
    searches = sorted(one.timings.embed_ms + one.timings.search_ms for one in contexts)
    assert figures["avg_context_build_ms"] == pytest.approx(sum(times) / 21)
    assert figures["p95_context_build_ms"] == times[19]
    assert figures["avg_embedding_search_ms"] == pytest.approx(sum(searches) / 20)
    assert figures["p95_embedding_search_ms"] == searches[18]
    assert figures["context_builds"] == 21
    assert figures["read_units"] == 21 * 2.5 + 20 * 0.5
    assert figures["write_units"] == 2
    assert figures["cache_hit_rate"] == 0.75


def test_timings_tell_the_parts_of_a_build(rig: Any) -> None:
    rig.say("a cat", session_id="old")

    timings = rig.build("cat").timings

    assert min(timings.store_ms, timings.embed_ms, timings.search_ms) > 0
    assert max(timings.store_ms, timings.embed_ms + timings.search_ms) < timings.total_ms
    assert rig.build("").timings.search_ms == 0


def test_memory_is_counted_by_live_session(rig: Any) -> None:
    def figure() -> float:
        value: float = rig.engine.get_performance_metrics()["memory_bytes_per_session"]
        return value

    rig.say("a cat")
    rig.build("cat")
    one = figure()
    assert one > rig.index.held_bytes

    rig.say("a dog", session_id="other")
    two = figure()
    assert 0 < two < one

    rig.clock.advance(20 * 60)
    rig.build("cat", session_id="third")
    assert figure() < two
    rig.clock.advance(20 * 60)
    assert figure() > two, "two sessions are no longer live"
    rig.clock.advance(20 * 60)
    assert figure() == 0


def test_a_build_for_an_unknown_user_is_a_live_session_too(rig: Any) -> None:
    rig.build("cat", session_id=None)

    assert rig.engine.get_performance_metrics()["memory_bytes_per_session"] > 0


def test_the_engine_remembers_a_bounded_number_of_sessions(rig: Any) -> None:
    for i in range(10_050):
        rig.build("", session_id=str(i))
    first = rig.engine.get_performance_metrics()["memory_bytes_per_session"]
    for i in range(10_050, 10_100):
        rig.build("", session_id=str(i))

    assert rig.engine.get_performance_metrics()["memory_bytes_per_session"] == pytest.approx(
        first, rel=0.01
    )


# -- the end ------------------------------------------------------------------------------------


def test_closing_closes_the_store_and_the_index(any_rig: Any) -> None:
    any_rig.say("a cat")
    any_rig.build("cat")

    any_rig.engine.close()
    any_rig.engine.close()

    calls: list[Callable[[], Any]] = [
        lambda: any_rig.build("cat"),
        lambda: any_rig.engine.save("u", "s", "user", "hello"),
        lambda: any_rig.store.history("u"),
        lambda: any_rig.index.count("u"),
    ]
    for call in calls:
        with pytest.raises(StoreNotReadyError):
            call()


def test_the_index_is_closed_although_the_store_fails_to(new_rig: Any) -> None:
    class Stuck(MemoryVectorIndex):
        def _close(self) -> None:
            raise UnavailableError("stuck")

    rig = new_rig(None, Stuck(IndexSpec(64)))

    with pytest.raises(UnavailableError, match="stuck"):
        rig.engine.close()
    with pytest.raises(StoreNotReadyError):
        rig.store.history("u")
