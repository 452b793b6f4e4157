"""Chats in the form of OpenAI's API: objects with ``messages``, as it takes and trains on them.

Accepted are ``{"messages": [...]}``, a bare list of messages, a list of either, and JSON Lines of
them (the form of fine-tuning files). A conversation may have an ``id`` and a time (``created``,
``created_at`` or ``create_time``, in seconds since 1970 or as ISO 8601); other keys are not read.

The format has no times of messages. They are a microsecond apart, from the conversation's time
if it has one; else from a fixed one, a second later for each conversation in the file. So reading
a file again gives the same ids, and adding to its end adds only what is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from ialstore._text import EPOCH
from ialstore.errors import InvalidInputError
from ialstore.formats._reading import (
    Readable,
    Record,
    TimeOrMaker,
    as_record,
    at,
    identified,
    list_of,
    made_time,
    needed_text,
    numbered_lines,
    parse_json,
    parse_time,
    read_text,
    record_of,
    text_of,
)
from ialstore.ids import Role
from ialstore.model import Message

__all__ = ["UNKNOWN_TIME", "read_openai_chat"]

UNKNOWN_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Where the times of chats without any begin, unless the caller knows better."""

_ROLES: Final = {
    "assistant": Role.ASSISTANT,
    "developer": Role.DEVELOPER,
    "function": Role.TOOL,
    "system": Role.SYSTEM,
    "tool": Role.TOOL,
    "user": Role.USER,
}
_TIMES: Final = ("created", "created_at", "create_time")
_TEXT_PARTS: Final = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
"""Where a part of each type has its text; parts of other types have none."""
_PLAIN: Final = ("role", "content", "name")


def read_openai_chat(
    source: Readable | Record | list[Any],
    *,
    user_id: str,
    created_at: TimeOrMaker = UNKNOWN_TIME,
    session_prefix: str = "chat",
    session_id: str | None = None,
) -> Iterator[Message]:
    """Yield the messages of every conversation.

    A message with more than role, text and name is kept whole as ``payload``. The text of a
    content in parts is that of its parts, one per line. An assistant's tool calls and their
    results share a ``turn_id``.

    Args:
        source: a stream of JSON or JSON Lines, or the value read from it.
        user_id: whose conversations they are.
        created_at: time of conversations that have none. Give one where a retention is set: it
            counts from here. A function is called for each of them.
        session_prefix: a conversation without id becomes the session ``{session_prefix}-N``, N
            its place in the file. Give each file its own, such as its name.
        session_id: instead of the prefix: the first conversation becomes this session if it has
            no id, a later one ``{session_id}-N``.

    Raises:
        InvalidInputError: something is missing or malformed; says in which conversation and
            message.
    """
    seen: set[str] = set()
    for number, conversation in enumerate(_conversations(source), start=1):
        where = f"conversation {number}"
        with at(where):
            own = _session_id(conversation)
            if not own and number == 1:
                own = session_id
            own = own or f"{session_id or session_prefix}-{number}"
            if own in seen:
                raise InvalidInputError("an earlier conversation has the same id")
            seen.add(own)
            time = _created(conversation)
            if time is None:
                time = made_time(created_at) + timedelta(seconds=number - 1)
            messages = list_of(conversation, "messages")
            chat = _Chat(user_id, own, time)
        for index, one in enumerate(messages):
            with at(f"{where}, message {index + 1}"):
                message = chat.message(index, one)
            yield message


def _conversations(source: Readable | Record | list[Any]) -> Iterator[Record]:
    data: object = source if isinstance(source, (dict, list)) else _parse(read_text(source))
    items = cast("list[object]", data if type(data) is list else [data])
    if any(type(one) is dict and "role" in one for one in items):
        yield {"messages": items}
        return
    for number, one in enumerate(items, start=1):
        if type(one) is list:
            yield {"messages": one}
            continue
        with at(f"conversation {number}"):
            conversation = as_record(one)
            if "messages" not in conversation:
                raise InvalidInputError("messages is missing")
        yield conversation


def _parse(text: str) -> Any:
    """Return the value of JSON, or the list of the values of JSON Lines."""
    lines = list(numbered_lines(text.split("\n")))
    if len(lines) > 1:
        try:
            parse_json(lines[0][1])
        except InvalidInputError:  # the beginning of an object that spans lines
            return parse_json(text)
        values: list[Any] = []
        for where, line in lines:
            with at(where):
                values.append(parse_json(line))
        return values
    return parse_json(text)


def _session_id(conversation: Record) -> str | None:
    value = conversation.get("id")
    return str(value) if type(value) is int else text_of(conversation, "id")


def _created(conversation: Record) -> datetime | None:
    for key in _TIMES:
        value = conversation.get(key)
        if type(value) is str:
            return parse_time(value, key)
        if type(value) is int or type(value) is float:
            try:
                return EPOCH + timedelta(seconds=value)
            except (OverflowError, ValueError):
                raise InvalidInputError(f"{key} is not a time in seconds since 1970") from None
        if value is not None:
            raise InvalidInputError(f"{key} must be a number of seconds or a text")
    return None


@dataclass(slots=True)
class _Chat:
    """One conversation while it is read: it remembers which tools were called.

    Attributes:
        called: by id of a tool call, its turn and the name of the tool.
        open_turn: the turn of the newest calls, until another message than a result follows.
    """

    user_id: str
    session_id: str
    time: datetime
    called: dict[str, tuple[str, str | None]] = field(
        default_factory=dict[str, "tuple[str, str | None]"]
    )
    open_turn: str | None = None

    def message(self, index: int, given: object) -> Message:
        """Return the message at this place."""
        record = as_record(given)
        role_text = needed_text(record, "role")
        if role_text not in _ROLES:
            raise InvalidInputError(f"role must be one of {', '.join(_ROLES)}")
        role = _ROLES[role_text]
        content, whole = _content(record)
        turn_id, tool = self._turn(index, role, record)
        values = {
            "user_id": self.user_id,
            "session_id": self.session_id,
            "role": role,
            "content": content,
            "payload": None if whole and role_text == role else record,
            "name": text_of(record, "name") or tool,
            "turn_id": turn_id,
        }
        return identified(values, self.time, index)

    def _turn(self, index: int, role: Role, record: Record) -> tuple[str | None, str | None]:
        """Return the turn of a message, and the name of the tool whose result it is."""
        if role is Role.TOOL:
            return self.called.get(text_of(record, "tool_call_id") or "", (self.open_turn, None))
        self.open_turn = None
        calls = list_of(record, "tool_calls")
        if role is Role.ASSISTANT and (calls or record_of(record, "function_call")):
            self.open_turn = _turn_id(self.session_id, index)
            for number, one in enumerate(calls, start=1):
                with at(f"tool call {number}"):
                    call = as_record(one)
                    tool = text_of(record_of(call, "function") or {}, "name")
                    if call_id := text_of(call, "id"):
                        self.called[call_id] = (self.open_turn, tool)
        return self.open_turn, None


def _content(record: Record) -> tuple[str, bool]:
    """Return the text of a message, and whether that and its name are all there is to it."""
    whole = all(key in _PLAIN or value in (None, [], {}) for key, value in record.items())
    if type(record.get("content")) is not list:
        return text_of(record, "content") or text_of(record, "refusal") or "", whole
    texts: list[str] = []
    for number, one in enumerate(list_of(record, "content"), start=1):
        with at(f"part {number}"):
            part = as_record(one)
            key = _TEXT_PARTS.get(needed_text(part, "type"))
            if key is not None:
                texts.append(needed_text(part, key))
    return "\n".join(texts), False


def _turn_id(session_id: str, index: int) -> str:
    """Return a name for the turn that begins at this place, unlike those of other sessions."""
    return hashlib.sha256(f"{index}:{session_id}".encode()).hexdigest()[:32]
