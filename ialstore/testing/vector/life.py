"""An index's own life: opening and closing, forks, deadlines, events."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ialstore import events
from ialstore.capabilities import VectorCapabilities
from ialstore.cost import Units, meter
from ialstore.errors import (
    DeadlineExceededError,
    IalStoreError,
    LockedError,
    Outcome,
    StoreNotReadyError,
    UnsupportedOperationError,
)
from ialstore.events import OperationEvent
from ialstore.operation import deadline
from ialstore.testing.vector.base import (
    USER,
    Fill,
    MakeRecord,
    OpenIndex,
    VectorSuiteBase,
    X,
    assert_refused,
    wide,
)
from ialstore.testing.vector.oracle import Oracle, all_ids
from ialstore.vector import VectorIndex
from ialstore.vector_model import VectorRecord, Where

__all__ = ["LifeChapter"]


def writes_of(index: VectorIndex, record: VectorRecord) -> dict[str, Callable[[], object]]:
    """Return every call that writes, by its name."""
    return {
        "upsert": lambda: index.upsert(USER, [record]),
        "bulk_load": lambda: index.bulk_load([(USER, record)]),
        "delete": lambda: index.delete(USER, [record.id]),
        "delete_session": lambda: index.delete_session(USER, "s1"),
        "erase": lambda: index.erase(USER),
        "optimize": lambda: index.optimize(USER),
        "setup": index.setup,
    }


def reads_of(index: VectorIndex, record: VectorRecord) -> dict[str, Callable[[], object]]:
    """Return every call that reads, by its name."""
    calls: dict[str, Callable[[], object]] = {
        "search": lambda: index.search(USER, X),
        "get": lambda: index.get(USER, [record.id]),
        "count": lambda: index.count(USER),
        "ids": lambda: index.ids(USER),
        "check": index.check,
    }
    if index.capabilities.users:
        calls["users"] = index.users
    return calls


def in_a_child(work: Callable[[], object]) -> bool:
    """Return whether a forked child, which ends at once behind it, does this without an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:  # pragma: no cover - coverage does not follow it
        status = 1
        signal.alarm(10)  # ends a child that hangs
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent's tests must not go on in the child
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


class LifeChapter(VectorSuiteBase):
    """S15, C3, E1 and E3."""

    def test_a_closed_index_refuses_every_call(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """S15: a later call raises `StoreNotReadyError`; `close` is idempotent."""
        one = record()
        index.upsert(USER, [one])
        with index as same:
            assert same is index
        index.close()
        calls = writes_of(index, one) | reads_of(index, one)
        calls |= {
            "upsert ": lambda: index.upsert(USER, []),
            "get ": lambda: index.get(USER, []),
            "delete ": lambda: index.delete(USER, []),
        }
        for name, call in calls.items():
            error = assert_refused(StoreNotReadyError, call, f"S15: {name} after close")
            assert getattr(error, "operation", None) == name.strip()

    def test_what_was_acknowledged_is_there_after_reopening(
        self, index: VectorIndex, open_index: OpenIndex, record: MakeRecord
    ) -> None:
        """C4, S15: with `capabilities.durable`."""
        if not index.capabilities.durable:
            pytest.skip("capabilities.durable is false")
        given = [record(wide(1.0, n), text=str(n)) for n in range(30)]
        index.upsert(USER, given[:20])
        index.bulk_load((USER, one) for one in given[20:])
        index.search(USER, X)
        index.upsert(USER, [record(wide(5.0), id=given[3].id, text="replaced")])
        index.close()
        again = open_index()
        assert all_ids(again) == [one.id for one in given]
        assert again.get(USER, [given[3].id])[0].text == "replaced"
        assert again.check() == []
        Oracle.of(again).search(X, 20)
        again.delete(USER, [given[0].id])
        again.close()
        third = open_index()
        assert all_ids(third) == [one.id for one in given[1:]]
        Oracle.of(third).search(X, 20)

    def test_what_was_acknowledged_is_there_though_nobody_closed_it(
        self, index: VectorIndex, open_index: OpenIndex, record: MakeRecord
    ) -> None:
        """C1, C4: with `capabilities.multi_process`, another handle sees it at once."""
        if not index.capabilities.multi_process:
            pytest.skip("capabilities.multi_process is false")
        other = open_index()
        for turn in range(1, 6):
            writer, looker = (index, other) if turn % 2 else (other, index)
            one = record(wide(1.0, turn), text=str(turn))
            writer.upsert(USER, [one])
            assert looker.count(USER) == turn
            assert looker.get(USER, [one.id])[0].text == str(turn)
            Oracle.of(looker).search(X)
            Oracle.of(writer).search(X)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_what_was_acknowledged_outlives_its_process(
        self, open_index: OpenIndex, capabilities: VectorCapabilities, record: MakeRecord
    ) -> None:
        """C4, S15: with `capabilities.durable`, though nobody closed the index."""
        if not capabilities.durable:
            pytest.skip("capabilities.durable is false")
        if not capabilities.writable:  # pragma: no cover - none of ours is durable and so
            pytest.skip("capabilities.writable is false: this test writes")
        given = [record(wide(1.0, n), text=str(n)) for n in range(30)]

        def write() -> None:  # pragma: no cover - a child, which ends without a word
            index = open_index()
            index.upsert(USER, given[:20])
            index.bulk_load((USER, one) for one in given[20:])
            index.delete(USER, [given[0].id])

        assert in_a_child(write), "S15: the child could not write"
        index = open_index()
        assert all_ids(index) == [one.id for one in given[1:]], "C4: acknowledged, and lost"
        Oracle.of(index).search(X, 20)

    def test_a_read_only_index_refuses_every_write(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """W3: without `capabilities.writable`, `setup` included; reads answer."""
        if reader.capabilities.writable:
            pytest.skip("capabilities.writable is true")
        one = record()
        fill(reader, [one])
        for name, call in writes_of(reader, record()).items():
            assert_refused(UnsupportedOperationError, call, f"W3: {name} of a read-only index")
        for call in reads_of(reader, one).values():
            call()
        assert all_ids(reader) == [one.id]

    def test_a_deadline_that_is_over_ends_every_call(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """C3, C4: with the outcome."""
        one = record()
        index.upsert(USER, [one])
        for name, call in (writes_of(index, record()) | reads_of(index, one)).items():
            with deadline(1e-9):
                error = assert_refused(DeadlineExceededError, call, f"C3: {name}, too late")
            assert isinstance(error, IalStoreError)
            assert (error.operation, error.backend) == (name, index.backend)
            assert error.outcome in (Outcome.NOT_APPLIED, Outcome.UNKNOWN)
        assert all_ids(index) == [one.id]

    def test_a_long_deadline_changes_nothing(self, index: VectorIndex, record: MakeRecord) -> None:
        """C3: set by `with deadline(seconds)`, also nested."""
        one = record()
        with deadline(60), deadline(30):
            for call in (reads_of(index, one) | writes_of(index, one)).values():
                call()

    def test_every_call_emits_one_event(self, index: VectorIndex, record: MakeRecord) -> None:
        """E3, W1: from the outermost layer, without texts or ids of users."""
        heard: list[OperationEvent] = []
        everywhere: list[OperationEvent] = []
        one = record(text="zanzibar")
        calls = {"upsert": lambda: index.upsert(USER, [one])} | reads_of(index, one)
        calls |= {name: call for name, call in writes_of(index, one).items() if name not in calls}
        index.subscribe(heard.append)
        end = events.subscribe(everywhere.append)
        try:
            for call in calls.values():
                call()
        finally:
            end()
        assert [event.operation for event in heard] == list(calls)
        assert everywhere == heard
        strongest = "strong" if index.capabilities.strong_reads else "eventual"
        for event in heard:
            assert (event.kind, event.backend, event.error) == ("vector", index.backend, None)
            if event.operation in ("search", "get", "count", "ids"):
                assert event.consistency == strongest
            assert "zanzibar" not in repr(event)
            assert USER not in repr(event.details)
        items = {event.operation: event.items for event in heard}
        assert [items[name] for name in ("upsert", "get", "count", "ids")] == [1, 1, 1, 1]

    def test_a_meter_sums_what_calls_used(self, index: VectorIndex, record: MakeRecord) -> None:
        """E3, W4: units of the events, also in nested meters."""
        heard: list[OperationEvent] = []
        index.subscribe(heard.append)
        with meter() as outer:
            index.upsert(USER, [record()])
            with meter() as inner:
                index.search(USER, X)
        assert inner.units == heard[1].units
        assert outer.units == heard[0].units + heard[1].units
        assert isinstance(outer.units, Units)

    def test_errors_can_be_pickled(self, reader: VectorIndex) -> None:
        """E1: they travel between processes."""
        most = reader.capabilities.max_k
        for call in (
            lambda: reader.search(USER, X[:-1]),
            lambda: reader.search(USER, X, most + 1),
            lambda: reader.search(USER, X, where=Where(roles=[])),
            lambda: reader.ids(USER, cursor="x"),
        ):
            error = assert_refused(IalStoreError, call, "E2: invalid input")
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made right here
            assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))

    def test_close_waits_for_running_calls(self, index: VectorIndex, record: MakeRecord) -> None:
        """S15: `close` waits for running calls."""
        given = [record() for _ in range(50)]
        begun = threading.Event()

        def slowly() -> Iterator[tuple[str, VectorRecord]]:
            for place, one in enumerate(given):
                if place == 30:
                    begun.set()
                    while not index._closed:  # noqa: SLF001 - nothing public tells that it began
                        time.sleep(0)
                yield USER, one

        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(index.bulk_load, slowly())
            assert begun.wait(10)
            index.close()
            assert loading.result(10).written == 50

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child_may_use_the_index(self, index: VectorIndex, record: MakeRecord) -> None:
        """S15: a forked child opens its own connections."""
        parent, child, after = record(text="parent"), record(text="child"), record(text="after")
        index.upsert(USER, [parent])
        index.search(USER, X)

        def use() -> None:  # pragma: no cover - a child, which ends without a word
            try:
                index.upsert(USER, [child])
                assert all_ids(index) == [parent.id, child.id]
                Oracle.of(index).search(X)
                index.close()
            except LockedError:  # where one process at a time may use it, the child is kept out
                if index.capabilities.multi_process:
                    raise

        assert in_a_child(use), "S15: the child could not use the index"
        index.upsert(USER, [after])
        shared = [child.id] if index.capabilities.multi_process else []
        assert all_ids(index) == [parent.id, *shared, after.id]
        Oracle.of(index).search(X)
        assert index.check() == []
