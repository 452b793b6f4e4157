"""Figures in documents are those of ``benchmarks/results``, and no others."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

MARKED = re.compile(r"<!-- (table|fig) .*?<!-- /\1 -->", re.DOTALL)
CODE = re.compile(r"^```(?!text).*?^```$", re.DOTALL | re.MULTILINE)
NUMBER = r"(?<![\w.#-])\d[\d.,]*"
MEASURED = re.compile(
    rf"{NUMBER}[ ~]?(?:µs|us|ms|microseconds?|milliseconds?)\b"
    rf"|{NUMBER} ?(?:x|\u00d7|times as|times faster|times slower|times less)\b"
    rf"|{NUMBER} (?:read |write )?units?\b"
    r"|\brecall\b[^.|]{0,30}\b0\.\d+"
    r"|\b0\.\d+[^.|]{0,12}\brecall\b"
)
"""What looks like something that was measured."""


ALLOWED = {
    "caching": {"5 ms"},  # the same
    "contract": {"100 ms"},  # a limit
    "faiss": {"recall of 0.95", "2 ms"},  # a promise, and a bound of work
    "writing-a-backend": {"100 ms"},  # the contract's
}
"""Constants, by page: nothing that was measured."""


@pytest.fixture(scope="module")
def figures() -> Iterator[ModuleType]:
    """Return the script that writes figures into documents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        spec = importlib.util.spec_from_file_location("figures", BENCHMARKS / "figures.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        for name in ("_pictures", "_report"):
            sys.modules.pop(name, None)


def unmarked(page: str) -> set[str]:
    """Return what looks measured and has no mark."""
    return {found[0] for found in MEASURED.finditer(CODE.sub("", MARKED.sub("", page)))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_the_results_say(page: Path, figures: ModuleType) -> None:
    said = page.read_text(encoding="utf-8")
    assert figures.Results().written(said) == said, "run make figures"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_nothing_measured_without_a_mark(page: Path) -> None:
    found = unmarked(page.read_text(encoding="utf-8"))
    allowed = ALLOWED.get(page.stem, set())
    assert found <= allowed, f"mark it: see benchmarks/figures.py: {found - allowed}"


def test_what_is_allowed_is_said() -> None:
    """An entry that nothing needs would hide the next figure."""
    by_name = {page.stem: unmarked(page.read_text(encoding="utf-8")) for page in PAGES}
    assert {name: by_name[name] & allowed for name, allowed in ALLOWED.items()} == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        "a hit takes 307 us",
        "in 1.5 ms",
        "about 20x",
        "3.5 times as long",
        "it costs 12.5 read units",
        "a recall of 0.93",
        "with 0.93 recall",
        "```text\n12 ms\n```",
    ],
)
def test_a_figure_is_recognized(text: str) -> None:
    assert unmarked(text)
    assert not unmarked(f"<!-- fig cache: hit -->{text}<!-- /fig -->")


@pytest.mark.parametrize(
    "text", ["20 messages of 4 KiB", "V12 mentions", "```python\nwait(5)  # 5 ms\n```", "0.1.0"]
)
def test_what_is_no_figure_is_left_alone(text: str) -> None:
    assert not unmarked(text)


def test_figures_and_tables_are_written(figures: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text(json.dumps(RESULT), encoding="utf-8")
    results = figures.Results(tmp_path)
    page = (
        "<!-- fig speed: least -->?<!-- /fig --> us\n"
        "<!-- table speed: calls -->\nold\n<!-- /table -->\n"
    )
    written = results.written(page)
    assert written == (
        "<!-- fig speed: least -->1.50<!-- /fig --> us\n"
        "<!-- table speed: calls -->\n"
        "| call | us |\n| --- | --- |\n| read | 1,234 |\n\n"
        "`python benchmarks/speed.py`, 2026-11-02, Python 3.11, Linux, 2 cores.\n"
        "<!-- /table -->\n"
    )
    assert results.written(written) == written


def test_one_cell_of_a_table_is_a_figure(figures: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text(json.dumps(RESULT), encoding="utf-8")
    written = figures.Results(tmp_path).written(
        "<!-- fig speed: calls / read / us -->?<!-- /fig -->"
    )
    assert written == "<!-- fig speed: calls / read / us -->1,234<!-- /fig -->"


@pytest.mark.parametrize(
    "name",
    [
        "fast: least",
        "speed: most",
        "speed: call / read / us",
        "speed: calls / write / us",
        "speed: calls / read / ms",
    ],
)
def test_a_figure_that_nobody_measured_is_refused(
    name: str, figures: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "speed.json").write_text(json.dumps(RESULT), encoding="utf-8")
    with pytest.raises(figures.UnknownFigureError, match="there is no"):
        figures.Results(tmp_path).written(f"<!-- fig {name} -->1<!-- /fig -->")


def test_a_row_that_is_two_rows_is_refused(figures: ModuleType, tmp_path: Path) -> None:
    calls = {**RESULT["tables"]["calls"], "rows": [["read", 1], ["read", 2]]}
    kept = {**RESULT, "tables": {"calls": calls}}
    (tmp_path / "speed.json").write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(figures.UnknownFigureError, match="but 2"):
        figures.Results(tmp_path).written("<!-- fig speed: calls / read / us -->1<!-- /fig -->")


def test_the_page_of_results_is_of_these_results(figures: ModuleType) -> None:
    page = (RESULTS / "index.html").read_text(encoding="utf-8")
    assert f'content="{figures.Results().digest}"' in page, "run make figures"


def test_pictures_are_of_these_results(figures: ModuleType) -> None:
    kept = {path.name: path.read_text(encoding="utf-8") for path in RESULTS.glob("*.svg")}
    made = {name: digest for name, digest, *_ in figures.Results().pictures()}
    assert set(kept) == set(made), "run make figures, and delete what no result draws"
    stale = [name for name in made if made[name] not in kept[name]]
    assert not stale, f"run make figures: {stale}"


def test_a_picture_of_lines_shows_what_it_is_to_show(figures: ModuleType, tmp_path: Path) -> None:
    def svg(*rows: list[Any]) -> str:
        table = {"title": "Sizes", "columns": ["who", "bytes", "us", "cold"], "rows": [*rows]}
        kept = {**RESULT, "tables": {"sizes": table}, "pictures": [LINES]}
        (tmp_path / "speed.json").write_text(json.dumps(kept), encoding="utf-8")
        ((name, _, made, lines),) = figures.Results(tmp_path).pictures()
        assert name == "speed-growth.svg"
        text: str = figures.drawn(made, lines)
        return text

    shown = [["we", 10, 1.0, "no"], ["we", 100, 2.0, "no"], ["they", 10, 3.0, "no"]]
    text = svg(*shown)
    ET.fromstring(text)  # noqa: S314 - of our own making
    assert text == svg(*reversed(shown)), "the order of rows says nothing"
    assert text == svg(*shown, ["we", 50, 9.0, "yes"]), "it is not to be shown"
    assert text == svg(*shown, ["we", 0, 9.0, "no"], ["they", 50, None, "no"]), "it has no place"
    assert text != svg(*shown, ["they", 50, 9.0, "no"])


@pytest.mark.parametrize(
    ("values", "is_log", "label"),
    [
        (["us"], True, "us (logarithmic, from 100)"),
        (["us"], False, "us"),
        (["us", "least us"], True, "us, least us (logarithmic, from 10)"),
    ],
)
def test_bars_say_what_they_are_of_and_where_their_axis_begins(
    values: list[str], label: str, figures: ModuleType, tmp_path: Path, *, is_log: bool
) -> None:
    columns = ["from", "rows", "effort", "us", "least us"]
    rows = [["cached", 1000, "0.5", 234.5, 23.0], ["store", 1000, "strong", 1234.5, 0]]
    bars = {"table": "calls", "labels": columns[:3], "values": values, "is_log": is_log}
    tables = {"calls": {"title": "Calls", "columns": columns, "rows": rows}}
    kept = {**RESULT, "about": "What ``a`` < `b`", "tables": tables, "pictures": [bars]}
    (tmp_path / "speed.json").write_text(json.dumps(kept), encoding="utf-8")
    page = figures.Results(tmp_path).page()
    assert "What <code>a</code> &lt; <code>b</code></h2>" in page
    assert '<figure class="bars">' in page
    drawn = re.findall(r"<!-- (.*?) -->", page)  # a text is drawn, and stands in a comment
    assert label in drawn
    assert "cached, rows 1,000, effort 0.5" in drawn
    assert "store, rows 1,000, effort strong" in drawn


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_results_say_how_to_get_them_and_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    kept = json.loads(text)
    assert kept["command"].split()[:2][-1] == f"benchmarks/{path.stem}.py"
    assert {"Python", "system", "cores"} <= set(kept["environment"])
    assert socket.gethostname() not in text
    assert not re.search(r"/(?:home|root|tmp|work|Users)/", text)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        ("met", "met"),
        (12345, "12,345"),
        (12345.678, "12,346"),
        (183.4, "183"),
        (46.32, "46.3"),
        (9.999, "10.0"),
        (0.0456, "0.0456"),
        (0.0, "0"),
        (5.0, "5"),
    ],
)
def test_numbers_have_three_digits(cell: Any, text: str, figures: ModuleType) -> None:
    assert figures.text_of(cell) == text


RESULT: dict[str, Any] = {
    "about": "How fast it is",
    "command": "python benchmarks/speed.py",
    "date": "2026-11-02",
    "environment": {"Python": "3.11", "system": "Linux", "cores": 2},
    "figures": {"least": 1.5},
    "tables": {"calls": {"title": "Calls", "columns": ["call", "us"], "rows": [["read", 1234.2]]}},
    "pictures": [],
}

LINES: dict[str, Any] = {
    "table": "sizes",
    "name": "growth",
    "series": "who",
    "x": "bytes",
    "y": "us",
    "order": ["we", "they"],
    "only": {"cold": "no"},
    "least_y": 0.0,
}
