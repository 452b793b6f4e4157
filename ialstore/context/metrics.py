"""What the engine measures of itself: the times of its builds, and what its calls used."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from ialstore.cost import Units

if TYPE_CHECKING:
    from ialstore.events import OperationEvent

__all__ = ["CACHE_COUNTS", "Metrics", "hit_rate"]

CACHE_COUNTS: Final[tuple[str, ...]] = (
    "cache_hits",
    "cache_misses",
    "cache_fills",
    "cache_refused_fills",
    "cache_invalidations",
    "cache_unmarked",
)
"""Details of events that are summed up."""
_SHADOW_COUNTS: Final = ("shadow_compared", "shadow_differing", "shadow_searches", "shadow_recall")
_BUILDS: Final = 1000
"""Means and percentiles are those of so many of the last builds."""


class Metrics:
    """Sums and samples; safe from many threads."""

    def __init__(self) -> None:
        self._build_ms: deque[float] = deque(maxlen=_BUILDS)
        self._search_ms: deque[float] = deque(maxlen=_BUILDS)
        self._builds = 0
        self._units = Units()
        self._cache: dict[str, int] = dict.fromkeys(CACHE_COUNTS, 0)
        self._shadow: dict[str, float] = dict.fromkeys(_SHADOW_COUNTS, 0.0)
        self.after_fork()

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()

    def listen(self, event: OperationEvent) -> None:
        """Take note of a call to the store or the index."""
        counted = [(one, event.details[one]) for one in CACHE_COUNTS if one in event.details]
        compared = [(one, event.details[one]) for one in _SHADOW_COUNTS if one in event.details]
        with self._lock:
            self._units += event.units
            for one, amount in counted:
                self._cache[one] += amount
            for one, amount in compared:
                self._shadow[one] += amount

    def built(self, total_ms: float, search_ms: float | None) -> None:
        """Take note of a build; one that had nothing to search with has no ``search_ms``."""
        with self._lock:
            self._builds += 1
            self._build_ms.append(total_ms)
            if search_ms is not None:
                self._search_ms.append(search_ms)

    def values(self) -> dict[str, float]:
        """Return all but the memory, by name; what was never measured is 0."""
        with self._lock:
            return {
                "context_builds": float(self._builds),
                "avg_context_build_ms": _mean(self._build_ms),
                "p95_context_build_ms": _percentile_95(self._build_ms),
                "avg_embedding_search_ms": _mean(self._search_ms),
                "p95_embedding_search_ms": _percentile_95(self._search_ms),
                "cache_hit_rate": hit_rate(self._cache),
                **{one: float(amount) for one, amount in self._cache.items()},
                "shadow_compared": self._shadow["shadow_compared"],
                "shadow_differing": self._shadow["shadow_differing"],
                "shadow_recall": _share(self._shadow, "shadow_recall", "shadow_searches"),
                "read_units": self._units.read,
                "write_units": self._units.write,
            }


def hit_rate(counts: Mapping[str, int]) -> float:
    """Return the part of lookups that a cache answered; 0 without any."""
    hits, misses = counts.get("cache_hits", 0), counts.get("cache_misses", 0)
    return hits / (hits + misses) if hits + misses else 0.0


def _share(counts: Mapping[str, float], part: str, whole: str) -> float:
    return counts[part] / counts[whole] if counts[whole] else 0.0


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _percentile_95(values: Collection[float]) -> float:
    """Return the least value that 95 % of all don't exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1] if values else 0.0
