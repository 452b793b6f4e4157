"""W2: no schedule of readers and writers ends with a stale read, and the checker can tell."""

from __future__ import annotations

from typing import Final

import pytest

from ialstore.caching.protocol import Step, reading, run, writing
from ialstore.errors import Outcome, PartialWriteError, UnavailableError
from tests.caching.naive import NAIVE
from tests.caching.schedules import Design, Search, explore

EVERY_STATE: Final = 200_000
"""Of two writers and two readers that read twice; fewer, and the checker has lost some."""


def shown(found: Search) -> str:
    return "\n".join(found.stale)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("writers", "reads", "at_least"),
    [(1, (2,), 200), (2, (2,), 5_000), (2, (2, 2), EVERY_STATE)],
    ids=["one-writer-one-reader", "two-writers-one-reader", "two-writers-two-readers"],
)
def test_no_read_is_stale_in_any_state(writers: int, reads: tuple[int, ...], at_least: int) -> None:
    found = explore(Design(), writers=writers, reads=reads)
    assert not found.stale, shown(found)
    assert found.states >= at_least


@pytest.mark.parametrize(
    ("writers", "reads"), [(2, (2,)), (1, (1, 1))], ids=["two-writers", "two-readers"]
)
def test_a_state_stands_for_no_more_than_the_names_of_two(
    writers: int, reads: tuple[int, ...]
) -> None:
    merged = explore(Design(), writers=writers, reads=reads)
    apart = explore(Design(), writers=writers, reads=reads, merging=False)
    assert not apart.stale
    assert merged.states < apart.states <= 2 * merged.states


def test_the_checker_runs_the_steps_of_the_library() -> None:
    assert (Design().reading, Design().writing) == (reading, writing)


@pytest.mark.parametrize("name", NAIVE)
def test_a_naive_protocol_is_found_stale(name: str) -> None:
    found = explore(NAIVE[name], writers=2 if name == "write-through" else 1, reads=(2, 2))
    assert found.stale, f"{name}: {found.states:,} states, and no read is stale"
    assert "was there before" in found.stale[-1], shown(found)


def test_the_shortest_schedule_reads_as_a_story() -> None:
    found = explore(NAIVE["a mark, but no lease"], writers=2, reads=(2, 2))
    assert found.stale == (
        "W1: mark",
        "R1: look without a lease, marked",
        "R1: load, version 0",
        "W1: write, version 1",
        "W1: settle",
        "R1: put without a lease, True",
        "R1: look without a lease, value 0: it returns version 0, though 1 was there before",
    )


def test_a_mark_that_ends_before_a_late_write_lands_leaves_a_stale_value() -> None:
    """The one case that the protocol leaves open: docs say for how long."""
    found = explore(Design(early_marks=True), writers=2, reads=(2, 2))
    assert found.stale == (
        "W1: mark",
        "W1 dies in its write",
        "the mark of W1 ends",
        "R1: look, leased",
        "R1: load, version 0",
        "the late write of W1 lands: version 1",
        "R1: fill, True",
        "R1: look, value 0: it returns version 0, though 1 was there before",
    )


ENDS: Final = {
    "not applied": (UnavailableError(), Step.SETTLE),
    "unknown": (UnavailableError(outcome=Outcome.UNKNOWN), Step.SETTLE_IN_DOUBT),
    "in part": (PartialWriteError(stored=["a"], not_stored=["b"]), Step.SETTLE),
    "in part, some unknown": (PartialWriteError(unknown=["a"]), Step.SETTLE_IN_DOUBT),
    "an error of another library": (ValueError(), Step.SETTLE_IN_DOUBT),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_failed_write_is_settled_by_what_became_of_it(name: str) -> None:
    error, settles = ENDS[name]
    steps: list[Step] = []

    def do(step: Step) -> None:
        steps.append(step)
        if step is Step.WRITE:
            raise error

    with pytest.raises(type(error)) as caught:
        run(writing(), do)
    assert caught.value is error
    assert steps == [Step.MARK, Step.WRITE, settles]
