"""Rows, and an index that the service keeps of their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ialstore_backends.dynamodb.table import is_strong
from ialstore_backends.dynamodb_embeddings.layout import RowLayout
from ialstore_backends.dynamodb_embeddings.reading import EmbeddingReader
from ialstore_backends.dynamodb_embeddings.sweep import Sweep
from ialstore_backends.dynamodb_vector.reading import VectorSource
from ialstore_backends.dynamodb_vector.searching import VectorSearch

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import SearchQuery, SearchResult
    from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable

__all__ = ["VectorLayout"]


class VectorLayout(RowLayout):
    """Answers the calls of an index.

    Args:
        table: of the index.
        lag_seconds: how far the service's index may lie behind the rows.
    """

    def __init__(self, table: EmbeddingTable, lag_seconds: int) -> None:
        reader = EmbeddingReader(table)
        super().__init__(table, reader, Sweep(table, reader))
        self._searcher = VectorSearch(table.spec)
        self._lag_seconds = lag_seconds

    def search(self, op: Operation, query: SearchQuery) -> SearchResult:
        """Return the nearest."""
        source = VectorSource(op, self._table, self._reader, self._lag_seconds)
        found = self._searcher.run(source, query, op.now, strong=is_strong(op))
        op.note("plan", found.plan)
        op.note("rounds", found.rounds)
        return found.ranking.result()
