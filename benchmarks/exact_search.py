"""What an exact search costs, against the matrix product and top-k that it can't do without.

For each number of vectors: a second search through the public method, of SQLite and of memory,
taking turns with bare NumPy (`matrix @ query`, then `argpartition` and a sort of the best k), each
time with another query; the first search of a newly opened file, which loads the vectors; and the
search after one more vector was written. Medians; the ratio is the goal of at most 1.5 at 10,000.
Then the same beside other processes, one for each core, that never rest: a product that is spread
over cores waits for them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import numpy as np
from _report import Bars, Report, arguments
from numpy.typing import NDArray

from ialstore import IndexSpec, VectorIndex, VectorRecord, message_id
from ialstore_backends.memory import MemoryVectorIndex
from ialstore_backends.sqlite import SqliteVectorIndex

GOAL_RATIO = 1.5
GOAL_COUNT = 10_000
BUSY_COUNTS = (1_000, 5_000, 10_000)
USER = "user"
START = datetime(2024, 1, 1, tzinfo=UTC)
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians for one number of vectors, in milliseconds, and ratios to bare NumPy."""

    vectors: int
    bare_ms: float
    sqlite_ms: float
    sqlite_ratio: float
    memory_ms: float
    memory_ratio: float
    first_search_ms: float
    after_upsert_ms: float


@dataclass(frozen=True, slots=True)
class BusyFigures:
    """Of one number of vectors, in milliseconds; `busy` is beside processes that never rest."""

    vectors: int
    bare_ms: float
    sqlite_ms: float
    busy_bare_ms: float
    busy_bare_p95_ms: float
    busy_sqlite_ms: float
    busy_sqlite_p95_ms: float


def record(number: int, vector: Matrix) -> VectorRecord:
    """Return a record with a text, as an agent's message has one."""
    session = f"session {number // 100}"
    made = message_id(USER, session, START + timedelta(seconds=number), "user", "")
    return VectorRecord(made, vector, session, "user", f"What was said at {number}. " * 10)


def bare_search(matrix: Matrix, query: Matrix, k: int) -> NDArray[np.intp]:
    """Return the places of the k best rows, best first."""
    scores = matrix @ query
    best = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
    return best[np.argsort(-scores[best])]


def milliseconds(call: Callable[[], object]) -> float:
    """Return what a call takes."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def in_turns(
    matrix: Matrix, index: VectorIndex, queries: Matrix, rounds: int, k: int
) -> tuple[list[float], list[float]]:
    """Return the times of bare searches and of an index's."""
    bare: list[float] = []
    full: list[float] = []
    index.search(USER, queries[0], k)
    for _, query in zip(range(rounds), cycle(queries), strict=False):
        bare.append(milliseconds(lambda query=query: bare_search(matrix, query, k)))  # type: ignore[misc]
        full.append(milliseconds(lambda query=query: index.search(USER, query, k)))  # type: ignore[misc]
    return bare, full


def drawn(count: int, dimension: int) -> tuple[Matrix, Matrix]:
    """Return random vectors, and queries."""
    rng = np.random.default_rng(count)
    matrix = rng.standard_normal((count, dimension)).astype(np.float32)
    return matrix, rng.standard_normal((64, dimension)).astype(np.float32)


def measure(count: int, dimension: int, rounds: int, k: int, folder: Path) -> Figures:
    """Fill both indexes with random vectors and measure."""
    spec = IndexSpec(dimension, "cosine", "benchmark")
    matrix, queries = drawn(count, dimension)
    records = [record(number, row) for number, row in enumerate(matrix)]
    path = folder / f"{count}.db"
    with MemoryVectorIndex(spec) as memory, SqliteVectorIndex(path, spec) as sqlite:
        for index in (memory, sqlite):
            index.bulk_load((USER, one) for one in records)
        bare, sqlite_times = in_turns(matrix, sqlite, queries, rounds, k)
        bare_again, memory_times = in_turns(matrix, memory, queries, rounds, k)
        after_upsert: list[float] = []
        for number in range(20):
            sqlite.upsert(USER, [record(count + number, queries[number])])
            after_upsert.append(milliseconds(lambda: sqlite.search(USER, queries[-1], k)))
    first: list[float] = []
    for _ in range(5):
        with SqliteVectorIndex(path, spec) as fresh:
            fresh.count(USER)
            first.append(milliseconds(lambda: fresh.search(USER, queries[0], k)))
    medians = [statistics.median(times) for times in (bare, sqlite_times, bare_again, memory_times)]
    return Figures(
        vectors=count,
        bare_ms=medians[0],
        sqlite_ms=medians[1],
        sqlite_ratio=medians[1] / medians[0],
        memory_ms=medians[3],
        memory_ratio=medians[3] / medians[2],
        first_search_ms=statistics.median(first),
        after_upsert_ms=statistics.median(after_upsert),
    )


@contextmanager
def busy_cores() -> Generator[None]:
    """Keep every core busy."""
    command = [sys.executable, "-c", "while True: pass"]
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)
        yield


def measure_busy(count: int, dimension: int, rounds: int, k: int, folder: Path) -> BusyFigures:
    """Search a quiet machine, and a busy one."""
    spec = IndexSpec(dimension, "cosine", "benchmark")
    matrix, queries = drawn(count, dimension)
    with SqliteVectorIndex(folder / f"busy-{count}.db", spec) as index:
        index.bulk_load((USER, record(number, row)) for number, row in enumerate(matrix))
        bare, full = in_turns(matrix, index, queries, rounds, k)
        with busy_cores():
            busy_bare, busy_full = in_turns(matrix, index, queries, rounds, k)
    middle = [statistics.median(times) for times in (bare, full)]
    busy = [
        figure
        for times in (busy_bare, busy_full)
        for figure in (statistics.median(times), statistics.quantiles(times, n=20)[-1])
    ]
    return BusyFigures(count, *middle, *busy)


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--full", action="store_true", help="also 50,000 vectors")
    parser.add_argument("--dimension", type=int, default=384, help="of the vectors (384)")
    parser.add_argument("--rounds", type=int, default=300, help="searches of each kind (300)")
    parser.add_argument("-k", type=int, default=10, help="hits of a search (10)")
    given = parser.parse_args()
    counts = [1_000, GOAL_COUNT, *([50_000] if given.full else [])]
    report = Report("exact_search", __doc__, ["numpy"])
    names = [one.name for one in fields(Figures)]
    title = f"Vectors of {given.dimension} numbers, {given.k} hits"
    table = report.table("searches", title, *names)
    report.pictures.append(Bars("searches", ["vectors"], ["bare_ms", "sqlite_ms", "memory_ms"]))
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            found = measure(count, given.dimension, given.rounds, given.k, Path(folder))
            table.add(*asdict(found).values())
            if count == GOAL_COUNT:
                report.figures["ratio"] = found.sqlite_ratio
                met = found.sqlite_ratio <= GOAL_RATIO
                report.figures[f"goal of at most {GOAL_RATIO}"] = "met" if met else "missed"
        names = [one.name for one in fields(BusyFigures)]
        title = "Beside processes that keep every core busy"
        busy = report.table("busy", title, *names)
        shown = ["bare_ms", "sqlite_ms", "busy_bare_ms", "busy_sqlite_ms"]
        report.pictures.append(Bars("busy", ["vectors"], shown))
        for count in BUSY_COUNTS:
            beside = measure_busy(count, given.dimension, given.rounds, given.k, Path(folder))
            busy.add(*asdict(beside).values())
    report.finish(given)


if __name__ == "__main__":
    main()
