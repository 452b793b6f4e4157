"""What a process holds of users' codes, within bounds: who was not searched lately is dropped."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore_backends.lsh.packed.codes import Codes
from ialstore_backends.lsh.packed.searching import View

if TYPE_CHECKING:
    from ialstore_backends.lsh.packed.entries import Entries, EntryFormat, Floats
    from ialstore_backends.lsh.packed.head import Head
    from ialstore_backends.lsh.packed.tail_items import OpenSegment, Stored, StoredHead

__all__ = ["CodeCache", "Snapshot"]

_OBJECTS: Final = 1500  # bytes that the objects around the arrays of a user take
_NOTHING: Final = (None, 0)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a search sees of a user: head, tail, and the codes of some cells. Never changed.

    Attributes:
        layout: of entries.
        stored: head, as it was read.
        opened: the open segment.
        closed: entries of all closed segments.
        codes: of the cells that are held.
        held: their numbers.
        due: segment from which a rebuild paid when the head was read.
    """

    layout: EntryFormat
    stored: StoredHead | None
    opened: OpenSegment | None
    closed: Entries
    codes: Codes
    held: frozenset[int]
    due: int

    @classmethod
    def of(cls, layout: EntryFormat, stored: Stored) -> Snapshot:
        """Return what was read with the head."""
        head = stored.head
        entries = np.zeros(0, layout.dtype)
        held: frozenset[int] = frozenset()
        if head is not None and head.flat is not None:
            entries = layout.from_bytes(head.flat)
            held = frozenset(range(len(head.head.cells.sizes)))
            head = replace(head, flat=b"")
        closed = _entries(layout, [stored.segments[one] for one in sorted(stored.segments)])
        due = 0 if stored.opened is None else stored.opened.due
        return cls(layout, head, stored.opened, closed, Codes(layout, entries), held, due)

    @property
    def head(self) -> Head | None:
        """The head, if there is one."""
        return None if self.stored is None else self.stored.head

    @property
    def mean(self) -> Floats:
        """The mean that was taken off before vectors were encoded."""
        if self.head is None:
            return np.zeros(self.layout.dimension, np.float32)
        return self.head.facts.mean

    @property
    def is_complete(self) -> bool:
        """Whether the codes of all cells are held."""
        return self.head is None or len(self.held) == len(self.head.cells.sizes)

    @cached_property
    def tail(self) -> Entries:
        """Entries and tombstones of the tail."""
        opened = () if self.opened is None else self.opened.elements
        return np.concatenate([self.closed, _entries(self.layout, [opened])])

    @cached_property
    def view(self) -> View:
        """What counts of cells and tail."""
        return View(self.layout, self.codes, self.tail)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        size = _OBJECTS + self.codes.nbytes + 3 * self.tail.nbytes + len(self.codes)
        if self.head is not None:
            table = self.head.cells
            size += self.mean.nbytes + table.centroids.nbytes
            size += table.spreads.nbytes + table.sizes.nbytes + 32 * len(self.held)
        return size

    def with_cells(self, cells: dict[int, bytes]) -> Snapshot:
        """Return a snapshot that holds further cells."""
        read = [self.layout.from_bytes(cell) for cell in cells.values()]
        more = Codes(self.layout, np.concatenate(read))
        codes = self.codes.with_more(more) if len(self.codes) else more
        return replace(self, codes=codes, held=self.held.union(cells))

    def with_tail(self, later: Stored) -> Snapshot | None:
        """Return a snapshot with what was read of the tail since; None if that does not fit."""
        before, now = self.opened, later.opened
        if before is None or now is None or now.version != before.version:
            return None
        if before.number < now.first:  # what a late writer makes again there is not all
            return None
        if (now.number, now.writes) <= (before.number, before.writes):
            return self
        if later.lacks(before.number):
            return None  # pragma: no cover - a segment was closed while the query passed by
        fresh = range(before.number, now.number)
        parts = _entries(self.layout, [later.segments[number] for number in fresh])
        return replace(self, opened=now, closed=np.concatenate([self.closed, parts]))


class CodeCache:
    """Snapshots by user; safe from many threads.

    Args:
        most_bytes: that are held; a user of more is not held.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[str, tuple[Snapshot, int]] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._bytes

    def get(self, user_id: str) -> Snapshot | None:
        """Return what is held of a user."""
        with self._lock:
            found = self._snapshots.get(user_id)
            return None if found is None else found[0]

    def put(self, user_id: str, snapshot: Snapshot) -> None:
        """Hold a snapshot, and drop those of users who were not searched lately."""
        with self._lock:
            if self._snapshots.get(user_id, _NOTHING)[0] is snapshot:
                self._snapshots.move_to_end(user_id)
                return
            size = snapshot.nbytes
            self._forget(user_id)
            while self._snapshots and self._bytes + size > self.most_bytes:
                self._forget(next(iter(self._snapshots)))
            if size <= self.most_bytes:
                self._snapshots[user_id] = snapshot, size
                self._bytes += size

    def forget(self, user_id: str) -> None:
        """Hold nothing of a user."""
        with self._lock:
            self._forget(user_id)

    def _forget(self, user_id: str) -> None:
        self._bytes -= self._snapshots.pop(user_id, _NOTHING)[1]


def _entries(layout: EntryFormat, parts: Sequence[Sequence[bytes]]) -> Entries:
    return np.concatenate([np.zeros(0, layout.dtype), *(layout.from_set(one) for one in parts)])
