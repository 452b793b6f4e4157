"""Reading the codes of users: head, tail, means and cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore.decoding import DAMAGE
from ialstore_backends.dynamodb.table import from_base64
from ialstore_backends.lsh.packed.head import decode_head
from ialstore_backends.lsh.packed.tail_items import (
    CODES,
    HEAD,
    OPEN,
    OpenSegment,
    Stored,
    StoredHead,
    cell_name,
    code_key,
    damaged,
    elements_of,
    fence_of,
    item_key,
    mean_name,
    opened_of,
)

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import EntryFormat, Floats
    from ialstore_backends.lsh.packed.table import PackedTable

__all__ = ["TailReader"]

_READS: Final = 3  # of what may be switched, and its mean deleted, while a query passes


class TailReader:
    """Requests that read the codes of users.

    Args:
        table: of vectors.
        layout: of entries.
    """

    def __init__(self, table: PackedTable, layout: EntryFormat) -> None:
        self._table = table
        self._client = table.client
        self.layout = layout

    def read(
        self, op: Operation, user_id: str, *, strong: bool, behind: int | None = None
    ) -> Stored:
        """Return head and tail; or only the segments from ``behind`` on."""
        first = HEAD if behind is None else f"T{behind:08d}"
        head: StoredHead | None = None
        opened: OpenSegment | None = None
        found: list[tuple[Item, int, int]] = []
        for row in self._rows(op, user_id, first, OPEN, strong=strong):
            name = row["embedding_id"]["S"]
            try:
                if name == HEAD:
                    head = self._head(row)
                elif name == OPEN:
                    opened = opened_of(row)
                else:
                    found.append((row, int(name[1:9]), int(name[9:], 16)))
            except DAMAGE as error:  # pragma: no cover - writers look at these rows before it
                raise damaged() from error
        version = 0 if opened is None else opened.version
        start = 0 if head is None else head.head.facts.segment
        end = 0 if opened is None else opened.number
        segments: dict[int, tuple[bytes, ...]] = {}
        old: list[Item] = []
        for row, number, its_version in found:
            if its_version == version and start <= number < end:
                try:
                    segments[number] = elements_of(row)
                except DAMAGE as error:
                    raise damaged() from error
            elif fence_of(its_version) < fence_of(version) or (
                its_version == version and number < start
            ):
                old.append(item_key(row))
        return Stored(head, segments, tuple(old), opened)

    def opened(self, op: Operation, user_id: str) -> tuple[OpenSegment | None, Floats | None]:
        """Return the open segment, and the mean of its version; None where it is zero."""
        for _ in range(_READS):
            opened, means = self._opened_and_means(op, user_id)
            if opened is None or not opened.has_mean:
                return opened, None
            mean = means.get(mean_name(opened.version))
            if mean is not None and len(mean) == self.layout.dimension:
                return opened, mean
        raise damaged()

    def _opened_and_means(
        self, op: Operation, user_id: str
    ) -> tuple[OpenSegment | None, dict[str, Floats]]:
        opened: OpenSegment | None = None
        means: dict[str, Floats] = {}
        for row in self._rows(op, user_id, OPEN, "V~", strong=True):
            try:
                if row["embedding_id"]["S"] == OPEN:
                    opened = opened_of(row)
                else:
                    means[row["embedding_id"]["S"]] = np.frombuffer(
                        from_base64(row["m"]["B"]), "<f4"
                    )
            except DAMAGE as error:
                raise damaged() from error
        return opened, means

    def cells(
        self, op: Operation, user_id: str, stored: StoredHead, numbers: Sequence[int]
    ) -> dict[int, bytes]:
        """Return the cells of a head that are still there, by number."""
        found = self._cells(op, user_id, stored, numbers, strong=False)
        missing = [number for number in numbers if number not in found]
        if missing:
            found |= self._cells(op, user_id, stored, missing, strong=True)
        return found

    def _cells(
        self,
        op: Operation,
        user_id: str,
        stored: StoredHead,
        numbers: Sequence[int],
        *,
        strong: bool,
    ) -> dict[int, bytes]:
        epoch = stored.head.facts.epoch
        keys = [code_key(user_id, cell_name(epoch, number)) for number in numbers]
        found: dict[int, bytes] = {}
        for row in self._table.access.items(op, keys, strong=strong):
            try:
                if int(row["f"]["N"]) == stored.fence:  # pragma: no branch - else one was switched
                    found[int(row["embedding_id"]["S"][1:])] = from_base64(row["c"]["B"])
            except DAMAGE as error:
                raise damaged() from error
        return found

    def _rows(
        self, op: Operation, user_id: str, first: str, last: str, *, strong: bool, **more: Any
    ) -> Iterator[Item]:
        params = {
            "TableName": self._table.name,
            "KeyConditionExpression": "user_chunk = :p AND embedding_id BETWEEN :a AND :b",
            "ExpressionAttributeValues": {
                ":p": code_key(user_id, "")["user_chunk"],
                ":a": {"S": first},
                ":b": {"S": last},
            },
            "ConsistentRead": strong,
            **more,
        }
        return self._client.rows(op, params, place=CODES)

    def _head(self, row: Item) -> StoredHead:
        flat = from_base64(row["c"]["B"]) if "c" in row else None
        head = decode_head(from_base64(row["h"]["B"]), self.layout)
        return StoredHead(head, int(row["f"]["N"]), flat)
