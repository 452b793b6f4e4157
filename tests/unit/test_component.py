"""The frame around every call: opening, translating, counting, closing, forking."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Unpack

import pytest

from ialstore import (
    Consistency,
    DeadlineExceededError,
    IalStoreError,
    InvalidInputError,
    Outcome,
    StoreNotReadyError,
    ThrottledError,
    UnavailableError,
    Units,
    UnsupportedOperationError,
    deadline,
    events,
    meter,
)
from ialstore.capabilities import Capabilities
from ialstore.component import Component, StoreSettings, no_progress, utc_now
from ialstore.events import OperationEvent
from ialstore.operation import Operation

Act = Callable[[Operation], object]


class Thing(Component):
    """A component whose calls do what a test says."""

    KIND: ClassVar[str] = "thing"
    SCHEME: ClassVar[str] = "probe"

    def __init__(
        self,
        act: Act = lambda _: None,
        *,
        can: Capabilities | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        super().__init__(**settings)
        self.act = act
        self.can = can or Capabilities()
        self.closed = 0

    @property
    def capabilities(self) -> Capabilities:
        return self.can

    def _check(self, op: Operation) -> list[str]:
        self.act(op)
        return ["done"]

    def _close(self) -> None:
        self.closed += 1

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return UnavailableError("no answer") if isinstance(error, OSError) else None

    def read(self, consistency: Consistency | str | None = None) -> Consistency:
        return self._reading(consistency)

    def inner(self, op: Operation, act: Act) -> None:
        with self._translating(op):
            act(op)


class Plain(Component):
    """A component that writes no hook."""

    KIND: ClassVar[str] = "thing"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()


def raising(error: BaseException) -> Act:
    def act(_: Operation) -> None:
        raise error

    return act


def listening(thing: Component) -> list[OperationEvent]:
    heard: list[OperationEvent] = []
    thing.subscribe(heard.append)
    return heard


def test_a_driver_error_is_translated_and_named() -> None:
    """E1: always `raise ... from cause`, with backend and operation."""
    cause = OSError("connection reset")
    with pytest.raises(UnavailableError, match="no answer") as caught:
        Thing(raising(cause)).check()

    assert caught.value.__cause__ is cause
    assert (caught.value.backend, caught.value.operation) == ("probe", "check")


def test_an_error_of_ours_passes_and_is_named() -> None:
    cause = OSError()
    error = ThrottledError("slow down", retryable=True)
    error.__cause__ = cause
    with pytest.raises(ThrottledError) as caught:
        Thing(raising(error)).check()

    assert caught.value is error
    assert (error.backend, error.operation, error.__cause__) == ("probe", "check", cause)


def test_an_error_that_is_named_already_keeps_its_names() -> None:
    error = ThrottledError("slow down", backend="redis", operation="get")
    with pytest.raises(ThrottledError):
        Thing(raising(error)).check()
    assert (error.backend, error.operation) == ("redis", "get")


@pytest.mark.parametrize(
    "error", [KeyError("x"), KeyboardInterrupt(), SystemExit(2), GeneratorExit()]
)
def test_what_is_no_driver_error_passes_unchanged(error: BaseException) -> None:
    thing = Thing(raising(error))
    heard = listening(thing)
    with pytest.raises(type(error)) as caught:
        thing.check()

    assert caught.value is error
    assert [one.error for one in heard] == [type(error).__name__]
    thing.close()
    assert thing.closed == 1, "a call that was cut off no longer counts as running"


def test_each_layer_translates_at_its_border() -> None:
    inner, outer = Thing(), Thing()
    outer.act = lambda op: inner.inner(op, raising(OSError()))
    with pytest.raises(UnavailableError) as caught:
        outer.check()
    assert isinstance(caught.value.__cause__, OSError)

    outer.act = lambda op: inner.inner(op, raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        outer.check()
    outer.act = lambda op: inner.inner(op, lambda _: None)
    assert outer.check() == ["done"]


def test_every_call_emits_one_event() -> None:
    def act(op: Operation) -> None:
        op.note("plan", "table")
        op.items = 3
        op.add(Units(read=1.5))

    thing = Thing(act)
    heard, everywhere = listening(thing), listening(Thing())
    end = events.subscribe(everywhere.append)
    try:
        thing.check()
    finally:
        end()

    (event,) = heard
    assert everywhere == [event]
    assert (event.kind, event.backend, event.operation) == ("thing", "probe", "check")
    assert (event.items, event.error, event.consistency) == (3, None, None)
    assert (event.units, event.details) == (Units(read=1.5), {"plan": "table"})
    assert 0 <= event.seconds < 5


def test_an_event_names_the_error_that_the_caller_sees() -> None:
    thing = Thing(raising(OSError("secret")))
    heard = listening(thing)
    with pytest.raises(UnavailableError):
        thing.check()
    assert [one.error for one in heard] == ["UnavailableError"]
    assert "secret" not in repr(heard)


def test_a_listener_that_raises_breaks_no_call() -> None:
    thing = Thing()

    def fail(event: OperationEvent) -> None:
        raise ValueError(event)

    thing.subscribe(fail)
    assert thing.check() == ["done"]


def test_a_listener_may_close_the_store() -> None:
    thing = Thing()
    thing.subscribe(lambda _: thing.close())
    thing.check()
    assert thing.closed == 1


def test_a_meter_counts_calls_that_fail_too() -> None:
    def act(op: Operation) -> None:
        op.add(Units(requests=1))
        raise OSError

    with meter() as m, pytest.raises(UnavailableError):
        Thing(act).check()
    assert m.units == Units(requests=1)


def test_a_call_that_begins_after_its_deadline_is_refused() -> None:
    """C3: no call outlasts its deadline."""
    thing = Thing(raising(AssertionError("the hook ran")))

    class Late(Thing):
        def late(self) -> None:
            with self._operation("get"):
                raise AssertionError("the call ran")

    late = Late()
    with deadline(1e-9):
        with pytest.raises(DeadlineExceededError) as caught:
            late.late()
        with pytest.raises(DeadlineExceededError):
            thing.check()
    assert (caught.value.backend, caught.value.operation) == ("probe", "get")
    assert caught.value.retryable
    late.close()
    assert late.closed == 1


def test_a_closed_store_refuses_calls() -> None:
    """S15: a later call raises `StoreNotReadyError`; `close` is idempotent."""
    thing = Thing()
    with thing as same:
        assert same is thing
        thing.check()
    thing.close()

    for call in (thing.check, thing.setup):
        with pytest.raises(StoreNotReadyError, match="is closed; open it again") as caught:
            call()
        assert caught.value.backend == "probe"
    assert caught.value.operation == "setup"
    assert thing.closed == 1


def test_close_waits_for_running_calls() -> None:
    """S15: `close` waits for running calls."""
    inside, finish = threading.Event(), threading.Event()
    order: list[str] = []

    def act(_: Operation) -> None:
        inside.set()
        finish.wait(10)
        order.append("call")

    thing = Thing(act)
    calling = threading.Thread(target=thing.check)
    calling.start()
    inside.wait(10)

    def close() -> None:
        thing.close()
        order.append("close")

    closers = [threading.Thread(target=close) for _ in range(3)]
    for closer in closers:
        closer.start()
    while not thing._closed:  # noqa: SLF001 - nothing public tells that close has begun
        time.sleep(0)
    with pytest.raises(StoreNotReadyError):
        thing.check()
    assert thing.closed == 0
    finish.set()
    for thread in (calling, *closers):
        thread.join(10)

    assert order == ["call", "close", "close", "close"]
    assert thing.closed == 1


def test_close_from_within_a_call_does_not_wait_for_it() -> None:
    """S15: a signal handler that closes the store may interrupt one of its calls."""
    thing = Thing()
    seen: list[int] = []

    def act(_: Operation) -> None:
        thing.close()
        thing.close()
        seen.append(thing.closed)
        with pytest.raises(StoreNotReadyError):
            thing.check()

    thing.act = act
    heard = listening(thing)
    assert thing.check() == ["done"]
    assert (seen, thing.closed, len(heard)) == ([0], 1, 1)
    thing.close()
    assert thing.closed == 1


def test_the_last_call_gives_back_what_another_call_closed() -> None:
    """S15: `close` waits for running calls, whoever closes."""
    both = threading.Barrier(2)
    first_ended = threading.Event()
    seen: list[int] = []

    def act(_: Operation) -> None:
        both.wait(10)
        if threading.current_thread().name == "closer":
            thing.close()
        else:
            first_ended.wait(10)
            seen.append(thing.closed)

    thing = Thing(act)
    closer = threading.Thread(target=thing.check, name="closer")
    other = threading.Thread(target=thing.check)
    other.start()
    closer.start()
    closer.join(10)
    first_ended.set()
    other.join(10)
    assert (seen, thing.closed) == ([0], 1)


def test_a_closing_call_that_fails_still_closes() -> None:
    thing = Thing()

    def act(_: Operation) -> None:
        thing.close()
        raise OSError

    thing.act = act
    with pytest.raises(UnavailableError):
        thing.check()
    assert thing.closed == 1


def test_a_failed_call_is_not_repeated() -> None:
    """E4: backends never retry by themselves; the `retry` wrapper does."""
    calls: list[Operation] = []

    def act(op: Operation) -> None:
        calls.append(op)
        raise ThrottledError("slow down", retryable=True)

    with pytest.raises(ThrottledError):
        Thing(act).check()
    assert len(calls) == 1


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_a_long_call_wrote_before_is_in_its_outcome(outcome: Outcome) -> None:
    """C4: an error of one request does not deny the others."""

    def act(op: Operation) -> None:
        op.is_partly_applied = True
        raise ThrottledError("slow down", outcome=outcome)

    with pytest.raises(ThrottledError) as caught:
        Thing(act).check()
    applied = Outcome.PARTIAL if outcome is Outcome.NOT_APPLIED else outcome
    assert caught.value.outcome is applied

    def fail(op: Operation) -> None:
        op.is_partly_applied = True
        raise KeyError

    with pytest.raises(KeyError):
        Thing(fail).check()


def test_calls_and_closes_of_many_threads_meet_no_torn_down_store() -> None:
    """S15: safe from many threads."""
    wrong: list[str] = []

    def look(thing: Thing, _: Operation) -> None:
        if thing.closed:
            wrong.append("torn down")

    for _ in range(20):
        thing = Thing()
        thing.act = partial(look, thing)
        start = threading.Barrier(5)

        def call(thing: Thing = thing, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                for _ in range(100):
                    thing.check()
            except StoreNotReadyError:
                pass

        def close(thing: Thing = thing, start: threading.Barrier = start) -> None:
            start.wait()
            thing.close()

        threads = [threading.Thread(target=call) for _ in range(4)]
        threads.append(threading.Thread(target=close))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert wrong == []
        assert thing.closed == 1


def test_a_read_is_as_strong_as_the_store_can() -> None:
    """C1: the default is the strongest on offer."""
    strong, weak = Thing(), Thing(can=Capabilities(strong_reads=False))
    assert strong.read() is Consistency.STRONG
    assert weak.read() is Consistency.EVENTUAL
    for word in ("eventual", Consistency.EVENTUAL):
        assert strong.read(word) is weak.read(word) is Consistency.EVENTUAL
    assert strong.read("strong") is Consistency.STRONG
    with pytest.raises(UnsupportedOperationError, match="no strongly consistent reads") as caught:
        weak.read(Consistency.STRONG)
    assert caught.value.backend == "probe"


@pytest.mark.parametrize("word", ["", "Strong", 1, [], object()])
def test_any_other_consistency_is_refused(word: Any) -> None:
    with pytest.raises(InvalidInputError, match="consistency must be strong, eventual or None"):
        Thing().read(word)


def test_a_store_that_takes_no_writes_refuses_setup() -> None:
    """W3: `writable` is false, `setup` included."""
    thing = Thing(can=Capabilities(writable=False))
    with pytest.raises(UnsupportedOperationError, match="setup: this probe store is read-only"):
        thing.setup()
    assert thing.check() == ["done"]


def test_hooks_have_defaults() -> None:
    plain = Plain()
    plain.setup()
    assert plain.check() == []
    assert plain.held_bytes == 0
    with pytest.raises(KeyError), plain:
        raise KeyError
    with pytest.raises(StoreNotReadyError):
        plain.check()


def test_a_component_without_a_translation_lets_errors_pass() -> None:
    class Broken(Plain):
        def _check(self, op: Operation) -> list[str]:
            raise OSError("driver")

    with pytest.raises(OSError, match="driver"):
        Broken().check()


def test_settings_are_those_given() -> None:
    def clock() -> datetime:
        return datetime(2024, 1, 1, tzinfo=UTC)

    thing = Thing(clock=clock, timeout_seconds=2, retention_days=0.5)
    assert thing.settings == {"clock": clock, "timeout_seconds": 2, "retention_days": 0.5}

    seen: list[object] = []
    thing.act = lambda op: seen.extend((op.now, op.remaining() <= 2))
    thing.check()
    assert seen == [int(clock().timestamp()), True]


@pytest.mark.parametrize("name", ["timeout_seconds", "retention_days"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 10**8, "5"])
def test_a_setting_that_is_no_span_of_time_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be a number above 0"):
        Thing(**{name: value})


def test_a_store_needs_a_timeout_but_no_retention() -> None:
    with pytest.raises(InvalidInputError, match="timeout_seconds"):
        Thing(timeout_seconds=None)  # type: ignore[arg-type]  # what a config might hold
    Thing(retention_days=None)


def test_the_default_clock_is_utc_now() -> None:
    assert abs(datetime.now(UTC) - utc_now()) < timedelta(seconds=5)
    assert utc_now().tzinfo is UTC
    no_progress(1, None)


FORK = """
import os, sys, threading
from ialstore import StoreNotReadyError
from test_component import Thing

class Forking(Thing):
    forgotten = 0
    def _after_fork(self):
        self.forgotten += 1

inside, finish = threading.Event(), threading.Event()
def wait(op):
    inside.set()
    finish.wait(10)
busy = Forking(wait)
calling = threading.Thread(target=busy.check)
calling.start()
inside.wait(10)

def fork(op):
    global child
    with busy._idle:  # as another thread might hold it
        child = os.fork()
forking = Forking(fork)
forking.check()
if child:
    finish.set()
    calling.join()
for store in (busy, forking):
    if not child:
        assert store.forgotten == 1
        store.act = lambda op: None
        store.check()
    store.close()
    assert store.closed == 1
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_wait_for_calls_of_its_parent() -> None:
    """S15: a forked child opens its own connections."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        cwd=os.path.dirname(__file__),  # noqa: PTH120 - to import this module
        check=True,
        timeout=30,
    )
