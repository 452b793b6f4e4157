"""Every clause of the contract is cited by a test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_clause_is_cited_by_a_test() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    clauses = set(re.findall(r"^- \*\*([A-Z]\d+)\b", contract, re.MULTILINE))
    paths = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "ialstore" / "testing").rglob("*.py")]
    cited = {
        clause
        for path in paths
        for clauses in re.findall(
            r'"""((?:[MSVCEWU]\d+, )*[MSVCEWU]\d+):', path.read_text(encoding="utf-8")
        )
        for clause in clauses.split(", ")
    }

    assert len(clauses) > 30
    assert cited <= clauses, f"no such clauses: {sorted(cited - clauses)}"
    missing = clauses - cited
    assert not missing, f"no test cites {sorted(missing)}"
