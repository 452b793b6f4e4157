"""docs/faiss.md: its options are those of the class, its numbers those of the code, it runs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from ialstore_backends.faiss import FaissOptions, matrix
from ialstore_backends.faiss.recipes import KINDS, LEAST, STORAGES

PAGE = (Path(__file__).parents[2] / "docs" / "faiss.md").read_text(encoding="utf-8")


def test_the_table_names_every_option_and_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([\w. ]+?)`? \|", PAGE, re.MULTILINE))
    options = {one.name: one.default for one in dataclasses.fields(FaissOptions)}
    options["storage"] = options["storage"] or "by kind"
    assert {name: str(value).removesuffix(".0") for name, value in options.items()} == rows
    for name in (*KINDS, *STORAGES):
        assert f"`{name}`" in PAGE


def test_the_storage_of_each_kind_is_as_it_says() -> None:
    usual = {kind: FaissOptions(kind).recipe("cosine").storage for kind in KINDS}
    assert usual == {"flat": "float32", "hnsw": "float16", "ivf": "float16"}
    assert "in memory: `float32` (for `flat`), `float16` (for the others), `int8`" in PAGE


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"less than {LEAST:,} vectors" in PAGE
    comparing = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")
    assert f"less than {LEAST:,} vectors exactly" in comparing
    assert f"about {1000 * matrix._ABSORB_SECONDS:.0f} ms" in PAGE  # noqa: SLF001 - what it says


def test_the_examples_print_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "docs/faiss.md", "exec"), names)  # noqa: S102 - our own document
        said = re.findall(r"print\(.*?\)  # (.*)", example)
        assert capsys.readouterr().out.splitlines() == said
