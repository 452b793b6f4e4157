"""``ialstore search``: the messages of a user that are near a question."""

from __future__ import annotations

from typing import Annotated

import typer

from ialstore.cli.common import Common
from ialstore.cli.documents import message_document
from ialstore.cli.history import speaker
from ialstore.cli.lookup import no_messages
from ialstore.cli.options import (
    RolesOption,
    SessionOption,
    SinceOption,
    UntilOption,
    UserOption,
)
from ialstore.cli.text import moment, parse_time, shortened
from ialstore.ids import Role

__all__ = ["search"]


def search(
    common: Common,
    *,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question or some words.")],
    user: UserOption,
    k: Annotated[int, typer.Option("-k", metavar="N", help="At most so many.")] = 10,
    session: SessionOption = None,
    exclude_session: Annotated[
        str | None,
        typer.Option("--exclude-session", metavar="SESSION", help="Any session but this."),
    ] = None,
    role: RolesOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Find the messages of a user that are nearest to a query, best first; times are UTC.

    Searched are messages of the roles user and assistant that have words in them; ialstore history
    shows the others too.
    """
    from ialstore.context.retrieve import check_words, read_messages
    from ialstore.vector_model import Where

    where = Where(
        session_id=session,
        exclude_session_id=exclude_session,
        roles=[Role(one) for one in role] if role else None,
        since=parse_time(since, "--since"),
        until=parse_time(until, "--until"),
    )
    check_words(query)
    with common.open_parts() as parts:
        index, embedder = parts.searched
        vector = embedder.embed_query(query)
        hits = index.search(user, vector, k, where=where).hits
        found = read_messages(parts.store, user, hits)
        if not found:
            raise no_messages(parts.store, user, index)
    if common.json:
        items = [{"score": one.score, "message": message_document(one.message)} for one in found]
        common.out.document({"items": items})
        return
    for one in found:
        message = one.message
        common.out.parts(
            (f"{one.score:.3f}  ", "bold"),
            (f"{moment(message.created_at)}  ", "dim"),
            *speaker(message.role, message.name),
            (f"  {message.session_id}", "dim"),
        )
        common.out.paragraph(shortened(message.content), indent=7)
