"""What indexes cost a month under a stated workload, by the dated table of prices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ialstore.estimate import GRAPH_SHARE, graph_bytes
from ialstore.prices import HOURS_PER_MONTH

if TYPE_CHECKING:
    from ialstore.compare.figures import Figures
    from ialstore.compare.model import Calls
    from ialstore.prices import Prices

__all__ = ["DAYS_PER_MONTH", "TIE", "Cost", "Workload", "break_even", "cost"]

DAYS_PER_MONTH: Final = HOURS_PER_MONTH / 24
TIE: Final = 1.01
"""Prices, or units, of which none is more than so many times the least, are the same."""
_MILLION: Final = 1_000_000
_GB: Final = 1 << 30
_FILLED: Final = 0.75
"""Of a machine's memory; the rest is for the system and the program."""
_SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is asked of an index; the number of vectors of a user is that of the measurement.

    Attributes:
        users: who have vectors.
        searches_per_day: of each user.
        upserts_per_day: of each user.
        active: share of the users whose vectors an embedded index has in memory at once.
    """

    users: int
    searches_per_day: float
    upserts_per_day: float
    active: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an index costs with so many vectors a user, in the currency of the table.

    Attributes:
        index: name.
        vectors: of each user.
        billing: ``requests``, ``machines`` or ``unknown``: no table says what it costs.
        million_searches: of as many; None where machines are paid by the hour.
        million_upserts: likewise.
        requests_month: of all requests of the workload.
        storage_month: of what is stored.
        machines_month: of machines.
        machines: which, for people; empty if there are none.
        cores: busy in this process or, for an embedded index, on the machines; a mean.
    """

    index: str
    vectors: int
    billing: str
    million_searches: float | None
    million_upserts: float | None
    requests_month: float
    storage_month: float
    machines_month: float
    machines: str
    cores: float

    @property
    def month(self) -> float | None:
        """All of it; None if it is not known."""
        if self.billing == "unknown":
            return None
        return self.requests_month + self.storage_month + self.machines_month

    def month_at(self, searches_per_day: float, workload: Workload) -> float:
        """Return what a month costs with another number of searches."""
        more = searches_per_day - workload.searches_per_day
        calls = more * workload.users * DAYS_PER_MONTH
        return (self.month or 0.0) + calls * (self.million_searches or 0.0) / _MILLION


def cost(found: Figures, dimension: int, workload: Workload, prices: Prices) -> Cost:
    """Return what an index costs, with the effort that is enough.

    A service that bills units is paid by the request and for what is stored. An embedded index is
    paid as the machines of section ``hosts`` whose memory holds what it holds, the cheapest, and
    their disk; OpenSearch as nodes whose memory holds its graph once, by its own formula.

    Raises:
        ConfigurationError: the table lacks a price that is needed.
    """
    size, search, upserts = found.size, found.chosen.search.calls, found.size.upserts
    if upserts is None:  # pragma: no cover - `figures` leaves out what is not complete
        raise AssertionError(found.index.name)
    daily = workload.users * (
        workload.searches_per_day * search.cpu_seconds
        + workload.upserts_per_day * upserts.cpu_seconds
    )
    stored = workload.users * (size.stored_bytes or 0) / _GB
    million_searches = million_upserts = None
    requests = storage = paid = 0.0
    machines, billing = "", "unknown"
    if _is_billed(search) or _is_billed(upserts):
        billing = "requests"
        million_searches = _million(search, prices)
        million_upserts = _million(upserts, prices)
        day = workload.searches_per_day * million_searches
        day += workload.upserts_per_day * million_upserts
        requests = day * workload.users * DAYS_PER_MONTH / _MILLION
        storage = stored * prices.of("dynamodb.storage_gb_month")
    elif not (search.requests or upserts.requests):
        billing = "machines"
        need = workload.users * workload.active * size.held_bytes
        machines, paid = _machines("hosts", need, _FILLED, prices)
        storage = stored * prices.of("disk.gb_month")
    elif found.index.backend.startswith("opensearch"):
        billing = "machines"
        need = workload.users * size.vectors * graph_bytes(dimension)
        machines, paid = _machines("opensearch_nodes", need, GRAPH_SHARE, prices)
        storage = stored * prices.of("opensearch.ebs_gb_month")
    return Cost(
        index=found.index.name,
        vectors=size.vectors,
        billing=billing,
        million_searches=million_searches,
        million_upserts=million_upserts,
        requests_month=requests,
        storage_month=storage,
        machines_month=paid,
        machines=machines,
        cores=daily / _SECONDS_PER_DAY,
    )


def break_even(
    one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]
) -> float | None:
    """Return where two curves cross for the first time, between points, on logarithmic scales.

    They cross where one is more than a tie below the other before, and above it behind.

    Args:
        one: pairs of x and y, both above 0, ascending.
        other: with the same x.
    """
    gaps = [
        (math.log(x), math.log(y) - math.log(z)) for (x, y), (_, z) in zip(one, other, strict=True)
    ]
    clear = [place for place, (_, gap) in enumerate(gaps) if abs(gap) > math.log(TIE)]
    for before, behind in pairwise(clear):
        if gaps[before][1] * gaps[behind][1] < 0:
            (x, gap), (further, next_gap) = next(
                (one, other)
                for one, other in pairwise(gaps[before : behind + 1])
                if one[1] * other[1] <= 0
            )
            return math.exp(x + (further - x) * gap / (gap - next_gap))
    return None


def _is_billed(calls: Calls) -> bool:
    return bool(
        calls.read_units
        or calls.write_units
        or calls.vector_search_bytes
        or calls.vector_write_bytes
    )


def _million(calls: Calls, prices: Prices) -> float:
    """Return the price of a million such calls."""
    units = calls.read_units * prices.of("dynamodb.read_request_million")
    units += calls.write_units * prices.of("dynamodb.write_request_million")
    for size, name in (
        (calls.vector_search_bytes, "dynamodb.vector_search_gb"),
        (calls.vector_write_bytes, "dynamodb.vector_write_gb"),
    ):
        if size:
            units += size / _GB * _MILLION * prices.of(name)
    return units


def _machines(section: str, need_bytes: float, usable: float, prices: Prices) -> tuple[str, float]:
    """Return the cheapest machines of one type with so much memory, and what a month costs."""
    name, count = prices.cheapest(section, need_bytes, usable=usable)
    return f"{count} {name}", count * prices.of(f"{section}.{name}") * HOURS_PER_MONTH
