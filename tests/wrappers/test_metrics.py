"""The ``metrics`` wrapper: logging, Prometheus and OpenTelemetry, each for real."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from ialstore import (
    ConfigurationError,
    ConflictError,
    ConversationStore,
    IndexSpec,
    InvalidInputError,
    Message,
    MissingDriverError,
    Units,
    exporters,
    open_index,
    open_store,
)
from ialstore.events import OperationEvent
from ialstore.exporters import make_exporter
from ialstore.exporters.logging import LoggingExporter
from ialstore.exporters.opentelemetry import OpenTelemetryExporter
from ialstore.exporters.prometheus import PrometheusExporter
from ialstore.wrappers.metrics import MetricsConversationStore, MetricsOptions
from ialstore_backends.memory import MemoryConversationStore

SECRET = "zanzibar"  # noqa: S105 - stands for any content


def use(store: ConversationStore) -> None:
    """Append, read, and fail."""
    message = Message.new(user_id=SECRET, session_id="s", role="user", content=SECRET)
    store.append(message)
    store.history(SECRET)
    with pytest.raises(ConflictError):
        store.append(replace(message, content="x"))


def event(**fields: Any) -> OperationEvent:
    given: dict[str, Any] = {
        "kind": "conversation",
        "backend": "dynamodb",
        "operation": "history",
        "seconds": 0.25,
        "units": Units(read=1.5, write=2.0, requests=3),
        "consistency": "strong",
        "items": 20,
        "error": None,
        "details": {"cache_hits": 2, "cache_misses": 1},
    }
    return OperationEvent(**(given | fields))


# -- logging --------------------------------------------------------------------------------------


def test_calls_are_logged_by_how_they_ended(caplog: pytest.LogCaptureFixture) -> None:
    exporter = LoggingExporter(slow_seconds=0.2)
    with caplog.at_level(logging.DEBUG, "ialstore.operations"):
        exporter(event(seconds=0.1))
        exporter(event())
        exporter(event(error="ThrottledError", items=None, units=Units()))
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        (
            "DEBUG",
            "conversation dynamodb history 100.0 ms, items 20, requests 3 read 1.5 write 2",
        ),
        ("INFO", "conversation dynamodb history 250.0 ms, items 20, requests 3 read 1.5 write 2"),
        ("WARNING", "conversation dynamodb history 250.0 ms, raised ThrottledError"),
    ]
    assert vars(caplog.records[0])["ialstore_read_units"] == 1.5
    assert vars(caplog.records[0])["ialstore_details"] == {"cache_hits": 2, "cache_misses": 1}


def test_nothing_is_put_together_that_nobody_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ialstore.operations"):
        LoggingExporter()(event())
    assert caplog.records == []


def test_no_log_shows_an_id_or_content(caplog: pytest.LogCaptureFixture) -> None:
    """E3: no secret and no content in any log."""
    with (
        caplog.at_level(logging.DEBUG, "ialstore"),
        MetricsConversationStore(MemoryConversationStore()) as store,
    ):
        use(store)
    assert [one.levelname for one in caplog.records] == ["DEBUG", "DEBUG", "WARNING"]
    assert SECRET not in repr([vars(one) for one in caplog.records])


# -- Prometheus -----------------------------------------------------------------------------------


def test_prometheus_counts_what_happened() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter(event())
    exporter(event(error="ThrottledError", items=None, units=Units(requests=1), details={}))
    PrometheusExporter(registry)(event(operation="append", items=1))  # the same registry again

    text = generate_latest(registry).decode()
    labels = 'backend="dynamodb",kind="conversation",operation="history"'
    fine = labels.replace(",", ',error="",', 1)
    failed = labels.replace(",", ',error="ThrottledError",', 1)
    for line in (
        f"ialstore_operation_seconds_count{{{labels}}} 2.0",
        f"ialstore_operation_seconds_sum{{{labels}}} 0.5",
        f"ialstore_operations_total{{{fine}}} 1.0",
        f"ialstore_operations_total{{{failed}}} 1.0",
        f"ialstore_items_total{{{labels}}} 20.0",
        f"ialstore_requests_total{{{labels}}} 4.0",
        f"ialstore_read_units_total{{{labels}}} 1.5",
        f"ialstore_write_units_total{{{labels}}} 2.0",
        f"ialstore_cache_hits_total{{{labels}}} 2.0",
        f"ialstore_cache_misses_total{{{labels}}} 1.0",
    ):
        assert line in text
    assert 'operation="append"' in text


def test_a_configuration_sends_metrics_to_the_registry_of_the_process() -> None:
    labels = {"kind": "conversation", "backend": "memory", "operation": "history"}

    def calls() -> float:
        return REGISTRY.get_sample_value("ialstore_operation_seconds_count", labels) or 0.0

    before = calls()
    wrap: list[Any] = ["retry", {"use": "metrics", "to": ["prometheus", "logging", "prometheus"]}]
    config = {"conversation": {"url": "memory:", "wrap": wrap}}
    with open_store(config) as store, open_store(config) as other:
        store.history("u")
        other.history("u")
    assert calls() == before + 2


# -- OpenTelemetry --------------------------------------------------------------------------------


Telemetry = tuple[OpenTelemetryExporter, InMemoryMetricReader, InMemorySpanExporter]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    meters = MeterProvider([reader])
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    yield OpenTelemetryExporter(meters, tracers), reader, spans
    meters.shutdown()
    tracers.shutdown()


def test_opentelemetry_gets_durations_units_and_spans(
    telemetry: Telemetry,
) -> None:
    exporter, reader, spans = telemetry
    exporter(event())
    exporter(event(error="ThrottledError", items=None, consistency=None, units=Units()))

    data: Any = reader.get_metrics_data()
    found = {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    duration = found["db.client.operation.duration"]
    assert duration.unit == "s"
    assert sorted(point.sum for point in duration.data.data_points) == [0.25, 0.25]
    (read,) = found["ialstore.read_units"].data.data_points
    assert read.value == 1.5
    assert dict(read.attributes) == {
        "db.system.name": "dynamodb",
        "db.operation.name": "history",
        "ialstore.kind": "conversation",
    }
    good, bad = spans.get_finished_spans()
    assert (good.name, good.kind) == ("history conversation", SpanKind.CLIENT)
    assert good.end_time is not None
    assert good.start_time is not None
    assert good.end_time - good.start_time == 250_000_000
    assert good.attributes is not None
    assert good.attributes["db.response.returned_rows"] == 20
    assert (bad.status.status_code, bad.status.description) == (
        StatusCode.ERROR,
        "ThrottledError",
    )
    assert bad.attributes is not None
    assert bad.attributes["error.type"] == "ThrottledError"
    assert "ialstore.consistency" not in bad.attributes


# -- choosing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", exporters.EXPORTERS)
def test_each_exporter_can_be_chosen_for_stores_and_indexes(name: str) -> None:
    wrap = [{"use": "metrics", "to": name}]
    with open_store({"conversation": {"url": "memory:", "wrap": wrap}}) as store:
        use(store)
    with open_index({"vector": {"url": "memory:", "wrap": wrap}}, IndexSpec(2)) as index:
        assert index.count("u") == 0


@pytest.mark.parametrize("name", ["opentelemetry", "prometheus"])
def test_a_library_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"opentelemetry": "opentelemetry", "prometheus": "prometheus_client"}[name]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"ialstore.exporters.{name}")
    with pytest.raises(MissingDriverError, match=rf"pip install 'ialstore\[{name}\]'"):
        make_exporter(name)


def test_an_unknown_exporter_is_named() -> None:
    with pytest.raises(InvalidInputError, match="no exporter promethus; did you mean prometheus"):
        MetricsOptions(to="promethus")
    with pytest.raises(ConfigurationError, match="no exporter promethus; did you mean prometheus"):
        make_exporter("promethus")
