"""Tables on terminals of several widths, and in a pipe."""

from __future__ import annotations

import sys

import pytest

from ialstore.cli.output import Output

COLUMNS = ["index", "#vectors", "#effort", "#recall@10", "#read units", "#round trips", "machines"]
ROWS = [
    ["exact", "2,000", "1", "1.000", "12.34", "1", "2 t4g.small"],
    ["lsh+dynamodb://app-long", "100,000", "default", "0.957", "1,234.5", "12", "-"],
]


def shown(
    columns: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[list[str]]:
    """Return the lines of each table; no width is a pipe."""
    if columns is not None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        for name, value in {"COLUMNS": str(columns), "LINES": "25", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
    Output().table(COLUMNS, ROWS, keys=3)
    text = capsys.readouterr().out
    return [part.splitlines() for part in text.rstrip("\n").split("\n\n")]


@pytest.mark.parametrize(("columns", "count"), [(60, 4), (80, 2), (120, 1), (None, 1)])
def test_a_wide_table_is_divided_and_no_number_is_broken(
    columns: int | None,
    count: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each part begins with the key columns, and all parts together show every cell once."""
    tables = shown(columns, capsys, monkeypatch)
    assert len(tables) == count
    rest: list[list[str]] = [[], [], []]
    for lines in tables:
        assert len(lines) == 3
        for place, (line, row) in enumerate(zip(lines, [COLUMNS, *ROWS], strict=True)):
            cells = [cell for cell in line.split("  ") if cell.strip()]
            assert len(line) <= (columns or len(line))
            assert [cell.strip() for cell in cells[:3]] == [one.lstrip("#") for one in row[:3]]
            rest[place] += [cell.strip() for cell in cells[3:]]
    assert rest == [[one.lstrip("#") for one in row[3:]] for row in [COLUMNS, *ROWS]]


def test_a_long_text_takes_several_lines_of_a_narrow_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"COLUMNS": "40", "LINES": "25", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    Output().table(["key", "#number", "text"], [["one", "1,234", "a word and " * 5]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2
    assert lines[1].split()[:2] == ["one", "1,234"]
    assert max(map(len, lines)) <= 40
