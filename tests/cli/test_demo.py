"""``ialstore demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

ANSWERS = ["allergic to hazelnuts", "Kitchen 3", "Lindqvist"]


def test_the_first_start_stores_the_sample_and_the_second_finds_it(run: Run, folder: Path) -> None:
    first = run("demo")
    assert first.code == 0, first.err
    assert first.out.startswith("Stored ")
    assert "in sqlite:///ialstore-demo.db.\n" in first.out
    assert (folder / "ialstore-demo.db").exists()
    second = run("demo")
    assert second.out.startswith("Found all ")
    count = first.out.split()[1]
    assert f"Found all {count} messages of " in second.out


def test_it_shows_sessions_messages_memories_tokens_and_timings(run: Run) -> None:
    out = run("demo").out
    for part in ("Sessions", "Newest messages", "What is recalled for: ", "Now you"):
        assert f"\n{part}" in out
    for answer in ANSWERS:
        assert answer in out
    assert out.count(" of 2,000 tokens; ") == 3
    assert out.count(" ms (store ") == 3


def test_the_answers_come_from_sessions_before_the_last(run: Run) -> None:
    document = run("demo", "--json").json
    for question, answer in zip(document["questions"], ANSWERS, strict=True):
        memories = question["context"]["memories"]
        assert any(answer in memory["text"] for memory in memories[:3]), question["question"]
        assert memories[0]["session_id"] != document["sessions"][0]
        assert question["context"]["recent"][-1]["session_id"] == document["sessions"][0]


def test_it_can_begin_afresh_and_elsewhere(run: Run, folder: Path) -> None:
    options = ("demo", "--db", folder / "a b.db", "--json")
    stored = run(*options).json["stored"]
    assert stored > 20
    assert run(*options).json["stored"] == 0
    assert run(*options, "--fresh").json["stored"] == stored
    assert (folder / "a b.db").exists()
    assert not (folder / "ialstore-demo.db").exists()


@pytest.mark.parametrize("options", [["--url", "memory:"], ["--config", "own.toml"]])
def test_it_runs_on_any_store(run: Run, folder: Path, options: list[str]) -> None:
    (folder / "own.toml").write_text('[conversation]\nurl = "memory:"\n')
    result = run("demo", *options)
    assert result.code == 0
    assert f" in {options[1]}.\n" in result.out
    assert f"ialstore history {' '.join(options)} --user demo\n" in result.out
    assert not (folder / "ialstore-demo.db").exists()


def test_what_it_says_to_try_next_works(run: Run) -> None:
    out = run("demo").out
    assert 'ialstore context --url sqlite:///ialstore-demo.db --user demo "Who keeps' in out
    options = ("--url", "sqlite:///ialstore-demo.db", "--user", "demo")
    assert "Tomasz will keep it" in run("context", *options, "Who keeps the piano?").out
    assert run("history", *options).code == 0
