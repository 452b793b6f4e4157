"""docs/moving.md: its configurations open, its commands run in order, its example prints that."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path
from typing import Final

import pytest

from ialstore import Message, open_index, open_store
from ialstore.cli import main

PAGE: Final = (Path(__file__).parents[2] / "docs" / "moving.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for _, text in found]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IALSTORE_CONFIG", raising=False)
    return tmp_path


def test_the_steps_lead_from_the_old_store_to_the_new_one(folder: Path) -> None:
    before = Message.new(user_id="u", session_id="s", role="user", content="before")
    with open_store("sqlite:///old.db") as old:
        old.append(before)
    both, shadowed = blocks("toml")
    (folder / "both.toml").write_text(both)
    (folder / "shadowed.toml").write_text(shadowed)
    meanwhile = Message.new(user_id="u", session_id="s", role="user", content="meanwhile")
    with open_store("both.toml") as store, open_index("both.toml") as index:
        store.append(meanwhile)
        assert index.count("u") == 0
    (folder / "missed.users").write_text('"u"\n')
    for block in blocks("sh"):
        for command in block.splitlines():
            words = shlex.split(command)
            if words[0] == "mv":
                Path(words[1]).rename(words[2])
            else:
                assert main(words[1:]) == 0, command
    with open_store("shadowed.toml") as store, open_store("sqlite:///new.db") as new:
        expected = [before, meanwhile]
        assert list(store.history("u", newest_first=False)) == expected
        assert list(new.history("u", newest_first=False)) == expected


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    exec(compile(example, "docs/moving.md", "exec"), {})  # noqa: S102 - our own document
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", example)


def test_the_options_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"^\| (`--.*?) \|", PAGE, re.MULTILINE))
    options = {one for row in named for one in re.findall(r"--[a-z-]+", row)}
    main(["copy", "--help"])
    shown = set(re.findall(r"(?<![\w-])--[a-z-]+", capsys.readouterr().out))
    common = {"--config", "--url", "--debug", "--help", "--only"}
    assert options == shown - common


def test_the_tests_it_names_are_there() -> None:
    root = Path(__file__).parents[2]
    assert all((root / one).exists() for one in re.findall(r"`(tests/[\w/.]+)`", PAGE))
