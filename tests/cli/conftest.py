"""Runs ``ialstore`` in process, in an empty folder."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from ialstore.cli import main


@dataclass(frozen=True)
class Result:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error on standard error, of a command with --json."""
        return json.loads(self.err)["error"]


class Run(Protocol):
    def __call__(self, *args: object, stdin: str | bytes | None = None) -> Result: ...


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: empty, and with no configuration around it."""
    monkeypatch.chdir(tmp_path)
    for name in ("IALSTORE_CONFIG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as the shell would; ``stdin`` is what comes down a pipe."""

    def run(*args: object, stdin: str | bytes | None = None) -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return run


CHAT = [
    ("alice", "monday", "user", "2026-03-02T09:00:00Z", "Nuts make my throat swell, mind that."),
    ("alice", "monday", "assistant", "2026-03-02T09:00:05Z", "Noted: you are allergic to nuts."),
    ("alice", "tuesday", "user", "2026-03-03T18:30:00Z", "Let us plan a dinner for Friday."),
    ("alice", "tuesday", "assistant", "2026-03-03T18:30:07Z", "Gladly. How many guests?"),
    ("bob", "trip", "user", "2026-03-04T12:00:00Z", "I lost my passport in Lisbon."),
]


def line(user: str, session: str, role: str, time: str, content: str, **more: Any) -> str:
    """Return a line to import."""
    record = {"user_id": user, "session_id": session, "role": role, "created_at": time}
    return json.dumps({**record, "content": content, **more}) + "\n"


@pytest.fixture
def chat(run: Run) -> str:
    """The URL of a store with two users: alice has two sessions of two messages, bob one of one."""
    text = "".join(line(*one) for one in CHAT)
    result = run("import", "-", "--url", "sqlite:///chat.db", stdin=text)
    assert result.code == 0, result.err
    return "sqlite:///chat.db"
