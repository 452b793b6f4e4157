"""The search of the layout ``packed``: codes first, then the rows of the best.

Rows decide on score, text, expiry and filters; codes only on which rows are read. Where fewer than
k are found among the codes of the cells read, the others are read as well: a search is short only
where there is no more. What is held says what to read next if nothing is new; that is read beside
the look at what is new. With the whole effort every row is read, and the search is exact; as well
where that is cheaper, for a row read alone costs a read of 4 KB, and rows read by a query cost what
their bytes come to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from ialstore.errors import UnavailableError
from ialstore.ids import HIGHEST_ID, LOWEST_ID, Role
from ialstore_backends._exact import ExactMatrix
from ialstore_backends.lsh.packed.codes import prepare
from ialstore_backends.lsh.packed.entries import LAST_HOUR, hour_of, session_code
from ialstore_backends.lsh.packed.rows import packed_records
from ialstore_backends.lsh.packed.searching import (
    Filter,
    Search,
    cells_to_read,
    expected_rows,
    holds_enough,
    rank,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery
    from ialstore_backends._exact import Ranking
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.cache import Snapshot
    from ialstore_backends.lsh.packed.searching import Ranking as Order

__all__ = ["Found", "PackedSearch", "Source"]

_ROLE_CODE: Final = {role: code for code, role in enumerate(Role)}
_TRIES: Final = 6
_READ_BYTES: Final = 4096
_ROW_BYTES: Final = 512  # besides the vector, where no head says how many there are
_ROOM: Final = 64  # rows; few searches read more
_MORE: Final = 8  # times as many keys are ranked when all that were have been looked at


class Source(Protocol):
    """Where codes and rows of one call come from."""

    def held(self, user_id: str) -> Snapshot | None:
        """Return what is held of a user, as it was when it was read."""
        ...

    def snapshot(
        self, user_id: str, held: Snapshot | None, cells: Sequence[int], keys: Sequence[int]
    ) -> tuple[Snapshot, list[EncodedRecord]]:
        """Return what is held of a user and what is new of the tail.

        At the same time read cells, which the snapshot then holds unless a rebuild has replaced
        them, and records under keys.
        """
        ...

    def fresh(self, user_id: str) -> Snapshot:
        """Return head and tail, read anew."""
        ...

    def with_cells(
        self, user_id: str, snapshot: Snapshot, numbers: Sequence[int]
    ) -> Snapshot | None:
        """Return a snapshot that holds further cells; None if they are there no longer."""
        ...

    def keep(self, user_id: str, snapshot: Snapshot) -> None:
        """Hold a snapshot for the next search."""
        ...

    def by_keys(self, user_id: str, keys: Sequence[int]) -> list[EncodedRecord]:
        """Return the records under keys."""
        ...

    def all(self, user_id: str, lower: str, upper: str) -> list[Item]:
        """Return rows by the hours of ids."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and how.

    Attributes:
        ranking: the best.
        plan: ``rows`` or ``codes``.
        examined: codes that were looked at.
        cells: that were read.
        rows: that were read.
    """

    ranking: Ranking
    plan: str
    examined: int = 0
    cells: int = 0
    rows: int = 0


class PackedSearch:
    """Searches the vectors of a user.

    Args:
        spec: of the index.
        chunks: partitions that rows are spread over.
    """

    def __init__(self, spec: IndexSpec, chunks: int) -> None:
        self._spec = spec
        self._chunks = chunks

    def run(self, source: Source, query: SearchQuery, now: int) -> Found:
        """Return the nearest; see ``VectorIndex._search``."""
        if query.effort == 1:
            return self._exact(source, query, now)
        run = self._new_run(source, query, now)
        run.begin()
        for _ in range(_TRIES):
            try:
                found = run.found()
            except _DearerError:
                run.keep()
                return self._exact(source, query, now, cells=run.cells)
            if found is not None:
                return found
            run = self._new_run(source, query, now)
            run.take(source.fresh(query.user_id))
        raise UnavailableError("the codes of the user are being rewritten", retryable=True)

    def _new_run(self, source: Source, query: SearchQuery, now: int) -> _Run:
        return _Run(self._spec, source, query, now, self._chunks)

    def _exact(self, source: Source, query: SearchQuery, now: int, cells: int = 0) -> Found:
        rows = source.all(query.user_id, query.lower, query.upper)
        matrix = ExactMatrix(self._spec)
        _put(matrix, packed_records(rows, self._spec))
        return Found(matrix.search(query, now), "rows", cells=cells, rows=len(rows))


class _DearerError(Exception):
    """To go on by codes is dearer than to read all rows."""


class _Run:
    """One search of one snapshot, which grows by cells.

    Attributes:
        cells: that were read.
    """

    _snapshot: Snapshot
    _search: Search

    def __init__(
        self, spec: IndexSpec, source: Source, query: SearchQuery, now: int, chunks: int
    ) -> None:
        self._spec = spec
        self._source = source
        self._query = query
        self._now = now
        self._chunks = chunks
        self._matrix = ExactMatrix(spec, _ROOM)
        self._fetched: set[int] = set()
        self._order: Order | None = None  # of the snapshot, and looked at in part
        self.cells = 0

    def begin(self) -> None:
        """Take what there is now, and what the search of what is held would read of it."""
        user_id = self._query.user_id
        held = self._source.held(user_id)
        cells: Sequence[int] = ()
        keys: Sequence[int] = ()
        if held is not None:
            self.take(held)
            cells, keys = self._ahead()
        snapshot, records = self._source.snapshot(user_id, held, cells, keys)
        if snapshot is not held:
            self._order = None
            if held is None or snapshot.stored is not held.stored:
                self.take(snapshot)
            self._snapshot = snapshot  # with the same mean
        self.cells += len(cells)
        self._fetched.update(keys)
        _put(self._matrix, records)

    def take(self, snapshot: Snapshot) -> None:
        """Search this snapshot."""
        self._snapshot = snapshot
        query = self._query
        self._search = Search(
            prepare(query.vector, snapshot.mean, self._spec.metric),
            query.k,
            query.effort,
            _filter_of(query, self._now),
        )

    def _ahead(self) -> tuple[Sequence[int], Sequence[int]]:
        """Return the cells to read, or else the keys of the first rows."""
        snapshot = self._snapshot
        try:
            self._foresee()
            if snapshot.head is not None and not snapshot.is_complete:
                share = snapshot.view.share(self._search.chosen)
                cells = cells_to_read(snapshot.head, self._search, snapshot.held, share)
                if cells:
                    return cells, ()
            self._order = self._ranked()
            keys = self._order.next_rows(0)
            self._compare(len(keys))
        except _DearerError:  # than all rows, unless much is new
            self._order = None
            return (), ()
        return (), keys

    def found(self) -> Found | None:
        """Return what is found; None if cells were there no longer.

        Raises:
            _DearerError: reading all rows is cheaper.
        """
        self._foresee()
        if not self._read_likely_cells():
            return None
        ranking, examined = self._look()
        while len(ranking.places) < self._query.k and not self._snapshot.is_complete:
            if not self._read(self._others()):  # pragma: no cover - a rebuild between two reads
                return None
            ranking, examined = self._look()
        self.keep()
        return Found(ranking, "codes", examined, self.cells, len(self._fetched))

    def keep(self) -> None:
        """Hold what was read for the next search."""
        self._source.keep(self._query.user_id, self._snapshot)

    def _foresee(self) -> None:
        """Look at the head before cells are read, where no filter may leave little to be read."""
        head, search = self._snapshot.head, self._search
        if head is None or self._snapshot.is_complete or search.chosen != Filter(now=self._now):
            return
        wanted = cells_to_read(head, search, self._snapshot.held)
        nbytes = head.cells.sizes[wanted] * self._snapshot.layout.nbytes
        reads = int(np.ceil(nbytes / _READ_BYTES).sum())
        self._compare(expected_rows(head, search), reads)

    def _compare(self, rows: int, reads: int = 0) -> None:
        """Raise ``_DearerError`` if so many rows, and other reads of 4 KB, are dearer than all."""
        snapshot, chosen = self._snapshot, self._search.chosen
        head = snapshot.head
        count = len(snapshot.view)
        nbytes = _ROW_BYTES + self._snapshot.layout.dimension
        if head is not None:
            count = max(count, head.facts.count)
            nbytes = head.facts.row_bytes or nbytes
        if chosen.first_hour > 0 or chosen.last_hour < LAST_HOUR:
            hours = Filter(first_hour=chosen.first_hour, last_hour=chosen.last_hour)
            count = math.ceil(count * snapshot.view.share(hours))
        # Half a read is lost at the end of each partition.
        of_each = max(1.0, count * nbytes / self._chunks / _READ_BYTES + 0.5)
        if rows * -(-nbytes // _READ_BYTES) + reads > self._chunks * of_each:
            raise _DearerError

    def _read_likely_cells(self) -> bool:
        """Read the cells that are worth it; the share that passes shows only with their codes."""
        share = 2.0
        while not self._snapshot.is_complete:
            head, held = self._snapshot.head, self._snapshot.held
            now = self._snapshot.view.share(self._search.chosen) if len(self._snapshot.view) else 1
            if now >= share or head is None:
                break
            share = now
            if not self._read(cells_to_read(head, self._search, held, share)):
                return False
        return True

    def _others(self) -> list[int]:
        head = self._snapshot.head
        count = 0 if head is None else len(head.cells.sizes)
        return [number for number in range(count) if number not in self._snapshot.held]

    def _read(self, numbers: Sequence[int]) -> bool:
        grown = self._source.with_cells(self._query.user_id, self._snapshot, numbers)
        if grown is None:
            return False
        if grown is not self._snapshot:
            self._snapshot, self._order = grown, None
        self.cells += len(numbers)
        return True

    def _look(self) -> tuple[Ranking, int]:
        """Read the rows that may be among the best; return the best, and the codes looked at."""
        query = self._query
        order, self._order = self._order or self._ranked(), None
        while True:
            best = self._matrix.search(query, self._now)
            while keys := order.next_rows(best.examined):
                wanted = [key for key in keys if key not in self._fetched]
                if wanted:
                    self._compare(len(wanted))
                    _put(self._matrix, self._source.by_keys(query.user_id, wanted))
                    self._fetched.update(wanted)
                    best = self._matrix.search(query, self._now)
            if not order.is_cut or len(order.keys) == order.examined:
                return best, order.examined
            order = self._ranked(_MORE * len(order.keys))

    def _ranked(self, at_least: int = 0) -> Order:
        """Return what to look at of the snapshot."""
        snapshot = self._snapshot
        head = snapshot.head
        return rank(
            snapshot.view,
            self._search,
            None if head is None else head.facts.calibration,
            complete=head is None or holds_enough(head, self._search, snapshot.held),
            at_least=at_least,
        )


def _filter_of(query: SearchQuery, now: int) -> Filter:
    return Filter(
        session=None if query.session_id is None else session_code(query.session_id),
        exclude=(
            None if query.exclude_session_id is None else session_code(query.exclude_session_id)
        ),
        roles=None if query.roles is None else frozenset(_ROLE_CODE[one] for one in query.roles),
        first_hour=0 if query.lower == LOWEST_ID else hour_of(query.lower),
        last_hour=LAST_HOUR if query.upper == HIGHEST_ID else hour_of(query.upper),
        now=now,
    )


def _put(matrix: ExactMatrix, records: Sequence[EncodedRecord]) -> None:
    if records:
        matrix.put(list(records), np.array([record.vector for record in records], np.float32))
