"""What is cached of a store: the newest messages of a session or user, and lists of sessions.

Bodies are JSON. Each knows the time at which it was read: what expired by then is not in it, so it
answers nobody whose clock is behind. What expires later is left out when it is taken out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ialstore._text import ceil_seconds, compact_json, from_microseconds, to_microseconds
from ialstore.caching.envelope import seal, unseal
from ialstore.decoding import decode_message, plain_message, stored_role
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import Message, SessionInfo

__all__ = ["read_sessions", "read_tail", "sealed_sessions", "sealed_tail"]

_PLAIN: Final = 3
_FIELDS: Final = 11
_read_json = json.JSONDecoder().decode


def sealed_tail(key: bytes, rows: Rows[Message], now: int) -> bytes:
    """Return the value of the newest messages, fewer where all would be too large for a cache.

    Args:
        key: of the value.
        rows: the newest first.
        now: seconds since 1970 at which they were read.
    """
    messages, complete = rows.items, not rows.more
    while True:
        sealed = seal(key, compact_json(_tail(messages, now, complete=complete)).encode())
        if sealed is not None:
            return sealed
        messages, complete = messages[: len(messages) // 2], False


def _tail(messages: Sequence[Message], now: int, *, complete: bool) -> list[Any]:
    sessions: dict[str, int] = {}
    rows = [
        _row(message, sessions.setdefault(message.session_id, len(sessions)))
        for message in messages
    ]
    return [now, complete, list(sessions), rows]


def _row(message: Message, session: int) -> list[Any]:
    row: list[Any] = [
        message.id,
        session,
        message.content,
        None if message.expires_at is None else ceil_seconds(message.expires_at, "expires_at"),
        message.tokens,
        message.name,
        message.turn_id,
        message.source_id,
        message.summary,
        compact_json(message.metadata) if message.metadata else None,
        None if message.payload is None else compact_json(message.payload),
    ]
    while row[-1] is None:
        row.pop()
    return row


def read_tail(key: bytes, sealed: bytes, query: HistoryQuery, now: int) -> Rows[Message] | None:
    """Return the answer to a query; None when this value can't tell it.

    Args:
        key: of the value.
        sealed: the value.
        query: of the user and session of the key.
        now: seconds since 1970.

    Raises one of ``DAMAGE`` when it is no value of this key.
    """
    read_at, complete, sessions, rows = _body(key, sealed)
    if now < read_at:
        return None
    # What belongs to the range, in the order asked, and whether nothing of it is missing.
    lower, upper = query.lower, query.upper
    inside = [row for row in rows if lower <= row[0] < upper]
    whole = complete or (bool(rows) and rows[-1][0] <= lower)
    if not query.newest_first:
        if not whole:
            return None
        inside.reverse()
    taken: list[Message] = []
    for row in inside:
        if len(row) > _PLAIN and row[3] is not None and row[3] <= now:
            continue
        if len(taken) == query.limit:
            return Rows(taken, more=True)
        taken.append(_message(query.user_id, sessions, row))
    if whole:
        return Rows(taken)
    return Rows(taken, more=True) if len(taken) == query.limit else None


def _message(user_id: str, sessions: Sequence[str], row: Sequence[Any]) -> Message:
    session: int = row[1]
    session_id = sessions[session]
    one, content = row[0], row[2]
    if len(row) == _PLAIN:
        return plain_message(one, user_id, session_id, stored_role(one, session_id), content)
    options: list[Any] = [*row[_PLAIN:], *(None,) * (_FIELDS - len(row))]
    expires, tokens, name, turn_id, source_id, summary, metadata, payload = options
    return decode_message(
        id=one,
        user_id=user_id,
        session_id=session_id,
        content=content,
        payload_text=payload,
        name=name,
        turn_id=turn_id,
        source_id=source_id,
        summary=summary,
        tokens=tokens,
        metadata_text=metadata,
        expires=expires,
    )


def sealed_sessions(key: bytes, rows: Rows[SessionInfo], now: int) -> bytes:
    """Return the value of a list of sessions, shorter where all would be too large for a cache."""
    items, complete = rows.items, not rows.more
    while True:
        listed = [
            [to_microseconds(one.last_active, "last_active"), one.session_id] for one in items
        ]
        sealed = seal(key, compact_json([now, complete, [], listed]).encode())
        if sealed is not None:
            return sealed
        items, complete = items[: len(items) // 2], False


def read_sessions(
    key: bytes, sealed: bytes, limit: int, after: SessionInfo | None, now: int
) -> Rows[SessionInfo] | None:
    """Return one page of a list of sessions; None when this value can't tell it.

    Raises one of ``DAMAGE`` when it is no value of this key.
    """
    read_at, complete, _, listed = _body(key, sealed)
    if now < read_at:
        return None
    rest: Iterable[list[Any]] = listed
    if after is not None:
        place = (-to_microseconds(after.last_active, "last_active"), after.session_id)
        rest = (one for one in listed if (-one[0], one[1]) > place)
    found = [SessionInfo(one[1], from_microseconds(one[0])) for one in rest]
    if len(found) > limit:
        return Rows(found[:limit], more=True)
    if complete:
        return Rows(found)
    return Rows(found, more=True) if len(found) == limit else None


def _body(key: bytes, sealed: bytes) -> tuple[int, bool, list[str], list[list[Any]]]:
    body = unseal(key, sealed)
    if body is None:
        raise ValueError("no value of this key")
    read_at, complete, sessions, rows = _read_json(body.decode())
    return read_at, complete, sessions, rows
