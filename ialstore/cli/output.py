"""Where commands speak: tables and text for people, one JSON document for programs.

On a terminal there is colour, wrapping and a progress bar; in a pipe there is none of them, and
lines are as long as they need to be.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ialstore.cli.text import dump_json, in_line, printable
from ialstore.component import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import TextIO

    from rich.console import RenderableType

__all__ = ["Output"]

_UNLIMITED: Final = 1_000_000
"""Columns of a pipe: nothing is wrapped or cut there."""

_GAP: Final = 2
"""Columns of a terminal between two of a table."""
_TEXT_WIDTH: Final = 24
"""Columns of a terminal below which a text of a table is not broken."""


class Output:
    """Standard output and error of one command.

    What is stored can't steer a terminal, nor, but for a message's text, begin a line of its own.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        _reconfigure(errors="backslashreplace")
        if json:
            self.speak_utf8()
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)
        self._begun = False

    @property
    def is_terminal(self) -> bool:
        """Whether people are looking at standard output."""
        return self._out.is_terminal

    def speak_utf8(self) -> None:
        """Write JSON as JSON has to be written, whatever the locale says."""
        _reconfigure(encoding="utf-8")

    def document(self, value: Any) -> None:
        """Write the one JSON document of this run."""
        print(dump_json(value, indent=2 if self.is_terminal else None))  # noqa: T201 - no wrapping

    def line(self, text: str = "", *, style: str = "") -> None:
        """Write a line of text."""
        self._print(Text(in_line(text), style))

    def command(self, text: str) -> None:
        """Write a command to copy: a terminal wraps it, but no line break is put into it."""
        self._print(Text(in_line(text)), soft_wrap=True)

    def heading(self, text: str) -> None:
        """Write a heading, with an empty line above it unless it is the first thing written."""
        if self._begun:
            self._print()
        if self.is_terminal:
            self._print(Rule(Text(in_line(text), "bold"), align="left", style="dim"))
        else:
            self._print(Text(in_line(text)))

    def parts(self, *parts: tuple[str, str]) -> None:
        """Write a line made of texts, each with its style."""
        self._print(_assembled(parts))

    def paragraph(self, text: str, *, indent: int) -> None:
        """Write a text that may have many lines, indented."""
        self._print(Padding(Text(printable(text)), (0, 0, 0, indent), expand=False))

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, keys: int = 1
    ) -> None:
        """Write a table; numbers stand on the right where the heading starts with ``#``.

        Args:
            columns: headings.
            rows: cells.
            keys: columns that say what a row is about. Where not all others fit on a terminal,
                more tables follow, each with these columns and with others.
        """
        cells = [[in_line(cell) for cell in row] for row in rows]
        widths = [
            max(cell_len(one) for one in (name.removeprefix("#"), *(row[place] for row in cells)))
            for place, name in enumerate(columns)
        ]
        for number, places in enumerate(_fitting(columns, widths, keys, self._out.width)):
            if number:
                self._print()
            self._print(self._table(columns, cells, places))

    def _table(
        self, columns: Sequence[str], cells: Sequence[Sequence[str]], places: Sequence[int]
    ) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
        for place in places:
            is_number = columns[place].startswith("#")
            table.add_column(
                Text(columns[place].removeprefix("#")),
                justify="right" if is_number else "left",
                overflow="fold",
                no_wrap=is_number or not self.is_terminal,
            )
        for row in cells:
            table.add_row(*(Text(row[place]) for place in places))
        return table

    def _print(self, *shown: RenderableType, soft_wrap: bool = False) -> None:
        self._begun = True
        self._out.print(*shown, soft_wrap=soft_wrap)

    def note(self, text: str) -> None:
        """Write a remark to standard error: what a program that reads the output need not see."""
        self._err.print(Text(in_line(text), "dim"))

    def warn(self, text: str) -> None:
        """Write a warning to standard error."""
        self._err.print(Text.assemble(("warning: ", "yellow"), in_line(text)))

    def ask(self, question: str) -> str:
        """Return what is typed behind a question; empty at the end of the input."""
        self._err.print(Text(in_line(question), "bold"), end=" ")
        try:
            return input().strip()
        except EOFError:
            return ""

    @contextmanager
    def progress(
        self, what: str, total: int | None = None
    ) -> Generator[Callable[[int, int | None], None]]:
        """Show a progress bar, where people are looking, while the block runs.

        Args:
            what: is going on.
            total: of what is counted, where it is known.

        Yields:
            A function that takes what is done so far and the total.
        """
        if self.json or not (self._out.is_terminal and self._err.is_terminal):
            yield no_progress
            return
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._err,
            transient=True,
        )
        task = bar.add_task(what, total=total)

        def update(done: int, of: int | None) -> None:
            bar.update(task, completed=done, total=total if of is None else of)

        with bar:
            yield update


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end as any other does; rich would leave the program here."""
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    """Return a console that interprets nothing in the texts it is given."""
    return _Console(
        file=stream,
        width=None if stream.isatty() else _UNLIMITED,
        markup=False,
        emoji=False,
        highlight=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def _fitting(
    columns: Sequence[str], widths: Sequence[int], keys: int, room: int
) -> list[list[int]]:
    """Return the columns of each table of those into which a wide one is divided.

    A number is shown whole; a text may take several lines, if they are not too short.
    """
    needed = [
        (width if column.startswith("#") else min(width, _TEXT_WIDTH)) + _GAP
        for column, width in zip(columns, widths, strict=True)
    ]
    first = list(range(keys))
    tables = [first.copy()]
    for place in range(keys, len(columns)):
        taken = sum(needed[one] for one in tables[-1])
        if len(tables[-1]) > keys and taken + needed[place] - _GAP > room:
            tables.append(first.copy())
        tables[-1].append(place)
    return tables


def _reconfigure(**settings: str) -> None:
    stream: Any = sys.stdout
    if hasattr(stream, "reconfigure"):  # a program that calls main() may have put another there
        stream.reconfigure(**settings)


def _assembled(parts: Sequence[tuple[str, str]]) -> Text:
    return Text.assemble(*((in_line(text), style) for text, style in parts))
