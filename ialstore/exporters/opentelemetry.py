"""Events as OpenTelemetry metrics and spans, by the conventions for database clients."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from ialstore._version import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from ialstore.events import OperationEvent

__all__ = ["OpenTelemetryExporter"]

_NAME: Final = "ialstore"
_NANOSECONDS: Final = 1_000_000_000


class OpenTelemetryExporter:
    """Records ``db.client.operation.duration``, units and requests, and a span for each call.

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
            "db.client.operation.duration", "s", "Duration of calls to a store or an index."
        )
        self._requests = meter.create_counter("ialstore.requests", "{request}", "Requests sent.")
        self._read = meter.create_counter("ialstore.read_units", "{unit}", "Read units used.")
        self._write = meter.create_counter("ialstore.write_units", "{unit}", "Write units used.")

    def __call__(self, event: OperationEvent) -> None:
        """Record one event that has just ended."""
        attributes: dict[str, Any] = {
            "db.system.name": event.backend,
            "db.operation.name": event.operation,
            "ialstore.kind": event.kind,
        }
        if event.error is not None:
            attributes["error.type"] = event.error
        self._duration.record(event.seconds, attributes)
        for counter, amount in (
            (self._requests, event.units.requests),
            (self._read, event.units.read),
            (self._write, event.units.write),
        ):
            if amount:
                counter.add(amount, attributes)
        self._trace(event, attributes)

    def _trace(self, event: OperationEvent, attributes: dict[str, Any]) -> None:
        ends = time.time_ns()
        span = self._tracer.start_span(
            f"{event.operation} {event.kind}",
            kind=SpanKind.CLIENT,
            attributes={**attributes, **_more(event)},
            start_time=ends - int(event.seconds * _NANOSECONDS),
        )
        if event.error is not None:
            span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(ends)


def _more(event: OperationEvent) -> dict[str, Any]:
    found: dict[str, Any] = {
        "db.response.returned_rows": event.items,
        "ialstore.consistency": event.consistency,
        "ialstore.requests": event.units.requests,
        "ialstore.read_units": event.units.read,
        "ialstore.write_units": event.units.write,
    }
    return {name: value for name, value in found.items() if value is not None}
