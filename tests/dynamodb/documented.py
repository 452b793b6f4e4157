"""What the pages of vectors in DynamoDB say, held against what there is."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ialstore.cli import main
from ialstore.config import load_config
from ialstore.context.opening import context_section
from ialstore_backends.dynamodb.options import TableOptions

__all__ = ["VectorPage"]


class VectorPage:
    """Tests of a page: its options are those of the class, and its examples work.

    Attributes:
        PAGE: name of its file.
        SCHEME: of the URL.
        OPTIONS: class of the options.
        POLICY: what the policy that is printed holds.
        OPTIMIZE: who maintains the index, by the configuration that is shown.
    """

    PAGE: str
    SCHEME: str
    OPTIONS: type[Any]
    POLICY: str
    OPTIMIZE: str = "auto"

    @pytest.fixture
    def text(self) -> str:
        return (Path(__file__).parents[2] / "docs" / self.PAGE).read_text(encoding="utf-8")

    def test_the_page_names_every_option(self, text: str) -> None:
        """Its own with their defaults, and those of every table."""
        (table,) = re.findall(r"\| option \|.*?\n\n", text, re.DOTALL)
        told = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", table, re.MULTILINE))
        common = {one.name for one in dataclasses.fields(TableOptions)}
        own = [one for one in dataclasses.fields(self.OPTIONS) if one.name not in common]
        assert told == {one.name: str(one.default).lower() for one in own}
        assert all(f"`{name}`" in text for name in common)

    def test_the_example_prints_what_it_says(
        self, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (example,) = blocks(text, "python")
        exec(compile(example, self.PAGE, "exec"), {})  # noqa: S102 - our own document
        said = re.findall(r"print\(.*?\)  # (.*)", example)
        assert capsys.readouterr().out.splitlines() == said

    def test_the_configuration_is_one(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "ialstore.toml"
        path.write_text("\n".join(blocks(text, "toml")), encoding="utf-8")
        config = load_config(path)
        assert config.vector.url.startswith(f"{self.SCHEME}:")
        assert context_section(config).optimize == self.OPTIMIZE

    def test_the_commands_are_known(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        commands = [
            shlex.split(line, comments=True)
            for block in blocks(text, "sh")
            for line in block.splitlines()
        ]
        assert {command[1] for command in commands} == {"setup", "check", "explain", "iam-policy"}
        for command in commands:
            assert command[0] == "ialstore"
            given = command[1:] if command[1] == "iam-policy" else [command[1], "--help"]
            assert main(given) == 0
        assert self.POLICY in capsys.readouterr().out


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
