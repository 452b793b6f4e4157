"""The table Conversation Embeddings as everything that reads or writes it needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zlib import crc32

from ialstore_backends.dynamodb.keys import escaped, unescaped

if TYPE_CHECKING:
    from ialstore.vector_model import IndexSpec
    from ialstore_backends.dynamodb.access import RowAccess
    from ialstore_backends.dynamodb.client import DynamoClient
    from ialstore_backends.dynamodb.parallel import SideBySide
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.codec import VectorCodec
    from ialstore_backends.lsh.packed.rows import RowKeys
    from ialstore_backends.lsh.schema import EmbeddingRow

__all__ = ["SIMILARITY_INDEX", "TABLE", "Chunks", "EmbeddingTable", "key_of", "user_of"]

TABLE: Final = "conversation-embeddings"
SIMILARITY_INDEX: Final = "SimilarityIndex"


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


@dataclass(frozen=True, slots=True)
class EmbeddingTable:
    """One table, as an index uses it."""

    model: type[EmbeddingRow]
    client: DynamoClient
    access: RowAccess
    side_by_side: SideBySide
    chunks: Chunks
    row_keys: RowKeys
    codec: VectorCodec
    spec: IndexSpec

    @property
    def name(self) -> str:
        """Its whole name."""
        name: str = self.model.Meta.table_name
        return name


def key_of(row: Item) -> Item:
    """Return the key of a row."""
    return {name: row[name] for name in ("user_chunk", "embedding_id")}


def user_of(partition: str) -> str:
    """Return the user of a partition key; an empty one for that of the layout."""
    return unescaped(partition.partition("#")[0])
