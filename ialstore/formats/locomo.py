"""LoCoMo: long conversations of two people over many dated sessions, with questions.

The format of Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents"
(ACL 2024), and of other conversations in the same form: one conversation or a list of them. The
questions are not messages; ``benchmarks/retrieval_locomo.py`` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, cast

from ialstore.errors import InvalidInputError
from ialstore.formats._reading import (
    Readable,
    Record,
    as_record,
    at,
    list_of,
    needed_text,
    parse_json,
    read_text,
    record_of,
    text_of,
)
from ialstore.ids import Role
from ialstore.model import Message

__all__ = ["read_locomo"]

_MONTHS: Final = (
    "January February March April May June July August September October November December"
)
_MONTH: Final = {name: number for number, name in enumerate(_MONTHS.split(), start=1)}
_TIME: Final = re.compile(
    f"(0?[1-9]|1[0-2]):([0-5][0-9]) (am|pm) on ([0-9]{{1,2}}) ({'|'.join(_MONTH)}), ([0-9]{{4}})"
)
_SESSION: Final = re.compile("session_([0-9]{1,9})")
_KEPT: Final = ("img_url", "query")
"""What a turn says about its picture, kept as metadata."""


def read_locomo(
    source: Readable | Record | list[Any], *, user_id: str | None = None
) -> Iterator[Message]:
    """Yield the messages of every conversation, session by session.

    The user id is the conversation's ``sample_id``, the session id ``session_1`` and so on;
    ``speaker_a`` is the user, ``speaker_b`` the assistant, and their names are kept. The content
    is a turn's text, followed by `` [shares {caption}]`` where it shares a picture. A session has
    one time, taken as UTC; its turns are a microsecond apart. ``source_id`` is the turn's
    ``dia_id``.

    Args:
        source: a stream of JSON text, or the value read from it.
        user_id: for a conversation without ``sample_id``.

    Raises:
        InvalidInputError: something is missing or malformed; says in which session and turn.
    """
    users: set[str] = set()
    for where, conversation in _conversations(source):
        with at(where):
            own = text_of(conversation, "sample_id")
            own = user_id if own is None else own
            if own is None:
                raise InvalidInputError("sample_id is missing; give a user id")
            if own in users:
                raise InvalidInputError("an earlier conversation has the same user id")
            users.add(own)
            turns = record_of(conversation, "conversation")
        yield from _messages(own, where, conversation if turns is None else turns)


def _conversations(source: Readable | Record | list[Any]) -> Iterator[tuple[str, Record]]:
    data: Any = source if isinstance(source, (dict, list)) else parse_json(read_text(source))
    if type(data) is not list:
        yield "the conversation", as_record(data)
        return
    for number, one in enumerate(cast("list[object]", data), start=1):
        with at(f"conversation {number}"):
            conversation = as_record(one)
        yield f"conversation {number}", conversation


def _messages(user_id: str, where: str, conversation: Record) -> Iterator[Message]:
    with at(where):
        roles = {
            needed_text(conversation, "speaker_a"): Role.USER,
            needed_text(conversation, "speaker_b"): Role.ASSISTANT,
        }
    for session_id in _sessions(conversation):
        with at(f"{where}, {session_id}"):
            turns = list_of(conversation, session_id)
            if not turns:
                continue
            time = _time(needed_text(conversation, f"{session_id}_date_time"))
        for index, turn in enumerate(turns):
            with at(f"{where}, {session_id}, turn {index + 1}"):
                record = as_record(turn)
                speaker = needed_text(record, "speaker")
                if speaker not in roles:
                    raise InvalidInputError("the speaker is neither speaker_a nor speaker_b")
                source_id = text_of(record, "dia_id")
                message = Message.new(
                    user_id=user_id,
                    session_id=session_id,
                    role=roles[speaker],
                    content=_content(record),
                    created_at=time,
                    seq=index,
                    key=source_id or str(index),
                    name=speaker,
                    source_id=source_id,
                    metadata={key: record[key] for key in _KEPT if record.get(key) is not None},
                )
            yield message


def _sessions(conversation: Record) -> list[str]:
    """Return the keys that hold turns, in the order of their numbers."""
    matches = (_SESSION.fullmatch(key) for key in conversation)
    return [one[0] for one in sorted((m for m in matches if m), key=lambda m: (int(m[1]), m[0]))]


def _content(turn: Record) -> str:
    text = text_of(turn, "text") or ""
    caption = text_of(turn, "blip_caption")
    return f"{text} [shares {caption}]" if caption else text


def _time(text: str) -> datetime:
    """Return the time of a text such as ``1:56 pm on 8 May, 2023``, as UTC."""
    if found := _TIME.fullmatch(text):
        hour, minute, half, day, month, year = found.groups()
        hours = int(hour) % 12 + (12 if half == "pm" else 0)
        with suppress(ValueError):  # the 31st of February
            return datetime(int(year), _MONTH[month], int(day), hours, int(minute), tzinfo=UTC)
    raise InvalidInputError("the time is not written like 1:56 pm on 8 May, 2023")
