"""docs/lsh.md: its options are those of the class, and its examples work."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from ialstore.cli import main
from ialstore.config import load_config
from ialstore.context.opening import context_section
from ialstore_backends.dynamodb.options import TableOptions
from ialstore_backends.lsh import LshOptions

PAGE = (Path(__file__).parents[3] / "docs" / "lsh.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_names_every_option() -> None:
    """Its own with their defaults, and those of every table."""
    (table,) = re.findall(r"\| option \|.*?\n\n", PAGE, re.DOTALL)
    told = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", table, re.MULTILINE))
    common = {one.name for one in dataclasses.fields(TableOptions)}
    own = [one for one in dataclasses.fields(LshOptions) if one.name not in common]
    assert told == {one.name: str(one.default).lower() for one in own}
    assert all(f"`{name}`" in PAGE for name in common)


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    exec(compile(example, "docs/lsh.md", "exec"), {})  # noqa: S102 - our own document
    said = re.findall(r"print\(.*?\)  # (.*)", example)
    assert capsys.readouterr().out.splitlines() == said


def test_the_configuration_is_one(tmp_path: Path) -> None:
    block, manual = blocks("toml")
    path = tmp_path / "ialstore.toml"
    path.write_text(f"{block}\n{manual}", encoding="utf-8")
    config = load_config(path)
    assert config.vector.url.startswith("lsh+dynamodb:")
    assert context_section(config).optimize == "manual"


def test_the_commands_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()
    ]
    assert {command[1] for command in commands} == {"setup", "check", "explain", "iam-policy"}
    for command in commands:
        assert command[0] == "ialstore"
        given = command[1:] if command[1] == "iam-policy" else [command[1], "--help"]
        assert main(given) == 0
    assert "alice#*" in capsys.readouterr().out
