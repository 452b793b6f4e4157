"""Texts as people may see them: stored text is untrusted, so nothing in it steers a terminal."""

from __future__ import annotations

import json
import re
import textwrap
from datetime import UTC, datetime
from typing import Any, Final

from ialstore.errors import InvalidInputError

__all__ = [
    "counted",
    "dump_json",
    "escape_json",
    "in_line",
    "iso",
    "moment",
    "one_line",
    "parse_time",
    "printable",
    "shortened",
]

# Control characters, what turns the direction of text or breaks lines, and invisible "tag" letters.
_STEERING: Final = (
    "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_UNSAFE: Final = re.compile(f"(?![\n\t])[{_STEERING}]")
_UNSAFE_IN_LINE: Final = re.compile(f"[{_STEERING}]")
_SHORT: Final = 300
"""Characters of a message in a list."""


def printable(text: str) -> str:
    """Return a text whose control characters are written as escapes; line breaks stay."""
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def in_line(text: str) -> str:
    """Return a text whose control characters and line breaks are written as escapes."""
    return _UNSAFE_IN_LINE.sub(_escape, text)


def one_line(text: str) -> str:
    """Return a text on one line, its words a space apart."""
    return in_line(" ".join(text.split()))


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Return JSON text whose control characters are escaped; it reads back as the same value."""
    return escape_json(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent))


def escape_json(text: str) -> str:
    """Return JSON text with the control characters in it escaped, which changes no value."""
    return _UNSAFE.sub(_json_escape, text)


def shortened(text: str) -> str:
    """Return the beginning of a text, on one line."""
    return textwrap.shorten(text, _SHORT, placeholder=" ...")


def iso(time: datetime | None) -> str | None:
    """Return a UTC time as ISO 8601 with six decimals and Z."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(time: datetime) -> str:
    """Return a time in UTC, to the second, for people."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 message`` or ``3,435 messages``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def parse_time(text: str | None, option: str) -> datetime | None:
    """Return the time that an option gives; without a zone it is UTC.

    Args:
        text: ISO 8601, a day or a time.
        option: its name, for the error.

    Raises:
        InvalidInputError: it can't be read.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(
            f"{option} must be a time such as 2026-11-22 or 2026-11-22T18:55:13Z, "
            f"not '{one_line(text)}'"
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


def _json_escape(match: re.Match[str]) -> str:
    return json.dumps(match.group())[1:-1]
