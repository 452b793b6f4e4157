"""Run the kit on every planted fault and print what found it.

python -m tests.kit.planted.run [--write] [NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.kit.planted.registry import Fault, everything

SUITES: Final = Path(__file__).with_name("suites.py")
ROOT: Final = Path(__file__).parents[3]
OPTIONS: Final = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faulthandler")
PAGE: Final = ROOT / "docs" / "kit.md"
BEGIN: Final = "<!-- made by `python -m tests.kit.planted.run --write` -->"
HEAD: Final = ("| fault | clause | found by | seconds |", "|---|---|---|---|")


class Failures:
    """Notes the tests that failed, and how many passed."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid.split("::", 2)[2])
        elif report.when == "call" and report.passed:
            self.passed += 1


def run_kit(store: str, tests: Iterable[str] = ()) -> Failures:
    """Run the kit on a class of ``suites`` until a test fails.

    Args:
        store: name of the class that is tested.
        tests: only these; all by default.
    """
    suite = f"{SUITES}::Test{store}"
    failures = Failures()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main(
            [*OPTIONS, f"--rootdir={ROOT}", *([f"{suite}::{one}" for one in tests] or [suite])],
            plugins=[failures],
        )
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(said.getvalue())
    return failures


@dataclass(frozen=True)
class Finding:
    """A fault, and the first test that failed for it, if any."""

    fault: Fault
    found_by: str
    seconds: float

    def row(self) -> str:
        """Return its row of the table."""
        found_by = f"`{self.found_by}`" if self.found_by else "nothing"
        return f"| {self.fault.words} | {self.fault.clause} | {found_by} | {self.seconds:.1f} |"


def find(fault: Fault) -> Finding:
    """Run the kit until it finds a fault."""
    begun = time.perf_counter()
    failures = run_kit(fault.name)
    found_by = failures.failed[0] if failures.failed else ""
    return Finding(fault, found_by, time.perf_counter() - begun)


def table_of(findings: Sequence[Finding]) -> str:
    """Return the lines that ``docs/kit.md`` ends with."""
    found = sum(bool(one.found_by) for one in findings)
    share = f"{found} of {len(findings)} planted faults are found: {found / len(findings):.1%}."
    return "\n".join([BEGIN, "", share, "", *HEAD, *(one.row() for one in findings), ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    parser.add_argument("names", nargs="*", help="of faults; all by default")
    given = parser.parse_args(arguments)
    os.environ["CI"] = "1"  # the same examples in every run
    findings: list[Finding] = []
    for fault in everything():
        if not given.names or fault.name in given.names:
            findings.append(find(fault))
            sys.stderr.write(f"{fault.name}: {findings[-1].found_by or 'not found'}\n")
    table = table_of(findings)
    sys.stdout.write(table)
    if given.write:
        before, _, _ = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(before + table, encoding="utf-8")


if __name__ == "__main__":
    main()
