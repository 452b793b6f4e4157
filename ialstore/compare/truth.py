"""What an exact search finds, and how much of it another one found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ialstore.recall import Best, tolerances, true_scores

__all__ = ["Truth"]

_ROWS: Final = 4096
_SCORES: Final = 10_000_000
"""Held at once: 80 MB."""

Vectors = NDArray[np.float64]


class Truth:
    """The best k of some vectors for some queries, by exact scores in float64.

    Args:
        metric: of the scores.
        vectors: all that are searched, shape (n, dimension).
        queries: shape (q, dimension).
        ks: each k that is asked for.
    """

    def __init__(
        self,
        metric: str,
        vectors: NDArray[np.float32],
        queries: NDArray[np.float32],
        ks: Sequence[int],
    ) -> None:
        self._metric = metric
        self._vectors = vectors
        self._queries = queries.astype(np.float64)
        self._best: list[dict[int, Best]] = []
        step = max(1, _SCORES // len(vectors))
        for start in range(0, len(queries), step):
            asked = self._queries[start : start + step]
            for query, scores in zip(asked, self._scores(asked), strict=True):
                allowed = self._allowed(query, vectors)
                self._best.append({k: Best.of(scores, allowed, k) for k in ks})

    def recall(self, query: int, found: Sequence[int], k: int) -> float:
        """Return the share of the best k that one search found.

        Args:
            query: its number.
            found: numbers of the vectors that it found, best first.
            k: how many count; what was found behind them does not.
        """
        asked, rows = self._queries[query], self._vectors[list(found[:k])]
        scores = true_scores(self._metric, asked, rows.astype(np.float64))
        return self._best[query][k].recall(scores, self._allowed(asked, rows))

    def _scores(self, queries: Vectors) -> Vectors:
        """Return the score of each query with each vector, shape (q, n)."""
        parts: list[Vectors] = []
        for start in range(0, len(self._vectors), _ROWS):
            rows = self._vectors[start : start + _ROWS].astype(np.float64)
            if self._metric == "euclidean":
                parts.append(np.array([true_scores("euclidean", one, rows) for one in queries]))
                continue
            asked = queries
            if self._metric == "cosine":
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                asked = queries / np.linalg.norm(queries, axis=1, keepdims=True)
            parts.append(asked @ rows.T)
        return np.concatenate(parts, axis=1)

    def _allowed(self, query: Vectors, rows: NDArray[np.float32]) -> Vectors:
        if self._metric == "cosine":  # the same for all: nothing has to be computed
            return tolerances("cosine", query, np.empty((len(rows), 0)))
        return tolerances(self._metric, query, rows.astype(np.float64))
