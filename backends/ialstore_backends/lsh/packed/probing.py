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
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore_backends.lsh.packed.codes import Query
    from ialstore_backends.lsh.packed.head import CellTable

__all__ = ["expected_hits"]

_GRID: Final = np.linspace(-6, 6, 1201)
_TAIL: Final = np.array([math.erfc(x / math.sqrt(2)) / 2 for x in _GRID.tolist()])
_HALVINGS: Final = 20


def expected_hits(table: CellTable, query: Query, alpha: float, k: float) -> NDArray[np.float64]:
    """Return how many of the k nearest each cell is expected to hold.

    Args:
        table: the cells of the user.
        query: made ready.
        alpha: see ``Calibration``.
        k: neighbours wanted.
    """
    sizes = table.sizes.astype(np.float64)
    if k >= sizes.sum():
        return sizes
    scores = table.centroids.estimates(query).astype(np.float64)
    deviations = alpha * table.spreads.astype(np.float64)
    deviations = np.maximum(deviations, 1e-6 * np.abs(scores) + 1e-30)
    low = float((scores - 6 * deviations).min())
    high = float((scores + 6 * deviations).max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _expected(scores, deviations, sizes, middle).sum() > k:
            low = middle
        else:
            high = middle
    return _expected(scores, deviations, sizes, low)


def _expected(
    scores: NDArray[np.float64],
    deviations: NDArray[np.float64],
    sizes: NDArray[np.float64],
    threshold: float,
) -> NDArray[np.float64]:
    """Return how many entries of each cell are expected above a score."""
    expected: NDArray[np.float64] = sizes * np.interp(
        (threshold - scores) / deviations, _GRID, _TAIL
    )
    return expected
