"""The codes of a user as rows of one partition, and the requests for them.

``H`` is the head, ``T...`` are closed segments of the tail, ``U`` is the open one: one query reads
them, in this order. ``A...`` and ``B...`` are cells of every other epoch, ``V...`` are means.

Writers add to the open segment alone. When it is full, its elements are added to the closed segment
of its number, and it begins anew under the next number, on condition that nothing was added
meanwhile: whatever was added is in one of the two. A closed segment that somebody late adds to
holds nothing that it did not hold before. One that is made again by it may lack something, and is
below the head's first, which the open segment tells those who don't read the head again. Who made
it finds the open segment changed, and deletes it.

Whoever rebuilds takes a number from the open segment, its fence. Cells are overwritten only by a
higher fence, and the head is switched in one transaction that looks whether the fence is still the
last one. Versions are fences too. They begin with the time and a random number, so that those of an
erased user never come again.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from ialstore.cost import Units, write_units
from ialstore.decoding import DAMAGE
from ialstore.errors import CorruptError
from ialstore_backends.dynamodb.keys import escaped
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import ConditionFailedError, ConflictError
from ialstore_backends.lsh.packed.head import decode_head
from ialstore_backends.lsh.packed.rebuilding import FIRST

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import EntryFormat, Floats
    from ialstore_backends.lsh.packed.head import Head
    from ialstore_backends.lsh.packed.table import PackedTable

__all__ = [
    "CODES",
    "MovedError",
    "OpenSegment",
    "Stored",
    "StoredHead",
    "TailTable",
    "fence_version",
    "segments_of",
]

T = TypeVar("T")
CODES: Final = "@"
"""The chunk of no vector."""
_HEAD, _OPEN = "H", "U"
_UNIT_BYTES: Final = 1024
_NUMBERS_BYTES: Final = 70  # of the open segment, besides its keys and elements
_CELL_BYTES: Final = 12  # of a cell, likewise
_WITH_MEAN: Final = 1 << 60
_RANDOM_BITS: Final = 20
_BATCH: Final = 25
_READS: Final = 3  # of what may be switched, and its mean deleted, while a query passes
_REFUSED: Final = Units(write=1)


class MovedError(Exception):
    """Codes of another version are wanted than those that were given."""

    def __init__(self, found: OpenSegment | None) -> None:
        super().__init__("the codes have another version")
        self.found = found


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """The open segment, as it was read.

    Attributes:
        version: of its entries.
        number: of the segment.
        writes: how often it was written to.
        size: bytes of its elements.
        fence: the last one that was taken.
        claimed: when that was, seconds since 1970; 0 of one that is done.
        due: number of the segment from which a rebuild pays.
        first: number of the first segment that is not in the cells.
        elements: entries and tombstones.
    """

    version: int
    number: int
    writes: int
    size: int
    fence: int
    claimed: int
    due: int
    first: int
    elements: tuple[bytes, ...]

    @property
    def has_mean(self) -> bool:
        """Whether there is a mean of this version; otherwise it is zero."""
        return self.version >= _WITH_MEAN


@dataclass(frozen=True, slots=True, eq=False)
class StoredHead:
    """A head as it was read.

    Attributes:
        head: what it says.
        fence: which its cells have.
        flat: bytes of the cells, where they are in the head.
    """

    head: Head
    fence: int
    flat: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What the partition of codes holds, as far as one query read it.

    Attributes:
        head: None where there is none, or it was not asked for.
        segments: elements of closed segments of the version, by number.
        old: keys of closed segments of an earlier version, or that lie before the head's.
        opened: the open segment.
    """

    head: StoredHead | None
    segments: dict[int, tuple[bytes, ...]]
    old: tuple[Item, ...]
    opened: OpenSegment | None

    @property
    def first(self) -> int:
        """Number of the first segment of the tail."""
        return 0 if self.head is None else self.head.head.facts.segment

    def lacks(self, first: int) -> bool:
        """Return whether a query, which is no snapshot, passed by a closed segment."""
        end = 0 if self.opened is None else self.opened.number
        return any(number not in self.segments for number in range(first, end))

    @property
    def is_whole(self) -> bool:
        """Whether the parts belong together."""
        opened = self.opened
        if opened is None:
            return self.head is None
        if opened.has_mean is not (self.head is not None):
            return False
        if self.head is not None and self.head.head.facts.version != opened.version:
            return False  # pragma: no cover - the switch came while the query passed by
        return self.first >= opened.first and not self.lacks(self.first)


class TailTable:
    """Requests for the codes of users.

    Args:
        table: of vectors.
        layout: of entries.
    """

    def __init__(self, table: PackedTable, layout: EntryFormat) -> None:
        self._table = table
        self._client = table.client
        self.layout = layout

    def room(self, user_id: str) -> int:
        """Return how many bytes of elements the open segment takes within one write unit."""
        keys = item_bytes(self._key(user_id, _OPEN))
        return max(_UNIT_BYTES - keys - _NUMBERS_BYTES, self.layout.nbytes)

    def entries_of_segment(self, user_id: str) -> int:
        """Return how many entries a segment takes."""
        return self.room(user_id) // self.layout.nbytes

    def key_bytes(self, user_id: str) -> int:
        """Return what the item of a cell takes besides its entries."""
        return item_bytes(self._key(user_id, "A00000")) + _CELL_BYTES

    # -- reading --------------------------------------------------------------------------------

    def read(
        self, op: Operation, user_id: str, *, strong: bool, behind: int | None = None
    ) -> Stored:
        """Return head and tail; or only the segments from ``behind`` on."""
        first = _HEAD if behind is None else f"T{behind:08d}"
        head: StoredHead | None = None
        opened: OpenSegment | None = None
        found: list[tuple[Item, int, int]] = []
        for row in self._rows(op, user_id, first, _OPEN, strong=strong):
            name = row["embedding_id"]["S"]
            try:
                if name == _HEAD:
                    head = self._head(row)
                elif name == _OPEN:
                    opened = _opened(row)
                else:
                    found.append((row, int(name[1:9]), int(name[9:], 16)))
            except DAMAGE as error:  # pragma: no cover - writers look at these rows before it
                raise _damaged() from error
        version = 0 if opened is None else opened.version
        start = 0 if head is None else head.head.facts.segment
        end = 0 if opened is None else opened.number
        segments: dict[int, tuple[bytes, ...]] = {}
        old: list[Item] = []
        for row, number, its_version in found:
            if its_version == version and start <= number < end:
                try:
                    segments[number] = _elements(row)
                except DAMAGE as error:
                    raise _damaged() from error
            elif _fence_of(its_version) < _fence_of(version) or (
                its_version == version and number < start
            ):
                old.append(_key_of(row))
        return Stored(head, segments, tuple(old), opened)

    def opened(self, op: Operation, user_id: str) -> tuple[OpenSegment | None, Floats | None]:
        """Return the open segment, and the mean of its version; None where it is zero."""
        for _ in range(_READS):
            opened, means = self._opened_and_means(op, user_id)
            if opened is None or not opened.has_mean:
                return opened, None
            mean = means.get(_mean_key(opened.version))
            if mean is not None and len(mean) == self.layout.dimension:
                return opened, mean
        raise _damaged()

    def _opened_and_means(
        self, op: Operation, user_id: str
    ) -> tuple[OpenSegment | None, dict[str, Floats]]:
        opened: OpenSegment | None = None
        means: dict[str, Floats] = {}
        for row in self._rows(op, user_id, _OPEN, "V~", strong=True):
            try:
                if row["embedding_id"]["S"] == _OPEN:
                    opened = _opened(row)
                else:
                    means[row["embedding_id"]["S"]] = np.frombuffer(_binary(row["m"]), "<f4")
            except DAMAGE as error:
                raise _damaged() from error
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
        keys = [self._key(user_id, _cell_key(epoch, number)) for number in numbers]
        found: dict[int, bytes] = {}
        for row in self._table.access.items(op, keys, strong=strong):
            try:
                if int(row["f"]["N"]) == stored.fence:  # pragma: no branch - else one was switched
                    found[int(row["embedding_id"]["S"][1:])] = _binary(row["c"])
            except DAMAGE as error:
                raise _damaged() from error
        return found

    # -- writing --------------------------------------------------------------------------------

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
        size, room = sum(map(len, elements)), self.room(user_id)
        while True:
            full = known
            if known is None or known.version != version or known.size + size <= room:
                full = None
            try:
                if full is not None:
                    return self._roll(op, user_id, full, elements)
                return self._add(op, user_id, version, elements, room - size)
            except ConditionFailedError as error:
                known = None if error.item is None else _opened(error.item)
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
            ":one": _number(1),
            ":size": _number(sum(map(len, elements))),
            ":e": {"BS": list(dict.fromkeys(elements))},
        }
        if version is None:
            condition, sets = "attribute_not_exists(v)", "SET v = :v, f = :v, n = :z, d = :d"
            first = max(op.now, 1) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            due = -(-FIRST // self.entries_of_segment(user_id))
            values |= {":v": _number(first), ":z": _number(0), ":d": _number(due)}
        else:
            condition, sets = "v = :v AND b <= :room", ""
            values |= {":v": _number(version), ":room": _number(room)}
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
                    ":next": _number(full.number + 1),
                    ":one": _number(1),
                    ":size": _number(sum(map(len, elements))),
                    ":e": {"BS": list(dict.fromkeys(elements))},
                    ":v": _number(full.version),
                    ":n": _number(full.number),
                    ":w": _number(full.writes),
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
                "Key": self._key(user_id, _segment_key(number, version)),
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
                    "ExpressionAttributeValues": {":t": _number(op.now), ":one": _number(1)},
                },
            )
        except ConditionFailedError:
            op.add(Units(write=1))
            return None

    def put_mean(self, op: Operation, user_id: str, version: int, mean: Floats) -> None:
        """Write the mean of a version."""
        item = {
            **self._key(user_id, _mean_key(version)),
            "m": {"B": mean.astype("<f4").tobytes()},
        }
        self._client.call(op, "PutItem", {"TableName": self._table.name, "Item": item}, place=CODES)

    def put_cell(
        self, op: Operation, user_id: str, epoch: int, number: int, *, fence: int, cell: bytes
    ) -> bool:
        """Write a cell; return whether no higher fence has written it."""
        item = {
            **self._key(user_id, _cell_key(epoch, number)),
            "f": _number(fence),
            "c": {"B": cell},
        }
        params = {
            "TableName": self._table.name,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(f) OR f <= :f",
            "ExpressionAttributeValues": {":f": _number(fence)},
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
        item: Item = {**self._key(user_id, _HEAD), "h": {"B": head}, "f": _number(fence)}
        if flat is not None:
            item["c"] = {"B": flat}
        values = {
            ":f": _number(fence),
            ":d": _number(due),
            ":s": _number(first),
            ":one": _number(1),
        }
        condition, expression = "f = :f", "SET d = :d, s = :s, w = w + :one REMOVE t"
        if anew is not None:
            seen, version, number = anew
            condition += " AND w = :w"
            expression = "SET d = :d, s = :s, w = w + :one, v = :v, n = :n, b = :z REMOVE t, e"
            values |= {
                ":w": _number(seen.writes),
                ":v": _number(version),
                ":n": _number(number),
                ":z": _number(0),
            }
        params = {
            "TransactItems": [
                {"Put": {"TableName": self._table.name, "Item": item}},
                {
                    "Update": {
                        "TableName": self._table.name,
                        "Key": self._key(user_id, _OPEN),
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
            self._beside_switches(op, send, units)
        except ConditionFailedError:
            op.add(units)
            return False
        return True

    def _update_open(self, op: Operation, user_id: str, params: dict[str, Any]) -> OpenSegment:
        op.renew()
        params = {
            "TableName": self._table.name,
            "Key": self._key(user_id, _OPEN),
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **params,
        }
        send = partial(self._client.call, op, "UpdateItem", params, place=CODES)
        return _opened(self._beside_switches(op, send)["Attributes"])

    def _beside_switches(self, op: Operation, send: Callable[[], T], units: Units = _REFUSED) -> T:
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
            ":v": _number(seen.version),
            ":w": _number(seen.writes),
            ":f": _number(seen.fence),
        }
        key = self._key(user_id, _OPEN)
        delete = partial(self._table.access.delete, op, key, condition, values)
        return self._beside_switches(op, delete) is not None

    def leftovers(self, op: Operation, user_id: str) -> list[Item]:
        """Return the keys of what does not belong to the open segment, if there is one."""
        params = {"ProjectionExpression": "user_chunk, embedding_id"}
        rows = list(self._rows(op, user_id, " ", "~", strong=True, **params))
        op.renew()
        opened, _ = self.opened(op, user_id)  # afterwards: what it has was not there before it
        return [_key_of(row) for row in rows if not _belongs(row["embedding_id"]["S"], opened)]

    def delete_cells(
        self, op: Operation, user_id: str, epoch: int, numbers: Iterable[int], *, fence: int
    ) -> None:
        """Delete cells that no higher fence has written."""
        values = {":f": _number(fence)}

        def delete(number: int) -> bool:
            op.renew()
            key = self._key(user_id, _cell_key(epoch, number))
            return self._table.access.delete(op, key, "f <= :f", values) is not None

        self._table.access.delete_each(op, [partial(delete, number) for number in numbers])

    def mean_key(self, user_id: str, version: int) -> Item:
        """Return the key of the mean of a version."""
        return self._key(user_id, _mean_key(version))

    def segment_key(self, user_id: str, number: int, version: int) -> Item:
        """Return the key of a closed segment."""
        return self._key(user_id, _segment_key(number, version))

    def delete(self, op: Operation, keys: Sequence[Item]) -> None:
        """Delete rows by key."""
        for first in range(0, len(keys), _BATCH):
            op.renew()
            self._table.access.delete_rows(op, keys[first : first + _BATCH])

    # -- wire -----------------------------------------------------------------------------------

    def _key(self, user_id: str, name: str) -> Item:
        return {
            "user_chunk": {"S": f"{escaped(user_id)}#{CODES}"},
            "embedding_id": {"S": name},
        }

    def _rows(
        self, op: Operation, user_id: str, first: str, last: str, *, strong: bool, **more: Any
    ) -> Iterator[Item]:
        params = {
            "TableName": self._table.name,
            "KeyConditionExpression": "user_chunk = :p AND embedding_id BETWEEN :a AND :b",
            "ExpressionAttributeValues": {
                ":p": self._key(user_id, "")["user_chunk"],
                ":a": {"S": first},
                ":b": {"S": last},
            },
            "ConsistentRead": strong,
            **more,
        }
        return self._client.rows(op, params, place=CODES)

    def _head(self, row: Item) -> StoredHead:
        flat = _binary(row["c"]) if "c" in row else None
        head = decode_head(_binary(row["h"]), self.layout)
        return StoredHead(head, int(row["f"]["N"]), flat)


def fence_version(fence: int) -> int:
    """Return the version of the codes of a rebuild."""
    return fence | _WITH_MEAN


def _continues(full: OpenSegment, later: OpenSegment | None) -> bool:
    """Return whether a segment that was full is still one of the tail."""
    return later is not None and later.version == full.version and later.first <= full.number


def _fence_of(version: int) -> int:
    return version & ~_WITH_MEAN


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


def _belongs(name: str, opened: OpenSegment | None) -> bool:
    if name == _OPEN:
        return True
    if opened is None:
        return False
    if name[0] == "T":  # pragma: no cover - what a user has who came back while being erased
        return int(name[9:], 16) == opened.version
    is_its_mean = name[0] != "V" or name == _mean_key(opened.version)  # pragma: no cover - as above
    return opened.has_mean and is_its_mean  # pragma: no cover - as above


def _cell_key(epoch: int, number: int) -> str:
    return f"{'AB'[epoch % 2]}{number:05d}"


def _segment_key(number: int, version: int) -> str:
    return f"T{number:08d}{version:016x}"


def _mean_key(version: int) -> str:
    return f"V{version:016x}"


def _key_of(row: Item) -> Item:
    return {name: row[name] for name in ("user_chunk", "embedding_id")}


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _binary(value: dict[str, Any]) -> bytes:
    return base64.b64decode(value["B"], validate=True)


def _elements(row: Item) -> tuple[bytes, ...]:
    found: list[str] = row["e"]["BS"] if "e" in row else []
    return tuple(base64.b64decode(one, validate=True) for one in found)


def _opened(row: Item) -> OpenSegment:
    return OpenSegment(
        version=int(row["v"]["N"]),
        number=int(row["n"]["N"]),
        writes=int(row["w"]["N"]),
        size=int(row["b"]["N"]),
        fence=int(row["f"]["N"]),
        claimed=int(row["t"]["N"]) if "t" in row else 0,
        due=int(row["d"]["N"]),
        first=int(row["s"]["N"]) if "s" in row else 0,
        elements=_elements(row),
    )


def _damaged() -> CorruptError:
    return CorruptError("the codes of a user's vectors are damaged; run optimize")
