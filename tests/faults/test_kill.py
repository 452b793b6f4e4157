"""B1: kill -9 at every write, sync, truncation and removal that the SQLite store makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ialstore.testing.profiles import profile
from tests.faults.ledger import (
    deliver_again,
    ledger_of,
    points,
    read_everything,
    read_journal,
)
from tests.faults.strace import WRITES, Programs
from tests.faults.workload import WORKLOADS

pytestmark = pytest.mark.no_cover


def kill_at(
    programs: Programs, folder: Path, workload: str, call: str, number: int, *options: str
) -> list[str]:
    """Kill a workload at one call, and return which promises the file breaks then."""
    inject = f"{call}:signal=KILL:when={number}"
    left = programs.disturb(folder / f"{call}-{number}", workload, *options, inject=inject)
    assert left.killed, f"{call} {number} was not reached"
    ended, _ = read_journal(left.journal)
    ledger = ledger_of(WORKLOADS[workload](), ended)
    broken = ledger.judge(read_everything(left.path))
    broken += deliver_again(left.path, WORKLOADS[workload](), ledger)
    return [f"killed at {call} {number}, in step {len(ended) - 1}: {one}" for one in broken]


@pytest.mark.parametrize("workload", ["life", "vectors"])
def test_a_kill_at_any_call_keeps_what_was_acknowledged_and_tears_nothing(
    programs: Programs, tmp_path: Path, workload: str
) -> None:
    """S2, C4: whatever was being written, synced, truncated or removed."""
    made = [call.name for call in programs.disturb(tmp_path / "whole", workload).calls]
    broken: list[str] = []
    for call in WRITES:
        for number in points(made.count(call), profile().fault_points):
            broken += kill_at(programs, tmp_path, workload, call, number)
    assert broken == []


def test_a_kill_takes_nothing_with_normal_synchronisation_either(
    programs: Programs, tmp_path: Path
) -> None:
    """What was written is the operating system's to keep, synced or not."""
    normal = ("--synchronous", "normal")
    made = [call.name for call in programs.disturb(tmp_path / "whole", "life", *normal).calls]
    broken: list[str] = []
    for number in points(made.count("pwrite64"), profile().fault_points):
        broken += kill_at(programs, tmp_path, "life", "pwrite64", number, *normal)
    assert broken == []


@pytest.mark.parametrize(
    ("planted", "expected"),
    [("write-behind", "acknowledged and is lost"), ("one-by-one", "was done in part")],
)
def test_a_store_that_acknowledges_too_early_or_tears_a_batch_is_caught(
    programs: Programs, tmp_path: Path, planted: str, expected: str
) -> None:
    for number in range(1, 20):
        broken = kill_at(programs, tmp_path, "life", "fdatasync", number, "--planted", planted)
        if any(expected in one for one in broken):
            return
    pytest.fail("no kill showed the planted fault")
