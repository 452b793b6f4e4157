"""What ``optimize`` does: new cells when they pay, and codes that agree with the rows.

Nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.errors import CorruptError
from ialstore.model import OptimizeReport
from ialstore_backends.lsh.packed.cell_writing import CellWriter
from ialstore_backends.lsh.packed.entries import are_dead, keys_of, tombstone, winners
from ialstore_backends.lsh.packed.live_rows import Done, LiveRows
from ialstore_backends.lsh.packed.rebuilding import TooManyVectorsError, due, is_of_new_kind
from ialstore_backends.lsh.packed.tail_items import Stored, entries_of_segment

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.operation import Operation
    from ialstore_backends.lsh.packed.entries import Entries
    from ialstore_backends.lsh.packed.head import Head
    from ialstore_backends.lsh.packed.reading import PackedReader
    from ialstore_backends.lsh.packed.row_writing import Written
    from ialstore_backends.lsh.packed.table import PackedTable
    from ialstore_backends.lsh.packed.tail_items import OpenSegment
    from ialstore_backends.lsh.packed.tail_writing import TailWriter
    from ialstore_backends.lsh.packed.writing import PackedWriter

__all__ = ["PackedMaintenance"]

_TRIES: Final = 20  # of a read beside writers
_RACED: Final = "somebody else was rebuilding the codes of this user; run optimize again"


class PackedMaintenance:
    """Rebuilds cells and repairs codes of one user; safe beside readers, writers and itself."""

    def __init__(
        self, table: PackedTable, tail: TailWriter, reader: PackedReader, writer: PackedWriter
    ) -> None:
        self._tail = tail
        self._layout = tail.layout
        self._writer = writer
        self._rows = LiveRows(table, tail, reader, writer)
        self._cells = CellWriter(table, tail, self._rows)

    def run(
        self, op: Operation, user_id: str, progress: Progress, *, only_due: bool = False
    ) -> OptimizeReport:
        """Do what there is to do.

        Args:
            op: the running call.
            user_id: the tenant.
            progress: told of rows.
            only_due: leave it at a rebuild that pays; read no rows but for that.
        """
        done = Done(progress)
        claimed = self._tail.claim(op, user_id)
        notes: tuple[str, ...] = ()
        what = None
        if claimed is not None:
            try:
                what, is_done = self._rebuild(op, user_id, claimed, done, only_due=only_due)
                notes = () if is_done else (_RACED,)
            except TooManyVectorsError as error:
                notes = (str(error),)
                later = claimed.number + self._cells.segments_until_due(user_id, error.count)
                self._tail.postpone(op, user_id, fence=claimed.fence, due=later)
            self._writer.forget(user_id)
        else:  # a rebuild may have died after an erase
            self._tail.remove_leftovers(op, user_id)
        if what != "encode" and not only_due:
            self._reconcile(op, user_id, done)
        op.note("rebuilt", what or "nothing")
        return OptimizeReport(removed=done.removed, notes=notes)

    # -- rebuilds -------------------------------------------------------------------------------

    def _rebuild(
        self, op: Operation, user_id: str, claimed: OpenSegment, done: Done, *, only_due: bool
    ) -> tuple[str | None, bool]:
        """Return what was due, and whether it was done; cells that are missing are made anew."""
        stored = self._stored(op, user_id)
        if stored is None:
            return "encode", self._cells.encode(
                op, user_id, Stored(None, {}, (), claimed), claimed, done
            )
        if stored.opened is None or stored.opened.fence != claimed.fence:
            return None, False
        late: Entries | None = None
        closed = stored.opened.number - stored.first
        head = None if stored.head is None else stored.head.head
        if head is not None and not only_due:
            self._mend_mean(op, user_id, head)
        what = due(head, self._layout, closed * entries_of_segment(self._layout, user_id))
        if what == "merge" or (what is None and not only_due):
            cells = self._all_cells(op, user_id, stored)
            if cells is None:
                what = "encode"
            elif what == "merge" and head is not None:
                tail = self._entries(stored.segments.values())
                if not is_of_new_kind(head, cells, tail, now=op.now):
                    return what, self._cells.merge(
                        op, user_id, stored, tail, head=head, opened=stored.opened, cells=cells
                    )
                what, late = "encode", tail
        if what == "encode":
            return what, self._cells.encode(op, user_id, stored, stored.opened, done, late=late)
        self._tail.delete(op, stored.old)
        return None, True

    def _mend_mean(self, op: Operation, user_id: str, head: Head) -> None:
        """Write the mean of a head again, if writers don't find it."""
        op.renew()
        try:
            self._tail.opened(op, user_id)
        except CorruptError:
            self._tail.put_mean(op, user_id, head.facts.version, head.facts.mean)

    def _stored(self, op: Operation, user_id: str) -> Stored | None:
        """Return what is stored, read strongly; None if its parts don't fit together."""
        for _ in range(_TRIES):
            op.renew()
            try:
                stored = self._tail.read(op, user_id, strong=True)
            except CorruptError:
                break
            if stored.is_whole:
                return stored
        return None

    def _all_cells(self, op: Operation, user_id: str, stored: Stored) -> Entries | None:
        """Return the entries of all cells; None if some are missing or damaged."""
        head = stored.head
        if head is None:
            return np.zeros(0, self._layout.dtype)
        if head.flat is not None:
            return self._layout.from_bytes(head.flat)
        numbers = list(range(len(head.head.cells.sizes)))
        op.renew()
        try:
            found = self._tail.cells(op, user_id, head, numbers)
        except CorruptError:
            return None
        if len(found) < len(numbers):
            return None
        return self._layout.from_bytes(b"".join(found[number] for number in numbers))

    def _entries(self, parts: Iterable[Sequence[bytes]]) -> Entries:
        return self._layout.from_set(chain.from_iterable(parts))

    # -- codes and rows -------------------------------------------------------------------------

    def _reconcile(self, op: Operation, user_id: str, done: Done) -> None:
        """Add the codes that rows lack, and remove those without a row.

        Codes are read first: a code whose row is not there then has lost it.
        """
        stored = self._stored(op, user_id)
        cells = None if stored is None else self._all_cells(op, user_id, stored)
        if stored is None or cells is None:
            return  # pragma: no cover - damaged since the rebuild; the next makes them anew
        opened = () if stored.opened is None else stored.opened.elements
        tail = self._entries([*stored.segments.values(), opened])
        entries = np.concatenate([cells, tail])
        entries = entries[winners(entries)]
        dead = are_dead(entries["about"])
        keys = keys_of(entries).tolist()
        codes = {
            key: generation
            for key, generation, is_dead in zip(
                keys, entries["generation"].tolist(), dead.tolist(), strict=True
            )
            if not is_dead
        }
        missing: list[Written] = []
        for page in self._rows.pages(op, user_id, done):
            missing += [
                one for one in self._rows.written(page) if codes.pop(one.key, -1) < one.generation
            ]
        op.note("mended", len(missing) + len(codes))
        op.renew()
        self._writer.bury(op, user_id, [tombstone(*one) for one in codes.items()])
        self._writer.add_codes(op, user_id, missing, [])
