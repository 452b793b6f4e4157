"""What other options would save or cost, one at a time, and the cheapest of all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ialstore.costing.bill import Billing
from ialstore.errors import ConfigurationError, UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ialstore.costing.bill import Bill
    from ialstore.costing.configuration import Configuration, Pricer

__all__ = ["Advice", "advise", "cheapest"]

_CENT: Final = 0.005
_NAMED: Final = 3
"""Causes that a sentence names."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What one change would do.

    Attributes:
        change: such as ``user_time_index=false``.
        difference: of money a month; what is saved is negative.
        saves: amounts by what becomes cheaper.
        costs: amounts by what becomes dearer.
        gives_up: what is lost by it; empty for nothing.
        configuration: as it would be.
    """

    change: str
    difference: float
    saves: dict[str, float]
    costs: dict[str, float]
    gives_up: str
    configuration: Configuration

    def sentence(self, currency: str) -> str:
        """Return it in words."""
        if not self.saves and not self.costs:
            return f"{self.change} changes nothing."
        parts: list[str] = []
        for verb, amounts in (("saves", self.saves), ("costs", self.costs)):
            if amounts:
                parts.append(f"{verb} {sum(amounts.values()):,.2f} ({_named(amounts)})")
        balance = "saving" if self.difference < 0 else "more"
        text = f"{self.change} {' and '.join(parts)}"
        if len(parts) > 1:
            text += f": {abs(self.difference):,.2f} {balance}"
        text += f" {currency} a month"
        return f"{text}. It gives up {self.gives_up}." if self.gives_up else f"{text}."


@dataclass(frozen=True, slots=True)
class _Change:
    name: str
    gives_up: str
    configuration: Configuration


def advise(pricer: Pricer, configuration: Configuration) -> list[Advice]:
    """Return what each other value of each option would do, the greatest saving first."""
    bill = pricer.bill(configuration)
    found: list[Advice] = []
    for change in _changes(pricer, configuration):
        other = _priced(pricer, change.configuration)
        if other is not None:
            found.append(_advice(change, bill, other))
    return sorted(found, key=lambda one: (one.difference, one.change))


def cheapest(pricer: Pricer, configuration: Configuration, *, keeps_all: bool) -> Configuration:
    """Return the cheapest configuration that is found by changing one option after another.

    Args:
        pricer: of the workload.
        configuration: to begin with.
        keeps_all: give up nothing that the configuration promises.
    """
    best, least = configuration, pricer.bill(configuration).total
    while True:
        better = best
        for change in _changes(pricer, best):
            if keeps_all and change.gives_up:
                continue
            bill = _priced(pricer, change.configuration)
            if bill is not None and bill.total < least - _CENT:
                better, least = change.configuration, bill.total
        if better == best:
            return best
        best = better


def _changes(pricer: Pricer, configuration: Configuration) -> Iterator[_Change]:
    """Yield configurations that differ in one thing."""
    for place, part in enumerate(configuration.parts):
        for choice in part.choices:
            value = part.value(choice.option)
            rank = choice.values.index(value) if value in choice.values else 0
            for number, other in enumerate(choice.values):
                if other != value:
                    yield _Change(
                        f"{part.url.scheme} {choice.option}={other}",
                        choice.gives_up if number > rank else "",
                        configuration.with_option(place, choice.option, other),
                    )
    estimates = pricer.estimates(configuration)
    if any(one.calls and not one.is_on_demand_only for one in estimates):
        yield from _billings(configuration)
    if any(call.is_cached for one in estimates for call in one.calls):
        yield from _caches(pricer, configuration)


def _billings(configuration: Configuration) -> Iterator[_Change]:
    now = configuration.billing
    for billing in Billing:
        if billing is now:
            continue
        lost: list[str] = []
        if now is Billing.ON_DEMAND:
            lost.append("room for peaks above the planned one")
        if billing.years > now.years:
            lost.append("the freedom to need less before the term ends")
        yield _Change(
            f"billing {billing}", " and ".join(lost), replace(configuration, billing=billing)
        )


def _caches(pricer: Pricer, configuration: Configuration) -> Iterator[_Change]:
    if configuration.cache is not None:
        yield _Change("no cache", "", replace(configuration, cache=None))
        return
    try:
        cache = pricer.cache()
    except ConfigurationError:
        return  # the table of prices has none that is large enough
    yield _Change(
        f"a cache on {cache.node}, which answers {cache.hit_rate:.0%},",
        "",
        replace(configuration, cache=cache),
    )


def _priced(pricer: Pricer, configuration: Configuration) -> Bill | None:
    """Return the bill, or None where the backend or the table of prices does not say."""
    try:
        return pricer.bill(configuration)
    except (ConfigurationError, UnsupportedOperationError):
        return None


def _named(amounts: dict[str, float]) -> str:
    """Return the greatest amounts with their names, and what the others are together."""
    ranked = sorted(amounts.items(), key=lambda one: (-one[1], one[0]))
    named = [f"{name} {amount:,.2f}" for name, amount in ranked[:_NAMED]]
    if rest := ranked[_NAMED:]:
        named.append(f"others {sum(amount for _, amount in rest):,.2f}")
    return ", ".join(named)


def _advice(change: _Change, bill: Bill, other: Bill) -> Advice:
    before, after = bill.by_cause, other.by_cause
    differences = {
        cause: after.get(cause, 0.0) - before.get(cause, 0.0) for cause in (before | after)
    }
    return Advice(
        change.name,
        other.total - bill.total,
        {cause: -amount for cause, amount in differences.items() if amount <= -_CENT},
        {cause: amount for cause, amount in differences.items() if amount >= _CENT},
        change.gives_up,
        change.configuration,
    )
