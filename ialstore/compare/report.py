"""A report of what was measured: tables for people, and the same for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from ialstore.compare.costs import Cost, Workload, cost
from ialstore.compare.figures import Figures, Point, figures
from ialstore.compare.verdict import Crossing, crossings, verdict
from ialstore.compare.wording import amount, effort_text, size_text

if TYPE_CHECKING:
    from ialstore.compare.figures import Latency
    from ialstore.compare.model import Calls, Run
    from ialstore.prices import Prices

__all__ = ["Asked", "Report", "Table", "make_report"]

_SIGNS: Final = {"estimate": "~ ", "units": "<= "}
"""Before stored bytes, by how they are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a report is about.

    Attributes:
        names: of indexes.
        sizes: numbers of vectors.
        k: hits of a search.
        ks: each k of which the recall is told.
        delay_ms: added for each round trip.
        target: recall that is wanted.
        workload: what the indexes are priced for.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    k: int
    ks: tuple[int, ...]
    delay_ms: float
    target: float
    workload: Workload


@dataclass(frozen=True, slots=True)
class Table:
    """A table; columns of numbers begin with ``#``, and the first ``keys`` say what a row is of."""

    title: str
    keys: int
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is told of a run.

    Attributes:
        asked: what it is about.
        run: what was measured.
        found: indexes by size.
        costs: of each of them, in the same order.
        crossings: break-even points.
        verdict: sentences.
        tables: for people.
        notes: what to know about the figures.
        currency: of the costs.
    """

    asked: Asked
    run: Run
    found: tuple[Figures, ...]
    costs: tuple[Cost, ...]
    crossings: tuple[Crossing, ...]
    verdict: tuple[str, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    currency: str

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it, beside what was measured."""
        return {
            "asked": asdict(self.asked),
            "verdict": list(self.verdict),
            "break_even": [asdict(one) for one in self.crossings],
            "searches": [
                {**_plain(point), "chosen": point is one.chosen, "reaches": one.reaches}
                for one in self.found
                for point in one.points
            ],
            "costs": [{**asdict(one), "month": one.month} for one in self.costs],
            "tables": [
                {"title": one.title, "columns": one.columns, "rows": one.rows}
                for one in self.tables
            ],
            "notes": list(self.notes),
        }


def make_report(run: Run, asked: Asked, prices: Prices) -> Report:
    """Return the report of what was measured so far.

    Raises:
        ConfigurationError: the table of prices lacks one that is needed.
    """
    found = figures(
        run,
        asked.names,
        asked.sizes,
        k=asked.k,
        delay_ms=asked.delay_ms,
        target=asked.target,
    )
    costs = tuple(cost(one, run.basis.dimension, asked.workload, prices) for one in found)
    return Report(
        asked=asked,
        run=run,
        found=found,
        costs=costs,
        crossings=tuple(crossings(found, costs, asked.workload)),
        verdict=tuple(verdict(found, costs, asked.workload, prices.currency, asked.delay_ms)),
        tables=(_searches(found, asked.ks), _writes(found), _costs(costs, prices.currency)),
        notes=tuple(_notes(run, asked, prices)),
        currency=prices.currency,
    )


def _plain(point: Point) -> dict[str, Any]:
    calls = asdict(point.search.calls)
    del calls["seconds"], calls["round_trips"]
    return {
        "index": point.index,
        "vectors": point.vectors,
        "effort": point.effort,
        "recalls": [asdict(one) for one in point.recalls],
        "examined": point.search.examined,
        "round_trips": point.round_trips,
        **asdict(point.latency),
        **calls,
    }


def _searches(found: Sequence[Figures], ks: Sequence[int]) -> Table:
    is_by_byte = any(
        point.search.calls.vector_search_bytes for one in found for point in one.points
    )
    return Table(
        "Searches",
        3,
        [
            "index",
            "enough",
            "#vectors",
            "#effort",
            *(f"#recall@{k}" for k in ks),
            "#95 %",
            "#read units",
            *(["#searched"] if is_by_byte else []),
            "#requests",
            "#round trips",
            "#p50 ms",
            "#p95 ms",
            "#p99 ms",
            "#CPU ms",
        ],
        [
            [
                point.index,
                "*" if point is one.chosen and one.reaches else "",
                f"{point.vectors:,}",
                effort_text(point.effort),
                *_recalls(point, ks),
                f"{point.recall.low:.3f}-{point.recall.high:.3f}",
                amount(point.search.calls.read_units),
                *([size_text(point.search.calls.vector_search_bytes)] if is_by_byte else []),
                amount(point.search.calls.requests),
                amount(point.round_trips),
                *_latency(point.latency),
                amount(point.search.calls.cpu_seconds * 1000),
            ]
            for one in found
            for point in one.points
        ],
    )


def _recalls(point: Point, ks: Sequence[int]) -> Iterator[str]:
    by_k = {one.k: one.mean for one in point.recalls}
    for k in ks:
        yield f"{by_k[k]:.3f}" if k in by_k else "-"


def _latency(latency: Latency) -> list[str]:
    every = (latency.p50_ms, latency.p95_ms, latency.p99_ms)
    return ["" if one is None else amount(one) for one in every]


def _writes(found: Sequence[Figures]) -> Table:
    is_by_byte = any(one.size.upserts and one.size.upserts.vector_write_bytes for one in found)
    return Table(
        "Writes and room",
        2,
        [
            "index",
            "#vectors",
            "#upsert units",
            *(["#written"] if is_by_byte else []),
            "#requests",
            "#p50 ms",
            "#p95 ms",
            "#p99 ms",
            "#delete units",
            "#load s",
            "#load units",
            "#held",
            "#process",
            "#stored",
        ],
        [
            [
                one.index.name,
                f"{one.size.vectors:,}",
                *_write(one.size.upserts, one.upsert, is_by_byte=is_by_byte),
                amount(0.0 if one.size.deletes is None else one.size.deletes.write_units),
                *(
                    ["-", "-"]
                    if one.size.load is None
                    else [amount(one.size.load.seconds), amount(one.size.load.write_units)]
                ),
                size_text(one.size.held_bytes),
                _room(one.size.process_bytes),
                _room(one.size.stored_bytes, _SIGNS.get(one.size.stored_by, "")),
            ]
            for one in found
        ],
    )


def _write(calls: Calls | None, latency: Latency, *, is_by_byte: bool) -> list[str]:
    if calls is None:  # pragma: no cover - `figures` leaves out what is not complete
        return []
    written = [size_text(calls.vector_write_bytes)] if is_by_byte else []
    return [amount(calls.write_units), *written, amount(calls.requests), *_latency(latency)]


def _room(count: int | None, sign: str = "") -> str:
    return "-" if count is None else f"{sign}{size_text(count)}"


def _costs(costs: Sequence[Cost], currency: str) -> Table:
    return Table(
        f"Cost, {currency}",
        2,
        [
            "index",
            "#vectors",
            "#million searches",
            "#million upserts",
            "#requests a month",
            "#storage a month",
            "#machines a month",
            "machines",
            "#month",
            "#cores busy",
        ],
        [
            [
                one.index,
                f"{one.vectors:,}",
                *("-" if value is None else f"{value:,.2f}" for value in _prices(one)),
                one.machines or "-",
                "unknown" if one.month is None else f"{one.month:,.2f}",
                amount(one.cores),
            ]
            for one in costs
        ],
    )


def _prices(one: Cost) -> list[float | None]:
    if one.billing == "unknown":
        return [None] * 5
    return [
        one.million_searches,
        one.million_upserts,
        one.requests_month,
        one.storage_month,
        one.machines_month,
    ]


def _notes(run: Run, asked: Asked, prices: Prices) -> Iterator[str]:
    basis, workload = run.basis, asked.workload
    yield (
        f"Data: {basis.data}, {basis.dimension} numbers a vector, {basis.queries} queries for "
        f"{asked.k} hits, metric {basis.metric}, seed {basis.seed}."
    )
    added = (
        f"with {asked.delay_ms:g} ms added for each round trip"
        if asked.delay_ms
        else "no delay added"
    )
    yield f"Latency is that of this machine and of what it reached, {added}."
    yield (
        f"Workload: {workload.users:,} users, each with as many vectors as measured, "
        f"{amount(workload.searches_per_day)} searches and {amount(workload.upserts_per_day)} "
        f"upserts a day; embedded indexes hold the vectors of {workload.active:.0%} of them in "
        "memory at once."
    )
    yield f"Prices: {prices.origin} of {prices.date}, {prices.region}, {prices.currency}."
    yield from _busy(run.environment)
    yield f"Measured with {_environment(run.environment)}."


def _busy(environment: Mapping[str, str]) -> Iterator[str]:
    """Say that the machine had more to do than it has cores."""
    loads = [float(one) for one in environment.get("load average", "0").split(" to ")]
    cores = environment.get("cores", "?")
    if cores.isdecimal() and max(loads) > int(cores):
        yield (
            f"The machine was busy: a load of {environment['load average']} with {cores} cores; "
            "latency and CPU are not those of a machine of its own."
        )


def _environment(environment: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in environment.items())
