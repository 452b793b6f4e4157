"""The format of ialstore itself: one JSON object per line with all fields of a message.

Reading what ``write_jsonl`` wrote gives equal messages, and the same text when they are written
again. Fields that are None or empty metadata are left out; ``created_at`` is written for people
to read, and has to agree with the id.

A line written by hand may leave out ``id``, then it needs ``created_at``, or the reader a time to
take instead. Its id follows from
what the line says, so that importing the file again changes nothing, and adding lines at its end
adds only them; of lines of one session with the same time, each is a microsecond later than the
one before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from ialstore.errors import InvalidInputError
from ialstore.formats._reading import (
    Record,
    TimeOrMaker,
    as_record,
    at,
    identified,
    made_time,
    needed_text,
    numbered_lines,
    parse_json,
    parse_time,
    record_of,
    text_of,
)
from ialstore.ids import check_role
from ialstore.model import Message, encode_message
from ialstore.url import closest

__all__ = ["Writable", "read_jsonl", "write_jsonl"]

_FIELDS: Final = tuple(one.name for one in fields(Message))
_KEYS: Final = ("id", "created_at", *_FIELDS[1:])
_TEXTS: Final = ("name", "turn_id", "source_id", "summary")
_MAX_SHOWN: Final = 40

# Readers that split a text into lines by Unicode's rules would cut a line at these.
_ESCAPES: Final = str.maketrans({c: f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"})
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Writable(Protocol):
    """A stream that takes text."""

    def write(self, text: str, /) -> object:
        """Write a text."""
        ...


def write_jsonl(messages: Iterable[Message], stream: Writable) -> int:
    """Write messages, one line each, and return how many there were.

    Raises:
        InvalidInputError: a message breaks the contract; those before it are written.
    """
    count = 0
    for message in messages:
        encode_message(message)
        stream.write(_encode(_record(message)).translate(_ESCAPES) + "\n")
        count += 1
    return count


def read_jsonl(
    lines: Iterable[str],
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    created_at: TimeOrMaker | None = None,
) -> Iterator[Message]:
    """Yield the messages of lines, such as those of a file opened as UTF-8 text.

    Args:
        lines: the lines; blank ones are passed over.
        user_id: for lines that have none.
        session_id: for lines that have none.
        created_at: for lines that have neither id nor time, each a microsecond later than the one
            before; a function is called for each of them.

    Raises:
        InvalidInputError: a line is not JSON, has an unknown key, repeats a key, or breaks the
            contract of messages.
    """
    same_time: Counter[tuple[str, str, datetime]] = Counter()
    undated = 0
    for where, line in numbered_lines(lines):
        with at(where):
            record = _parse(line)
            values = _values(record, {"user_id": user_id, "session_id": session_id})
            if record.get("id") is None:
                if record.get("created_at") is None and created_at is not None:
                    time = made_time(created_at) + timedelta(microseconds=undated)
                    undated += 1
                else:
                    time = _created_at(record)
                group = (values["user_id"], values["session_id"], time)
                message = identified(values, time, same_time[group])
                same_time[group] += 1
            else:
                message = Message(id=record["id"], **values)
                encode_message(message)
                _check_created_at(record, message)
        yield message


def _record(message: Message) -> Record:
    record: Record = {"id": message.id, "created_at": _time_text(message.created_at)}
    for name in _FIELDS[1:]:
        value = getattr(message, name)
        if value is not None and not (name == "metadata" and not value):
            record[name] = _time_text(value) if isinstance(value, datetime) else value
    return record


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _parse(line: str) -> Record:
    record = as_record(parse_json(line))
    for key in record:
        if key not in _KEYS:
            raise InvalidInputError(f"unknown key {key[:_MAX_SHOWN]!a}{closest(key, _KEYS)}")
    return record


def _values(record: Record, defaults: Mapping[str, str | None]) -> dict[str, Any]:
    """Return all fields of a message but its id; limits are checked later."""
    values: dict[str, Any] = {name: text_of(record, name) for name in _TEXTS}
    for name, default in defaults.items():
        values[name] = needed_text({name: default, **record}, name)
    expires_at = text_of(record, "expires_at")
    return {
        **values,
        "role": check_role(needed_text(record, "role")),
        "content": needed_text(record, "content"),
        "payload": record.get("payload"),
        "tokens": record.get("tokens"),
        "metadata": record_of(record, "metadata") or {},
        "expires_at": None if expires_at is None else parse_time(expires_at, "expires_at"),
    }


def _created_at(record: Record) -> datetime:
    text = text_of(record, "created_at")
    if text is None:
        raise InvalidInputError(
            "a line without id needs created_at; add it, or give a time for all such lines"
        )
    return parse_time(text, "created_at")


def _check_created_at(record: Record, message: Message) -> None:
    if record.get("created_at") is not None and _created_at(record) != message.created_at:
        raise InvalidInputError("created_at does not agree with the id; leave one of them out")
