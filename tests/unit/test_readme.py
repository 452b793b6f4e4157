"""The README runs, and its table of backends is what the command prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ialstore.config import load_config

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMAND = Path(sys.executable).with_name("ialstore")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("program", blocks("python"), ids=["fifteen lines", "a store alone"])
def test_the_programs_run(
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - the README is ours
    assert capsys.readouterr().out


def test_the_first_program_is_short_and_finds_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = blocks("python")[0]
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - the README is ours
    assert "throat swell" in capsys.readouterr().out


def test_the_table_of_backends_is_what_the_command_prints() -> None:
    table = re.search(r"<!-- backends -->\n(.*?)<!-- /backends -->", README, re.DOTALL)
    assert table is not None
    printed = subprocess.run(
        [COMMAND, "backends", "--markdown"], capture_output=True, text=True, check=True
    ).stdout
    assert table.group(1).strip() == printed.strip(), "run: ialstore backends --markdown"


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "ialstore.toml"
    path.write_text(blocks("toml")[0])
    config = load_config(path, environ={})
    assert config.conversation.retention_days == 365


def test_every_command_named_exists() -> None:
    named = set(re.findall(r"^ialstore ([a-z]+)", "\n".join(blocks("sh")), re.MULTILINE))
    assert named
    for command in sorted(named):
        subprocess.run([COMMAND, command, "--help"], capture_output=True, check=True)
