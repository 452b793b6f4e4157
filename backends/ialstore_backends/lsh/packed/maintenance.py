"""What ``optimize`` does: new cells when they pay, and codes that agree with the rows.

Nothing waits for it. What it writes is valid from the switch of the head on, which happens only if
nobody began a rebuild later; what remains of one that was killed is overwritten by the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.errors import CorruptError
from ialstore.model import OptimizeReport
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.lsh.packed.codes import directions
from ialstore_backends.lsh.packed.entries import (
    are_dead,
    keys_of,
    sign_bits,
    tombstone,
    winners,
)
from ialstore_backends.lsh.packed.head import decode_head
from ialstore_backends.lsh.packed.rebuilding import (
    TooManyVectorsError,
    due,
    encode_all,
    is_of_new_kind,
    merge,
    tail_limit,
)
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.row_writing import Written
from ialstore_backends.lsh.packed.rows import (
    generation_of,
    is_live,
    key_of_row,
    known_entries,
    packed_records,
)
from ialstore_backends.lsh.packed.tail_items import (
    Stored,
    entries_of_segment,
    fence_version,
    key_bytes,
    segment_room,
)
from ialstore_backends.lsh.packed.tail_writing import segments_of

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import Entries, Floats
    from ialstore_backends.lsh.packed.head import Head
    from ialstore_backends.lsh.packed.reading import PackedReader
    from ialstore_backends.lsh.packed.rebuilding import Rebuilt
    from ialstore_backends.lsh.packed.table import PackedTable
    from ialstore_backends.lsh.packed.tail_items import OpenSegment
    from ialstore_backends.lsh.packed.tail_writing import TailWriter
    from ialstore_backends.lsh.packed.writing import PackedWriter

__all__ = ["PackedMaintenance"]

_PAGE: Final = 500
_TRIES: Final = 20  # of a switch beside writers
_RACED: Final = "somebody else was rebuilding the codes of this user; run optimize again"


@dataclass(slots=True)
class _Done:
    """What was done so far."""

    progress: Progress
    rows: int = 0
    removed: int = 0
    kept: int = 0
    kept_bytes: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a row that was kept, on the mean."""
        return -(-self.kept_bytes // max(self.kept, 1))

    def add(self, rows: int, removed: int, kept: Sequence[Item]) -> None:
        self.rows += rows
        self.removed += removed
        self.kept += len(kept)
        self.kept_bytes += sum(item_bytes(row, is_wire=True) for row in kept)
        self.progress(self.rows, None)


class PackedMaintenance:
    """Rebuilds cells and repairs codes of one user; safe beside readers, writers and itself."""

    def __init__(
        self, table: PackedTable, tail: TailWriter, reader: PackedReader, writer: PackedWriter
    ) -> None:
        self._table = table
        self._tail = tail
        self._layout = tail.layout
        self._reader = reader
        self._writer = writer
        self._rotation = rotation(table.spec.dimension)

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
        done = _Done(progress)
        claimed = self._tail.claim(op, user_id)
        notes: tuple[str, ...] = ()
        what = None
        if claimed is not None:
            try:
                what, is_done = self._rebuild(op, user_id, claimed, done, only_due=only_due)
                notes = () if is_done else (_RACED,)
            except TooManyVectorsError as error:
                notes = (str(error),)
                later = claimed.number + self._segments_until_due(user_id, error.count)
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
        self, op: Operation, user_id: str, claimed: OpenSegment, done: _Done, *, only_due: bool
    ) -> tuple[str | None, bool]:
        """Return what was due, and whether it was done; cells that are missing are made anew."""
        stored = self._stored(op, user_id)
        if stored is None:
            return "encode", self._encode(op, user_id, Stored(None, {}, (), claimed), claimed, done)
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
                    return what, self._merge(
                        op, user_id, stored, tail, head=head, opened=stored.opened, cells=cells
                    )
                what, late = "encode", tail
        if what == "encode":
            return what, self._encode(op, user_id, stored, stored.opened, done, late=late)
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

    def _merge(
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
        due_at = opened.number + self._segments_until_due(user_id, made.count)
        op.renew()
        flat = _flat(new, made)
        if not self._tail.switch(
            op,
            user_id,
            made.head,
            flat=flat,
            fence=opened.fence,
            due=due_at,
            first=new.facts.segment,
        ):
            return self._lost(op, user_id, new, made, opened.fence)
        merged = [
            self._tail.segment_key(user_id, number, opened.version) for number in stored.segments
        ]
        self._clean(op, user_id, head, new, [*stored.old, *merged], fence=opened.fence)
        return True

    def _encode(
        self,
        op: Operation,
        user_id: str,
        stored: Stored,
        opened: OpenSegment,
        done: _Done,
        *,
        late: Entries | None = None,
    ) -> bool:
        """Encode all vectors; those of late entries are of a new kind."""
        written = self._vectors(op, user_id, done)
        if not written:
            op.renew()
            if self._tail.drop_open(op, user_id, opened):  # pragma: no branch - else one writes
                self._tail.remove_leftovers(op, user_id)
            return True
        version = fence_version(opened.fence)
        known = self._known(written)
        made = encode_all(
            self._layout,
            self._turned(written),
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
            late = self._entries([*later.segments.values(), current.elements])
            number = self._carry_over(op, user_id, late, new, encoded)
            due_at = number + self._segments_until_due(user_id, made.count)
            op.renew()
            flat = _flat(new, made)
            anew = current, version, number
            if self._tail.switch(
                op,
                user_id,
                made.head,
                flat=flat,
                fence=opened.fence,
                due=due_at,
                first=new.facts.segment,
                anew=anew,
            ):
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
            written = self._rows_of(op, user_id, sorted(wanted))
            elements += self._encoded(written, new)
        parts = segments_of(elements, segment_room(self._layout, user_id))
        for number, part in enumerate(parts):
            op.renew()
            self._tail.close_segment(op, user_id, new.facts.version, number, part)
        return len(parts)

    def _rows_of(self, op: Operation, user_id: str, keys: Sequence[int]) -> list[Written]:
        wanted = [self._table.row_keys.row(user_id, key) for key in keys]
        op.renew()
        return self._as_written(self._table.access.items(op, wanted, strong=True))

    def _encoded(self, written: Sequence[Written], new: Head) -> list[bytes]:
        if not written:
            return []
        residuals = self._turned(written) - new.facts.mean
        entries = self._layout.encode(residuals, sign_bits(residuals), self._known(written))
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

    def _segments_until_due(self, user_id: str, count: int) -> int:
        return -(-tail_limit(self._layout, count) // entries_of_segment(self._layout, user_id))

    # -- rows -----------------------------------------------------------------------------------

    def _vectors(self, op: Operation, user_id: str, done: _Done) -> list[Written]:
        """Return all live vectors; what is expired is removed."""
        return [one for page in self._pages(op, user_id, done) for one in self._as_written(page)]

    def _pages(self, op: Operation, user_id: str, done: _Done) -> Iterator[list[Item]]:
        """Yield the rows that live; remove expired vectors, and counters that nobody needs."""
        for partition in self._table.row_keys.all(user_id):
            rows = self._reader.rows_of_chunk(op, partition)
            while batch := list(islice(rows, _PAGE)):
                expired = [row for row in batch if not is_live(row, op.now)]
                vectors = [row for row in expired if "metadata" in row]
                removed = self._writer.remove_rows(op, user_id, vectors, only_expired=True)
                self._table.access.delete_each(
                    op,
                    [
                        partial(self._drop_counter, op, row)
                        for row in expired
                        if "metadata" not in row
                    ],
                )
                kept = [row for row in batch if "metadata" in row and is_live(row, op.now)]
                done.add(len(batch), removed, kept)
                op.renew()
                yield kept

    def _drop_counter(self, op: Operation, row: Item) -> bool:
        op.renew()
        condition = "expires_at <= :now AND attribute_not_exists(vector_compressed)"
        key = {name: row[name] for name in ("user_chunk", "embedding_id")}
        now = {":now": {"N": str(op.now)}}
        delete = partial(self._table.access.delete, op, key, condition, now)
        return self._tail.beside_transactions(op, delete) is not None

    def _as_written(self, rows: Sequence[Item]) -> list[Written]:
        there = [row for row in rows if "metadata" in row]
        return [
            Written(record, key_of_row(row), generation_of(row))
            for record, row in zip(packed_records(there, self._table.spec), there, strict=True)
        ]

    def _turned(self, written: Sequence[Written]) -> Floats:
        vectors = np.array([one.record.vector for one in written], np.float32)
        return self._rotation.apply(directions(vectors, self._table.spec.metric))

    def _known(self, written: Sequence[Written]) -> Entries:
        return known_entries(
            self._layout, [(one.record, one.key, one.generation) for one in written]
        )

    # -- codes and rows -------------------------------------------------------------------------

    def _reconcile(self, op: Operation, user_id: str, done: _Done) -> None:
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
        for page in self._pages(op, user_id, done):
            missing += [
                one for one in self._as_written(page) if codes.pop(one.key, -1) < one.generation
            ]
        op.note("mended", len(missing) + len(codes))
        op.renew()
        self._writer.bury(op, user_id, [tombstone(*one) for one in codes.items()])
        self._writer.add_codes(op, user_id, missing, [])


def _flat(new: Head, made: Rebuilt) -> bytes | None:
    return b"".join(made.cells) if new.facts.flat else None
