"""Exact search over the vectors of one user, held in one float32 matrix.

One matrix product in float32 estimates every score. What lies within the proven error of the k-th
best estimate is scored again in float64, so that the order is the true one. Indexes own the
matrices: they fill them and lock them.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import numpy as np

from ialstore.errors import CorruptError
from ialstore.ids import HIGHEST_ID, LOWEST_ID, Role
from ialstore.vector_model import Hit, SearchResult

if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView, Sequence

    from numpy.typing import NDArray

    from ialstore.vector_model import IndexSpec, SearchQuery

__all__ = [
    "Entry",
    "ExactMatrix",
    "Ranking",
    "bytes_per_vector",
    "is_filtered",
    "lower_bound",
    "merge",
    "text_bytes",
]

_ROLES: Final = tuple(Role)
_ROLE_NUMBER: Final = {role: number for number, role in enumerate(_ROLES)}
_NEVER: Final = int(np.iinfo(np.int64).max)
_UNIT: Final = 2.0**-24  # the rounding error of float32
_TINIEST: Final = 2.0**-126  # what a product may lose to underflow, if it is flushed to zero
_OVERFLOW: Final = 1e38
_MODEST: Final = 2.0**40  # lengths between its inverse and this can neither over- nor underflow
_SPARSE: Final = 8  # a row gathered costs about as much as so many rows multiplied in place
_MANY: Final = 64  # candidates beyond k that are rather thinned out than scored
_ONE_CORE: Final = 2**21  # numbers whose products are not worth a second core
_GROUP: Final = 64  # estimates of which only the best is looked at first, at most
_LEAST_GROUP: Final = 4  # smaller ones save nothing
_GROUPS_PER_HIT: Final = 4
_BLOCK_BYTES: Final = 2**20  # of float64 at once: stays in the processor's cache
_GROWTH: Final = 1.25
_BYTES_PER_ENTRY: Final = 350  # of the columns, the entry, its id and the dictionary of ids


_Lengths = TypeVar("_Lengths", float, "NDArray[np.float64]")


class Entry(Protocol):
    """What is kept beside a vector; an ``EncodedRecord`` is one."""

    @property
    def id(self) -> str:
        """A message id."""
        ...

    @property
    def session_id(self) -> str:
        """Session of the message."""
        ...

    @property
    def role(self) -> Role:
        """Role of the message."""
        ...

    @property
    def text(self) -> str | None:
        """Returned with a hit."""
        ...

    @property
    def expires(self) -> int | None:
        """Seconds since 1970, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best of one matrix.

    Attributes:
        places: scores and entries, sorted by (-score, id).
        examined: vectors that passed the filters.
        reranked: of these, vectors whose score was computed in float64.
    """

    places: Sequence[tuple[float, Entry]] = ()
    examined: int = 0
    reranked: int = 0

    def result(self) -> SearchResult:
        """Return the result of the search."""
        hits = tuple(
            Hit(entry.id, score, entry.session_id, entry.role, entry.text)
            for score, entry in self.places
        )
        return SearchResult(hits, self.examined, self.reranked)


def merge(first: Ranking, second: Ranking, k: int) -> Ranking:
    """Return the best k of two matrices that share no id."""
    places = sorted([*first.places, *second.places], key=_best_first)
    return Ranking(places[:k], first.examined + second.examined, first.reranked + second.reranked)


def bytes_per_vector(dimension: int) -> int:
    """Return what a matrix holds for each vector, without its text."""
    return 4 * dimension + _BYTES_PER_ENTRY


class ExactMatrix:
    """Vectors of one user with what the filters need, searched exactly.

    Not thread-safe: its owner holds a lock around every call. What puts, replaces or discards
    a few vectors copies no others; only a full matrix grows, by a quarter.

    Args:
        spec: dimension and metric.
        capacity: vectors it has room for without growing.
    """

    def __init__(self, spec: IndexSpec, capacity: int = 0) -> None:
        self._metric = spec.metric
        self._dimension = spec.dimension
        self._entries: list[Entry] = []
        self._row_of: dict[str, int] = {}
        self._session_number: dict[str, int] = {}
        self._text_bytes = 0
        self._rows = np.empty((0, spec.dimension), np.float32)
        self._rows = self._room(capacity)
        self._lengths = np.empty(capacity)
        self._factors = np.empty(capacity, np.float32)
        self._ids = np.empty(capacity, "S36")
        self._sessions = np.empty(capacity, np.int32)
        self._roles = np.empty(capacity, np.int8)
        self._expires = np.empty(capacity, np.int64)
        self._soonest = _NEVER  # no vector expires earlier
        self._longest = 0.0  # no vector is longer

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ids(self) -> KeysView[str]:
        """The ids of all vectors, expired ones included."""
        return self._row_of.keys()

    @property
    def nbytes(self) -> int:
        """Bytes held, those of Python's objects estimated."""
        return len(self) * bytes_per_vector(self._dimension) + self._text_bytes

    def put(self, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Add vectors; those whose id is there already are replaced.

        Args:
            entries: with different ids; kept.
            vectors: shape (len(entries), dimension); copied.

        Raises:
            CorruptError: a vector is not finite, or zero under cosine; nothing was added.
        """
        rows, lengths, factors = self._prepared(entries, vectors)
        ids = [entry.id for entry in entries]
        expires = [_NEVER if entry.expires is None else entry.expires for entry in entries]
        columns: tuple[NDArray[Any], ...] = (
            rows,
            lengths,
            factors,
            np.array(ids, "S36"),
            np.array([self._number(entry.session_id) for entry in entries], np.int32),
            np.array([_ROLE_NUMBER[entry.role] for entry in entries], np.int8),
            np.array(expires, np.int64),
        )
        before = len(self)
        fresh = [entry for entry in entries if entry.id not in self._row_of]
        self._reserve(before + len(fresh))
        self._row_of.update((entry.id, row) for row, entry in enumerate(fresh, before))
        self._entries += fresh
        where: slice | list[int] = slice(before, len(self))
        if len(fresh) < len(entries):
            where = [self._row_of[one] for one in ids]
            for row, entry in zip(where, entries, strict=True):
                self._text_bytes -= text_bytes(self._entries[row]) if row < before else 0
                self._entries[row] = entry
        for mine, given in zip(self._columns(), columns, strict=True):
            mine[where] = given
        self._text_bytes += sum(map(text_bytes, entries))
        self._soonest = min(self._soonest, *expires)
        self._longest = max(self._longest, float(lengths.max()))

    def discard(self, ids: Iterable[str]) -> None:
        """Remove the vectors with these ids; unknown ones are passed over."""
        for one in ids:
            row = self._row_of.pop(one, None)
            if row is None:
                continue
            self._text_bytes -= text_bytes(self._entries[row])
            last = self._entries.pop()
            if row != len(self):  # the last one moves into the gap
                self._entries[row] = last
                self._row_of[last.id] = row
                for column in self._columns():
                    column[row] = column[len(self)]
        self._soonest = int(self._expires[: len(self)].min(initial=_NEVER))
        self._longest = float(self._lengths[: len(self)].max(initial=0.0))

    def search(self, query: SearchQuery, now: int) -> Ranking:
        """Return the nearest vectors that pass the filters and are not expired at ``now``."""
        chosen = self._chosen(query, now)
        examined = len(self) if chosen is None else len(chosen)
        if not examined:
            return Ranking()
        given = query.vector
        vector = given.astype(np.float64)
        length = math.sqrt(vector.dot(vector))
        if self._metric == "cosine" and not 1 / _MODEST < length < _MODEST:
            vector, length = _scaled(vector, length)
            given = vector.astype(np.float32)
        rows = self._candidates(given, length, query, chosen)
        scores = self._scores(rows, vector, length)
        found = map(self._entries.__getitem__, rows.tolist())
        places = sorted(zip(scores, found, strict=True), key=_best_first)
        return Ranking(places[: query.k], examined, len(places))

    # -- filling --------------------------------------------------------------------------------

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return (
            self._rows,
            self._lengths,
            self._factors,
            self._ids,
            self._sessions,
            self._roles,
            self._expires,
        )

    def _prepared(
        self, entries: Sequence[Entry], vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]]:
        """Return rows for the matrix, their lengths, and what estimates need of each.

        Under cosine only the direction counts: rows too long or too short for float32 products
        are scaled by a power of two, which is exact.
        """
        lengths = np.empty(len(vectors))
        block = _rows_at_once(self._dimension)
        for start in range(0, len(vectors), block):
            wide = vectors[start : start + block].astype(np.float64)
            wide *= wide
            lengths[start : start + block] = np.sqrt(np.add.reduce(wide, axis=1))
        good = np.isfinite(lengths)
        if self._metric == "cosine":
            good &= lengths > 0
        if not good.all():
            bad = entries[int(np.argmin(good))].id
            raise CorruptError(f"the stored vector of {bad} is not one; delete it or restore it")
        if self._metric == "dot":
            return vectors, lengths, np.zeros(len(vectors), np.float32)
        if self._metric == "euclidean":
            with np.errstate(over="ignore"):
                return vectors, lengths, (0.5 * lengths * lengths).astype(np.float32)
        odd = (lengths >= _MODEST) | (lengths <= 1 / _MODEST)
        if odd.any():
            vectors = vectors.copy()
            for row in np.flatnonzero(odd):
                vectors[row], lengths[row] = _scaled(vectors[row].astype(np.float64), lengths[row])
        return vectors, lengths, (1 / lengths).astype(np.float32)

    def _number(self, session_id: str) -> int:
        return self._session_number.setdefault(session_id, len(self._session_number))

    def _reserve(self, count: int) -> None:
        if count <= len(self._lengths):
            return
        capacity = max(count, int(len(self._lengths) * _GROWTH))
        self._rows = self._room(capacity)
        (
            self._lengths,
            self._factors,
            self._ids,
            self._sessions,
            self._roles,
            self._expires,
        ) = (_grown(column, capacity) for column in self._columns()[1:])

    def _room(self, capacity: int) -> NDArray[np.float32]:
        """Return the rows there are, with room for so many."""
        return _grown(self._rows, capacity)

    # -- searching ------------------------------------------------------------------------------

    def _chosen(self, query: SearchQuery, now: int) -> NDArray[np.intp] | None:
        """Return the rows that pass the filters, ascending; None for all."""
        count = len(self)
        masks: list[NDArray[np.bool_]] = []
        if self._soonest <= now:
            masks.append(self._expires[:count] > now)
        if query.session_id is not None:
            number = self._session_number.get(query.session_id, -1)
            masks.append(self._sessions[:count] == number)
        if query.exclude_session_id is not None:
            number = self._session_number.get(query.exclude_session_id, -1)
            masks.append(self._sessions[:count] != number)
        if query.roles is not None:
            wanted = np.array([role in query.roles for role in _ROLES])
            masks.append(wanted[self._roles[:count]])
        if query.lower != LOWEST_ID:
            masks.append(self._ids[:count] >= np.bytes_(query.lower))
        if query.upper != HIGHEST_ID:
            masks.append(self._ids[:count] < np.bytes_(query.upper))
        return np.flatnonzero(np.logical_and.reduce(masks)) if masks else None

    def _candidates(
        self,
        vector: NDArray[np.float32],
        length: float,
        query: SearchQuery,
        chosen: NDArray[np.intp] | None,
    ) -> NDArray[np.intp]:
        """Return the rows, of those chosen, that can be among the best k by their true scores.

        Args:
            vector: that of the query, scaled to a modest length under cosine.
            length: of this vector.
            query: what is asked for.
            chosen: ascending; None for all.
        """
        count, k = len(self), query.k
        examined = count if chosen is None else len(chosen)
        if examined <= k or self._overflows(length):
            return np.arange(count) if chosen is None else chosen
        if chosen is None:
            estimates = _products(self._rows[:count], vector)
        elif examined * _SPARSE < count:
            estimates = _products(self._rows.take(chosen, 0), vector)
        else:
            estimates = _products(self._rows[:count], vector).take(chosen)
        which: slice | NDArray[np.intp] = slice(count) if chosen is None else chosen
        if self._metric == "cosine":
            estimates *= self._factors[which]
        elif self._metric == "euclidean":  # |q|^2 is the same for all, and a half ranks as well
            estimates -= self._factors[which]
        error = self._error(length, 1.0 if self._metric == "cosine" else self._longest)
        near = (estimates >= lower_bound(estimates, k) - 2 * error).nonzero()[0]
        if len(near) > k + _MANY and self._metric != "cosine":  # perhaps for one long vector's sake
            errors = self._error(length, self._lengths[which])
            least = np.partition(estimates - errors, examined - k)[examined - k]
            near = (estimates + errors >= least).nonzero()[0]
        return near if chosen is None else chosen[near]

    def _overflows(self, length: float) -> bool:
        """Whether estimates may leave the range of float32."""
        if self._metric == "cosine":
            return False
        return max(length, self._longest) * self._longest > _OVERFLOW

    def _error(self, length: float, lengths: _Lengths) -> _Lengths:
        """Return how far estimates of rows of these lengths may lie from the truth, at most.

        A product of d numbers in float32 errs by at most d u / (1 - d u) |q| |v|, u = 2^-24, in
        whatever order it is summed (Higham, Accuracy and Stability, section 3.1). The 8 is for the
        few operations before and after it.
        """
        relative = 1.01 * (self._dimension + 8) * _UNIT
        error = relative * length * lengths + (self._dimension + 2) * _TINIEST
        return error + 4 * _UNIT * lengths * lengths if self._metric == "euclidean" else error

    def _scores(
        self, rows: NDArray[np.intp], vector: NDArray[np.float64], length: float
    ) -> Sequence[float]:
        """Return the scores of some rows in float64; those of equal vectors are equal to the bit.

        Each row is summed in the same order, wherever it stands; BLAS promises no such thing.
        """
        block = _rows_at_once(self._dimension)
        if len(rows) > block:
            parts = (rows[start : start + block] for start in range(0, len(rows), block))
            return [score for part in parts for score in self._scores(part, vector, length)]
        wide = self._rows.take(rows, 0).astype(np.float64)
        if self._metric == "euclidean":  # by differences: the expanded square cancels
            wide -= vector
            wide *= wide
        else:
            wide *= vector
        sums: list[float] = np.add.reduce(wide, 1).tolist()
        if self._metric == "dot":
            return sums
        if self._metric == "euclidean":
            return [0.0 - math.sqrt(square) for square in sums]
        lengths = self._lengths.take(rows).tolist()
        return [
            cosine
            if -1.0 <= (cosine := product / (length * own)) <= 1.0
            else math.copysign(1, cosine)
            for product, own in zip(sums, lengths, strict=True)
        ]


def _products(rows: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the product of each row with the vector.

    BLAS spreads all but the smallest matrices over the cores, and waits for each: for milliseconds,
    where others keep a core busy.
    """
    return np.einsum("ij,j->i", rows, vector) if rows.size <= _ONE_CORE else rows @ vector


def is_filtered(query: SearchQuery) -> bool:
    """Whether a query asks for a part of the vectors only."""
    return (
        query.session_id is not None
        or query.exclude_session_id is not None
        or query.roles is not None
        or query.lower != LOWEST_ID
        or query.upper != HIGHEST_ID
    )


def lower_bound(estimates: NDArray[np.float32], k: int) -> float:
    """Return a number close to the k-th best estimate, and not above it."""
    count = len(estimates)
    size = min(_GROUP, count // (_GROUPS_PER_HIT * k))
    if size < _LEAST_GROUP:
        return float(np.partition(estimates, count - k)[count - k])
    # The best of each group, and of these the k-th: a third of the time.
    groups = count // size
    best = np.maximum.reduce(estimates[: groups * size].reshape(size, groups), axis=0)
    best.partition(groups - k)
    return float(best[groups - k])


def _scaled(vector: NDArray[np.float64], length: float) -> tuple[NDArray[np.float64], float]:
    """Return a vector and its length, both divided by a power of two: the length is near 1."""
    _, exponent = math.frexp(length)
    return np.ldexp(vector, -exponent), math.ldexp(length, -exponent)


def _rows_at_once(dimension: int) -> int:
    return max(1, _BLOCK_BYTES // (8 * dimension))


def _grown(column: NDArray[Any], capacity: int) -> NDArray[Any]:
    wider = np.empty((capacity, *column.shape[1:]), column.dtype)
    wider[: len(column)] = column
    return wider


def _best_first(place: tuple[float, Entry]) -> tuple[float, str]:
    return -place[0], place[1].id


def text_bytes(entry: Entry) -> int:
    """Return what the text of an entry takes in memory."""
    return 0 if entry.text is None else sys.getsizeof(entry.text)
