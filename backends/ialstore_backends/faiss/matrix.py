"""The vectors of one user with a FAISS index over the first of them.

Rows never move, because a row's place is its number in the FAISS index: what is removed or replaced
stays as a grave, which filters pass over. The rows behind the index are searched exactly.
"""

from __future__ import annotations

import math
import time
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore_backends._exact import Entry, ExactMatrix, is_filtered, text_bytes
from ialstore_backends.faiss.parts import GRAVE, Built, Live, scale_of, selector_of
from ialstore_backends.faiss.recipes import LEAST, Asking, faiss
from ialstore_backends.faiss.scratch import on_disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from ialstore.vector_model import IndexSpec, SearchQuery
    from ialstore_backends._exact import Ranking
    from ialstore_backends.faiss.parts import Restored
    from ialstore_backends.faiss.recipes import Recipe

__all__ = ["ON_DISK_FROM", "FaissMatrix"]

_ABSORB_SECONDS: Final = 0.002
"""That a search spends on putting rows into the index, about."""
_GENTLY: Final = {"flat": 1024, "hnsw": 4, "ivf": 256}
"""Rows that it puts at once; each takes some milliseconds of a graph's time."""
_ROWS_AT_ONCE: Final = 1024
_SPARSE: Final = 10  # fewer than one in so many: scored exactly, rather than looked for
_WORN: Final = 5  # an index is made anew when one row in so many is a grave
_GROWN: Final = 2  # or when there are so many times the rows that it learned from
_HEADROOM: Final = 1.1  # of the longest vector, for longer ones
_GROWN_LONG: Final = 64.0  # times the longest vector, which float16 still holds as it is scaled
_LONG: Final = 4096.0  # of a query under the dot product: sixteen times the longest vector, scaled
_MODEST: Final = 2.0**40  # longer or shorter vectors leave the range of float32 when squared
_BYTES_BESIDE: Final = 16  # number and checksum of a row
ON_DISK_FROM: Final = 2**24
"""Bytes of vectors that are rather held in memory: each file takes one of the process's few."""
_LONG_AGO: Final = int(np.iinfo(np.int64).min)
_NEVER: Final = int(np.iinfo(np.int64).max)


class FaissMatrix(ExactMatrix):
    """Vectors of one user, searched with the help of FAISS.

    Args:
        spec: dimension and metric.
        recipe: the kind of index.
        folder: for the vectors themselves, where the index keeps smaller ones in memory.
        capacity: vectors it has room for without growing.
    """

    def __init__(self, spec: IndexSpec, recipe: Recipe, folder: str, capacity: int = 0) -> None:
        self._recipe = recipe
        self._folder = folder
        self._is_on_disk = False
        super().__init__(spec, capacity)
        self._built: Built | None = None
        self._expected: Restored | None = None
        self._live: Live | None = None
        self._graves = 0
        self._is_modest = True
        self._usual: tuple[object, tuple[Asking, Any]] | None = None
        self._selector: tuple[object, Any, int] | None = None
        self.numbers = array("q")
        """Of the rows in the file; 0 for what came without."""
        self.checksums = array("q")
        """Of the rows in the file."""

    @property
    def nbytes(self) -> int:
        """Bytes held in memory, those of Python's objects estimated."""
        each = _BYTES_BESIDE - 4 * self._dimension * self._is_on_disk
        indexed = 0 if self._built is None else self._built.count
        of_index = indexed * self._recipe.bytes_per_vector(self._dimension)
        return super().nbytes + len(self) * each + of_index

    @property
    def built(self) -> Built | None:
        """The FAISS index, if there is one."""
        return self._built

    @property
    def pending(self) -> int:
        """Rows behind the index that could be put into it."""
        if len(self) - self._graves < LEAST or not self._is_modest or self._recipe.is_exact:
            return 0
        return self._fitting() - (0 if self._built is None else self._built.count)

    @property
    def is_worn(self) -> bool:
        """Whether an index made anew would be better."""
        if self._built is None:
            return False
        outgrown = len(self) > _GROWN * self._built.learned_from
        stuck = self._built.count + LEAST < len(self) and not self.pending
        return outgrown or stuck or self._graves * _WORN > len(self)

    # -- filling --------------------------------------------------------------------------------

    def put(self, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Add vectors; those whose id is there already are replaced."""
        if known := [entry.id for entry in entries if entry.id in self._row_of]:
            self._prepared(entries, vectors)  # raises before anything is changed
            self._bury(known)
        before = len(self)
        super().put(entries, vectors)
        self.numbers.extend([0] * len(entries))
        self.checksums.extend([0] * len(entries))
        self._live = None
        if self._metric != "cosine":
            lengths = self._lengths[before : len(self)]
            modest = (lengths < _MODEST) & ((lengths > 1 / _MODEST) | (lengths == 0))
            self._is_modest &= bool(modest.all())

    def put_rows(
        self,
        entries: Sequence[Entry],
        vectors: NDArray[np.float32],
        numbers: NDArray[np.int64],
        checksums: NDArray[np.int64],
    ) -> None:
        """Add vectors with the numbers of their rows in the file, ascending, and their checksums.

        Where a restored index is expected, each goes to its place in it.
        """
        places = None if self._expected is None else self._expected.places(numbers, checksums)
        if places is None:
            self._expected = None  # another file's, or none
            self._put_marked(entries, vectors, numbers, checksums)
            return
        starts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        for start, end in pairwise(starts):
            if end > start:
                self.skip(int(places[start]) - len(self))
                run = slice(start, end)
                self._put_marked(entries[run], vectors[run], numbers[run], checksums[run])
        if len(places) < len(entries):
            self.finish()
            rest = slice(len(places), None)
            self._put_marked(entries[rest], vectors[rest], numbers[rest], checksums[rest])

    def _put_marked(
        self,
        entries: Sequence[Entry],
        vectors: NDArray[np.float32],
        numbers: NDArray[np.int64],
        checksums: NDArray[np.int64],
    ) -> None:
        self.put(entries, vectors)
        first = len(self) - len(entries)
        self.numbers[first:] = array("q", numbers.tobytes())
        self.checksums[first:] = array("q", checksums.tobytes())

    def expect(self, restored: Restored) -> None:
        """Make ready for the rows of which a restored index was made; the matrix is empty."""
        self._expected = restored

    def finish(self) -> None:
        """Search with the restored index from now on: all rows that it was made of are put."""
        restored, self._expected = self._expected, None
        if restored is not None:
            self.skip(len(restored.numbers) - len(self))
            built = restored.built
            self._recipe.complete(built.index, self._for_index(0, built.count, built.ceiling))
            self._built = built

    def discard(self, ids: Iterable[str]) -> None:
        """Remove the vectors with these ids; unknown ones are passed over."""
        self._bury(ids)
        if 2 * self._graves > len(self) and self._graves > LEAST:
            self.renew()

    def _bury(self, ids: Iterable[str]) -> None:
        rows = [row for one in ids if (row := self._row_of.pop(one, None)) is not None]
        for row in rows:
            self._text_bytes -= text_bytes(self._entries[row])
            self._entries[row] = GRAVE
        self._mark_graves(rows)

    def _mark_graves(self, rows: Sequence[int]) -> None:
        if rows:
            self._expires[rows] = _LONG_AGO
            self._soonest = _LONG_AGO
            self._graves += len(rows)
            self._live = None

    def skip(self, count: int) -> None:
        """Add graves, where an index counts rows that are gone."""
        if not count:
            return
        before = len(self)
        self._reserve(before + count)
        self._entries += [GRAVE] * count
        for column, value in zip(self._columns(), (0, 1, 1, b"", -1, 0, 0), strict=True):
            column[before : len(self)] = value
        self.numbers.extend([0] * count)
        self.checksums.extend([0] * count)
        self._mark_graves(range(before, len(self)))

    def renew(self) -> None:
        """Remove the graves, and the index, which counts them."""
        kept = np.flatnonzero(self._expires[: len(self)] != _LONG_AGO)
        for column in self._columns():
            column[: len(kept)] = column[kept]
        rows = kept.tolist()
        self._entries = [self._entries[row] for row in rows]
        self.numbers = array("q", [self.numbers[row] for row in rows])
        self.checksums = array("q", [self.checksums[row] for row in rows])
        self._row_of = {entry.id: row for row, entry in enumerate(self._entries)}
        self._soonest = int(self._expires[: len(self)].min(initial=_NEVER))
        self._longest = float(self._lengths[: len(self)].max(initial=0.0))
        self._graves = 0
        self._built = self._live = self._usual = None

    def _room(self, capacity: int) -> NDArray[np.float32]:
        if self._recipe.keeps_rows or capacity * 4 * self._dimension < ON_DISK_FROM:
            return super()._room(capacity)
        self._is_on_disk = True
        return on_disk(self._folder, self._rows, capacity)

    # -- the index ------------------------------------------------------------------------------

    def absorb(self, seconds: float, *, starting: bool = True, at_once: int = _ROWS_AT_ONCE) -> int:
        """Put rows into the index for about so long; return how many are left to put.

        Args:
            seconds: of work; a first training may take longer.
            starting: whether to begin an index where there is none.
            at_once: rows between two looks at the clock.
        """
        until = time.monotonic() + seconds
        if self._built is None and starting and self.pending:
            self._start()
        built = self._built
        while built is not None and self.pending:
            end = min(built.count + at_once, self._fitting())
            faiss()
            built.index.add(self._for_index(built.count, end, built.ceiling))
            built.count = end
            if time.monotonic() >= until:
                break
        return self.pending

    def _start(self) -> None:
        count = len(self)
        ceiling = (_HEADROOM * self._longest) ** 2
        index = self._recipe.make(self._width, self._for_index(0, count, ceiling))
        self._built = Built(index, 0, count, ceiling)

    def _fitting(self) -> int:
        """Return how many rows, from the first, the index can take."""
        count = len(self)
        if self._metric == "cosine" or self._built is None:
            return count
        first = self._built.count
        most = 1.0 if self._recipe.is_widened else _GROWN_LONG**2
        longer = self._lengths[first:count] ** 2 > most * self._built.ceiling
        return first + int(longer.argmax()) if longer.any() else count

    @property
    def _width(self) -> int:
        return self._dimension + self._recipe.is_widened

    def _for_index(self, start: int, end: int, ceiling: float) -> NDArray[np.float32]:
        """Return some rows as the index ranks them."""
        rows = self._rows[start:end]
        if self._metric == "cosine":
            return rows * self._factors[start:end, None]
        if self._recipe.is_widened:
            # A sphere around the origin, on which near means a large product (Bachrach et al.,
            # Speeding up the Xbox recommender system, 2014).
            rest = np.maximum(ceiling - self._lengths[start:end] ** 2, 0)
            rows = np.column_stack((rows, np.sqrt(rest).astype(np.float32)))
        return rows * np.float32(scale_of(ceiling))

    # -- searching ------------------------------------------------------------------------------

    def search(self, query: SearchQuery, now: int) -> Ranking:
        """Return the nearest vectors that pass the filters and are not expired at ``now``."""
        self.finish()
        if self.pending:
            recipe = self._recipe
            gently = _GENTLY[recipe.kind]
            self.absorb(_ABSORB_SECONDS, starting=recipe.starts_by_itself, at_once=gently)
        return super().search(query, now)

    def _chosen(self, query: SearchQuery, now: int) -> NDArray[np.intp] | None:
        if self._soonest > now or is_filtered(query):
            return super()._chosen(query, now)
        live = self._live
        if live is None or not live.since <= now < live.until:
            expires = self._expires[: len(self)]
            rows = np.flatnonzero(expires > now)
            gone = expires[expires <= now].max(initial=_LONG_AGO)
            live = self._live = Live(int(gone), int(expires[rows].min(initial=_NEVER)), rows)
        return live.rows

    def _candidates(
        self,
        vector: NDArray[np.float32],
        length: float,
        query: SearchQuery,
        chosen: NDArray[np.intp] | None,
    ) -> NDArray[np.intp]:
        found = None
        if self._built is not None and query.effort != 1 and not self._is_odd(length):
            found = self._propose(self._built, vector, length, query, chosen)
        if found is None:
            return super()._candidates(vector, length, query, chosen)
        inside = self._built.count if self._built else 0
        if inside == len(self):
            return found
        behind = np.arange(inside, len(self)) if chosen is None else chosen[chosen >= inside]
        if not len(behind):
            return found
        return np.concatenate((found, super()._candidates(vector, length, query, behind)))

    def _is_odd(self, length: float) -> bool:
        """Whether float32 can't hold the squares that FAISS computes."""
        return self._metric != "cosine" and not (self._is_modest and length < _MODEST)

    def _propose(
        self,
        built: Built,
        vector: NDArray[np.float32],
        length: float,
        query: SearchQuery,
        chosen: NDArray[np.intp] | None,
    ) -> NDArray[np.intp] | None:
        """Return rows that the index takes for the nearest, or None where it is of no help."""
        selector, many = None, built.count
        if chosen is not None:
            many = int(np.searchsorted(chosen, built.count))
            if many * _SPARSE < built.count:
                return None
            selector = self._selector_of(chosen, many, built.count)
        wanted = self._recipe.wanted(query.k, query.effort, self._dimension)
        asked = wanted + self._recipe.doubtful(query.k)
        if asked >= many:
            return None
        asking, parameters = self._asking(built, (wanted, asked), query.effort, many, selector)
        # In float64: what makes a subnormal vector long is more than float32 holds.
        scale = np.float64(self._scale_of_query(built, length))
        np.multiply(vector, scale, out=asking.point[: self._dimension], casting="same_kind")
        found = asking.labels(parameters)
        if found[-1] < 0:
            found = found[found >= 0]
            if len(found) < query.k:
                return None  # parts of a graph that nothing leads to
        if len(found) <= wanted:
            return found
        near = self._near(built, asking.distances[: len(found)], query.k)
        return found[: max(near, wanted)] if near < len(found) else None  # rounding hides which

    def _near(self, built: Built, distances: NDArray[np.float32], k: int) -> int:
        """Return how many candidates may be among the k nearest, as far as rounding goes."""
        ceiling = built.ceiling
        longest = 1.0 if self._metric == "cosine" else math.sqrt(ceiling) * scale_of(ceiling)
        worst = float(distances[k - 1])
        doubt = self._recipe.doubt(worst, _LONG, longest, self._dimension)
        if self._recipe.ranks_products:
            return int((distances >= worst - doubt).sum())
        return int((distances <= worst + doubt).sum())

    def _scale_of_query(self, built: Built, length: float) -> float:
        if self._metric == "euclidean":
            return scale_of(built.ceiling)
        if self._metric == "dot":
            # The order is the same for every length. In the distances of a graph only a product
            # with a long one stands out from the rounding of what should be equally long vectors.
            return _LONG / length if length else 1.0
        return 1 / length

    def _asking(
        self,
        built: Built,
        sizes: tuple[int, int],
        effort: float | None,
        many: int,
        selector: Any,
    ) -> tuple[Asking, Any]:
        """Return how to search; the same objects again where all may be found.

        Args:
            built: what to search.
            sizes: candidates wanted, and those to ask for.
            effort: of the search.
            many: rows that may be found.
            selector: of these, or None for all.
        """
        key = (sizes, effort, built.count)
        if selector is None and self._usual is not None and self._usual[0] == key:
            return self._usual[1]
        share = many / built.count
        parameters = self._recipe.parameters(built.index, sizes[0], effort, share, selector)
        made = Asking(built.index, sizes[1]), parameters
        if selector is None:
            self._usual = (key, made)
        return made

    def _selector_of(self, chosen: NDArray[np.intp], many: int, count: int) -> Any:
        """Return FAISS's form of the rows chosen among the first ``count``."""
        if self._live is not None and chosen is self._live.rows:
            if (
                self._selector is None
                or self._selector[0] is not chosen
                or self._selector[2] != count
            ):
                self._selector = (chosen, selector_of(chosen[:many], count), count)
            return self._selector[1]
        return selector_of(chosen[:many], count)
