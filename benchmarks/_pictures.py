"""Pictures of what benchmarks found, as SVG: bars for the page of results, lines for documents."""

from __future__ import annotations

import io
from typing import Any, Final

from _report import Bars, Lines, Table, text_of

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
    labels = [
        ", ".join(f"{text_of(row[table.columns.index(one)])} {one}" for one in bars.labels)
        for row in table.rows
    ]
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
    axes.set_xscale("log" if bars.is_log else "linear")
    axes.margins(x=0.12)
    axes.set_title(table.title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if len(columns) > 1:
        axes.legend(fontsize=8, frameon=False, loc="best")
    held_svg = io.StringIO()
    figure.savefig(held_svg, format="svg", metadata={"Date": None})
    svg = held_svg.getvalue()
    return svg[svg.index("<svg") :]
