"""Rebuilds as a table sees them: cells and a mean are written, then the head is switched to them.

What is written is valid from the switch on, which happens only if nobody began a rebuild later;
what remains of one that was killed is overwritten by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore_backends.lsh.packed.entries import are_dead, keys_of, sign_bits, tombstone
from ialstore_backends.lsh.packed.head import decode_head
from ialstore_backends.lsh.packed.rebuilding import encode_all, merge, tail_limit
from ialstore_backends.lsh.packed.tail_items import (
    entries_of_segment,
    fence_version,
    key_bytes,
    segment_room,
)
from ialstore_backends.lsh.packed.tail_writing import segments_of

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import Entries
    from ialstore_backends.lsh.packed.head import Head
    from ialstore_backends.lsh.packed.live_rows import Done, LiveRows
    from ialstore_backends.lsh.packed.rebuilding import Rebuilt
    from ialstore_backends.lsh.packed.row_writing import Written
    from ialstore_backends.lsh.packed.table import PackedTable
    from ialstore_backends.lsh.packed.tail_items import OpenSegment, Stored
    from ialstore_backends.lsh.packed.tail_writing import TailWriter

__all__ = ["CellWriter"]

_TRIES: Final = 20  # of a switch beside writers


class CellWriter:
    """Merges the tail into cells, or encodes all rows anew; tells whether it came first."""

    def __init__(self, table: PackedTable, tail: TailWriter, rows: LiveRows) -> None:
        self._table = table
        self._tail = tail
        self._layout = tail.layout
        self._rows = rows

    def segments_until_due(self, user_id: str, count: int) -> int:
        """Return how many segments a user of so many vectors fills until the tail is merged."""
        return -(-tail_limit(self._layout, count) // entries_of_segment(self._layout, user_id))

    def merge(
        self,
        op: Operation,
        user_id: str,
        stored: Stored,
        tail: Entries,
        *,
        head: Head,
        opened: OpenSegment,
        cells: Entries,
    ) -> bool:
        """Merge the tail into the cells; return whether it was done."""
        made = merge(
            head,
            cells,
            tail,
            segment=opened.number,
            now=op.now,
            key_bytes=key_bytes(user_id),
        )
        new = decode_head(made.head, self._layout)
        if not self._put_cells(op, user_id, new, made, opened.fence):
            return False
        if not self._switch(op, user_id, new, made, fence=opened.fence, number=opened.number):
            return self._lost(op, user_id, new, made, opened.fence)
        merged = [
            self._tail.segment_key(user_id, number, opened.version) for number in stored.segments
        ]
        self._clean(op, user_id, head, new, [*stored.old, *merged], fence=opened.fence)
        return True

    def encode(
        self,
        op: Operation,
        user_id: str,
        stored: Stored,
        opened: OpenSegment,
        done: Done,
        *,
        late: Entries | None = None,
    ) -> bool:
        """Encode all vectors, those of late entries as a new kind; return whether it was done."""
        written = self._rows.all(op, user_id, done)
        if not written:
            op.renew()
            if self._tail.drop_open(op, user_id, opened):  # pragma: no branch - else one writes
                self._tail.remove_leftovers(op, user_id)
            return True
        version = fence_version(opened.fence)
        known = self._rows.known(written)
        made = encode_all(
            self._layout,
            self._rows.turned(written),
            known,
            None if stored.head is None else stored.head.head,
            version=version,
            segment=0,
            row_bytes=done.row_bytes,
            key_bytes=key_bytes(user_id),
            late=None if late is None else np.flatnonzero(np.isin(keys_of(known), keys_of(late))),
        )
        new = decode_head(made.head, self._layout)
        op.renew()
        self._tail.put_mean(op, user_id, version, new.facts.mean)
        if not self._put_cells(op, user_id, new, made, opened.fence):
            self._tail.delete(op, [self._tail.mean_key(user_id, version)])
            return self._lost(op, user_id, new, made, opened.fence)
        encoded = {one.key: one.generation for one in written}
        for _ in range(_TRIES):  # pragma: no branch - writers don't come between each time
            op.renew()
            later = self._tail.read(op, user_id, strong=True, behind=opened.number)
            current = later.opened
            if current is None or current.fence != opened.fence:
                break
            if current.version != opened.version:  # pragma: no cover - no switch without a fence
                break
            if later.lacks(opened.number):
                continue
            late = self._layout.from_set(
                chain.from_iterable([*later.segments.values(), current.elements])
            )
            number = self._carry_over(op, user_id, late, new, encoded)
            anew = current, version, number
            if self._switch(op, user_id, new, made, fence=opened.fence, number=number, anew=anew):
                old = None if stored.head is None else stored.head.head
                stale = self._tail.read(op, user_id, strong=True).old
                mean = [self._tail.mean_key(user_id, opened.version)] if opened.has_mean else []
                self._clean(op, user_id, old, new, [*stale, *mean], fence=opened.fence)
                return True
        self._tail.delete(op, [self._tail.mean_key(user_id, version)])
        return self._lost(op, user_id, new, made, opened.fence)

    def _carry_over(
        self,
        op: Operation,
        user_id: str,
        late: Entries,
        new: Head,
        encoded: dict[int, int],
    ) -> int:
        """Write what came late into segments of the new version; return their number."""
        elements: list[bytes] = []
        wanted: set[int] = set()
        columns = keys_of(late), late["generation"], are_dead(late["about"])
        for key, generation, dead in zip(*(one.tolist() for one in columns), strict=True):
            if dead:
                elements.append(tombstone(key, generation))
            elif encoded.get(key, -1) < generation:
                wanted.add(key)
        if wanted:
            written = self._rows.with_keys(op, user_id, sorted(wanted))
            elements += self._encoded(written, new)
        parts = segments_of(elements, segment_room(self._layout, user_id))
        for number, part in enumerate(parts):
            op.renew()
            self._tail.close_segment(op, user_id, new.facts.version, number, part)
        return len(parts)

    def _encoded(self, written: Sequence[Written], new: Head) -> list[bytes]:
        if not written:
            return []
        residuals = self._rows.turned(written) - new.facts.mean
        entries = self._layout.encode(residuals, sign_bits(residuals), self._rows.known(written))
        return [one.tobytes() for one in entries]

    def _put_cells(self, op: Operation, user_id: str, new: Head, made: Rebuilt, fence: int) -> bool:
        """Write the cells; return whether nobody began a rebuild later."""
        if new.facts.flat:
            return True
        puts = [
            partial(
                self._tail.put_cell, op, user_id, new.facts.epoch, number, fence=fence, cell=cell
            )
            for number, cell in enumerate(made.cells)
        ]
        return all(self._table.side_by_side.run(puts))

    def _switch(
        self,
        op: Operation,
        user_id: str,
        new: Head,
        made: Rebuilt,
        *,
        fence: int,
        number: int,
        anew: tuple[OpenSegment, int, int] | None = None,
    ) -> bool:
        """Switch the head, with ``number`` the open segment; return whether nobody came first."""
        op.renew()
        return self._tail.switch(
            op,
            user_id,
            made.head,
            flat=b"".join(made.cells) if new.facts.flat else None,
            fence=fence,
            due=number + self.segments_until_due(user_id, made.count),
            first=new.facts.segment,
            anew=anew,
        )

    def _lost(self, op: Operation, user_id: str, new: Head, made: Rebuilt, fence: int) -> bool:
        """Remove what was written for nothing, unless it is overwritten: the user may be erased."""
        op.renew()
        opened, _ = self._tail.opened(op, user_id)
        if not new.facts.flat and (opened is None or not opened.has_mean):
            numbers = range(len(made.cells))
            self._tail.delete_cells(op, user_id, new.facts.epoch, numbers, fence=fence)
        return False

    def _clean(
        self,
        op: Operation,
        user_id: str,
        old: Head | None,
        new: Head,
        keys: Sequence[Item],
        *,
        fence: int,
    ) -> None:
        """Delete segments that were merged, and cells that no later epoch overwrites.

        Later rebuilds may have ended before that; what they wrote stays.
        """
        now = 0 if new.facts.flat else len(new.cells.sizes)
        before = 0 if old is None or old.facts.flat else len(old.cells.sizes)
        self._tail.delete(op, keys)
        for epoch in (0, 1):
            self._tail.delete_cells(op, user_id, epoch, range(now, before), fence=fence)
