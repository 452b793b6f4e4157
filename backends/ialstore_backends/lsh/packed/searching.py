"""One search, as a state machine without I/O: which cells to read, which rows, when to stop.

1. The head and the tail have been read. ``cells_to_read`` names the cells that are worth it.
2. ``View`` joins the codes held with the tail, ``rank`` orders what passes the filters.
3. ``Ranking.next_rows`` names the rows to read: at first the best k and all that may be among
   them; afterwards only as many as were missing (removed, expired, or kept out by the filter).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore_backends._exact import lower_bound
from ialstore_backends.lsh.packed.codes import Codes, Query
from ialstore_backends.lsh.packed.entries import (
    LAST_HOUR,
    are_dead,
    are_expired,
    hours,
    keys_of,
    role_codes,
    winners,
)
from ialstore_backends.lsh.packed.head import NEIGHBOURS, Calibration
from ialstore_backends.lsh.packed.probing import expected_hits

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from ialstore_backends.lsh.packed.entries import Entries, EntryFormat, Floats
    from ialstore_backends.lsh.packed.head import Head
    from ialstore_backends.lsh.packed.probing import Doubles

__all__ = [
    "CELL_STEEPNESS",
    "DEFAULT_EFFORT",
    "Filter",
    "Ranking",
    "Search",
    "View",
    "cells_to_read",
    "expected_rows",
    "holds_enough",
    "rank",
]

CELL_STEEPNESS: Final = 3  # a cell is read from so much less on: width to this power
DEFAULT_EFFORT: Final = 0.5
_MOSTLY: Final = 0.8  # a smaller share of rows that pass is worth a further round
_EVERYTHING: Final = 256  # so few codes are all looked at with the whole effort
_FEW_HITS: Final = 0.4  # a single hit has a window wider by so much: measured
_UNCALIBRATED: Final = 2.0  # parts of the factor: more than three errors of plain codes
_UNCALIBRATED_ROWS: Final = 48
_UNCALIBRATED_SHARE: Final = 3 / 8  # of more than are left so for long
_NEGLIGIBLE: Final = 0.005  # share of the hits that may be expected where nothing is read
_STEEPNESS: Final = 6.0  # how much wider thresholds are at the whole effort: 1 + 6 / 2 times


@dataclass(frozen=True, slots=True)
class Filter:
    """What entries can tell of a filter; rows tell the rest.

    Attributes:
        session: code of the only session, or None.
        exclude: code of the session to leave out, or None.
        roles: codes of the only roles, or None.
        first_hour: hours since 1970 of the first that belongs.
        last_hour: of the last.
        now: seconds since 1970; what is expired then is left out.
    """

    session: int | None = None
    exclude: int | None = None
    roles: frozenset[int] | None = None
    first_hour: int = 0
    last_hour: int = LAST_HOUR
    now: int = 0

    def passing(self, codes: Codes, *, wanted: int) -> NDArray[np.bool_]:
        """Return which codes may belong.

        Two sessions in 65,536 share a code. So the excluded one's code is let through, for the
        rows to decide, when fewer than ``wanted`` are left without it.
        """
        passes: NDArray[np.bool_] = ~are_expired(codes.about, self.now)
        if self.session is not None:
            passes &= codes.sessions == np.uint16(self.session)
        if self.roles is not None:
            passes &= np.isin(role_codes(codes.about), list(self.roles))
        if self.first_hour > 0 or self.last_hour < LAST_HOUR:
            hour = hours(codes.about)
            passes &= (hour >= self.first_hour) & (hour <= self.last_hour)
        if self.exclude is not None:
            others: NDArray[np.bool_] = passes & (codes.sessions != np.uint16(self.exclude))
            if np.count_nonzero(others) >= wanted:
                return others
        return passes


class View:
    """All codes that a search sees: those of cells, and the tail, of each key the newest."""

    def __init__(self, layout: EntryFormat, cells: Codes, tail: Entries) -> None:
        again = cells.places_of(keys_of(tail))
        before = np.zeros(len(again), layout.dtype)
        before["tag"] = (cells.keys[again] & np.uint64(0xFFFF_FFFF)).astype(np.uint32)
        before["generation"], before["about"] = cells.generations[again], cells.about[again]
        chosen = np.sort(winners(np.concatenate([before, tail])))
        from_cells = chosen < len(again)
        self.cells = cells
        self.alive = np.ones(len(cells), bool)
        self.alive[again] = False
        self.alive[again[chosen[from_cells]]] = True
        late = tail[chosen[~from_cells] - len(again)]
        self.tail = Codes(layout, late[~are_dead(late["about"])])

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive)) + len(self.tail)

    @property
    def large_factor(self) -> float:
        """The factor that one in ten of the tail exceeds; zero of none."""
        return float(np.quantile(self.tail.factors, 0.9)) if len(self.tail) else 0.0

    def share(self, chosen: Filter) -> float:
        """Return which share of the codes a filter lets through, never quite none."""
        return (int(np.count_nonzero(self.passing(chosen, 0))) + 1) / (len(self) + 1)

    def passing(self, chosen: Filter, wanted: int) -> NDArray[np.bool_]:
        """Return which codes of the cells, and behind them of the tail, a filter lets through."""
        cells = chosen.passing(self.cells, wanted=wanted) & self.alive
        missing = max(0, wanted - int(np.count_nonzero(cells)))
        return np.concatenate([cells, chosen.passing(self.tail, wanted=missing)])

    def keys(self, places: NDArray[np.intp]) -> NDArray[np.uint64]:
        """Return the keys of codes at ascending places, those of the tail behind the cells."""
        count = len(self.cells)
        behind = int(places.searchsorted(count))
        of_cells, of_tail = places[:behind], places[behind:] - count
        return np.concatenate([self.cells.keys[of_cells], self.tail.keys[of_tail]])


@dataclass(slots=True, eq=False)
class Ranking:
    """Keys by falling estimate, and how far they have been looked at.

    Attributes:
        keys: of what passes the filter, best first, as far as they may be needed.
        examined: codes that passed.
        estimates: of the keys.
        delta: how far below the k-th best an estimate may lie and still be looked at.
        most: rows looked at, at most, of k hits.
        k: hits wanted.
        done: rows asked for so far.
        is_cut: whether more keys were wanted than there are here.
    """

    keys: NDArray[np.uint64]
    examined: int
    estimates: Floats
    delta: float
    most: int
    k: int
    done: int = field(default=0)
    is_cut: bool = field(default=False)

    def next_rows(self, hits: int) -> list[int]:
        """Return the keys of the rows to read next; none when the search is over.

        Args:
            hits: rows read so far that are there and pass the filter.
        """
        if self.done == 0:
            until = self._until(1.0)
        elif hits < _MOSTLY * self.done:  # the filter keeps out much that codes let through
            until = self._until(self.done / max(hits, 1))
        else:
            until = self.done
        if self.done and hits < self.k:
            until = max(until, self.done + 2 * (self.k - hits))
        self.is_cut = until > len(self.keys)
        found: list[int] = self.keys[self.done : until].tolist()
        self.done += len(found)
        return found

    def _until(self, share: float) -> int:
        """Return how many rows to look at when one in ``share`` passes the filter."""
        place = min(math.ceil(self.k * share), len(self.keys)) - 1
        if place < 0:
            return 0
        least = float(self.estimates[place]) - self.delta
        near = int(np.searchsorted(-self.estimates, -least, side="right"))
        # That all are near says nothing of those that are not here.
        near = near if near < len(self.keys) else self.examined
        return min(near, math.ceil(self.most * share))


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What is searched for.

    Attributes:
        query: made ready with the mean of the head.
        k: hits wanted.
        effort: in (0, 1], or None for the default.
        chosen: the filter.
    """

    query: Query
    k: int
    effort: float | None = None
    chosen: Filter = field(default_factory=Filter)
    _known: dict[int, tuple[Codes, Floats]] = field(
        default_factory=dict["int", "tuple[Codes, Floats]"], repr=False
    )
    _hits: dict[tuple[int, float], tuple[Head, Doubles]] = field(
        default_factory=dict["tuple[int, float]", "tuple[Head, Doubles]"], repr=False
    )

    def estimates(self, codes: Codes) -> Floats:
        """Return estimates of codes, which are computed once."""
        if id(codes) not in self._known:  # the codes are kept, too: no others get their id
            self._known[id(codes)] = codes, codes.estimates(self.query)
        return self._known[id(codes)][1]

    def hits(self, head: Head, wanted: float) -> Doubles:
        """Return how many of so many nearest each cell is expected to hold; computed once."""
        key = id(head), wanted
        if key not in self._hits:
            alpha = head.facts.calibration.alpha
            self._hits[key] = head, expected_hits(head.cells, self.query, alpha, wanted)
        return self._hits[key][1]


def cells_to_read(
    head: Head, search: Search, held: Collection[int] = (), selectivity: float = 1.0
) -> list[int]:
    """Return the numbers of the cells to read now, most promising first.

    Args:
        head: of the user; its cells are not flat.
        search: what is searched for.
        held: cells whose codes are here already.
        selectivity: share of the vectors that pass the filter, as far as is known.
    """
    thresholds = head.facts.calibration
    wanted = search.k / max(selectivity, 1e-9)
    hits = search.hits(head, wanted)
    least = thresholds.least_hits / _width(search.effort) ** CELL_STEEPNESS
    if search.effort == 1 or wanted >= head.facts.count:
        least = 0.0
    least *= wanted / NEIGHBOURS
    order = np.argsort(-hits, kind="stable")
    count = int((hits >= min(least, hits[order[0]])).sum())
    return [cell for cell in order[:count].tolist() if cell not in held]


def holds_enough(head: Head, search: Search, held: Collection[int]) -> bool:
    """Return whether hardly a hit is to be expected in cells that are not held."""
    sizes = head.cells.sizes
    if len(held) == len(sizes):
        return True
    others = np.delete(search.hits(head, search.k), list(held))
    return float(others.sum()) <= _NEGLIGIBLE * search.k


def expected_rows(head: Head, search: Search) -> int:
    """Return how many rows are to be read on the mean, before a code is looked at.

    Args:
        head: of the user.
        search: what is searched for; without a filter.
    """
    thresholds = head.facts.calibration
    wide = _width(search.effort)
    near = thresholds.rows * math.pow(wide, thresholds.growth) * _share(search.k)
    return math.ceil(min(max(near, search.k), head.facts.count))


def rank(
    view: View,
    search: Search,
    calibration: Calibration | None,
    *,
    complete: bool,
    at_least: int = 0,
) -> Ranking:
    """Return what to look at.

    Args:
        view: the codes.
        search: what is searched for.
        calibration: of the head; None of a user who has none yet.
        complete: whether the view has all cells in which hits are to be expected.
        at_least: keys that the ranking has, as long as there are so many.
    """
    k = search.k
    passes = view.passing(search.chosen, k)
    examined = int(np.count_nonzero(passes))
    if calibration is None:
        window = _UNCALIBRATED * search.query.factor * view.large_factor / search.query.unit
        rows = max(_UNCALIBRATED_ROWS, math.ceil(examined * _UNCALIBRATED_SHARE))
        calibration = Calibration(1.0, 0.0, window, window, rows)
    wide = _width(search.effort)
    most = math.ceil(max(k, calibration.most * _share(k) * max(1.0, wide)))
    delta = wide * (calibration.delta_of_all if complete else calibration.delta)
    delta *= search.query.unit * max(1.0, 1 - _FEW_HITS * math.log10(k / NEIGHBOURS))
    if search.effort == 1 and examined <= _EVERYTHING:
        most, delta = max(most, _EVERYTHING), math.inf
    if not examined:
        return Ranking(np.zeros(0, np.uint64), 0, np.zeros(0, np.float32), delta, most, k)
    # For rows that turn out to be gone.
    reserve = min(examined, max(most + 4 * k, at_least))
    estimates = np.concatenate([search.estimates(view.cells), search.estimates(view.tail)])
    if reserve < examined:
        if examined < len(passes):
            estimates[~passes] = -np.inf
        passes &= estimates >= lower_bound(estimates, reserve)
    places = passes.nonzero()[0]
    keys, estimates = view.keys(places), estimates[places]
    order = np.lexsort((keys, -estimates))
    keys, estimates = keys[order], estimates[order]
    return Ranking(keys, examined, estimates, delta, most, k)


def _share(k: int) -> float:
    """Return how many times as many rows k hits need as those that thresholds are made for.

    Few hits need more rows each: an error moves a hit past more of its neighbours.
    """
    return k / NEIGHBOURS if k >= NEIGHBOURS else math.sqrt(k / NEIGHBOURS)


def _width(effort: float | None) -> float:
    """Return how much wider than the calibrated ones the thresholds are: 1 at the default."""
    given = DEFAULT_EFFORT if effort is None else effort
    if given <= DEFAULT_EFFORT:
        return given / DEFAULT_EFFORT
    return 1 + _STEEPNESS * (given - DEFAULT_EFFORT)
