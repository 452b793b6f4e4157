"""What a run of a suite on a live store came to, clause by clause: what ``conformance`` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ialstore.testing.live import Result

__all__ = ["CLAUSES", "Report", "Tally"]

CLAUSES: Final[Mapping[str, str]] = {
    "M1": "texts and JSON come back as given",
    "M2": "times are kept in UTC, to the microsecond",
    "M3": "an id is an address",
    "M4": "new ids sort behind older ones",
    "M5": "writes validate, and keep their own copy",
    "M6": "messages come in the order of ids",
    "M7": "which messages are the same",
    "S1": "append is idempotent",
    "S2": "append: conflicts and failed batches",
    "S3": "deleted and expired ids are forgotten",
    "S4": "replace",
    "S5": "get",
    "S6": "history and its pages",
    "S7": "summaries",
    "S8": "cursors",
    "S9": "sessions",
    "S10": "delete and delete_session",
    "S11": "erase",
    "S12": "bulk_load",
    "S13": "optimize",
    "S14": "users",
    "S15": "setup, check, close, threads and forks",
    "C1": "consistency",
    "C2": "expiry",
    "C3": "time: no call outlasts its deadline",
    "C4": "every write has a known or unknown outcome",
    "C5": "no damage or outage looks like an empty answer",
    "C6": "isolation of users",
    "V1": "an index is made for one spec",
    "V2": "upsert",
    "V3": "search",
    "V4": "scores",
    "V5": "filters",
    "V6": "effort and recall",
    "V7": "all other calls of an index",
    "V8": "prefetches change no answer",
    "E1": "errors",
    "E2": "invalid input is refused before any I/O",
    "E3": "no content or secret in errors and events",
    "W1": "the outermost layer emits the event",
    "W3": "what is read-only refuses writes",
    "W4": "meters and deadlines nest",
}
"""The clauses of the contract that the suites cite, in its order, and what each is about."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tests of a kind there were, by outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, results: Sequence[Result]) -> Tally:
        """Return the tally of some results."""
        return cls(**Counter(one.outcome for one in results))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the tests of a suite.

    Attributes:
        results: of each test, in their order.
        left: users that could not be erased.
        seconds: the run took.
    """

    results: Sequence[Result]
    left: Sequence[str]
    seconds: float

    @property
    def totals(self) -> Tally:
        """All tests, each counted once."""
        return Tally.of(self.results)

    @property
    def is_sound(self) -> bool:
        """Whether something passed, nothing failed, and nothing was left behind."""
        totals = self.totals
        return bool(totals.passed) and not totals.failed and not self.left

    @property
    def clauses(self) -> list[tuple[str, str, Tally]]:
        """Each clause, what it is about, and its tests; one that cites several is in each."""
        found = {
            clause: Tally.of([one for one in self.results if clause in one.clauses])
            for clause in CLAUSES
        }
        return [(one, CLAUSES[one], tally) for one, tally in found.items() if tally != Tally()]

    @property
    def skipped(self) -> dict[str, list[str]]:
        """The tests that were skipped, by the reason."""
        found: dict[str, list[str]] = {}
        for one in self.results:
            if one.outcome == "skipped":
                found.setdefault(one.reason, []).append(one.test)
        return found

    @property
    def failed(self) -> list[Result]:
        """The tests that failed."""
        return [one for one in self.results if one.outcome == "failed"]
