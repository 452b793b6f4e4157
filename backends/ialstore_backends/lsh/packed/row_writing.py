"""Writing and removing rows of the layout ``packed``: each id has one, whoever else writes.

A row lies under the key of the first salt that no other id has. Those that have the lower ones are
kept, from the transaction on in which it is made: so who finds no row, or one of another id that
may go, knows that there is none of a higher salt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ialstore.cost import Units, write_units
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import ConditionFailedError
from ialstore_backends.lsh.packed.entries import key_of
from ialstore_backends.lsh.packed.rows import (
    ABSENT,
    OWN,
    OWN_KEPT,
    first_generation,
    generation_of,
    id_bytes,
    id_of,
    is_live,
    keep_update,
    strip_update,
    write_update,
)

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.reading import PackedReader
    from ialstore_backends.lsh.packed.table import PackedTable
    from ialstore_backends.lsh.packed.tail_writing import TailWriter

__all__ = ["RowWriter", "Written"]

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A vector whose row is written.

    Attributes:
        record: the vector.
        key: of its code.
        generation: of its row.
    """

    record: EncodedRecord
    key: int
    generation: int


class RowWriter:
    """Writes rows; safe from many threads."""

    def __init__(self, table: PackedTable, tail: TailWriter, reader: PackedReader) -> None:
        self._table = table
        self._tail = tail
        self._reader = reader

    def put(self, op: Operation, user_id: str, record: EncodedRecord, blob: bytes) -> Written:
        """Store the row of a record, replacing one of its id."""
        salt = 0
        others: dict[int, Item] = {}  # rows of other ids, by the keys of lower salts
        is_kept = False
        while True:
            key = key_of(record.id, salt)
            own = OWN_KEPT if is_kept else OWN
            condition = own if others or is_kept else f"{ABSENT} OR {own}"
            op.renew()
            update = write_update(record, blob, op.now, condition)
            try:
                answer = self._update_row(op, user_id, key, update)
            except ConditionFailedError as error:
                self._bill(op, error)
                there = error.item
            else:
                return Written(record, key, generation_of(answer["Attributes"]))
            if there is not None and id_of(there) == record.id:
                is_kept = "kept" in there
                continue
            is_kept = False
            if there is not None:
                others[key] = there
                salt += 1
                continue
            if others and key not in others:
                new = write_update(record, blob, op.now, ABSENT)
                if self._displace(op, user_id, key, new, others):
                    return Written(record, key, first_generation(op.now) + 1)
            salt, others = 0, {}  # one of the others was erased meanwhile, or this one is there

    def _displace(
        self, op: Operation, user_id: str, key: int, update: Item, others: dict[int, Item]
    ) -> bool:
        """Make the row of a displaced vector, and keep the others; return whether they are there.

        All at once: no row is displaced by one that may go.
        """
        keys = self._table.row_keys
        row = {name: update[name] for name in update if not name.startswith("Return")}
        parts: list[dict[str, Any]] = [{"Key": keys.row(user_id, key), **row}]
        parts += [
            {"Key": keys.row(user_id, one), **keep_update(id_bytes(id_of(other)))}
            for one, other in others.items()
        ]
        params = {
            "TransactItems": [{"Update": {"TableName": self._table.name, **one}} for one in parts]
        }
        sizes = [item_bytes(update["ExpressionAttributeValues"])]
        sizes += [item_bytes(one, is_wire=True) for one in others.values()]
        units = Units(write=2 * sum(write_units(size) for size in sizes))
        send = partial(self._table.client.call, op, "TransactWriteItems", params)
        op.renew()
        try:
            self._tail.beside_transactions(op, send, units)
        except ConditionFailedError:
            op.add(units)
            return False
        return True

    def _update_row(self, op: Operation, user_id: str, key: int, update: Item) -> dict[str, Any]:
        table = self._table
        row = {"TableName": table.name, "Key": table.row_keys.row(user_id, key), **update}
        send = partial(table.client.call, op, "UpdateItem", row)
        return self._tail.beside_transactions(op, send)

    @staticmethod
    def _bill(op: Operation, error: ConditionFailedError) -> None:
        there = 0 if error.item is None else item_bytes(error.item, is_wire=True)
        op.add(Units(write=write_units(there)))

    def strip(self, op: Operation, user_id: str, message_id: str) -> Item | None:
        """Take a vector out of its row; return that as it was, None if it is not there."""
        salt = 0
        while True:
            old = self.strip_row(op, user_id, message_id, key_of(message_id, salt))
            if old is None or id_of(old) == message_id:
                return old
            salt += 1

    def strip_row(
        self, op: Operation, user_id: str, message_id: str, key: int, *, only_expired: bool = False
    ) -> Item | None:
        """Return the row as it was; one of another id, if that has this key; else None."""
        kept: Item | None = None
        stored_id = id_bytes(message_id)
        while True:
            op.renew()
            update = strip_update(stored_id, op.now, only_expired=only_expired, kept=kept)
            try:
                old: Item = self._update_row(op, user_id, key, update)["Attributes"]
            except ConditionFailedError as error:
                self._bill(op, error)
                item = error.item
            else:
                return {**old, **self._table.row_keys.row(user_id, key)}
            if item is not None and id_of(item) != message_id:
                return item
            if item is None or "metadata" not in item or (only_expired and is_live(item, op.now)):
                return None
            if kept is None and "kept" not in item:
                return None  # it is damaged: nothing else can have failed
            kept = item if "kept" in item else None

    def erase(self, op: Operation, user_id: str) -> tuple[int, bool]:
        """Delete all rows; return how many vectors lived, and whether some rows stay.

        Rows that are kept go last, when all else was deleted and nothing was displaced by them
        meanwhile: else lookups would miss what somebody stored.
        """
        removed = 0
        before: list[Item] = []
        while True:
            kept: list[Item] = []
            for partition in self._table.row_keys.all(user_id):
                rows = self._reader.keys_of_chunk(op, partition)
                while batch := list(islice(rows, _PAGE)):
                    kept += [row for row in batch if "kept" in row]
                    others = [row for row in batch if "kept" not in row]
                    removed += self._erase_each(op, others, kept)
            if kept == before:
                break
            before = kept
        refused: list[Item] = []
        removed += self._erase_each(op, kept, refused)
        return removed, bool(refused)

    def _erase_each(self, op: Operation, rows: Sequence[Item], refused: list[Item]) -> int:
        """Delete rows, unless they displaced something since they were read; add these."""
        removed = self._table.access.delete_each(
            op, [partial(self._erase_one, op, row, refused) for row in rows]
        )
        op.is_partly_applied = op.is_partly_applied or bool(rows)
        op.renew()
        return removed

    def _erase_one(self, op: Operation, row: Item, refused: list[Item]) -> bool:
        op.renew()
        key = {name: row[name] for name in ("user_chunk", "embedding_id")}
        condition = "attribute_exists(user_chunk) AND attribute_not_exists(kept)"
        values: Item | None = None
        if "kept" in row:
            condition, values = "kept = :k", {":k": row["kept"]}
        delete = partial(self._table.access.delete, op, key, condition, values)
        old = self._tail.beside_transactions(op, delete)
        if old is None:
            refused.append(row)
        return old is not None and "metadata" in old and is_live(old, op.now)
