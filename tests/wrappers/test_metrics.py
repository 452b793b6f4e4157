"""The ``metrics`` wrapper: logging, Prometheus and OpenTelemetry, each for real."""

from __future__ import annotations

import logging
import re
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
    exporter = LoggingExporter(slow_seconds=0.25)
    with caplog.at_level(logging.DEBUG, "ialstore.operations"):
        exporter(event(seconds=0.2499))
        exporter(event())
        exporter(event(error="ThrottledError", items=None, units=Units()))
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        (
            "DEBUG",
            "conversation dynamodb history 249.9 ms, items 20, requests 3 read 1.5 write 2",
        ),
        ("INFO", "conversation dynamodb history 250.0 ms, items 20, requests 3 read 1.5 write 2"),
        ("WARNING", "conversation dynamodb history 250.0 ms, raised ThrottledError"),
    ]


def test_a_record_carries_the_event_in_fields(caplog: pytest.LogCaptureFixture) -> None:
    details = {"cache_hits": 2, "plan": "index", "partitions": {"2024-02-29": 1.0}}
    with caplog.at_level(logging.DEBUG, "ialstore.operations"):
        LoggingExporter()(event(details=details))
    fields = {
        name: value
        for name, value in vars(caplog.records[0]).items()
        if name.startswith("ialstore_")
    }
    assert fields == {
        "ialstore_kind": "conversation",
        "ialstore_backend": "dynamodb",
        "ialstore_operation": "history",
        "ialstore_seconds": 0.25,
        "ialstore_consistency": "strong",
        "ialstore_error": None,
        "ialstore_items": 20,
        "ialstore_requests": 3,
        "ialstore_read_units": 1.5,
        "ialstore_write_units": 2.0,
        "ialstore_cache_hits": 2,
        "ialstore_details": {"cache_hits": 2, "plan": "index"},
    }


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

EXPOSITION = """\
# HELP ialstore_operation_seconds Wall time of calls.
# TYPE ialstore_operation_seconds histogram
ialstore_operation_seconds_bucket{BUCKET 0.1} 0.0
ialstore_operation_seconds_bucket{BUCKET 0.25} 1.0
ialstore_operation_seconds_bucket{BUCKET +Inf} 1.0
ialstore_operation_seconds_count{LABELS} 1.0
ialstore_operation_seconds_sum{LABELS} 0.25
# HELP ialstore_operations_total Calls, by the error they raised, if any.
# TYPE ialstore_operations_total counter
ialstore_operations_total{LABELS} 1.0
# HELP ialstore_items_total Messages, ids or hits returned or written.
# TYPE ialstore_items_total counter
ialstore_items_total{LABELS} 20.0
# HELP ialstore_requests_total Requests sent over the network, retries included.
# TYPE ialstore_requests_total counter
ialstore_requests_total{LABELS} 3.0
# HELP ialstore_read_units_total Read units used.
# TYPE ialstore_read_units_total counter
ialstore_read_units_total{LABELS} 1.5
# HELP ialstore_write_units_total Write units used.
# TYPE ialstore_write_units_total counter
ialstore_write_units_total{LABELS} 2.0
# HELP ialstore_vector_write_bytes_total Bytes written to an index that bills by the byte.
# TYPE ialstore_vector_write_bytes_total counter
# HELP ialstore_vector_search_bytes_total Bytes searched in an index that bills by the byte.
# TYPE ialstore_vector_search_bytes_total counter
# HELP ialstore_cache_hits_total Lookups that a cache answered.
# TYPE ialstore_cache_hits_total counter
ialstore_cache_hits_total{LABELS} 2.0
# HELP ialstore_cache_misses_total Lookups that a cache could not answer.
# TYPE ialstore_cache_misses_total counter
ialstore_cache_misses_total{LABELS} 0.0
# HELP ialstore_cache_fills_total Values put into a cache.
# TYPE ialstore_cache_fills_total counter
# HELP ialstore_cache_refused_fills_total Values that a cache refused: a writer came between.
# TYPE ialstore_cache_refused_fills_total counter
# HELP ialstore_cache_invalidations_total Values that a write removed from a cache.
# TYPE ialstore_cache_invalidations_total counter
# HELP ialstore_cache_unmarked_total Writes that could not be announced to a cache.
# TYPE ialstore_cache_unmarked_total counter
# HELP ialstore_dual_missed_total Users for whom the second store of a write failed.
# TYPE ialstore_dual_missed_total counter
# HELP ialstore_retries_total Calls to the store that the retry wrapper repeated.
# TYPE ialstore_retries_total counter
# HELP ialstore_shadow_compared_total Answers that were compared with those of a shadow.
# TYPE ialstore_shadow_compared_total counter
# HELP ialstore_shadow_differing_total Answers of a shadow that were others.
# TYPE ialstore_shadow_differing_total counter
# HELP ialstore_shadow_dropped_total Reads that a shadow had no time for.
# TYPE ialstore_shadow_dropped_total counter
# HELP ialstore_shadow_failed_total Reads that a shadow could not answer.
# TYPE ialstore_shadow_failed_total counter
# HELP ialstore_shadow_searches_total Searches among the answers compared.
# TYPE ialstore_shadow_searches_total counter
# HELP ialstore_shadow_recall_total Sum of the recalls of a shadow in these searches.
# TYPE ialstore_shadow_recall_total counter
"""
LABELS = 'backend="dynamodb",error="",kind="conversation",operation="history"'
BUCKET = r'backend="dynamodb",error="",kind="conversation",le="\1",operation="history"'


def exposed(registry: CollectorRegistry) -> list[str]:
    """Return what a scrape gets, but for the times at which series were made."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    given = {"kind": "conversation", "backend": "dynamodb", "operation": "history", "error": ""}
    return registry.get_sample_value(f"ialstore_{name}", given | labels)


def test_a_scrape_shows_what_happened() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry)(event(details={"cache_hits": 2, "cache_misses": 0, "plan": "x"}))
    lines = exposed(registry)
    assert len([line for line in lines if "_bucket" in line]) == 17
    buckets = ('le="0.1"', 'le="0.25"', 'le="+Inf"')
    shown = [line for line in lines if "_bucket" not in line or any(le in line for le in buckets)]
    assert (
        shown
        == re.sub(r"BUCKET ([^}]+)", BUCKET, EXPOSITION.replace("LABELS", LABELS)).splitlines()
    )


def test_calls_add_up_by_how_they_ended() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter(event())
    exporter(event(seconds=0.5))
    exporter(event(error="ThrottledError", units=Units(requests=5), details={"retries": 4}))
    assert sample(registry, "operations_total") == 2
    assert sample(registry, "operation_seconds_sum") == 0.75
    assert sample(registry, "requests_total") == 6
    assert sample(registry, "retries_total") is None
    failed = {"error": "ThrottledError"}
    assert sample(registry, "operations_total", **failed) == 1
    assert sample(registry, "operation_seconds_sum", **failed) == 0.25
    assert sample(registry, "requests_total", **failed) == 5
    assert sample(registry, "retries_total", **failed) == 4


def test_bytes_of_vectors_are_counted() -> None:
    registry = CollectorRegistry()
    units = Units(vector_write_bytes=7, vector_search_bytes=9)
    PrometheusExporter(registry)(event(units=units))
    assert sample(registry, "vector_write_bytes_total") == 7
    assert sample(registry, "vector_search_bytes_total") == 9


def test_a_detail_that_is_no_number_is_not_counted() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry)(event(details={"cache_hits": "many", "cache_misses": True}))
    assert sample(registry, "operations_total") == 1
    assert sample(registry, "cache_hits_total") is None
    assert sample(registry, "cache_misses_total") is None


def test_exporters_share_the_metrics_of_a_registry() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    for registry in (one, one, other):
        PrometheusExporter(registry)(event())
    assert (sample(one, "operations_total"), sample(other, "operations_total")) == (2, 1)


@pytest.mark.parametrize(
    "wrap",
    [
        ["metrics", "retry", "readonly"],
        ["retry", "metrics", "readonly"],
        ["retry", "readonly", "metrics"],
    ],
    ids=["outermost", "between", "innermost"],
)
def test_metrics_counts_each_call_once_wherever_it_stands(wrap: list[Any]) -> None:
    """W1: by the one event of each call, in two stores of one process."""
    to_all = {"use": "metrics", "to": ["prometheus", "logging", "prometheus"]}
    wrap = [to_all if one == "metrics" else one for one in wrap]
    config = {"conversation": {"url": "memory:", "wrap": wrap}}

    def calls() -> float:
        return sample(REGISTRY, "operation_seconds_count", backend="memory") or 0.0

    before = calls()
    with open_store(config) as store, open_store(config) as other:
        store.history("u")
        other.history("u")
    assert calls() == before + 2


# -- OpenTelemetry --------------------------------------------------------------------------------


class Telemetry:
    """An SDK that keeps in memory what it gets."""

    def __init__(self) -> None:
        self.reader, self.spans = InMemoryMetricReader(), InMemorySpanExporter()
        self.meters, self.tracers = MeterProvider([self.reader]), TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.exporter = OpenTelemetryExporter(self.meters, self.tracers)

    def points(self) -> dict[str, tuple[str, list[Any]]]:
        """Return unit and data points of each metric."""
        data: Any = self.reader.get_metrics_data()
        return {
            metric.name: (metric.unit, list(metric.data.data_points))
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    sdk = Telemetry()
    yield sdk
    sdk.meters.shutdown()
    sdk.tracers.shutdown()


HISTORY = {
    "db.system.name": "aws.dynamodb",
    "db.operation.name": "history",
    "ialstore.kind": "conversation",
    "ialstore.backend": "dynamodb",
}


def test_opentelemetry_gets_durations_and_amounts(telemetry: Telemetry) -> None:
    telemetry.exporter(event())
    telemetry.exporter(event(error="ThrottledError", items=None, units=Units(requests=1)))
    found = telemetry.points()

    unit, durations = found["db.client.operation.duration"]
    assert unit == "s"
    assert [dict(point.attributes) for point in durations] == [
        HISTORY,
        {**HISTORY, "error.type": "ThrottledError"},
    ]
    assert [point.sum for point in durations] == [0.25, 0.25]
    for point in durations:
        assert point.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
        assert point.bucket_counts == (0, 0, 0, 0, 0, 1, 0, 0, 0, 0)
    counted = {
        name: (unit, [point.value for point in points])
        for name, (unit, points) in found.items()
        if name != "db.client.operation.duration"
    }
    assert counted == {
        "ialstore.items": ("{item}", [20]),
        "ialstore.requests": ("{request}", [3, 1]),
        "ialstore.read_units": ("{unit}", [1.5]),
        "ialstore.write_units": ("{unit}", [2.0]),
        "ialstore.cache_hits": ("{lookup}", [2, 2]),
        "ialstore.cache_misses": ("{lookup}", [1, 1]),
    }


def test_a_call_is_a_span_with_the_times_of_the_call(telemetry: Telemetry) -> None:
    details = {"plan": "index", "partitions": {"2024-02-29": 1.0}, "kind": "not the event's"}
    with telemetry.tracers.get_tracer("caller").start_as_current_span("answer") as caller:
        telemetry.exporter(event(details=details))
    span, _ = telemetry.spans.get_finished_spans()
    assert (span.name, span.kind) == ("history conversation", SpanKind.CLIENT)
    assert span.parent == caller.get_span_context()
    assert span.start_time is not None
    assert span.end_time == span.start_time + 250_000_000
    assert span.status.is_unset
    assert span.attributes == {
        **HISTORY,
        "ialstore.consistency": "strong",
        "ialstore.items": 20,
        "ialstore.requests": 3,
        "ialstore.read_units": 1.5,
        "ialstore.write_units": 2.0,
        "ialstore.plan": "index",
    }


def test_a_call_that_raised_is_a_span_with_an_error(telemetry: Telemetry) -> None:
    failed = event(
        backend="sqlite",
        operation="setup",
        error="LockedError",
        items=None,
        consistency=None,
        units=Units(),
        details={},
    )
    telemetry.exporter(failed)
    (span,) = telemetry.spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "LockedError")
    assert span.attributes == {
        "db.system.name": "sqlite",
        "db.operation.name": "setup",
        "error.type": "LockedError",
        "ialstore.kind": "conversation",
        "ialstore.backend": "sqlite",
    }


def test_no_telemetry_shows_an_id_or_content(telemetry: Telemetry) -> None:
    """E3: nor does a scrape."""
    registry = CollectorRegistry()
    with MemoryConversationStore() as store:
        store.subscribe(telemetry.exporter)
        store.subscribe(PrometheusExporter(registry))
        use(store)
    spans = [span.to_json() for span in telemetry.spans.get_finished_spans()]
    assert len(spans) == 3
    assert sample(registry, "operations_total", backend="memory") == 1
    told = repr((spans, telemetry.points(), exposed(registry)))
    assert "ConflictError" in told
    assert SECRET not in told


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
    wrap = [{"use": "metrics", "to": ["logging", "promethus"]}]
    with pytest.raises(ConfigurationError, match=r"wrap: metrics: to: .*did you mean prometheus\?"):
        open_store({"conversation": {"url": "memory:", "wrap": wrap}})
    with pytest.raises(ConfigurationError, match="no exporter promethus; did you mean prometheus"):
        make_exporter("promethus")


@pytest.mark.parametrize(
    ("given", "text"),
    [({"to": ()}, "to names no exporter"), ({"slow_seconds": -0.1}, "slow_seconds")],
)
def test_senseless_options_are_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        MetricsOptions(**given)


def test_calls_are_slow_from_the_time_that_the_options_say(
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = MetricsOptions(slow_seconds=0)
    with caplog.at_level(logging.DEBUG, "ialstore.operations"):
        MetricsConversationStore(MemoryConversationStore(), options).history("u")
    assert [one.levelname for one in caplog.records] == ["INFO"]
