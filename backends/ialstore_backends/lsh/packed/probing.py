"""Which cells to read for a query: those in which its nearest vectors are to be expected.

The scores of a cell's entries are taken as normal: around the score of the centroid, with
``alpha`` times the spread of the cell. That gives the score t above which k entries are to be
expected in all cells together, and how many of these each cell holds. Read are the cells that
hold more than a threshold, the same for all queries: for a given mean recall, no other choice
reads fewer. Nothing in this is tied to one kind of embeddings; alpha and the threshold are learned
from a user's vectors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore_backends.lsh.packed.codes import Query
    from ialstore_backends.lsh.packed.head import CellTable

    Doubles = NDArray[np.float64]

__all__ = ["expected_hits", "expected_hits_of_each"]

_GRID: Final = np.linspace(-6, 6, 1201)
_TAIL: Final = np.array([math.erfc(x / math.sqrt(2)) / 2 for x in _GRID.tolist()])
_HALVINGS: Final = 20


def expected_hits(table: CellTable, query: Query, alpha: float, k: float) -> Doubles:
    """Return how many of the k nearest each cell is expected to hold.

    Args:
        table: the cells of the user.
        query: made ready.
        alpha: see ``Calibration``.
        k: neighbours wanted.
    """
    scores = table.centroids.estimates(query)[np.newaxis]
    expected: Doubles = expected_hits_of_each(table, scores, alpha, k)[0]
    return expected


def expected_hits_of_each(
    table: CellTable, scores: NDArray[np.floating[Any]], alpha: float, k: float
) -> Doubles:
    """Return how many of the k nearest to each of many queries each cell is expected to hold.

    Args:
        table: the cells of the user.
        scores: of each centroid for each query, shape (queries, cells).
        alpha: see ``Calibration``.
        k: neighbours wanted.
    """
    sizes = table.sizes.astype(np.float64)
    near: Doubles = scores.astype(np.float64)
    if k >= sizes.sum():
        return np.broadcast_to(sizes, near.shape)
    deviations = alpha * table.spreads.astype(np.float64)
    deviations = np.maximum(deviations, 1e-6 * np.abs(near) + 1e-30)
    low: Doubles = (near - 6 * deviations).min(axis=1, keepdims=True)
    high: Doubles = (near + 6 * deviations).max(axis=1, keepdims=True)
    for _ in range(_HALVINGS):
        middle: Doubles = (low + high) / 2
        many = _expected(near, deviations, sizes, middle).sum(axis=1, keepdims=True) > k
        low, high = np.where(many, middle, low), np.where(many, high, middle)
    return _expected(near, deviations, sizes, low)


def _expected(scores: Doubles, deviations: Doubles, sizes: Doubles, thresholds: Doubles) -> Doubles:
    """Return how many entries of each cell are expected above the threshold of each query."""
    expected: Doubles = sizes * np.interp((thresholds - scores) / deviations, _GRID, _TAIL)
    return expected
