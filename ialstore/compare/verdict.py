"""The verdict, in sentences: what finds enough, at what price, and where another index is better.

Every sentence is computed from what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from ialstore.compare.costs import TIE, break_even
from ialstore.compare.wording import amount, effort_text, listed, thousands

if TYPE_CHECKING:
    from ialstore.compare.costs import Cost, Workload
    from ialstore.compare.figures import Figures, Point

__all__ = ["Crossing", "crossings", "verdict"]

_LEAST_SEARCHES = 0.001
_MOST_SEARCHES = 1_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where another index becomes the cheaper one.

    Attributes:
        below: the cheaper one before.
        above: the cheaper one from there on.
        over: ``vectors`` of a user, or ``searches`` of a user and day.
        at: how many of them.
        month: what either costs a month there.
        vectors: of a user, where it is over searches.
    """

    below: str
    above: str
    over: str
    at: float
    month: float
    vectors: int | None = None


def crossings(
    found: Sequence[Figures], costs: Sequence[Cost], workload: Workload
) -> list[Crossing]:
    """Return the break-even points of the indexes that find enough, over vectors and searches.

    A point at which another index is cheaper than both is none.
    """
    able = _able(found, costs)
    return [*_over_vectors(able), *_over_searches(able, workload)]


def verdict(
    found: Sequence[Figures],
    costs: Sequence[Cost],
    workload: Workload,
    currency: str,
    delay_ms: float,
) -> list[str]:
    """Return the sentences.

    Args:
        found: what was measured, by index and ascending size.
        costs: of each of them, in the same order.
        workload: of the costs.
        currency: of the costs.
        delay_ms: added for each round trip.
    """
    said: list[str] = []
    for _, mine in groupby(found, key=lambda one: one.index.name):
        sizes = list(mine)
        lasts = (
            ""
            if sizes[0].index.durable
            else " It keeps nothing when the process ends: its costs are not compared."
        )
        said.append(f"{_reach(sizes)}{lasts}{_doubt(sizes)}")
    said += _cheapest(found, costs, workload, currency)
    said += _searches(found, costs, workload, currency)
    said += _growth(found)
    said += _latency(found, delay_ms)
    return said


def _able(found: Sequence[Figures], costs: Sequence[Cost]) -> dict[int, dict[str, Cost]]:
    """Return the costs of those that last and reach the target, by size and name."""
    able: dict[int, dict[str, Cost]] = {one.size.vectors: {} for one in found}
    for one, price in zip(found, costs, strict=True):
        if one.reaches and one.index.durable and price.month is not None:
            able[one.size.vectors][price.index] = price
    return dict(sorted(able.items()))


# -- what finds enough ----------------------------------------------------------------------------


def _reach(sizes: Sequence[Figures]) -> str:
    """Say up to how many vectors an index finds enough, and with what."""
    name, first = sizes[0].index.name, sizes[0]
    wanted = f"recall@{first.chosen.recall.k} of {first.target:g}"
    good = [one for one in sizes if one.reaches]
    if not good:
        best = max(sizes, key=lambda one: one.chosen.recall.mean)
        return (
            f"{name} does not reach a {wanted} at any size measured: at best "
            f"{best.chosen.recall.mean:.3f} with {_vectors(best)}"
            f"{_given(best, ', at effort {}')}."
        )
    last = good[-1]
    text = f"{name} reaches a {wanted} {_work(last)}"
    if len(good) == len(sizes):
        return f"{text} at {_vectors(last)}, the most measured."
    lacking = next(one for one in sizes if not one.reaches)
    lack = f"with {lacking.size.vectors:,} it finds {lacking.chosen.recall.mean:.3f} at best"
    if sizes.index(lacking) > sizes.index(last):
        return f"{text} up to {_vectors(last)}; {lack}."
    return f"{text} at {_vectors(last)}, but not at every size: {lack}."


def _work(one: Figures) -> str:
    """Say what one search takes."""
    calls, effort = one.chosen.search.calls, _given(one, " (effort {})")
    if calls.read_units:
        return f"at {amount(calls.read_units)} read units a search{effort}"
    if calls.requests:
        return f"in {_counted(one.chosen.round_trips, 'round trip')} a search{effort}"
    way = ", by exact search" if one.index.exact else _given(one, ", at effort {}")
    return f"in this process{way}, in {amount(one.chosen.latency.p50_ms)} ms (p50)"


def _given(one: Figures, text: str) -> str:
    """Return a text with the effort put in; nothing where it is the default."""
    effort = one.chosen.effort
    return "" if effort is None else text.format(effort_text(effort))


def _doubt(sizes: Sequence[Figures]) -> str:
    """Say where more queries might turn the answer."""
    open_ones = [one for one in sizes if _is_open(one)]
    if not open_ones:
        return ""
    found = open_ones[-1].chosen.recall
    return (
        f" That is not settled: with {_vectors(open_ones[-1])} the 95 % interval of its recall "
        f"is {found.low:.3f} to {found.high:.3f}; more --queries narrow it."
    )


def _is_open(one: Figures) -> bool:
    found = one.chosen.recall
    return not one.index.exact and found.low < one.target <= found.high


# -- what is cheap enough -------------------------------------------------------------------------


def _cheapest(
    found: Sequence[Figures], costs: Sequence[Cost], workload: Workload, currency: str
) -> Iterator[str]:
    """Say which index is the cheapest, from how many vectors a user on."""
    able = {size: by_name for size, by_name in _able(found, costs).items() if by_name}
    if not able:
        yield "No durable index whose price is known finds enough: of cost there is nothing to say."
        return
    setting = (
        f"for {workload.users:,} users with {amount(workload.searches_per_day)} searches and "
        f"{amount(workload.upserts_per_day)} upserts a day each"
    )
    best = {size: _best(by_name) for size, by_name in able.items()}
    runs = [(names, list(sizes)) for names, sizes in groupby(best, key=best.__getitem__)]
    if len(runs) == 1:
        names, sizes = runs[0]
        low, high = (able[size][names[0]].month or 0.0 for size in (sizes[0], sizes[-1]))
        yield (
            f"{_are(names)} the cheapest at every size measured, {setting}: "
            f"{_money(low, currency)} a month at {sizes[0]:,} vectors a user"
            + (f", {_money(high, currency)} at {sizes[-1]:,}." if len(sizes) > 1 else ".")
        )
        return
    points = {(one.below, one.above): one for one in _over_vectors(_able(found, costs))}
    by_place = {(one.index.name, one.size.vectors): one for one in found}
    for (names, sizes), (followers, others) in pairwise(runs):
        point = points.get((names[0], followers[0])) if len(names) == len(followers) == 1 else None
        turn = f"about {thousands(point.at)}" if point else f"{sizes[-1]:,}"
        here = able[sizes[-1]][names[0]].month or 0.0
        there = able[others[0]][followers[0]].month or 0.0
        changes = "".join(
            _changes(by_place[name, sizes[-1]], by_place[name, others[0]])
            for name in dict.fromkeys((*names, *followers))
            if (name, sizes[-1]) in by_place and (name, others[0]) in by_place
        )
        yield (
            f"{_are(names)} the cheapest up to {turn} vectors a user ({_money(here, currency)} a "
            f"month at {sizes[-1]:,}), above that {listed(followers)} ({_money(there, currency)} "
            f"at {others[0]:,}), {setting}{changes}."
        )


def _best(by_name: Mapping[str, Cost]) -> tuple[str, ...]:
    """Return the names of those that cost least, or the same."""
    least = min(one.month or 0.0 for one in by_name.values())
    return tuple(name for name, one in by_name.items() if (one.month or 0.0) <= least * TIE)


def _are(names: Sequence[str]) -> str:
    """Say that one is, or that several at one price are."""
    return f"{names[0]} is" if len(names) == 1 else f"{listed(names)} cost the same and are"


def _searches(
    found: Sequence[Figures], costs: Sequence[Cost], workload: Workload, currency: str
) -> Iterator[str]:
    """Say from how many searches on machines are cheaper than requests."""
    for one in _over_searches(_able(found, costs), workload):
        yield (
            f"At {one.vectors:,} vectors a user {one.below} is cheaper than {one.above} below "
            f"{amount(one.at)} searches a user and day, where both cost "
            f"{_money(one.month, currency)} a month."
        )


def _over_vectors(able: Mapping[int, Mapping[str, Cost]]) -> Iterator[Crossing]:
    names = list(dict.fromkeys(name for by_name in able.values() for name in by_name))
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            shared = [size for size, by_name in able.items() if {one, other} <= by_name.keys()]
            curves = [
                [(float(size), able[size][name].month or 0.0) for size in shared]
                for name in (one, other)
            ]
            if any(cost <= 0 for curve in curves for _, cost in curve):
                continue
            at = break_even(*curves)
            if at is None:
                continue
            month = _between(curves[0], at)
            if any(cost * TIE < month for cost in _there(able, at)):
                continue
            heights = [(y, z) for (_, y), (_, z) in zip(*curves, strict=True)]
            is_first = next(y < z for y, z in heights if not _is_tie((y, z)))
            below, above = (one, other) if is_first else (other, one)
            yield Crossing(below=below, above=above, over="vectors", at=at, month=month)


def _there(able: Mapping[int, Mapping[str, Cost]], at: float) -> Iterator[float]:
    """Yield what each index costs between two sizes, where it is able at both."""
    less = max((size for size in able if size <= at), default=min(able))
    more = min((size for size in able if size >= at), default=max(able))
    for name in able[less].keys() & able[more].keys():
        curve = [(float(size), able[size][name].month or 0.0) for size in (less, more)]
        yield _between(curve, at) if all(cost for _, cost in curve) else 0.0


def _over_searches(
    able: Mapping[int, Mapping[str, Cost]], workload: Workload
) -> Iterator[Crossing]:
    """Yield the break-even points over searches, for the most vectors that two of them find."""
    by_name: Mapping[str, Cost] = {}
    for several in able.values():
        by_name = several if len(several) > 1 else by_name
    names = list(by_name)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            first, second = by_name[one], by_name[other]
            slope = [
                cost.month_at(1, workload) - cost.month_at(0, workload) for cost in (first, second)
            ]
            start = [cost.month_at(0, workload) for cost in (first, second)]
            end = [cost.month_at(_MOST_SEARCHES, workload) for cost in (first, second)]
            if slope[0] == slope[1] or _is_tie(start) or _is_tie(end):
                continue
            at = (start[1] - start[0]) / (slope[0] - slope[1])
            if not _LEAST_SEARCHES <= at <= _MOST_SEARCHES:
                continue
            month = start[0] + slope[0] * at
            if any(cost.month_at(at, workload) * TIE < month for cost in by_name.values()):
                continue
            below, above = (one, other) if start[0] < start[1] else (other, one)
            yield Crossing(
                below=below,
                above=above,
                over="searches",
                at=at,
                month=month,
                vectors=first.vectors,
            )


def _is_tie(costs: Sequence[float]) -> bool:
    return max(costs) <= min(costs) * TIE


def _between(curve: Sequence[tuple[float, float]], at: float) -> float:
    """Return the height of a curve between its points, on logarithmic scales."""
    for (x, y), (further, higher) in pairwise(curve):
        if x <= at <= further:
            share = math.log(at / x) / math.log(further / x)
            return math.exp(math.log(y) + share * math.log(higher / y))
    return curve[-1][1]  # pragma: no cover - a break-even point lies between two of the curve


# -- growth and latency ---------------------------------------------------------------------------


def _growth(found: Sequence[Figures]) -> Iterator[str]:
    """Say how the units of a search grow with the vectors."""
    for name, mine in groupby(found, key=lambda one: one.index.name):
        sizes = [one for one in mine if one.chosen.search.calls.read_units]
        if len(sizes) < 2:  # noqa: PLR2004 - growth lies between two
            continue
        less, more = sizes[0], sizes[-1]
        units = [one.chosen.search.calls.read_units for one in (less, more)]
        times = more.size.vectors / less.size.vectors
        yield (
            f"With {amount(times)} times the vectors, {less.size.vectors:,} to "
            f"{more.size.vectors:,}, a search of {name} takes {amount(units[1] / units[0])} times "
            f"the read units, {amount(units[0])} to {amount(units[1])}"
            f"{_changes(less, more)}."
        )


def _effort(point: Point) -> str:
    """Return an effort as a sentence has it."""
    return "the default effort" if point.effort is None else f"effort {point.effort:g}"


def _changes(less: Figures, more: Figures) -> str:
    """Say with which efforts two sizes are compared, where these differ.

    Where a smaller effort may be enough as well, as far as the queries tell, they need not.
    """
    if less.chosen.effort == more.chosen.effort:
        return ""
    text = (
        f"{less.index.name} at {_effort(less.chosen)} with {less.size.vectors:,}, "
        f"at {_effort(more.chosen)} with {more.size.vectors:,}"
    )
    for one in (less, more):
        fewer = [
            point
            for point in one.points
            if point.work < one.chosen.work and point.recall.mean < one.target <= point.recall.high
        ]
        if fewer:
            nearest = max(fewer, key=lambda point: point.recall.mean)
            text += (
                f"; {_effort(nearest)} misses the target with {one.size.vectors:,} within the "
                "sampling error"
            )
    return f" ({text})"


def _latency(found: Sequence[Figures], delay_ms: float) -> Iterator[str]:
    """Say what a search takes at the most vectors, and what the delay has to do with it."""
    last = {one.index.name: one for one in found}
    remote = [one for one in last.values() if one.chosen.search.calls.requests]
    for one in remote:
        p95 = one.chosen.latency.p95_ms
        yield (
            f"At {_vectors(one)} a search of {one.index.name} makes "
            f"{_counted(one.chosen.search.calls.requests, 'request')} in "
            f"{_counted(one.chosen.round_trips, 'round trip')}: p50 "
            f"{amount(one.chosen.latency.p50_ms)} ms"
            + ("" if p95 is None else f", p95 {amount(p95)} ms")
            + (f", with {delay_ms:g} ms added for each round trip." if delay_ms else ".")
        )
    if remote and not delay_ms:
        yield (
            f"No delay was added: where {listed([one.index.name for one in remote])} "
            f"{'stands' if len(remote) == 1 else 'stand'} for a service that is further away, "
            "such as an emulator does, add --delay."
        )


def _counted(number: float, what: str) -> str:
    return f"{amount(number)} {what}{'' if number == 1 else 's'}"


def _vectors(one: Figures) -> str:
    return f"{one.size.vectors:,} vectors a user"


def _money(value: float, currency: str) -> str:
    return f"{value:,.2f} {currency}"
