"""The search of the layout ``gsi``: cells of the index, or the rows themselves.

A strong search, and one that has a beginning in time, reads rows: they lie in the order of time,
and an index is never strongly consistent. Such a search is exact. Any other looks into cells of the
index until they hold the wanted share of what is near, and fetches the rows of the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from ialstore.ids import LOWEST_ID
from ialstore_backends._exact import ExactMatrix
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.lsh.hyperplanes import CELLS, Cells, Probing, home, runs
from ialstore_backends.lsh.rows import records_of
from ialstore_backends.lsh.table import SIMILARITY_INDEX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery
    from ialstore_backends._exact import Ranking
    from ialstore_backends.dynamodb.table import Item

__all__ = ["EFFORT", "MIN_RECALL", "Found", "GsiSearch", "Source"]

EFFORT: Final = 0.9
"""Share of the nearest that a search aims at where it is not told."""
MIN_RECALL: Final = 0.9
_GAP_BYTES: Final = 2048
"""What a further query wastes on average, since it is rounded up to 4 KiB."""
_EVERYTHING: Final[Cells] = [(0, CELLS)]


class Source(Protocol):
    """Where entries and rows of one call come from."""

    def rows(self, user_id: str, lower: str, upper: str, *, strong: bool) -> list[Item]:
        """Return the rows of a range of ids."""
        ...

    def entries(self, user_id: str, cells: Cells) -> list[Item]:
        """Return the entries of runs of cells."""
        ...

    def records(self, user_id: str, ids: Sequence[str]) -> list[EncodedRecord]:
        """Return the records of ids as they are now."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and how.

    Attributes:
        ranking: the best.
        plan: ``rows`` or the name of the index.
        cells: of the index, that were read.
        rounds: in which they were.
    """

    ranking: Ranking
    plan: str
    cells: int = 0
    rounds: int = 0


class GsiSearch:
    """Searches the vectors of a user.

    Args:
        spec: of the index.
        chunks: partitions of a user.
    """

    def __init__(self, spec: IndexSpec, chunks: int) -> None:
        self._spec = spec
        self._chunks = chunks

    def run(self, source: Source, query: SearchQuery, now: int, *, strong: bool) -> Found:
        """Return the nearest; see ``VectorIndex._search``.

        Args:
            source: of rows and entries.
            query: what is asked.
            now: the second that decides on expiry.
            strong: read consistently.
        """
        if not strong and query.lower == LOWEST_ID:
            return self._through_index(source, query, now)
        rows = source.rows(query.user_id, query.lower, query.upper, strong=strong)
        matrix = ExactMatrix(self._spec)
        _put(matrix, records_of(rows, self._spec))
        return Found(matrix.search(query, now), "rows")

    def _through_index(self, source: Source, query: SearchQuery, now: int) -> Found:
        share = EFFORT if query.effort is None else query.effort
        probing = Probing(query.vector, self._spec.metric)
        matrix = ExactMatrix(self._spec)
        read = np.zeros(CELLS, bool)
        lengths: tuple[float, float] = (math.inf, 0.0)
        size = rounds = 0
        wanted = _EVERYTHING if share == 1 else home(query.vector)
        while wanted:
            found = source.entries(query.user_id, wanted)
            for first, end in wanted:
                read[first:end] = True
            rounds += 1
            shortest, longest = _put(matrix, records_of(found, self._spec))
            lengths = min(lengths[0], shortest), max(lengths[1], longest)
            size += sum(item_bytes(one, is_wire=True) for one in found[:1]) * len(found)
            if read.all():
                break
            scores = [score for score, _ in matrix.search(query, now).places]
            if len(scores) < query.k:  # how near the others are is not known
                wanted = runs(~read, read, CELLS)
            else:
                cells, chance = probing.wanted(scores, lengths, share)
                if chance[read].sum() >= share:
                    cells = read
                wanted = runs(cells, read, _GAP_BYTES * self._chunks * int(read.sum()) / size)
        ranking = self._as_they_are(source, query, now, matrix)
        return Found(ranking, SIMILARITY_INDEX, int(read.sum()), rounds)

    def _as_they_are(
        self, source: Source, query: SearchQuery, now: int, matrix: ExactMatrix
    ) -> Ranking:
        """Return the best by their rows, which have texts, and may be newer than the index."""
        current: set[str] = set()
        while True:
            ranking = matrix.search(query, now)
            ids = [entry.id for _, entry in ranking.places if entry.id not in current]
            if not ids:
                return ranking
            records = source.records(query.user_id, ids)
            matrix.discard(set(ids).difference(record.id for record in records))
            _put(matrix, records)
            current.update(ids)


def _put(matrix: ExactMatrix, records: Sequence[EncodedRecord]) -> tuple[float, float]:
    """Put records into a matrix; return the lengths of the shortest and the longest."""
    by_id = {record.id: record for record in records}  # an entry may be on the move
    if not by_id:
        return math.inf, 0.0
    vectors: NDArray[np.float32] = np.array([record.vector for record in by_id.values()])
    matrix.put(list(by_id.values()), vectors)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return float(lengths.min()), float(lengths.max())
