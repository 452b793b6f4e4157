"""Keys of the conversation table: what they are made of and how they are read back.

A message lies in the partition of its user and day, under its time, role and id; its id alone
gives both keys. Every id is escaped in a key, so that no two users or sessions share one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from ialstore._text import MAX_MICROSECONDS, from_microseconds
from ialstore.ids import LOWEST_ID, Role, id_microseconds, id_role, id_session_hash

__all__ = [
    "BEHIND_MESSAGES",
    "FIRST_PART",
    "Layout",
    "bound",
    "day_of",
    "escaped",
    "id_of",
    "index_bound",
    "index_key",
    "previous",
    "session_key",
    "sort_key",
    "unescaped",
]

BEHIND_MESSAGES: Final = ":"
"""Sorts behind every message of a partition, and before its parts."""
FIRST_PART: Final = "~"
_DIRECTORY: Final = "@"
_EPOCH: Final = date(1970, 1, 1)
_DAY_MICROSECONDS: Final = 86_400_000_000
_ID_LENGTH: Final = len(LOWEST_ID)
_ROLES: Final = (*Role, "v", "v")  # by the three bits of an id; two of them mean none
_VARIANT: Final = slice(19, 20)


def escaped(text: str) -> str:
    """Return an id as it stands in a key: without ``#``."""
    return text.replace("%", "%25").replace("#", "%23")


def unescaped(text: str) -> str:
    """Return the id that ``escaped`` was given."""
    return text.replace("%23", "#").replace("%25", "%")


def session_key(user_id: str, session_id: str) -> str:
    """Return the stored ``session_id``: with the user in it, so that a guessed one opens none."""
    return f"{escaped(user_id)}#{escaped(session_id)}"


def sort_key(message_id: str) -> str:
    """Return the sort key of a message: ``{time}#{role}#{id}``."""
    return f"{_time(id_microseconds(message_id))}#{id_role(message_id)}#{message_id}"


def id_of(key: str) -> str:
    """Return the id at the end of the sort key of a message."""
    return key[-_ID_LENGTH:]


def index_key(message_id: str) -> str:
    """Return the sort key of a message in an index: its time, and the end of its id.

    Entries of an index with equal keys come back in no order. Ids of one microsecond differ in
    role, session hash and random bits only, and those are the end of the id.
    """
    return f"{_time(id_microseconds(message_id))}#{message_id[_VARIANT.start :]}"


def bound(id_text: str) -> str:
    """Return where a text of the form of an id, valid or not, would stand among sort keys."""
    microseconds = _microseconds(id_text)
    if microseconds > MAX_MICROSECONDS:
        return BEHIND_MESSAGES
    time = _time(microseconds)
    variant = id_text[_VARIANT]
    if variant < "8":
        return f"{time}#"
    if variant > "b":
        return f"{time}#~"
    return f"{time}#{_ROLES[int(id_text[19:21], 16) >> 3 & 7]}#{id_text}"


def index_bound(id_text: str) -> str:
    """Return where a text of the form of an id would stand among the sort keys of an index."""
    microseconds = _microseconds(id_text)
    if microseconds > MAX_MICROSECONDS:
        return BEHIND_MESSAGES
    return f"{_time(microseconds)}#{id_text[_VARIANT.start :]}"


def previous(id_text: str) -> str:
    """Return the text of the form of an id just before one; of the lowest, the lowest itself."""
    number = max(int(id_text.replace("-", ""), 16) - 1, 0)
    h = f"{number:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def day_of(id_text: str) -> int:
    """Return the day of a text of the form of an id, counted from 1970."""
    return min(_microseconds(id_text), MAX_MICROSECONDS) // _DAY_MICROSECONDS


def _microseconds(id_text: str) -> int:
    milliseconds = int(id_text[:8] + id_text[9:13], 16)
    return milliseconds * 1000 + math.ceil(int(id_text[15:18], 16) * 1000 / 4096)


def _time(microseconds: int) -> str:
    """Return a time with all its digits, so that texts sort as times do."""
    return f"{from_microseconds(microseconds).isoformat(timespec='microseconds')[:26]}Z"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where messages lie, given how many partitions a user's day is spread over."""

    spread: int = 1

    def partition(self, user_id: str, message_id: str) -> str:
        """Return the partition key of a message."""
        return self._part_of_day(user_id, day_of(message_id), id_session_hash(message_id))

    def partitions(self, user_id: str, day: int, session_hash: int | None = None) -> Sequence[str]:
        """Return the partitions of a user's day; only that of a session, if its hash is given."""
        hashes = range(self.spread) if session_hash is None else (session_hash,)
        return [self._part_of_day(user_id, day, one) for one in hashes]

    def directory(self, user_id: str) -> str:
        """Return the partition that lists the sessions and days of a user."""
        return f"{escaped(user_id)}#{_DIRECTORY}"

    def part(self, message_id: str, attempt: str, number: int) -> str:
        """Return the sort key of a part of a long content."""
        return f"{FIRST_PART}{message_id}#{attempt}#{number:02d}"

    def _part_of_day(self, user_id: str, day: int, session_hash: int) -> str:
        key = f"{escaped(user_id)}#{_EPOCH + timedelta(days=day)}"
        return key if self.spread == 1 else f"{key}#{session_hash % self.spread:02x}"
