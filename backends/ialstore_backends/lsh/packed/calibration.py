"""Thresholds from a user's own vectors: some of them are the queries, the others the data.

Done when everything is encoded, while all vectors are at hand. Of the ten nearest, 95.2 % must be
both in the cells read and among the rows looked at. There are many ways to share the loss between
the two; the cheapest is taken, a cell and a row being a read of half a unit each. Vectors of
another kind get other thresholds, and cost what they cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore_backends.lsh.packed.codes import Codes, Query, prepare
from ialstore_backends.lsh.packed.entries import sign_bits
from ialstore_backends.lsh.packed.head import NEIGHBOURS, Calibration, CellTable, Head
from ialstore_backends.lsh.packed.probing import expected_hits_of_each
from ialstore_backends.lsh.packed.rotation import rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore_backends.lsh.packed.entries import Entries, EntryFormat, Floats

    Places = NDArray[np.intp]
    Doubles = NDArray[np.float64]

__all__ = ["calibrate", "margin"]

_RECALL: Final = 0.952
_RECALL_OF_ALL: Final = 0.957  # where no cell was left out
_SHARES: Final = (0.965, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995)  # of the nearest, in cells read
_COVER: Final = 0.95
_COVERED: Final = 0.975  # the last cell read holds more than the share that is needed of it
_LARGE: Final = 16_000
_MORE_RECALL: Final = 0.004
_MORE_MARGIN: Final = 0.015
_FEW: Final = 1000  # the smaller a set, the less its sample says, too, of the rows of all codes
_MORE_OF_FEW: Final = 0.1
_SAMPLE: Final = 384
_ALIKE: Final = 1e-5  # what scores so near the vector itself is a copy: no query finds its own
_ROUNDED: Final = 1 - 1e-6  # the head has float32: a cell at the threshold is to be read
_PLAIN_SHARE: Final = 5  # one of so many has a plain code: those written since
_ALPHAS: Final = np.geomspace(0.01, 2.0, 255)
_MOST: Final = (48, 96, 192, 384, 768, 1536)


@dataclass(frozen=True, slots=True)
class _Case:
    """A vector as a query, and where its nearest neighbours among the others are.

    Attributes:
        query: made ready.
        cells: cell of each of the nearest.
        gaps: how far below the k-th best estimate theirs lie.
        ranks: their ranks by estimate, from 0.
        windows: how far below the k-th best the best estimates lie.
    """

    query: Query
    cells: Places
    gaps: Floats
    ranks: Places
    windows: Floats


def calibrate(
    head: Head, residuals: Floats, entries: Entries, cell: Places, seed: int
) -> Calibration:
    """Return thresholds for vectors, their entries and cells.

    Args:
        head: with the cells; its own thresholds are not looked at.
        residuals: rotated vectors less the mean, shape (n, dimension), n at least 2.
        entries: of the vectors.
        cell: cell of each.
        seed: which vectors are the queries.
    """
    layout, mean = head.facts.layout, head.facts.mean
    rng = np.random.default_rng(seed)
    sample = rng.choice(len(entries), min(_SAMPLE, len(entries)), replace=False)
    codes = Codes(layout, _partly_plain(layout, residuals, entries))
    originals = rotation(layout.dimension).undo(residuals[sample] + mean)
    cases = [
        _case(codes, residuals, cell, int(own), prepare(vector, mean, layout.metric))
        for own, vector in zip(sample, originals, strict=True)
    ]
    nearest = np.array([case.cells for case in cases])
    scores = np.array([head.cells.centroids.estimates(case.query) for case in cases])
    alpha = _alpha(head.cells, scores, nearest)
    expected = expected_hits_of_each(head.cells, scores, alpha, nearest.shape[1])
    ranks = np.concatenate([case.ranks for case in cases])
    most = next((most for most in _MOST if (ranks < most).mean() >= _SHARES[-1]), _MOST[-1])
    gaps = np.concatenate([case.gaps for case in cases]) * margin(len(entries))

    more = _MORE_RECALL * _doublings(len(entries))
    recall, recall_of_all = _RECALL + more, _RECALL_OF_ALL + more

    there = np.take_along_axis(expected, nearest, axis=1)

    def least_hits(share: float) -> float:
        return float(np.quantile(there, 1 - share, method="lower")) * _ROUNDED

    def delta(share: float) -> float:
        return float(np.quantile(gaps, min(share, 1.0), method="higher"))

    def reads(share: float) -> int:
        least, window = least_hits(share), delta(1 + recall - share)
        cells = int((expected >= least).sum())
        return cells + sum(int((case.windows[:most] <= window).sum()) for case in cases)

    share = min(_SHARES, key=reads)
    window = delta(1 + recall - share)
    rows, rows_of_twice = (
        float(np.mean([(case.windows[: most * width] <= window * width).sum() for case in cases]))
        for width in (1, 2)
    )
    return Calibration(
        alpha,
        least_hits(share),
        window,
        delta(recall_of_all) * (1 + _MORE_OF_FEW * min(1, _FEW / len(entries))),
        most,
        rows,
        math.log2(rows_of_twice / rows),
    )


def margin(count: int) -> float:
    """Return how much wider than measured the window of rows has to be.

    Questions lie less close to their answers than answers to each other, and in small sets the
    difference is larger. Measured on LoCoMo: 1.5 at 300 turns, 1.1 at 3,400.
    """
    return float(min(1.6, 1.08 + 0.5 * (290 / count) ** 1.75)) + _MORE_MARGIN * _doublings(count)


def _doublings(count: int) -> float:
    """Return how often a large set has doubled: the more it has, the less a sample says of it."""
    return max(0.0, math.log2(count / _LARGE))


def _partly_plain(layout: EntryFormat, residuals: Floats, entries: Entries) -> Entries:
    mixed = entries.copy()
    some = slice(None, None, _PLAIN_SHARE)
    mixed[some] = layout.encode(residuals[some], sign_bits(residuals[some]), entries[some])
    return mixed


def _case(codes: Codes, residuals: Floats, cell: Places, own: int, query: Query) -> _Case:
    exact = query.factor * (residuals @ query.vector)
    if codes.layout.has_length:
        exact -= np.square(residuals).sum(axis=1) / np.float32(query.strength)
    estimates = codes.estimates(query)
    k = min(NEIGHBOURS, len(exact) - 1)
    alike = np.abs(exact - exact[own]) <= _ALIKE * abs(exact[own])
    if alike.sum() > len(exact) - k:
        alike[:] = False
    alike[own] = True
    exact[alike] = estimates[alike] = -np.inf
    nearest = np.argpartition(exact, len(exact) - k)[len(exact) - k :]
    ascending = np.sort(-estimates)
    windows = (ascending - ascending[k - 1]) / np.float32(query.unit)
    return _Case(
        query,
        cell[nearest],
        np.maximum(-ascending[k - 1] - estimates[nearest], 0) / np.float32(query.unit),
        np.searchsorted(ascending, -estimates[nearest]),
        windows[: _MOST[-1]],
    )


def _alpha(table: CellTable, scores: Floats, nearest: Places) -> float:
    """Return the least alpha with which the cells expected to hold 95 % of the nearest do so.

    Args:
        table: the cells of the user.
        scores: of each centroid for each query, shape (queries, cells).
        nearest: cell of each neighbour of each query, shape (queries, neighbours).
    """
    low, high = 0, len(_ALPHAS) - 1
    while low < high:
        middle = (low + high) // 2
        before = _share_before(table, scores, float(_ALPHAS[middle]), nearest)
        if (before < _COVER).mean() >= _COVERED:
            high = middle
        else:
            low = middle + 1
    return float(_ALPHAS[low])


def _share_before(table: CellTable, scores: Floats, alpha: float, nearest: Places) -> Doubles:
    """Return, for each of the nearest, the share expected in cells better than its own."""
    k = nearest.shape[1]
    expected = expected_hits_of_each(table, scores, alpha, k)
    order = np.argsort(-expected, axis=1, kind="stable")
    ordered = np.take_along_axis(expected, order, axis=1)
    before = np.empty_like(expected)
    np.put_along_axis(before, order, np.cumsum(ordered, axis=1) - ordered, axis=1)
    shares: Doubles = np.take_along_axis(before, nearest, axis=1) / k
    return shares
