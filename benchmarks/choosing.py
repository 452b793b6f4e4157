"""What vectors cost, and what searches find: prices by vectors of a user, units against recall.

Prices are for a thousand users, each with ten turns a day: a search and two vectors of 384 numbers
a turn, texts of 500 bytes. What a user has is what ten turns a day make until it expires. Money is
from the built-in list prices on demand. Most is predicted by the indexes, as ``ialstore cost`` does
it; what they don't predict is counted by ``ialstore compare``, with embeddings of real dialogue
turns (all-MiniLM-L6-v2) on servers that run here. Recall, units, requests and bytes are counted
alike on any machine; no time is kept.

    IALSTORE_DATA=FOLDER python benchmarks/choosing.py [--json FILE]
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from _report import Lines, Report, arguments
from lsh_units import FILE

from ialstore.cli import main as ialstore
from ialstore.costing import Billing, Configuration, Part, Pricer
from ialstore.estimate import Workload
from ialstore.prices import load_prices
from ialstore.testing.servers import start
from ialstore.url import StoreURL

EVENTUAL: Final = "chunks=1&strong_reads=false"
INDEXES: Final = (
    "sqlite:///memory.db",
    "faiss:///vectors",
    "lsh+dynamodb://app-?chunks=1",
    f"lsh+dynamodb://app-?{EVENTUAL}",
    f"lsh+dynamodb://app-?{EVENTUAL}&layout=packed",
    "dynamodb-vector://app-",
    "dynamodb-vector://app-?strong_reads=false",
    "opensearch://search.example.com/vectors",
)
SIZES: Final = (1_000, 6_000, 20_000)
HOST: Final = "t4g.small"
DISK: Final = "sqlite:///memory.db"
BY_REQUEST: Final = ("lsh+dynamodb:", "dynamodb-vector:")
DRAWN: Final[Mapping[str, tuple[str, Mapping[str, float]]]] = {
    f"embedded, with a {HOST}": ("faiss:///vectors", {f"hosts.{HOST}": 1}),
    "embedded, the disk alone": ("faiss:///vectors", {}),
    "lsh+dynamodb, strong": ("lsh+dynamodb://app-?chunks=1", {}),
    "lsh+dynamodb, eventual": (f"lsh+dynamodb://app-?{EVENTUAL}", {}),
    "lsh+dynamodb, packed": (f"lsh+dynamodb://app-?{EVENTUAL}&layout=packed", {}),
    "dynamodb-vector, eventual": ("dynamodb-vector://app-?strong_reads=false", {}),
    "opensearch": ("opensearch://search.example.com/vectors", {}),
}
"""Lines of the picture: what it is called, its URL, and machines that come on top."""
GROWTH: Final = (500, 1_000, 2_000, 4_000, 6_000, 10_000, 20_000)
MEASURED: Final[Mapping[str, str]] = {
    "sqlite": "sqlite:///vectors.db",
    "faiss": "faiss:///vectors",
    "lsh+dynamodb, eventual": f"lsh+dynamodb://gsi-?endpoint={{dynamodb}}&{EVENTUAL}",
    "lsh+dynamodb, packed": (
        f"lsh+dynamodb://packed-?endpoint={{dynamodb}}&layout=packed&{EVENTUAL}"
    ),
    "dynamodb-vector, eventual": ("dynamodb-vector://own-?endpoint={dynamodb}&strong_reads=false"),
    "opensearch": "opensearch+http://127.0.0.1:{opensearch}/vectors?replicas=0",
}
"""What is compared, by the names of ``DRAWN``."""
USERS: Final = 1_000
COST: Final = f"USD a month for {USERS:,} users"
TURNS_PER_DAY: Final = 10
MESSAGE_BYTES: Final = 500
K: Final = 10
TARGET: Final = 0.95
EFFORTS: Final = "0.2,0.35,0.5,0.65,0.8,0.95"


def price(url: str, vectors: int, machines: Mapping[str, float] | None = None) -> float:
    """Return USD a month, where each user has so many vectors."""
    workload = Workload(
        users=USERS,
        turns_per_day=TURNS_PER_DAY,
        dimension=384,
        message_bytes=MESSAGE_BYTES,
        retention_days=vectors / (2 * TURNS_PER_DAY),
    )
    part = Part("vector", StoreURL.parse(url))
    configuration = Configuration(parts=(part,), billing=Billing.ON_DEMAND, machines=machines or {})
    return Pricer(workload, load_prices()).bill(configuration).total


def compared(sizes: str, queries: int) -> dict[str, Any]:
    """Return what ``ialstore compare`` finds, as JSON has it."""
    folder = os.environ.get("IALSTORE_DATA", "")
    data = Path(folder).absolute() / FILE
    if not folder or not data.exists():
        sys.exit(f"set IALSTORE_DATA to the folder of {FILE}")
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    with ExitStack() as stack:
        stack.enter_context(chdir(stack.enter_context(TemporaryDirectory())))
        places = {
            "dynamodb": stack.enter_context(start("dynoxide")).endpoint,
            "opensearch": stack.enter_context(start("opensearch")).port,
        }
        named = [f"{name}={url.format(**places)}" for name, url in MEASURED.items()]
        options = {
            "data": data,
            "sizes": sizes,
            "queries": queries,
            "effort": EFFORTS,
            "k": K,
            "target": TARGET,
            "text-bytes": MESSAGE_BYTES,
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        if ialstore(["compare", *named, *given, "--setup", "--no-html"]):
            sys.exit("ialstore compare failed")
        kept: dict[str, Any] = json.loads(Path("comparison.json").read_text(encoding="utf-8"))
    return kept


def report_prices(report: Report) -> None:
    """Report prices: the table of the document, and the lines of the picture."""
    prices = report.table(
        "prices",
        f"USD a month for the vectors of {USERS:,} users, by vectors of a user",
        "index",
        *(f"{size:,}" for size in SIZES),
    )
    for url in INDEXES:
        prices.add(f"`{url}`", *(price(url, size) for size in SIZES))
    growth = report.table(
        "growth",
        f"What the vectors of {USERS:,} users cost",
        "index",
        "vectors of a user",
        COST,
    )
    for name, (url, machines) in DRAWN.items():
        for size in GROWTH:
            growth.add(name, size, price(url, size, machines))
    report.pictures.append(
        Lines("growth", "growth", "index", "vectors of a user", COST, tuple(DRAWN))
    )


def report_machines(report: Report) -> None:
    """Report for how many users a machine costs as much as requests do."""
    table = report.table(
        "machines",
        f"Users for whom a {HOST} of their own costs as much, by vectors of a user",
        "index",
        *(f"{size:,}" for size in SIZES),
    )
    machine = price(DISK, SIZES[0], {f"hosts.{HOST}": 1}) - price(DISK, SIZES[0])
    for url in INDEXES:
        if url.startswith(BY_REQUEST):
            each = ((price(url, size) - price(DISK, size)) / USERS for size in SIZES)
            table.add(f"`{url}`", *(math.ceil(machine / one) for one in each))


def report_searches(report: Report, measured: dict[str, Any]) -> None:
    """Report what searches find and take, and what is stored."""
    units = f"read units of a search for {K}"
    searches = report.table(
        "searches",
        "Searches: what they take and find",
        "index",
        "vectors",
        "effort",
        f"recall@{K}",
        "95 % from",
        "to",
        units,
        "requests",
        "round trips",
    )
    for one in measured["searches"]:
        (recall,) = (level for level in one["recalls"] if level["k"] == K)
        searches.add(
            one["index"],
            one["vectors"],
            "default" if one["effort"] is None else f"{one['effort']:g}",
            recall["mean"],
            recall["low"],
            recall["high"],
            one["read_units"],
            one["requests"],
            one["round_trips"],
        )
    report.pictures.append(
        Lines(
            "searches",
            "recall",
            "index",
            units,
            f"recall@{K}",
            tuple(DRAWN),
            only={"vectors": max(one["vectors"] for one in measured["searches"])},
            least_y=0.0,
        )
    )
    report.figures["target"] = TARGET
    enough = report.table(
        "enough",
        f"The least work that finds a recall of {TARGET}",
        "index",
        "vectors",
        "effort",
        f"recall@{K}",
        "read units",
        "requests",
        "round trips",
        "bytes stored",
        "known by",
    )
    stored = {
        (index["name"], size["vectors"]): (size["stored_bytes"], size["stored_by"])
        for index in measured["indexes"]
        for size in index["sizes"]
    }
    for row, one in zip(searches.rows, measured["searches"], strict=True):
        if one["chosen"]:
            index, vectors, effort, recall, _, _, read, requests, trips = row
            found = stored[one["index"], one["vectors"]]
            enough.add(index, vectors, effort, recall, read, requests, trips, *found)


def main() -> None:
    """Report the prices and what was counted."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", default="1000,6000", help="vectors of what is compared")
    parser.add_argument("--queries", type=int, default=50)
    given = parser.parse_args()
    report = Report("choosing", __doc__, ["numpy", "faiss-cpu"])
    measured = compared(given.sizes, given.queries)
    report_searches(report, measured)
    report_prices(report)
    report_machines(report)
    report.finish(given)


if __name__ == "__main__":
    main()
