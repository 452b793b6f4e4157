"""What everything that reads or writes the table needs; imports no driver."""

from __future__ import annotations

from binascii import a2b_base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ialstore.model import Consistency

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.client import DynamoClient
    from ialstore_backends.dynamodb.keys import Layout
    from ialstore_backends.dynamodb.parallel import SideBySide
    from ialstore_backends.dynamodb.schema import ConversationRow

__all__ = [
    "DRIVERS",
    "LAYOUT_PARTITION",
    "SESSION_INDEX",
    "TABLE",
    "USER_TIME_INDEX",
    "ConditionFailedError",
    "ConflictError",
    "Item",
    "Table",
    "from_base64",
    "is_strong",
    "key_of",
]

Item = dict[str, dict[str, Any]]
"""An item as the wire has it: ``{"name": {"S": "text"}}``; binary values are base64 texts."""

DRIVERS: Final = ("botocore", "orjson", "pynamodb", "urllib3")
"""What has to be installed."""

LAYOUT_PARTITION: Final = "#"
"""No user's partition: the id of a user is not empty, and has no ``#`` in a key."""

TABLE: Final = "conversation-history-v2"
USER_TIME_INDEX: Final = "UserTimeIndex"
SESSION_INDEX: Final = "SessionIndex"


class ConditionFailedError(Exception):
    """A conditional write found its condition false.

    Attributes:
        item: what was there, where the service told.
    """

    def __init__(self, item: Item | None) -> None:
        super().__init__("the condition of a write was false")
        self.item = item


class ConflictError(Exception):
    """A write met a transaction on the same item, and was not done."""


def from_base64(text: str) -> bytes:
    """Return the bytes of a binary value that was read, or raise one of ``DAMAGE``."""
    return a2b_base64(text, strict_mode=True)


@dataclass(frozen=True, slots=True)
class Table:
    """One table, as a store uses it."""

    model: type[ConversationRow]
    client: DynamoClient
    layout: Layout
    side_by_side: SideBySide

    @property
    def name(self) -> str:
        """Its whole name."""
        name: str = self.model.Meta.table_name
        return name


def is_strong(op: Operation) -> bool:
    """Return whether a call asks for strong reads."""
    return op.consistency is not Consistency.EVENTUAL


def key_of(row: Item) -> Item:
    """Return the key of a row."""
    return {name: row[name] for name in ("user_date", "timestamp_type")}
