"""Events as log records of the logger ``ialstore.operations``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ialstore.exporters.amounts import amounts, plain_details

if TYPE_CHECKING:
    from ialstore.events import OperationEvent

__all__ = ["LoggingExporter"]


class LoggingExporter:
    """Logs each call: DEBUG, INFO from ``slow_seconds`` on, WARNING when it raised.

    Each record carries the event's fields as attributes named ``ialstore_...``, for structured
    logs; what was counted is there when it is not 0.
    """

    def __init__(self, *, slow_seconds: float = 1.0, logger: logging.Logger | None = None) -> None:
        self._slow_seconds = slow_seconds
        self._logger = logger or logging.getLogger("ialstore.operations")

    def __call__(self, event: OperationEvent) -> None:
        """Log one event."""
        level = logging.DEBUG
        if event.error is not None:
            level = logging.WARNING
        elif event.seconds >= self._slow_seconds:
            level = logging.INFO
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", _sentence(event), extra=_fields(event))


def _sentence(event: OperationEvent) -> str:
    parts = [f"{event.kind} {event.backend} {event.operation} {event.seconds * 1000:.1f} ms"]
    if event.items is not None:
        parts.append(f"items {event.items}")
    if event.units.requests:
        units = event.units
        parts.append(f"requests {units.requests} read {units.read:g} write {units.write:g}")
    if event.error is not None:
        parts.append(f"raised {event.error}")
    return ", ".join(parts)


def _fields(event: OperationEvent) -> dict[str, Any]:
    return {
        "ialstore_kind": event.kind,
        "ialstore_backend": event.backend,
        "ialstore_operation": event.operation,
        "ialstore_seconds": event.seconds,
        "ialstore_consistency": event.consistency,
        "ialstore_error": event.error,
        "ialstore_details": plain_details(event),
        **{f"ialstore_{name}": amount for name, amount in amounts(event).items()},
    }
