"""The command line: ``main`` is what ``ialstore`` runs; one file per command.

Only this package imports typer and rich. Commands import what is heavy when they run, so that
``--help`` and completion answer at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see ``ExitCode``.

    Args:
        args: the command and its options; those of the process by default.
    """
    from ialstore.cli.app import run

    return run(args)
