"""Messages as items of the table, and back.

Written through the PynamoDB model; read below it, straight from the JSON of the wire.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ialstore._text import check_text
from ialstore.decoding import DAMAGE, decode_message, shown_id, stored_role
from ialstore.errors import CorruptError
from ialstore.limits import MAX_MESSAGE_BYTES, SUMMARY_CHARACTERS
from ialstore.listing import text_bytes
from ialstore.model import EncodedMessage, Message, MessageSummary
from ialstore_backends.dynamodb import keys
from ialstore_backends.dynamodb.table import from_base64

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.keys import Layout
    from ialstore_backends.dynamodb.schema import ConversationRow
    from ialstore_backends.dynamodb.table import Item

__all__ = ["Draft", "draft_row", "expiry_of", "is_live", "message_of", "row_bytes", "summary_of"]

PART_BYTES: Final = 350 * 1024
"""Of a content that is cut; an item takes 400 KB with its other attributes and names."""
_COMPRESSED_FROM: Final = 4096
"""Bytes of content and payload from which compression is tried."""
_INLINE_BYTES: Final = 256 * 1024
_LENGTH: Final = 4
_SEPARATOR: Final = "#"


class Draft:
    """A message as it is to be written.

    Attributes:
        entry: the message.
        item: its row, as botocore takes it: binary values are bytes.
        parts: rows to be written before it.
    """

    __slots__ = ("entry", "item", "parts")

    def __init__(self, entry: EncodedMessage, item: Item, parts: Sequence[Item]) -> None:
        self.entry = entry
        self.item = item
        self.parts = parts

    @property
    def key(self) -> Item:
        """The key of its row."""
        return {name: self.item[name] for name in ("user_date", "timestamp_type")}


def draft_row(
    entry: EncodedMessage,
    model: type[ConversationRow],
    layout: Layout,
    attempt: bytes,
    now: int,
) -> Draft:
    """Return the rows of a message.

    Args:
        entry: the message.
        model: of the table; says which indexes there are.
        layout: of the table.
        attempt: random bytes that tell this write from others of the same message.
        now: seconds since 1970, noted in its parts.
    """
    message = entry.message
    partition = layout.partition(message.user_id, message.id)
    fields: dict[str, Any] = {
        "user_date": partition,
        "timestamp_type": keys.sort_key(message.id),
        "user_id": message.user_id,
        "timestamp": keys.index_key(message.id),
        "session_id": keys.session_key(message.user_id, message.session_id),
        "role": str(message.role),
        "content_hash": entry.content_hash,
        "name": message.name,
        "turn_id": message.turn_id,
        "source_id": message.source_id,
        "metadata": entry.metadata_text,
        "tokens": message.tokens,
        "expires_at": entry.expires,
        "attempt": attempt,
    }
    if message.summary is None:
        fields["content_summary"] = message.content[:SUMMARY_CHARACTERS]
    else:
        fields["content_summary"] = message.summary
        fields["has_summary"] = True
    parts: list[Item] = []
    body = _compressed(message.content, entry.payload_text)
    if body is None:
        fields["payload"] = entry.payload_text
        if message.summary is not None or len(message.content) > SUMMARY_CHARACTERS:
            fields["content"] = message.content
    elif len(body) <= _INLINE_BYTES:
        fields |= {"body": body, "size": entry.size}
    else:
        pieces = [body[at : at + PART_BYTES] for at in range(0, len(body), PART_BYTES)]
        fields |= {"parts": len(pieces), "size": entry.size}
        parts = [
            model(
                user_date=partition,
                timestamp_type=layout.part(message.id, attempt.hex(), number),
                body=piece,
                written=now,
                expires_at=entry.expires,
            ).serialize()
            for number, piece in enumerate(pieces)
        ]
    return Draft(entry, model(**fields).serialize(), parts)


def message_of(user_id: str, item: Item, body: bytes | None = None) -> Message:
    """Return the message of a row; ``body`` is what its parts hold together, if it has any.

    Raises:
        CorruptError: it is not what was written.
    """
    message_id = ""
    try:
        message_id = keys.id_of(item["timestamp_type"]["S"])
        if body is None and "body" in item:
            body = from_base64(item["body"]["B"])
        short = item["content_summary"]["S"]
        if body is not None:
            content, payload = _decompressed(body)
        else:
            content = item["content"]["S"] if "content" in item else short
            payload = item["payload"]["S"] if "payload" in item else None
        return decode_message(
            id=message_id,
            user_id=user_id,
            session_id=session_of(user_id, item["session_id"]["S"]),
            content=content,
            payload_text=payload,
            name=_text(item, "name"),
            turn_id=_text(item, "turn_id"),
            source_id=_text(item, "source_id"),
            summary=short if "has_summary" in item else None,
            tokens=int(item["tokens"]["N"]) if "tokens" in item else None,
            metadata_text=_text(item, "metadata"),
            expires=expiry_of(item),
        )
    except CorruptError:
        raise
    except (*DAMAGE, zlib.error) as error:
        raise _damaged(message_id) from error


def summary_of(user_id: str, item: Item, session_id: str | None = None) -> MessageSummary:
    """Return the message of a row or an entry of an index, in short.

    Args:
        user_id: whose it is.
        item: the row or entry; that of the index by session does not hold its role.
        session_id: whose messages were asked for, or None.

    Raises:
        CorruptError: it is not what was written.
    """
    message_id = ""
    try:
        message_id = keys.id_of(item["timestamp_type"]["S"])
        if session_id is None:
            session_id = session_of(user_id, item["session_id"]["S"])
        summary = item["content_summary"]["S"]
        check_text(summary, "summary")
        return MessageSummary(
            message_id,
            user_id,
            session_id,
            stored_role(message_id, session_id),
            summary,
            int(item["tokens"]["N"]) if "tokens" in item else None,
        )
    except DAMAGE as error:
        raise _damaged(message_id) from error


def session_of(user_id: str, stored: str) -> str:
    """Return the session of a stored ``session_id``.

    Raises one of ``DAMAGE`` when it is another user's.
    """
    user, separator, session = stored.partition(_SEPARATOR)
    if not separator or user != keys.escaped(user_id):
        raise ValueError("a session of another user")
    return keys.unescaped(session)


def expiry_of(item: Item) -> int | None:
    """Return the second from which on a row counts as absent, or None."""
    return int(item["expires_at"]["N"]) if "expires_at" in item else None


def row_bytes(item: Item) -> int:
    """Return the bytes of content, payload and metadata of a row, parts included."""
    if "size" in item:
        return int(item["size"]["N"])
    # A short content is kept as its own summary.
    names = ("content" if "content" in item else "content_summary", "payload", "metadata")
    return sum(text_bytes(item[name]["S"]) for name in names if name in item)


def is_live(item: Item, now: int) -> bool:
    """Return whether a row has not expired."""
    return "expires_at" not in item or int(item["expires_at"]["N"]) > now


def _text(item: Item, name: str) -> str | None:
    return item[name]["S"] if name in item else None


def _compressed(content: str, payload_text: str | None) -> bytes | None:
    """Return content and payload in one, where they are long enough."""
    text = content.encode()
    rest = b"" if payload_text is None else payload_text.encode()
    if len(text) + len(rest) < _COMPRESSED_FROM:
        return None
    head = len(text).to_bytes(_LENGTH, "big")
    return zlib.compress(head + text + rest)


def _decompressed(body: bytes) -> tuple[str, str | None]:
    reader = zlib.decompressobj()
    data = reader.decompress(body, MAX_MESSAGE_BYTES + _LENGTH + 1)
    if len(data) > MAX_MESSAGE_BYTES + _LENGTH or not reader.eof or reader.unused_data:
        raise ValueError("a body of another length")
    length = int.from_bytes(data[:_LENGTH], "big")
    text, rest = data[_LENGTH:][:length], data[_LENGTH:][length:]
    if len(text) != length:
        raise ValueError("a body that is cut")
    return text.decode(), rest.decode() or None


def _damaged(message_id: str) -> CorruptError:
    return CorruptError(
        f"the stored message {shown_id(message_id)} is damaged; run check, or restore a backup"
    )
