"""docs/durability.md: the tests that it names exist, its examples run, no fault is left out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import ialstore
from ialstore import Message, Outcome, open_store
from ialstore_backends.sqlite import SqliteOptions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "durability.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([BE]\d+) (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
TESTS = sorted(set(re.findall(r"`([\w/.]+\.py)::(\w+)`", PAGE)))
WITHOUT = {"E6"}
"""Faults that can't happen to a SQLite file."""


@cache
def named_in(file: str) -> set[str]:
    """Return the names of all functions of a file that pytest would run."""
    nodes = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[name for _, name in TESTS])
def test_each_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert name in named_in(file)


def test_each_fault_has_a_row_and_each_row_a_test() -> None:
    expected = [f"B{number}" for number in range(1, 13)] + [f"E{n}" for n in range(1, 14)]
    assert list(dict.fromkeys(fault for fault, *_ in ROWS)) == expected
    assert {fault for fault, _, _, tests in ROWS if "::" not in tests} == WITHOUT
    assert len(re.findall(r"^\| [BE]\d+ ", PAGE, re.MULTILINE)) == len(ROWS)


def test_every_test_of_faults_is_named_but_for_planted_ones() -> None:
    """A new test belongs into the table."""
    there = {
        name
        for file in sorted((ROOT / "tests" / "faults").glob("test_*.py"))
        for name in named_in(f"tests/faults/{file.name}")
        if not name.endswith("_is_caught")
    }
    assert there <= {name for _, name in TESTS}


def test_errors_and_outcomes_have_their_names() -> None:
    for name in re.findall(r"`(\w+Error)`", PAGE):
        assert name == "MemoryError" or issubclass(getattr(ialstore, name), ialstore.IalStoreError)
    (outcomes,) = re.findall(r"what became of it: (.*?)\. A commit", PAGE, re.DOTALL)
    named = set(re.findall(r"`([a-z_]+)`", outcomes)) & set(Outcome)
    assert named == {"not_applied", "unknown", "partial"} == set(Outcome)


def test_the_table_of_synchronous_is_what_stores_say(tmp_path: Path) -> None:
    rows = re.findall(r"^\| `(full|normal)`(.*?) \|.*\| (yes|no) \|$", PAGE, re.MULTILINE)
    said = {name: durable == "yes" for name, _, durable in rows}
    for name, durable in said.items():
        with open_store(f"sqlite:///{tmp_path}/{name}.db?synchronous={name}") as store:
            assert store.capabilities.durable == durable
    assert [name for name, note, _ in rows if "default" in note] == [SqliteOptions().synchronous]
    assert len(said) == 2


def test_the_examples_run_and_a_backup_is_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, backup = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(first, "docs/durability.md", "exec"), {})  # noqa: S102 - the page is ours
    assert capsys.readouterr().out == "True False\n"
    message = Message.new(user_id="u", session_id="s", role="user", content="kept")
    with open_store("sqlite:///safe.db") as store:
        store.append(message)
        exec(compile(backup, "docs/durability.md", "exec"), {})  # noqa: S102 - the page is ours
        store.append(Message.new(user_id="u", session_id="s", role="user", content="later"))
    (tmp_path / "backup.db").chmod(0o600)
    with open_store("sqlite:///backup.db") as restored:
        assert restored.history("u").items == (message,)
        assert restored.check() == []
