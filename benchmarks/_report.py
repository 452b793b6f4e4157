"""What benchmarks have in common: a report with tables and figures, printed or kept as JSON.

``benchmarks/figures.py`` writes what is kept into the documents.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table as RichTable

__all__ = ["RESULTS", "Bars", "Cell", "Lines", "Report", "Table", "arguments", "in_turn", "text_of"]

RESULTS: Final = Path(__file__).parent / "results"
Cell = float | int | str | None
_DIGITS: Final = 3
_WIDTH: Final = 160
"""Of tables that are printed into a file."""


def text_of(cell: Cell) -> str:
    """Return a cell as people read it: numbers to three digits, but whole ones as they are."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    if cell == int(cell):
        return f"{int(cell):,}"
    size = int(f"{cell:.{_DIGITS - 1}e}".partition("e")[2])  # of the rounded number: 9.999 is 10.0
    return f"{cell:,.{max(0, _DIGITS - 1 - size)}f}"


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: one line above it.
        columns: their names, units included.
        rows: cells as they were measured, not rounded.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[list[Cell]] = field(default_factory=list[list[Cell]])

    def add(self, *row: Cell) -> None:
        """Add a row."""
        if len(row) != len(self.columns):
            raise ValueError(f"{len(row)} cells for {len(self.columns)} columns")
        self.rows.append(list(row))

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Table:
        """Return a table that was kept as JSON."""
        return cls(kept["title"], tuple(kept["columns"]), kept["rows"])


@dataclass(frozen=True)
class Bars:
    """A picture of a table: a group of bars for each row.

    Attributes:
        table: its name.
        labels: columns that say what a row is.
        values: columns that are drawn.
        is_log: whether the axis is logarithmic.
    """

    table: str
    labels: Sequence[str]
    values: Sequence[str]
    is_log: bool = True


@dataclass(frozen=True)
class Lines:
    """A picture of a table: a line for each series. It is a file of its own, for documents.

    Attributes:
        table: its name.
        name: of the picture: it is ``results/BENCHMARK-NAME.svg``.
        series: column that says to which line a row belongs.
        x: column; its axis is logarithmic, and what is not above 0 is left out.
        y: column.
        order: the series, in the order of their styles.
        only: columns and the values that they have in rows that are drawn.
        least_y: where the axis begins, which is not logarithmic then.
    """

    table: str
    name: str
    series: str
    x: str
    y: str
    order: Sequence[str]
    only: dict[str, Cell] = field(default_factory=dict[str, Cell])
    least_y: float | None = None


class Report:
    """What a benchmark found.

    Args:
        name: of the benchmark, as that of its file.
        about: its docstring, whose first line is the title.
        packages: whose versions matter, besides Python's.
    """

    def __init__(self, name: str, about: str | None, packages: Sequence[str] = ()) -> None:
        self.name = name
        self.about = (about or name).partition("\n")[0].removesuffix(".")
        self.pictures: list[Bars | Lines] = []
        self.tables: dict[str, Table] = {}
        self.figures: dict[str, Cell] = {}
        self.environment: dict[str, Cell] = {
            "Python": platform.python_version(),
            "system": f"{platform.system()} on {platform.machine()}",
            "cores": os.cpu_count(),
            **{one: version(one) for one in ("ialstore", *packages)},
        }

    def table(self, name: str, title: str, *columns: str) -> Table:
        """Return a new table, that a document names so."""
        self.tables[name] = made = Table(title, columns)
        return made

    def show(self) -> None:
        """Print it."""
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
        for table in self.tables.values():
            shown = RichTable(*table.columns, title=table.title)
            for row in table.rows:
                shown.add_row(*map(text_of, row))
            console.print(shown)
        for name, value in self.figures.items():
            console.print(f"{name}: {text_of(value)}", highlight=False)

    def finish(self, given: argparse.Namespace) -> None:
        """Print it, and keep it as JSON where ``--json`` was given."""
        self.show()
        self.keep(given)

    def keep(self, given: argparse.Namespace) -> None:
        """Keep it as JSON where ``--json`` was given: also in between, where a run is long."""
        if given.json is None:
            return
        options = [one for one in sys.argv[1:] if one not in ("--json", given.json)]
        kept: dict[str, Any] = {
            "about": self.about,
            "command": " ".join(["python", f"benchmarks/{self.name}.py", *options]),
            "date": datetime.now(UTC).date().isoformat(),
            "environment": self.environment,
            "figures": self.figures,
            "tables": {name: asdict(one) for name, one in self.tables.items()},
            "pictures": [asdict(one) for one in self.pictures],
        }
        if hasattr(os, "getloadavg"):
            kept["environment"]["load"] = round(os.getloadavg()[0], 1)  # that of all who work here
        path = Path(given.json or RESULTS / f"{self.name}.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with ``--json``, to which a benchmark adds what it takes."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="",
        metavar="FILE",
        help="keep the result as JSON, in benchmarks/results/ if no file is named",
    )
    return parser


def in_turn(
    rounds: int, calls: dict[str, Callable[[], object]], warm_up: int = 1
) -> dict[str, float]:
    """Return the median milliseconds of calls that take turns, so that all meet the same noise."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-warm_up, rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number >= 0:
                spent[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(each) for name, each in spent.items()}
