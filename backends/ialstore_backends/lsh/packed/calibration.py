"""Thresholds from a user's own vectors: some of them are the queries, the others the data.

Done when everything is encoded, while all vectors are at hand. Of the ten nearest, 95.2 % must be
both in the cells read and among the rows looked at. There are many ways to share the loss between
the two; the cheapest is taken, a cell and a row being a read of half a unit each. Vectors of
another kind get other thresholds, and cost what they cost.

Codes are not all that loses: rows in int8 do, too, where the best differ by less than its rounding.
As much is tried on the sample, and what is lost so is aimed at in addition, for what text loses is
allowed for. Of copies one counts: a set of few vectors, each many times, is a small set.

Of several kinds, the mean over all hides a small one that is harder. Kinds lie in cells of unlike
spread: so where a user is known to have several, the queries are sorted by the spread of their
cells, and where a twelfth of them finds too little, thresholds are widened until it finds enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ialstore_backends.lsh.codec import LEVELS
from ialstore_backends.lsh.packed.codes import Codes, Query, prepare
from ialstore_backends.lsh.packed.entries import sign_bits
from ialstore_backends.lsh.packed.head import NEIGHBOURS, Calibration, CellTable, Head
from ialstore_backends.lsh.packed.probing import expected_hits_of_each
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.searching import CELL_STEEPNESS

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_MOST_RECALL: Final = 0.985
_LOST: Final = 0.008  # of the nearest of text are lost to int8, too: the recalls above allow for it
_WHOLE: Final = 0.02  # so near to whole numbers of levels lies what was rounded to them
_MORE_MARGIN: Final = 0.015
_FEW: Final = 1000  # the smaller a set, the less its sample says, too, of the rows of all codes
_MORE_OF_FEW: Final = 0.1
_SAMPLE: Final = 384
_ALIKE: Final = 1e-5  # what scores so near the vector itself is a copy: no query finds its own
_ROUNDED: Final = 1 - 1e-6  # the head has float32: a cell at the threshold is to be read
_PLAIN_SHARE: Final = 5  # one of so many has a plain code: those written since
_GROUP: Final = 32  # queries whose recall is looked at by itself
_LEAST_RECALL: Final = 0.92  # of a group; of one kind, the worst of twelve has about as much
_CROWDED: Final = 1.5  # so many times as many rows come before what a question is to find
_WIDTHS: Final = tuple(1.05**step for step in range(30))
_ALPHAS: Final = np.geomspace(0.01, 2.0, 255)
_MOST: Final = (48, 96, 192, 384, 768, 1536)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Vectors as queries, and where the nearest neighbours of each among the others are.

    Attributes:
        cells: cell of each of the nearest, shape (queries, neighbours), as are gaps and ranks.
        gaps: how far below the k-th best estimate theirs lie, times the margin.
        ranks: their ranks by estimate, from 0.
        windows: how far below the k-th best the best estimates lie, shape (queries, rows).
        scores: of each centroid, shape (queries, cells).
        lost: share of the nearest that are not, once vectors are rounded.
        distinct: vectors of all, without their copies.
    """

    cells: Places
    gaps: Floats
    ranks: Places
    windows: Floats
    scores: Floats
    lost: float
    distinct: float

    @property
    def k(self) -> int:
        """Neighbours of each."""
        return int(self.cells.shape[1])

    def recalls(self, table: CellTable, thresholds: Calibration) -> Doubles:
        """Return which share of its nearest each query finds; a little less than it does."""
        expected = expected_hits_of_each(table, self.scores, thresholds.alpha, self.k)
        found = np.take_along_axis(expected, self.cells, axis=1) >= thresholds.least_hits
        found &= self.gaps <= thresholds.delta
        found &= _CROWDED * self.ranks < thresholds.most
        recalls: Doubles = found.mean(axis=1)
        return recalls


def calibrate(
    head: Head,
    residuals: Floats,
    entries: Entries,
    cell: Places,
    *,
    seed: int,
    late: Places | None = None,
) -> Calibration:
    """Return thresholds for vectors, their entries and cells.

    Args:
        head: with the cells; its own thresholds are not looked at.
        residuals: rotated vectors less the mean, shape (n, dimension), n at least 2.
        entries: of the vectors.
        cell: cell of each.
        seed: which vectors are the queries.
        late: places of vectors of a new kind, which are to be found as well as all are.
    """
    rng = np.random.default_rng(seed)
    places = rng.choice(len(entries), min(_SAMPLE, len(entries)), replace=False)
    codes = Codes(head.facts.layout, _partly_plain(head.facts.layout, residuals, entries))
    sample = _sampled(head, codes, residuals, cell, places)
    thresholds = _cheapest(head.cells, sample)
    wanting: list[tuple[_Sample, Places]] = []
    if head.facts.mixed:
        order = np.argsort(head.cells.spreads[cell[places]], kind="stable")
        recalls = sample.recalls(head.cells, thresholds)
        groups = np.array_split(order, max(1, len(order) // _GROUP))
        wanting = [(sample, one) for one in groups if recalls[one].mean() < _LEAST_RECALL]
    if late is not None and len(late):
        some = rng.choice(late, min(2 * _GROUP, len(late)), replace=False)
        wanting.append((_sampled(head, codes, residuals, cell, some), np.arange(len(some))))
    thresholds = _widened(head.cells, thresholds, wanting)
    rows, rows_of_twice = (
        float((sample.windows[:, : thresholds.most * width] <= thresholds.delta * width).sum())
        / len(places)
        for width in (1, 2)
    )
    return replace(thresholds, rows=rows, growth=math.log2(rows_of_twice / rows))


def _cheapest(table: CellTable, sample: _Sample) -> Calibration:
    """Return the thresholds with which the sample finds enough, and that read least."""
    alpha = _alpha(table, sample.scores, sample.cells)
    expected = expected_hits_of_each(table, sample.scores, alpha, sample.k)
    there = np.take_along_axis(expected, sample.cells, axis=1)
    most = next((most for most in _MOST if (sample.ranks < most).mean() >= _SHARES[-1]), _MOST[-1])
    more = _MORE_RECALL * _doublings(sample.distinct) + max(0.0, sample.lost - _LOST)
    recall, recall_of_all = (min(one + more, _MOST_RECALL) for one in (_RECALL, _RECALL_OF_ALL))

    def least_hits(share: float) -> float:
        return float(np.quantile(there, 1 - share, method="lower")) * _ROUNDED

    def delta(share: float) -> float:
        return float(np.quantile(sample.gaps, min(share, 1.0), method="higher"))

    def reads(share: float) -> int:
        cells = (expected >= least_hits(share)).sum()
        return int(cells + (sample.windows[:, :most] <= delta(1 + recall - share)).sum())

    share = min((one for one in _SHARES if one > recall), key=reads)
    of_all = delta(recall_of_all) * (1 + _MORE_OF_FEW * min(1, _FEW / sample.distinct))
    return Calibration(alpha, least_hits(share), delta(1 + recall - share), of_all, most)


def _widened(
    table: CellTable, thresholds: Calibration, wanting: Sequence[tuple[_Sample, Places]]
) -> Calibration:
    """Return thresholds with which each of these groups finds what all are to find, if any do."""

    def wider(width: float) -> Calibration:
        return replace(
            thresholds,
            least_hits=thresholds.least_hits / width**CELL_STEEPNESS,
            delta=thresholds.delta * width,
            delta_of_all=thresholds.delta_of_all * width,
            most=math.ceil(thresholds.most * width),
        )

    def is_enough(one: Calibration) -> bool:
        return all(group.recalls(table, one)[some].mean() >= _RECALL for group, some in wanting)

    return next(filter(is_enough, map(wider, _WIDTHS)), wider(_WIDTHS[-1]))


def margin(count: float) -> float:
    """Return how much wider than measured the window of rows has to be.

    Questions lie less close to their answers than answers to each other, and in small sets the
    difference is larger. Measured on LoCoMo: 1.5 at 300 turns, 1.1 at 3,400.
    """
    return float(min(1.6, 1.08 + 0.5 * (290 / count) ** 1.75)) + _MORE_MARGIN * _doublings(count)


def _doublings(count: float) -> float:
    """Return how often a large set has doubled: the more it has, the less a sample says of it."""
    return max(0.0, math.log2(count / _LARGE))


def _partly_plain(layout: EntryFormat, residuals: Floats, entries: Entries) -> Entries:
    mixed = entries.copy()
    some = slice(None, None, _PLAIN_SHARE)
    mixed[some] = layout.encode(residuals[some], sign_bits(residuals[some]), entries[some])
    return mixed


def _sampled(head: Head, codes: Codes, residuals: Floats, cell: Places, places: Places) -> _Sample:
    """Return the vectors at these places as queries."""
    mean, metric = head.facts.mean, head.facts.layout.metric
    originals = rotation(len(mean)).undo(residuals[places] + mean)
    queries = [prepare(vector, mean, metric) for vector in originals]
    lengths = np.linalg.norm(residuals + mean, axis=1)
    rounding = _rounding(originals) * lengths
    rng = np.random.default_rng(len(places))
    cases = [
        _nearest(codes, residuals, int(own), query, rounding * rng.standard_normal(len(cell)))
        for own, query in zip(places, queries, strict=True)
    ]
    nearest, gaps, ranks, windows, lost, copies = (
        np.array(column) for column in zip(*cases, strict=True)
    )
    distinct = len(cell) * float((1 / copies).mean())
    return _Sample(
        cell[nearest],
        gaps * np.float32(margin(distinct)),
        ranks,
        windows,
        np.array([head.cells.centroids.estimates(query) for query in queries]),
        float(lost.mean()),
        distinct,
    )


def _rounding(vectors: Floats) -> float:
    """Return the standard error that rounding to int8 left in a product, as a share of lengths.

    Rounded numbers are whole multiples of a hundred-and-twenty-seventh of the largest.
    """
    steps = np.abs(vectors).max(axis=1) / np.float32(LEVELS)
    vectors, steps = vectors[steps > 0], steps[steps > 0]
    numbers = vectors / steps[:, None]
    is_rounded = np.abs(numbers - np.rint(numbers)).max(axis=1, initial=0) <= _WHOLE
    shares = is_rounded * steps / np.linalg.norm(vectors, axis=1)
    return float(shares.sum()) / max(1, len(shares)) / math.sqrt(12)


class _Case(NamedTuple):
    """What one vector of the sample finds as a query.

    Attributes:
        nearest: places of the nearest.
        gaps: how far each lies below the k-th best estimate, zero where above.
        ranks: of each by its estimate.
        windows: how far the best estimates lie below the k-th best, ascending.
        lost: share of the nearest that rounding would replace.
        copies: how many vectors are this one, itself among them.
    """

    nearest: Places
    gaps: Floats
    ranks: Places
    windows: Floats
    lost: float
    copies: int


def _nearest(codes: Codes, residuals: Floats, own: int, query: Query, errors: Floats) -> _Case:
    """Return what a vector finds as a query.

    Args:
        codes: of all.
        residuals: all vectors, rotated, less the mean.
        own: place of the vector.
        query: made of it.
        errors: by which products with each vector may be wrong.
    """
    exact = query.factor * (residuals @ query.vector)
    slopes: Doubles | float = query.factor
    if codes.layout.has_length:
        exact -= np.square(residuals).sum(axis=1) / np.float32(query.strength)
        slopes = 2 * np.sqrt(np.maximum(1 - exact.astype(np.float64) / query.strength, 0))
    estimates = codes.estimates(query)
    k = min(NEIGHBOURS, len(exact) - 1)
    alike = np.abs(exact - exact[own]) <= _ALIKE * abs(exact[own])
    copies = int(alike.sum())
    if copies > len(exact) - k:
        alike[:] = False
    alike[own] = True
    exact[alike] = estimates[alike] = -np.inf
    nearest = np.argpartition(exact, len(exact) - k)[len(exact) - k :]
    rounded = np.argpartition(exact + slopes * errors, len(exact) - k)[len(exact) - k :]
    lost = float((exact[rounded] < exact[nearest].min()).mean())
    ascending = np.sort(-estimates)
    windows = (ascending - ascending[k - 1]) / np.float32(query.unit)
    gaps = np.maximum(-ascending[k - 1] - estimates[nearest], 0) / np.float32(query.unit)
    ranks = np.searchsorted(ascending, -estimates[nearest])
    return _Case(nearest, gaps, ranks, windows[: _MOST[-1]], lost, copies)


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
