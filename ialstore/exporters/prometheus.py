"""Events as Prometheus metrics, in the registry of the process or in another."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from ialstore.exporters.amounts import AMOUNTS, amounts

if TYPE_CHECKING:
    from ialstore.events import OperationEvent

__all__ = ["PrometheusExporter"]

_LABELS: Final = ("kind", "backend", "operation", "error")
_BUCKETS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Seconds: from a call in memory to one that outlasts the default deadline."""


class _Series:
    """What one set of labels counts: looking children up by labels takes most of an event's time.

    The children of amounts are made when there is something to count.
    """

    __slots__ = ("_counters", "_labels", "_made", "_operations", "_seconds")

    def __init__(self, metrics: _Metrics, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._counters = metrics.counters
        self._made: dict[str, Counter] = {}
        self._seconds = metrics.seconds.labels(*labels)
        self._operations = metrics.operations.labels(*labels)

    def count(self, event: OperationEvent) -> None:
        self._seconds.observe(event.seconds)
        self._operations.inc()
        for name, amount in amounts(event).items():
            if name not in self._made:
                self._made[name] = self._counters[name].labels(*self._labels)
            self._made[name].inc(amount)


class _Metrics:
    """The metrics of one registry, which takes each name once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "ialstore_operation_seconds",
            "Wall time of calls.",
            _LABELS,
            buckets=_BUCKETS,
            registry=registry,
        )
        self.operations = Counter(
            "ialstore_operations",
            "Calls, by the error they raised, if any.",
            _LABELS,
            registry=registry,
        )
        self.counters = {
            name: Counter(f"ialstore_{name}", one.what, _LABELS, registry=registry)
            for name, one in AMOUNTS.items()
        }
        self._series: dict[tuple[str, ...], _Series] = {}

    def series(self, *labels: str) -> _Series:
        found = self._series.get(labels)
        if found is None:  # two threads may both make it: the children are the same
            found = self._series[labels] = _Series(self, labels)
        return found


_known: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()
_lock = threading.Lock()


class PrometheusExporter:
    """Counts calls, their time, items and units by kind, backend, operation and error.

    Any number of them share the metrics of a registry.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        with _lock:
            if registry not in _known:
                _known[registry] = _Metrics(registry)
            self._metrics = _known[registry]

    def __call__(self, event: OperationEvent) -> None:
        """Count one event."""
        error = event.error or ""
        self._metrics.series(event.kind, event.backend, event.operation, error).count(event)
