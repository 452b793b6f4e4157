"""The installed command, as a process of its own: pipes, terminals, encodings."""

from __future__ import annotations

import importlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ialstore.cli import main

Run = Callable[..., Any]

COMMAND = Path(sys.executable).with_name("ialstore")


def on_a_terminal(*args: str, columns: int = 80, **env: str) -> str:
    """Return what a command shows on a terminal."""
    master, slave = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **env}
    with subprocess.Popen(
        [COMMAND, *args], stdin=slave, stdout=slave, stderr=slave, env=environ
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(master)
    assert process.returncode == 0, shown
    return shown.decode()


def test_the_demo_runs_twice_in_a_pipe(folder: Path) -> None:
    for beginning in ("Stored ", "Found all "):
        result = subprocess.run([COMMAND, "demo"], capture_output=True, text=True, check=True)
        assert result.stdout.startswith(beginning)
        assert result.stderr == ""
        assert "\x1b" not in result.stdout
    assert (folder / "ialstore-demo.db").exists()


def test_python_runs_the_package_as_the_command() -> None:
    args = ["-m", "ialstore", "import", "none"]
    result = subprocess.run([sys.executable, *args], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "error: there is no file none; - reads standard input\n"


def test_importing_the_module_that_python_runs_runs_nothing() -> None:
    assert importlib.import_module("ialstore.__main__").main is main


def test_the_demo_is_coloured_and_wrapped_on_a_terminal() -> None:
    shown = on_a_terminal("demo", columns=60)
    assert "\x1b[" in shown
    assert "───" in shown
    assert "storing" in shown  # the progress bar


def test_commands_to_copy_are_not_broken_on_a_narrow_terminal() -> None:
    shown = on_a_terminal("demo", columns=60)
    url = "sqlite:///ialstore-demo.db"
    assert f'  ialstore context --url {url} --user demo "Who keeps the piano?"\r\n' in shown


def test_no_color_is_respected() -> None:
    shown = on_a_terminal("sessions", "--user", "demo", *demo_url(), NO_COLOR="1")
    assert "\x1b[" not in shown
    assert "moved-in" in shown


def demo_url() -> list[str]:
    """Return the options for a store that holds the sample."""
    assert main(["demo"]) == 0
    return ["--url", "sqlite:///ialstore-demo.db"]


def test_json_on_a_terminal_is_indented_and_alone() -> None:
    shown = on_a_terminal("users", *demo_url(), "--json")
    assert shown.replace("\r\n", "\n") == (
        '{\n  "items": [\n    "demo"\n  ],\n  "cursor": null\n}\n'
    )


def test_the_progress_of_tests_is_shown_on_a_terminal() -> None:
    shown = on_a_terminal("conformance", "memory:", "--clause", "W4")
    assert "testing" in shown
    assert "1/1" in shown
    assert "1 passed" in shown


def test_an_import_goes_through_a_pipe() -> None:
    exported = subprocess.run(
        [COMMAND, "export", *demo_url()], capture_output=True, check=True
    ).stdout
    result = subprocess.run(
        [COMMAND, "import", "-", "--url", "sqlite:///copy.db"],
        input=exported,
        capture_output=True,
        check=True,
    )
    assert b" 0 already there" in result.stdout
    assert result.stderr == b""


@pytest.mark.parametrize(("options", "unbuffered"), [([], "1"), (["--json"], "1"), ([], "")])
def test_a_reader_that_goes_away_is_no_error(options: list[str], unbuffered: str) -> None:
    with subprocess.Popen(
        [COMMAND, "history", "--user", "demo", *demo_url(), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_full_disk_is_one_line() -> None:
    url = demo_url()
    for args in (["export", *url], ["export", *url, "-o", "/dev/full"], ["users", *url]):
        with Path("/dev/full").open("wb") as full:
            result = subprocess.run(
                [COMMAND, *args], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert result.stderr == "error: No space left on device\n", args
        assert result.returncode == 3


def test_a_locale_without_utf_8_loses_nothing_in_json() -> None:
    line = '{"user_id": "ü", "session_id": "s", "role": "user", "content": "é \\ud83d\\ude00", '
    line += '"created_at": "2026-01-01T00:00:00Z"}'
    url = ["--url", "sqlite:///u.db"]
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    subprocess.run([COMMAND, "import", "-", *url], input=line.encode(), check=True, env=environ)
    for args in (["export"], ["history", "--user", "ü", "--json"]):
        result = subprocess.run(
            [COMMAND, *args, *url], capture_output=True, check=True, env=environ
        )
        assert "é 😀".encode() in result.stdout
    shown = subprocess.run([COMMAND, "users", *url], capture_output=True, check=True, env=environ)
    assert shown.stdout == b"\\xfc\n"
