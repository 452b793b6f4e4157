"""Intervals of means over queries."""

from __future__ import annotations

import random

import pytest

from ialstore.compare.intervals import interval, percentile


def test_it_is_wilsons_where_queries_are_single_trials() -> None:
    shares = [1.0] * 80 + [0.0] * 20
    low, high = interval(shares, 1)
    # Newcombe 1998, method 3, for 80 of 100; the variance is taken with n - 1.
    assert (low, high) == pytest.approx((0.7112, 0.8666), abs=2e-3)


@pytest.mark.parametrize(
    ("shares", "low", "high"),
    [
        pytest.param([0.0] * 50, 0.0, 0.0713, id="none found anything"),
        pytest.param([0.5] * 50, 0.3664, 0.6336, id="no variance tells nothing of it"),
        pytest.param([0.7], 0.1034, 0.9793, id="one query"),
    ],
)
def test_without_variance_each_query_is_one_trial(
    shares: list[float], low: float, high: float
) -> None:
    assert interval(shares, 10) == pytest.approx((low, high), abs=2e-3)


def test_where_every_query_found_all_a_miss_costs_one_hit() -> None:
    low, high = interval([1.0] * 20, 1)
    assert (low, high) == pytest.approx((0.8389, 1.0), abs=2e-4)
    assert interval([1.0] * 20, 10) == pytest.approx((1 - (1 - low) / 10, 1.0))
    less = interval([1.0] * 19 + [0.9], 10)
    assert interval([1.0] * 20, 10)[0] > less[0]


def test_queries_that_agree_narrow_it_and_no_further_than_all_their_hits() -> None:
    spread = interval([0.0, 1.0] * 25, 10)
    near = interval([0.4, 0.6] * 25, 10)
    nearest = interval([0.49, 0.51] * 25, 10)
    assert spread[0] < near[0] < 0.5 < near[1] < spread[1]
    assert nearest == pytest.approx(interval([0.499, 0.501] * 25, 10))
    assert nearest[0] == pytest.approx(interval([0.0, 1.0] * 250, 1)[0], abs=2e-3)


def test_nineteen_of_twenty_hold_the_true_mean() -> None:
    rng = random.Random(3)
    held = 0
    for _ in range(400):
        of_query = [rng.choice((0.8, 1.0)) for _ in range(40)]
        shares = [sum(rng.random() < one for _ in range(10)) / 10 for one in of_query]
        low, high = interval(shares, 10)
        held += low <= 0.9 <= high
    assert 0.92 <= held / 400 <= 0.99


def test_a_percentile_may_lie_between_two_values() -> None:
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2
    assert percentile([1.0, 2.0], 0.75) == pytest.approx(1.75)
