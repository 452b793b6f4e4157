"""A table of vectors as everything that reads or writes it needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

from ialstore_backends.dynamodb.keys import escaped, unescaped

if TYPE_CHECKING:
    from ialstore.vector_model import EncodedRecord, IndexSpec
    from ialstore_backends.dynamodb.access import RowAccess
    from ialstore_backends.dynamodb.client import DynamoClient
    from ialstore_backends.dynamodb.parallel import SideBySide
    from ialstore_backends.dynamodb.table import Item

__all__ = [
    "Chunks",
    "EmbeddingTable",
    "RowFormat",
    "VectorTable",
    "key_of",
    "user_of",
]


@dataclass(frozen=True, slots=True)
class Chunks:
    """The partitions that the vectors of a user are spread over.

    Attributes:
        count: how many.
    """

    count: int

    def all(self, user_id: str) -> list[str]:
        """Return all partition keys of a user."""
        return [f"{escaped(user_id)}#{chunk}" for chunk in range(self.count)]

    def of(self, user_id: str, embedding_id: str) -> str:
        """Return the partition key of a vector; its id alone says which."""
        return f"{escaped(user_id)}#{crc32(embedding_id.encode()) % self.count}"

    def key(self, user_id: str, embedding_id: str) -> Item:
        """Return the key of the row of a vector."""
        return {
            "user_chunk": {"S": self.of(user_id, embedding_id)},
            "embedding_id": {"S": embedding_id},
        }


class RowFormat(Protocol):
    """How vectors stand in the rows of a table; the keys are those of every such table."""

    @property
    def session_attribute(self) -> str:
        """Attribute from which ``session_of`` tells the session."""
        ...

    def items(self, records: Sequence[tuple[str, EncodedRecord]]) -> list[Item]:
        """Return the rows of pairs of user and record, as botocore takes them."""
        ...

    def records(self, items: Sequence[Item]) -> list[EncodedRecord]:
        """Return the records of rows that were read.

        Raises:
            CorruptError: one is not what was written.
        """
        ...

    def session_of(self, item: Item) -> str:
        """Return the session of a row that was read without its vector.

        Raises:
            CorruptError: it is not what was written.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorTable:
    """One table, as an index uses it."""

    name: str
    client: DynamoClient
    access: RowAccess
    side_by_side: SideBySide
    spec: IndexSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingTable(VectorTable):
    """A table each of whose vectors is a row of its own."""

    chunks: Chunks
    rows: RowFormat


def key_of(row: Item) -> Item:
    """Return the key of a row."""
    return {name: row[name] for name in ("user_chunk", "embedding_id")}


def user_of(partition: str) -> str:
    """Return the user of a partition key; an empty one for that of the layout."""
    return unescaped(partition.partition("#")[0])
