"""``ialstore erase``: remove everything of a user."""

from __future__ import annotations

import sys
from dataclasses import asdict

from ialstore.cli.common import Common, Parts
from ialstore.cli.exits import ExitCode
from ialstore.cli.lookup import known_users
from ialstore.cli.options import UserOption, YesOption
from ialstore.cli.stats import holdings
from ialstore.cli.text import counted, moment
from ialstore.errors import InvalidInputError
from ialstore.model import EraseReport

__all__ = ["erase"]


def erase(common: Common, user: UserOption, *, yes: YesOption = False) -> ExitCode:
    """Remove everything of a user: messages, vectors, cached answers. It asks first.

    The report names what may still hold a copy and is out of reach, such as backups.
    """
    if not yes and not sys.stdin.isatty():
        raise InvalidInputError("erase asks first, and nobody can answer here; add --yes")
    with common.open_parts() as parts:
        if not yes and not _agreed(common, parts, user):
            common.out.note("nothing was erased")
            return ExitCode.DIFFERENT
        report = EraseReport()
        for part in reversed(list(parts)):  # what finds the messages goes before them
            report += part.erase(user)
        known = "" if report.messages or report.vectors else known_users(parts.store)
    if common.json:
        common.out.document(asdict(report))
    else:
        common.out.line(
            f"erased {counted(report.messages, 'message')}, {counted(report.vectors, 'vector')}, "
            f"{counted(report.cached, 'cached entry', 'cached entries')}"
        )
        if report.out_of_reach:
            common.out.line("out of reach, and may still hold a copy:")
            for one in report.out_of_reach:
                common.out.line(f"  {one}")
    if known:
        common.out.note(f"there was nothing of {user}; known: {known}")
    if not report.remaining:
        return ExitCode.OK
    common.out.warn(
        f"{counted(report.remaining, 'message')} written meanwhile are still there; "
        "stop the writers and erase again"
    )
    return ExitCode.DIFFERENT


def _agreed(common: Common, parts: Parts, user: str) -> bool:
    """Show what there is, and return whether the user id is typed to confirm."""
    found = holdings(parts.store, parts.index, user)
    vectors = "" if found.vectors is None else f", {counted(found.vectors, 'vector')}"
    common.out.note(
        f"{user} has {counted(found.messages, 'message')} in "
        f"{counted(found.sessions, 'session')}{vectors}"
        + (f", since {moment(found.first)} UTC" if found.first else "")
    )
    return common.out.ask("Erase all of it, for good? Type the user id:") == user
