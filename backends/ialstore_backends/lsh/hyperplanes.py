"""Random-hyperplane codes as sortable strings, and which of their cells a search should read.

A bit of a code is the side of a random hyperplane on which a vector lies (Charikar, STOC 2002). The
first ``DEPTH`` bits are its cell: as codes are strings, a cell is a range of them. Cells are probed
in a query-directed order (Lv et al., VLDB 2007), by the chance that a neighbour lies there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CELLS", "Cells", "Probing", "codes", "hash_range", "home", "runs"]

BITS: Final = 16
"""Of a stored code; more than are searched, so that a finer search needs no rewriting."""
DEPTH: Final = 6
CELLS: Final = 1 << DEPTH
_HOME: Final = 3
"""Bits that the cells of a first look share with the query."""
_SEED: Final = 20_261_128
_STEEPEST: Final = 1e6
_BIT_VALUES: Final = 1 << np.arange(BITS)[::-1]
_SIDES: Final = (np.arange(CELLS)[:, None] >> np.arange(DEPTH)[::-1] & 1).astype(bool)
"""The bits of each cell, shape (CELLS, DEPTH)."""

Cells = list[tuple[int, int]]
"""Runs of cells, each half-open, ascending."""


@lru_cache(maxsize=8)
def _planes(dimension: int) -> NDArray[np.float64]:
    """Return the normals, shape (BITS, dimension), the same for ever."""
    # Codes are stored: of NumPy's generators only this one promises the same numbers for ever.
    return np.random.RandomState(_SEED).standard_normal((BITS, dimension))


def codes(vectors: NDArray[np.float32]) -> list[str]:
    """Return the code of each row: four hexadecimal digits."""
    wide = vectors.astype(np.float64)
    sides = wide @ _planes(vectors.shape[1]).T > 0
    return [f"{one:04x}" for one in (sides @ _BIT_VALUES).tolist()]


def hash_range(run: tuple[int, int]) -> tuple[str, str]:
    """Return the first and the last code of a run of cells."""
    first, end = (place << BITS - DEPTH for place in run)
    return f"{first:04x}", f"{end - 1:04x}"


def home(vector: NDArray[np.float32]) -> Cells:
    """Return the cells of a first look at what is near a vector."""
    (code,) = codes(vector[None, :])
    width = 1 << DEPTH - _HOME
    first = (int(code, 16) >> BITS - DEPTH) // width * width
    return [(first, first + width)]


def runs(cells: NDArray[np.bool_], read: NDArray[np.bool_], gap: float) -> Cells:
    """Return runs that hold all wanted cells that are not read yet.

    Args:
        cells: which are wanted, shape (CELLS,).
        read: which were read before.
        gap: cells that may rather be read than passed over.
    """
    found: Cells = []
    for place in (cells & ~read).nonzero()[0].tolist():
        if found and place - found[-1][1] <= gap:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found


class Probing:
    """Says which cells hold a wanted share of the nearest of one query.

    Given the angle t to a neighbour, and no more, the chance that it lies on the other side of a
    hyperplane is known: the products of a random normal with two unit vectors are normal with
    correlation cos(t), so that it is Phi(-|m| / tan(t)), m being the product with the query. Those
    found so far are no nearer than the nearest, and where a score leaves the angle open, the widest
    is taken: so the share is a lower bound.

    Args:
        vector: the query.
        metric: of the index.
    """

    def __init__(self, vector: NDArray[np.float32], metric: str) -> None:
        wide = vector.astype(np.float64)
        self._length = math.sqrt(wide.dot(wide))
        self._metric = metric
        margins = _planes(len(vector))[:DEPTH] @ wide / (self._length or 1.0)
        self._margins = np.abs(margins)
        self._flipped = _SIDES ^ (margins > 0)

    def wanted(
        self, scores: Sequence[float], lengths: tuple[float, float], share: float
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return the fewest cells in which a share of neighbours lies, and the chance of each.

        Args:
            scores: of the best found so far.
            lengths: of the shortest and the longest vector, as far as is known.
            share: of the neighbours, 0 to 1.
        """
        slopes = np.array([self._slope(score, *lengths) for score in scores])
        away = _normal(-self._margins[None, :] * slopes[:, None])  # of each neighbour and plane
        chances = np.where(self._flipped[None], away[:, None, :], 1 - away[:, None, :])
        chance = chances.prod(axis=2).mean(axis=0)
        order = np.argsort(-chance, kind="stable")
        enough = int(np.searchsorted(np.cumsum(chance[order]), share)) + 1
        cells = np.zeros(CELLS, bool)
        cells[order[:enough]] = True
        return cells, chance

    def _slope(self, score: float, shortest: float, longest: float) -> float:
        """Return 1 / tan of the widest angle at which a vector has this score."""
        cosine = min(max(self._cosine(score, shortest, longest), -1.0), 1.0)
        sine = math.sqrt((1 - cosine) * (1 + cosine))
        return cosine / sine if sine else math.copysign(_STEEPEST, cosine)

    def _cosine(self, score: float, shortest: float, longest: float) -> float:
        if self._metric == "cosine":
            return score
        if not (self._length and longest):
            return 0.0
        if self._metric == "dot":
            length = longest if score > 0 else shortest
            return score / self._length / length if length else 0.0
        # The law of cosines; by its derivative the angle is widest at this length.
        width = score * score - self._length * self._length
        length = min(max(math.sqrt(max(-width, 0.0)), shortest), longest)
        return (length - width / length) / (2 * self._length) if length else 0.0


def _normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Phi of each."""
    flat = [0.5 * math.erfc(-value / math.sqrt(2)) for value in values.ravel().tolist()]
    return np.array(flat).reshape(values.shape)
