"""The spec an index is made for, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from ialstore.capabilities import VectorCapabilities
from ialstore.errors import ConfigurationError, StoreNotReadyError, UnsupportedOperationError
from ialstore.limits import MAX_DIMENSION, MAX_TEXT_BYTES, MIN_MAX_K
from ialstore.testing.vector.base import (
    MODEL,
    USER,
    Fill,
    MakeIndex,
    MakeRecord,
    OpenIndex,
    VectorSuiteBase,
    X,
    assert_refused,
    let_others_in,
    spec_of,
)
from ialstore.testing.vector.oracle import Oracle
from ialstore.vector import VectorIndex
from ialstore.vector_model import METRICS, IndexSpec

__all__ = ["SpecChapter"]


def other_specs(index: VectorIndex) -> dict[str, IndexSpec]:
    """Return specs that differ from that of the index, by the field that differs."""
    spec = index.spec
    found = {
        "dimension": replace(spec, dimension=spec.dimension - 1),
        "model": replace(spec, model="other"),
    }
    metrics = sorted(index.capabilities.metrics - {spec.metric})
    if metrics:
        found["metric"] = replace(spec, metric=metrics[0])
    return found


class SpecChapter(VectorSuiteBase):
    """V1, and capabilities that make sense."""

    def test_what_an_index_says_of_itself_makes_sense(self, reader: VectorIndex) -> None:
        """V1, V3, V4, V6: capabilities are within their bounds, and the spec is the one given."""
        said = reader.capabilities
        assert isinstance(said, VectorCapabilities)
        assert said.max_k >= MIN_MAX_K, f"V3: every index offers k up to {MIN_MAX_K}"
        assert 0 <= said.min_recall <= 1, "V6: recall is a share"
        assert said.min_recall == 1 or not said.exact, "V6: an exact index finds everything"
        assert 0 <= said.vector_error < 1, "V4: a vector so far off could be any other"
        assert said.metrics, "V1: an index offers a metric"
        assert said.metrics <= set(METRICS), "V1: the contract knows these metrics only"
        assert reader.capabilities == said, "capabilities are one value"
        assert reader.spec == IndexSpec(reader.spec.dimension, reader.spec.metric, MODEL)

    @pytest.mark.parametrize("metric", METRICS)
    def test_a_metric_that_is_not_offered_is_refused(
        self, make_index: MakeIndex, capabilities: VectorCapabilities, metric: str
    ) -> None:
        """V1: those that are offered open, and the others say so at once."""
        if metric in capabilities.metrics:
            with make_index(spec_of(metric)) as index:
                assert index.spec.metric == metric
        else:
            with pytest.raises(UnsupportedOperationError):
                make_index(spec_of(metric))

    @pytest.mark.parametrize("dimension", [1, 7, 1025, MAX_DIMENSION])
    def test_any_dimension_is_taken(
        self, open_index: OpenIndex, spec: IndexSpec, record: MakeRecord, dimension: int
    ) -> None:
        """V1, V2: from 1 to 4,096, beside the longest text."""
        index = open_index(replace(spec, dimension=dimension))
        if not index.capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")
        vectors = np.random.default_rng(dimension).standard_normal((30, dimension))
        given = [record(vector, text="x" * MAX_TEXT_BYTES) for vector in vectors]
        index.upsert(USER, given)
        oracle = Oracle.of(index)
        oracle.assert_holds({one.id: one for one in given})
        for vector in vectors[:3]:
            oracle.search(vector, 5)

    @pytest.mark.parametrize("field", ["dimension", "metric", "model"])
    def test_an_index_made_for_another_spec_is_refused(
        self, index: VectorIndex, open_index: OpenIndex, record: MakeRecord, field: str
    ) -> None:
        """V1: the spec is stored by setup or first use and compared by the first operation."""
        kept = record(text="kept")
        index.upsert(USER, [kept])
        let_others_in(index)
        other = other_specs(index).get(field)
        if other is None:
            pytest.skip("capabilities.metrics: there is no other")
        vector = X[: other.dimension]
        calls: dict[str, Callable[[VectorIndex], object]] = {
            "count": lambda wrong: wrong.count(USER),
            "get": lambda wrong: wrong.get(USER, [kept.id]),
            "ids": lambda wrong: wrong.ids(USER),
            "search": lambda wrong: wrong.search(USER, vector),
            "upsert": lambda wrong: wrong.upsert(USER, [record(vector)]),
            "bulk_load": lambda wrong: wrong.bulk_load([(USER, record(vector))]),
            "delete": lambda wrong: wrong.delete(USER, [kept.id]),
            "delete_session": lambda wrong: wrong.delete_session(USER, "s1"),
            "erase": lambda wrong: wrong.erase(USER),
            "optimize": lambda wrong: wrong.optimize(USER),
            "setup": lambda wrong: wrong.setup(),
        }
        for name, call in calls.items():
            with open_index(other, set_up=False) as wrong:
                for _ in range(2):
                    assert_refused(
                        ConfigurationError,
                        partial(call, wrong),
                        f"V1: {name} of an index made for {index.spec}, opened for {other}",
                    )
        with open_index(other, set_up=False) as wrong:
            assert wrong.check(), "S15: check names the other spec"

        again = open_index()
        assert again.check() == []
        assert [one.text for one in again.get(USER, [kept.id])] == ["kept"]
        assert again.count(USER) == 1

    def test_an_empty_model_is_not_compared(
        self, index: VectorIndex, open_index: OpenIndex, record: MakeRecord
    ) -> None:
        """V1: an empty model skips that field, and changes nothing that is stored."""
        index.upsert(USER, [record()])
        let_others_in(index)
        with open_index(replace(index.spec, model="")) as anonymous:
            assert anonymous.count(USER) == 1
            assert anonymous.check() == []
        with (
            open_index(replace(index.spec, model="other"), set_up=False) as wrong,
            pytest.raises(ConfigurationError),
        ):
            wrong.count(USER)
        assert open_index().count(USER) == 1

    def test_a_look_stores_no_spec(
        self, make_index: MakeIndex, open_index: OpenIndex, spec: IndexSpec, record: MakeRecord
    ) -> None:
        """V1: an index that was only read may still be used for another spec."""
        with make_index(replace(spec, model="other")) as looking:
            if looking.capabilities.needs_setup or not looking.capabilities.writable:
                pytest.skip("capabilities: nothing but setup stores the spec, or it can't be")
            assert looking.count(USER) == 0
            assert not looking.get(USER, [record().id])
            assert not looking.ids(USER).items
            assert not list(looking.search(USER, X))
            assert looking.check() == []
        with open_index() as index:
            index.upsert(USER, [record()])
            assert index.count(USER) == 1

    def test_an_index_is_used_before_or_after_its_setup(
        self, open_index: OpenIndex, open_writer: OpenIndex, record: MakeRecord
    ) -> None:
        """S15: with `capabilities.needs_setup` nothing is created unless asked; else on use."""
        writer = open_writer(set_up=False)
        if not writer.capabilities.writable:
            pytest.skip("capabilities.writable is false: nothing can be created")
        if writer.capabilities.needs_setup:
            for _ in range(2):
                with pytest.raises(StoreNotReadyError):
                    writer.upsert(USER, [record()])
                with pytest.raises(StoreNotReadyError):
                    writer.count(USER)
            writer.setup()
        writer.upsert(USER, [record()])
        assert writer.count(USER) == 1

    def test_setup_and_check_may_be_called_at_any_time(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V7, S15: setup changes nothing that is there; check has nothing to complain about."""
        assert index.check() == []
        index.setup()
        index.upsert(USER, [record()])
        index.setup()
        assert index.check() == []
        assert index.count(USER) == 1

    def test_check_has_nothing_to_say_of_a_full_index(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """S15: it names differences, and there are none."""
        fill(reader, [record(text=text) for text in ("", "é\0", None)])
        assert reader.check() == []
