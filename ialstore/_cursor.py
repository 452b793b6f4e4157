"""Cursors of listings: a position, a digest of the query and a checksum, as one text.

A cursor is no secret and grants nothing: the user and every filter come from the call itself, and
the digest only refuses a cursor that belongs to another query.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import TypeVar

from ialstore.errors import InvalidInputError
from ialstore.limits import MAX_CURSOR_CHARACTERS

__all__ = ["make_cursor", "read_cursor"]

_VERSION = b"\x01"
_DIGEST_BYTES = 8
_CHECKSUM_BYTES = 6

Query = tuple[str | int | bool | None, ...]
T = TypeVar("T")


def make_cursor(query: Query, position: str) -> str:
    """Return the cursor of a position in the listing that ``query`` describes."""
    body = _VERSION + _digest(query) + position.encode()
    return base64.urlsafe_b64encode(_checksum(body) + body).rstrip(b"=").decode()


def read_cursor(query: Query, cursor: str, parse: Callable[[str], T]) -> T:
    """Return the position that a cursor holds.

    Args:
        query: what the listing was asked for, but for the position and the limit.
        cursor: from the page before.
        parse: checks the position, because anyone can make a cursor; raises ``ValueError``.

    Raises:
        InvalidInputError: the cursor is damaged, or belongs to another query.
    """
    if not isinstance(cursor, str):
        raise InvalidInputError(f"a cursor must be a str, not {type(cursor).__name__}")
    if len(cursor) > MAX_CURSOR_CHARACTERS or not cursor.isascii():
        raise InvalidInputError("the cursor is damaged; start without one")
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("the cursor is damaged; start without one") from None
    checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    canonical = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    if canonical != cursor or checksum != _checksum(body) or body[:1] != _VERSION:
        raise InvalidInputError("the cursor is damaged; start without one")
    if body[1 : 1 + _DIGEST_BYTES] != _digest(query):
        raise InvalidInputError("the cursor belongs to another query; start without one")
    try:
        return parse(body[1 + _DIGEST_BYTES :].decode())
    except (ValueError, OverflowError):
        raise InvalidInputError("the cursor is damaged; start without one") from None


def _digest(query: Query) -> bytes:
    return hashlib.sha256(ascii(query).encode()).digest()[:_DIGEST_BYTES]


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"ialstore cursor" + body).digest()[:_CHECKSUM_BYTES]
