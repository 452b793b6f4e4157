"""``ialstore import``: conversations from a file, stored, embedded and indexed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ialstore.cli.common import Common
from ialstore.cli.exits import ExitCode
from ialstore.cli.loading import Loaded, load
from ialstore.cli.sources import Format, Naming, open_source
from ialstore.cli.text import counted, parse_time

if TYPE_CHECKING:
    from ialstore.cli.sources import Source

__all__ = ["import_"]


def import_(
    common: Common,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")],
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option("--format", "-f", help="Recognized if not given.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", metavar="USER", help="For what names no user."),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="SESSION", help="For what names no session."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="For chats that have no time."),
    ] = None,
    no_index: Annotated[
        bool, typer.Option("--no-index", help="Store only; ialstore repair indexes later.")
    ] = False,
) -> ExitCode:
    """Store the messages of a file, and make them searchable.

    Importing a file again changes nothing, and goes on where an import was interrupted. A message
    that is stored with other content stays as it is; the exit code is then 4.
    """
    naming = Naming(user_id=user, session_id=session, created_at=parse_time(at, "--at"))
    began = time.monotonic()
    with open_source(file, format, naming) as source:
        loaded = _load(common, source, index=not no_index)
    seconds = time.monotonic() - began
    if common.json:
        common.out.document(
            {
                "format": source.format,
                "stored": loaded.stored,
                "duplicates": loaded.duplicates,
                "conflicts": loaded.conflicts,
                "users": len(loaded.users),
                "sessions": len(loaded.sessions),
                "seconds": round(seconds, 3),
            }
        )
    else:
        common.out.line(
            f"stored {counted(loaded.stored, 'message')}, {loaded.duplicates:,} already there; "
            f"{counted(len(loaded.users), 'user')}, {counted(len(loaded.sessions), 'session')}, "
            f"{seconds:.1f} s"
        )
    if not loaded.conflicts:
        return ExitCode.OK
    common.out.warn(
        f"{counted(len(loaded.conflicts), 'message')} stored with other content stayed as they "
        f"are, the first one {loaded.conflicts[0]}; compare them with ialstore history"
    )
    return ExitCode.CONFLICT


def _load(common: Common, source: Source, *, index: bool) -> Loaded:
    loaded = Loaded()
    with (
        common.open_engine() if index else common.open_store() as target,
        common.out.progress("importing", source.total) as progress,
    ):
        try:
            load(source.messages, target.append, progress, loaded)
        except Exception:
            if loaded.seen:
                common.out.warn(
                    f"{counted(loaded.seen, 'message')} were imported before the error; "
                    "importing the file again goes on from there"
                )
            raise
    return loaded
