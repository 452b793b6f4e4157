"""What vectors cost a month, by index and by how many vectors a user has.

A thousand users, each with ten turns a day: a search and two vectors of 384 numbers a turn, texts
of 500 bytes. What a user has is what ten turns a day make until it expires. Units are predicted by
the indexes, money is from the built-in list prices on demand: as ``ialstore cost`` does it. Nothing
is measured, so that any machine finds the same. Of embedded indexes the price is that of their
disk: the machine is that of the application.

    python benchmarks/choosing.py [--json FILE]
"""

from __future__ import annotations

from typing import Final

from _report import Report, arguments

from ialstore.costing import Billing, Configuration, Part, Pricer
from ialstore.estimate import Workload
from ialstore.prices import load_prices
from ialstore.url import StoreURL

INDEXES: Final = (
    "sqlite:///memory.db",
    "faiss:///vectors",
    "lsh+dynamodb://app-?chunks=1",
    "lsh+dynamodb://app-?chunks=1&strong_reads=false",
    "dynamodb-vector://app-",
    "dynamodb-vector://app-?strong_reads=false",
)
SIZES: Final = (1_000, 6_000, 20_000)
USERS: Final = 1_000
TURNS_PER_DAY: Final = 10


def price(url: str, vectors: int) -> float:
    """Return USD a month, where each user has so many vectors."""
    workload = Workload(
        users=USERS,
        turns_per_day=TURNS_PER_DAY,
        dimension=384,
        message_bytes=500,
        retention_days=vectors / (2 * TURNS_PER_DAY),
    )
    part = Part("vector", StoreURL.parse(url))
    configuration = Configuration(parts=(part,), billing=Billing.ON_DEMAND, machines={})
    return Pricer(workload, load_prices()).bill(configuration).total


def main() -> None:
    """Report the prices."""
    given = arguments(__doc__).parse_args()
    report = Report("choosing", __doc__)
    prices = report.table(
        "prices",
        f"USD a month for the vectors of {USERS:,} users, by vectors of a user",
        "index",
        *(f"{size:,}" for size in SIZES),
    )
    for url in INDEXES:
        prices.add(f"`{url}`", *(price(url, size) for size in SIZES))
    report.finish(given)


if __name__ == "__main__":
    main()
