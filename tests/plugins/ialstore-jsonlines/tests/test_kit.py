"""The contract, as ialstore's kit tests it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from ialstore import ConversationStore, VectorIndex
from ialstore.testing import ConversationStoreSuite, VectorIndexSuite

from ialstore_jsonlines import JsonLinesConversationStore, JsonLinesVectorIndex


class TestJsonLinesConversationStore(ConversationStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[..., ConversationStore]:
        return partial(JsonLinesConversationStore, tmp_path / "agent")


class TestJsonLinesVectorIndex(VectorIndexSuite):
    @pytest.fixture
    def make_index(self, tmp_path: Path) -> Callable[..., VectorIndex]:
        return partial(JsonLinesVectorIndex, tmp_path / "agent")
