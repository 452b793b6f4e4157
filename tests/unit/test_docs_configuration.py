"""docs/configuration.md: its tables name every key with its default, and its example opens."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ialstore import open_engine
from ialstore.config import ConversationSection, VectorSection
from ialstore.context.opening import ContextSection

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def table(section: str) -> dict[str, str]:
    """Return the defaults by key."""
    _, _, part = PAGE.partition(f"## `[{section}]`")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", part.partition("\n## ")[0], re.MULTILINE)
    return dict(rows)


def written(value: Any) -> str:
    """Return a default as the page writes it."""
    if value is None or value == "":
        return "none"
    if isinstance(value, tuple):
        return '`["retry"]`' if value == ("retry",) else repr(value)
    return f"`{value}`" if isinstance(value, str) else f"{value:g}"


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("conversation", ConversationSection),
        ("vector", VectorSection),
        ("context", ContextSection),
    ],
)
def test_the_tables_name_every_key_with_its_default(section: str, kind: type[Any]) -> None:
    made = kind()
    keys = [one.name for one in fields(kind) if one.name != "options"]
    expected = {name: written(getattr(made, name)) for name in keys}
    if section == "vector":
        expected["url"] = "none"
    assert table(section) == expected


def test_the_example_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    Path("ialstore.toml").write_text(example)
    monkeypatch.setenv("IALSTORE_CONTEXT__MAX_TOKENS", "300")
    with open_engine() as engine:
        engine.save("alice", "monday", "user", "Nuts make my throat swell.")
        context = engine.build_context("Which nuts can I eat?", "alice", "tuesday")
    assert "throat swell" in context.as_text()
    assert context.tokens <= 300
    assert Path("vectors").is_dir()
