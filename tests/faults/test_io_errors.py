"""B3, B4: calls of the SQLite store that fail once, or from some moment on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ialstore.testing.profiles import profile
from tests.faults.ledger import (
    Ended,
    deliver_again,
    ledger_of,
    points,
    read_everything,
    read_journal,
)
from tests.faults.strace import Programs
from tests.faults.workload import ACKNOWLEDGED, WORKLOADS

pytestmark = pytest.mark.no_cover

UNAVAILABLE = frozenset({"UnavailableError"})
STOP = ("--guest", "--stop-at-error")
WAL = b"\2\2"
"""Read and write version in the header of a file with a write-ahead log."""


@dataclass(frozen=True)
class Fault:
    """A call that fails.

    Attributes:
        call: its name.
        error: that it returns.
        kinds: of the errors that the store may raise then; none where SQLite goes on regardless.
    """

    call: str
    error: str
    kinds: frozenset[str] = UNAVAILABLE

    def __str__(self) -> str:
        return f"{self.call}-{self.error}"


FAULTS = [
    Fault("pwrite64", "EIO"),
    Fault("pwrite64", "ENOSPC", UNAVAILABLE | {"StorageFullError"}),
    Fault("pwrite64", "EDQUOT"),
    Fault("pwrite64", "EINTR", frozenset()),
    Fault("fdatasync", "EIO"),
    Fault("fsync", "EIO"),
    Fault("ftruncate", "EIO"),
    Fault("ftruncate", "EINTR", frozenset()),
    Fault("openat", "EIO"),
    Fault("openat", "ENOSPC", UNAVAILABLE | {"StorageFullError"}),
    Fault("openat", "EMFILE"),
    Fault("openat", "EINTR", frozenset()),
    Fault("mmap", "ENOMEM"),
    Fault("unlink", "EIO"),
    Fault("fcntl", "EIO", UNAVAILABLE | {"DeadlineExceededError"}),
    Fault("fcntl", "ENOLCK", UNAVAILABLE | {"DeadlineExceededError"}),
]


def moments(
    programs: Programs, folder: Path, workload: str, fault: Fault, *options: str
) -> list[str]:
    """Return at which of the calls of a workload the fault is to happen."""
    made = programs.disturb(folder / "undisturbed", workload, *options).calls
    own = [call for call in made if call.name == fault.call]
    # Giving back a lock never fails on a local disk.
    may_fail = [n for n, call in enumerate(own, 1) if "F_UNLCK" not in call.arguments]
    return [str(may_fail[n - 1]) for n in points(len(may_fail), profile().fault_points)]


def fail(
    programs: Programs, folder: Path, workload: str, fault: Fault, when: str, *options: str
) -> tuple[list[Ended], list[str]]:
    """Let calls fail, and return how the steps ended and which promises were broken."""
    inject = f"{fault.call}:error={fault.error}:when={when}"
    place = folder / f"{when}{''.join(options)}"
    left = programs.disturb(place, workload, *options, inject=inject)
    assert any(call.injected for call in left.calls), f"{inject} was not reached"
    ended, _ = read_journal(left.journal)
    broken = [
        f"step {one.step} raised {one.error}: {one.text}"
        for one in ended
        if one.error and one.error not in fault.kinds
    ]
    steps = list(WORKLOADS[workload]())
    stored = [one for one in ended if one.outcome == ACKNOWLEDGED and steps[one.step].creates]
    if stored and left.path.read_bytes()[18:20] != WAL:
        broken.append("messages were stored without a write-ahead log")
    ledger = ledger_of(steps, ended)
    broken += ledger.judge(read_everything(left.path))
    broken += deliver_again(left.path, steps, ledger)
    return ended, [f"{inject}: {one}" for one in broken]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("workload", ["life", "vectors"])
def test_a_call_that_fails_once_fails_one_call_of_the_store_at_most(
    programs: Programs, tmp_path: Path, workload: str, fault: Fault
) -> None:
    """C4: the outcome is true, and what comes later succeeds."""
    broken: list[str] = []
    for when in moments(programs, tmp_path, workload, fault):
        ended, found = fail(programs, tmp_path, workload, fault, when)
        broken += found
        failed = [one.step for one in ended if one.error]
        if len(failed) > 1:
            broken.append(f"{fault}, {when}: one failure made steps {failed} fail")
    assert broken == []


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.kinds], ids=str)
def test_the_outcome_of_an_error_is_true_even_if_the_program_is_killed_then(
    programs: Programs, tmp_path: Path, fault: Fault
) -> None:
    """C4: a commit whose sync failed may stand in the log, and be found by who recovers it."""
    broken: list[str] = []
    for when in moments(programs, tmp_path, "life", fault, *STOP):
        broken += fail(programs, tmp_path, "life", fault, when, *STOP)[1]
    assert broken == []


@pytest.mark.parametrize("fault", [fault for fault in FAULTS[:-2] if fault.kinds], ids=str)
def test_calls_that_fail_from_some_moment_on_lose_nothing_and_lie_about_nothing(
    programs: Programs, tmp_path: Path, fault: Fault
) -> None:
    """C4: every step ends, and what was acknowledged before is there when the fault has passed."""
    broken: list[str] = []
    for when in moments(programs, tmp_path, "life", fault):
        ended, found = fail(programs, tmp_path, "life", fault, f"{when}+")
        broken += found
        if len(ended) != len(list(WORKLOADS["life"]())):
            broken.append(f"{fault} ended the program")
    assert broken == []


@pytest.mark.parametrize(
    ("planted", "expected"),
    [("silent", "was acknowledged and is lost"), ("sure", "though it was not applied")],
)
def test_a_store_that_hides_an_error_or_calls_every_outcome_sure_is_caught(
    programs: Programs, tmp_path: Path, planted: str, expected: str
) -> None:
    fault = Fault("fdatasync", "EIO")
    for number in range(1, 20):
        broken = fail(programs, tmp_path, "life", fault, str(number), *STOP, "--planted", planted)[
            1
        ]
        if any(expected in one for one in broken):
            return
    pytest.fail("no failure showed the planted fault")
