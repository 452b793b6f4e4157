"""Cells: entries of near vectors, a few kilobytes together, found by balanced k-means.

Clustering works on decoded codes, so that no vector is read. Everything is done in blocks: memory
grows with the number of vectors and with the number of cells, never with their product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ialstore_backends.lsh.packed.entries import Entries, EntryFormat, Floats

    Places = NDArray[np.intp]

__all__ = ["Cells", "cluster", "nearest", "summarize"]

_BLOCK: Final = 2048
_CHOICES: Final = 24  # cells that a vector may be moved to when the nearest are full
_LLOYD_ROUNDS: Final = 2
_BALANCED_ROUNDS: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Which entry is in which cell, and what the head says of the cells.

    Attributes:
        cell: number of the cell of each entry, shape (n,).
        centroids: mean of the decoded residuals of each cell, shape (cells, dimension).
        spreads: root mean square distance of the entries from their centroid.
        lengths: root mean square length of the residuals.
        sizes: entries.
    """

    cell: Places
    centroids: Floats
    spreads: Floats
    lengths: Floats
    sizes: Places


def cluster(layout: EntryFormat, entries: Entries, capacity: int, number: int, seed: int) -> Cells:
    """Return cells of at most ``capacity`` entries.

    Args:
        layout: of the entries.
        entries: any number.
        capacity: the most entries of a cell.
        number: of cells; ``capacity * number`` is at least the number of entries.
        seed: which entries are the first centroids.
    """
    if len(entries) == 0:
        return summarize(layout, entries, np.zeros(0, np.intp), number)
    rng = np.random.default_rng(seed)
    first = np.sort(rng.choice(len(entries), number, replace=False))
    centroids = layout.decode(entries[first])
    cell = np.zeros(len(entries), np.intp)
    for turn in range(_LLOYD_ROUNDS + _BALANCED_ROUNDS if number > 1 else 0):
        if turn < _LLOYD_ROUNDS:
            cell, _ = nearest(layout, entries, centroids)
        else:
            cell = _balanced(layout, entries, centroids, capacity)
        found = summarize(layout, entries, cell, number)
        empty = np.flatnonzero(found.sizes == 0)
        centroids = found.centroids
        if len(empty):  # begins anew at some entry
            centroids[empty] = layout.decode(entries[rng.choice(len(entries), len(empty))])
    return summarize(layout, entries, cell, number)


def summarize(layout: EntryFormat, entries: Entries, cell: Places, number: int) -> Cells:
    """Return what the head says of given cells; an empty cell has zeros."""
    sums = np.zeros((number, layout.dimension), np.float32)
    squares = np.zeros(number, np.float64)
    order = np.argsort(cell, kind="stable")
    for places, residuals in _blocks(layout, entries, order):
        mine = cell[places]
        starts = np.flatnonzero(np.concatenate([[True], mine[1:] != mine[:-1]]))
        sums[mine[starts]] += np.add.reduceat(residuals, starts, axis=0)
        squares[mine[starts]] += np.add.reduceat(np.square(residuals).sum(axis=1), starts)
    sizes = np.bincount(cell, minlength=number)
    share = 1 / np.maximum(sizes, 1)
    centroids = (sums * share[:, None].astype(np.float32)).astype(np.float32, copy=False)
    squares *= share
    within = np.maximum(squares - np.square(centroids, dtype=np.float64).sum(axis=1), 0)
    return Cells(
        cell,
        centroids,
        np.sqrt(within).astype(np.float32),
        np.sqrt(squares).astype(np.float32),
        sizes,
    )


def _blocks(
    layout: EntryFormat, entries: Entries, order: Places | None = None
) -> Iterator[tuple[Places, Floats]]:
    """Yield the places of a block and its decoded residuals."""
    for start in range(0, len(entries), _BLOCK):
        stop = min(start + _BLOCK, len(entries))
        places = np.arange(start, stop) if order is None else order[start:stop]
        yield places, layout.decode(entries[places])


def nearest(layout: EntryFormat, entries: Entries, centroids: Floats) -> tuple[Places, Floats]:
    """Return the nearest cell of each entry, and the square of its distance from there."""
    cell = np.empty(len(entries), np.intp)
    squares = np.empty(len(entries), np.float32)
    half = np.square(centroids).sum(axis=1) / 2
    for places, residuals in _blocks(layout, entries):
        nearness = residuals @ centroids.T - half
        cell[places] = nearness.argmax(axis=1)
        squares[places] = np.square(residuals).sum(axis=1) - 2 * nearness.max(axis=1)
    return cell, np.maximum(squares, 0)


def _balanced(layout: EntryFormat, entries: Entries, centroids: Floats, capacity: int) -> Places:
    """Return near cells with at most ``capacity`` entries each.

    Every entry asks its nearest cell; a full one keeps those that would lose most by going to
    their next choice (deferred acceptance). Who is refused by all its choices takes the nearest
    cell with room.
    """
    choices, losses = _choices(layout, entries, centroids)
    count, width = choices.shape
    turn = np.zeros(count, np.intp)
    everyone = np.arange(count, dtype=np.intp)
    while True:
        asking = np.flatnonzero(turn < width)
        wanted = choices[asking, turn[asking]]
        crowded = np.bincount(wanted, minlength=len(centroids))[wanted] > capacity
        asking, wanted = asking[crowded], wanted[crowded]
        order = np.lexsort((-losses[asking, turn[asking]], wanted))
        ordered = wanted[order]
        rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
        refused = asking[order[rank >= capacity]]
        if not len(refused):
            break
        turn[refused] += 1
    cell = np.where(turn < width, choices[everyone, np.minimum(turn, width - 1)], -1)
    room = capacity - np.bincount(cell[cell >= 0], minlength=len(centroids))
    half = np.square(centroids).sum(axis=1) / 2
    for place in np.flatnonzero(cell < 0):
        nearness = (layout.decode(entries[place : place + 1]) @ centroids.T)[0] - half
        best = int(np.where(room > 0, nearness, -np.inf).argmax())
        cell[place] = best
        room[best] -= 1
    return cell


def _choices(layout: EntryFormat, entries: Entries, centroids: Floats) -> tuple[Places, Floats]:
    """Return the nearest cells of each entry, and what it loses by going to the next of them."""
    width = min(_CHOICES, len(centroids))
    half = np.square(centroids).sum(axis=1) / 2
    choices = np.empty((len(entries), width), np.intp)
    losses = np.empty((len(entries), width), np.float32)
    for places, residuals in _blocks(layout, entries):
        nearness = residuals @ centroids.T - half
        near = np.argpartition(-nearness, width - 1, axis=1)[:, :width]
        values = np.take_along_axis(nearness, near, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        choices[places] = np.take_along_axis(near, order, 1)
        values = np.take_along_axis(values, order, 1)
        losses[places] = np.diff(-values, axis=1, append=np.inf)
    return choices, losses
