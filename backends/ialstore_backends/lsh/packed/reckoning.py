"""What a search would read of rows and codes that lie nowhere: its units, without a request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore.cost import Units, read_units
from ialstore_backends.dynamodb.sizes import item_bytes, query_units
from ialstore_backends.lsh.packed.cache import Snapshot
from ialstore_backends.lsh.packed.codes import directions
from ialstore_backends.lsh.packed.entries import EntryFormat, sign_bits
from ialstore_backends.lsh.packed.head import decode_head
from ialstore_backends.lsh.packed.rebuilding import FIRST, encode_all
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.rows import hour_key, known_entries
from ialstore_backends.lsh.packed.tail_items import (
    HEAD,
    OPEN,
    OpenSegment,
    Stored,
    StoredHead,
    cell_name,
    code_key,
    fence_version,
    key_bytes,
    numeric,
    segment_name,
    segment_room,
)
from ialstore_backends.lsh.packed.tail_writing import segments_of

if TYPE_CHECKING:
    from ialstore.vector_model import EncodedRecord, IndexSpec
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.rebuilding import Rebuilt

__all__ = ["PreparedUser", "ReckonedSource", "Row"]

_FENCE: Final = 1_800_000_000 << 20
_VERSION: Final = fence_version(_FENCE)
_LAST: Final = "~"
_KEYS: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A vector, and its item in the table."""

    record: EncodedRecord
    item: Item

    @property
    def place(self) -> tuple[str, str]:
        """Partition key and sort key."""
        return self.item["user_chunk"]["S"], self.item["embedding_id"]["S"]


class PreparedUser:
    """Rows and codes of a user as they would lie in the table.

    All but the last are in cells, encoded at once; those are in the tail.

    Args:
        spec: of the index.
        user_id: the tenant.
        rows: by the key of their code.
        tail: how many of the last are not in cells.
        made: what is in cells, as it came about; None encodes it at once.
    """

    def __init__(
        self,
        spec: IndexSpec,
        user_id: str,
        rows: Mapping[int, Row],
        tail: int,
        *,
        made: Rebuilt | None = None,
    ) -> None:
        self.rows = rows
        self.first_bytes: list[int] = []
        self.cells: dict[int, bytes] = {}
        self._user_id = user_id
        layout = EntryFormat(spec.dimension, spec.metric)
        in_cells = len(rows) - tail if len(rows) - tail >= FIRST else 0
        known = known_entries(layout, [(row.record, key, 1) for key, row in rows.items()])
        turned = np.zeros((0, spec.dimension), np.float32)
        if rows:
            vectors = np.array([row.record.vector for row in rows.values()], np.float32)
            turned = rotation(spec.dimension).apply(directions(vectors, spec.metric))
        head: StoredHead | None = None
        mean = np.zeros(spec.dimension, np.float32)
        if in_cells:
            made = made or encode_all(
                layout,
                turned[:in_cells],
                known[:in_cells],
                None,
                version=_VERSION,
                segment=0,
                row_bytes=_mean_bytes(rows),
                key_bytes=key_bytes(user_id),
            )
            head = self._put_head(made, layout)
            mean = head.head.facts.mean
        late = turned[in_cells:] - mean
        entries = layout.encode(late, sign_bits(late), known[in_cells:])
        elements = [one.tobytes() for one in entries]
        parts = [tuple(one) for one in segments_of(elements, segment_room(layout, user_id))]
        *closed, opened = parts or [()]
        for number, part in enumerate(closed):
            self.first_bytes.append(self._bytes(segment_name(number, _VERSION), e={"BS": part}))
        self.opened_bytes = self._bytes_of_opened(len(closed), opened)
        self.first_bytes.append(self.opened_bytes)
        segment = OpenSegment(
            version=_VERSION,
            number=len(closed),
            writes=0,
            size=0,
            fence=_FENCE,
            claimed=0,
            due=0,
            first=0,
            elements=opened,
        )
        self.snapshot = Snapshot.of(layout, Stored(head, dict(enumerate(closed)), (), segment))

    def with_rows(self, rows: Mapping[int, Row]) -> PreparedUser:
        """Return the same codes, with other rows of the same vectors."""
        other = copy(self)
        other.rows = rows
        stored = self.snapshot.stored
        if stored is not None:
            facts = replace(stored.head.facts, row_bytes=_mean_bytes(rows))
            stored = replace(stored, head=replace(stored.head, facts=facts))
            other.snapshot = replace(self.snapshot, stored=stored)
        return other

    def cell_bytes(self, number: int) -> int:
        """Return the bytes of the item of a cell."""
        return self._bytes(cell_name(1, number), f=numeric(_FENCE), c={"B": self.cells[number]})

    def _put_head(self, made: Rebuilt, layout: EntryFormat) -> StoredHead:
        head = decode_head(made.head, layout)
        attributes: dict[str, dict[str, Any]] = {"h": {"B": made.head}, "f": numeric(_FENCE)}
        flat: bytes | None = None
        if head.facts.flat:
            flat = b"".join(made.cells)
            attributes["c"] = {"B": flat}
        else:
            self.cells = dict(enumerate(made.cells))
        self.first_bytes.append(self._bytes(HEAD, **attributes))
        return StoredHead(head, _FENCE, flat)

    def _bytes_of_opened(self, number: int, elements: Sequence[bytes]) -> int:
        attributes: dict[str, dict[str, Any]] = {name: numeric(number) for name in "nbwds"}
        attributes |= {"v": numeric(_VERSION), "f": numeric(_FENCE)}
        if elements:
            attributes["e"] = {"BS": elements}
        return self._bytes(OPEN, **attributes)

    def _bytes(self, name: str, **attributes: Any) -> int:
        return item_bytes({**code_key(self._user_id, name), **attributes})


@dataclass(slots=True, eq=False)
class ReckonedSource:
    """Where a search finds codes and rows; counts what that would cost.

    Attributes:
        user: what there is.
        strong: whether reads are strongly consistent.
        is_held: whether the process holds the codes of all cells.
        units: of what was read.
    """

    user: PreparedUser
    strong: bool
    is_held: bool
    units: Units = field(default_factory=Units)

    def held(self, user_id: str) -> Snapshot | None:
        """Return what the process holds."""
        del user_id
        if not self.is_held:
            return None
        snapshot = self.user.snapshot
        return snapshot.with_cells(self.user.cells) if self.user.cells else snapshot

    def snapshot(
        self, user_id: str, held: Snapshot | None, cells: Sequence[int], keys: Sequence[int]
    ) -> tuple[Snapshot, list[EncodedRecord]]:
        """Return head and tail; of what is held, what is new of the tail is read alone."""
        del cells  # all are held, or none
        if held is None:
            return self.fresh(user_id), []
        self.units += query_units([self.user.opened_bytes], strong=self.strong)
        return held, self.by_keys(user_id, keys)

    def fresh(self, user_id: str) -> Snapshot:
        """Return head and tail."""
        del user_id
        self.units += query_units(self.user.first_bytes, strong=self.strong)
        return self.user.snapshot

    def with_cells(self, user_id: str, snapshot: Snapshot, numbers: Sequence[int]) -> Snapshot:
        """Return a snapshot that holds further cells."""
        del user_id
        # Cells never change, and are read eventually.
        self._read([self.user.cell_bytes(number) for number in numbers], strong=False)
        return snapshot.with_cells({number: self.user.cells[number] for number in numbers})

    def keep(self, user_id: str, snapshot: Snapshot) -> None:
        """Nothing is searched again."""

    def by_keys(self, user_id: str, keys: Sequence[int]) -> list[EncodedRecord]:
        """Return records under keys."""
        del user_id
        rows = [self.user.rows[key] for key in keys]
        self._read([item_bytes(row.item) for row in rows], strong=self.strong)
        return [row.record for row in rows]

    def all(self, user_id: str, lower: str, upper: str) -> list[Item]:
        """Return nothing, for what is found does not matter, once the rows are counted."""
        del user_id
        sizes: dict[str, list[int]] = {}
        for row in sorted(self.user.rows.values(), key=lambda row: row.place):
            chunk, sort_key = row.place
            of_chunk = sizes.setdefault(chunk, [])
            if hour_key(lower) <= sort_key <= f"{hour_key(upper)}{_LAST}":
                of_chunk.append(item_bytes(row.item))
        for one in sizes.values():
            self.units += query_units(one, strong=self.strong)
        return []

    def _read(self, sizes: Sequence[int], *, strong: bool) -> None:
        read = sum(read_units(one, strong=strong) for one in sizes)
        self.units += Units(read=read, requests=-(-len(sizes) // _KEYS))


def _mean_bytes(rows: Mapping[int, Row]) -> int:
    return math.ceil(sum(item_bytes(one.item) for one in rows.values()) / len(rows))
