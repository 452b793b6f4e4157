"""Run the kit on every planted fault and print what found it.

python -m tests.kit.planted.run [--write] [NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from unittest import mock

import pytest

from ialstore.testing.profiles import PROFILES
from tests.kit.planted.registry import Fault, everything

SUITES: Final = Path(__file__).with_name("suites.py")
ROOT: Final = Path(__file__).parents[3]
OPTIONS: Final = (
    "-qx",
    # Of a plugin of pytest, which this program has imported before.
    "-Wignore:Module already imported:pytest.PytestAssertRewriteWarning",
    # Within the tests of the kit, pytest already runs: these look after the whole process.
    *(f"-pno:{one}" for one in ("cacheprovider", "xdist", "faulthandler", "unraisableexception")),
)
PAGE: Final = ROOT / "docs" / "kit.md"
BEGIN: Final = "<!-- made by `python -m tests.kit.planted.run --write` -->"
ROW: Final = re.compile(r"\| (.+) \| \w+ \| (?:`(.+)`|nothing) \| ([\d.]+) \|")
HEAD: Final = ("| fault | clause | found by | seconds |", "|---|---|---|---|")


class Outcome:
    """Notes the tests that failed, and how many were fine: passed or skipped with a reason."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.fine = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("::", 2)[2]
        if report.failed and name not in self.failed:
            self.failed.append(name)
        self.fine += report.skipped or (report.when == "call" and report.passed)


def run_kit(store: str, tests: Iterable[str] = ()) -> Outcome:
    """Run the kit on a class of ``suites`` until a test fails.

    Args:
        store: name of the class that is tested.
        tests: only these; all by default.
    """
    suite = f"{SUITES}::Test{store}"
    outcome = Outcome()
    hasty = mock.patch.dict(PROFILES, default=replace(PROFILES["default"], shrink=False))
    chosen = [f"{suite}::{one}" for one in tests] or [suite]
    # In folders of their own: at once, runs would remove the same old ones of a shared folder.
    with tempfile.TemporaryDirectory() as folder, hasty:
        places = f"--rootdir={ROOT}", f"--basetemp={folder}/tests"
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = pytest.main([*OPTIONS, *places, *chosen], plugins=[outcome])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(said.getvalue())
    return outcome


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
    failed = run_kit(fault.name).failed
    found_by = failed[0] if failed else ""
    return Finding(fault, found_by, time.perf_counter() - begun)


def table_of(findings: Sequence[Finding]) -> str:
    """Return the lines that ``docs/kit.md`` ends with."""
    found = sum(bool(one.found_by) for one in findings)
    share = f"{found} of {len(findings)} planted faults are found: {found / len(findings):.1%}."
    return "\n".join([BEGIN, "", share, "", *HEAD, *(one.row() for one in findings), ""])


def read_table() -> list[Finding]:
    """Return what ``docs/kit.md`` says."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    by_words = {one.words: one for one in everything()}
    return [
        Finding(by_words[words], found_by or "", float(seconds))
        for words, found_by, seconds in ROW.findall(table)
        if words in by_words
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the rows into {PAGE.name}")
    parser.add_argument("names", nargs="*", help="of faults; all by default")
    given = parser.parse_args(arguments)
    os.environ["CI"] = "1"  # the same examples in every run
    found: dict[str, Finding] = {}
    for fault in everything():
        if not given.names or fault.name in given.names:
            found[fault.name] = find(fault)
            sys.stderr.write(f"{fault.name}: {found[fault.name].found_by or 'not found'}\n")
    sys.stdout.write(table_of(list(found.values())))
    if given.write:
        known = {one.fault.name: one for one in read_table()} | found
        table = table_of([known[one.name] for one in everything() if one.name in known])
        before, _, _ = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(before + table, encoding="utf-8")


if __name__ == "__main__":
    main()
