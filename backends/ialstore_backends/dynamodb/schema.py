"""The table Conversation History V2: its PynamoDB model, which is its one definition.

``conversation_model`` makes a model for a prefix and its options, because PynamoDB keeps one
connection and one name per class. Reads do not go through the model: decoding with it takes eight
times as long as ``message_of``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pynamodb.attributes import (
    BinaryAttribute,
    BinarySetAttribute,
    BooleanAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model

from ialstore_backends.dynamodb.table import (
    SESSION_INDEX,
    TABLE,
    USER_TIME_INDEX,
)

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.options import DynamoOptions

__all__ = ["ConversationRow", "conversation_model"]


class ConversationRow(Model):
    """A message, or the head of one whose content lies in parts.

    A content of at most 200 characters without a summary of its own is kept in
    ``content_summary`` alone.
    """

    user_date = UnicodeAttribute(hash_key=True)
    timestamp_type = UnicodeAttribute(range_key=True)
    user_id = UnicodeAttribute(null=True)
    timestamp = UnicodeAttribute(null=True)
    session_id = UnicodeAttribute(null=True)
    role = UnicodeAttribute(null=True)
    content_hash = UnicodeAttribute(null=True)
    content_summary = UnicodeAttribute(null=True)
    has_summary = BooleanAttribute(null=True)
    content = UnicodeAttribute(null=True)
    payload = UnicodeAttribute(null=True)
    name = UnicodeAttribute(null=True)
    turn_id = UnicodeAttribute(null=True)
    source_id = UnicodeAttribute(null=True)
    metadata = UnicodeAttribute(null=True)
    tokens = NumberAttribute(null=True)
    expires_at = NumberAttribute(null=True)
    attempt = BinaryAttribute(null=True, legacy_encoding=False)
    body = BinaryAttribute(null=True, legacy_encoding=False)
    parts = NumberAttribute(null=True)
    size = NumberAttribute(null=True)
    # Of a part:
    written = NumberAttribute(null=True)
    # Of the directory's rows:
    days = BinarySetAttribute(null=True, legacy_encoding=False)
    active = NumberAttribute(null=True)
    removed = NumberAttribute(null=True)
    spread = NumberAttribute(null=True)
    # Of the row that says how the table is laid out:
    format = NumberAttribute(null=True)


class _UserTime(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # PynamoDB's
    class Meta:
        index_name = USER_TIME_INDEX
        projection = IncludeProjection(
            ["content_summary", "tokens", "role", "session_id", "expires_at"]
        )

    user_id = UnicodeAttribute(hash_key=True)
    timestamp = UnicodeAttribute(range_key=True)


class _Session(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # PynamoDB's
    class Meta:
        index_name = SESSION_INDEX
        projection = IncludeProjection(["content_hash", "content_summary", "tokens", "expires_at"])

    session_id = UnicodeAttribute(hash_key=True)
    timestamp = UnicodeAttribute(range_key=True)


def conversation_model(prefix: str, options: DynamoOptions) -> type[ConversationRow]:
    """Return the model of the table of a prefix, with the indexes that the options ask for."""
    members: dict[str, Any] = {"Meta": type("Meta", (), {"table_name": f"{prefix}{TABLE}"})}
    if options.user_time_index:
        members["by_user_time"] = _UserTime()
    if options.session_index:
        members["by_session"] = _Session()
    return type("ConversationRow", (ConversationRow,), members)
