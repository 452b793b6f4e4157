"""Reading the layout ``packed``: codes, incrementally, and rows."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any, Final

from ialstore.errors import UnavailableError
from ialstore.ids import LOWEST_ID
from ialstore.listing import Rows
from ialstore_backends.dynamodb_embeddings.table import user_of
from ialstore_backends.lsh.packed.cache import Snapshot
from ialstore_backends.lsh.packed.entries import key_of
from ialstore_backends.lsh.packed.rebuilding import tail_limit
from ialstore_backends.lsh.packed.rows import (
    KEYS_ONLY,
    hour_key,
    id_of,
    is_vector,
    key_of_row,
    packed_records,
)

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.cache import CodeCache
    from ialstore_backends.lsh.packed.table import PackedTable
    from ialstore_backends.lsh.packed.tail_reading import TailReader

__all__ = ["PackedReader"]

_TRIES: Final = 6
_LONG_TAIL: Final = 2  # times the limit: then the cells of another epoch are worth their reads
_HOUR_DIGITS: Final = 6
_LAST: Final = "~"


class PackedReader:
    """Reads codes and rows; safe from many threads."""

    def __init__(self, table: PackedTable, tail: TailReader, cache: CodeCache) -> None:
        self._table = table
        self._tail = tail
        self.cache = cache

    # -- codes ----------------------------------------------------------------------------------

    def held(self, user_id: str) -> Snapshot | None:
        """Return what is held of a user who has codes."""
        held = self.cache.get(user_id)
        return None if held is None or held.opened is None else held

    def snapshot(
        self,
        op: Operation,
        user_id: str,
        held: Snapshot | None,
        *,
        strong: bool,
        cells: Sequence[int],
        keys: Sequence[int],
    ) -> tuple[Snapshot, list[EncodedRecord]]:
        """Return head and tail as they are now, with the cells that are held already.

        Args:
            op: the call.
            user_id: the tenant.
            held: what is held of the user.
            strong: whether to read strongly.
            cells: of what is held, to be read beside; they are in the snapshot unless a rebuild
                has replaced them.
            keys: of records to be read beside, when there are no cells to read.

        Returns:
            The snapshot, and the records.
        """
        if held is None:
            return self.fresh(op, user_id, strong=strong), []
        behind = None if held.opened is None else held.opened.number
        calls: list[Callable[[], Any]] = [
            partial(self._tail.read, op, user_id, strong=strong, behind=behind)
        ]
        if cells:
            calls.append(partial(self.with_cells, op, user_id, held, cells))
        elif keys:
            calls.append(partial(self.by_keys, op, user_id, keys, strong=strong))
        later, *beside = self._table.side_by_side.reads(calls)
        grown = beside[0] if cells else held
        found = None if grown is None else grown.with_tail(later)
        if found is None or self._is_long(found):
            found = self.fresh(op, user_id, strong=strong)
        return found, beside[0] if beside and not cells else []

    def fresh(self, op: Operation, user_id: str, *, strong: bool) -> Snapshot:
        """Return head and tail as they are now.

        Raises:
            UnavailableError: they were being rewritten all the time.
        """
        pause = self._table.client.pauses(op)
        for turn in range(_TRIES):
            stored = self._tail.read(op, user_id, strong=strong or turn > 0)
            if stored.is_whole:
                return Snapshot.of(self._tail.layout, stored)
            op.count("reread")
            if turn:
                pause()
        raise UnavailableError("the codes of the user are being rewritten", retryable=True)

    def _is_long(self, snapshot: Snapshot) -> bool:
        """Return whether a rebuild has left a snapshot far behind."""
        if snapshot.opened is None or snapshot.opened.due == snapshot.due:
            return False
        count = 0 if snapshot.head is None else snapshot.head.facts.count
        return len(snapshot.tail) > _LONG_TAIL * tail_limit(self._tail.layout, count)

    def with_cells(
        self, op: Operation, user_id: str, snapshot: Snapshot, numbers: Sequence[int]
    ) -> Snapshot | None:
        """Return a snapshot that holds these cells, too; None if they are there no longer."""
        if snapshot.stored is None or not numbers:
            return snapshot  # pragma: no cover - depends on how vectors fall into cells
        found = self._tail.cells(op, user_id, snapshot.stored, numbers)
        if len(found) < len(numbers):
            return None
        return snapshot.with_cells(found)

    # -- rows -----------------------------------------------------------------------------------

    def by_keys(
        self, op: Operation, user_id: str, keys: Sequence[int], *, strong: bool
    ) -> list[EncodedRecord]:
        """Return the records under keys of codes, expired ones too."""
        wanted = self._table.row_keys.rows(user_id, keys)
        rows = self._table.access.items(op, wanted, strong=strong)
        return packed_records(rows, self._table.spec)

    def by_ids(
        self, op: Operation, user_id: str, ids: Sequence[str], *, strong: bool
    ) -> list[EncodedRecord]:
        """Return the records of ids in no order, expired ones too; unknown ids are left out."""
        found: list[Item] = []
        wanted: Sequence[str] = ids
        salt = 0
        while wanted:
            keys: dict[str, int] = {one: key_of(one, salt) for one in wanted}
            asked = self._table.row_keys.rows(user_id, set(keys.values()))
            rows = self._table.access.items(op, asked, strong=strong)
            there = {key_of_row(row): row for row in rows}
            found += [row for row in rows if keys.get(id_of(row)) == key_of_row(row)]
            # Another id has the key: this one may have the next.
            wanted = [one for one, key in keys.items() if key in there and id_of(there[key]) != one]
            salt += 1
        return packed_records(found, self._table.spec)

    def all(
        self, op: Operation, user_id: str, lower: str, upper: str, *, strong: bool
    ) -> list[Item]:
        """Return the rows of the hours from that of ``lower`` to that of ``upper``."""
        found = self._table.side_by_side.run(
            [
                partial(_read, self._rows(op, one, hour_key(lower), upper, strong=strong))
                for one in self._table.row_keys.all(user_id)
            ]
        )
        return list(chain.from_iterable(found))

    def live_ids(
        self, op: Operation, user_id: str, limit: int, after: str | None, *, strong: bool
    ) -> Rows[str]:
        """Return ids of live vectors in ascending order, behind ``after``."""
        lower = LOWEST_ID if after is None else after
        found = list(islice(self._ids(op, user_id, lower, strong=strong, after=after), limit + 1))
        return Rows(found[:limit], more=len(found) > limit)

    def _ids(
        self, op: Operation, user_id: str, lower: str, *, strong: bool, after: str | None
    ) -> Iterator[str]:
        """Yield ids hour by hour: within an hour, rows lie in another order."""
        streams = self._begun(op, user_id, lower, strong=strong)
        rows = heapq.merge(*streams, key=_sort_key)
        for _, hour in groupby(rows, key=lambda row: _sort_key(row)[:_HOUR_DIGITS]):
            ids = sorted(id_of(row) for row in hour if is_vector(row, op.now))
            yield from (one for one in ids if after is None or one > after)

    def _begun(
        self, op: Operation, user_id: str, lower: str, *, strong: bool
    ) -> list[Iterator[Item]]:
        """Return the keys of rows of each partition; their first pages are read side by side."""

        def begun(partition: str) -> Iterator[Item]:
            rows = self._rows(op, partition, hour_key(lower), None, strong=strong, **KEYS_ONLY)
            return chain(list(islice(rows, 1)), rows)

        return self._table.side_by_side.run(
            [partial(begun, one) for one in self._table.row_keys.all(user_id)]
        )

    def count(self, op: Operation, user_id: str, *, strong: bool) -> int:
        """Return the number of live vectors."""
        streams = self._begun(op, user_id, LOWEST_ID, strong=strong)
        return sum(self._table.side_by_side.run([partial(_live, one, op.now) for one in streams]))

    def rows_of_chunk(self, op: Operation, partition: str) -> Iterator[Item]:
        """Yield the whole rows of a partition, read strongly."""
        return self._rows(op, partition, "0", None, strong=True)

    def keys_of_chunk(self, op: Operation, partition: str) -> Iterator[Item]:
        """Yield the rows of a partition without vectors and texts, read strongly."""
        return self._rows(op, partition, "0", None, strong=True, **KEYS_ONLY)

    def _rows(
        self,
        op: Operation,
        partition: str,
        first: str,
        upper: str | None,
        *,
        strong: bool,
        **more: Any,
    ) -> Iterator[Item]:
        last = _LAST if upper is None else f"{hour_key(upper)}{_LAST}"
        params = {
            "TableName": self._table.name,
            "KeyConditionExpression": "user_chunk = :p AND embedding_id BETWEEN :a AND :b",
            "ExpressionAttributeValues": {
                ":p": {"S": partition},
                ":a": {"S": first},
                ":b": {"S": last},
            },
            "ConsistentRead": strong,
            **more,
        }
        for row in self._table.client.rows(op, params, place=partition.partition("#")[2]):
            op.renew()  # for the next page
            yield row

    def users(self, op: Operation) -> set[str]:
        """Return all users with rows of vectors: reads the whole table."""
        found: set[str] = set()
        params: dict[str, Any] = {
            "TableName": self._table.name,
            "ProjectionExpression": "user_chunk, #m",
            "ExpressionAttributeNames": {"#m": "metadata"},
            "ConsistentRead": True,
        }
        while True:
            op.renew()
            answer = self._table.client.call(op, "Scan", params)
            found.update(
                user_of(row["user_chunk"]["S"]) for row in answer["Items"] if "metadata" in row
            )
            if "LastEvaluatedKey" not in answer:
                return found - {""}
            # Of a table of more than 1 MiB.
            params["ExclusiveStartKey"] = answer["LastEvaluatedKey"]  # pragma: no cover - as said


def _sort_key(row: Item) -> str:
    key: str = row["embedding_id"]["S"]
    return key


def _read(rows: Iterator[Item]) -> list[Item]:
    return list(rows)


def _live(rows: Iterable[Item], now: int) -> int:
    return sum(is_vector(row, now) for row in rows)
