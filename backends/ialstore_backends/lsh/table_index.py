"""``EmbeddingTableIndex``: what every index does whose vectors are rows of a table of DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ialstore.errors import ConfigurationError, StoreNotReadyError
from ialstore.listing import Rows
from ialstore.model import EraseReport
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord, IndexSpec
from ialstore_backends.dynamodb.table import is_strong

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.model import OptimizeReport
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.definition import Schema
    from ialstore_backends.lsh.maintenance import Sweep
    from ialstore_backends.lsh.reading import EmbeddingReader
    from ialstore_backends.lsh.table import EmbeddingTable
    from ialstore_backends.lsh.writing import EmbeddingWriter

__all__ = ["EmbeddingTableIndex"]

_ROUNDS: Final = 3


class EmbeddingTableIndex(VectorIndex):
    """Everything but how to search, for what keeps each vector in a row of its own.

    A subclass sets the attributes below when it is made.
    """

    _table: EmbeddingTable
    _schema: Schema
    _reader: EmbeddingReader
    _writer: EmbeddingWriter
    _maintenance: Sweep

    @property
    def table(self) -> str:
        """Name of the table."""
        return self._table.name

    # -- the table and its spec -----------------------------------------------------------------

    def _bind_spec(self, op: Operation, spec: IndexSpec) -> IndexSpec:
        found = self._schema.layout(op)
        if found is None:
            raise StoreNotReadyError(f"{self.table} is not set up; run ialstore setup")
        for difference in self._schema.of_layout(found):
            raise ConfigurationError(f"{self.table}: {difference}")
        return IndexSpec(int(found["dimension"]), str(found["metric"]), str(found["model"]))

    def _setup(self, op: Operation) -> None:
        spec = self.spec
        beside: dict[str, int | str] = {
            "dimension": spec.dimension,
            "metric": spec.metric,
            "model": spec.model,
        }
        self._schema.create(op, beside)
        self._bind(op)

    def _check(self, op: Operation) -> list[str]:
        differences = self._schema.differences(op)
        try:
            of_spec = super()._check(op)
        except StoreNotReadyError:  # it is said already
            of_spec = []
        return list(dict.fromkeys([*differences, *of_spec]))

    def _close(self) -> None:
        self._table.side_by_side.close()
        self._table.client.close()

    def _after_fork(self) -> None:  # pragma: no cover - runs in forked children only
        self._table.side_by_side.forget()

    # -- writing --------------------------------------------------------------------------------

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self._writer.put(op, [(user_id, record) for record in records])

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        last = {(user_id, record.id): (user_id, record) for user_id, record in records}
        self._writer.put(op, list(last.values()))

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._writer.delete(op, [self._table.chunks.key(user_id, one) for one in ids])

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._writer.remove(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        removed = remaining = 0
        for _ in range(_ROUNDS):
            removed += self._writer.remove(op, user_id, None)
            op.renew()
            remaining = self._reader.count(op, user_id, strong=True)
            if not remaining:
                break
        return EraseReport(
            vectors=removed,
            remaining=remaining,
            out_of_reach=("backups, point-in-time recovery, streams and exports of the table",),
        )

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self._maintenance.run(op, user_id, progress)

    # -- reading --------------------------------------------------------------------------------

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        found = self._reader.records(op, user_id, ids, strong=is_strong(op))
        return {one.id: one for one in found if one.expires is None or one.expires > op.now}

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return self._reader.live_ids(op, user_id, limit, after, strong=is_strong(op))

    def _count(self, op: Operation, user_id: str) -> int:
        return self._reader.count(op, user_id, strong=is_strong(op))

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        users = sorted(user for user in self._reader.users(op) if user > (after or ""))
        return Rows(users[:limit], more=len(users) > limit)
