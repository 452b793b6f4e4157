"""The pictures of a report: which there are, and what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from ialstore.compare.drawing import Drawing, drawing
from ialstore.compare.wording import amount, listed, thousands

if TYPE_CHECKING:
    from ialstore.compare.costs import Cost
    from ialstore.compare.figures import Figures, Point
    from ialstore.compare.report import Report
    from ialstore.compare.verdict import Crossing

__all__ = ["Plot", "plots"]

_SEARCHES: Final = (0.1, 1000.0)
"""A user and day, at least."""
_STEPS: Final = 24


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, its title, and a sentence about it."""

    title: str
    caption: str
    svg: str


def plots(report: Report) -> list[Plot]:
    """Return the pictures that the figures of a report fill.

    Raises:
        MissingDriverError: matplotlib is not installed.
    """
    with drawing():
        return list(_plots(report))


def _plots(report: Report) -> Iterator[Plot]:
    asked, count = report.asked, report.asked.sizes[-1]
    last = [one for one in report.found if one.size.vectors == count]
    billed = [one for one in last if one.chosen.search.calls.read_units]
    recall = f"recall@{asked.k}"
    rest = [one.index.name for one in last if one not in billed]
    without = f" {listed(rest)} read{'s' if len(rest) == 1 else ''} no units." if rest else ""
    if billed:
        yield Plot(
            "Recall against units",
            f"With {count:,} vectors a user, over efforts; upright lines are 95 % intervals, a "
            f"ring is the least that is enough.{without}",
            _recall(report, billed, "read units a search", _units, None),
        )
    delay = f", {asked.delay_ms:g} ms a round trip included" if asked.delay_ms else ""
    if last:
        yield Plot(
            "Recall against latency",
            f"With {count:,} vectors a user, over efforts; each point is the median, and the line "
            f"to its right ends at p95{delay}.",
            _recall(report, last, "milliseconds a search", _p50, _p95),
        )
    priced = [
        (one, cost)
        for one, cost in zip(report.found, report.costs, strict=True)
        if one.index.durable and cost.month is not None
    ]
    if len(asked.sizes) > 1 and priced:
        yield Plot(
            "Cost against size",
            f"Of all users, each with so many vectors. A hollow mark is a {recall} below "
            f"{asked.target:g}.{_told(report.crossings, 'vectors')}",
            _cost(report, priced),
        )
    at_last = [cost for one, cost in priced if one in last]
    crossings = [one for one in report.crossings if one.vectors == count]
    if at_last:
        yield Plot(
            "Cost against searches",
            f"With {count:,} vectors a user; the upright line is the stated workload."
            f"{_told(crossings, 'searches')}",
            _searches(report, at_last, crossings),
        )
    if len(asked.sizes) > 1 and billed:
        yield Plot(
            "Units against size",
            "Read units of one search, with the least effort that is enough.",
            _growth(report, "read units a search", _units),
        )
    if len(asked.sizes) > 1:
        yield Plot(
            "Latency against size",
            f"Median of one search, with the least effort that is enough{delay}.",
            _growth(report, "milliseconds a search (p50)", _p50),
        )


def _units(point: Point) -> float:
    return point.search.calls.read_units


def _p50(point: Point) -> float:
    return point.latency.p50_ms


def _p95(point: Point) -> float:
    """Return p95, or the median where so few searches don't tell it."""
    return _p50(point) if point.latency.p95_ms is None else point.latency.p95_ms


def _told(points: Sequence[Crossing], over: str) -> str:
    """Return a sentence on the break-even points, which are crosses in the picture."""
    mine = [one for one in points if one.over == over]
    if not mine:
        return " There is no break-even point."
    number: Callable[[float], str] = amount if over == "searches" else thousands
    each = [f"{one.below} and {one.above} at {number(one.at)}" for one in mine]
    return f" A cross is a break-even point: {'; '.join(each)}."


def _recall(
    report: Report,
    found: Sequence[Figures],
    label: str,
    x: Callable[[Point], float],
    end: Callable[[Point], float] | None,
) -> str:
    picture = Drawing(report.asked.names, label, f"recall@{report.asked.k}")
    axes = picture.axes
    axes.axhline(report.asked.target, color="#555555", linewidth=0.9, linestyle=(0, (4, 3)))
    for one in found:
        points = sorted(one.points, key=x)
        places, heights = [x(point) for point in points], [point.recall.mean for point in points]
        reach = [
            [point.recall.mean - point.recall.low for point in points],
            [point.recall.high - point.recall.mean for point in points],
        ]
        style = picture.style(one.index.name)
        axes.errorbar(
            places,
            heights,
            yerr=reach if end is None else None,
            xerr=None
            if end is None
            else [[0.0] * len(points), [end(point) - x(point) for point in points]],
            elinewidth=0.9,
            clip_on=False,  # marks at 1 are drawn whole
            **style,
        )
        if one.reaches:
            axes.plot(
                [x(one.chosen)],
                [one.chosen.recall.mean],
                marker="o",
                markersize=13,
                markerfacecolor="none",
                markeredgecolor=style["color"],
                linestyle="none",
                clip_on=False,
            )
    axes.set_ylim(top=1)
    return picture.svg(log_y=False)


def _cost(report: Report, priced: Sequence[tuple[Figures, Cost]]) -> str:
    picture = Drawing(report.asked.names, "vectors a user", f"{report.currency} a month")
    for name, group in groupby(priced, key=lambda one: one[1].index):
        mine = list(group)
        _line(
            picture,
            name,
            [cost.vectors for _, cost in mine],
            [cost.month or 0.0 for _, cost in mine],
            [found.reaches for found, _ in mine],
        )
    _crosses(picture, report.crossings, "vectors")
    return picture.svg()


def _searches(report: Report, priced: Sequence[Cost], crossings: Sequence[Crossing]) -> str:
    turns = [one.at for one in crossings]
    low, high = min(*_SEARCHES, *turns), max(*_SEARCHES, *turns)
    places = [low * (high / low) ** (step / _STEPS) for step in range(_STEPS + 1)]
    picture = Drawing(report.asked.names, "searches a user and day", f"{report.currency} a month")
    workload = report.asked.workload
    for cost in priced:
        heights = [cost.month_at(one, workload) for one in places]
        style = picture.style(cost.index)
        picture.axes.plot(places, heights, **{**style, "markevery": 6})
    if workload.searches_per_day:
        picture.axes.axvline(
            workload.searches_per_day, color="#555555", linewidth=0.9, linestyle=(0, (4, 3))
        )
    _crosses(picture, crossings, "searches")
    return picture.svg()


def _growth(report: Report, label: str, y: Callable[[Point], float]) -> str:
    picture = Drawing(report.asked.names, "vectors a user", label)
    for name, group in groupby(report.found, key=lambda one: one.index.name):
        mine = [one for one in group if y(one.chosen) > 0]
        if mine:
            _line(
                picture,
                name,
                [one.size.vectors for one in mine],
                [y(one.chosen) for one in mine],
                [one.reaches for one in mine],
            )
    return picture.svg()


def _line(
    picture: Drawing,
    name: str,
    places: Sequence[float],
    heights: Sequence[float],
    reaches: Sequence[bool],
) -> None:
    """Draw a line whose marks are hollow where the recall is not enough."""
    style = picture.style(name)
    picture.axes.plot(places, heights, **style)
    hollow = [place for place, is_enough in enumerate(reaches) if not is_enough]
    picture.axes.plot(
        [places[one] for one in hollow],
        [heights[one] for one in hollow],
        linestyle="none",
        marker=style["marker"],
        markersize=style["markersize"],
        markerfacecolor="white",
        markeredgecolor=style["color"],
        zorder=5,
    )


def _crosses(picture: Drawing, points: Sequence[Crossing], over: str) -> None:
    mine = [one for one in points if one.over == over]
    picture.axes.plot(
        [one.at for one in mine],
        [one.month for one in mine],
        linestyle="none",
        marker="x",
        markersize=10,
        markeredgewidth=2,
        color="#c00000",
        zorder=6,
    )
