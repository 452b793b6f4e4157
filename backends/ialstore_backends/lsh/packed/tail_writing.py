"""Writing and removing the codes of users: segments, cells, means, and the switch of the head."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ialstore.cost import Units, write_units
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import ConditionFailedError, ConflictError
from ialstore_backends.lsh.packed.rebuilding import FIRST
from ialstore_backends.lsh.packed.tail_items import (
    CODES,
    HEAD,
    OPEN,
    OpenSegment,
    cell_name,
    code_key,
    entries_of_segment,
    fence_of,
    item_key,
    mean_name,
    numeric,
    opened_of,
    segment_name,
    segment_room,
)
from ialstore_backends.lsh.packed.tail_reading import TailReader

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import Floats

__all__ = ["MovedError", "TailWriter", "segments_of"]

T = TypeVar("T")
_RANDOM_BITS: Final = 20
_BATCH: Final = 25
_REFUSED: Final = Units(write=1)


class MovedError(Exception):
    """Codes of another version are wanted than those that were given."""

    def __init__(self, found: OpenSegment | None) -> None:
        super().__init__("the codes have another version")
        self.found = found


class TailWriter(TailReader):
    """Requests that write the codes of users, and those that read them."""

    def add(
        self,
        op: Operation,
        user_id: str,
        version: int | None,
        elements: Sequence[bytes],
        known: OpenSegment | None = None,
    ) -> OpenSegment:
        """Add elements, of no more bytes than there is room, to the open segment.

        Args:
            op: the running call.
            user_id: the tenant.
            version: of the codes; None of a user who has none yet.
            elements: entries and tombstones.
            known: the open segment as it was last.

        Returns:
            The open segment, with them.

        Raises:
            MovedError: the codes have another version.
        """
        size, room = sum(map(len, elements)), segment_room(self.layout, user_id)
        while True:
            full = known
            if known is None or known.version != version or known.size + size <= room:
                full = None
            try:
                if full is not None:
                    return self._roll(op, user_id, full, elements)
                return self._add(op, user_id, version, elements, room - size)
            except ConditionFailedError as error:
                known = None if error.item is None else opened_of(error.item)
                there = 0 if error.item is None else item_bytes(error.item, is_wire=True)
                op.add(Units(write=write_units(there)))
                if full is not None and not _continues(full, known):  # perhaps it was erased
                    self.delete(op, [self.segment_key(user_id, full.number, full.version)])
                if known is None or known.version != version:
                    raise MovedError(known) from error

    def _add(
        self,
        op: Operation,
        user_id: str,
        version: int | None,
        elements: Sequence[bytes],
        room: int,
    ) -> OpenSegment:
        values: dict[str, Any] = {
            ":one": numeric(1),
            ":size": numeric(sum(map(len, elements))),
            ":e": {"BS": list(dict.fromkeys(elements))},
        }
        if version is None:
            condition, sets = "attribute_not_exists(v)", "SET v = :v, f = :v, n = :z, d = :d"
            first = max(op.now, 1) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            due = -(-FIRST // entries_of_segment(self.layout, user_id))
            values |= {":v": numeric(first), ":z": numeric(0), ":d": numeric(due)}
        else:
            condition, sets = "v = :v AND b <= :room", ""
            values |= {":v": numeric(version), ":room": numeric(room)}
        return self._update_open(
            op,
            user_id,
            {
                "UpdateExpression": f"{sets} ADD w :one, b :size, e :e".strip(),
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
            },
        )

    def _roll(
        self, op: Operation, user_id: str, full: OpenSegment, elements: Sequence[bytes]
    ) -> OpenSegment:
        """Close the open segment and begin the next with elements."""
        self.close_segment(op, user_id, full.version, full.number, full.elements)
        return self._update_open(
            op,
            user_id,
            {
                "UpdateExpression": "SET n = :next, w = w + :one, b = :size, e = :e",
                "ConditionExpression": "v = :v AND n = :n AND w = :w",
                "ExpressionAttributeValues": {
                    ":next": numeric(full.number + 1),
                    ":one": numeric(1),
                    ":size": numeric(sum(map(len, elements))),
                    ":e": {"BS": list(dict.fromkeys(elements))},
                    ":v": numeric(full.version),
                    ":n": numeric(full.number),
                    ":w": numeric(full.writes),
                },
            },
        )

    def close_segment(
        self,
        op: Operation,
        user_id: str,
        version: int,
        number: int,
        elements: Sequence[bytes],
    ) -> None:
        """Add elements to a closed segment, which is made where there is none."""
        self._client.call(
            op,
            "UpdateItem",
            {
                "TableName": self._table.name,
                "Key": code_key(user_id, segment_name(number, version)),
                "UpdateExpression": "ADD e :e",
                "ExpressionAttributeValues": {":e": {"BS": list(dict.fromkeys(elements))}},
            },
            place=CODES,
        )

    def claim(self, op: Operation, user_id: str) -> OpenSegment | None:
        """Take the next fence; None where there are no codes."""
        try:
            return self._update_open(
                op,
                user_id,
                {
                    "UpdateExpression": "SET t = :t ADD f :one",
                    "ConditionExpression": "attribute_exists(v)",
                    "ExpressionAttributeValues": {":t": numeric(op.now), ":one": numeric(1)},
                },
            )
        except ConditionFailedError:
            op.add(Units(write=1))
            return None

    def postpone(self, op: Operation, user_id: str, *, fence: int, due: int) -> None:
        """Let a rebuild pay from a later segment on, unless somebody began one meanwhile."""
        params = {
            "UpdateExpression": "SET d = :d REMOVE t",
            "ConditionExpression": "f = :f",
            "ExpressionAttributeValues": {":d": numeric(due), ":f": numeric(fence)},
        }
        try:
            self._update_open(op, user_id, params)
        except ConditionFailedError:
            op.add(Units(write=1))

    def put_mean(self, op: Operation, user_id: str, version: int, mean: Floats) -> None:
        """Write the mean of a version."""
        item = {
            **code_key(user_id, mean_name(version)),
            "m": {"B": mean.astype("<f4").tobytes()},
        }
        self._client.call(op, "PutItem", {"TableName": self._table.name, "Item": item}, place=CODES)

    def put_cell(
        self, op: Operation, user_id: str, epoch: int, number: int, *, fence: int, cell: bytes
    ) -> bool:
        """Write a cell; return whether no higher fence has written it."""
        item = {
            **code_key(user_id, cell_name(epoch, number)),
            "f": numeric(fence),
            "c": {"B": cell},
        }
        params = {
            "TableName": self._table.name,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(f) OR f <= :f",
            "ExpressionAttributeValues": {":f": numeric(fence)},
        }
        op.renew()
        try:
            self._client.call(op, "PutItem", params, place=CODES)
        except ConditionFailedError:
            op.add(Units(write=write_units(item_bytes(item))))
            return False
        return True

    def switch(
        self,
        op: Operation,
        user_id: str,
        head: bytes,
        *,
        flat: bytes | None,
        fence: int,
        due: int,
        first: int,
        anew: tuple[OpenSegment, int, int] | None = None,
    ) -> bool:
        """Switch to another head; return whether the fence was still the last one.

        Args:
            op: the running call.
            user_id: the tenant.
            head: its bytes.
            flat: cells that are kept in it.
            fence: that of the rebuild.
            due: number of the segment from which the next rebuild pays.
            first: number of the first segment that is not in the cells.
            anew: the open segment that is emptied, if nothing was written to it since; the
                version and number under which it begins anew.
        """
        item: Item = {**code_key(user_id, HEAD), "h": {"B": head}, "f": numeric(fence)}
        if flat is not None:
            item["c"] = {"B": flat}
        values = {
            ":f": numeric(fence),
            ":d": numeric(due),
            ":s": numeric(first),
            ":one": numeric(1),
        }
        condition, expression = "f = :f", "SET d = :d, s = :s, w = w + :one REMOVE t"
        if anew is not None:
            seen, version, number = anew
            condition += " AND w = :w"
            expression = "SET d = :d, s = :s, w = w + :one, v = :v, n = :n, b = :z REMOVE t, e"
            values |= {
                ":w": numeric(seen.writes),
                ":v": numeric(version),
                ":n": numeric(number),
                ":z": numeric(0),
            }
        params = {
            "TransactItems": [
                {"Put": {"TableName": self._table.name, "Item": item}},
                {
                    "Update": {
                        "TableName": self._table.name,
                        "Key": code_key(user_id, OPEN),
                        "UpdateExpression": expression,
                        "ConditionExpression": condition,
                        "ExpressionAttributeValues": values,
                    }
                },
            ]
        }
        units = Units(write=2 * (write_units(item_bytes(item)) + 1))
        send = partial(self._client.call, op, "TransactWriteItems", params, place=CODES)
        try:
            self.beside_transactions(op, send, units)
        except ConditionFailedError:
            op.add(units)
            return False
        return True

    def _update_open(self, op: Operation, user_id: str, params: dict[str, Any]) -> OpenSegment:
        op.renew()
        params = {
            "TableName": self._table.name,
            "Key": code_key(user_id, OPEN),
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **params,
        }
        send = partial(self._client.call, op, "UpdateItem", params, place=CODES)
        return opened_of(self.beside_transactions(op, send)["Attributes"])

    def beside_transactions(
        self, op: Operation, send: Callable[[], T], units: Units = _REFUSED
    ) -> T:
        """Return what a request returns; a running transaction on its item is waited for.

        Args:
            op: the running call.
            send: makes the request.
            units: that one takes which is refused.
        """
        pause = self._client.pauses(op)
        while True:
            try:
                return send()
            except ConflictError:
                op.add(units)
                pause()

    # -- removing -------------------------------------------------------------------------------

    def drop_open(self, op: Operation, user_id: str, seen: OpenSegment) -> bool:
        """Delete the open segment; return whether nothing was written to it since."""
        condition = "v = :v AND w = :w AND f = :f"
        values = {
            ":v": numeric(seen.version),
            ":w": numeric(seen.writes),
            ":f": numeric(seen.fence),
        }
        key = code_key(user_id, OPEN)
        delete = partial(self._table.access.delete, op, key, condition, values)
        return self.beside_transactions(op, delete) is not None

    def remove_leftovers(self, op: Operation, user_id: str) -> None:
        """Delete what no open segment has, or one that came later; what is overwritten stays."""
        params = {"ProjectionExpression": "user_chunk, embedding_id, f"}
        rows = list(self._rows(op, user_id, " ", "~", strong=True, **params))
        if not rows:
            return
        op.renew()
        opened, _ = self.opened(op, user_id)  # afterwards: what it has was not there before it
        least = None if opened is None else fence_of(opened.version)
        self._table.access.delete_each(
            op, [partial(self._delete_leftover, op, row) for row in rows if _is_older(row, least)]
        )

    def _delete_leftover(self, op: Operation, row: Item) -> bool:
        op.renew()
        delete = partial(self._table.access.delete, op, item_key(row))
        if "f" in row:
            delete = partial(delete, "f = :f", {":f": row["f"]})
        return self.beside_transactions(op, delete) is not None

    def delete_cells(
        self, op: Operation, user_id: str, epoch: int, numbers: Iterable[int], *, fence: int
    ) -> None:
        """Delete cells that no higher fence has written."""
        values = {":f": numeric(fence)}

        def delete(number: int) -> bool:
            op.renew()
            key = code_key(user_id, cell_name(epoch, number))
            return self._table.access.delete(op, key, "f <= :f", values) is not None

        self._table.access.delete_each(op, [partial(delete, number) for number in numbers])

    def mean_key(self, user_id: str, version: int) -> Item:
        """Return the key of the mean of a version."""
        return code_key(user_id, mean_name(version))

    def segment_key(self, user_id: str, number: int, version: int) -> Item:
        """Return the key of a closed segment."""
        return code_key(user_id, segment_name(number, version))

    def delete(self, op: Operation, keys: Sequence[Item]) -> None:
        """Delete rows by key."""
        for first in range(0, len(keys), _BATCH):
            op.renew()
            self._table.access.delete_rows(op, keys[first : first + _BATCH])


def _continues(full: OpenSegment, later: OpenSegment | None) -> bool:
    """Return whether a segment that was full is still one of the tail."""
    return later is not None and later.version == full.version and later.first <= full.number


def segments_of(elements: Iterable[bytes], room: int) -> list[list[bytes]]:
    """Return elements in runs that fit into a segment."""
    runs: list[list[bytes]] = []
    size = room
    for element in elements:
        if size + len(element) > room:
            runs.append([])
            size = 0
        runs[-1].append(element)
        size += len(element)
    return runs


def _is_older(row: Item, least: int | None) -> bool:
    """Return whether an item of codes is of an earlier fence than ``least``; any, if that is None.

    A segment and a mean have it in their names.
    """
    name: str = row["embedding_id"]["S"]
    if name == OPEN or least is None:
        return name != OPEN
    fence = int(row["f"]["N"] if "f" in row else fence_of(int(name[-16:], 16)))
    return fence < least
