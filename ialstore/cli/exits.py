"""Exit codes, and the one line that tells people what went wrong and what to do next."""

from __future__ import annotations

import json
import sys
from enum import IntEnum

from ialstore.cli.text import one_line
from ialstore.errors import (
    ConfigurationError,
    ConflictError,
    IalStoreError,
    InvalidInputError,
    PartialWriteError,
    UnsupportedOperationError,
)

__all__ = ["ExitCode", "NothingFoundError", "describe", "exit_code", "print_error"]


class ExitCode(IntEnum):
    """What ``ialstore`` tells the shell; ``--help`` shows the same list."""

    OK = 0
    """Done."""
    DIFFERENT = 1
    """Nothing was found, check found a difference, or the answer was no."""
    USAGE = 2
    """The command, the configuration or the input is wrong."""
    STORE = 3
    """The store or a file can't be used now: unavailable, denied, locked, full, damaged."""
    CONFLICT = 4
    """Messages of the same id are stored with other content; the rest was written."""
    INTERNAL = 5
    """A fault of ialstore itself."""
    INTERRUPTED = 130
    """Stopped with Ctrl-C; a write can be repeated."""
    PIPE = 141
    """The reader of the output went away."""


class NothingFoundError(IalStoreError):
    """There is nothing to show; the text says where to look."""


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code of an error."""
    match error:
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case NothingFoundError():
            return ExitCode.DIFFERENT
        case ConfigurationError() | InvalidInputError() | UnsupportedOperationError():
            return ExitCode.USAGE
        case ConflictError() | PartialWriteError():
            return ExitCode.CONFLICT
        case IalStoreError() | OSError():
            return ExitCode.STORE
        case _:
            return ExitCode.INTERNAL


def describe(error: BaseException) -> str:
    """Return one line about an error: what is wrong, and what to do next."""
    match error:
        case KeyboardInterrupt():
            return "interrupted; what was written stays, and repeating the command is safe"
        case IalStoreError():
            return one_line(str(error)) or f"{type(error).__name__} in {error.operation}"
        case OSError():
            where = "" if error.filename is None else f"{error.filename}: "
            return one_line(f"{where}{error.strerror or type(error).__name__}")
        case _:
            return f"unexpected {type(error).__name__}; run it again with --debug and report that"


def print_error(message: str, *, kind: str, as_json: bool) -> None:
    """Write an error to standard error as one line.

    Args:
        message: one line.
        kind: name of the error's class, for programs.
        as_json: as a JSON object instead of a sentence.
    """
    line = f"error: {message}"
    if as_json:
        line = json.dumps({"error": {"type": kind, "message": message}})
    print(line, file=sys.stderr)  # noqa: T201 - this is where the command line speaks
