"""What a month of an index costs, and that what it is said to take is what a node shows."""

from __future__ import annotations

import random
import string
from dataclasses import replace

import pytest

from ialstore.costing import Bill, Configuration, Part, Pricer
from ialstore.estimate import Workload, graph_bytes, sample_records
from ialstore.prices import load_prices
from ialstore.url import StoreURL
from ialstore.vector_model import IndexSpec
from ialstore_backends.opensearch.estimate import document_bytes
from tests.opensearch.conftest import opened, tell

WORKLOAD = Workload(users=1000, turns_per_day=10, retention_days=100, dimension=384)
"""Two million vectors of 384 numbers and 500 bytes of text."""
PRICES = load_prices()


def bill(options: str = "", workload: Workload = WORKLOAD) -> Bill:
    part = Part("vector", StoreURL.parse(f"opensearch://host/index{options}"))
    return Pricer(workload, PRICES).bill(Configuration(parts=(part,), machines={}))


def nodes(options: str = "", workload: Workload = WORKLOAD) -> tuple[str, float]:
    """Return which machines are paid, and how many."""
    (line,) = (one for one in bill(options, workload).lines if one.component == "machines")
    assert line.amount == pytest.approx(line.quantity * 730 * PRICES.of(line.place))
    return line.place, line.quantity


def test_a_graph_takes_what_the_documentation_says() -> None:
    assert graph_bytes(128, 16) == pytest.approx(1.1 * (4 * 128 + 8 * 16))
    assert graph_bytes(768, 8, 1) == pytest.approx(1.1 * (96 + 64))


def test_nodes_hold_the_graphs_of_all_copies_in_a_quarter_of_their_memory() -> None:
    """3.4 GiB of graphs: a node of 16 GiB holds one copy."""
    assert nodes("?replicas=0") == ("opensearch_nodes.r6g.large.search", 1)
    assert nodes() == ("opensearch_nodes.r6g.large.search", 2)
    assert nodes("?mode=on_disk&engine=faiss") == ("opensearch_nodes.t3.small.search", 2)
    few = replace(WORKLOAD, users=1)
    assert nodes("", few) == ("opensearch_nodes.t3.small.search", 2)  # a copy on each


def test_volumes_hold_all_copies_and_what_is_kept_free() -> None:
    (line,) = (one for one in bill().lines if one.component == "storage")
    assert line.quantity == pytest.approx(2 * 2e6 * (26 * 384 + 2.8 * 500 + 100) / 0.76 / 1e9)
    assert line.amount == pytest.approx(line.quantity * 0.122)
    assert bill().total == pytest.approx(line.amount + 2 * 730 * 0.167)


@pytest.mark.parametrize(
    ("users", "units"), [(1, 2), (1000, 1 + 2 * 3.410 / 1.5)], ids=["few", "many"]
)
def test_serverless_is_paid_by_units_and_for_one_copy(users: int, units: float) -> None:
    workload = replace(WORKLOAD, users=users)
    machines, storage = sorted(
        bill("?aws_service=aoss&refresh=never", workload).lines, key=lambda one: one.component
    )
    assert machines.place == "opensearch.ocu_hour"
    assert machines.quantity == pytest.approx(units, rel=1e-3)
    assert storage.amount == pytest.approx(users * 2000 * (26 * 384 + 1500) / 1e9 * 0.024)


def test_a_password_is_not_among_what_is_shown() -> None:
    part = Part("vector", StoreURL.parse("opensearch://me:secret@host/index?replicas=0"))
    assert part.shown() == "opensearch://host/index?replicas=0"


@pytest.mark.parametrize(("dimension", "text_bytes"), [(384, 500), (64, 2000)])
def test_a_document_takes_what_is_estimated(
    port: int, index_name: str, dimension: int, text_bytes: int
) -> None:
    chance = random.Random(dimension)
    records = [
        replace(one, text=words(chance, text_bytes))
        for one in sample_records(300, dimension, text_bytes, is_kept=False)
    ]
    with opened(port, index_name, IndexSpec(dimension)) as index:
        index.setup()
        index.bulk_load(("0" * 36, one) for one in records)
    tell(port, "POST", f"/{index_name}/_flush?force=true")
    told = tell(port, "GET", f"/{index_name}/_stats/store")
    taken = told["_all"]["primaries"]["store"]["size_in_bytes"] / len(records)
    assert document_bytes(dimension, text_bytes) == pytest.approx(taken, rel=0.2)


def words(chance: random.Random, size: int) -> str:
    """Return random words of so many letters together."""
    found = ""
    while len(found) < size:
        found += "".join(chance.choices(string.ascii_lowercase, k=chance.randrange(2, 10))) + " "
    return found[:size]
