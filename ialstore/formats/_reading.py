"""What the readers share: strict JSON, and errors that name the place."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from types import NoneType
from typing import Any, Final, Protocol, cast

from ialstore.errors import InvalidInputError
from ialstore.ids import message_id
from ialstore.model import Message

__all__ = [
    "Readable",
    "Record",
    "TimeOrMaker",
    "as_record",
    "at",
    "identified",
    "list_of",
    "made_time",
    "needed_text",
    "numbered_lines",
    "parse_json",
    "parse_time",
    "read_text",
    "record_of",
    "text_of",
]

Record = dict[str, Any]
"""A JSON object."""

TimeOrMaker = datetime | Callable[[], datetime]
"""A time to take where a file gives none, or what returns it and so learns that it is needed."""

_BOM: Final = "\ufeff"
_NAMES: Final[dict[type[object], str]] = {
    NoneType: "null",
    bool: "true or false",
    dict: "an object",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "a text",
}


class Readable(Protocol):
    """A stream of text."""

    def read(self) -> str:
        """Return all of it."""
        ...


@contextmanager
def at(where: str) -> Generator[None]:
    """Put the place in front of the errors raised inside."""
    try:
        yield
    except InvalidInputError as error:
        raise type(error)(f"{where}: {error}") from error


def read_text(stream: Readable) -> str:
    """Return the text of a stream, without a byte order mark.

    Raises:
        InvalidInputError: it is not UTF-8, or whatever the stream was opened with.
    """
    try:
        return stream.read().removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"the file is not {error.encoding}") from None


def numbered_lines(stream: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the lines that are not blank, each behind ``line 1`` and so on.

    Raises:
        InvalidInputError: the stream can't be decoded.
    """
    number = 0
    try:
        for number, line in enumerate(stream, start=1):
            text = line.removeprefix(_BOM) if number == 1 else line
            if text.strip():
                yield f"line {number}", text
    except UnicodeDecodeError as error:
        where = f"line {number + 1} or a later one"
        raise InvalidInputError(f"{where} is not {error.encoding}") from None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, keys in their order.

    Raises:
        InvalidInputError: not JSON, NaN or infinity, the same key twice in an object, or nested
            too deep to be read.
    """
    try:
        return _decode(text)
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"not JSON, at line {error.lineno}, column {error.colno}"
            if error.lineno > 1
            else f"not JSON, at column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidInputError("the JSON is nested too deep") from None
    except InvalidInputError:
        raise
    except ValueError:
        raise InvalidInputError("the JSON holds a number too long to read") from None


def as_record(value: object) -> Record:
    """Return a value that must be a JSON object.

    Raises:
        InvalidInputError: it is something else.
    """
    if type(value) is not dict:
        raise InvalidInputError(f"expected an object, not {_kind(value)}")
    return cast("Record", value)


def record_of(record: Record, key: str) -> Record | None:
    """Return an object in an object; None where it is missing or null."""
    return cast("Record | None", _of(record, key, dict))


def list_of(record: Record, key: str) -> list[Any]:
    """Return a list in an object; an empty one where it is missing or null."""
    return cast("list[Any]", _of(record, key, list) or [])


def text_of(record: Record, key: str) -> str | None:
    """Return a text in an object; None where it is missing or null."""
    return cast("str | None", _of(record, key, str))


def needed_text(record: Record, key: str) -> str:
    """Return a text that must be there."""
    text = text_of(record, key)
    if text is None:
        raise InvalidInputError(f"{key} is missing")
    return text


def _of(record: Record, key: str, kind: type[object]) -> object:
    value = record.get(key)
    if value is not None and type(value) is not kind:
        raise InvalidInputError(f"{key} must be {_NAMES[kind]}, not {_kind(value)}")
    return value


def _kind(value: object) -> str:
    return _NAMES.get(type(value), type(value).__name__)


def parse_time(text: str, what: str) -> datetime:
    """Return the time of an ISO 8601 text with a time zone.

    Raises:
        InvalidInputError: it is not one.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.utcoffset() is None:
        raise InvalidInputError(f"{what} must be a time such as 2026-03-02T09:30:00Z")
    return time


def made_time(time: TimeOrMaker) -> datetime:
    """Return the time."""
    return time if isinstance(time, datetime) else time()


def identified(values: Mapping[str, Any], created_at: datetime, seq: int) -> Message:
    """Return a message with an id that follows from its time and from what makes it the same.

    Args:
        values: what ``Message.new`` takes.
        created_at: see there.
        seq: see there.

    Raises:
        InvalidInputError: a value breaks the contract.
    """
    draft = Message.new(**values, created_at=created_at, seq=seq, key="")
    key = draft.content_hash
    return replace(
        draft,
        id=message_id(draft.user_id, draft.session_id, draft.created_at, draft.role, key),
    )


def _unique(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise InvalidInputError("an object of the JSON has the same key twice")
    return record


def _refuse(constant: str) -> Any:
    raise InvalidInputError(f"the JSON holds {constant}")


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse).decode
