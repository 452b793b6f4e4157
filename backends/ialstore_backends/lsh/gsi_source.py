"""Where a search of the layout ``gsi`` takes rows and entries of the index from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from ialstore_backends.lsh.hyperplanes import hash_range
from ialstore_backends.lsh.table import SIMILARITY_INDEX

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb_embeddings.reading import EmbeddingReader
    from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable
    from ialstore_backends.lsh.hyperplanes import Cells

__all__ = ["GsiSource"]


class GsiSource:
    """A table within one call; see ``Source``.

    Args:
        op: the running call.
        table: of the vectors.
        reader: of its rows.
    """

    def __init__(self, op: Operation, table: EmbeddingTable, reader: EmbeddingReader) -> None:
        self._op = op
        self._table = table
        self._reader = reader

    def rows(self, user_id: str, lower: str, upper: str, *, strong: bool) -> list[Item]:
        """Return the rows of a range of ids."""
        return self._reader.all(self._op, user_id, lower, upper, strong=strong)

    def records(self, user_id: str, ids: Sequence[str]) -> list[EncodedRecord]:
        """Return the records of ids as they are now."""
        return self._reader.records(self._op, user_id, ids, strong=False)

    def entries(self, user_id: str, cells: Cells) -> list[Item]:
        """Return the entries of runs of cells, of all chunks."""
        found = self._table.side_by_side.run(
            [
                partial(self._entries, partition, run)
                for partition in self._table.chunks.all(user_id)
                for run in cells
            ]
        )
        return list(chain.from_iterable(found))

    def _entries(self, partition: str, run: tuple[int, int]) -> list[Item]:
        first, last = hash_range(run)
        params = {
            "TableName": self._table.name,
            "IndexName": SIMILARITY_INDEX,
            "KeyConditionExpression": "user_chunk = :p AND similarity_hash BETWEEN :a AND :b",
            "ExpressionAttributeValues": {
                ":p": {"S": partition},
                ":a": {"S": first},
                ":b": {"S": last},
            },
        }
        return list(self._table.client.rows(self._op, params, place=SIMILARITY_INDEX))
