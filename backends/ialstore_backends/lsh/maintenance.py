"""What ``optimize`` does: removes expired rows, and gives rows the codes of their vectors."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.cost import Units, write_units
from ialstore.model import OptimizeReport
from ialstore_backends.dynamodb.rows import is_live
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import ConditionFailedError
from ialstore_backends.lsh.hyperplanes import codes
from ialstore_backends.lsh.rows import records_of
from ialstore_backends.lsh.table import key_of

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.reading import EmbeddingReader
    from ialstore_backends.lsh.table import EmbeddingTable

__all__ = ["Maintenance", "Sweep"]

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


class Maintenance(Sweep):
    """Gives live rows the codes they should have, too."""

    def _mend(self, op: Operation, rows: Sequence[Item]) -> int:
        """Write the codes that rows should have; return how many."""
        records = records_of(rows, self._table.spec)
        if not records:
            return 0
        wanted = codes(np.array([record.vector for record in records]))
        calls = [
            partial(self._mend_one, op, row, code)
            for row, code in zip(rows, wanted, strict=True)
            if row.get("similarity_hash", {}).get("S") != code
        ]
        return sum(self._table.side_by_side.run(calls))

    def _mend_one(self, op: Operation, row: Item, code: str) -> bool:
        """Return whether a row has the code of its vector now; one that was replaced is left."""
        params = {
            "TableName": self._table.name,
            "Key": key_of(row),
            "UpdateExpression": "SET similarity_hash = :h",
            "ConditionExpression": "vector_compressed = :v",
            "ExpressionAttributeValues": {
                ":h": {"S": code},
                ":v": {"B": base64.b64decode(row["vector_compressed"]["B"])},
            },
        }
        op.renew()
        try:
            self._table.client.call(op, "UpdateItem", params)
        except ConditionFailedError:
            op.add(Units(write=write_units(item_bytes(row, is_wire=True))))
            return False
        return True
