"""What was measured, as a report tells it: with an added delay, and the effort that is enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from ialstore.compare.costs import TIE
from ialstore.compare.intervals import percentile
from ialstore.compare.model import Calls, Index, Recall, Run, Search, Size

__all__ = ["Figures", "Latency", "Point", "figures"]

_MS: Final = 1000.0
_SAME_TIME: Final = 1.25  # times as long: machines are noisy
_LEAST_P95: Final = 20
_LEAST_P99: Final = 100
"""Calls of which one, as a rule, lies beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of calls in milliseconds, with the added delay for each round trip.

    A percentile is None where so few calls don't tell it.
    """

    p50_ms: float
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, calls: Calls, delay_ms: float) -> Latency:
        """Return that of calls, as if each round trip took so much longer."""
        every = [
            seconds * _MS + trips * delay_ms
            for seconds, trips in zip(calls.seconds, calls.round_trips, strict=True)
        ]
        p50, p95, p99 = (round(percentile(every, share), 3) for share in (0.5, 0.95, 0.99))
        return cls(
            p50_ms=p50,
            p95_ms=p95 if len(every) >= _LEAST_P95 else None,
            p99_ms=p99 if len(every) >= _LEAST_P99 else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Searches of one index with so many vectors and one effort.

    Attributes:
        index: name.
        vectors: of the user.
        effort: as given; None is the default.
        recall: of the best k, where k is what the searches ask for.
        recalls: of each k that was asked for.
        round_trips: one after another, a mean.
        latency: of one search.
        search: as measured.
    """

    index: str
    vectors: int
    effort: float | None
    recall: Recall
    recalls: tuple[Recall, ...]
    round_trips: float
    latency: Latency
    search: Search

    @property
    def work(self) -> tuple[float, float, float]:
        """What one search costs, to be compared with that of the same index.

        It is what is billed and, where nothing is, the time.
        """
        calls = self.search.calls
        if calls.read_units or calls.vector_search_bytes:
            return calls.read_units, calls.vector_search_bytes, 0.0
        return 0.0, 0.0, self.latency.p50_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One index with so many vectors.

    Attributes:
        index: name.
        size: as measured.
        points: of searches, by effort, the default last.
        target: recall that is wanted.
        upsert: latency of one.
        delete: latency of one.
    """

    index: Index
    size: Size
    points: tuple[Point, ...]
    target: float
    upsert: Latency
    delete: Latency

    @property
    def chosen(self) -> Point:
        """The searches of least work that reach the target; else those that find most.

        An effort that saves nothing is none: of the same work is what finds most, and the default.
        """
        most = max(one.recall.mean for one in self.points)
        good = [one for one in self.points if one.recall.mean >= min(self.target, most)]
        least = min(one.work for one in good)
        same = [one for one in good if _is_same(one.work, least)]
        return max(same, key=lambda one: (one.recall.mean, one.effort is None))

    @property
    def reaches(self) -> bool:
        """Whether any effort reaches the target."""
        return self.chosen.recall.mean >= self.target


def _is_same(work: Sequence[float], least: Sequence[float]) -> bool:
    ties = (TIE, TIE, _SAME_TIME)
    return all(one <= other * tie for one, other, tie in zip(work, least, ties, strict=True))


def figures(
    run: Run,
    names: Sequence[str],
    sizes: Sequence[int],
    *,
    k: int,
    delay_ms: float,
    target: float,
) -> tuple[Figures, ...]:
    """Return what was measured of some indexes and sizes; what is not complete is left out.

    Args:
        run: all that was measured.
        names: of indexes, in the order in which they are told.
        sizes: numbers of vectors.
        k: hits of a search.
        delay_ms: added for each round trip.
        target: recall that is wanted.
    """
    found: list[Figures] = []
    for name in names:
        index = run.index(name)
        for count in sizes:
            size = index.size(count)
            points = tuple(_points(index, size, k, delay_ms))
            if points and size.upserts is not None and size.deletes is not None:
                found.append(
                    Figures(
                        index=index,
                        size=size,
                        points=points,
                        target=target,
                        upsert=Latency.of(size.upserts, delay_ms),
                        delete=Latency.of(size.deletes, delay_ms),
                    )
                )
    return tuple(found)


def _points(index: Index, size: Size, k: int, delay_ms: float) -> Iterator[Point]:
    mine = [one for one in size.searches if one.k == k]
    for search in sorted(mine, key=lambda one: (one.effort is None, one.effort or 0.0)):
        recall = search.recall(k)
        if recall is None:
            continue
        deeper = [
            one
            for other in size.searches
            if other.effort == search.effort and other.k > k
            for one in other.recalls
        ]
        yield Point(
            index=index.name,
            vectors=size.vectors,
            effort=search.effort,
            recall=recall,
            recalls=tuple(sorted([*search.recalls, *deeper], key=lambda one: one.k)),
            round_trips=fmean(search.calls.round_trips),
            latency=Latency.of(search.calls, delay_ms),
            search=search,
        )
