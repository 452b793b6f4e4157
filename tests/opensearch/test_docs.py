"""docs/opensearch.md: its options are those of the class, and its examples print what they say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from ialstore.cli import main
from ialstore_backends.opensearch import OpenSearchOptions

PAGE = (Path(__file__).parents[2] / "docs" / "opensearch.md").read_text(encoding="utf-8")


def test_the_table_names_every_option_and_its_default() -> None:
    (table,) = re.findall(r"\| option \|.*?\n\n", PAGE, re.DOTALL)
    rows: dict[str, str] = {}
    for names, default in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE):
        rows |= dict.fromkeys(re.findall(r"`(\w+)`", names), default.strip("`"))
    defaults = {one.name: one.default for one in dataclasses.fields(OpenSearchOptions)}
    assert rows.keys() == defaults.keys()
    for name, default in defaults.items():
        if default is not None:
            assert rows[name] == str(default).lower(), name


def test_the_examples_print_what_they_say(
    port: int, index_name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"opensearch+http://127.0.0.1:{port}/{index_name}?replicas=0"
    monkeypatch.setenv("OPENSEARCH_URL", url)
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "docs/opensearch.md", "exec"), names)  # noqa: S102 - our own document
        said = re.findall(r"^print\(.*\)  # (.*)", example, re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == said
    names["index"].close()
    names["other"].close()


def test_the_price_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    ((command, told),) = re.findall(
        r"```sh\nialstore (cost .*)\n```\n\n```text\n(.*?)```", PAGE, re.DOTALL
    )
    assert main(command.split()) == 0
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert told in printed
