"""The search of the layout ``gsi``: cells of the index, or the rows themselves.

A strong search, and one that has a beginning in time, reads rows: they lie in the order of time,
and an index is never strongly consistent. Such a search is exact. Any other looks into cells of the
index until they hold the wanted share of what is near, and fetches the rows of the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from ialstore.ids import LOWEST_ID
from ialstore_backends._exact import ExactMatrix
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.lsh.hyperplanes import CELLS, Cells, Probing, home, runs
from ialstore_backends.lsh.rows import records_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery
    from ialstore_backends._exact import Ranking
    from ialstore_backends.dynamodb.table import Item

__all__ = ["EFFORT", "MIN_RECALL", "GsiSearch", "Source"]

EFFORT: Final = 0.9
"""Share of the nearest that a search aims at where it is not told."""
MIN_RECALL: Final = 0.9
_GAP_BYTES: Final = 2048
"""What a further query wastes on average, since it is rounded up to 4 KiB."""
_EVERYTHING: Final[Cells] = [(0, CELLS)]


class Source(Protocol):
    """Where entries and rows come from."""

    def all(
        self, op: Operation, user_id: str, lower: str, upper: str, *, strong: bool
    ) -> list[Item]:
        """Return the rows of a range of ids."""
        ...

    def entries(self, op: Operation, user_id: str, cells: Cells) -> list[Item]:
        """Return the entries of runs of cells."""
        ...

    def records(
        self, op: Operation, user_id: str, ids: Sequence[str], *, strong: bool
    ) -> list[EncodedRecord]:
        """Return the records of ids as they are now."""
        ...


class GsiSearch:
    """Searches the vectors of a user.

    Args:
        source: of rows and entries.
        spec: of the index.
        chunks: partitions of a user.
    """

    def __init__(self, source: Source, spec: IndexSpec, chunks: int) -> None:
        self._source = source
        self._spec = spec
        self._chunks = chunks

    def run(self, op: Operation, query: SearchQuery, *, strong: bool) -> Ranking:
        """Return the nearest; see ``VectorIndex._search``."""
        if not strong and query.lower == LOWEST_ID:
            op.note("plan", "SimilarityIndex")
            return self._through_index(op, query)
        op.note("plan", "rows")
        matrix = ExactMatrix(self._spec)
        self._put(
            matrix,
            self._source.all(op, query.user_id, query.lower, query.upper, strong=strong),
        )
        return matrix.search(query, op.now)

    def _through_index(self, op: Operation, query: SearchQuery) -> Ranking:
        share = EFFORT if query.effort is None else query.effort
        probing = Probing(query.vector, self._spec.metric)
        matrix = ExactMatrix(self._spec)
        read = np.zeros(CELLS, bool)
        longest = 0.0
        size = entries = rounds = 0
        wanted = _EVERYTHING if share == 1 else home(query.vector)
        while wanted:
            found = self._source.entries(op, query.user_id, wanted)
            for first, end in wanted:
                read[first:end] = True
            longest = max(longest, self._put(matrix, found))
            entries += len(found)
            size += sum(item_bytes(one, is_wire=True) for one in found[:1]) * len(found)
            rounds += 1
            scores = [score for score, _ in matrix.search(query, op.now).places]
            if read.all():
                break
            if len(scores) < query.k:  # how near the others are is not known
                wanted = runs(~read, read, CELLS)
                continue
            cells, chance = probing.wanted(scores, longest, share)
            if chance[read].sum() >= share:
                break
            gap = _GAP_BYTES * self._chunks * int(read.sum()) / size
            wanted = runs(cells, read, gap)
        op.note("cells", int(read.sum()))
        op.note("rounds", rounds)
        return self._as_they_are(op, query, matrix)

    def _as_they_are(self, op: Operation, query: SearchQuery, matrix: ExactMatrix) -> Ranking:
        """Return the best by their rows, which have texts, and may be newer than the index."""
        current: set[str] = set()
        while True:
            ranking = matrix.search(query, op.now)
            ids = [entry.id for _, entry in ranking.places if entry.id not in current]
            if not ids:
                return ranking
            records = self._source.records(op, query.user_id, ids, strong=False)
            matrix.discard(set(ids).difference(record.id for record in records))
            _put(matrix, records)
            current.update(ids)

    def _put(self, matrix: ExactMatrix, items: Sequence[Item]) -> float:
        return _put(matrix, records_of(items, self._spec))


def _put(matrix: ExactMatrix, records: Sequence[EncodedRecord]) -> float:
    """Put records into a matrix and return the length of the longest."""
    by_id = {record.id: record for record in records}  # an entry may be on the move
    if not by_id:
        return 0.0
    vectors: NDArray[np.float32] = np.array([record.vector for record in by_id.values()])
    matrix.put(list(by_id.values()), vectors)
    return float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
