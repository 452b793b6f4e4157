"""docs/embedders.md: its tables are what the classes say, and its examples work."""

from __future__ import annotations

import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from ialstore import MissingDriverError
from ialstore.config import load_config, make_embedder
from ialstore.context.opening import context_section, make_token_counter
from ialstore.registry import known

PAGE = (Path(__file__).parents[2] / "docs" / "embedders.md").read_text(encoding="utf-8")
DIMENSIONS = {"sentence-transformers": 384, "bedrock-titan": 512, "callable": 3, "hashing": 384}


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("kind", ["embedder", "token_counter"])
def test_the_tables_name_every_one_with_its_extra_and_options(kind: str) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if re.match(r"\| `(?!use`)", line)
    ]
    for name, one in known(kind).items():
        (row,) = [row for row in rows if row[0] == f"`{name}`"]
        assert row[1] == f"`{one.extra or 'ialstore'}`"
        options = list(inspect.signature(one.load()).parameters)
        assert re.findall(r"`(\w+)`", row[-1]) == options


@pytest.mark.parametrize(
    "example", blocks("toml"), ids=lambda text: re.findall(r'use = "(.*?)"', text)[0]
)
def test_the_configurations_work(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "myagent"
    package.mkdir()
    (package / "embedding.py").write_text(blocks("python")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "ialstore.toml"
    path.write_text(example)
    config = load_config(path, environ={})

    assert context_section(config).budget.max_tokens in (2000, 4000)
    assert make_token_counter(config) is not None
    if config.embedder.use == "sentence-transformers" and not find_spec("sentence_transformers"):
        with pytest.raises(MissingDriverError, match=r"ialstore\[sentence-transformers\]"):
            make_embedder(config)
    else:
        embedder = make_embedder(config)
        assert embedder.dimension == DIMENSIONS[config.embedder.use]
        assert embedder.max_characters in (None, 16_384, 32_768)


def test_the_programs_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for program in blocks("python"):
        exec(compile(program, "embedders.md", "exec"), names)  # noqa: S102 - the page is ours
    assert "The cat sat on the mat." in capsys.readouterr().out


def test_each_embedder_has_an_example() -> None:
    used = set(re.findall(r'^use = "(.*)"', PAGE, re.MULTILINE))
    assert used == set(known("embedder")) == set(DIMENSIONS)
