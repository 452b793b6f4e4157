"""Writing vectors: puts, alone or in batches, and deletes that know what they removed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ialstore.errors import IalStoreError, Outcome, PartialWriteError
from ialstore_backends.dynamodb.access import UnwrittenError, put_request
from ialstore_backends.dynamodb.rows import is_live
from ialstore_backends.dynamodb_embeddings.table import key_of

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb_embeddings.reading import EmbeddingReader
    from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable

__all__ = ["EmbeddingWriter"]

_PAGE: Final = 1000


class EmbeddingWriter:
    """Writes the rows of a table; safe from many threads."""

    def __init__(self, table: EmbeddingTable, reader: EmbeddingReader) -> None:
        self._table = table
        self._reader = reader

    def put(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        """Store pairs of user and record with different keys, replacing those that are there.

        Raises:
            PartialWriteError: some of several may not be stored.
        """
        table = self._table
        items = table.rows.items(records)
        if len(items) == 1:
            table.client.call(op, "PutItem", {"TableName": table.name, "Item": items[0]})
            return
        try:
            table.access.batch(op, [put_request(item) for item in items])
        except UnwrittenError as error:
            raise _partial(items, error) from error.cause

    def delete(self, op: Operation, keys: Sequence[Item]) -> int:
        """Delete rows by key; return how many live ones went by it."""
        return self._table.access.delete_each(
            op, [partial(self._delete_one, op, key) for key in keys]
        )

    def _delete_one(self, op: Operation, key: Item) -> bool:
        op.renew()
        old = self._table.access.delete(op, key)
        return old is not None and is_live(old, op.now)

    def remove(self, op: Operation, user_id: str, session_id: str | None) -> int:
        """Delete the vectors of a session or user, expired ones too; return how many lived."""
        removed = 0
        for partition in self._table.chunks.all(user_id):
            op.renew()
            rows = (
                row
                for row in self._reader.rows_of_chunk(op, partition, whole=False)
                if session_id is None or self._table.rows.session_of(row) == session_id
            )
            while batch := list(islice(rows, _PAGE)):
                removed += self.delete(op, [key_of(row) for row in batch])
                op.is_partly_applied = True
                op.renew()
        return removed


def _partial(items: Sequence[Item], error: UnwrittenError) -> PartialWriteError:
    """Return the error that says which of some rows were stored."""
    lost = {_key(one["PutRequest"]["Item"]) for one in error.requests}
    missing = [_id(item) for item in items if _key(item) in lost]
    stored = [_id(item) for item in items if _key(item) not in lost]
    cause: IalStoreError = error.cause
    is_open = cause.outcome is Outcome.UNKNOWN
    return PartialWriteError(
        f"{len(stored)} of {len(items)} vectors were stored; repeating the call is safe",
        # Two users may share an id: rather sent again than believed to be stored.
        stored=[one for one in stored if one not in missing],
        not_stored=() if is_open else missing,
        unknown=missing if is_open else (),
        retryable=cause.retryable,
    )


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["user_chunk"]["S"], item["embedding_id"]["S"]


def _id(item: Item) -> str:
    one: str = item["embedding_id"]["S"]
    return one
