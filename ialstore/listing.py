"""Ranges, pages and lists of ids, as both contracts use them.

``HistoryQuery`` and what ends in ``_rows`` are for backends; the checks are for the public methods.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ialstore._cursor import Query, make_cursor, read_cursor
from ialstore._text import check_int, check_text, from_microseconds, to_microseconds
from ialstore.errors import InvalidInputError, LimitExceededError
from ialstore.ids import (
    HIGHEST_ID,
    LOWEST_ID,
    check_id_part,
    check_message_id,
    id_microseconds,
    lowest_id_at,
    next_id,
)
from ialstore.limits import MAX_PAGE, MAX_PAGE_BYTES, MAX_STORED_USER_BYTES
from ialstore.model import Page, SessionInfo

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "HistoryQuery",
    "Rows",
    "activity_rows",
    "check_ids",
    "history_query",
    "id_bounds",
    "id_page",
    "session_rows",
    "take_rows",
    "text_bytes",
    "text_listing_after",
    "text_page",
    "walk",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """What a listing hook returns: items in order, and whether more may follow.

    No items are the end. ``more`` may be true although nothing follows.
    """

    items: Sequence[T] = field(repr=False)
    more: bool = False


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A range of a user's messages, as a hook gets it: cursor and times are in the bounds.

    Attributes:
        user_id: the tenant.
        session_id: only this session, or None for all.
        lower: the first id that belongs; a text of the form of an id, not always a valid one.
        upper: the first id after those that belong; likewise.
        newest_first: descending instead of ascending ids.
        limit: messages at most.
    """

    user_id: str
    session_id: str | None = None
    lower: str = LOWEST_ID
    upper: str = HIGHEST_ID
    newest_first: bool = True
    limit: int = MAX_PAGE


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


_I = TypeVar("_I", bound=_Identified)


def take_rows(
    items: Iterable[T], limit: int, size: Callable[[T], int], *, at_most: int = MAX_PAGE_BYTES
) -> Rows[T]:
    """Return the first items up to a limit and a number of bytes, but at least one.

    Args:
        items: in order; read no further than one item past the end of the page.
        limit: items at most.
        size: bytes of one item, as ``EncodedMessage.size`` counts them.
        at_most: bytes at most.
    """
    taken: list[T] = []
    total = 0
    for item in items:
        if len(taken) == limit:
            return Rows(taken, more=True)
        total += size(item)
        if taken and total > at_most:
            return Rows(taken, more=True)
        taken.append(item)
    return Rows(taken)


def session_rows(
    newest: Mapping[str, str], limit: int, after: SessionInfo | None
) -> Rows[SessionInfo]:
    """Return sessions as ``_sessions`` lists them: newest activity first, ties by session id.

    Args:
        newest: the id of each session's newest live message, by session id.
        limit: sessions at most.
        after: the last one of the page before; None for the first page.
    """
    active = {session_id: id_microseconds(one) for session_id, one in newest.items()}
    return activity_rows(active, limit, after)


def activity_rows(
    active: Mapping[str, int], limit: int, after: SessionInfo | None
) -> Rows[SessionInfo]:
    """Return sessions as ``session_rows`` does, from their activity.

    Args:
        active: microseconds since 1970 of each session's last activity, by session id.
        limit: sessions at most.
        after: the last one of the page before; None for the first page.
    """
    listed = sorted((-at, session_id) for session_id, at in active.items())
    if after is not None:
        place = (-to_microseconds(after.last_active, "last_active"), after.session_id)
        del listed[: bisect_right(listed, place)]
    items = [SessionInfo(session_id, from_microseconds(-at)) for at, session_id in listed[:limit]]
    return Rows(items, more=len(listed) > limit)


def text_bytes(text: str | None) -> int:
    """Return the length in UTF-8 bytes; None has 0."""
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def check_ids(ids: Sequence[str], *, at_most: int) -> tuple[str, ...]:
    """Return the different ids in their order.

    Raises:
        InvalidInputError: one is not a message id, or a single text was given.
        LimitExceededError: more than ``at_most``.
    """
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Sequence):
        raise InvalidInputError("ids must be a list or tuple of message ids")
    if len(ids) > at_most:
        raise LimitExceededError(f"{len(ids):,} ids in one call, more than {at_most:,}")
    for one in ids:
        check_message_id(one)
    return tuple(dict.fromkeys(ids))


def id_bounds(since: datetime | None, until: datetime | None) -> tuple[str, str]:
    """Return the half-open range of ids of the half-open range of times [since, until).

    Raises:
        InvalidInputError: a time is naive, or since > until.
    """
    start = None if since is None else to_microseconds(since, "since")
    end = None if until is None else to_microseconds(until, "until")
    if start is not None and end is not None and start > end:
        raise InvalidInputError("since must not lie after until")
    return (
        LOWEST_ID if start is None else lowest_id_at(start),
        HIGHEST_ID if end is None else lowest_id_at(end),
    )


def history_query(
    operation: str,
    user_id: str,
    *,
    session_id: str | None,
    since: datetime | None,
    until: datetime | None,
    newest_first: bool,
    limit: int,
    cursor: str | None,
) -> tuple[Query, HistoryQuery]:
    """Return the scope of the cursors of a history or its summaries, and the range to read."""
    check_id_part(user_id, "user_id")
    if session_id is not None:
        check_id_part(session_id, "session_id")
    check_int(limit, "limit", at_least=1, at_most=MAX_PAGE)
    newest_first = bool(newest_first)
    lower, upper = id_bounds(since, until)
    scope: Query = (operation, user_id, session_id, lower, upper, newest_first)
    if cursor is not None:
        position = read_cursor(scope, cursor, _checked_id)
        if newest_first:
            upper = min(upper, position)
        else:
            lower = max(lower, next_id(position))
    return scope, HistoryQuery(user_id, session_id, lower, upper, newest_first, limit)


def _checked_id(position: str) -> str:
    check_message_id(position)
    return position


def id_page(scope: Query, rows: Rows[_I]) -> Page[_I]:
    """Return the page of a listing in the order of ids."""
    items = tuple(rows.items)
    return Page(items, make_cursor(scope, items[-1].id) if rows.more and items else None)


def text_listing_after(scope: Query, limit: int, cursor: str | None) -> str | None:
    """Check the arguments of a listing of texts and return the text before its first, or None."""
    check_int(limit, "limit", at_least=1, at_most=MAX_PAGE)
    return None if cursor is None else read_cursor(scope, cursor, _checked_text)


def _checked_text(position: str) -> str:
    # A store that namespaces share lists users whose ids are longer than those of a caller.
    check_text(position, "position", at_most=MAX_STORED_USER_BYTES)
    if not position or "\0" in position:
        raise InvalidInputError("a position must not be empty or hold NUL")
    return position


def text_page(scope: Query, rows: Rows[str]) -> Page[str]:
    """Return the page of a listing of texts."""
    items = tuple(rows.items)
    return Page(items, make_cursor(scope, items[-1]) if rows.more and items else None)


def walk(page_of: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """Yield the items of all pages.

    Args:
        page_of: takes a cursor, or None for the first page.
    """
    cursor: str | None = None
    while True:
        page = page_of(cursor)
        yield from page
        cursor = page.cursor
        if cursor is None:
            return
