"""Writing vectors in the layout ``packed``: first the row, then its entry in the open segment."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.errors import IalStoreError, Outcome, PartialWriteError
from ialstore_backends.lsh.packed.codes import directions
from ialstore_backends.lsh.packed.entries import sign_bits, tombstone
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.row_writing import RowWriter, Written
from ialstore_backends.lsh.packed.rows import (
    generation_of,
    id_of,
    is_live,
    key_of_row,
    known_entries,
)
from ialstore_backends.lsh.packed.tail_items import OpenSegment, entries_of_segment, segment_room
from ialstore_backends.lsh.packed.tail_writing import MovedError, segments_of
from ialstore_backends.lsh.rows import session_of

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import Floats
    from ialstore_backends.lsh.packed.reading import PackedReader
    from ialstore_backends.lsh.packed.table import PackedTable
    from ialstore_backends.lsh.packed.tail_writing import TailWriter

__all__ = ["PackedWriter"]

_PAGE: Final = 1000
_USERS: Final = 256  # whose means a process keeps for writing


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What a writer knows of a user; of nobody's codes, ``opened`` is None."""

    opened: OpenSegment | None
    mean: Floats | None


class PackedWriter:
    """Writes rows and entries; safe from many threads."""

    def __init__(self, table: PackedTable, tail: TailWriter, reader: PackedReader) -> None:
        self._table = table
        self._tail = tail
        self._reader = reader
        self._rows = RowWriter(table, tail, reader)
        self._rotation = rotation(table.spec.dimension)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def is_due(self, user_id: str) -> bool:
        """Return whether a rebuild pays, as far as this writer knows."""
        with self._lock:
            known = self._known.get(user_id)
        return (
            known is not None
            and known.opened is not None
            and (known.opened.number >= known.opened.due)
        )

    def forget(self, user_id: str) -> None:
        """Forget what is known of the codes of a user."""
        with self._lock:
            self._known.pop(user_id, None)

    # -- upsert ---------------------------------------------------------------------------------

    def put(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        """Store records with different ids, replacing those that are there.

        Raises:
            PartialWriteError: some of several may not be stored.
        """
        blobs = self._table.codec.encode(np.array([record.vector for record in records]))
        outcomes = self._table.side_by_side.outcomes(
            [
                partial(self._rows.put, op, user_id, record, blob)
                for record, blob in zip(records, blobs, strict=True)
            ]
        )
        written = [one for one in outcomes if isinstance(one, Written)]
        errors = [one for one in outcomes if isinstance(one, BaseException)]
        strange = [one for one in errors if not isinstance(one, IalStoreError)]
        if strange or (errors and len(records) == 1):
            raise [*strange, *errors][0]
        stored: list[str] = []
        try:
            self.add_codes(op, user_id, written, stored)
        except IalStoreError as error:
            if len(records) == 1:
                error.outcome = Outcome.UNKNOWN  # the row is there
                raise
            errors.append(error)
        if errors:
            raise _partial(records, outcomes, stored, errors) from errors[0]

    def add_codes(
        self, op: Operation, user_id: str, written: Sequence[Written], stored: list[str]
    ) -> None:
        """Add the entries of vectors whose rows are written.

        Args:
            op: the running call.
            user_id: the tenant.
            written: the vectors.
            stored: ids whose entries were added, a list to be continued.
        """
        if not written:
            return
        turned = self._rotation.apply(self._directions(written))
        per_segment = entries_of_segment(self._tail.layout, user_id)
        known = self._knowledge(op, user_id)
        done = 0
        while done < len(written):
            part = written[done : done + per_segment]
            elements = self._encoded(part, turned[done : done + per_segment], known.mean)
            if (found := self._added(op, user_id, known, elements)) is None:
                known = self._knowledge(op, user_id)
                continue
            known = found
            stored += [one.record.id for one in part]
            done += len(part)

    def _directions(self, written: Sequence[Written]) -> Floats:
        vectors = np.array([one.record.vector for one in written], np.float32)
        return directions(vectors, self._table.spec.metric)

    def _encoded(self, part: Sequence[Written], turned: Floats, mean: Floats | None) -> list[bytes]:
        layout = self._tail.layout
        residuals = turned if mean is None else turned - mean
        known = known_entries(layout, [(one.record, one.key, one.generation) for one in part])
        return [one.tobytes() for one in layout.encode(residuals, sign_bits(residuals), known)]

    def _added(
        self, op: Operation, user_id: str, known: _Known, elements: Sequence[bytes]
    ) -> _Known | None:
        """Return what is known once elements are added; None if the version was another one."""
        opened = known.opened
        version = None if opened is None else opened.version
        try:
            opened = self._tail.add(op, user_id, version, elements, opened)
        except MovedError:
            self.forget(user_id)
            return None
        return self._remember(user_id, _Known(opened, known.mean))

    def _knowledge(self, op: Operation, user_id: str) -> _Known:
        with self._lock:
            known = self._known.get(user_id)
        return known or self._remember(user_id, _Known(*self._tail.opened(op, user_id)))

    def _remember(self, user_id: str, known: _Known) -> _Known:
        with self._lock:
            self._known[user_id] = known
            self._known.move_to_end(user_id)
            if len(self._known) > _USERS:
                self._known.popitem(last=False)
        return known

    # -- delete ---------------------------------------------------------------------------------

    def delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        """Delete vectors by id; return how many live ones went by it."""
        outcomes = self._table.side_by_side.outcomes(
            [partial(self._rows.strip, op, user_id, one) for one in ids]
        )
        return self._finish(op, user_id, outcomes)

    def remove_rows(
        self, op: Operation, user_id: str, rows: Sequence[Item], *, only_expired: bool = False
    ) -> int:
        """Delete the vectors of rows that were read; return how many went by it.

        Args:
            op: the running call.
            user_id: the tenant.
            rows: of vectors.
            only_expired: delete, and count, those that are expired; otherwise only live ones
                are counted.
        """
        outcomes = self._table.side_by_side.outcomes(
            [
                partial(
                    self._rows.strip_row,
                    op,
                    user_id,
                    id_of(row),
                    key_of_row(row),
                    only_expired=only_expired,
                )
                for row in rows
            ]
        )
        return self._finish(op, user_id, outcomes, count_expired=only_expired)

    def _finish(
        self,
        op: Operation,
        user_id: str,
        outcomes: Sequence[Item | BaseException | None],
        *,
        count_expired: bool = False,
    ) -> int:
        """Add the tombstones of rows that were stripped, and raise what failed."""
        rows = [one for one in outcomes if isinstance(one, dict)]
        errors = [one for one in outcomes if isinstance(one, BaseException)]
        removed = sum(count_expired or is_live(row, op.now) for row in rows)
        op.is_partly_applied = op.is_partly_applied or bool(rows and errors)
        dead = [tombstone(key_of_row(row), generation_of(row)) for row in rows]
        if dead:
            try:
                self.bury(op, user_id, dead)
            except IalStoreError:
                op.is_partly_applied = True
                raise
        if errors:
            raise errors[0]
        return removed

    def bury(self, op: Operation, user_id: str, dead: Sequence[bytes]) -> None:
        """Add tombstones; where there are no codes, none are needed."""
        for part in segments_of(dead, segment_room(self._tail.layout, user_id)):
            while True:
                known = self._knowledge(op, user_id)
                if known.opened is None:
                    self.forget(user_id)
                    return
                if self._added(op, user_id, known, part) is not None:
                    break

    def remove_session(self, op: Operation, user_id: str, session_id: str) -> int:
        """Delete the vectors of a session, expired ones too; return how many lived."""
        removed = 0
        for partition in self._table.row_keys.all(user_id):
            op.renew()
            rows = (
                row
                for row in self._reader.keys_of_chunk(op, partition)
                if "metadata" in row and session_of(row) == session_id
            )
            while batch := list(islice(rows, _PAGE)):
                removed += self.remove_rows(op, user_id, batch)
                op.is_partly_applied = True
                op.renew()
        return removed

    # -- erase ----------------------------------------------------------------------------------

    def erase(self, op: Operation, user_id: str) -> tuple[int, int]:
        """Delete all rows and codes once; return how many vectors lived, and whether codes stay."""
        self.forget(user_id)
        opened, _ = self._tail.opened(op, user_id)
        removed, are_left = self._rows.erase(op, user_id)
        if opened is not None and not self._tail.drop_open(op, user_id, opened):
            return removed, 1  # somebody writes: what it wrote needs its codes
        op.renew()
        self._tail.remove_leftovers(op, user_id)
        return removed, int(are_left)


def _partial(
    records: Sequence[EncodedRecord],
    outcomes: Sequence[Written | BaseException],
    stored: Sequence[str],
    errors: Sequence[BaseException],
) -> PartialWriteError:
    """Return the error that says which of some records were stored."""
    there = set(stored)
    missing = [record.id for record in records if record.id not in there]
    untouched = [
        record.id
        for record, outcome in zip(records, outcomes, strict=True)
        if isinstance(outcome, IalStoreError) and outcome.outcome is Outcome.NOT_APPLIED
    ]
    unknown = [one for one in missing if one not in set(untouched)]
    return PartialWriteError(
        f"{len(stored)} of {len(records)} vectors were stored; repeating the call is safe",
        stored=stored,
        not_stored=untouched,
        unknown=unknown,
        retryable=all(isinstance(one, IalStoreError) and one.retryable for one in errors),
    )
