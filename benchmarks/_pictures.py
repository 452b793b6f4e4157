"""Pictures of what benchmarks found, as SVG: bars for the page of results, lines for documents."""

from __future__ import annotations

import io
import math
from typing import Any, Final

from _report import Bars, Cell, Lines, Table, text_of

from ialstore.compare.drawing import Drawing, drawing

__all__ = ["drawn", "made"]

_PIXELS: Final = 460
"""Width of a picture that is a file: no wider than a column, and a phone makes it smaller."""


def made(kept: dict[str, Any]) -> Bars | Lines:
    """Return a picture that was kept as JSON."""
    return Lines(**kept) if "series" in kept else Bars(**kept)


def drawn(table: Table, picture: Bars | Lines) -> str:
    """Return a picture of a table as an element of HTML, that is a file of SVG as well."""
    return _lines(table, picture) if isinstance(picture, Lines) else _bars(table, picture)


def _lines(table: Table, lines: Lines) -> str:
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    rows = [row for row in rows if all(row[name] == lines.only[name] for name in lines.only)]
    with drawing():
        picture = Drawing(lines.order, lines.x, lines.y)
        for name in lines.order:
            mine = [(row[lines.x], row[lines.y]) for row in rows if row[lines.series] == name]
            points = sorted(
                (x, y)
                for x, y in mine
                if isinstance(x, (int, float)) and isinstance(y, (int, float)) and x > 0
            )
            if points:
                picture.axes.plot(*zip(*points, strict=True), **picture.style(name))
        if lines.least_y is not None:
            picture.axes.set_ylim(bottom=lines.least_y)
        svg = picture.svg(log_y=lines.least_y is None)
    return svg.replace("<svg ", f'<svg width="{_PIXELS}" ', 1)


def _bars(table: Table, bars: Bars) -> str:
    """Return a group of bars for each row."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "ialstore"  # the same picture for the same figures
    columns = [table.columns.index(one) for one in bars.values]
    labels = _labels(table, bars)
    height = 0.8 / len(columns)
    figure = Figure(figsize=(10, 1 + 0.24 * len(columns) * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    for number, column in enumerate(columns):
        places = [place + number * height for place in range(len(labels))]
        held = [row[column] for row in table.rows]
        values = [one if isinstance(one, (int, float)) else 0 for one in held]
        drawn_bars = axes.barh(places, values, height, label=table.columns[column])
        axes.bar_label(drawn_bars, labels=[text_of(one) for one in held], padding=3, fontsize=8)
    middle = 0.4 - height / 2
    axes.set_yticks([place + middle for place in range(len(labels))], labels, fontsize=8)
    axes.invert_yaxis()
    label = _axis(table, bars)
    axes.set_xscale("log" if bars.is_log else "linear")
    axes.margins(x=0.12)
    if bars.is_log:
        found = [row[column] for row in table.rows for column in columns]
        values = [one for one in found if isinstance(one, (int, float)) and one > 0]
        start = 10.0 ** math.floor(math.log10(min(values, default=1)))
        axes.set_xlim(left=start)
        label += f" (logarithmic, from {start:g})"
    axes.set_xlabel(label, fontsize=9)
    axes.set_title(table.title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if len(columns) > 1:
        axes.legend(fontsize=8, frameon=False, loc="best")
    held_svg = io.StringIO()
    figure.savefig(held_svg, format="svg", metadata={"Date": None})
    svg = held_svg.getvalue()
    return svg[svg.index("<svg") :]


def _labels(table: Table, bars: Bars) -> list[str]:
    """Return what each row is: words stand for themselves, a number behind its column's name."""
    columns = [table.columns.index(one) for one in bars.labels]
    of_words = {
        column
        for column in columns
        if not any(_begins_with_a_digit(row[column]) for row in table.rows)
    }
    return [
        ", ".join(
            text_of(row[column])
            if column in of_words
            else f"{table.columns[column]} {text_of(row[column])}"
            for column in columns
        )
        for row in table.rows
    ]


def _begins_with_a_digit(cell: Cell) -> bool:
    return text_of(cell)[:1].isdigit()


def _axis(table: Table, bars: Bars) -> str:
    """Return what is drawn, unit included: the column, or of several what the title says."""
    if len(bars.values) == 1:
        return bars.values[0]
    return table.title.partition(": ")[2] or ", ".join(bars.values)
