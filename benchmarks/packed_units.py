"""What searches and upserts of both layouts of `lsh+dynamodb` cost, metered: units against recall.

Embeddings of real dialogue turns (all-MiniLM-L6-v2, 384 numbers) with texts of 500 bytes, on an
emulator of DynamoDB. Recall@10 counts scores, against exact search, so that ties cost nothing.
Eventual reads, texts of the hits included. Cold is a process that holds nothing; held is one that
has the codes of all cells. Units don't depend on the machine.

    IALSTORE_DATA=FOLDER python benchmarks/packed_units.py [--users 1000 6000 20000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ialstore import Consistency, IndexSpec, VectorRecord, meter
from ialstore.ids import message_id
from ialstore.testing.servers import RunningServer, start
from ialstore_backends.lsh import LshDynamoIndex, LshOptions

FILE: Final = "dialog20k_minilm.npz"
START: Final = datetime(2026, 11, 1, tzinfo=UTC)
SPEC: Final = IndexSpec(384)
EFFORTS: Final[dict[str, tuple[float, ...]]] = {
    "gsi": (0.5, 0.8, 0.9, 0.95),
    "packed": (0.2, 0.35, 0.5, 0.65),
}
DEFAULT: Final = {"gsi": 0.9, "packed": 0.5}
K: Final = 10
EVENTUAL: Final = Consistency.EVENTUAL
TEXT: Final = "x" * 500
UPSERTS: Final = 100
BATCH: Final = 50

Vectors = NDArray[np.float32]
Row = dict[str, Any]


def data() -> tuple[Vectors, Vectors]:
    """Return vectors and queries, each of length 1."""
    folder = os.environ.get("IALSTORE_DATA", "")
    path = Path(folder) / FILE
    if not folder or not path.exists():
        sys.exit(f"set IALSTORE_DATA to the folder of {FILE}")
    with np.load(path) as held:
        found: list[Vectors] = [held[name].astype(np.float32) for name in ("base", "query")]
    base, query = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in found)
    order = np.random.default_rng(0).permutation(len(base))
    return base[order], query


def records(vectors: Vectors, first: int = 0) -> Iterator[VectorRecord]:
    """Yield records, a minute apart, in sessions of twenty."""
    for number, vector in enumerate(vectors, first):
        at, session = START + timedelta(minutes=number), f"s{number // 20}"
        made = message_id("user", session, at, "user", str(number))
        yield VectorRecord(made, vector, session, "user", TEXT)


class Bench:
    """Searches of one user of one layout."""

    def __init__(self, server: RunningServer, layout: Any, base: Vectors, queries: Vectors) -> None:
        self.layout = layout
        self.base = base
        self.queries = queries
        self.user = "user"
        self._prefix = f"{layout}{len(base)}-"
        self._options = LshOptions(endpoint=server.endpoint, layout=layout, chunks=1)
        self._least = [float(np.sort(base @ vector)[-K]) for vector in queries]

    def opened(self) -> LshDynamoIndex:
        """Return an index that holds nothing."""
        return LshDynamoIndex(self._prefix, SPEC, self._options, timeout_seconds=60)

    def fill(self) -> Row:
        """Store everything, with the maintenance that is due; return what one upsert costs.

        The last ones are made one by one; maintenance is that of the second half, spread over it.
        """
        count = len(self.base)
        with self.opened() as index:
            index.setup()
            maintenance = 0.0
            for first in range(0, count - UPSERTS, BATCH):
                some = records(self.base[first : min(first + BATCH, count - UPSERTS)], first)
                index.upsert(self.user, list(some))
                maintenance += self._maintained(index) * (first >= count // 2)
            with meter() as alone:
                for one in records(self.base[-UPSERTS:], count - UPSERTS):
                    index.upsert(self.user, [one])
            maintenance += self._maintained(index)
        return {
            "write units of an upsert": round(alone.units.write / UPSERTS, 2),
            "of its maintenance": round(maintenance / (count - count // 2), 2),
        }

    def _maintained(self, index: LshDynamoIndex) -> float:
        """Do the maintenance that is due; return its write units."""
        with meter() as metered:
            if index.is_optimize_due(self.user):
                index.optimize(self.user, only_due=True)
        return metered.units.write

    def searches(self, effort: float, *, held: bool) -> Row:
        """Return recall and units, means over the queries."""
        recalls: list[float] = []
        reads: list[float] = []
        requests: list[int] = []
        index = self.opened()
        if held:
            index.search(self.user, self.queries[0], K, effort=1 - 1e-9, consistency=EVENTUAL)
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
        return {
            "layout": self.layout,
            "vectors": len(self.base),
            "held": held,
            "effort": effort,
            "recall": round(statistics.fmean(recalls), 3),
            "read units": round(statistics.fmean(reads), 1),
            "p95": float(np.quantile(reads, 0.95)),
            "requests": round(statistics.fmean(requests), 1),
            "held bytes": held_bytes,
        }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="dynoxide")
    parser.add_argument("--users", nargs="+", type=int, default=[1000, 6000, 20_000])
    parser.add_argument("--layouts", nargs="+", default=["packed", "gsi"])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--efforts", action="store_true", help="all efforts, not the default only")
    parser.add_argument("--json", type=Path, help="file that the results are written to")
    arguments = parser.parse_args()
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    base, query = data()
    rows: list[Row] = []
    writes: list[Row] = []
    with start(arguments.server) as server:
        for count in arguments.users:
            for layout in arguments.layouts:
                bench = Bench(server, layout, base[:count], query[: arguments.queries])
                began = time.perf_counter()
                writes.append({"layout": layout, "vectors": count, **bench.fill()})
                print(writes[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
                efforts = EFFORTS[layout] if arguments.efforts else (DEFAULT[layout],)
                for held in (False, True) if layout == "packed" else (False,):
                    for effort in efforts:
                        rows.append(bench.searches(effort, held=held))
                        print(rows[-1], flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        made = json.dumps({"searches": rows, "writes": writes}, indent=1)
        arguments.json.write_text(f"{made}\n")


if __name__ == "__main__":
    main()
