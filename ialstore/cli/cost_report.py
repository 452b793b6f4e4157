"""What ``ialstore cost`` says of a configuration: as tables and sentences, or as JSON has it."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from ialstore.costing import advise, break_even, capacity, cheapest
from ialstore.costing.bill import DAYS_PER_MONTH, TARGET_UTILIZATION, Billing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ialstore.cli.output import Output
    from ialstore.costing import Configuration, Pricer

__all__ = ["CostReport"]

_MONTHS: Final = (1, 3, 6, 12, 24, 36, 60, 84, 120)
_MONTHS_SHOWN: Final = 36
"""Of what is kept for ever."""
_WHOLE: Final = 1000
"""From which a quantity is shown without decimals."""
_MONTH_DAYS: Final = 365 / 12


class CostReport:
    """What is said of a configuration."""

    def __init__(self, pricer: Pricer, configuration: Configuration) -> None:
        self._pricer = pricer
        self._configuration = configuration
        self._bill = pricer.bill(configuration)
        self._is_metered = bool(self._bill.calls)
        estimates = pricer.estimates(configuration)
        self._notes = [note for one in estimates for note in one.notes]
        self._capacity = capacity(estimates, pricer.workload)
        self._advice = advise(pricer, configuration)
        self._cheapest = {
            "keeping every promise": cheapest(pricer, configuration, keeps_all=True),
            "giving up what is named above": cheapest(pricer, configuration, keeps_all=False),
        }
        self._growth = list(self._grown())

    # -- figures --------------------------------------------------------------------------------

    def _grown(self) -> Iterator[tuple[int, float, float]]:
        """Yield months, GB and the price of such a month, until no more is kept."""
        kept = self._pricer.workload.retention_days
        last = _MONTHS_SHOWN if kept is None else round(kept / _MONTH_DAYS)
        for month in sorted({*(one for one in _MONTHS if one < last), max(last, 1)}):
            bill = self._pricer.at(month * _MONTH_DAYS).bill(self._configuration)
            size = sum(line.quantity for line in bill.lines if line.component == "storage")
            yield month, size, bill.total

    def _by_billing(self) -> dict[Billing, float]:
        """Return the price of a month by how reads and writes are paid."""
        if not self._is_metered:
            return {}
        return {
            one: self._pricer.bill(replace(self._configuration, billing=one)).total
            for one in Billing
        }

    def _break_even(self) -> dict[Billing, dict[str, float]]:
        if not self._is_metered:
            return {}
        return {
            billing: {
                kind: break_even(self._pricer.prices, kind, billing) for kind in ("read", "write")
            }
            for billing in Billing
            if billing is not Billing.ON_DEMAND
        }

    # -- for programs ---------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        prices = self._pricer.prices
        return {
            "workload": asdict(self._pricer.workload),
            "prices": {
                "date": prices.date.isoformat(),
                "region": prices.region,
                "currency": prices.currency,
                "origin": prices.origin,
            },
            "configuration": _plain(self._configuration),
            "total": self._bill.total,
            "notes": self._notes,
            "lines": [asdict(line) for line in self._bill.lines],
            "calls": [asdict(call) for call in self._bill.calls],
            "growth": [
                {"month": month, "gigabytes": size, "total": total}
                for month, size, total in self._growth
            ],
            "by_billing": self._by_billing(),
            "break_even": self._break_even(),
            "mean_utilization": TARGET_UTILIZATION / self._pricer.workload.peak_factor,
            "advice": [
                {
                    "change": one.change,
                    "difference": one.difference,
                    "saves": one.saves,
                    "costs": one.costs,
                    "gives_up": one.gives_up,
                }
                for one in self._advice
            ],
            "cheapest": {
                name: {**_plain(one), "total": self._pricer.bill(one).total}
                for name, one in self._cheapest.items()
            },
            "capacity": {
                "peaks": [asdict(peak) for peak in self._capacity.peaks],
                "partitions": [
                    {
                        "name": load.partition.name,
                        "place": load.partition.place,
                        "read": load.read,
                        "write": load.write,
                        "at_once": load.at_once,
                        "room": load.room,
                    }
                    for load in self._capacity.loads
                    if load.room < math.inf
                ],
                "warnings": self._capacity.warnings,
            },
        }

    # -- for people -----------------------------------------------------------------------------

    def show(self, out: Output, *, explain: bool) -> None:
        """Write tables and sentences."""
        self._show_bill(out)
        if explain and self._bill.calls:
            self._show_calls(out)
        self._show_growth(out)
        if self._is_metered:
            self._show_billing(out)
            self._show_capacity(out)
        if self._advice:
            self._show_advice(out)
        prices = self._pricer.prices
        out.heading("Prices")
        out.line(
            f"{prices.currency}, list prices of {prices.region} as of {prices.date}, from "
            f"{prices.origin}: check yours, and give them with --prices"
        )

    def _show_bill(self, out: Output) -> None:
        workload, currency = self._pricer.workload, self._pricer.prices.currency
        out.heading("Workload")
        given = {name.replace("_", " "): value for name, value in asdict(workload).items()}
        out.table(
            ["", "#figure"],
            [
                [name, "for ever" if value is None else f"{value:,g}"]
                for name, value in given.items()
            ],
        )
        if workload.retention_days is None:
            out.heading("A month, after a year")
        else:
            out.heading("A month, once as much expires as is said")
        for line in _named(self._configuration):
            out.line(line)
        out.table(
            ["component", "place", "#quantity", "unit", f"#{currency}"],
            [
                [
                    line.component,
                    line.place,
                    _number(line.quantity),
                    line.unit,
                    f"{line.amount:,.2f}",
                ]
                for line in self._bill.lines
            ]
            + [["total", "", "", "", f"{self._bill.total:,.2f}"]],
        )
        for note in self._notes:
            out.line(note)
        turns = workload.users * workload.turns_per_day * DAYS_PER_MONTH
        out.line(
            f"{self._bill.total / workload.users:.6f} {currency} a user, "
            f"{self._bill.total / turns * 1e6:,.2f} for a million turns"
        )

    def _show_calls(self, out: Output) -> None:
        out.heading("By call")
        out.table(
            ["call", "#times", "#write units", "#read units", f"#{self._pricer.prices.currency}"],
            [
                [
                    call.name,
                    _number(call.times),
                    f"{call.write:,.2f}",
                    f"{call.read:,.2f}",
                    f"{call.amount:,.2f}",
                ]
                for call in self._bill.calls
            ],
        )

    def _show_growth(self, out: Output) -> None:
        out.heading("As it grows")
        out.table(
            ["#after months", "#GB", f"#{self._pricer.prices.currency} a month"],
            [[str(month), f"{size:,.1f}", f"{total:,.2f}"] for month, size, total in self._growth],
        )

    def _show_billing(self, out: Output) -> None:
        even, currency = self._break_even(), self._pricer.prices.currency
        out.heading("On demand, provisioned or reserved")
        out.table(
            ["billing", f"#{currency} a month", "#reads: cheaper above", "#writes: cheaper above"],
            [
                [
                    str(billing),
                    f"{total:,.2f}",
                    *(
                        f"{even[billing][kind]:.1%}" if billing in even else ""
                        for kind in ("read", "write")
                    ),
                ]
                for billing, total in self._by_billing().items()
            ],
        )
        factor = self._pricer.workload.peak_factor
        out.line(
            "Capacity is planned so that the peak uses "
            f"{TARGET_UTILIZATION:.0%} of it; at {factor:g} times the mean, "
            f"{TARGET_UTILIZATION / factor:.1%} of it is used on the mean. "
            f"{_least(self._by_billing(), even, TARGET_UTILIZATION / factor)}"
        )

    def _show_capacity(self, out: Output) -> None:
        out.heading("At the peak, units a second")
        out.table(
            ["place", "#read", "#write"],
            [
                [peak.place, f"{peak.read:,.1f}", f"{peak.write:,.1f}"]
                for peak in self._capacity.peaks
            ],
        )
        out.heading("The busiest user's partitions, at the peak")
        out.table(
            ["partition", "place", "#read", "#write", "#one call", "#room"],
            [
                [
                    load.partition.name,
                    load.partition.place,
                    f"{load.read:,.3f}",
                    f"{load.write:,.3f}",
                    f"{load.at_once:,.1f}",
                    f"{load.room:,.0f} times",
                ]
                for load in self._capacity.loads
                if load.room < math.inf
            ],
            keys=2,
        )
        for warning in self._capacity.warnings:
            out.line(f"warning: {warning}", style="yellow")

    def _show_advice(self, out: Output) -> None:
        currency = self._pricer.prices.currency
        out.heading("What a change would do")
        for one in self._advice:
            out.line(one.sentence(currency))
        out.heading("The cheapest")
        for name, configuration in self._cheapest.items():
            total = self._pricer.bill(configuration).total
            out.line(f"{name}: {total:,.2f} {currency} a month")
            for line in _named(configuration):
                out.line(f"  {line}")


def _least(
    totals: Mapping[Billing, float], even: Mapping[Billing, Mapping[str, float]], used: float
) -> str:
    """Return which billing costs least, and why that is not what the break-evens say.

    Args:
        totals: of a month.
        even: shares of reads and writes above which capacity is cheaper than requests.
        used: share of the capacity on the mean.
    """
    least = min(totals, key=lambda one: totals[one])
    text = f"Here {least} costs least."
    dearer = [
        billing
        for billing, shares in even.items()
        if used > max(shares.values()) and totals[billing] > totals[Billing.ON_DEMAND]
    ]
    if not dearer:
        return text
    return (
        f"{text} That is above the shares of {' and '.join(dearer)}, which would be cheaper than "
        "requests if more were used: capacity comes in whole units of each table and index, and "
        "is reserved in blocks of 100."
    )


def _named(configuration: Configuration) -> Iterator[str]:
    yield from dict.fromkeys(part.shown() for part in configuration.parts)  # store and index
    yield f"billing {configuration.billing}"
    if configuration.cache is not None:
        cache = configuration.cache
        yield f"a cache on {cache.node} that answers {cache.hit_rate:.0%} of what it can"
    for name in configuration.machines:
        yield f"on {name}"


def _plain(configuration: Configuration) -> dict[str, Any]:
    cache = configuration.cache
    return {
        "urls": [part.shown() for part in configuration.parts],
        "billing": configuration.billing,
        "cache": None if cache is None else asdict(cache),
        "machines": dict(configuration.machines),
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE else f"{value:,.3g}"
