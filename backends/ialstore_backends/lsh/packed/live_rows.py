"""The rows of one user as maintenance reads them: all that live, and what is expired removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.lsh.packed.codes import directions
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.row_writing import Written
from ialstore_backends.lsh.packed.rows import (
    generation_of,
    is_live,
    key_of_row,
    known_entries,
    packed_records,
)

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import Entries, Floats
    from ialstore_backends.lsh.packed.reading import PackedReader
    from ialstore_backends.lsh.packed.table import PackedTable
    from ialstore_backends.lsh.packed.tail_writing import TailWriter
    from ialstore_backends.lsh.packed.writing import PackedWriter

__all__ = ["Done", "LiveRows"]

_PAGE: Final = 500


@dataclass(slots=True)
class Done:
    """What was done so far."""

    progress: Progress
    rows: int = 0
    removed: int = 0
    kept: int = 0
    kept_bytes: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a row that was kept, on the mean."""
        return -(-self.kept_bytes // max(self.kept, 1))

    def add(self, rows: int, removed: int, kept: Sequence[Item]) -> None:
        """Count what a page held, and tell of it."""
        self.rows += rows
        self.removed += removed
        self.kept += len(kept)
        self.kept_bytes += sum(item_bytes(row, is_wire=True) for row in kept)
        self.progress(self.rows, None)


class LiveRows:
    """Reads rows for codes to be made of them; expired ones and idle counters are removed."""

    def __init__(
        self, table: PackedTable, tail: TailWriter, reader: PackedReader, writer: PackedWriter
    ) -> None:
        self._table = table
        self._tail = tail
        self._layout = tail.layout
        self._reader = reader
        self._writer = writer
        self._rotation = rotation(table.spec.dimension)

    def all(self, op: Operation, user_id: str, done: Done) -> list[Written]:
        """Return all live vectors; what is expired is removed."""
        return [one for page in self.pages(op, user_id, done) for one in self.written(page)]

    def pages(self, op: Operation, user_id: str, done: Done) -> Iterator[list[Item]]:
        """Yield the rows that live; remove expired vectors, and counters that nobody needs."""
        for partition in self._table.row_keys.all(user_id):
            rows = self._reader.rows_of_chunk(op, partition)
            while batch := list(islice(rows, _PAGE)):
                expired = [row for row in batch if not is_live(row, op.now)]
                vectors = [row for row in expired if "metadata" in row]
                removed = self._writer.remove_rows(op, user_id, vectors, only_expired=True)
                self._table.access.delete_each(
                    op,
                    [
                        partial(self._drop_counter, op, row)
                        for row in expired
                        if "metadata" not in row
                    ],
                )
                kept = [row for row in batch if "metadata" in row and is_live(row, op.now)]
                done.add(len(batch), removed, kept)
                op.renew()
                yield kept

    def with_keys(self, op: Operation, user_id: str, keys: Sequence[int]) -> list[Written]:
        """Return the vectors that have these keys now, read strongly."""
        wanted = self._table.row_keys.rows(user_id, keys)
        op.renew()
        return self.written(self._table.access.items(op, wanted, strong=True))

    def written(self, rows: Sequence[Item]) -> list[Written]:
        """Return the vectors of rows with their keys and generations; counters are left out."""
        there = [row for row in rows if "metadata" in row]
        return [
            Written(record, key_of_row(row), generation_of(row))
            for record, row in zip(packed_records(there, self._table.spec), there, strict=True)
        ]

    def turned(self, written: Sequence[Written]) -> Floats:
        """Return their directions, rotated; shape (n, dimension)."""
        vectors = np.array([one.record.vector for one in written], np.float32)
        return self._rotation.apply(directions(vectors, self._table.spec.metric))

    def known(self, written: Sequence[Written]) -> Entries:
        """Return their entries, all but the codes."""
        return known_entries(
            self._layout, [(one.record, one.key, one.generation) for one in written]
        )

    def _drop_counter(self, op: Operation, row: Item) -> bool:
        op.renew()
        condition = "expires_at <= :now AND attribute_not_exists(vector_compressed)"
        key = {name: row[name] for name in ("user_chunk", "embedding_id")}
        now = {":now": {"N": str(op.now)}}
        delete = partial(self._table.access.delete, op, key, condition, now)
        return self._tail.beside_transactions(op, delete) is not None
