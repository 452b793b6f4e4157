"""Recall is counted by score: which of equals is found makes no difference."""

from __future__ import annotations

import numpy as np
import pytest

from ialstore.recall import Best, tolerances, true_scores


def recall(scores: list[float], found: list[int], k: int, allowed: float = 0.0) -> float:
    every = np.array(scores)
    off = np.full(len(scores), allowed)
    return Best.of(every, off, k).recall(every[found], off[found])


@pytest.mark.parametrize(
    ("scores", "found", "k", "expected"),
    [
        pytest.param([5, 4, 3, 2, 1], [0, 1], 2, 1.0, id="all"),
        pytest.param([5, 4, 3, 2, 1], [0, 2], 2, 0.5, id="half"),
        pytest.param([5, 4, 3, 2, 1], [], 2, 0.0, id="nothing"),
        pytest.param([5, 3, 3, 3, 1], [0, 3], 2, 1.0, id="one of equals"),
        pytest.param([5, 3, 3, 3, 1], [1, 2, 3], 2, 0.5, id="equals in place of the best"),
        pytest.param([3, 3, 3, 3, 3], [4, 2], 2, 1.0, id="all equal"),
        pytest.param([5, 4], [1, 0], 9, 1.0, id="fewer than k"),
        pytest.param([5, 4], [1], 9, 0.5, id="one of fewer than k"),
        pytest.param([], [], 3, 1.0, id="there is nothing"),
    ],
)
def test_recall_is_the_share_of_the_best(
    scores: list[float], found: list[int], k: int, expected: float
) -> None:
    assert recall(scores, found, k) == expected


def test_scores_within_what_is_allowed_are_equal() -> None:
    assert recall([1.0, 0.999, 0.5], [1], 1, allowed=0.001) == 1
    assert recall([1.0, 0.99, 0.5], [1], 1, allowed=0.001) == 0


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_scores_are_those_of_the_metric(metric: str) -> None:
    query, vectors = np.array([3.0, 4.0]), np.array([[3.0, 4.0], [4.0, -3.0], [0.0, 10.0]])
    expected = {"cosine": [1, 0, 0.8], "dot": [25, 0, 40], "euclidean": [0, -(50**0.5), -(45**0.5)]}
    assert true_scores(metric, query, vectors) == pytest.approx(expected[metric])
    assert (tolerances(metric, query, vectors) > 0).all()
