"""Rows of messages: made with checksums, and read only when these agree.

Two CRC-32 stand in each row: ``short_checksum`` over what listings show of a message, ``checksum``
over all of it. Both begin with the user id, so that a row found under another user, session or id
is noticed as a flipped bit is. They tell of disks, memories and programs that damage a file by
accident; who forges a row can forge its checksums. A row that is no longer found, because its index
entry is gone or its expiry reads as past, can't speak for itself: ``check`` looks for those.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias
from zlib import crc32

from ialstore.decoding import (
    DAMAGE,
    ROLE_DIGITS,
    check_stored_tokens,
    decode_message,
    plain_message,
    shown_id,
    stored_role,
    stored_roles,
)
from ialstore.errors import CorruptError
from ialstore.ids import Role
from ialstore.limits import MAX_PAGE_BYTES, SUMMARY_CHARACTERS
from ialstore.listing import HistoryQuery, Rows, text_bytes
from ialstore.model import EncodedMessage, Message, MessageSummary
from ialstore_backends.sqlite.failures import DamagedRowError

__all__ = [
    "Row",
    "is_intact",
    "read_message",
    "read_summary",
    "row_of",
    "take_messages",
    "take_summaries",
]

Row: TypeAlias = tuple[Any, ...]

_NONE: Final = (None,) * 8
_OPTIONS: Final = "\0%s" * len(_NONE)


def row_of(entry: EncodedMessage) -> Row:
    """Return the values of a row, in the order of its columns."""
    message = entry.message
    seed = crc32(message.user_id.encode())
    one, session_id, content = message.id, message.session_id, message.content
    options = (
        entry.expires,
        message.tokens,
        message.name,
        message.turn_id,
        message.source_id,
        message.summary,
        entry.metadata_text,
        entry.payload_text,
    )
    shown = content[:SUMMARY_CHARACTERS] if message.summary is None else message.summary
    return (
        message.user_id,
        one,
        session_id,
        _short_checksum(seed, one, session_id, shown, options[:2]),
        crc32(_covered(one, session_id, content, options), seed),
        *options[:-1],
        content,
        entry.payload_text,
    )


def _covered(one: str, session_id: str, content: str, options: Row) -> bytes:
    """Return what the checksum of a row covers, but for its user."""
    # Other than an f-string, join refuses what is no text.
    plain = "\0".join((one, session_id, content))  # noqa: FLY002 - as said
    return (plain if options == _NONE else plain + _OPTIONS % options).encode()


def _short_checksum(seed: int, one: str, session_id: str, shown: str, numbers: object) -> int:
    """Return the checksum of what listings show; the numbers are expiry and tokens."""
    return crc32("\0".join((one, session_id, shown, repr(numbers))).encode(), seed)


# -- whole messages ----------------------------------------------------------------------------


def take_messages(  # noqa: C901 - one loop, for speed
    query: HistoryQuery, rows: Iterable[Row]
) -> Rows[Message]:
    """Return the messages of one page.

    Args:
        query: what was asked.
        rows: what was found; read no further than one row past the end of the page.

    Raises:
        DamagedRowError: a row is damaged, or is not one of those asked for.
    """
    user_id, wanted, limit = query.user_id, query.session_id, query.limit
    lower, upper, newest_first = query.lower, query.upper, query.newest_first
    seed = crc32(user_id.encode())
    taken: list[Message] = []
    total = around = 0
    session: str | None = None
    roles: Mapping[str, Role] = {}
    # The hottest loop of the store: with a function for each row it would take a quarter longer.
    for row in rows:
        if len(taken) == limit:
            return Rows(taken, more=True)
        (
            one,
            session_id,
            checksum,
            content,
            expires,
            tokens,
            name,
            turn_id,
            source_id,
            summary,
            metadata_text,
            payload_text,
        ) = row
        try:
            if session_id != session:
                if wanted is not None and session_id != wanted:
                    raise _misplaced(one)
                session, roles = session_id, stored_roles(session_id)
                around = len(one) + text_bytes(session_id) + 2
            if (
                expires is None
                and tokens is None
                and name is None
                and turn_id is None
                and source_id is None
                and summary is None
                and metadata_text is None
                and payload_text is None
            ):
                data = "\0".join((one, session_id, content)).encode()  # noqa: FLY002 - as above
                if crc32(data, seed) != checksum:
                    raise _damaged(one)
                message = plain_message(one, user_id, session_id, roles[one[ROLE_DIGITS]], content)
                total += len(data) - around
            else:
                message = _read(seed, user_id, row)
                total += text_bytes(content) + text_bytes(payload_text) + text_bytes(metadata_text)
        except DAMAGE as error:
            raise _damaged(one) from error
        if not lower <= one < upper:
            raise _misplaced(one)
        if newest_first:
            upper = one
        else:
            lower = one + "\0"
        if total > MAX_PAGE_BYTES and taken:
            return Rows(taken, more=True)
        taken.append(message)
    return Rows(taken)


def read_message(user_id: str, row: Row) -> Message:
    """Return the message of one row.

    Raises:
        DamagedRowError: the row is damaged.
    """
    return _read(crc32(user_id.encode()), user_id, row)


def _read(seed: int, user_id: str, row: Row) -> Message:
    one, session_id, checksum, content = row[:4]
    options = row[4:]
    try:
        if crc32(_covered(one, session_id, content, options), seed) != checksum:
            raise _damaged(one)
        expires, tokens, name, turn_id, source_id, summary, metadata_text, payload_text = options
        return decode_message(
            id=one,
            user_id=user_id,
            session_id=session_id,
            content=content,
            payload_text=payload_text,
            name=name,
            turn_id=turn_id,
            source_id=source_id,
            summary=summary,
            tokens=tokens,
            metadata_text=metadata_text,
            expires=expires,
        )
    except (CorruptError, *DAMAGE) as error:
        raise _damaged(one) from error


def is_intact(user_id: str, row: Row, short_checksum: int) -> bool:
    """Whether both checksums of a row agree with it, and it can be read."""
    one, session_id, _, _, expires, tokens, *_ = row
    try:
        seed = crc32(user_id.encode())
        shown = MessageSummary.of(_read(seed, user_id, row)).summary
        return _short_checksum(seed, one, session_id, shown, (expires, tokens)) == short_checksum
    except (DamagedRowError, *DAMAGE):
        return False


# -- messages in short -------------------------------------------------------------------------


def take_summaries(query: HistoryQuery, rows: Iterable[Row]) -> Rows[MessageSummary]:
    """Return the summaries of one page; arguments and errors of ``take_messages``."""
    seed = crc32(query.user_id.encode())
    lower, upper = query.lower, query.upper
    taken: list[MessageSummary] = []
    for row in rows:
        if len(taken) == query.limit:
            return Rows(taken, more=True)
        summary = _read_summary(seed, query.user_id, row)
        one = summary.id
        if not lower <= one < upper or query.session_id not in (None, summary.session_id):
            raise _misplaced(one)
        lower, upper = (lower, one) if query.newest_first else (one + "\0", upper)
        taken.append(summary)
    return Rows(taken)


def read_summary(user_id: str, row: Row) -> MessageSummary:
    """Return a message in short.

    Raises:
        DamagedRowError: what is shown of it is damaged.
    """
    return _read_summary(crc32(user_id.encode()), user_id, row)


def _read_summary(seed: int, user_id: str, row: Row) -> MessageSummary:
    one, session_id, checksum, expires, tokens, shown, beginning = row
    try:
        if shown is None:
            # The last character may be cut in two: a decoder that waits for more drops it.
            decode = codecs.getincrementaldecoder("utf-8")().decode
            shown = decode(beginning)[:SUMMARY_CHARACTERS]
        if _short_checksum(seed, one, session_id, shown, (expires, tokens)) != checksum:
            raise _damaged(one)
        if tokens is not None:
            check_stored_tokens(tokens)
        role = stored_role(one, session_id)
    except UnicodeDecodeError:
        raise _damaged(one) from None  # it holds the text
    except DAMAGE as error:
        raise _damaged(one) from error
    return MessageSummary(one, user_id, session_id, role, shown, tokens)


# -- errors ------------------------------------------------------------------------------------


def _damaged(one: object) -> DamagedRowError:
    return DamagedRowError(f"the stored message {shown_id(one)} is damaged")


def _misplaced(one: object) -> DamagedRowError:
    return DamagedRowError(f"the stored message {shown_id(one)} stands where it does not belong")
