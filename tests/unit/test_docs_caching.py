"""docs/caching.md: its configuration opens an engine, and its example works."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ialstore import open_engine

PAGE = (Path(__file__).parents[2] / "docs" / "caching.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_configuration_opens_an_engine() -> None:
    pytest.importorskip("redis", reason="the extra redis is not installed")
    config = tomllib.loads(block("toml"))
    config["conversation"]["url"] = "memory:"  # the page's needs tables
    with open_engine(config) as engine:
        assert engine.get_performance_metrics()["query_cache_hit_rate"] == 0


def test_the_example_tells_of_a_hit(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("python"), "docs/caching.md", "exec"), {})  # noqa: S102 - our own document
    assert capsys.readouterr().out.splitlines() == ["append 0", "history 0", "history 1"]
