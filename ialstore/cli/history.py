"""``ialstore history``: the messages of a user, as a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from ialstore.cli.common import Common
from ialstore.cli.documents import message_document
from ialstore.cli.lookup import following, no_messages
from ialstore.cli.options import (
    CursorOption,
    LimitOption,
    SessionOption,
    SinceOption,
    UntilOption,
    UserOption,
)
from ialstore.cli.text import parse_time
from ialstore.ids import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ialstore.cli.output import Output
    from ialstore.model import Message

__all__ = ["history", "show_conversation", "speaker"]

_STYLES: Final = {
    Role.ASSISTANT: "green",
    Role.DEVELOPER: "yellow",
    Role.EVENT: "dim",
    Role.SYSTEM: "yellow",
    Role.TOOL: "magenta",
    Role.USER: "cyan",
}
_INDENT: Final = 10


def history(
    common: Common,
    *,
    user: UserOption,
    session: SessionOption = None,
    limit: LimitOption = 50,
    since: SinceOption = None,
    until: UntilOption = None,
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="Begin with the oldest message.")
    ] = False,
    cursor: CursorOption = None,
) -> None:
    """Show the newest messages of a user, or the oldest; times are UTC.

    They read downwards, as they were said. With --json they come in the order of the listing.
    """
    with common.open_store() as store, following(cursor):
        page = store.history(
            user,
            session_id=session,
            since=parse_time(since, "--since"),
            until=parse_time(until, "--until"),
            newest_first=not oldest_first,
            limit=limit,
            cursor=cursor,
        )
        if not page.items and cursor is None:
            raise no_messages(store, user)
    if common.json:
        items = [message_document(message) for message in page]
        common.out.document({"items": items, "cursor": page.cursor})
        return
    show_conversation(common.out, page.items if oldest_first else reversed(page.items))
    if page.cursor is not None:
        common.out.note(f"{'newer' if oldest_first else 'older'} ones: --cursor {page.cursor}")


def show_conversation(out: Output, messages: Iterable[Message]) -> None:
    """Write messages, oldest first, under a heading for each day and session."""
    heading = ""
    for message in messages:
        day = f"{message.created_at:%Y-%m-%d}  {message.session_id}"
        if day != heading:
            out.line(day, style="bold")
            heading = day
        notes = ((f"  {note}", "dim") for note in _notes(message))
        out.parts(
            (f"{message.created_at:%H:%M:%S}  ", "dim"),
            *speaker(message.role, message.name),
            *notes,
        )
        if message.content:
            out.paragraph(message.content, indent=_INDENT)


def speaker(role: Role, name: str | None = None) -> list[tuple[str, str]]:
    """Return the role, and the name if there is one, each with its style."""
    shown = [(str(role), _STYLES[role])]
    return shown if name is None else [*shown, (f" {name}", "bold")]


def _notes(message: Message) -> Iterable[str]:
    """Yield what is there besides the text."""
    if message.payload is not None:
        keys = message.payload if isinstance(message.payload, dict) else ()
        yield f"[payload: {', '.join(keys) or f'{len(message.payload)} items'}]"
    if message.expires_at is not None:
        yield f"[expires {message.expires_at:%Y-%m-%d}]"
