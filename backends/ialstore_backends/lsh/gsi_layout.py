"""The layout ``gsi``: rows, and codes in an index of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ialstore_backends.dynamodb.table import is_strong
from ialstore_backends.lsh.gsi import GsiSearch
from ialstore_backends.lsh.maintenance import Maintenance
from ialstore_backends.lsh.reading import EmbeddingReader
from ialstore_backends.lsh.writing import EmbeddingWriter

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.listing import Rows
    from ialstore.model import OptimizeReport
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord, SearchQuery, SearchResult
    from ialstore_backends.lsh.table import EmbeddingTable

__all__ = ["GsiLayout"]

_ROUNDS: Final = 3


class GsiLayout:
    """Answers the calls of an index.

    Args:
        table: of the index.
    """

    held_bytes = 0

    def __init__(self, table: EmbeddingTable) -> None:
        self._chunks = table.chunks
        self._reader = EmbeddingReader(table)
        self._writer = EmbeddingWriter(table, self._reader)
        self._searcher = GsiSearch(table.spec, table.chunks.count)
        self._maintenance = Maintenance(table, self._reader)

    def upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        """Store records of one user."""
        self._writer.put(op, [(user_id, record) for record in records])

    def load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        """Store records of any users."""
        last = {(user_id, record.id): (user_id, record) for user_id, record in records}
        self._writer.put(op, list(last.values()))

    def delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        """Delete vectors by id."""
        return self._writer.delete(op, [self._chunks.key(user_id, one) for one in ids])

    def delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        """Delete the vectors of a session."""
        return self._writer.remove(op, user_id, session_id)

    def erase(self, op: Operation, user_id: str) -> tuple[int, int]:
        """Delete everything of a user; return how many vectors lived, and what remains."""
        removed = remaining = 0
        for _ in range(_ROUNDS):
            removed += self._writer.remove(op, user_id, None)
            op.renew()
            remaining = self._reader.count(op, user_id, strong=True)
            if not remaining:
                break
        return removed, remaining

    def optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        """Remove expired rows, and give rows the codes of their vectors."""
        return self._maintenance.run(op, user_id, progress)

    def search(self, op: Operation, query: SearchQuery) -> SearchResult:
        """Return the nearest."""
        source = self._reader.source(op)
        found = self._searcher.run(source, query, op.now, strong=is_strong(op))
        op.note("plan", found.plan)
        if found.rounds:
            op.note("cells", found.cells)
            op.note("rounds", found.rounds)
        return found.ranking.result()

    def get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        """Return the live records of ids."""
        found = self._reader.records(op, user_id, ids, strong=is_strong(op))
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
