"""One running call: its time, its deadline, and what it used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from ialstore import DeadlineExceededError, InvalidInputError, Units, deadline
from ialstore.operation import Operation, count_from_now, end_of_call, seconds_to_begin
from ialstore_backends.dynamodb import DynamoOptions
from ialstore_backends.dynamodb.client import DynamoClient
from ialstore_backends.dynamodb.parallel import SideBySide


class Monotonic:
    """The time that deadlines count, in the hands of a test."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    monotonic = Monotonic()
    monkeypatch.setattr(time, "monotonic", monotonic)
    return monotonic


class Owner:
    backend = "test"

    def __init__(self) -> None:
        self.seen: list[tuple[str, BaseException | None]] = []

    def _begin(self, op: Operation) -> None:
        self.seen.append(("begin", None))

    def _end(self, op: Operation, error: BaseException | None) -> None:
        self.seen.append(("end", error))


def never() -> datetime:
    raise AssertionError("nobody asked for the time")


def operation(
    *,
    clock: Callable[[], datetime] = never,
    timeout_seconds: float = 5.0,
    renewable: bool = False,
    owner: Owner | None = None,
) -> Operation:
    return Operation(
        owner or Owner(),
        "append",
        consistency=None,
        clock=clock,
        timeout_seconds=timeout_seconds,
        renewable=renewable,
    )


def test_a_call_has_the_timeout_of_its_store(passing: Monotonic) -> None:
    """C3: 5 s unless configured."""
    op = operation(timeout_seconds=2)
    assert op.remaining() == 2
    passing.seconds += 1.5
    assert op.remaining() == 0.5
    passing.seconds += 0.5
    with pytest.raises(DeadlineExceededError, match="append did not end within 2 s") as caught:
        op.remaining()
    assert caught.value.retryable


@pytest.mark.usefixtures("passing")
@pytest.mark.parametrize("seconds", [0.5, 60])
def test_a_deadline_replaces_the_timeout_of_the_store(seconds: float) -> None:
    """C3: set by `with deadline(seconds)`, also to a longer time."""
    with deadline(seconds):
        assert operation().remaining() == seconds
    assert operation().remaining() == 5


def test_calls_inside_a_deadline_share_it(passing: Monotonic) -> None:
    with deadline(3):
        passing.seconds += 2
        assert operation().remaining() == 1
        passing.seconds += 2
        with pytest.raises(DeadlineExceededError, match="within 3 s"):
            operation().remaining()


@pytest.mark.usefixtures("passing")
@pytest.mark.parametrize(("outer", "inner", "left"), [(1, 10, 1), (10, 1, 1)])
def test_an_inner_deadline_never_outlasts_an_outer_one(
    outer: float, inner: float, left: float
) -> None:
    """C3: nested deadlines, for single calls and per request."""
    with deadline(outer):
        with deadline(inner):
            assert operation().remaining() == left
            assert operation(renewable=True).remaining() == left
        assert operation().remaining() == outer
    assert operation().remaining() == 5


def test_a_deadline_may_be_entered_again(passing: Monotonic) -> None:
    span = deadline(1)
    with span:
        passing.seconds += 0.5
        with span:
            assert operation().remaining() == 0.5
        assert operation().remaining() == 0.5
    passing.seconds += 10
    with span:
        assert operation().remaining() == 1
    assert operation().remaining() == 5


@pytest.mark.usefixtures("passing")
def test_a_deadline_ends_when_its_block_raises() -> None:
    with pytest.raises(KeyError), deadline(1):
        raise KeyError
    assert operation().remaining() == 5


def test_threads_may_share_a_deadline_object() -> None:
    span = deadline(100)
    start = threading.Barrier(4)
    left: list[float] = []

    def work() -> None:
        start.wait()
        for _ in range(100):
            with span:
                inside = operation().remaining()
            left.append(inside if operation().remaining() < 6 else 0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(left) == 400
    assert all(90 < seconds <= 100 for seconds in left)


def test_a_deadline_left_in_another_context_harms_nothing() -> None:
    span = deadline(1)
    span.__exit__(None, None, None)
    assert operation().remaining() > 4


@pytest.mark.parametrize("renewable", [True, False])
def test_only_long_calls_renew_their_time(passing: Monotonic, *, renewable: bool) -> None:
    """C3: for some calls the deadline holds per request."""
    op = operation(renewable=renewable)
    passing.seconds += 4
    op.renew()
    assert op.remaining() == (5 if renewable else 1)


def test_a_long_call_takes_the_seconds_of_a_deadline_for_each_request(passing: Monotonic) -> None:
    with deadline(2):
        passing.seconds += 1.5
        op = operation(renewable=True)
        assert op.remaining() == 2
        passing.seconds += 1.5
        op.renew()
        assert op.remaining() == 2


@pytest.mark.parametrize(
    "seconds", [0, -1, float("nan"), float("inf"), 10_000_000, 10**400, "5", None, 1j]
)
def test_a_deadline_takes_a_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(InvalidInputError, match="seconds of a deadline must be a number above 0"):
        deadline(seconds)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799),
    ],
)
def test_now_is_rounded_down_to_whole_seconds(time: datetime, seconds: int) -> None:
    """C2: absent once `now >= expires_at`, and not a microsecond before."""
    assert operation(clock=lambda: time).now == seconds


def test_now_stands_still_throughout_a_call() -> None:
    times = iter([datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)])
    op = operation(clock=lambda: next(times))
    assert op.now == op.now


def test_a_naive_clock_is_refused() -> None:
    """M2: naive times are refused."""
    with pytest.raises(InvalidInputError, match="what the clock returns must be timezone-aware"):
        _ = operation(clock=lambda: datetime(2024, 1, 1)).now  # noqa: DTZ001 - the point


def test_units_add_up_over_threads() -> None:
    op = operation()

    def work() -> None:
        for _ in range(500):
            op.add(Units(read=0.5, requests=1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert op.units == Units(read=1000, requests=2000)


def test_requests_side_by_side_are_one_round_trip() -> None:
    side_by_side = SideBySide(DynamoClient(DynamoOptions()))
    op = operation()

    def requests(number: int) -> None:
        for _ in range(number):
            op.add(Units(requests=1))

    def both() -> None:
        side_by_side.run([partial(requests, 1), partial(requests, 1)])

    requests(1)
    side_by_side.run([partial(requests, 1)])
    side_by_side.run([partial(requests, one) for one in (1, 3, 2)])
    one: Callable[[], None] = partial(requests, 1)
    side_by_side.run([both, one])
    side_by_side.run([one, both])
    requests(2)
    side_by_side.close()
    op.add(Units(read=1))
    side = 1 + 1 + 3
    # `both` runs in this thread first, then in one of the pool, whose calls take turns.
    assert op.round_trips == side + 1 + 2 + 2
    assert op.units.requests == 16
    assert operation().round_trips == 0


def test_requests_of_an_earlier_call_are_no_round_trips_of_the_next() -> None:
    for _ in range(2):
        op = operation()
        op.add(Units(requests=2))
        op.add(Units(requests=1))
        assert op.round_trips == 3


def test_details_are_noted_for_the_event() -> None:
    op = operation()
    op.note("plan", "index")
    op.note("plan", "table")
    op.tally("units_by_partition", "2024-03-01", 0.5)
    op.tally("units_by_partition", "directory", 1)
    op.tally("units_by_partition", "2024-03-01", 2)
    assert op.details == {
        "plan": "table",
        "units_by_partition": {"2024-03-01": 2.5, "directory": 1},
    }


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), GeneratorExit()])
def test_the_owner_hears_of_the_beginning_and_of_any_end(error: BaseException) -> None:
    owner = Owner()
    with operation(owner=owner):
        pass
    with pytest.raises(type(error)) as caught, operation(owner=owner):
        raise error

    assert caught.value is error
    assert owner.seen == [("begin", None), ("end", None), ("begin", None), ("end", error)]


def test_a_timeout_that_began_before_its_call_is_shared_by_the_wait(passing: Monotonic) -> None:
    context = copy_context()
    context.run(count_from_now, 5)
    passing.seconds += 2
    assert context.run(lambda: operation().remaining()) == 3
    assert context.run(lambda: operation(renewable=True).remaining()) == 5
    assert operation().remaining() == 5
    passing.seconds += 3
    with pytest.raises(DeadlineExceededError, match="append did not end within 5 s"):
        context.run(lambda: operation().remaining())


@pytest.mark.usefixtures("passing")
def test_a_deadline_that_is_set_already_is_left_alone() -> None:
    with deadline(60):
        context = copy_context()
    context.run(count_from_now, 5)
    assert context.run(lambda: operation().remaining()) == 60


def test_a_call_may_wait_as_long_as_it_has_time(passing: Monotonic) -> None:
    assert seconds_to_begin(5, renewable=False) == seconds_to_begin(5, renewable=True) == 5
    with deadline(3):
        passing.seconds += 2
        assert seconds_to_begin(5, renewable=False) == 1
        assert seconds_to_begin(5, renewable=True) == 3
        passing.seconds += 2
        assert seconds_to_begin(5, renewable=False) == -1


def test_real_time_passes() -> None:
    op = operation(timeout_seconds=timedelta(hours=1).total_seconds())
    assert 3590 < op.remaining() <= 3600


def test_what_is_no_store_ends_with_its_own_timeout_or_the_deadline(passing: Monotonic) -> None:
    assert end_of_call(5.0) == 1005.0
    with deadline(60), deadline(2):
        passing.seconds += 1
        assert end_of_call(5.0) == 1002.0
    assert end_of_call(5.0) == 1006.0
