"""How much longer `import ialstore` takes than `import numpy`, and what it must not import.

Starts fresh interpreters in turn, so that both meet the same machine; quotes medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from _report import Report, arguments

GOAL_MORE_MS = 60
FORBIDDEN = ("pydantic", "typer", "rich", "tenacity", "sqlite3", "boto3", "redis", "faiss")
PROGRAM = (
    "import time; began = time.perf_counter(); import {module};"
    "taken = time.perf_counter() - began; import sys;"
    "print(taken * 1000, *sorted(set(sys.modules) & set({forbidden!r})))"
)


def import_once(module: str) -> tuple[float, list[str]]:
    """Return the milliseconds that an import takes in a fresh interpreter, and what it must not."""
    program = PROGRAM.format(module=module, forbidden=FORBIDDEN)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    milliseconds, *found = run.stdout.split()
    return float(milliseconds), found


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=15, help="fresh interpreters of each (15)")
    given = parser.parse_args()
    times: dict[str, list[float]] = {"numpy": [], "ialstore": []}
    found: list[str] = []
    for module in times:
        import_once(module)  # warms the disk cache
    for _ in range(given.runs):
        for module, taken in times.items():
            milliseconds, found = import_once(module)
            taken.append(milliseconds)
    report = Report("import_time", __doc__, ["numpy"])
    for module, taken in times.items():
        report.figures[f"import {module}, ms"] = statistics.median(taken)
    report.figures["more, ms"] = statistics.median(
        b - a for a, b in zip(times["numpy"], times["ialstore"], strict=True)
    )
    report.figures["goal of more, ms"] = GOAL_MORE_MS
    report.figures["imported though not needed"] = ", ".join(found) or "nothing"
    report.finish(given)


if __name__ == "__main__":
    main()
