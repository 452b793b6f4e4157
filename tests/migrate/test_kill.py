"""Killed at any step, resumed, run twice at once: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ialstore.migrate import verify
from ialstore.testing.profiles import profile
from tests.faults.ledger import points
from tests.migrate import killed
from tests.migrate.stores import SPEC, held, message, messages, record, records, vectors_held

USERS = ("a", "b")


class Copies:
    """A folder with a source, and copies of it that run in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        self._program = subprocess.Popen(
            [sys.executable, killed.__file__, str(folder)],
            env=kept
            | {
                "OPENBLAS_NUM_THREADS": "1",  # with more, Python warns at the fork
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        store, index = killed.open_both(folder / killed.SOURCE)
        with store, index:
            for user in USERS:
                store.append(*messages(10, user))
                index.upsert(user, records(7, user))

    def close(self) -> None:
        self._program.communicate()

    def run(self, *steps: int) -> list[str]:
        """Copy at the same time, each killed at its step; return how they ended."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(steps) + "\n")
        ended: list[str] = json.loads(self._program.stdout.readline())
        return ended

    def anew(self) -> None:
        """Forget the target and the journal, which hold what the source held before."""
        for one in self._folder.iterdir():
            if not one.name.startswith(killed.SOURCE):
                one.unlink()

    def begin(self) -> None:
        """Give the target a beginning: something missing, changed and deleted at the source."""
        self.anew()
        store, index = killed.open_both(self._folder / killed.TARGET)
        with store, index:
            store.append(*messages(4, "b"))
            store.replace(message(1, "b", content="older"))
            index.upsert("b", [record(1, "b", text="older"), record(2, "b")])

    def broken(self) -> list[str]:
        """Return which user is not on the target as on the source, message for message."""
        found: list[str] = []
        ours = killed.open_both(self._folder / killed.SOURCE)
        theirs = killed.open_both(self._folder / killed.TARGET)
        with ours[0] as store, ours[1] as index, theirs[0] as new_store, theirs[1] as new_index:
            found += [u for u in USERS if held(store, u) != held(new_store, u)]
            found += [u for u in USERS if vectors_held(index, u) != vectors_held(new_index, u)]
            assert found or verify(store, new_store).same
        return found


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Copies]:
    copies = Copies(tmp_path)
    yield copies
    copies.close()


def steps_of(copies: Copies) -> int:
    """Return how many steps a copy has."""
    low, high = 1, 2
    while True:
        copies.begin()
        if copies.run(high) == ["done"]:
            break
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        copies.begin()
        if copies.run(middle) == ["done"]:
            high = middle
        else:
            low = middle
    return low


def test_a_copy_that_is_killed_at_any_step_goes_on_and_loses_and_doubles_nothing(
    copies: Copies,
) -> None:
    total = steps_of(copies)
    assert total > 100
    broken: list[str] = []
    for step in points(total, profile().fault_points):
        copies.begin()
        assert copies.run(step) == ["killed"], step
        assert copies.run(0) == ["done"], step
        broken += [f"killed at step {step} of {total}: {user}" for user in copies.broken()]
    assert broken == []


def test_a_copy_that_is_killed_again_and_again_comes_to_its_end(copies: Copies) -> None:
    copies.begin()
    turns = 0
    while copies.run(40) == ["killed"]:  # a batch and its place in the journal
        turns += 1
        assert turns < 50
    assert turns > 2
    assert copies.broken() == []


@pytest.mark.parametrize("seed", range(3))
def test_copies_that_run_at_the_same_time_and_are_killed_double_nothing(
    copies: Copies, seed: int
) -> None:
    chance = random.Random(seed)
    copies.begin()
    for _ in range(3):
        assert set(copies.run(*(chance.randrange(1, 120) for _ in range(2)))) <= {"killed", "done"}
    assert copies.run(0, 0, chance.randrange(1, 60))[:2] == ["done", "done"]
    assert copies.broken() == []


def test_the_checks_find_what_is_lost_or_doubled(copies: Copies, tmp_path: Path) -> None:
    copies.begin()
    assert copies.run(0) == ["done"]
    assert copies.broken() == []
    store, index = killed.open_both(tmp_path / killed.TARGET)
    with store, index:
        store.delete("a", [message(1, "a").id])
        index.upsert("b", [replace(record(1, "b"), vector=[1.0] * SPEC.dimension)])
    assert copies.broken() == ["a", "b"]
