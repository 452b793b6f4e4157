"""``ialstore explain``: which way a read takes, and what it costs."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ialstore.cli.common import Common
from ialstore.cli.options import (
    LimitOption,
    SessionOption,
    SinceOption,
    UntilOption,
    UserOption,
)
from ialstore.cli.text import parse_time
from ialstore.errors import InvalidInputError
from ialstore.model import Consistency

if TYPE_CHECKING:
    from collections.abc import Callable

    from ialstore.component import Component
    from ialstore.events import OperationEvent

__all__ = ["Read", "explain"]


class Read(StrEnum):
    """What can be explained."""

    HISTORY = "history"
    SUMMARIES = "summaries"
    SESSIONS = "sessions"
    SEARCH = "search"


def explain(
    common: Common,
    read: Annotated[
        Read, typer.Argument(help="The read to make: history, summaries, sessions or search.")
    ] = Read.HISTORY,
    *,
    user: UserOption,
    session: SessionOption = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="QUERY", help="What to search for.")
    ] = None,
    limit: LimitOption = 20,
    since: SinceOption = None,
    until: UntilOption = None,
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="Begin with the oldest message.")
    ] = False,
    eventual: Annotated[
        bool, typer.Option("--eventual", help="Be content with what is a moment old.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Show the second read: what a process that knows pays.")
    ] = False,
) -> None:
    """Make a read and show its plan, the units and requests it took, and of which partitions.

    Nothing that was said is shown. The units are billed as those of any read.
    """
    consistency = Consistency.EVENTUAL if eventual else Consistency.STRONG
    times = 2 if again else 1
    if read is Read.SEARCH:
        if oldest_first or not query:
            raise InvalidInputError("search takes --query, and no --oldest-first")
        from ialstore.vector_model import Where

        where = Where(
            session_id=session,
            since=parse_time(since, "--since"),
            until=parse_time(until, "--until"),
        )
        with common.open_parts() as parts:
            index, embedder = parts.searched
            search: Callable[[], object] = partial(
                index.search,
                user,
                embedder.embed_query(query),
                limit,
                where=where,
                consistency=Consistency.EVENTUAL if eventual else None,
            )
            events = [_event(index, search) for _ in range(times)]
        _show(common, events[-1])
        return
    if query:
        raise InvalidInputError(f"{read} takes no --query")
    if read is Read.SESSIONS:
        if session is not None or since is not None or until is not None or oldest_first:
            raise InvalidInputError("sessions takes no --session, --since, --until, --oldest-first")
        given: dict[str, Any] = {}
    else:
        given = {
            "session_id": session,
            "since": parse_time(since, "--since"),
            "until": parse_time(until, "--until"),
            "newest_first": not oldest_first,
        }
    with common.open_store() as store:
        call: Callable[..., object] = getattr(store, read.value)
        asked = partial(call, user, limit=limit, consistency=consistency, **given)
        events = [_event(store, asked) for _ in range(times)]
    _show(common, events[-1])


def _event(store: Component, call: Callable[[], object]) -> OperationEvent:
    """Return what the outermost store tells of a call: it speaks last."""
    events: list[OperationEvent] = []
    unsubscribe = store.subscribe(events.append)
    try:
        call()
    finally:
        unsubscribe()
    return events[-1]


def _show(common: Common, event: OperationEvent) -> None:
    details = dict(event.details)
    partitions: dict[str, float] = details.pop("units_by_partition", {})
    if common.json:
        common.out.document(
            {
                "backend": event.backend,
                "operation": event.operation,
                "consistency": event.consistency,
                "items": event.items,
                "seconds": event.seconds,
                "read_units": event.units.read,
                "requests": event.units.requests,
                "vector_search_bytes": event.units.vector_search_bytes,
                "units_by_partition": partitions,
                **details,
            }
        )
        return
    rows = [
        ["backend", event.backend],
        ["consistency", str(event.consistency)],
        *([name, str(value)] for name, value in details.items()),
        ["items", str(event.items)],
        ["read units", f"{event.units.read:g}"],
        ["requests", str(event.units.requests)],
        *(
            [["vector bytes searched", f"{event.units.vector_search_bytes:,}"]]
            if event.units.vector_search_bytes
            else []
        ),
        ["milliseconds", f"{event.seconds * 1000:.1f}"],
    ]
    common.out.table([event.operation, ""], rows)
    if partitions:
        common.out.heading("By partition or index")
        common.out.table(
            ["partition or index", "#units"],
            [[name, f"{units:g}"] for name, units in sorted(partitions.items())],
        )
