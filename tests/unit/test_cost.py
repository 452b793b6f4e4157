"""Units, and the meters that sum them."""

from __future__ import annotations

import threading
from contextvars import copy_context

import pytest

from ialstore import Units, meter
from ialstore.cost import record

ONE = Units(read=1, write=2, requests=3, vector_write_bytes=4, vector_search_bytes=5)


def test_units_add_up_field_by_field() -> None:
    assert Units(2, 4, 6, 8, 10) == ONE + ONE
    assert Units() + ONE == ONE


def test_a_meter_sums_what_is_recorded_inside_its_block() -> None:
    record(ONE)
    with meter() as m:
        assert m.units == Units()
        record(ONE)
        record(ONE)
    record(ONE)
    assert m.units == ONE + ONE


def test_an_outer_meter_counts_what_an_inner_one_counts() -> None:
    with meter() as outer:
        record(ONE)
        with meter() as inner:
            record(ONE)
        record(ONE)
    assert inner.units == ONE
    assert outer.units == ONE + ONE + ONE


def test_a_meter_entered_twice_counts_each_call_once() -> None:
    m = meter()
    with m:
        with m:
            record(ONE)
        record(ONE)
    record(ONE)
    with m:
        record(ONE)
    assert m.units == ONE + ONE + ONE


def test_a_meter_ends_when_its_block_raises() -> None:
    with pytest.raises(KeyError), meter() as m:
        raise KeyError
    record(ONE)
    assert m.units == Units()


def test_threads_that_carry_the_context_are_counted_and_others_are_not() -> None:
    with meter() as m:
        context = copy_context()
        threads = [threading.Thread(target=context.copy().run, args=(record, ONE)) for _ in "abcd"]
        threads.append(threading.Thread(target=record, args=(ONE,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert m.units.requests == 4 * ONE.requests


def test_threads_may_share_a_meter() -> None:
    m = meter()
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(250):
            with m:
                record(ONE)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert m.units.requests == 1000 * ONE.requests
