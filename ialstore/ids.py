"""Message ids: a UUIDv7 (RFC 9562) that holds the time, role and session hash of its message.

From the highest bit: 48 bits Unix milliseconds; 4 bits version, 7; 12 bits of the microsecond
within the millisecond; 2 bits variant; 3 bits role code; 8 bits session hash; 51 bits that are
random or follow from a key. Ids sort as texts in the order of their times.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ialstore._text import (
    MAX_MICROSECONDS,
    check_text,
    from_microseconds,
    to_microseconds,
)
from ialstore.errors import InvalidInputError, LimitExceededError
from ialstore.limits import MAX_AHEAD_SECONDS, MAX_ID_BYTES

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["HIGHEST_ID", "LOWEST_ID", "Role", "id_time", "message_id"]


class Role(StrEnum):
    """Who speaks. ``EVENT`` is kept for the record and never sent to a model."""

    ASSISTANT = "assistant"
    DEVELOPER = "developer"
    EVENT = "event"
    SYSTEM = "system"
    TOOL = "tool"
    USER = "user"


LOWEST_ID: Final = "00000000-0000-0000-0000-000000000000"
"""Sorts before every message id."""
HIGHEST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""Sorts after every message id."""

_ROLES: Final = tuple(Role)  # the order is the permanent code: 0 to 5
_ROLE_CODE: Final = {str(role): code for code, role in enumerate(_ROLES)}
_ROLE_AT: Final = {  # by the two digits of an id that hold variant, role and the hash's beginning
    f"{0x80 | code << 3 | rest:02x}": role for code, role in enumerate(_ROLES) for rest in range(8)
}
_SUBMILLISECOND: Final = {us * 4096 // 1000: us for us in range(1000)}
_FORM: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_VERSION_AND_VARIANT: Final = 7 << 76 | 2 << 62
_RANDOM_BITS: Final = (1 << 51) - 1
_SHOWN: Final = 40


def _format(number: int) -> str:
    h = f"{number:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _pack_time(microseconds: int) -> int:
    milliseconds, rest = divmod(microseconds, 1000)
    return milliseconds << 80 | (rest * 4096 // 1000) << 64 | _VERSION_AND_VARIANT


def compose(microseconds: int, role: str, session_id: str, low_bits: int) -> str:
    """Return the id of checked parts; ``low_bits`` is cut to its lowest 51."""
    return _format(
        _pack_time(microseconds)
        | _ROLE_CODE[role] << 59
        | session_hash(session_id) << 51
        | (low_bits & _RANDOM_BITS)
    )


def message_id(user_id: str, session_id: str, created_at: datetime, role: str, key: str) -> str:
    """Return the id of a message that its maker identifies by a key. Pure.

    The lowest 51 bits are those of SHA-256 over, for each of user id, session id and key, the
    length of its UTF-8 bytes as 4 bytes big-endian, then the bytes.

    Args:
        user_id: the tenant.
        session_id: the session.
        created_at: timezone-aware; kept to the microsecond.
        role: a ``Role`` or its name.
        key: any text that names the message within its session.

    Raises:
        InvalidInputError: an argument breaks the contract.
    """
    check_id_part(user_id, "user_id")
    check_id_part(session_id, "session_id")
    check_text(key, "key")
    return compose(
        check_time(created_at, "created_at"),
        check_role(role),
        session_id,
        key_bits(user_id, session_id, key),
    )


def key_bits(user_id: str, session_id: str, key: str) -> int:
    """Return the SHA-256 of ``message_id`` as a number."""
    digest = hashlib.sha256()
    for part in (user_id, session_id, key):
        data = part.encode()
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    return int.from_bytes(digest.digest(), "big")


def random_bits() -> int:
    """Return fresh bits of the operating system, so that a forked child repeats none."""
    return int.from_bytes(os.urandom(7), "big")


@lru_cache(maxsize=4096)
def session_hash(session_id: str) -> int:
    """Return the first byte of the SHA-256 of the session id."""
    return hashlib.sha256(session_id.encode()).digest()[0]


def check_message_id(value: object) -> int:
    """Return a message id as a 128-bit number.

    Raises:
        InvalidInputError: any other text or type.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"a message id must be a str, not {type(value).__name__}")
    if _FORM.fullmatch(value) is None:
        raise InvalidInputError(f"{_shown(value)} is not a message id")
    number = int(value.replace("-", ""), 16)
    if (
        (number >> 59) & 7 >= len(_ROLES)
        or (number >> 64) & 0xFFF not in _SUBMILLISECOND
        or (number >> 80) > MAX_MICROSECONDS // 1000
    ):
        raise InvalidInputError(f"{_shown(value)} is not a message id")
    return number


def id_microseconds(message_id: str) -> int:
    """Return the time of a checked id, microseconds since 1970."""
    milliseconds = int(message_id[:8] + message_id[9:13], 16)
    return milliseconds * 1000 + _SUBMILLISECOND[int(message_id[15:18], 16)]


def id_time(message_id: str) -> datetime:
    """Return the time of a checked id, in UTC."""
    return from_microseconds(id_microseconds(message_id))


def id_role(message_id: str) -> Role:
    """Return the role in a checked id."""
    return _ROLE_AT[message_id[19:21]]


def id_session_hash(message_id: str) -> int:
    """Return the session hash in a checked id."""
    return (int(message_id[19:23], 16) >> 3) & 0xFF


def lowest_id_at(microseconds: int) -> str:
    """Return a text that sorts before every id of this time and after every id of an earlier one.

    Times before 1970 count as its beginning, times after 9999 as its end.
    """
    if microseconds <= 0:
        return LOWEST_ID
    if microseconds > MAX_MICROSECONDS:
        return HIGHEST_ID
    return _format(_pack_time(microseconds))


def next_id(message_id: str) -> str:
    """Return the lowest text that sorts after this id, in the same form."""
    return _format(int(message_id.replace("-", ""), 16) + 1)


def check_id_part(value: object, what: str) -> None:
    """Refuse a user id or session id that breaks the contract.

    Raises:
        InvalidInputError: empty, not a ``str``, with NUL or a lone surrogate.
        LimitExceededError: more than 384 UTF-8 bytes once ``%`` and ``#`` are escaped.
    """
    if type(value) is not str:  # f"{value}" of a subclass, such as an enum, may be another text
        raise InvalidInputError(f"{what} must be a plain str, not {type(value).__name__}")
    _check_id_part(value, what)


@lru_cache(maxsize=8192)
def _check_id_part(value: str, what: str) -> None:
    size = check_text(value, what) + 2 * (value.count("%") + value.count("#"))
    if size == 0:
        raise InvalidInputError(f"{what} must not be empty")
    if "\0" in value:
        raise InvalidInputError(f"{what} must not hold NUL")
    if size > MAX_ID_BYTES:
        raise LimitExceededError(
            f"{what} has {size:,} bytes after escaping, more than {MAX_ID_BYTES:,}"
        )


def check_role(value: object) -> Role:
    """Return the role of this name.

    Raises:
        InvalidInputError: there is none.
    """
    if isinstance(value, str) and value in _ROLE_CODE:
        return _ROLES[_ROLE_CODE[value]]
    raise InvalidInputError(
        f"role must be one of {', '.join(_ROLES)}"
        + (f", not {_shown(value)}" if isinstance(value, str) else "")
    )


def check_time(value: object, what: str) -> int:
    """Return microseconds since 1970 of a time that an id can hold."""
    microseconds = to_microseconds(value, what)
    if not 0 <= microseconds <= MAX_MICROSECONDS:
        raise InvalidInputError(f"{what} must lie between the years 1970 and 9999, in UTC")
    return microseconds


def _shown(value: str) -> str:
    return ascii(value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…")


class _Clock:
    """Hands out microseconds, each later than the one before, also when the clock steps back."""

    def __init__(self) -> None:
        self.last = 0
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def next(self, at_least: int) -> int:
        now = max(time.time_ns() // 1000, at_least)
        with self._lock:
            microseconds = max(now, self.last + 1)
            # Checked before it is kept, so that a clock set right again finds no trace of it.
            if microseconds > MAX_MICROSECONDS:
                raise InvalidInputError("the clock lies after the year 9999")
            self.last = microseconds
            return microseconds


_clock = _Clock()


def new_microseconds(after: str | None) -> int:
    """Return the time of a new message: later than any this process made, and than ``after``."""
    return _clock.next(0 if after is None else after_microseconds(after))


def after_microseconds(after: str) -> int:
    """Return the first microsecond after an id.

    Raises:
        InvalidInputError: the id is not one, or lies more than 5 minutes ahead of the clock.
    """
    check_message_id(after)
    microseconds = id_microseconds(after)
    ahead = microseconds - time.time_ns() // 1000
    # An id of this process stays good when the clock steps back.
    if ahead > MAX_AHEAD_SECONDS * 1_000_000 and microseconds > _clock.last:
        raise InvalidInputError(
            f"after={after} lies more than {MAX_AHEAD_SECONDS // 60} minutes ahead of the clock"
        )
    return microseconds + 1
