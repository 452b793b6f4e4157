"""The report as one page of HTML that needs nothing from anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from ialstore.compare.plots import plots
from ialstore.compare.wording import listed

if TYPE_CHECKING:
    from ialstore.compare.plots import Plot
    from ialstore.compare.report import Report, Table

__all__ = ["page"]

_STYLE: Final = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 68rem; padding: 1rem; background: #fff; color: #111;
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
ul { margin: 0; padding-left: 1.2rem; }
li { margin: .35rem 0; overflow-wrap: anywhere; }
.plots { display: grid; gap: 2rem 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .875rem; color: #333; overflow-wrap: anywhere; }
.wide { overflow-x: auto; border: 1px solid #ddd; }
table { border-collapse: collapse; font-size: .8125rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; white-space: nowrap; }
th { background: #f2f2f2; vertical-align: bottom; }
tbody tr:nth-child(even) { background: #fafafa; }
tr > :first-child { position: sticky; left: 0; background: inherit; max-width: 9rem;
  overflow: hidden; text-overflow: ellipsis; }
tbody tr { background: #fff; }
.number { text-align: right; }
.wide::-webkit-scrollbar { height: .6rem; background: #eee; }
.wide::-webkit-scrollbar-thumb { background: #999; }
@media screen and (max-width: 48rem) { .wide::before { content: "Scroll sideways for all columns";
  position: sticky; left: 0; padding: .25rem .6rem; font-size: .75rem; color: #555; } }
@media print { .wide { overflow: visible; border: 0; } table { font-size: .6rem; } }
"""


def page(report: Report) -> str:
    """Return the page.

    Raises:
        MissingDriverError: matplotlib is not installed.
    """
    return "\n".join(_parts(report, plots(report))) + "\n"


def _parts(report: Report, pictures: list[Plot]) -> Iterator[str]:
    title = f"{listed(report.asked.names)}, compared"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>{escape(title)}</h1>"
    yield "<h2>Verdict</h2>"
    yield from _list(report.verdict)
    if pictures:
        yield '<h2>Pictures</h2>\n<div class="plots">'
        for one in pictures:
            yield f"<figure>\n<h3>{escape(one.title)}</h3>"
            yield one.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(one.title)}" ', 1)
            yield f"<figcaption>{escape(one.caption)}</figcaption>\n</figure>"
        yield "</div>"
    for table in report.tables:
        yield f"<h2>{escape(table.title)}</h2>"
        yield from _table(table)
    yield "<h2>What to know</h2>"
    yield from _list(report.notes)
    yield "</body>\n</html>"


def _list(sentences: tuple[str, ...]) -> Iterator[str]:
    yield "<ul>"
    for one in sentences:
        yield f"<li>{escape(one)}</li>"
    yield "</ul>"


def _table(table: Table) -> Iterator[str]:
    numbers = [' class="number"' if one.startswith("#") else "" for one in table.columns]
    yield '<div class="wide" tabindex="0"><table>\n<thead><tr>'
    for column, kind in zip(table.columns, numbers, strict=True):
        yield f'<th scope="col"{kind}>{escape(column.removeprefix("#"))}</th>'
    yield "</tr></thead>\n<tbody>"
    for row in table.rows:
        cells = (f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, numbers, strict=True))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table></div>"
