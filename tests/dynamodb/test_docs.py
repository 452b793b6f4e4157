"""docs/dynamodb.md: its options are those of the class, and its examples work."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from ialstore.cli import main
from ialstore_backends.dynamodb import DynamoOptions

PAGE = (Path(__file__).parents[2] / "docs" / "dynamodb.md").read_text(encoding="utf-8")
CONTRACT = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_table_names_every_option() -> None:
    (table,) = re.findall(r"\| option \|.*?\n\n", PAGE, re.DOTALL)
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row)}
    options = {one.name for one in dataclasses.fields(DynamoOptions)}
    assert options <= named


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    exec(compile(example, "docs/dynamodb.md", "exec"), {})  # noqa: S102 - our own document
    said = re.findall(r"print\(.*?\)  # (.*)", example)
    assert capsys.readouterr().out.splitlines() == said


def test_the_commands_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()
    ]
    assert {command[1] for command in commands} == {"setup", "check", "explain", "iam-policy"}
    for command in commands:
        assert command[0] == "ialstore"
        given = command[1:] if command[1] == "iam-policy" else [command[1], "--help"]
        assert main(given) == 0
    assert "123456789012" in capsys.readouterr().out


def test_what_global_tables_weaken_are_clauses_of_the_contract() -> None:
    (table,) = re.findall(r"\| promise \|.*?\n\n", PAGE, re.DOTALL)
    clauses = set(re.findall(r"\b[SC]\d+\b", table))
    assert clauses <= set(re.findall(r"^- \*\*([SC]\d+)\b", CONTRACT, re.MULTILINE))
    assert {"S1", "S2", "S9"} <= clauses
