"""Events as Prometheus metrics, in the registry of the process or in another."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

if TYPE_CHECKING:
    from ialstore.events import OperationEvent

__all__ = ["PrometheusExporter"]

_LABELS: Final = ("kind", "backend", "operation")
_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_DETAILS: Final = ("cache_hits", "cache_misses")


class _Metrics:
    """The metrics of one registry, which takes each name once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str, labels: tuple[str, ...] = _LABELS) -> Counter:
            return Counter(f"ialstore_{name}", what, labels, registry=registry)

        self.seconds = Histogram(
            "ialstore_operation_seconds",
            "Wall time of calls.",
            _LABELS,
            buckets=_BUCKETS,
            registry=registry,
        )
        self.operations = counter(
            "operations", "Calls, by the error they raised, if any.", (*_LABELS, "error")
        )
        self.items = counter("items", "Messages, ids or hits returned or written.")
        self.requests = counter("requests", "Requests sent over the network.")
        self.read_units = counter("read_units", "Read units used.")
        self.write_units = counter("write_units", "Write units used.")
        self.details = {
            name: counter(name, f"{name.replace('_', ' ').capitalize()}.") for name in _DETAILS
        }


_known: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()
_lock = threading.Lock()


class PrometheusExporter:
    """Counts calls, their time, items and units by kind, backend and operation."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        with _lock:
            if registry not in _known:
                _known[registry] = _Metrics(registry)
            self._metrics = _known[registry]

    def __call__(self, event: OperationEvent) -> None:
        """Count one event."""
        metrics = self._metrics
        labels = (event.kind, event.backend, event.operation)
        metrics.seconds.labels(*labels).observe(event.seconds)
        metrics.operations.labels(*labels, event.error or "").inc()
        for counter, amount in (
            (metrics.items, event.items or 0),
            (metrics.requests, event.units.requests),
            (metrics.read_units, event.units.read),
            (metrics.write_units, event.units.write),
            *((counter, event.details.get(name, 0)) for name, counter in metrics.details.items()),
        ):
            if amount:
                counter.labels(*labels).inc(amount)
