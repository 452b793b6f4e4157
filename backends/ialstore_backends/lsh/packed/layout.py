"""The layout ``packed``: codes in cells and segments of a tail, and a row for each vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ialstore_backends.dynamodb.table import is_strong
from ialstore_backends.lsh.packed.cache import CodeCache
from ialstore_backends.lsh.packed.entries import EntryFormat
from ialstore_backends.lsh.packed.maintenance import PackedMaintenance
from ialstore_backends.lsh.packed.plan import PackedSearch
from ialstore_backends.lsh.packed.reading import PackedReader
from ialstore_backends.lsh.packed.tail_writing import TailWriter
from ialstore_backends.lsh.packed.writing import PackedWriter

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.listing import Rows
    from ialstore.model import OptimizeReport
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord, SearchQuery, SearchResult
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.cache import Snapshot
    from ialstore_backends.lsh.packed.table import PackedTable

__all__ = ["PackedLayout"]

_ROUNDS = 3


class PackedLayout:
    """Answers the calls of an index.

    Args:
        table: of the index.
        cache_bytes: of codes that this process holds, at most.
    """

    def __init__(self, table: PackedTable, cache_bytes: int) -> None:
        tail = TailWriter(table, EntryFormat(table.spec.dimension, table.spec.metric))
        self._cache = CodeCache(cache_bytes)
        self._reader = PackedReader(table, tail, self._cache)
        self._writer = PackedWriter(table, tail, self._reader)
        self._searcher = PackedSearch(table.spec, table.row_keys.count)
        self._maintenance = PackedMaintenance(table, tail, self._reader, self._writer)

    @property
    def held_bytes(self) -> int:
        """Bytes of codes that are held."""
        return self._cache.nbytes

    def upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        """Store records of one user."""
        self._writer.put(op, user_id, records)

    def load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> bool:
        """There is no quicker way than ``upsert``: each row is updated, not put."""
        del op, records
        return False

    def delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        """Delete vectors by id."""
        return self._writer.delete(op, user_id, ids)

    def delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        """Delete the vectors of a session."""
        return self._writer.remove_session(op, user_id, session_id)

    def erase(self, op: Operation, user_id: str) -> tuple[int, int]:
        """Delete everything of a user; return how many vectors lived, and what remains."""
        removed = remaining = 0
        for _ in range(_ROUNDS):
            gone, codes = self._writer.erase(op, user_id)
            removed += gone
            op.renew()
            remaining = self._reader.count(op, user_id, strong=True) + codes
            if not remaining:
                break
        self._cache.forget(user_id)
        return removed, remaining

    def is_optimize_due(self, user_id: str) -> bool:
        """Return whether a rebuild pays, as far as this process knows."""
        return self._writer.is_due(user_id)

    def optimize(
        self, op: Operation, user_id: str, progress: Progress, *, only_due: bool = False
    ) -> OptimizeReport:
        """Rebuild cells where that pays, and repair codes unless only that is asked for."""
        return self._maintenance.run(op, user_id, progress, only_due=only_due)

    def is_prefetch_due(self, user_id: str) -> bool:
        """Return whether nothing of a user is held, and something could be."""
        return self._cache.most_bytes > 0 and self._cache.get(user_id) is None

    def prefetch(self, op: Operation, user_id: str) -> None:
        """Read, and hold, head and tail of a user."""
        self._cache.put(user_id, self._reader.fresh(op, user_id, strong=is_strong(op)))

    def search(self, op: Operation, query: SearchQuery) -> SearchResult:
        """Return the nearest."""
        found = self._searcher.run(_Source(op, self._reader), query, op.now)
        op.note("plan", found.plan)
        op.note("cells", found.cells)
        op.note("rows", found.rows)
        result = found.ranking.result()
        if found.plan == "codes":
            return replace(result, examined=found.examined)
        return result

    def get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        """Return the live records of ids."""
        found = self._reader.by_ids(op, user_id, ids, strong=is_strong(op))
        return {one.id: one for one in found if one.expires is None or one.expires > op.now}

    def ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        """Return ids of live vectors in ascending order, behind ``after``."""
        return self._reader.live_ids(op, user_id, limit, after, strong=is_strong(op))

    def count(self, op: Operation, user_id: str) -> int:
        """Return the number of live vectors."""
        return self._reader.count(op, user_id, strong=is_strong(op))

    def users(self, op: Operation) -> set[str]:
        """Return all users."""
        return self._reader.users(op)


@dataclass(frozen=True, slots=True)
class _Source:
    """A reader within one search."""

    op: Operation
    reader: PackedReader

    def held(self, user_id: str) -> Snapshot | None:
        return self.reader.held(user_id)

    def snapshot(
        self, user_id: str, held: Snapshot | None, cells: Sequence[int], keys: Sequence[int]
    ) -> tuple[Snapshot, list[EncodedRecord]]:
        strong = is_strong(self.op)
        return self.reader.snapshot(self.op, user_id, held, strong=strong, cells=cells, keys=keys)

    def fresh(self, user_id: str) -> Snapshot:
        return self.reader.fresh(self.op, user_id, strong=True)

    def with_cells(
        self, user_id: str, snapshot: Snapshot, numbers: Sequence[int]
    ) -> Snapshot | None:
        return self.reader.with_cells(self.op, user_id, snapshot, numbers)

    def keep(self, user_id: str, snapshot: Snapshot) -> None:
        self.reader.cache.put(user_id, snapshot)

    def by_keys(self, user_id: str, keys: Sequence[int]) -> list[EncodedRecord]:
        return self.reader.by_keys(self.op, user_id, keys, strong=is_strong(self.op))

    def all(self, user_id: str, lower: str, upper: str) -> list[Item]:
        return self.reader.all(self.op, user_id, lower, upper, strong=is_strong(self.op))
