"""The price of estimates for a month, by component, by place and by call."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ialstore.prices import HOURS_PER_MONTH

if TYPE_CHECKING:
    from ialstore.estimate import Estimate, Workload
    from ialstore.prices import Prices

__all__ = [
    "DAYS_PER_MONTH",
    "TARGET_UTILIZATION",
    "Bill",
    "Billing",
    "CallPrice",
    "Line",
    "break_even",
    "make_bill",
    "rates",
]

DAYS_PER_MONTH: Final = HOURS_PER_MONTH / 24
SECONDS_PER_MONTH: Final = HOURS_PER_MONTH * 3600
TARGET_UTILIZATION: Final = 0.7
"""Of capacity that is provisioned, at the peak: what AWS's own scaling aims at."""
_GB: Final = 1e9
_MILLION: Final = 1e6
_BLOCK: Final = 100
"""Units of which reserved capacity is sold."""
_HOURS_PER_YEAR: Final = 8760
_KINDS: Final = ("write", "read")


class Billing(StrEnum):
    """How reads and writes are paid."""

    ON_DEMAND = "on-demand"
    """By the request."""
    PROVISIONED = "provisioned"
    """By the hour, for the capacity of the peak."""
    RESERVED_1Y = "reserved-1y"
    """As provisioned, in blocks of 100 units for a year."""
    RESERVED_3Y = "reserved-3y"
    """The same for three years."""

    @property
    def years(self) -> int:
        """The term for which capacity is reserved; 0 for none."""
        return {Billing.RESERVED_1Y: 1, Billing.RESERVED_3Y: 3}.get(self, 0)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill.

    Attributes:
        component: ``writes``, ``reads``, ``storage``, ...
        place: table, index, file or machine.
        quantity: in a month.
        unit: of the quantity.
        amount: of money in a month.
    """

    component: str
    place: str
    quantity: float
    unit: str
    amount: float


@dataclass(frozen=True, slots=True)
class CallPrice:
    """What one kind of call costs.

    Attributes:
        name: for people.
        times: in a month, of all users.
        read: units of one call.
        write: units of one call.
        amount: of money in a month.
    """

    name: str
    times: float
    read: float
    write: float
    amount: float


@dataclass(frozen=True, slots=True)
class Bill:
    """What a month costs.

    Attributes:
        lines: by component and place.
        calls: what reads and writes cost, by call.
    """

    lines: tuple[Line, ...]
    calls: tuple[CallPrice, ...]

    @property
    def total(self) -> float:
        """The sum of the lines."""
        return math.fsum(line.amount for line in self.lines)

    @property
    def by_cause(self) -> dict[str, float]:
        """The amounts by call, and of what is no call by component; their sum is the total."""
        found = {call.name: call.amount for call in self.calls}
        for line in self.lines:
            if line.component not in _OF_CALLS:
                found[line.component] = found.get(line.component, 0.0) + line.amount
        idle = self.total - math.fsum(found.values())
        if idle > _NOTHING:
            found["capacity that nothing uses"] = idle
        return found


_NOTHING: Final = 1e-6
_OF_CALLS: Final = frozenset({"writes", "reads", "vector writes", "vector searches"})


@dataclass(frozen=True, slots=True)
class _Usage:
    """Units of a month in one place, of all users."""

    read: float = 0.0
    write: float = 0.0
    vector_write_bytes: float = 0.0
    vector_search_bytes: float = 0.0


def make_bill(
    estimates: Sequence[Estimate], workload: Workload, prices: Prices, billing: Billing
) -> Bill:
    """Return what a month of some estimates costs.

    Raises:
        ConfigurationError: a price is needed that the table does not have.
    """
    on_demand = [one for one in estimates if one.is_on_demand_only]
    others = [one for one in estimates if not one.is_on_demand_only]
    lines: list[Line] = []
    calls: list[CallPrice] = []
    for group, how in ((others, billing), (on_demand, Billing.ON_DEMAND)):
        usage = _usage(group, workload)
        amounts = {kind: _amounts(usage, kind, workload, prices, how) for kind in _KINDS}
        lines += _unit_lines(usage, amounts, prices)
        calls += _call_prices(group, usage, amounts, workload, prices)
    lines += _lines_of_storage(estimates, workload, prices)
    lines += [
        Line("machines", name, count, "machines", count * HOURS_PER_MONTH * prices.of(name))
        for one in estimates
        for name, count in (*one.machines.items(), *_cheapest(one, workload, prices))
    ]
    return Bill(tuple(lines), tuple(calls))


def break_even(prices: Prices, kind: str, billing: Billing) -> float:
    """Return the share of its hours' units above which capacity is cheaper than requests.

    Args:
        prices: the table.
        kind: ``read`` or ``write``.
        billing: another than on demand.
    """
    by_request = prices.of(f"dynamodb.{kind}_request_million") * 3600 / _MILLION
    return _capacity_hour(prices, kind, billing, _BLOCK) / _BLOCK / by_request


def rates(estimates: Iterable[Estimate], workload: Workload) -> dict[str, tuple[float, float]]:
    """Return the mean read and write units a second, of all users, by place."""
    return {
        place: (one.read / SECONDS_PER_MONTH, one.write / SECONDS_PER_MONTH)
        for place, one in _usage(estimates, workload).items()
    }


def _usage(estimates: Iterable[Estimate], workload: Workload) -> dict[str, _Usage]:
    found: dict[str, _Usage] = {}
    for one in estimates:
        for call in one.calls:
            times = call.times * workload.users * DAYS_PER_MONTH
            for place, units in call.units.items():
                so_far = found.get(place, _Usage())
                found[place] = _Usage(
                    so_far.read + times * units.read,
                    so_far.write + times * units.write,
                    so_far.vector_write_bytes + times * units.vector_write_bytes,
                    so_far.vector_search_bytes + times * units.vector_search_bytes,
                )
    return found


def _amounts(
    usage: Mapping[str, _Usage], kind: str, workload: Workload, prices: Prices, billing: Billing
) -> dict[str, tuple[float, str, float]]:
    """Return the quantity, its unit and the price of one kind of units, by place."""
    units = {place: getattr(one, kind) for place, one in usage.items()}
    if not any(units.values()):
        return {}
    if billing is Billing.ON_DEMAND:
        price = prices.of(f"dynamodb.{kind}_request_million") / _MILLION
        return {
            place: (number, f"{kind} units", number * price)
            for place, number in units.items()
            if number
        }
    needed = {
        place: max(
            1, math.ceil(number / SECONDS_PER_MONTH * workload.peak_factor / TARGET_UTILIZATION)
        )
        for place, number in units.items()
    }
    total = sum(needed.values())
    each = _capacity_hour(prices, kind, billing, total) / total * HOURS_PER_MONTH
    return {
        place: (number, f"{kind} units a second", number * each) for place, number in needed.items()
    }


def _capacity_hour(prices: Prices, kind: str, billing: Billing, units: int) -> float:
    """Return the price of an hour of so much capacity, with as many blocks as pay off."""
    single = prices.of(f"dynamodb.{kind}_capacity_hour")
    if not billing.years:
        return units * single
    name = f"dynamodb.reserved_{billing.years}y_{kind}"
    hours = billing.years * _HOURS_PER_YEAR
    block = prices.of(f"{name}_upfront") / hours + prices.of(f"{name}_hour")
    blocks = units // _BLOCK
    return blocks * block + min(block, (units - blocks * _BLOCK) * single)


def _unit_lines(
    usage: Mapping[str, _Usage],
    amounts: Mapping[str, Mapping[str, tuple[float, str, float]]],
    prices: Prices,
) -> list[Line]:
    lines = [
        Line(f"{kind}s", place, *found) for kind in _KINDS for place, found in amounts[kind].items()
    ]
    for place, one in usage.items():
        for component, number, name in (
            ("vector writes", one.vector_write_bytes, "dynamodb.vector_write_gb"),
            ("vector searches", one.vector_search_bytes, "dynamodb.vector_search_gb"),
        ):
            if number:
                lines.append(
                    Line(component, place, number / _GB, "GB", number / _GB * prices.of(name))
                )
    return lines


def _call_prices(
    estimates: Iterable[Estimate],
    usage: Mapping[str, _Usage],
    amounts: Mapping[str, Mapping[str, tuple[float, str, float]]],
    workload: Workload,
    prices: Prices,
) -> list[CallPrice]:
    """Share the price of each place's units among the calls that use them."""
    found: list[CallPrice] = []
    for call in (call for one in estimates for call in one.calls):
        times = call.times * workload.users * DAYS_PER_MONTH
        amount = 0.0
        for place, units in call.units.items():
            for kind in _KINDS:
                own = getattr(units, kind)
                if times * own:
                    whole = getattr(usage[place], kind)
                    amount += times * own / whole * amounts[kind][place][2]
            for number, name in (
                (units.vector_write_bytes, "dynamodb.vector_write_gb"),
                (units.vector_search_bytes, "dynamodb.vector_search_gb"),
            ):
                if number:
                    amount += times * number / _GB * prices.of(name)
        read, write = (
            math.fsum(getattr(units, kind) for units in call.units.values())
            for kind in ("read", "write")
        )
        found.append(CallPrice(call.name, times, read, write, amount))
    return found


def _cheapest(
    estimate: Estimate, workload: Workload, prices: Prices
) -> Iterator[tuple[str, float]]:
    """Yield the machines that offer what an estimate needs of memory, and how many."""
    for one in estimate.memory:
        key, count = prices.cheapest(
            one.section,
            one.bytes_per_user * workload.users,
            usable=one.usable,
            at_least=one.machines,
        )
        yield f"{one.section}.{key}", count


def _lines_of_storage(
    estimates: Iterable[Estimate], workload: Workload, prices: Prices
) -> list[Line]:
    lines: list[Line] = []
    for one in estimates:
        sizes: dict[tuple[str, str], float] = {}
        for stored in one.stored:
            key = (stored.place, stored.price)
            size = stored.bytes_per_user * workload.users / _GB
            sizes[key] = sizes.get(key, 0.0) + size
        lines += [
            Line("storage", place, size, "GB", size * prices.of(price))
            for (place, price), size in sizes.items()
        ]
        if one.recovers:
            size = sum(sizes.values())
            price = prices.of("dynamodb.point_in_time_recovery_gb_month")
            lines.append(Line("point-in-time recovery", "tables", size, "GB", size * price))
        if one.expired_per_day:
            number = one.expired_per_day * workload.users * DAYS_PER_MONTH
            price = prices.of("dynamodb.ttl_delete_million") / _MILLION
            place = one.stored[0].place
            lines.append(Line("time to live", place, number, "items", number * price))
    return lines
