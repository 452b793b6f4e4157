"""What searches and upserts of both layouts of `lsh+dynamodb` cost, metered: units against recall.

Embeddings of real dialogue turns (all-MiniLM-L6-v2, 384 numbers; of more than 20,000, the rest are
moved; for another dimension they are mapped) with texts of 500 bytes, on an emulator of DynamoDB.
Recall@10 counts scores, against exact search, so that ties cost nothing. Eventual reads, texts of
the hits included. Cold is a process that holds nothing; held is one that has the codes of all
cells. The tail is half full, as many upserts behind the last maintenance as that takes. `gsi`,
which takes long, is asked every fifth query, and of no more than 20,000 vectors. Units don't depend
on the machine.

    IALSTORE_DATA=FOLDER python benchmarks/packed_units.py [--efforts]
"""

from __future__ import annotations

import os
import statistics
from dataclasses import replace
from typing import Any, Final

import numpy as np
from _report import Cell, Lines, Report, Table, arguments
from lsh_units import SPEC, records
from packed_kinds import TEXT, K, Kind, Real, tail_of

from ialstore import Consistency, IndexSpec, Where, meter
from ialstore.testing.servers import RunningServer, start
from ialstore_backends.lsh import LshDynamoIndex, LshOptions

EFFORTS: Final[dict[str, tuple[float, ...]]] = {
    "gsi": (0.3, 0.5, 0.7, 0.8, 0.9, 0.95),
    "packed": (0.2, 0.35, 0.45, 0.5, 0.55, 0.65),
}
DEFAULT: Final = {"gsi": 0.9, "packed": 0.5}
EVENTUAL: Final = Consistency.EVENTUAL
NOTHING: Final = Where(session_id="none")
"""What is searched for in the codes of all cells."""
SERIES: Final = ("gsi", "packed, cold", "packed, held")
BATCH: Final = 50
FIFTH: Final = 5
MOST_OF_GSI: Final = 20_000


class Bench:
    """Searches of one user of one layout."""

    def __init__(self, server: RunningServer, layout: Any, kind: Kind) -> None:
        self.layout = layout
        self.base, self.queries = kind.base, kind.queries
        self.user = "user"
        self._spec = IndexSpec(self.base.shape[1])
        self._prefix = f"{layout}{len(self.base)}-"
        self._options = LshOptions(endpoint=server.endpoint, layout=layout, chunks=1)
        self._least = [float(np.sort(self.base @ one)[-K]) for one in self.queries]

    def opened(self) -> LshDynamoIndex:
        """Return an index that holds nothing."""
        return LshDynamoIndex(self._prefix, self._spec, self._options, timeout_seconds=60)

    def fill(self) -> list[Cell]:
        """Store everything, with the maintenance that is due, until the tail is half full.

        Returns:
            Write units of an upsert, the mean of the last ones, which are made one by one; and of
            maintenance, that of the second half, spread over it.
        """
        count = len(self.base)
        tail = tail_of(self._spec, count)
        last = count - tail // 2  # maintenance is due there, and was not done just before
        paused = last - round(1.2 * tail)
        maintenance = 0.0
        with self.opened() as index:
            index.setup()
            for first in range(0, last, BATCH):
                some = records(self.base[first : min(first + BATCH, last)], first, TEXT)
                index.upsert(self.user, list(some))
                if not paused <= first < last - BATCH:
                    maintenance += self._maintained(index) * (first >= count // 2)
            with meter() as alone:
                for one in records(self.base[last:], last, TEXT):
                    index.upsert(self.user, [one])
        return [alone.units.write / (count - last), maintenance / (last - count // 2)]

    def _maintained(self, index: LshDynamoIndex) -> float:
        """Do the maintenance that is due; return its write units."""
        with meter() as metered:
            if index.is_optimize_due(self.user):
                index.optimize(self.user, only_due=True)
        return metered.units.write

    def searches(self, effort: float, *, held: bool) -> list[Cell]:
        """Return recall, units, their 95th percentile, requests, means over the queries; bytes."""
        recalls: list[float] = []
        reads: list[float] = []
        requests: list[int] = []
        index = self.opened()
        if held:
            index.search(self.user, self.queries[0], K, where=NOTHING, consistency=EVENTUAL)
        for vector, least in zip(self.queries, self._least, strict=True):
            if not held:
                index.close()
                index = self.opened()
                index.check()
            with meter() as metered:
                found = index.search(self.user, vector, K, effort=effort, consistency=EVENTUAL)
            # A thousandth: scores are those of the vectors that are kept, in int8.
            recalls.append(sum(hit.score >= least - 1e-3 for hit in found) / K)
            reads.append(metered.units.read)
            requests.append(metered.units.requests)
        held_bytes = index.held_bytes
        index.close()
        return [
            statistics.fmean(recalls),
            statistics.fmean(reads),
            float(np.quantile(reads, 0.95)),
            statistics.fmean(requests),
            held_bytes,
        ]


def measure(report: Report, given: Any, server: RunningServer) -> None:
    """Report every layout and size; what is done is kept after each."""
    writes = report.table(
        "writes", "Upserts", "layout", "vectors", "write units", "of its maintenance"
    )
    columns = ("effort", f"recall@{K}", "read units", "p95", "requests", "bytes held")
    tables = [
        report.table(name, title, "index", "vectors", *columns)
        for name, title in (("defaults", "With the default effort"), ("searches", "Searches"))
    ]
    real = Real()
    for count in given.users:
        report.pictures.append(
            Lines(
                "searches",
                f"{count}",
                "index",
                "read units",
                f"recall@{K}",
                SERIES,
                only={"vectors": count},
                least_y=0.0,
            )
        )
        kind = real.some(count)
        if given.dimension != SPEC.dimension:
            kind = real.mapped(count, given.dimension)
        kind = replace(kind, queries=kind.queries[: given.queries])
        for layout in given.layouts:
            if layout == "gsi":
                if count > MOST_OF_GSI:
                    continue
                kind = replace(kind, queries=kind.queries[::FIFTH])
            bench = Bench(server, layout, kind)
            writes.add(layout, count, *bench.fill())
            efforts = EFFORTS[layout] if given.efforts else (DEFAULT[layout],)
            if layout == "packed":
                _search(tables, bench, efforts, "packed, cold")
                report.keep(given)
                _search(tables, bench, efforts, "packed, held")
            else:
                _search(tables, bench, efforts, layout)
            report.keep(given)


def _search(tables: list[Table], bench: Bench, efforts: tuple[float, ...], series: str) -> None:
    defaults, searches = tables
    for effort in efforts:
        found = bench.searches(effort, held=series.endswith("held"))
        for table in [searches, *[defaults] * (effort == DEFAULT[bench.layout])]:
            table.add(series, len(bench.base), f"{effort:g}", *found)


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--server", default="dynoxide")
    parser.add_argument("--users", nargs="+", type=int, default=[1000, 6000, 20_000, 50_000])
    parser.add_argument(
        "--dimension", type=int, default=SPEC.dimension, help="of the vectors (384)"
    )
    parser.add_argument("--layouts", nargs="+", default=["packed", "gsi"])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--efforts", action="store_true", help="all efforts, not the default only")
    given = parser.parse_args()
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    report = Report("packed_units", __doc__, ["numpy"])
    report.environment["server"] = given.server
    with start(given.server) as server:
        measure(report, given, server)
    report.finish(given)


if __name__ == "__main__":
    main()
