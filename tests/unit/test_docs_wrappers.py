"""docs/wrappers.md: its table is what the classes say, and its examples work."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from ialstore import open_store
from ialstore.registry import known

PAGE = (Path(__file__).parents[2] / "docs" / "wrappers.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("kind", ["conversation_wrapper", "vector_wrapper"])
def test_the_table_names_every_wrapper_with_its_options(kind: str) -> None:
    rows = {
        name: re.findall(r"`(\w+)`", options)
        for name, options in re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", PAGE, re.MULTILINE)
    }
    if kind == "vector_wrapper":  # nothing of an index is cached
        del rows["cache"]
    assert rows == {
        name: [one.name for one in dataclasses.fields(registration.load().OPTIONS)]
        for name, registration in known(kind).items()
    }
    assert set(re.findall(r"^## (\w+)", PAGE, re.MULTILINE)) - {"cache"} == rows.keys() - {"cache"}


@pytest.mark.parametrize("example", blocks("toml"), ids=["around a file", "rehearsal"])
def test_the_configurations_work(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ialstore.toml").write_text(example)
    with open_store("ialstore.toml") as store:
        assert store.history("u").items == ()


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    exec(compile(example, "docs/wrappers.md", "exec"), {})  # noqa: S102 - our own document
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*?\)  # (.*)", example)
