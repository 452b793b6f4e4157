"""What a search of the layout ``gsi`` reads, and what it finds: units against recall, over effort.

Embeddings of real dialogue turns (all-MiniLM-L6-v2, 384 numbers) with texts of 200 bytes. Recall@10
counts scores, against exact search. Units don't depend on the machine.

    IALSTORE_DATA=FOLDER python benchmarks/lsh_units.py [--users 1000 6000 20000]
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from _report import Bars, Report, arguments
from numpy.typing import NDArray

from ialstore import IndexSpec, VectorRecord, meter
from ialstore.ids import message_id
from ialstore.testing.servers import RunningServer, start
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.codec import CODECS, CompressionName, VectorCodec
from ialstore_backends.lsh.gsi import EFFORT

FILE: Final = "dialog20k_minilm.npz"
START: Final = datetime(2026, 11, 1, tzinfo=UTC)
SPEC: Final = IndexSpec(384)
EFFORTS: Final = (0.3, 0.5, 0.7, 0.8, EFFORT, 0.95, 1.0)
K: Final = 10
TEXT: Final = "x" * 200
COMPRESSIONS: Final[tuple[CompressionName, ...]] = ("none", "zlib", "zstd")

Vectors = NDArray[np.float32]


def data() -> tuple[Vectors, Vectors]:
    """Return vectors and queries, each of length 1."""
    folder = os.environ.get("IALSTORE_DATA", "")
    path = Path(folder) / FILE
    if not folder or not path.exists():
        sys.exit(f"set IALSTORE_DATA to the folder of {FILE}")
    held: Any = np.load(path)
    found: list[Vectors] = [held[name].astype(np.float32) for name in ("base", "query")]
    base, query = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in found)
    return base, query


def records(vectors: Vectors, first: int = 0, text: str = TEXT) -> Iterator[VectorRecord]:
    """Yield records, a minute apart, in sessions of twenty; numbered from ``first`` on."""
    for number, vector in enumerate(vectors, first):
        at, session = START + timedelta(minutes=number), f"session-{number // 20}"
        made = message_id("user", session, at, "user", str(number))
        yield VectorRecord(made, vector, session, "user", text)


def sizes(report: Report, vectors: Vectors) -> None:
    """Report what each codec makes of a vector."""
    table = report.table(
        "codecs",
        "A vector of 384 numbers",
        "codec",
        "compression",
        "bytes",
        "saved by compression, %",
        "largest error",
    )
    for name in CODECS:
        plain = 0.0
        for compression in COMPRESSIONS:
            blobs = VectorCodec(name, compression).encode(vectors)
            mean = statistics.fmean(map(len, blobs))
            plain = plain or mean
            saved = (1 - mean / plain) * 100
            table.add(name, compression, mean, saved, VectorCodec(name).error)


class Found:
    """Searches of one kind, and what they took."""

    def __init__(self) -> None:
        self._recalls: list[float] = []
        self._reads: list[float] = []
        self._requests: list[int] = []
        self._shares: list[float] = []

    def ask(
        self, index: LshDynamoIndex, user: str, asked: Vectors, base: Vectors, **how: Any
    ) -> None:
        """Search for each of some vectors."""
        for vector in asked:
            least = float(np.sort(base @ vector)[-K])
            with meter() as metered:
                found = index.search(user, vector, K, **how)
            # A thousandth: scores are those of the vectors that are kept, in int8.
            self._recalls.append(sum(hit.score >= least - 1e-3 for hit in found) / K)
            self._reads.append(metered.units.read)
            self._requests.append(metered.units.requests)
            self._shares.append(found.examined / len(base))

    def row(self) -> list[float]:
        """Return the means."""
        return [
            statistics.fmean(self._recalls),
            statistics.fmean(self._reads),
            statistics.fmean(self._requests),
            statistics.fmean(self._shares) * 100,
        ]


def search(
    report: Report, server: RunningServer, base: Vectors, query: Vectors, counts: list[int]
) -> None:
    """Report what searches of users with so many vectors read and find."""
    for chunks in (10, 1):
        columns = ("effort", f"recall@{K}", "read units", "requests", "read, %")
        title = f"Searches, in {chunks} chunks" if chunks > 1 else "Searches, in one chunk"
        table = report.table(f"search_{chunks}", title, "vectors", *columns)
        report.pictures.append(Bars(f"search_{chunks}", ("vectors", "effort"), ["read units"]))
        prefix = f"units{chunks}-"
        options = LshOptions(endpoint=server.endpoint, chunks=chunks)
        with LshDynamoIndex(prefix, SPEC, options, timeout_seconds=60) as index:
            index.setup()
            for count in counts:
                user, mine = f"user-{count}", base[:count]
                index.bulk_load((user, one) for one in records(mine))
                for effort in EFFORTS:
                    found = Found()
                    found.ask(index, user, query, mine, effort=effort, consistency="eventual")
                    table.add(count, f"{effort:g}", *found.row())
                found = Found()
                found.ask(index, user, query[:5], mine, consistency="strong")
                table.add(count, "strong", *found.row())


def writes(report: Report, server: RunningServer, base: Vectors) -> None:
    """Report what writes cost, one vector each."""
    table = report.table("writes", "Writes of one vector", "call", "write units", "requests")
    options = LshOptions(endpoint=server.endpoint)
    first, second, third = records(base[:3])
    moved = VectorRecord(first.id, second.vector, first.session_id, first.role, TEXT)
    with LshDynamoIndex("writes-", SPEC, options) as index:
        index.setup()
        index.upsert("user", [third])
        calls: dict[str, Callable[[], object]] = {
            "upsert, new": lambda: index.upsert("user", [first]),
            "upsert, the same again": lambda: index.upsert("user", [first]),
            "upsert, another vector": lambda: index.upsert("user", [moved]),
            "delete": lambda: index.delete("user", [first.id]),
        }
        for name, call in calls.items():
            with meter() as metered:
                call()
            table.add(name, metered.units.write, metered.units.requests)


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--server", default="dynoxide")
    parser.add_argument("--users", nargs="+", type=int, default=[1000, 6000, 20_000])
    parser.add_argument("--queries", type=int, default=50)
    given = parser.parse_args()
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    base, query = data()
    report = Report("lsh_units", __doc__, ["numpy"])
    report.environment["server"] = given.server
    sizes(report, base[:1000])
    with start(given.server) as server:
        writes(report, server, base)
        search(report, server, base, query[: given.queries], given.users)
    report.finish(given)


if __name__ == "__main__":
    main()
