"""docs/cost.md: what it quotes is what the commands print, and its file is a workload."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from ialstore.cli import main
from ialstore.estimate import Workload

pytestmark = pytest.mark.no_cover

PAGE = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")
QUOTED = re.compile(r"```(sh|text)\n(.*?)```", re.DOTALL)


def commands(block: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in block.splitlines()]


def plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("IALSTORE_CONFIG", "IALSTORE_PRICES"):
        monkeypatch.delenv(name, raising=False)


def test_what_is_quoted_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the first command, but behind another one of the last section."""
    blocks = QUOTED.findall(PAGE)
    first = blocks[0][1]
    printed: dict[str, str] = {}
    for place, (kind, text) in enumerate(blocks):
        if kind == "sh":
            continue
        before_kind, before = blocks[place - 1]
        is_own = before_kind == "sh" and before.count("\n") == 1
        (given,) = commands(before if is_own else first)
        key = " ".join(given)
        if key not in printed:
            assert main(given) == 0
            printed[key] = plain(capsys.readouterr().out)
        assert plain(text) in printed[key], f"ialstore {key}"
    assert len(printed) == 2


def test_the_other_commands_work(capsys: pytest.CaptureFixture[str]) -> None:
    some = [one for kind, text in QUOTED.findall(PAGE) if kind == "sh" for one in commands(text)]
    for given in some[1:-1]:
        assert main(given) == 0, given
    assert capsys.readouterr().err == ""


def test_the_file_is_a_workload() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert Workload(**tomllib.loads(text)) == Workload(users=10_000)


def test_every_figure_of_a_workload_is_named() -> None:
    assert [one.name for one in fields(Workload) if one.name not in PAGE] == []
