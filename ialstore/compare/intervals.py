"""Intervals of means over queries, and percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance
from typing import Final

import numpy as np

__all__ = ["interval", "percentile"]

_Z: Final = 1.959964  # of 95 %


def interval(shares: Sequence[float], parts: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean of shares, such as recalls, one of each query.

    Wilson's, with the effective number of trials: the hits of one query are not independent, so
    that q queries of ``parts`` hits count for as many trials as the variance between queries says,
    from q to q * parts. Where every query found all, it is Wilson's of the share of queries that
    miss something, each of them one of its ``parts``: a miss costs no more than that as a rule.

    Args:
        shares: 0 to 1, one of each query.
        parts: hits that make a share.
    """
    count, mean = len(shares), fmean(shares)
    trials = float(count)
    spread = variance(shares) if count > 1 else 0.0
    if spread and 0 < mean < 1:
        trials = min(max(count * mean * (1 - mean) / spread, count), count * parts)
    weight = _Z**2 / trials
    if mean == 1:
        return 1 - weight / (1 + weight) / parts, 1.0
    middle = (mean + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(mean * (1 - mean) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of them lies, between two where it has to be."""
    return float(np.quantile(values, share))
