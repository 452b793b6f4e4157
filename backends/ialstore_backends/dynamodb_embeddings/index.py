"""``EmbeddingTableIndex``: what every index does whose vectors are rows of a table of DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ialstore.errors import ConfigurationError, StoreNotReadyError
from ialstore.listing import Rows
from ialstore.model import EraseReport
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery, SearchResult

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.model import OptimizeReport
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.definition import Schema
    from ialstore_backends.dynamodb_embeddings.layout import Layout
    from ialstore_backends.dynamodb_embeddings.table import VectorTable

__all__ = ["EmbeddingTableIndex"]


class EmbeddingTableIndex(VectorIndex):
    """A table, its spec, and a layout that answers the calls.

    A subclass sets the attributes below when it is made.
    """

    _table: VectorTable
    _schema: Schema
    _layout: Layout

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

    # -- calls ----------------------------------------------------------------------------------

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self._layout.upsert(op, user_id, records)

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        if not self._layout.load(op, records):
            super()._load(op, records)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._layout.delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._layout.delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        removed, remaining = self._layout.erase(op, user_id)
        return EraseReport(
            vectors=removed,
            remaining=remaining,
            out_of_reach=("backups, point-in-time recovery, streams and exports of the table",),
        )

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self._layout.optimize(op, user_id, progress)

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        return self._layout.search(op, query)

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        return self._layout.get(op, user_id, ids)

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return self._layout.ids(op, user_id, limit, after)

    def _count(self, op: Operation, user_id: str) -> int:
        return self._layout.count(op, user_id)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        users = sorted(user for user in self._layout.users(op) if user > (after or ""))
        return Rows(users[:limit], more=len(users) > limit)
