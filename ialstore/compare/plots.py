"""The pictures of a report, as SVG; takes matplotlib, of the extra ``report``.

Small, so that a phone shows them at their size. Lines differ in shape, dashes and brightness, not
in colour alone.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from ialstore.compare.wording import amount, listed, thousands
from ialstore.errors import MissingDriverError

if TYPE_CHECKING:
    from ialstore.compare.costs import Cost
    from ialstore.compare.figures import Figures, Point
    from ialstore.compare.report import Report
    from ialstore.compare.verdict import Crossing

__all__ = ["Plot", "plots", "require_plots"]

_INCHES: Final = (4.6, 4.0)
_STYLES: Final = (
    ("#111111", "o", "-"),
    ("#e8892b", "s", "--"),
    ("#1f6fb4", "^", "-."),
    ("#7fc8b8", "D", ":"),
    ("#7b3f98", "v", (0, (5, 1, 1, 1))),
    ("#9a9a9a", "P", (0, (1, 1))),
)
"""Colour, marker and dashes; the brightness of neighbours differs."""
_NO_METADATA: Final = dict.fromkeys(("Creator", "Date", "Format", "Type"))
"""They would name places on the web."""
_SEARCHES: Final = [10 ** (step / 6 - 1) for step in range(25)]
"""0.1 to 1,000 a user and day."""
_MANY_DECADES: Final = 2.5
_NAME: Final = 30
_SETTINGS: Final[Mapping[str, Any]] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "svg.fonttype": "path",  # the same on every machine: nothing moves into something else
    "svg.hashsalt": "ialstore",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, its title, and a sentence about it."""

    title: str
    caption: str
    svg: str


def require_plots() -> None:
    """Refuse to draw without matplotlib.

    Raises:
        MissingDriverError: it is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingDriverError(
            "the page with plots needs the module matplotlib: pip install 'ialstore[report]'"
        )


def plots(report: Report) -> list[Plot]:
    """Return the pictures that the figures of a report fill."""
    require_plots()
    mpl: Any = import_module("matplotlib")
    with mpl.rc_context(_SETTINGS):
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
    if at_last:
        yield Plot(
            "Cost against searches",
            f"With {count:,} vectors a user; the upright line is the stated workload."
            f"{_told(report.crossings, 'searches')}",
            _searches(report, at_last),
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
    return point.latency.p95_ms


def _told(points: Sequence[Crossing], over: str) -> str:
    """Return a sentence on the break-even points, which are crosses in the picture."""
    mine = [one for one in points if one.over == over]
    if not mine:
        return " No two lines cross."
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
    drawing = _Drawing(report, label, f"recall@{report.asked.k}")
    axes = drawing.axes
    axes.axhline(report.asked.target, color="#555555", linewidth=0.9, linestyle=(0, (4, 3)))
    for one in found:
        points = sorted(one.points, key=x)
        places, heights = [x(point) for point in points], [point.recall.mean for point in points]
        reach = [
            [point.recall.mean - point.recall.low for point in points],
            [point.recall.high - point.recall.mean for point in points],
        ]
        style = drawing.style(one.index.name)
        axes.errorbar(
            places,
            heights,
            yerr=reach if end is None else None,
            xerr=None
            if end is None
            else [[0.0] * len(points), [end(point) - x(point) for point in points]],
            elinewidth=0.9,
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
            )
    axes.set_ylim(top=1.02)
    return drawing.svg(log_y=False)


def _cost(report: Report, priced: Sequence[tuple[Figures, Cost]]) -> str:
    drawing = _Drawing(report, "vectors a user", f"{report.currency} a month")
    for name, group in groupby(priced, key=lambda one: one[1].index):
        mine = list(group)
        _line(
            drawing,
            name,
            [cost.vectors for _, cost in mine],
            [cost.month or 0.0 for _, cost in mine],
            [found.reaches for found, _ in mine],
        )
    _crosses(drawing, report.crossings, "vectors")
    return drawing.svg()


def _searches(report: Report, priced: Sequence[Cost]) -> str:
    drawing = _Drawing(report, "searches a user and day", f"{report.currency} a month")
    workload = report.asked.workload
    for cost in priced:
        heights = [cost.month_at(one, workload) for one in _SEARCHES]
        style = drawing.style(cost.index)
        drawing.axes.plot(_SEARCHES, heights, **{**style, "markevery": 6})
    if workload.searches_per_day:
        drawing.axes.axvline(
            workload.searches_per_day, color="#555555", linewidth=0.9, linestyle=(0, (4, 3))
        )
    _crosses(drawing, report.crossings, "searches")
    return drawing.svg()


def _growth(report: Report, label: str, y: Callable[[Point], float]) -> str:
    drawing = _Drawing(report, "vectors a user", label)
    for name, group in groupby(report.found, key=lambda one: one.index.name):
        mine = [one for one in group if y(one.chosen) > 0]
        if mine:
            _line(
                drawing,
                name,
                [one.size.vectors for one in mine],
                [y(one.chosen) for one in mine],
                [one.reaches for one in mine],
            )
    return drawing.svg()


def _line(
    drawing: _Drawing,
    name: str,
    places: Sequence[float],
    heights: Sequence[float],
    reaches: Sequence[bool],
) -> None:
    """Draw a line whose marks are hollow where the recall is not enough."""
    style = drawing.style(name)
    drawing.axes.plot(places, heights, **style)
    hollow = [place for place, is_enough in enumerate(reaches) if not is_enough]
    drawing.axes.plot(
        [places[one] for one in hollow],
        [heights[one] for one in hollow],
        linestyle="none",
        marker=style["marker"],
        markersize=style["markersize"],
        markerfacecolor="white",
        markeredgecolor=style["color"],
        zorder=5,
    )


def _crosses(drawing: _Drawing, points: Sequence[Crossing], over: str) -> None:
    mine = [one for one in points if one.over == over]
    drawing.axes.plot(
        [one.at for one in mine],
        [one.month for one in mine],
        linestyle="none",
        marker="x",
        markersize=10,
        markeredgewidth=2,
        color="#c00000",
        zorder=6,
    )


def _tick(value: float, _: object) -> str:
    return amount(value)


class _Drawing:
    """One picture with a legend below it."""

    def __init__(self, report: Report, x: str, y: str) -> None:
        from matplotlib.figure import Figure

        self._names = report.asked.names
        self._figure: Any = Figure(figsize=_INCHES, layout="constrained")
        self.axes: Any = self._figure.add_subplot()
        self.axes.set_xlabel(x)
        self.axes.set_ylabel(y)

    def style(self, name: str) -> dict[str, Any]:
        """Return how the line of an index looks, the same in every picture."""
        color, marker, dashes = _STYLES[self._names.index(name) % len(_STYLES)]
        return {
            "label": textwrap.shorten(name, _NAME, placeholder="...") or name[:_NAME],
            "color": color,
            "marker": marker,
            "linestyle": dashes,
            "markersize": 5.5,
            "linewidth": 1.6,
        }

    def svg(self, *, log_y: bool = True) -> str:
        """Return the picture as an element of HTML."""
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        self.axes.set_xscale("log")
        if log_y:
            self.axes.set_yscale("log")
        for axis, is_log in ((self.axes.xaxis, True), (self.axes.yaxis, log_y)):
            if is_log:
                low, high = axis.get_view_interval()
                is_long = math.log10(high / low) > _MANY_DECADES
                axis.set_major_locator(LogLocator(subs=(1,) if is_long else (1, 2, 5), numticks=9))
                axis.set_minor_formatter(NullFormatter())
            axis.set_major_formatter(FuncFormatter(_tick))
        handles, labels = self.axes.get_legend_handles_labels()
        self._figure.legend(
            handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9
        )
        kept = io.StringIO()
        self._figure.savefig(kept, format="svg", metadata=_NO_METADATA)
        text = kept.getvalue()
        # Without a size of its own it takes the width that the page gives it.
        return re.sub(r' width="[^"]*" height="[^"]*"', "", text[text.index("<svg") :], count=1)
