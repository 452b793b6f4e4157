"""``shadow``: what a second store would have answered, and nothing that a caller could notice."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ialstore import (
    ConversationStore,
    IndexSpec,
    InvalidInputError,
    UnavailableError,
    VectorIndex,
    VectorRecord,
    open_engine,
    open_store,
)
from ialstore.events import OperationEvent
from ialstore.exporters.amounts import amounts
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper
from ialstore.wrappers.shadow import (
    ShadowConversationStore,
    ShadowOptions,
    ShadowReport,
    ShadowVectorIndex,
    shadow_report,
)
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from tests.migrate.stores import SPEC, Coarse, message, messages, record, records

ALWAYS = ShadowOptions(url="memory:", share=1)


class Slow(ConversationWrapper):
    """A store whose histories wait until they are let go."""

    def __init__(self, inner: ConversationStore) -> None:
        super().__init__(inner)
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def _history(self, op: Any, query: Any) -> Any:
        self.asked.set()
        assert self.let_go.wait(10)
        return super()._history(op, query)


class Failing(ConversationWrapper):
    """A store that fails, with an error of ours or of a driver."""

    def __init__(self, error: Exception) -> None:
        super().__init__(MemoryConversationStore())
        self.error = error

    def _around(self, op: Any, call: Any) -> Any:
        raise self.error


def shadowed(
    shadow: ConversationStore | None = None, options: ShadowOptions = ALWAYS
) -> tuple[ShadowConversationStore, ConversationStore, ConversationStore]:
    """Return a store with a shadow, and the two."""
    first, second = MemoryConversationStore(), shadow or MemoryConversationStore()
    return ShadowConversationStore(first, options, shadow=second), first, second


def shadowed_index(
    shadow: VectorIndex | None = None, spec: IndexSpec = SPEC
) -> tuple[ShadowVectorIndex, VectorIndex, VectorIndex]:
    """Return an index with a shadow, and the two."""
    first, second = MemoryVectorIndex(spec), shadow or MemoryVectorIndex(spec)
    return ShadowVectorIndex(first, ALWAYS, shadow=second), first, second


def ask_everything(store: ConversationStore) -> None:
    store.get("u", [message(n).id for n in range(5)])
    store.history("u", limit=2)
    store.summaries("u", session_id="s1")
    store.sessions("u")


def test_equal_stores_are_found_equal() -> None:
    store, first, second = shadowed()
    for one in (first, second):
        one.append(*messages(5))
    ask_everything(store)
    store.wait()
    report = store.report()
    assert report.avg_ms > 0
    assert replace(report, avg_ms=0) == ShadowReport(compared=4, equal=4)


def test_writes_go_to_the_first_store_alone_and_every_answer_is_its() -> None:
    store, first, second = shadowed()
    store.append(*messages(5))
    assert list(store.history("u")) == list(first.history("u"))
    assert list(second.users()) == []
    ask_everything(store)
    store.wait()
    assert replace(store.report(), avg_ms=0) == ShadowReport(compared=5, differing=5)


@pytest.mark.parametrize("difference", ["replaced", "deleted", "another"])
def test_any_difference_of_conversations_is_found(difference: str) -> None:
    store, first, second = shadowed()
    for one in (first, second):
        one.append(*messages(5))
    if difference == "replaced":
        second.replace(message(4, summary="newer"))
    elif difference == "deleted":
        second.delete("u", [message(4).id])
    else:
        second.append(message(7))
    store.history("u")
    store.wait()
    assert store.report().differing == 1


def test_what_changed_in_the_first_store_meanwhile_is_no_difference() -> None:
    slow = Slow(MemoryConversationStore())
    store, _, _ = shadowed(slow)
    store.history("u")
    assert slow.asked.wait(10)
    store.append(message(1))  # as through a dual wrapper
    slow.append(message(1))
    slow.let_go.set()
    store.wait()
    report = store.report()
    assert (report.compared, report.changed, report.differing) == (1, 1, 0)


def test_when_sessions_were_active_is_compared_as_exactly_as_it_is_known() -> None:
    class Inexact(MemoryConversationStore):
        precision = timedelta(seconds=1)

        @property
        def capabilities(self) -> Any:
            return replace(super().capabilities, activity_precision=self.precision)

    shadow = Inexact()
    store, first, _ = shadowed(shadow)
    first.append(message(0), message(3))
    shadow.append(message(0))
    store.sessions("u")
    store.wait()
    assert store.report().differing == 1
    shadow.precision = timedelta(seconds=3)
    store.sessions("u")
    store.wait()
    assert store.report().equal == 1


def test_only_a_share_is_compared() -> None:
    numbers = iter([0.0, 0.09, 0.1, 0.5, 0.05])
    store = ShadowConversationStore(
        MemoryConversationStore(),
        ShadowOptions(url="memory:"),
        chance=lambda: next(numbers),
    )
    for _ in range(5):
        store.history("u")
    store.wait()
    assert store.report().compared == 3


def test_a_shadow_that_is_slow_slows_nobody_and_what_is_too_much_is_dropped() -> None:
    slow = Slow(MemoryConversationStore())
    store, _, _ = shadowed(slow, ShadowOptions(url="memory:", share=1, queue=2, threads=1))
    store.history("u")
    assert slow.asked.wait(10)
    began = time.monotonic()
    for _ in range(5):
        store.history("u")
    assert time.monotonic() - began < 5
    assert store.report().dropped == 3
    slow.let_go.set()
    store.wait()
    assert store.report().compared == 3


def test_closing_drops_what_waits_and_ends_the_threads() -> None:
    before = set(threading.enumerate())
    slow = Slow(MemoryConversationStore())
    store, _, _ = shadowed(slow, ShadowOptions(url="memory:", share=1, threads=2))
    for _ in range(6):
        store.history("u")
    assert slow.asked.wait(10)
    slow.let_go.set()
    store.close()
    assert store.report().compared <= 6
    assert set(threading.enumerate()) <= before
    store.close()


@pytest.mark.parametrize("error", [UnavailableError("down"), ZeroDivisionError()], ids=repr)
def test_a_shadow_that_fails_fails_nobody(error: Exception) -> None:
    store, _, _ = shadowed(Failing(error))
    store.append(message(1))
    assert list(store.history("u")) == [message(1)]
    store.wait()
    assert replace(store.report(), avg_ms=0) == ShadowReport(failed=1)


def test_the_events_of_later_calls_tell_what_was_found() -> None:
    index, first, second = shadowed_index()
    for one in (first, second):
        one.upsert("u", records(4))
    second.delete("u", [record(0).id])
    events: list[OperationEvent] = []
    index.subscribe(events.append)
    index.search("u", record(0).vector, k=2)
    index.wait()
    index.count("u")
    index.wait()
    index.ids("u")
    found = [
        {name: amount for name, amount in amounts(event).items() if name.startswith("shadow")}
        for event in events
        if event.items is not None
    ]
    told = {
        "shadow_compared": 1,
        "shadow_differing": 1,
        "shadow_searches": 1,
        "shadow_recall": 0.5,
    }
    assert {} in found
    assert told in found
    assert {"shadow_compared": 1, "shadow_differing": 1} in found


def test_the_report_is_found_behind_other_wrappers_and_in_the_engine(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    shadow = {"use": "shadow", "url": url, "share": 1}
    config: Any = {
        "conversation": {"url": f"sqlite:///{tmp_path}/old.db", "wrap": ["retry", shadow]},
        "vector": {"wrap": ["retry", shadow]},
    }
    with open_store(config) as store:
        store.history("u")
        layer: Any = store
        layer.inner.wait()
        assert shadow_report(store).equal == 1
    with open_engine(config) as engine:
        engine.save("u", "s", "user", "hello world")
        layers: list[Any] = [engine.store, engine.index]
        for _ in range(2):
            engine.build_context("hello", "u", "other")
            for one in layers:
                one.inner.wait()
        metrics = engine.get_performance_metrics()
    assert metrics["shadow_compared"] >= 2
    assert metrics["shadow_differing"] >= 1
    assert metrics["shadow_recall"] == 0
    with pytest.raises(InvalidInputError, match="no wrapper shadow"):
        shadow_report(MemoryConversationStore())


# -- recall --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_the_recall_of_a_search_is_the_share_of_what_the_first_index_found(metric: str) -> None:
    index, first, second = shadowed_index(spec=replace(SPEC, metric=metric))
    for one in (first, second):
        one.upsert("u", records(30))
    asked = record(99).vector
    best = [hit.id for hit in first.search("u", asked, k=10)]
    index.search("u", asked, k=10)
    index.wait()
    second.delete("u", best[:3])
    index.search("u", asked, k=10)
    index.wait()
    report = index.report()
    assert (report.compared, report.equal, report.searches) == (2, 1, 2)
    assert report.recall == pytest.approx(0.85)
    assert report.lowest_recall == pytest.approx(0.7)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_which_of_equals_is_found_costs_no_recall(metric: str) -> None:
    """V4: which of equals stand at place k is open."""
    index, first, second = shadowed_index(spec=replace(SPEC, metric=metric))
    twins = [replace(record(n), vector=record(1).vector) for n in range(6)]
    first.upsert("u", twins)
    second.upsert("u", twins[3:])
    index.search("u", record(2).vector, k=3)
    index.wait()
    assert index.report().recall == 1.0
    first.upsert("u", [replace(one, vector=-record(1).vector) for one in twins[3:]])
    index.search("u", record(1).vector, k=3)
    index.wait()
    assert index.report().lowest_recall == 0  # its vectors are old, whatever scores it gives them


def test_what_the_first_index_does_not_hold_is_no_hit_and_nothing_is_found_in_nothing() -> None:
    index, first, second = shadowed_index()
    index.search("u", record(1).vector)
    index.wait()
    assert (index.report().recall, index.report().equal) == (1.0, 1)
    first.upsert("u", records(2))
    second.upsert("u", [*records(1), *(record(n) for n in range(5, 8))])
    index.search("u", record(0).vector, k=2)
    index.wait()
    assert index.report().lowest_recall == 0.5


def test_a_shadow_that_rounds_is_measured_and_counts_the_same() -> None:
    index, first, second = shadowed_index(Coarse(SPEC))
    for one in (first, second):
        one.upsert("u", records(50))
    assert index.count("u") == 50
    assert len(index.ids("u")) == 50
    for number in range(20):
        index.search("u", record(100 + number).vector, k=5)
        index.wait()
    report = index.report()
    assert report.searches == 20
    assert 0.9 < report.recall <= 1
    assert report.compared == 22


def test_a_search_of_an_index_that_changed_meanwhile_measures_nothing() -> None:
    class Waiting(VectorWrapper):
        go = threading.Event()

        def _search(self, op: Any, query: Any) -> Any:
            assert self.go.wait(10)
            return super()._search(op, query)

    waiting = Waiting(MemoryVectorIndex(SPEC))
    index, first, _ = shadowed_index(waiting)
    for one in (first, waiting):
        one.upsert("u", records(3))
    index.search("u", record(1).vector, k=1)
    for one in (first, waiting):
        one.delete("u", [record(1).id])
    waiting.go.set()
    index.wait()
    report = index.report()
    assert replace(report, avg_ms=0) == ShadowReport(compared=1, changed=1)


# -- the whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"share": -0.1}, {"share": 1.1}, {"queue": 0}, {"threads": 0}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        ShadowOptions(url="memory:", **options)


def test_checks_name_the_shadow_and_never_fail_for_it() -> None:
    store, _, _ = shadowed()
    index, _, _ = shadowed_index()
    assert store.check() == index.check() == []
    failing, _, _ = shadowed(Failing(UnavailableError("down")))
    assert failing.check() == ["the shadow (memory): it can't be checked: UnavailableError"]
    assert store.held_bytes == 0
    assert index.held_bytes == 0


def test_a_forked_child_begins_with_nothing() -> None:
    for one in (shadowed()[0], shadowed_index()[0]):
        if isinstance(one, ShadowConversationStore):
            one.history("u")
        else:
            one.count("u")
        one.wait()
        one._after_fork()  # noqa: SLF001 - what the fork calls
        assert one.report() == ShadowReport()


def test_a_record_of_a_shadow_is_compared_by_its_own_consistency() -> None:
    class Eventual(MemoryVectorIndex):
        @property
        def capabilities(self) -> Any:
            return replace(super().capabilities, strong_reads=False)

    index, _, second = shadowed_index(Eventual(SPEC))
    index.upsert("u", [VectorRecord(message(1).id, [1.0] * 8, "s1", "user")])
    second.upsert("u", [VectorRecord(message(1).id, [1.0] * 8, "s1", "user")])
    index.count("u")
    index.wait()
    assert index.report().equal == 1
