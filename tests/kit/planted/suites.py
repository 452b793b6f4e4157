"""The suites of the kit, one for each planted fault, and one for each sound store and index.

pytest does not collect this module by itself; ``run.py`` and the tests of the kit name it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from ialstore import ConversationStore, VectorIndex
from ialstore.testing import ConversationStoreSuite, VectorIndexSuite
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from tests.kit.planted.cached import Cached
from tests.kit.planted.registry import BreaksOthers, everything

SOUND: Final = (
    Cached,
    MemoryConversationStore,
    SqliteConversationStore,
    MemoryVectorIndex,
    SqliteVectorIndex,
)
IN_A_FILE: Final = (SqliteConversationStore, SqliteVectorIndex)


def opening(given: type[Any], path: Path) -> Callable[..., Any]:
    """Return what opens a store or an index of this class, at a path if it lives in a file."""
    return partial(given, path) if issubclass(given, IN_A_FILE) else given


def store_suite(given: type[ConversationStore]) -> type[ConversationStoreSuite]:
    """Return the suite of a store."""

    class Suite(ConversationStoreSuite):
        @pytest.fixture
        def make_store(
            self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
        ) -> Callable[..., ConversationStore]:
            if issubclass(given, BreaksOthers):
                given.plant(monkeypatch)
            return opening(given, tmp_path / "kit.db")

    return Suite


def index_suite(given: type[VectorIndex]) -> type[VectorIndexSuite]:
    """Return the suite of an index."""

    class Suite(VectorIndexSuite):
        @pytest.fixture
        def make_index(self, tmp_path: Path) -> Callable[..., VectorIndex]:
            return opening(given, tmp_path / "kit.db")

    return Suite


for one in (*SOUND, *(fault.broken for fault in everything())):
    suite = store_suite(one) if issubclass(one, ConversationStore) else index_suite(one)
    globals()[f"Test{one.__name__}"] = suite
