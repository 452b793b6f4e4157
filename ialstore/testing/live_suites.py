"""The suites as ``live`` runs them: pytest collects this file, and takes ``live`` from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ialstore.capabilities import VectorCapabilities
from ialstore.testing.conversation import ConversationStoreSuite
from ialstore.testing.conversation.base import MakeStore
from ialstore.testing.live import Live
from ialstore.testing.specs import spec_of
from ialstore.testing.vector import VectorIndexSuite
from ialstore.testing.vector.base import MakeIndex
from ialstore.vector_model import METRICS, IndexSpec

__all__ = ["TestLiveIndex", "TestLiveStore"]


def _settle(live: Live) -> Callable[[object], None] | None:
    seconds = live.settle_seconds
    return None if seconds is None else lambda _: time.sleep(seconds)


class TestLiveStore(ConversationStoreSuite):
    """A store that is there."""

    @pytest.fixture
    def make_store(self, live: Live) -> Iterator[MakeStore]:
        """Return what opens users of this test's own."""
        with live.place() as make_store:
            yield make_store

    @pytest.fixture
    def settle(self, live: Live) -> Any:
        """Return what waits as long as was said."""
        return _settle(live)


class TestLiveIndex(VectorIndexSuite):
    """An index that is there, and made for one spec."""

    @pytest.fixture
    def make_index(self, live: Live) -> Iterator[MakeIndex]:
        """Return what opens users of this test's own."""
        with live.place() as make_index:
            yield make_index

    @pytest.fixture
    def settle(self, live: Live) -> Any:
        """Return what waits as long as was said."""
        return _settle(live)

    @pytest.fixture
    def capabilities(self, live: Live) -> VectorCapabilities:
        """Return what the index says of itself."""
        assert isinstance(live.capabilities, VectorCapabilities)
        return live.capabilities

    @pytest.fixture
    def spec(self, live: Live) -> IndexSpec:
        """Return what the index is made for."""
        return live.spec

    @pytest.fixture(params=METRICS)
    def metric(
        self, request: pytest.FixtureRequest, live: Live, capabilities: VectorCapabilities
    ) -> str:
        """Return each metric that is offered and may be opened."""
        metric: str = request.param
        if metric not in capabilities.metrics:
            pytest.skip(f"capabilities.metrics: {metric} is not offered")
        if not live.takes(spec_of(metric)):
            pytest.skip("an index stays made for one metric, which --metric chooses")
        return metric
