"""Messages from what a store has read: ``decode_message``, and the checks of damaged rows.

What is read is not validated again, but what no store could have written is a ``CorruptError``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from ialstore._text import from_seconds
from ialstore.errors import CorruptError, InvalidInputError
from ialstore.ids import LOWEST_ID, Role, check_message_id, session_hash
from ialstore.limits import MAX_TOKENS
from ialstore.model import Message, MessageBase

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "DAMAGE",
    "ROLE_DIGITS",
    "check_stored_tokens",
    "decode_message",
    "message_of",
    "plain_message",
    "shown_id",
    "stored_role",
    "stored_roles",
]


def decode_message(
    *,
    id: str,  # noqa: A002 - the field's name
    user_id: str,
    session_id: str,
    content: str,
    payload_text: str | None,
    name: str | None,
    turn_id: str | None,
    source_id: str | None,
    summary: str | None,
    tokens: int | None,
    metadata_text: str | None,
    expires: int | None,
) -> Message:
    """Return a message from its stored forms, without validating it again.

    Raises:
        CorruptError: a form has another type than any that is stored, can't be read, or
            contradicts the id.
    """
    try:
        # What is not there, as most fields are not, must cost next to nothing.
        role = stored_roles(session_id)[id[ROLE_DIGITS]]
        payload = None if payload_text is None else _decode_json(payload_text, dict, list)
        metadata: dict[str, Any] = (
            {} if metadata_text is None else _decode_json(metadata_text, dict)
        )
        expires_at = None if expires is None else _decode_seconds(expires)
        if tokens is not None:
            check_stored_tokens(tokens)
        if (
            type(content) is not str
            or (name is not None and type(name) is not str)
            or (turn_id is not None and type(turn_id) is not str)
            or (source_id is not None and type(source_id) is not str)
            or (summary is not None and type(summary) is not str)
            or len(id) != _ID_LENGTH
        ):
            _require_texts(id, content, name, turn_id, source_id, summary)
    except DAMAGE as error:
        raise CorruptError(
            f"the stored message {shown_id(id)} is damaged; run check, or restore a backup"
        ) from error
    draft = _Draft()
    draft.id = id
    draft.user_id = user_id
    draft.session_id = session_id
    draft.role = role
    draft.content = content
    draft.payload = payload
    draft.name = name
    draft.turn_id = turn_id
    draft.source_id = source_id
    draft.summary = summary
    draft.tokens = tokens
    draft.metadata = metadata
    draft.expires_at = expires_at
    draft.__class__ = Message  # type: ignore[assignment]  # the slots are the same
    return cast("Message", draft)


def plain_message(
    id: str,  # noqa: A002 - the field's name
    user_id: str,
    session_id: str,
    role: Role,
    content: str,
) -> Message:
    """Return a message that has no other field and that a checksum has shown to be as stored.

    Most are such: they are read in half the time.
    """
    draft = _Draft()
    draft.id = id
    draft.user_id = user_id
    draft.session_id = session_id
    draft.role = role
    draft.content = content
    draft.payload = None
    draft.name = None
    draft.turn_id = None
    draft.source_id = None
    draft.summary = None
    draft.tokens = None
    draft.metadata = {}
    draft.expires_at = None
    draft.__class__ = Message  # type: ignore[assignment]  # the slots are the same
    return cast("Message", draft)


def message_of(user_id: str, message: Message) -> Message:
    """Return a message as one of another user, for a store that knows users by other names."""
    draft = _Draft()
    draft.id = message.id
    draft.user_id = user_id
    draft.session_id = message.session_id
    draft.role = message.role
    draft.content = message.content
    draft.payload = message.payload
    draft.name = message.name
    draft.turn_id = message.turn_id
    draft.source_id = message.source_id
    draft.summary = message.summary
    draft.tokens = message.tokens
    draft.metadata = message.metadata
    draft.expires_at = message.expires_at
    draft.__class__ = Message  # type: ignore[assignment]  # the slots are the same
    return cast("Message", draft)


DAMAGE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What Python raises when stored values are not what was written; none of their texts quotes one
but for ids."""

_ID_LENGTH: Final = len(LOWEST_ID)

ROLE_DIGITS: Final = slice(19, 23)
"""Of an id, as ``stored_roles`` has them: variant, role and session hash."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# Other than json.loads it takes no bytes.
_read_json = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _decode_json(text: str, *kinds: type[Any]) -> Any:
    value = _read_json(text)
    if type(value) not in kinds:
        raise TypeError("JSON of another type")
    return value


def _decode_seconds(expires: int) -> datetime:
    if type(expires) is not int:
        raise TypeError("a time that is no int")
    return from_seconds(expires)


def check_stored_tokens(tokens: int) -> None:
    """Raise one of ``DAMAGE`` for what no message has as its number of tokens."""
    if type(tokens) is not int or not 0 <= tokens <= MAX_TOKENS:
        raise ValueError("a number of tokens that no message has")


def _require_texts(message_id: str, content: object, *others: object) -> None:
    """Let subclasses pass, which a store of objects may hold."""
    if (
        len(message_id) != _ID_LENGTH
        or not isinstance(content, str)
        or not all(isinstance(one, str | None) for one in others)
    ):
        raise TypeError("a text that is none")


def shown_id(stored: object) -> str:
    """Return an id that was read for a message of an error; nothing of it if it is none."""
    try:
        check_message_id(stored)
    except InvalidInputError:
        return "with a damaged id"
    return str(stored)


def stored_role(message_id: str, session_id: str) -> Role:
    """Return the role in an id that was read.

    Raises one of ``DAMAGE`` when it is no id, or not of this session.
    """
    if len(message_id) != _ID_LENGTH:
        raise ValueError("an id of another length")
    return stored_roles(session_id)[message_id[ROLE_DIGITS]]


@lru_cache(maxsize=4096)
def stored_roles(session_id: str) -> Mapping[str, Role]:
    """Return the roles of a session's messages by the ``ROLE_DIGITS`` of their ids."""
    return _roles_by_hash(session_hash(session_id))


@cache
def _roles_by_hash(byte: int) -> Mapping[str, Role]:
    """Return the roles by the four digits of an id that hold variant, role and session hash."""
    return {
        f"{0x8000 | code << 11 | byte << 3 | rest:04x}": role
        for code, role in enumerate(Role)
        for rest in range(8)
    }


class _Draft(MessageBase):
    """A message that is being read: filling it takes a third of the time of the frozen class."""

    __slots__ = Message.__slots__

    id: str
    user_id: str
    session_id: str
    role: Role
    content: str
    payload: dict[str, Any] | list[Any] | None
    name: str | None
    turn_id: str | None
    source_id: str | None
    summary: str | None
    tokens: int | None
    metadata: dict[str, Any]
    expires_at: datetime | None
