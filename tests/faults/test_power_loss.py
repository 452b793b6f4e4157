"""B2, B4: a loss of power at any moment, also after a sync that failed. See ``disk``."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from ialstore.testing.profiles import profile
from tests.faults.disk import Event, events_of, journal_of, power_fails
from tests.faults.ledger import (
    deliver_again,
    ledger_of,
    points,
    read_everything,
    read_journal,
)
from tests.faults.strace import Programs
from tests.faults.workload import WORKLOADS

pytestmark = pytest.mark.no_cover


def moments(events: Sequence[Event], rng: random.Random, count: int) -> list[int]:
    """Return numbers of events; half of the moments are right behind an acknowledgement."""
    notes = [n for n, event in enumerate(events, 1) if b'"acknowledged"' in event.data]
    first = next(n for n, event in enumerate(events) if event.kind == "create")
    anywhere = range(first, len(events) + 1)
    return [rng.choice(notes if rng.random() < 0.5 else anywhere) for _ in range(count)]


def cut(events: Sequence[Event], workload: str, folder: Path, *, count: int) -> list[str]:
    """Take the power away at so many moments; return the promises that were broken."""
    broken: list[str] = []
    for number, moment in enumerate(moments(events, random.Random(workload), count)):
        place = folder / str(number)
        path = power_fails(events, moment, random.Random(f"{workload} {number}"), place)
        ended, _ = read_journal(journal_of(events[:moment]))
        ledger = ledger_of(WORKLOADS[workload](), ended)
        found = ledger.judge(read_everything(path))
        if not found:
            found = deliver_again(path, WORKLOADS[workload](), ledger)
        broken += [f"cut {number} behind event {moment}: {one}" for one in found]
        shutil.rmtree(place)
    return broken


def recorded(
    programs: Programs, folder: Path, workload: str, *options: str, inject: str = ""
) -> list[Event]:
    left = programs.record(folder / "recorded", workload, *options, inject=inject)
    return events_of(left.calls, left.path.parent)


@pytest.mark.parametrize("workload", ["life", "vectors", "many"])
def test_a_loss_of_power_takes_nothing_that_was_acknowledged_and_tears_nothing(
    programs: Programs, tmp_path: Path, workload: str
) -> None:
    events = recorded(programs, tmp_path, workload)
    assert cut(events, workload, tmp_path, count=profile().fault_cuts) == []


def test_normal_synchronisation_loses_what_was_acknowledged(
    programs: Programs, tmp_path: Path
) -> None:
    """The planted fault: what ``synchronous=normal`` gives up, these cuts find."""
    events = recorded(programs, tmp_path, "life", "--synchronous", "normal")
    broken = cut(events, "life", tmp_path, count=50)
    assert any("acknowledged and is lost" in one for one in broken)


def test_normal_synchronisation_takes_back_what_came_last_and_tears_nothing(
    programs: Programs, tmp_path: Path
) -> None:
    """What is left agrees with itself; ``check`` counts the commits that the log lost."""
    events = recorded(programs, tmp_path, "life", "--synchronous", "normal")
    torn: list[str] = []
    for number, moment in enumerate(moments(events, random.Random(1), profile().fault_cuts)):
        path = power_fails(events, moment, random.Random(number), tmp_path / str(number))
        found = read_everything(path)
        torn += [one for one in found.disagreements if "commits behind frame" not in one]
    assert torn == []


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_what_a_failed_sync_did_not_save_is_not_acknowledged_later(
    programs: Programs, tmp_path: Path, call: str
) -> None:
    """B4: after a sync that failed, the next one does not save what the first one should have."""
    made = programs.disturb(tmp_path / "undisturbed", "life").calls
    total = sum(one.name == call for one in made)
    broken: list[str] = []
    for number in points(total, profile().fault_points):
        folder = tmp_path / f"{call} {number}"
        events = recorded(programs, folder, "life", inject=f"{call}:error=EIO:when={number}")
        assert any(event.kind == "failed sync" for event in events)
        found = cut(events, "life", folder, count=max(20, profile().fault_cuts // 10))
        broken += [f"{call} {number} failed: {one}" for one in found]
    assert broken == []
