"""``ialstore import``: conversations from a file, stored, embedded and indexed."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ialstore.cli.common import Common
from ialstore.cli.exits import ExitCode
from ialstore.cli.loading import Loaded, load
from ialstore.cli.sources import Format, Naming, open_source
from ialstore.cli.text import counted, iso, moment, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ialstore.cli.sources import Source
    from ialstore.model import Message

__all__ = ["import_"]

_NAMED: Final = 5
"""Sessions named."""


def import_(
    common: Common,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")],
    format: Annotated[  # noqa: A002 - the option's name
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="jsonl, locomo or openai; recognized if not given.",
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", metavar="USER", help="For what names no user."),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            "--session",
            "-s",
            metavar="SESSION",
            help="For what names no session; of several chats, the second is SESSION-2.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="For messages or chats that have no time; UTC without a zone.",
        ),
    ] = None,
    no_index: Annotated[
        bool, typer.Option("--no-index", help="Store only; ialstore repair indexes later.")
    ] = False,
) -> ExitCode:
    """Store the messages of a file, and make them searchable.

    A line of jsonl is an object with user_id, session_id, role, content and created_at, such as
    2026-03-02T09:30:00Z. --user, --session and --at stand in for what the lines leave out. openai
    is a chat as its API takes it, locomo a conversation of that benchmark.

    Importing a file again changes nothing, and goes on where an import was interrupted. A message
    that is stored with other content stays as it is; the exit code is then 4.
    """
    naming = Naming(user_id=user, session_id=session, created_at=parse_time(at, "--at"))
    began = time.monotonic()
    with open_source(file, format, naming) as source:
        expiry = _Expiry(common.load().conversation.retention_days)
        loaded = _load(common, source, expiry, index=not no_index)
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
                "assumed_at": iso(_assumed_at(source)),
                "expired": expiry.found,
                "seconds": round(seconds, 3),
            }
        )
    else:
        common.out.line(
            f"stored {counted(loaded.stored, 'message')}, {loaded.duplicates:,} already there; "
            f"{counted(len(loaded.users), 'user')}, {counted(len(loaded.sessions), 'session')}, "
            f"{seconds:.1f} s"
        )
        common.out.line(_what_it_was(source, loaded, format, naming))
    expiry.warn(common, source)
    if naming.created_at is not None and _assumed_at(source) is None and loaded.seen:
        common.out.warn("every message in the file has its own time; --at was not needed")
    if not loaded.conflicts:
        return ExitCode.OK
    common.out.warn(
        f"{counted(len(loaded.conflicts), 'message')} stored with other content stayed as they "
        f"are, the first one {loaded.conflicts[0]}; compare them with ialstore history"
    )
    return ExitCode.CONFLICT


class _Expiry:
    """Counts the messages that no read will show, because they are expired when they arrive."""

    def __init__(self, retention_days: float | None) -> None:
        self._days = retention_days
        self._now = datetime.now(UTC)
        self.found = 0
        self._by_retention = False

    def watch(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield the messages."""
        for message in messages:
            expires_at = message.expires_at
            if expires_at is None and self._days is not None:
                age = (self._now - message.created_at) / timedelta(days=1)
                expired = age >= self._days
                self.found += expired
                self._by_retention |= expired
            elif expires_at is not None:
                self.found += self._now >= expires_at
            yield message

    def warn(self, common: Common, source: Source) -> None:
        """Say how many there are."""
        if not self.found:
            return
        why = f" (retention_days = {self._days:g})" if self._by_retention else ""
        assumed = _assumed_at(source) is not None
        common.out.warn(
            f"{self.found:,} of these are already expired{why} and will not be shown"
            + ("; give --at with a later time" if assumed else "")
        )


def _assumed_at(source: Source) -> datetime | None:
    """Return the time given to messages without one; None if there are none."""
    return source.assumed.time if source.assumed is not None and source.assumed.used else None


def _what_it_was(source: Source, loaded: Loaded, said: Format | None, naming: Naming) -> str:
    """Return how a file was understood."""
    names = list(dict.fromkeys(session for _, session in loaded.sessions))
    parts = [f"format {source.format}{' (recognized)' if said is None else ''}"]
    if names:
        more = ", ..." if names[_NAMED:] else ""
        what = "session" if len(names) == 1 else "sessions"
        parts.append(f"{what} {', '.join(names[:_NAMED])}{more}")
    time = _assumed_at(source)
    if time is not None:
        why = "by --at" if naming.created_at else "as the file gives no time; --at TIME sets it"
        parts.append(f"dated {moment(time)} UTC, {why}")
    return "; ".join(parts)


def _load(common: Common, source: Source, expiry: _Expiry, *, index: bool) -> Loaded:
    loaded = Loaded()
    messages = expiry.watch(source.messages)
    # Before the store is opened, which may make it: the file may be wrong from its beginning.
    first = list(itertools.islice(messages, 1))
    with (
        common.open_engine(create=True) if index else common.open_store(create=True) as target,
        common.out.progress("importing", source.total) as progress,
    ):
        try:
            load(itertools.chain(first, messages), target.append, progress, loaded)
        except Exception:
            if loaded.seen:
                common.out.warn(
                    f"{counted(loaded.seen, 'message')} were imported before the error; "
                    "importing the file again goes on from there"
                )
            raise
    return loaded
