"""The values that cross every border: messages, pages, records, filters and results.

Message ids are in ``ids``. What a backend gets to write is an ``EncodedMessage``; what it read it
turns back with ``decode_message`` of ``decoding``. Those of vectors are in ``vector_model``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeAlias, TypeVar

from ialstore._text import (
    MAX_MICROSECONDS,
    ceil_seconds,
    check_int,
    check_text,
    from_seconds,
    json_text,
    sorted_json,
)
from ialstore.errors import InvalidInputError, LimitExceededError
from ialstore.ids import (
    Role,
    after_microseconds,
    check_id_part,
    check_message_id,
    check_role,
    check_time,
    compose,
    id_microseconds,
    id_role,
    id_session_hash,
    id_time,
    key_bits,
    new_microseconds,
    random_bits,
    session_hash,
)
from ialstore.limits import (
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_NAME_BYTES,
    MAX_PAYLOAD_DEPTH,
    MAX_SOURCE_ID_BYTES,
    MAX_SUMMARY_BYTES,
    MAX_TOKENS,
    MAX_TURN_ID_BYTES,
    SUMMARY_CHARACTERS,
)

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "AppendResult",
    "Consistency",
    "EncodedMessage",
    "EraseReport",
    "Json",
    "LoadReport",
    "Message",
    "MessageSummary",
    "OptimizeReport",
    "Page",
    "SessionInfo",
    "encode_message",
]

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""A JSON value of plain types."""

T = TypeVar("T")


class Consistency(StrEnum):
    """How fresh a read must be."""

    STRONG = "strong"
    """Everything acknowledged before the call began."""
    EVENTUAL = "eventual"
    """Messages may be missing, or removed ones still shown, for a while."""


class MessageBase:
    """Room for what ``encode_message`` found out about a message that can't change."""

    __slots__ = ("_checked",)
    _checked: tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(MessageBase):
    """One message of a conversation, identified by ``user_id`` and ``id``.

    Make one with ``Message.new``, which chooses the id and validates. The plain constructor does
    not validate; every write does. The ``repr`` shows no content.

    Attributes:
        id: an address: time, role and a hash of the session are in it.
        user_id: the tenant.
        session_id: the conversation within the tenant.
        role: who speaks.
        content: text: what is shown, embedded and counted; may be empty.
        payload: the message in its maker's own form (tool calls, content blocks), key order kept;
            never interpreted.
        name: speaker, agent or tool.
        turn_id: shared by messages that belong together, such as a tool call and its results.
        source_id: the id it had elsewhere.
        summary: a short form of the content.
        tokens: length of the content and payload in tokens of the maker's model.
        metadata: anything else, as a JSON object.
        expires_at: from then on no read shows it; rounded up to whole seconds.
    """

    id: str
    user_id: str
    session_id: str
    role: Role
    content: str = field(repr=False)
    payload: dict[str, Any] | list[Any] | None = field(default=None, repr=False, hash=False)
    name: str | None = field(default=None, repr=False)
    turn_id: str | None = field(default=None, repr=False)
    source_id: str | None = field(default=None, repr=False)
    summary: str | None = field(default=None, repr=False)
    tokens: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)
    expires_at: datetime | None = None

    @classmethod
    def new(
        cls,
        *,
        user_id: str,
        session_id: str,
        role: Role | str,
        content: str,
        created_at: datetime | None = None,
        key: str | None = None,
        seq: int = 0,
        after: str | None = None,
        payload: dict[str, Any] | list[Any] | None = None,
        name: str | None = None,
        turn_id: str | None = None,
        source_id: str | None = None,
        summary: str | None = None,
        tokens: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Self:
        """Return a valid message with a new id.

        Make it once and keep it: appending the same message again stores nothing twice, while a
        second ``new`` makes another message.

        Args:
            user_id: the tenant.
            session_id: the conversation within the tenant.
            role: a ``Role`` or its name.
            content: the text.
            created_at: timezone-aware. Without it the time is now, and each message of this
                process is at least a microsecond later than the one before.
            key: names the message within its session, so that the same key, time and role give
                the same id; needs ``created_at``. Without it the id ends in random bits.
            seq: microseconds to add to ``created_at``, for imports with coarse times.
            after: id of an earlier message; the new one is at least a microsecond later.
            payload: JSON of the message in its maker's own form, such as tool calls.
            name: speaker, agent or tool.
            turn_id: shared by messages that belong together.
            source_id: the id it had elsewhere.
            summary: a short form of the content.
            tokens: its length in tokens of the maker's model.
            metadata: anything else, as a JSON object.
            expires_at: timezone-aware; from then on no read shows it.

        Raises:
            InvalidInputError: an argument breaks the contract.
            LimitExceededError: a size or depth is past its limit.
        """
        check_id_part(user_id, "user_id")
        check_id_part(session_id, "session_id")
        kind = check_role(role)
        check_int(seq, "seq", at_least=0, at_most=MAX_MICROSECONDS)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InvalidInputError("metadata must be a mapping or None")
        if created_at is None:
            if key is not None or seq:
                raise InvalidInputError("key and seq need created_at")
            microseconds = new_microseconds(after)
        else:
            microseconds = check_time(created_at, "created_at") + seq
            if after is not None:
                microseconds = max(microseconds, after_microseconds(after))
            if microseconds > MAX_MICROSECONDS:
                raise InvalidInputError("created_at with seq lies after the year 9999")
        if key is None:
            low_bits = random_bits()
        else:
            check_text(key, "key")
            low_bits = key_bits(user_id, session_id, key)
        expires = None if expires_at is None else ceil_seconds(expires_at, "expires_at")
        message = cls(
            id=compose(microseconds, kind, session_id, low_bits),
            user_id=user_id,
            session_id=session_id,
            role=kind,
            content=content,
            payload=payload,
            name=name,
            turn_id=turn_id,
            source_id=source_id,
            summary=summary,
            tokens=tokens,
            metadata={} if metadata is None else dict(metadata),
            expires_at=None if expires is None else from_seconds(expires),
        )
        _remember(message, _forms_of(message))
        return message

    @property
    def created_at(self) -> datetime:
        """Time of the message in UTC, read off the id."""
        return id_time(self.id)

    @property
    def content_hash(self) -> str:
        """128 bits of SHA-256, in hex, over what makes two messages the same.

        That is session, content, payload as text, name, turn_id, source_id and metadata with its
        keys sorted; not summary, tokens and expires_at.
        """
        checked = _known(self)
        if checked is not None:
            return checked[0]
        _check_identity(self)
        return _forms_of(self)[2]


@dataclass(frozen=True, slots=True)
class EncodedMessage:
    """A checked message with the forms that a store writes, made once by the public method.

    Attributes:
        message: as given; a store that keeps objects must not keep its payload and metadata,
            which the caller may change.
        payload_text: JSON text of the payload, or None.
        metadata_text: JSON text of the metadata, or None when it is empty.
        content_hash: see ``Message.content_hash``.
        expires: seconds since 1970, or None; a default expiry is in it.
        size: bytes of content, payload and metadata.
    """

    message: Message = field(repr=False)
    payload_text: str | None = field(repr=False)
    metadata_text: str | None = field(repr=False)
    content_hash: str
    expires: int | None
    size: int


_Forms: TypeAlias = tuple[str | None, str | None, str, int]


def _encode_body(message: Message) -> tuple[str | None, int]:
    """Return the JSON text of the payload, and the bytes of content and payload."""
    size = check_text(message.content, "content", at_most=MAX_MESSAGE_BYTES)
    if message.payload is None:
        return None, size
    kind: type[Any] = type(message.payload)
    if kind is not dict and kind is not list:
        raise InvalidInputError("payload must be a dict, a list or None")
    text, length = json_text(
        message.payload, "payload", max_depth=MAX_PAYLOAD_DEPTH, max_bytes=MAX_MESSAGE_BYTES
    )
    size += length
    if size > MAX_MESSAGE_BYTES:
        raise LimitExceededError(
            f"content and payload have {size:,} bytes, more than {MAX_MESSAGE_BYTES:,}"
        )
    return text, size


_SHORT_TEXTS: Final = (
    ("name", MAX_NAME_BYTES),
    ("turn_id", MAX_TURN_ID_BYTES),
    ("source_id", MAX_SOURCE_ID_BYTES),
    ("summary", MAX_SUMMARY_BYTES),
)


def encode_message(message: Message, *, retention_seconds: int | None = None) -> EncodedMessage:
    """Check a message against the contract and return it with its stored forms.

    Args:
        message: any ``Message``.
        retention_seconds: expiry after its creation, for a message without one.

    Raises:
        InvalidInputError: a field breaks the contract.
        LimitExceededError: a size or depth is past its limit.
    """
    if not isinstance(message, Message):
        raise InvalidInputError(
            f"expected a Message, not {type(message).__name__}"
            + ("; write append(*messages)" if isinstance(message, (list, tuple)) else "")
        )
    checked = _known(message)
    if checked is not None:
        forms: _Forms = (None, None, *checked)
    else:
        check_id_part(message.user_id, "user_id")
        _check_identity(message)
        forms = _forms_of(message)
        _remember(message, forms)
    payload_text, metadata_text, content_hash, size = forms
    expires = _expires(message, retention_seconds)
    return EncodedMessage(message, payload_text, metadata_text, content_hash, expires, size)


def _known(message: Message) -> tuple[str, int] | None:
    """Return hash and size of a message that passed before; None if something may have changed."""
    # That can only be what is in the metadata.
    checked: tuple[str, int] | None = getattr(message, "_checked", None)
    return None if message.metadata else checked


def _remember(message: Message, forms: _Forms) -> None:
    """Keep hash and size of a message, unless something in it may be changed."""
    payload_text, metadata_text, content_hash, size = forms
    if payload_text is None and metadata_text is None and type(message) is Message:
        object.__setattr__(message, "_checked", (content_hash, size))


def _check_identity(message: Message) -> None:
    """Check what makes up the id; not the user, whose name a wrapper may have made longer."""
    check_message_id(message.id)
    check_id_part(message.session_id, "session_id")
    check_agreement(message.id, message.session_id, message.role)


def _forms_of(message: Message) -> _Forms:
    """Check the rest; return payload and metadata as texts, the content hash, and the size."""
    payload_text, size = _encode_body(message)
    for name, at_most in _SHORT_TEXTS:
        text = getattr(message, name)
        if text is not None:
            check_text(text, name, at_most=at_most)
    if message.tokens is not None:
        check_int(message.tokens, "tokens", at_least=0, at_most=MAX_TOKENS)
    metadata_text: str | None = None
    if type(message.metadata) is not dict:
        raise InvalidInputError("metadata must be a dict")
    if message.metadata:
        metadata_text, length = json_text(
            message.metadata,
            "metadata",
            max_depth=MAX_METADATA_DEPTH,
            max_bytes=MAX_METADATA_BYTES,
        )
        size += length
    return payload_text, metadata_text, _content_hash(message, payload_text), size


def _expires(message: Message, retention_seconds: int | None) -> int | None:
    if message.expires_at is not None:
        return ceil_seconds(message.expires_at, "expires_at")
    return default_expiry(message.id, retention_seconds)


def default_expiry(message_id: str, retention_seconds: int | None) -> int | None:
    """Return when a message without an expiry of its own expires, seconds since 1970."""
    if retention_seconds is None:
        return None
    created_seconds = -(-id_microseconds(message_id) // 1_000_000)
    return min(created_seconds + retention_seconds, MAX_MICROSECONDS // 1_000_000)


def check_agreement(message_id: str, session_id: str, role: object) -> None:
    """Refuse a role or session that a checked id contradicts."""
    if check_role(role) is not id_role(message_id):
        raise InvalidInputError(f"role does not agree with the id {message_id}")
    if session_hash(session_id) != id_session_hash(message_id):
        raise InvalidInputError(f"session_id does not agree with the id {message_id}")


def _content_hash(message: Message, payload_text: str | None) -> str:
    pieces: list[bytes] = []
    for part in (
        message.session_id,
        message.content,
        payload_text,
        message.name,
        message.turn_id,
        message.source_id,
        sorted_json(message.metadata) if message.metadata else "{}",
    ):
        if part is None:  # has its own length, so that it differs from the empty text
            pieces.append(_NO_TEXT)
        else:
            data = part.encode()
            pieces += ((len(data) + 1).to_bytes(4, "big"), data)
    return hashlib.sha256(b"".join(pieces)).hexdigest()[:32]


_NO_TEXT: Final = bytes(4)


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """A message in short, as listed by ``summaries``."""

    id: str
    user_id: str
    session_id: str
    role: Role
    summary: str = field(repr=False)
    """As given, or else the first 200 characters of the content."""
    tokens: int | None

    @classmethod
    def of(cls, message: Message) -> Self:
        """Return the short form of a message."""
        summary = message.summary
        if summary is None:
            summary = message.content[:SUMMARY_CHARACTERS]
        return cls(
            message.id,
            message.user_id,
            message.session_id,
            message.role,
            summary,
            message.tokens,
        )

    @property
    def created_at(self) -> datetime:
        """Time of the message in UTC, read off the id."""
        return id_time(self.id)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session of a user."""

    session_id: str
    last_active: datetime
    """Time of its newest message, exact to ``capabilities.activity_precision``."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; iterating, ``len`` and ``page[0]`` go over its items."""

    items: tuple[T, ...]
    cursor: str | None = None
    """Give it to the same call for the next page; None at the end."""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> T:
        return self.items[place]


@dataclass(frozen=True, slots=True)
class AppendResult:
    """Ids of one ``append``, each in the order given."""

    stored: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    """Already there with equal content; left as they were."""


@dataclass(frozen=True, slots=True)
class EraseReport:
    """What ``erase`` removed, and what it could not."""

    messages: int = 0
    vectors: int = 0
    cached: int = 0
    remaining: int = 0
    """Written by others while it ran, and still there."""
    out_of_reach: tuple[str, ...] = ()
    """What may still hold the user's data, one sentence each: backups, streams, open files."""

    def __add__(self, other: EraseReport) -> EraseReport:
        return EraseReport(
            self.messages + other.messages,
            self.vectors + other.vectors,
            self.cached + other.cached,
            self.remaining + other.remaining,
            tuple(dict.fromkeys(self.out_of_reach + other.out_of_reach)),
        )


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Counts of one ``bulk_load``."""

    written: int = 0
    failed: int = 0
    """Not written, or not known to be; repeating the load completes it."""


@dataclass(frozen=True, slots=True)
class OptimizeReport:
    """What ``optimize`` did."""

    removed: int = 0
    """Leftovers removed: expired rows, orphaned parts, ghost sessions."""
    reclaimed_bytes: int = 0
    """Space given back to the file system."""
    notes: tuple[str, ...] = ()
    """What is left to do and why, one sentence each."""
