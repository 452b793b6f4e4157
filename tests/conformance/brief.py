"""The kit in short, for what is tested in full elsewhere; ``make soak`` runs all of it."""

from __future__ import annotations

import pytest

from ialstore.testing import ConversationStoreSuite, VectorIndexSuite
from ialstore.testing.profiles import PROFILES, profile
from ialstore.vector_model import METRICS

__all__ = ["BriefIndexSuite", "BriefStoreSuite", "OneMetric", "OtherMetrics"]


class OneMetric:
    """One metric, for chapters in which the others change nothing below the scores."""

    @pytest.fixture(params=METRICS if profile() == PROFILES["thorough"] else ["euclidean"])
    def metric(self, request: pytest.FixtureRequest) -> str:
        metric: str = request.param
        return metric


class OtherMetrics:
    """Those that ``OneMetric`` leaves out in CI, for chapters in which they change something."""

    @pytest.fixture(params=["cosine", "dot"])
    def metric(self, request: pytest.FixtureRequest) -> str:
        metric: str = request.param
        return metric


class BriefStoreSuite(ConversationStoreSuite):
    """All tests, and a few runs of the state machine."""

    MACHINE_SHARE = 1 / 8


class BriefIndexSuite(OneMetric, VectorIndexSuite):
    """All tests, of one metric, and a few runs of the state machine."""

    MACHINE_SHARE = 1 / 8
