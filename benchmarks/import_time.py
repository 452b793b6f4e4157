"""How much longer `import ialstore` takes than `import numpy`, and what it must not import.

Starts fresh interpreters in turn, so that both meet the same machine; quotes medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="fresh interpreters of each (15)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    times: dict[str, list[float]] = {"numpy": [], "ialstore": []}
    found: list[str] = []
    for module in times:
        import_once(module)  # warms the disk cache
    for _ in range(options.runs):
        for module, taken in times.items():
            milliseconds, found = import_once(module)
            taken.append(milliseconds)
    numpy_ms, ialstore_ms = (statistics.median(taken) for taken in times.values())
    more_ms = statistics.median(
        b - a for a, b in zip(times["numpy"], times["ialstore"], strict=True)
    )
    result = {
        "import_numpy_ms": round(numpy_ms, 1),
        "import_ialstore_ms": round(ialstore_ms, 1),
        "more_ms": round(more_ms, 1),
        "goal_more_ms": 60,
        "imported_though_not_needed": found,
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
