"""What ``optimize`` does to every table of vectors: removes expired rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from ialstore.model import OptimizeReport
from ialstore_backends.dynamodb.rows import is_live
from ialstore_backends.dynamodb_embeddings.table import key_of

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb_embeddings.reading import EmbeddingReader
    from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable

__all__ = ["Sweep"]

_PAGE: Final = 1000


class Sweep:
    """Removes the expired rows of one user; resumable, and safe beside readers and writers."""

    def __init__(self, table: EmbeddingTable, reader: EmbeddingReader) -> None:
        self._table = table
        self._reader = reader

    def run(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        """Do what there is to do; see ``VectorIndex._optimize``."""
        removed = mended = done = 0
        for partition in self._table.chunks.all(user_id):
            op.renew()
            rows = self._reader.rows_of_chunk(op, partition, whole=True)
            while batch := list(islice(rows, _PAGE)):
                expired = [row for row in batch if not is_live(row, op.now)]
                removed += self._remove(op, expired)
                mended += self._mend(op, [row for row in batch if is_live(row, op.now)])
                done += len(batch)
                progress(done, None)
                op.renew()
        op.note("mended", mended)
        return OptimizeReport(removed=removed)

    def _remove(self, op: Operation, expired: Sequence[Item]) -> int:
        """Delete rows that are still expired; return how many."""
        now = {":now": {"N": str(op.now)}}
        return self._table.access.delete_each(
            op,
            [partial(self._remove_one, op, key_of(row), now) for row in expired],
        )

    def _remove_one(self, op: Operation, key: Item, now: Item) -> bool:
        op.renew()
        return self._table.access.delete(op, key, "expires_at <= :now", now) is not None

    def _mend(self, op: Operation, rows: Sequence[Item]) -> int:
        """Mend live rows; return how many. Nothing here."""
        del op, rows
        return 0
