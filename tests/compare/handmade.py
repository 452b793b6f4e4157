"""Measurements made by hand, and the report of them."""

from __future__ import annotations

from datetime import date
from typing import Any

from ialstore.compare.costs import Workload
from ialstore.compare.model import Basis, Calls, Index, Load, Recall, Run, Search, Size
from ialstore.compare.report import Asked, Report, make_report
from ialstore.prices import Price, Prices

BASIS = Basis(
    data="turns.npz",
    digest="0" * 16,
    dimension=384,
    queries=50,
    metric="cosine",
    seed=7,
    text_bytes=200,
    optimized=False,
)
ENVIRONMENT = {"ialstore": "1.2.3", "Python": "3.11.9"}


def price(amount: float | None, memory_gib: float | None = None) -> Price:
    return Price(amount=amount, source="a test", memory_gib=memory_gib)


PRICES = Prices(
    date=date(2026, 11, 28),
    region="here",
    currency="EUR",
    origin="prices of a test",
    figures={
        "dynamodb.read_request_million": price(0.125),
        "dynamodb.write_request_million": price(0.625),
        "dynamodb.storage_gb_month": price(0.25),
        "dynamodb.vector_search_gb": price(0.002),
        "dynamodb.vector_write_gb": price(0.5),
        "hosts.small": price(0.02, 2),
        "hosts.large": price(0.1, 16),
        "hosts.own": price(None),
        "opensearch_nodes.node": price(0.05, 4),
        "opensearch.ebs_gb_month": price(0.1),
        "disk.gb_month": price(0.08),
    },
)


def calls(ms: float = 1.0, **given: Any) -> Calls:
    """Return calls that took so long; every fourth one three times as long."""
    trips = given.pop("trips", 0)
    named: dict[str, Any] = {
        "seconds": (ms / 1000, ms / 1000, ms / 1000, 3 * ms / 1000) * 25,
        "round_trips": (trips,) * 100,
        "cpu_seconds": ms / 2000,
        "requests": float(trips),
        "read_units": 0.0,
        "write_units": 0.0,
        "vector_write_bytes": 0.0,
        "vector_search_bytes": 0.0,
    }
    return Calls(**{**named, **given})


def search(recall: float, effort: float | None = None, k: int = 10, **given: Any) -> Search:
    """Return searches of such a recall, with an interval of 0.02 around it."""
    found = Recall(k=k, mean=recall, low=recall - 0.02, high=min(1.0, recall + 0.02))
    examined = given.pop("examined", 100.0)
    return Search(effort=effort, k=k, recalls=(found,), examined=examined, calls=calls(**given))


def size(vectors: int, *searches: Search, **given: Any) -> Size:
    """Return a size that was measured whole."""
    load = Load(
        seconds=1.5,
        cpu_seconds=1.0,
        requests=0,
        read_units=0.0,
        write_units=0.0,
        vector_write_bytes=0.0,
    )
    named: dict[str, Any] = {
        "load": load,
        "first_search_seconds": 0.01,
        "held_bytes": vectors * 2000,
        "process_bytes": vectors * 3000,
        "stored_bytes": vectors * 1000,
        "upserts": calls(2.0),
        "deletes": calls(2.0),
    }
    return Size(vectors=vectors, searches=searches, **{**named, **given})


def table(name: str, *sizes: Size, **given: Any) -> Index:
    """Return an index by that name, which bills units."""
    named: dict[str, Any] = {"url": f"{name}://x", "backend": name, "exact": False, "durable": True}
    return Index(name=name, sizes=sizes, **{**named, **given})


WRITES = calls(5.0, trips=1, write_units=2.0)


def billed(name: str, *points: tuple[int, float, float]) -> Index:
    """Return an index that bills units: vectors, recall and read units."""
    return table(
        name,
        *(
            size(
                vectors,
                search(recall, ms=4.0, trips=3, read_units=units),
                upserts=WRITES,
                deletes=WRITES,
                held_bytes=0,
                stored_by="units",
            )
            for vectors, recall, units in points
        ),
    )


def embedded(name: str, *points: tuple[int, float], **given: Any) -> Index:
    """Return an index in this process: vectors and recall."""
    return table(name, *(size(vectors, search(recall)) for vectors, recall in points), **given)


WORKLOAD = Workload(users=1000, searches_per_day=20, upserts_per_day=40, active=0.1)


def report(*indexes: Index, prices: Prices = PRICES, **asked: Any) -> Report:
    """Return the report of some indexes."""
    named: dict[str, Any] = {
        "names": tuple(one.name for one in indexes),
        "sizes": tuple(sorted({size.vectors for one in indexes for size in one.sizes})),
        "k": 10,
        "ks": (10,),
        "delay_ms": 0.0,
        "target": 0.95,
        "workload": WORKLOAD,
    }
    run = Run(basis=BASIS, environment=ENVIRONMENT, indexes=indexes)
    return make_report(run, Asked(**{**named, **asked}), prices)


PACKED = billed("packed", (1000, 0.97, 9.0), (10_000, 0.96, 30.0), (40_000, 0.93, 90.0))
FAISS = embedded("faiss", (1000, 1.0), (10_000, 0.99), (40_000, 0.98))
MEMORY = embedded("memory", (1000, 1.0), (10_000, 1.0), exact=True, durable=False)
