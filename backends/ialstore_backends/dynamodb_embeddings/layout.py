"""What answers the calls of an index whose vectors are rows of a table of DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from ialstore_backends.dynamodb.table import is_strong
from ialstore_backends.dynamodb_embeddings.reading import EmbeddingReader
from ialstore_backends.dynamodb_embeddings.writing import EmbeddingWriter

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.listing import Rows
    from ialstore.model import OptimizeReport
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord, SearchQuery, SearchResult
    from ialstore_backends.dynamodb_embeddings.sweep import Sweep
    from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable

__all__ = ["Layout", "RowLayout"]

_ROUNDS: Final = 3


class Layout(Protocol):
    """How vectors lie in a table."""

    def upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        """Store records of one user."""

    def load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> bool:
        """Store records of any users, or return False if it has no quicker way than ``upsert``."""
        ...

    def delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        """Delete vectors by id; return how many lived."""
        ...

    def delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        """Delete the vectors of a session; return how many lived."""
        ...

    def erase(self, op: Operation, user_id: str) -> tuple[int, int]:
        """Delete everything of a user; return how many vectors lived, and what remains."""
        ...

    def optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        """Do maintenance that no call needs."""
        ...

    def search(self, op: Operation, query: SearchQuery) -> SearchResult:
        """Return the nearest."""
        ...

    def get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        """Return the live records of ids."""
        ...

    def ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        """Return ids of live vectors in ascending order, behind ``after``."""
        ...

    def count(self, op: Operation, user_id: str) -> int:
        """Return the number of live vectors."""
        ...

    def users(self, op: Operation) -> set[str]:
        """Return all users."""
        ...


class RowLayout:
    """Each vector in a row of its own, and nothing beside it: all but how to search.

    Args:
        table: of the index.
        reader: of its rows.
        maintenance: what ``optimize`` does.
    """

    def __init__(self, table: EmbeddingTable, reader: EmbeddingReader, maintenance: Sweep) -> None:
        self._table = table
        self._reader = reader
        self._writer = EmbeddingWriter(table, reader)
        self._maintenance = maintenance

    def upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        """Store records of one user."""
        self._writer.put(op, [(user_id, record) for record in records])

    def load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> bool:
        """Store records of any users, many in one request."""
        last = {(user_id, record.id): (user_id, record) for user_id, record in records}
        self._writer.put(op, list(last.values()))
        return True

    def delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        """Delete vectors by id."""
        return self._writer.delete(op, [self._table.chunks.key(user_id, one) for one in ids])

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
        """Remove what is expired, and mend rows."""
        return self._maintenance.run(op, user_id, progress)

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
