"""Exact scores in float64, and recall that is counted by score, so that ties cost nothing.

Shares no code with the indexes, which are held against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "Best", "tolerances", "true_scores"]

Vector = NDArray[np.float64]

TOLERANCE: Final = 1e-5


def true_scores(metric: str, query: Vector, vectors: Vector) -> Vector:
    """Return the scores of rows, shape (n,)."""
    if metric == "euclidean":
        return -_lengths(vectors - query)
    products: Vector = np.sum(vectors * query, axis=1)
    if metric == "dot":
        return products
    # The lengths divide one after the other: their product may leave the range of float64.
    return products / _lengths(vectors) / float(np.linalg.norm(query))


def tolerances(metric: str, query: Vector, vectors: Vector, error: float = 0.0) -> Vector:
    """Return how far the score of each row may lie from the true one, shape (n,).

    Where the index keeps other vectors, ``error`` bounds their relative distance from the rows.

    1e-5 * max(1, |q| |v|), where cosine compares directions, so that both lengths are 1. A distance
    may also be off by 1e-5 of itself: between a long vector and a short one it is as large as the
    long one, of which float32 keeps seven digits, while the product of the lengths may be 1.
    """
    if metric == "cosine":  # a vector that is off by an error below 1 points at most pi/2 of it off
        return np.full(len(vectors), TOLERANCE + np.pi / 2 * error)
    lengths = _lengths(vectors)
    products = lengths * float(np.linalg.norm(query))
    if metric == "dot":
        return TOLERANCE * np.maximum(1.0, products) + error * products
    sizes = np.maximum(1.0, np.maximum(products, _lengths(vectors - query)))
    return TOLERANCE * sizes + error * lengths


def _lengths(vectors: Vector) -> Vector:
    lengths: Vector = np.linalg.norm(vectors, axis=1)
    return lengths


@dataclass(frozen=True, slots=True)
class Best:
    """The best k of some vectors; which of equals stand there is open.

    Scores may be off by what is allowed: what surely belongs to the best must be found, and the
    places left are open to all that may belong.

    Attributes:
        count: how many they are: k, or all where there are fewer.
        certain: how many surely belong.
        above: a score whose lower end lies above this surely belongs.
        least: a score whose upper end lies below this surely does not.
    """

    count: int
    certain: int
    above: float
    least: float

    @classmethod
    def of(cls, scores: Vector, allowed: Vector, k: int) -> Self:
        """Return the best k of vectors with these scores, each off by what is allowed."""
        low, high = scores - allowed, scores + allowed
        count = min(k, len(scores))
        if len(scores) <= k:
            return cls(count, count, -np.inf, np.inf)
        above = float(np.partition(high, -k - 1)[-k - 1])
        least = float(np.partition(low, -count)[-count])
        return cls(count, int((low > above).sum()), above, least)

    def recall(self, scores: Vector, allowed: Vector) -> float:
        """Return the share of the best that was found, given the scores of different vectors."""
        if not self.count:
            return 1.0
        must = scores - allowed > self.above
        may = ~must & (scores + allowed >= self.least)
        tied = min(int(may.sum()), self.count - self.certain)
        return (int(must.sum()) + tied) / self.count
