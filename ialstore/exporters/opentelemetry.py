"""Events as OpenTelemetry metrics and spans, by the semantic conventions for database clients.

Conventions: https://opentelemetry.io/docs/specs/semconv/database/
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from ialstore._version import __version__
from ialstore.exporters.amounts import AMOUNTS, amounts, plain_details

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from ialstore.events import OperationEvent

__all__ = ["OpenTelemetryExporter"]

_NAME: Final = "ialstore"
_NANOSECONDS: Final = 1_000_000_000
_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Seconds, as the conventions ask; the default ones are meant for milliseconds."""
_SYSTEMS: Final = {
    "dynamodb": "aws.dynamodb",
    "dynamodb-vector": "aws.dynamodb",
    "lsh+dynamodb": "aws.dynamodb",
    "opensearch+http": "opensearch",
}
"""Names of the conventions where the URL scheme is another."""


class OpenTelemetryExporter:
    """Records ``db.client.operation.duration``, what calls counted, and a span for each call.

    A span is made when its call has ended, with the times of the call, as a child of the caller's
    own span.

    Args:
        meter_provider: the global one by default.
        tracer_provider: the global one by default.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        self._duration = meter.create_histogram(
            "db.client.operation.duration",
            "s",
            "Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._counters = {
            name: meter.create_counter(f"ialstore.{name}", one.unit, one.what)
            for name, one in AMOUNTS.items()
        }

    def __call__(self, event: OperationEvent) -> None:
        """Record one event that has just ended."""
        attributes: dict[str, Any] = {
            "db.system.name": _SYSTEMS.get(event.backend, event.backend),
            "db.operation.name": event.operation,
            "ialstore.kind": event.kind,
            "ialstore.backend": event.backend,
        }
        if event.error is not None:
            attributes["error.type"] = event.error
        counted = amounts(event)
        self._duration.record(event.seconds, attributes)
        for name, amount in counted.items():
            self._counters[name].add(amount, attributes)
        details = {**plain_details(event), **counted}
        if event.consistency is not None:
            details["consistency"] = event.consistency
        shown = {f"ialstore.{name}": value for name, value in details.items()}
        self._trace(event, shown | attributes)

    def _trace(self, event: OperationEvent, attributes: dict[str, Any]) -> None:
        ends = time.time_ns()
        span = self._tracer.start_span(
            f"{event.operation} {event.kind}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=ends - int(event.seconds * _NANOSECONDS),
        )
        if event.error is not None:
            span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(ends)
