"""What holds for every command: common options, errors in one line, exit codes."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ialstore
from ialstore import (
    AccessDeniedError,
    ConfigurationError,
    ConflictError,
    CorruptError,
    InvalidInputError,
    LockedError,
    MissingDriverError,
    PartialWriteError,
    UnavailableError,
    UnsupportedOperationError,
)
from ialstore.cli import main
from ialstore.cli.exits import ExitCode, NothingFoundError, describe, exit_code
from ialstore.registry import register
from ialstore_backends.memory import MemoryConversationStore

Run = Callable[..., Any]

COMMANDS = (
    "backends",
    "check",
    "config",
    "context",
    "copy",
    "demo",
    "erase",
    "export",
    "history",
    "import",
    "optimize",
    "repair",
    "search",
    "sessions",
    "setup",
    "stats",
    "users",
)


def test_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    for command in COMMANDS:
        assert f" {command} " in result.out
    assert "Exit codes: 0 done; 1 nothing found" in result.out


def test_without_a_command_there_is_help(run: Run) -> None:
    assert run().out == run("-h").out


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "config"])
def test_every_command_explains_itself_and_takes_the_common_options(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.code == 0
    for option in ("--config", "--url", "--json", "--debug"):
        assert option in result.out


def test_the_version_is_the_package_s(run: Run) -> None:
    assert run("--version").out == f"ialstore {ialstore.__version__}\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(["histroy"], "No such command 'histroy'", id="no such command"),
        pytest.param(["history"], "Missing option '--user'", id="a missing option"),
        pytest.param(["history", "--usr", "x"], "No such option", id="no such option"),
        pytest.param(["history", "-u", "x", "-n", "many"], "--limit", id="no number"),
        pytest.param(["search", "-u", "x", "-n", "q", "--role", "boss"], "-n", id="of another"),
        pytest.param(["config"], "Missing command", id="no command of a group"),
    ],
)
def test_a_wrong_command_is_one_line_that_names_the_help(
    run: Run, args: list[str], said: str
) -> None:
    result = run(*args)
    assert result.code == ExitCode.USAGE
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert said in result.err
    assert result.err.endswith("--help\n")


def test_a_wrong_command_is_one_line_of_json_for_programs(run: Run) -> None:
    result = run("history", "--json")
    assert result.code == ExitCode.USAGE
    assert result.error["type"] == "UsageError"
    assert result.error["message"].endswith("see ialstore history --help")


def test_common_options_work_before_and_behind_the_command(run: Run, chat: str) -> None:
    behind = run("history", "--user", "alice", "--url", chat, "--json")
    before = run("--url", chat, "--json", "history", "--user", "alice")
    assert before.code == 0
    assert before.json == behind.json


def test_the_option_behind_the_command_wins(run: Run, chat: str) -> None:
    result = run("--url", "memory:", "sessions", "--user", "alice", "--url", chat)
    assert result.code == 0


def test_a_configuration_file_is_used(run: Run, chat: str, folder: Path) -> None:
    (folder / "own.toml").write_text(f'[conversation]\nurl = "{chat}"\n')
    assert run("users", "--config", "own.toml").out == "alice\nbob\n"


def test_without_any_configuration_the_store_is_in_the_working_directory(
    run: Run, folder: Path
) -> None:
    assert run("setup").code == 0
    assert (folder / "ialstore.db").exists()


@pytest.mark.parametrize(
    "args",
    [
        ["check"],
        ["context", "-u", "alice", "nuts"],
        ["erase", "-u", "alice", "--yes"],
        ["export"],
        ["history", "-u", "alice"],
        ["optimize", "-u", "alice"],
        ["repair"],
        ["search", "-u", "alice", "nuts"],
        ["sessions", "-u", "alice"],
        ["stats"],
        ["users"],
    ],
    ids=lambda args: args[0],
)
def test_what_only_looks_or_maintains_creates_no_database(
    run: Run, folder: Path, args: list[str]
) -> None:
    result = run(*args, "--url", "sqlite:///none.db")
    assert (result.code, result.out) == (ExitCode.DIFFERENT, "")
    assert result.err == (
        "error: there is no database at sqlite:///none.db; import something, "
        "or name another with --url\n"
    )
    assert list(folder.iterdir()) == []


def test_an_index_in_a_file_of_its_own_is_not_created_by_looking(
    run: Run, chat: str, folder: Path
) -> None:
    (folder / "two.toml").write_text(
        f'[conversation]\nurl = "{chat}"\n[vector]\nurl = "sqlite:///vectors.db"\n'
    )
    result = run("check", "--config", "two.toml")
    assert result.code == ExitCode.DIFFERENT
    assert "no database at sqlite:///vectors.db; run ialstore setup" in result.err
    assert not (folder / "vectors.db").exists()
    assert run("setup", "--config", "two.toml").code == 0
    assert run("check", "--config", "two.toml").code == 0


def test_help_fills_its_lines_and_labels_no_flag(run: Run) -> None:
    result = run("search", "--help")
    assert "<bool>" not in result.out + run("--help").out
    assert "<list" not in result.out
    assert re.search(r"--role +ROLE ", result.out)
    words = " ".join(result.out.split())
    assert "messages of the roles user and assistant that have words in them" in words
    paragraph = run("demo", "--help").out.split("sample conversation.")[1].split("\n")[2:4]
    assert all(len(line.rstrip()) > 65 for line in paragraph[:1])


def test_search_offers_only_the_roles_that_are_indexed(run: Run, chat: str) -> None:
    result = run("search", "-u", "alice", "--url", chat, "nuts", "--role", "tool")
    assert result.code == ExitCode.USAGE
    assert "'user', 'assistant'" in result.err


def test_a_file_and_a_url_at_once_are_refused(run: Run) -> None:
    result = run("users", "--config", "x.toml", "--url", "memory:")
    assert result.code == ExitCode.USAGE
    assert "not both" in result.err


class Failing(MemoryConversationStore):
    """Fails as told."""

    error: BaseException = RuntimeError()

    def _users(self, op: Any, limit: Any, after: Any) -> Any:
        raise self.error


@pytest.fixture
def failing() -> type[Failing]:
    register("conversation", "failing", Failing)
    return Failing


ERRORS = [
    (NothingFoundError("none; look elsewhere"), 1),
    (ConfigurationError("wrong"), 2),
    (MissingDriverError("pip install it"), 2),
    (InvalidInputError("bad"), 2),
    (UnsupportedOperationError("can't"), 2),
    (UnavailableError("away; try again"), 3),
    (AccessDeniedError("denied"), 3),
    (LockedError("locked"), 3),
    (CorruptError("damaged"), 3),
    (ConflictError("another"), 4),
    (PartialWriteError("in part"), 4),
    (OSError(28, "No space left on device", "x.db"), 3),
    (ZeroDivisionError("secret"), 5),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda one: type(one).__name__)
def test_an_error_is_one_line_and_an_exit_code(
    run: Run, failing: type[Failing], error: BaseException, code: int
) -> None:
    failing.error = error
    result = run("users", "--url", "failing:")
    assert (result.code, result.out) == (code, "")
    assert result.err == f"error: {describe(error)}\n"
    assert exit_code(error) == code


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda one: type(one).__name__)
def test_an_error_is_one_line_of_json_for_programs(
    run: Run, failing: type[Failing], error: BaseException, code: int
) -> None:
    failing.error = error
    result = run("users", "--url", "failing:", "--json")
    assert (result.code, result.out) == (code, "")
    assert result.error == {"type": type(error).__name__, "message": describe(error)}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (IsADirectoryError(21, "Is a directory", "/data"), "/data: Is a directory"),
        (OSError("odd"), "OSError"),
        (UnavailableError("two\nlines \x1b[31m"), r"two lines \x1b[31m"),
        (UnavailableError(operation="append"), "UnavailableError in append"),
    ],
)
def test_an_error_says_what_is_wrong(error: BaseException, line: str) -> None:
    assert describe(error) == line


def test_a_fault_of_ours_shows_no_traceback_and_no_content(
    run: Run, failing: type[Failing]
) -> None:
    failing.error = ZeroDivisionError("a message of somebody")
    err = run("users", "--url", "failing:").err
    assert "Traceback" not in err
    assert "somebody" not in err
    assert "--debug" in err


def test_main_can_be_called_with_another_stream_as_output() -> None:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        assert main(["backends", "--markdown"]) == 0
    assert "| `sqlite:` |" in stream.getvalue()


def test_debug_shows_the_traceback(run: Run, failing: type[Failing]) -> None:
    failing.error = UnavailableError("away")
    result = run("users", "--url", "failing:", "--debug")
    assert result.code == ExitCode.STORE
    assert "Traceback" in result.err
    assert result.err.endswith("error: away\n")


def test_the_exit_codes_of_the_help_are_all_of_them(run: Run) -> None:
    out = run("--help").out
    for code in set(ExitCode) - {ExitCode.PIPE}:
        assert f" {int(code)} " in out


def test_completion_and_help_load_nothing_heavy() -> None:
    code = "import sys, ialstore.cli.app; print(*{n.partition('.')[0] for n in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"ialstore_backends", "pydantic", "rich", "tenacity"}.intersection(loaded)
