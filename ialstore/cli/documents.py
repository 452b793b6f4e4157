"""What ``--json`` writes for the values of ialstore: stable keys, times as ISO 8601 in UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ialstore.cli.text import iso

if TYPE_CHECKING:
    from ialstore.model import Message

__all__ = ["message_document"]


def message_document(message: Message) -> dict[str, Any]:
    """Return every field of a message, and its time."""
    return {
        "id": message.id,
        "user_id": message.user_id,
        "session_id": message.session_id,
        "role": message.role,
        "created_at": iso(message.created_at),
        "content": message.content,
        "payload": message.payload,
        "name": message.name,
        "turn_id": message.turn_id,
        "source_id": message.source_id,
        "summary": message.summary,
        "tokens": message.tokens,
        "metadata": message.metadata,
        "expires_at": iso(message.expires_at),
    }
