"""What a search of `lsh+dynamodb:` with `layout=packed` takes of a processor and of memory.

CPU of the process during a search, and of that what is not the client of DynamoDB's: filters,
estimates over all codes, the exact re-rank, the public method around it. Three states: a process
that holds the codes of all cells and finds nothing new; the same, with a vector written before each
search; and one that holds nothing. The tail is what 200 upserts made behind the last maintenance.
Medians over 200 queries. Memory is what Python and NumPy hold after the search that read all codes
and did not hold before, beside what the index says.
"""

from __future__ import annotations

import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from _report import Bars, Cell, Report, arguments
from lsh_units import SPEC, Vectors, records
from packed_kinds import TEXT, K, Kind, Real
from packed_units import EVENTUAL, NOTHING

from ialstore.testing.servers import start
from ialstore_backends._meanwhile import Meanwhile
from ialstore_backends.dynamodb.client import DynamoClient
from ialstore_backends.lsh import LshDynamoIndex, LshOptions

USER: Final = "user"
LATE: Final = 200
QUERIES: Final = 200


class ClientTime:
    """CPU seconds that the client of DynamoDB took, in whatever thread.

    What is done while a reply is awaited is not the client's, but for what calls it in turn.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        call, run = DynamoClient.call, Meanwhile.run

        def timed(client: DynamoClient, *args: Any, **more: Any) -> Any:
            began = time.thread_time()
            try:
                return call(client, *args, **more)
            finally:
                self.seconds += time.thread_time() - began

        def timed_run(one: Meanwhile[Any]) -> None:
            began = time.thread_time()
            run(one)
            self.seconds -= time.thread_time() - began

        DynamoClient.call = timed  # type: ignore[assignment, method-assign]
        Meanwhile.run = timed_run  # type: ignore[assignment, method-assign]

    def of(self, search: Callable[[], object]) -> tuple[float, float]:
        """Return the CPU milliseconds of a search, and the client's among them."""
        self.seconds, began = 0.0, time.process_time()
        search()
        return 1000 * (time.process_time() - began), 1000 * self.seconds


class Bench:
    """A user whose codes are searched."""

    def __init__(self, endpoint: str, kind: Kind) -> None:
        self._options = LshOptions(endpoint=endpoint, layout="packed", chunks=1)
        self._vectors = iter(records(kind.base, 0, TEXT))
        self._queries = kind.queries[:QUERIES]
        self._timed = ClientTime()

    def opened(self) -> LshDynamoIndex:
        """Return an index that holds nothing."""
        index = LshDynamoIndex("cpu-", SPEC, self._options, timeout_seconds=600)
        index.setup()
        return index

    def fill(self, index: LshDynamoIndex, count: int) -> None:
        """Store so many vectors, the last ones after maintenance."""
        index.bulk_load((USER, next(self._vectors)) for _ in range(count - LATE))
        index.optimize(USER)
        for _ in range(LATE):
            self.write(index)

    def write(self, index: LshDynamoIndex) -> None:
        """Store one more."""
        index.upsert(USER, [next(self._vectors)])

    def memory(self) -> tuple[float, float]:
        """Return the megabytes that a search of all codes leaves, and what the index says."""
        with self.opened() as index:
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            hold(index, self._queries[0])
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return (after - before) / 1e6, index.held_bytes / 1e6

    def held(self, state: str, before: Callable[[], object]) -> list[Cell]:
        """Return the times of a process that holds all codes, with something done before each."""
        with self.opened() as index:
            hold(index, self._queries[0])
            times: list[tuple[float, float]] = []
            for query in self._queries:
                before()
                times.append(self._timed.of(partial(search, index, query)))
        return _medians(state, times)

    def cold(self) -> list[Cell]:
        """Return the times of processes that hold nothing."""
        times: list[tuple[float, float]] = []
        for query in self._queries:
            with self.opened() as index:
                times.append(self._timed.of(partial(search, index, query)))
        return _medians("cold", times)


def search(index: LshDynamoIndex, query: Vectors) -> None:
    """Search as most do."""
    index.search(USER, query, K, consistency=EVENTUAL)


def hold(index: LshDynamoIndex, query: Vectors) -> None:
    """Read all codes."""
    index.search(USER, query, K, where=NOTHING, consistency=EVENTUAL)


def _medians(state: str, times: list[tuple[float, float]]) -> list[Cell]:
    every, client = ([pair[column] for pair in times] for column in (0, 1))
    ours = [one - other for one, other in times]
    return [state, *(statistics.median(column) for column in (every, client, ours))]


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="vectors of the user (10,000)")
    given = parser.parse_args()
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    report = Report("packed_cpu", __doc__, ["numpy"])
    title = f"{given.count:,} vectors, {K} hits, milliseconds"
    table = report.table("searches", title, "state", "cpu_ms", "client_ms", "ours_ms")
    report.pictures.append(Bars("searches", ["state"], ["client_ms", "ours_ms"]))
    with start("dynoxide") as server:
        bench = Bench(server.endpoint, Real().some(given.count + QUERIES))
        with bench.opened() as writer:
            bench.fill(writer, given.count)
            report.figures["traced_mb"], report.figures["held_mb"] = bench.memory()
            table.add(*bench.held("nothing new", lambda: None))
            table.add(*bench.held("after a write", lambda: bench.write(writer)))
            table.add(*bench.cold())
    report.finish(given)


if __name__ == "__main__":
    main()
