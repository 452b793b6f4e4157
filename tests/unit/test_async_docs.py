"""The examples of ``docs/async.md`` run."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ialstore import open_store
from ialstore.aio.threads import DEFAULT_THREADS

PAGE = (Path(__file__).parents[2] / "docs" / "async.md").read_text(encoding="utf-8")
FIRST, WEB, REPEATING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(program: str) -> dict[str, Any]:
    """Run a program and return its names."""
    names: dict[str, Any] = {}
    exec(compile(program, "docs/async.md", "exec"), names)  # noqa: S102 - the page is ours
    return names


def contents() -> list[str]:
    """Return what is stored, the oldest first."""
    with open_store("sqlite:///memory.db") as store:
        return [message.content for message in store.history("alice", newest_first=False)]


def test_the_first_program_finds_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    run(FIRST)
    assert "throat swell" in capsys.readouterr().out


def test_the_web_application_keeps_what_was_said() -> None:
    names = run(WEB)
    app = SimpleNamespace(state=SimpleNamespace())
    request = SimpleNamespace(app=app)

    async def serve() -> list[str]:
        async with names["lifespan"](app):
            return [
                await names["chat"](request, "alice", "monday", text) for text in ("Hello.", "Bye.")
            ]

    assert asyncio.run(serve()) == ["I was sent 1 messages.", "I was sent 3 messages."]
    assert contents() == ["Hello.", "I was sent 1 messages.", "Bye.", "I was sent 3 messages."]


def test_the_repeated_write_is_stored_once() -> None:
    run(REPEATING)
    assert contents() == ["I like figs."]


def test_the_number_of_threads_is_the_default() -> None:
    assert f"{DEFAULT_THREADS} unless you say otherwise" in PAGE
