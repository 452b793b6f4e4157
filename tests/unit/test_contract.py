"""Every clause of the contract is cited by a test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GROUPS = "MSVCEU"
"""Wrappers and the async face, W, are not complete yet."""


def test_every_clause_is_cited_by_a_test() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    clauses = set(re.findall(r"^- \*\*([A-Z]\d+)\b", contract, re.MULTILINE))
    paths = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "ialstore" / "testing").rglob("*.py")]
    cited = {
        clause
        for path in paths
        for clauses in re.findall(
            r'"""((?:[A-Z]\d+, )*[A-Z]\d+):', path.read_text(encoding="utf-8")
        )
        for clause in clauses.split(", ")
    }

    assert len(clauses) > 30
    assert cited <= clauses, f"no such clauses: {sorted(cited - clauses)}"
    missing = {one for one in clauses - cited if one[0] in GROUPS}
    assert not missing, f"no test cites {sorted(missing)}"
