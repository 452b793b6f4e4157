"""Listeners of events: to logging, Prometheus and OpenTelemetry; the ``metrics`` wrapper adds them.

Each is made once and may be subscribed to any number of stores. None shows an id or content.
"""

from __future__ import annotations

from typing import Final

from ialstore.errors import ConfigurationError, MissingDriverError
from ialstore.events import Listener
from ialstore.url import closest

__all__ = ["EXPORTERS", "make_exporter"]

EXPORTERS: Final = ("logging", "opentelemetry", "prometheus")


def make_exporter(name: str, *, slow_seconds: float = 1.0) -> Listener:
    """Return the listener of this name.

    Args:
        name: one of ``EXPORTERS``.
        slow_seconds: from which on a call is logged as slow.

    Raises:
        ConfigurationError: there is none; the closest is named.
        MissingDriverError: its library is not installed; the text names the extra.
    """
    if name not in EXPORTERS:
        raise ConfigurationError(f"metrics: there is no exporter {name}{closest(name, EXPORTERS)}")
    try:
        if name == "prometheus":
            from ialstore.exporters.prometheus import PrometheusExporter

            return PrometheusExporter()
        if name == "opentelemetry":
            from ialstore.exporters.opentelemetry import OpenTelemetryExporter

            return OpenTelemetryExporter()
        from ialstore.exporters.logging import LoggingExporter

        return LoggingExporter(slow_seconds=slow_seconds)
    except ModuleNotFoundError as error:
        raise MissingDriverError(
            f"metrics: {name} needs the module {error.name}: pip install 'ialstore[{name}]'"
        ) from error
