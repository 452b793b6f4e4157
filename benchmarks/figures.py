"""Writes what benchmarks found into the documents, so that none says what no run found.

Each ``benchmarks/results/NAME.json`` is what a benchmark kept with ``--json``. In README.md and
docs/*.md this replaces what stands between two marks:

    <!-- table NAME: TABLE -->        a table, and the command that made it
    <!-- /table -->
    <!-- fig NAME: FIGURE -->12.3<!-- /fig -->        one figure, in a line of text
    <!-- fig NAME: TABLE / ROW / COLUMN -->12.3<!-- /fig -->        one cell; ROW is its first cells

It also writes the pictures that documents show, ``NAME-PICTURE.svg``, and index.html: all tables,
with pictures. ``make figures`` runs it, and tests/unit/test_figures.py fails when a document or a
picture differs from the results.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from _pictures import drawn, made
from _report import RESULTS, Lines, Table, text_of

__all__ = ["Results", "pages"]

ROOT: Final = Path(__file__).parents[1]
INDEX: Final = RESULTS / "index.html"
_TABLE: Final = re.compile(r"(<!-- table (\w+): (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
_FIGURE: Final = re.compile(r"(<!-- fig (\w+): ([^>]+?) -->)[^<]*(<!-- /fig -->)")
_CODE: Final = re.compile(r"`+([^`]+)`+")
_BRIEF: Final = ("Python", "system", "cores", "server", "vectors", "load")
"""What documents say of the environment; the page of results says all."""
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff }
h2 { margin-top: 3rem; border-top: 1px solid #d0d7de; padding-top: 1.5rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: 1rem 0 .4rem }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #d0d7de; text-align: left }
td.number { text-align: right }
.from { color: #57606a; font-size: 14px }
figure { margin: 1rem 0; overflow-x: auto }
svg { max-width: 100%; height: auto }
.bars svg { min-width: 46rem }
"""


class UnknownFigureError(Exception):
    """A document asks for what no benchmark has kept."""


class Results:
    """All that benchmarks have kept.

    Args:
        folder: of the JSON files.
    """

    def __init__(self, folder: Path = RESULTS) -> None:
        self.files = sorted(folder.glob("*.json"))
        self.by_name: dict[str, dict[str, Any]] = {
            one.stem: json.loads(one.read_text(encoding="utf-8")) for one in self.files
        }

    @property
    def digest(self) -> str:
        """SHA-256 over the files: what a page was made of."""
        return sha256(b"".join(one.read_bytes() for one in self.files)).hexdigest()

    def written(self, page: str) -> str:
        """Return a page with tables and figures replaced.

        Raises:
            UnknownFigureError: there is none of a name.
        """
        page = _TABLE.sub(lambda m: m[1] + self._table(m[2], m[3]) + m[4], page)
        return _FIGURE.sub(lambda m: m[1] + self._figure(m[2], m[3]) + m[4], page)

    def _table(self, name: str, key: str) -> str:
        result = self._find(self.by_name, name, "benchmark")
        table = Table.of(self._find(result["tables"], key, f"table of {name}"))
        lines = [_line(table.columns), _line(["---"] * len(table.columns))]
        lines += [_line(map(text_of, row)) for row in table.rows]
        return "\n".join([*lines, "", f"`{result['command']}`, {origin(result, _BRIEF)}.", ""])

    def _figure(self, name: str, key: str) -> str:
        result = self._find(self.by_name, name, "benchmark")
        if key.count(" / ") != 2:  # noqa: PLR2004 - a table, a row and a column
            return text_of(self._find(result["figures"], key, f"figure of {name}"))
        table, row, column = key.split(" / ")
        kept = Table.of(self._find(result["tables"], table, f"table of {name}"))
        rows = [one for one in kept.rows if row in _names(one)]
        if len(rows) != 1:
            raise UnknownFigureError(f"there is no one row of {table} {row!r}, but {len(rows)}")
        cells = dict(zip(kept.columns, rows[0], strict=True))
        return text_of(self._find(cells, column, f"column of {table}"))

    @staticmethod
    def _find(held: dict[str, Any], key: str, what: str) -> Any:
        if key not in held:
            raise UnknownFigureError(f"there is no {what} {key!r}; there are {sorted(held)}")
        return held[key]

    # -- the page of all results ----------------------------------------------------------------

    def page(self) -> str:
        """Return the HTML page of all results."""
        contents = "".join(
            f'<li><a href="#{name}">{name}</a>: {_prose(result["about"])}</li>'
            for name, result in self.by_name.items()
        )
        sections = "".join(self._section(name, one) for name, one in self.by_name.items())
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="results" content="{self.digest}">'
            f"<title>Benchmarks of ialstore</title><style>{_STYLE}</style></head><body>\n"
            f"<h1>Benchmarks of ialstore</h1>\n<ul>{contents}</ul>\n{sections}</body></html>\n"
        )

    def pictures(self) -> Iterator[tuple[str, str, Table, Lines]]:
        """Yield file name, digest, table and lines of each picture that is a file.

        The digest is of all that is drawn: the picture holds it.
        """
        for name, result in self.by_name.items():
            for kept in result["pictures"]:
                picture = made(kept)
                if isinstance(picture, Lines):
                    table = result["tables"][picture.table]
                    digest = sha256(json.dumps([table, kept], sort_keys=True).encode()).hexdigest()
                    yield f"{name}-{picture.name}.svg", digest, Table.of(table), picture

    @staticmethod
    def _section(name: str, result: dict[str, Any]) -> str:
        parts = [
            f'<h2 id="{name}">{_prose(result["about"])}</h2>',
            f'<p class="from">{html.escape(result["command"])}: {html.escape(origin(result))}</p>',
        ]
        pictures = [made(one) for one in result["pictures"]]
        for key, kept in result["tables"].items():
            table = Table.of(kept)
            for one in (one for one in pictures if one.table == key):
                kind = type(one).__name__.lower()
                parts.append(f'<figure class="{kind}">{drawn(table, one)}</figure>')
            parts.append(f'<div class="scroll">{_html(table)}</div>')
        if result["figures"]:
            rows = [list(pair) for pair in result["figures"].items()]
            parts.append(_html(Table("Figures", ("what", "figure"), rows)))
        return "\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """Return a text as HTML; what stands in backticks is code."""
    return _CODE.sub(r"<code>\1</code>", html.escape(text))


def _names(row: list[Any]) -> list[str]:
    """Return what a row may be called: any number of its first cells, with commas between."""
    texts = [text_of(one) for one in row]
    return [", ".join(texts[:count]) for count in range(1, len(texts) + 1)]


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def origin(result: dict[str, Any], only: Collection[str] | None = None) -> str:
    """Return when and where a result was found, as a text.

    Args:
        result: as it was kept.
        only: what of the environment, besides the system, to say; all by default.
    """
    held = result["environment"]
    where = {name: held[name] for name in held if only is None or name in only}
    cores = f"{where.pop('cores')} cores"
    system = where.pop("system")
    return ", ".join([result["date"], *(f"{k} {v}" for k, v in where.items()), system, cores])


def _html(table: Table) -> str:
    head = "".join(f"<th>{html.escape(one)}</th>" for one in table.columns)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(one)}</td>"
            if isinstance(one, str)
            else f'<td class="number">{text_of(one)}</td>'
            for one in row
        )
        + "</tr>\n"
        for row in table.rows
    )
    title = html.escape(table.title)
    return f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead>\n{rows}</table>"


def pages() -> Iterator[Path]:
    """Yield the documents that have figures."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").glob("*.md"))


def main() -> None:
    """Write the documents and the page of results."""
    results = Results()
    for page in pages():
        said = page.read_text(encoding="utf-8")
        try:
            written = results.written(said)
        except UnknownFigureError as error:
            sys.exit(f"{page.relative_to(ROOT)}: {error}")
        if written != said:
            page.write_text(written, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: written")
    INDEX.write_text(results.page(), encoding="utf-8")
    for name, digest, table, lines in results.pictures():
        svg = f"{drawn(table, lines).rstrip()}\n<!-- results {digest} -->\n"
        (RESULTS / name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
