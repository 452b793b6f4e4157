"""One picture with a legend below it, as SVG; takes matplotlib, of the extra ``report``.

Small, so that a phone shows it at its size. Lines differ in shape, dashes and brightness, not in
colour alone.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Final

from ialstore.compare.wording import amount
from ialstore.errors import MissingDriverError

__all__ = ["Drawing", "drawing", "require_plots", "tick"]

_INCHES: Final = (4.6, 4.0)
_STYLES: Final = (
    ("#111111", "o", "-"),
    ("#e8892b", "s", "--"),
    ("#1f6fb4", "^", "-."),
    ("#7fc8b8", "D", ":"),
    ("#7b3f98", "v", (0, (5, 1, 1, 1))),
    ("#9a9a9a", "P", (0, (1, 1))),
    ("#a8323e", "X", (0, (8, 2))),
    ("#c9b458", "*", (0, (3, 1, 1, 1, 1, 1))),
)
"""Colour, marker and dashes; the brightness of neighbours differs."""
_NO_METADATA: Final = dict.fromkeys(("Creator", "Date", "Format", "Type"))
"""They would name places on the web."""
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


def require_plots() -> None:
    """Refuse to draw without matplotlib.

    Raises:
        MissingDriverError: it is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingDriverError(
            "the page with plots needs the module matplotlib: pip install 'ialstore[report]'"
        )


@contextmanager
def drawing() -> Generator[None]:
    """Let pictures look alike that are made in this block.

    Raises:
        MissingDriverError: matplotlib is not installed.
    """
    require_plots()
    mpl: Any = import_module("matplotlib")
    with mpl.rc_context(_SETTINGS):
        yield


def tick(value: float, places: Sequence[float]) -> str:
    """Return the label of a place on an axis, with as many digits as tell it from the others."""
    if len({amount(one) for one in places}) == len(set(places)):
        return amount(value)
    ordered = sorted(set(places))
    gap = min(more - less for less, more in pairwise(ordered))
    digits = max(1, 1 + math.ceil(-math.log10(gap)))
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".")


def _labels(axis: Any) -> Callable[[float, object], str]:
    def label(value: float, _: object) -> str:
        return tick(value, axis.get_majorticklocs())

    return label


class Drawing:
    """One picture with a legend below it.

    Args:
        names: of its lines, in the order of their styles.
        x: label of the axis, unit included.
        y: likewise.
    """

    def __init__(self, names: Sequence[str], x: str, y: str) -> None:
        from matplotlib.figure import Figure

        self._names = names
        self._figure: Any = Figure(figsize=_INCHES, layout="constrained")
        self.axes: Any = self._figure.add_subplot()
        self.axes.set_xlabel(x)
        self.axes.set_ylabel(y)

    def style(self, name: str) -> dict[str, Any]:
        """Return how a line looks: the same in every picture of these names."""
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
            axis.set_major_formatter(FuncFormatter(_labels(axis)))
        handles, labels = self.axes.get_legend_handles_labels()
        self._figure.legend(
            handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9
        )
        kept = io.StringIO()
        self._figure.savefig(kept, format="svg", metadata=_NO_METADATA)
        text = kept.getvalue()
        # Without a size of its own it takes the width that the page gives it.
        return re.sub(r' width="[^"]*" height="[^"]*"', "", text[text.index("<svg") :], count=1)
