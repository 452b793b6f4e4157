"""What ``optimize`` does to the layout ``gsi``: gives rows the codes of their vectors, too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ialstore.cost import Units, write_units
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import ConditionFailedError, from_base64
from ialstore_backends.dynamodb_embeddings.sweep import Sweep
from ialstore_backends.dynamodb_embeddings.table import key_of
from ialstore_backends.lsh.hyperplanes import codes
from ialstore_backends.lsh.rows import records_of

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item

__all__ = ["Maintenance"]


class Maintenance(Sweep):
    """Removes expired rows, and gives live ones the codes they should have."""

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
                ":v": {"B": from_base64(row["vector_compressed"]["B"])},
            },
        }
        op.renew()
        try:
            self._table.client.call(op, "UpdateItem", params)
        except ConditionFailedError:
            op.add(Units(write=write_units(item_bytes(row, is_wire=True))))
            return False
        return True
