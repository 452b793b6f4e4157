"""The layout ``gsi``: rows, and codes in an index of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ialstore_backends.dynamodb.table import is_strong
from ialstore_backends.dynamodb_embeddings.layout import RowLayout
from ialstore_backends.dynamodb_embeddings.reading import EmbeddingReader
from ialstore_backends.lsh.gsi import GsiSearch
from ialstore_backends.lsh.gsi_source import GsiSource
from ialstore_backends.lsh.maintenance import Maintenance

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import SearchQuery, SearchResult
    from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable

__all__ = ["GsiLayout"]


class GsiLayout(RowLayout):
    """Answers the calls of an index.

    Args:
        table: of the index.
    """

    def __init__(self, table: EmbeddingTable) -> None:
        reader = EmbeddingReader(table)
        super().__init__(table, reader, Maintenance(table, reader))
        self._searcher = GsiSearch(table.spec, table.chunks.count)

    def search(self, op: Operation, query: SearchQuery) -> SearchResult:
        """Return the nearest."""
        source = GsiSource(op, self._table, self._reader)
        found = self._searcher.run(source, query, op.now, strong=is_strong(op))
        op.note("plan", found.plan)
        if found.rounds:
            op.note("cells", found.cells)
            op.note("rounds", found.rounds)
        return found.ranking.result()
