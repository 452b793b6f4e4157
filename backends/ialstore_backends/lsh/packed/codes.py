"""Codes held in memory, and estimates of many scores at once.

A query is rotated and cut to six bits a coordinate. The sum of its coordinates under the set bits
of a code is then six ``and`` operations and counts of bits on words: exact in integers, the same
on every platform. What the six bits lose is a twentieth of what the code lost.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore_backends.lsh.packed.entries import keys_of
from ialstore_backends.lsh.packed.rotation import rotation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ialstore_backends.lsh.packed.entries import Entries, EntryFormat, Floats

__all__ = ["Codes", "Query", "bit_counts", "directions", "prepare"]

_PLANES: Final = 6
_AT_ONCE: Final = 1 << 16  # words: what is computed of them stays in the processor's cache
_LEAST_STRENGTH: Final = 2.0**-60
_LONGEST: Final = 2.0**30  # squares of what is longer, divided by the least strength, overflow
_TABLE: Final = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


def _counts_by_table(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    halves = _TABLE[words.view(np.uint16).reshape(*words.shape, 4)]
    counts: NDArray[np.uint8] = halves.sum(axis=-1, dtype=np.uint8)
    return counts


bit_counts: Callable[[NDArray[np.uint64]], NDArray[np.uint8]] = getattr(
    np, "bitwise_count", _counts_by_table
)
"""Number of set bits of each word; NumPy 1 has no function for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A query made ready.

    Attributes:
        vector: what products are taken with: rotated, of unit length.
        strength: the length taken off, which ``offset`` and distances are divided by.
        offset: added to every estimate.
        planes: bit planes of the coordinates, lowest first, shape (planes, words).
        low: the coordinate of which all planes are zero.
        step: between two neighbouring coordinates.
        factor: of products: 2 where estimates are of distances, else 1.
        unit: of windows of estimates, which err by a share of lengths: the strength where
            vectors may have any, under euclidean, else 1.
    """

    vector: Floats
    strength: float
    offset: float
    planes: NDArray[np.uint64]
    low: float
    step: float
    factor: float
    unit: float


def directions(vectors: Floats, metric: str) -> Floats:
    """Return vectors as they are encoded: of length 1 under cosine, else no longer than 2^30."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.square(wide).sum(axis=-1, keepdims=True))
    if metric == "cosine":
        return np.asarray(wide / lengths, np.float32)
    return np.asarray(wide * np.minimum(1, _LONGEST / np.maximum(lengths, 1)), np.float32)


def prepare(vector: Floats, mean: Floats, metric: str) -> Query:
    """Return a query for codes with this rotated mean.

    Estimates are of the product divided by the query's length under dot, else of
    ``(|p|^2 - distance^2) / |p|`` with p the query less the mean, the distance under cosine that
    of the directions. They rank as the scores do.
    """
    wide = rotation(len(vector)).apply(directions(vector, metric)).astype(np.float64)
    if metric != "dot":
        wide -= mean
    strength = max(float(np.sqrt(wide.dot(wide))), _LEAST_STRENGTH)
    unit = (wide / strength).astype(np.float32)
    offset = float(unit @ mean) if metric == "dot" else 0.0
    low = float(unit.min())
    step = (float(unit.max()) - low) / ((1 << _PLANES) - 1) or 1.0
    numbers = np.rint((unit - low) / step).astype(np.uint8)
    bits = numbers >> np.arange(_PLANES, dtype=np.uint8)[:, None] & 1
    planes = _words(np.packbits(bits, axis=1))
    factor = 1.0 if metric == "dot" else 2.0
    of_windows = strength if metric == "euclidean" else 1.0
    return Query(unit, strength, offset, planes, low, step, factor, of_windows)


class Codes:
    """Entries in the form in which they are searched: about 76 bytes each at 384 dimensions."""

    def __init__(self, layout: EntryFormat, entries: Entries) -> None:
        self.layout = layout
        self.keys: NDArray[np.uint64] = keys_of(entries)
        self.generations: NDArray[np.uint32] = entries["generation"].copy()
        self.sessions: NDArray[np.uint16] = entries["session"].copy()
        self.about: NDArray[np.uint32] = entries["about"].copy()
        self._words = np.ascontiguousarray(_words(entries["code"]).T)
        self._ones: NDArray[np.uint16] = bit_counts(self._words).sum(axis=0, dtype=np.uint16)
        self.factors = layout.factors(entries)
        self._squares: Floats | None = None
        if layout.has_length:
            self._squares = np.square(layout.lengths(entries))

    def __len__(self) -> int:
        return len(self.keys)

    def with_more(self, more: Codes) -> Codes:
        """Return these codes and others of the same layout."""
        made = copy(self)
        own: dict[str, Any] = vars(self)
        for name, column in own.items():
            if isinstance(column, np.ndarray):
                both: list[NDArray[Any]] = [column, getattr(more, name)]
                setattr(made, name, np.concatenate(both, axis=-1))
        return made

    def places_of(self, keys: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return the places of the codes with these keys, ascending."""
        wanted = np.zeros(1 << 16, bool)
        wanted[keys.astype(np.uint16)] = True  # the last bits of a hash
        likely = np.flatnonzero(wanted[self.keys.astype(np.uint16)])
        found, ordered = self.keys[likely], np.sort(keys)
        same = ordered.take(np.searchsorted(ordered, found), mode="clip") == found
        places: NDArray[np.intp] = likely[same]
        return places

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        columns: list[NDArray[Any] | None] = [
            self.keys,
            self.generations,
            self.sessions,
            self.about,
            self._words,
            self._ones,
            self.factors,
            self._squares,
        ]
        return sum(column.nbytes for column in columns if column is not None)

    def estimates(self, query: Query) -> Floats:
        """Return the estimate of each code, in the unit of ``prepare``."""
        sums = _sums(self._words, query.planes)
        twice = 2 * query.factor
        estimates: Floats = sums.astype(np.float32)  # exact: below 2^24
        estimates *= np.float32(twice * query.step)
        estimates += self._ones * np.float32(twice * query.low)
        estimates -= np.float32(query.factor * float(query.vector.sum(dtype=np.float64)))
        estimates *= self.factors
        if self._squares is not None:
            estimates -= self._squares / np.float32(query.strength)
        estimates += np.float32(query.offset)
        return estimates


def _sums(words: NDArray[np.uint64], planes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return for each code the sum of the whole numbers under its set bits.

    Args:
        words: of the codes, shape (words, codes).
        planes: bits of the numbers, lowest first, shape (planes, words).
    """
    sums = np.zeros(words.shape[1], np.uint32)
    at_once = max(1, _AT_ONCE // max(1, words.size))
    for first in range(0, len(planes), at_once):
        bits = words & planes[first : first + at_once, :, None]
        counts = np.add.reduce(bit_counts(bits), axis=1, dtype=np.uint16)
        for number, count in enumerate(counts, first):
            sums += count.astype(np.uint32) << number
    return sums


def _words(code: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return packed bits as words, padded with zeros: shape (n, words)."""
    count, width = code.shape
    padded = np.zeros((count, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = code
    return padded.view(np.uint64)
