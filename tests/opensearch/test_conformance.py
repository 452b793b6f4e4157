"""The contract of vector indexes, on a real node."""

from __future__ import annotations

from functools import partial

import pytest

from ialstore.testing.vector.base import MakeIndex
from ialstore.testing.vector.expiry import ExpiryChapter, IsolationChapter
from ialstore.testing.vector.filters import FiltersChapter
from ialstore.testing.vector.life import LifeChapter
from ialstore.testing.vector.loading import LoadingChapter
from ialstore.testing.vector.machine import MachineChapter
from ialstore.testing.vector.reading import ReadingChapter
from ialstore.testing.vector.recall import RecallChapter
from ialstore.testing.vector.removing import RemovingChapter
from ialstore.testing.vector.search import SearchChapter
from ialstore.testing.vector.spec import SpecChapter
from ialstore.testing.vector.threads import ThreadsChapter
from ialstore.testing.vector.writing import WritingChapter
from tests.opensearch.conftest import opened


class TestEveryVector(  # pytest begins with the last
    MachineChapter,
    ThreadsChapter,
    LifeChapter,
    IsolationChapter,
    ExpiryChapter,
    LoadingChapter,
    RemovingChapter,
    SearchChapter,
    ReadingChapter,
    WritingChapter,
):
    """Searches score every vector, which can miss none."""

    MACHINE_SHARE = 0.07

    @pytest.fixture
    def make_index(self, shared: MakeIndex) -> MakeIndex:
        return shared


class TestGraph(RecallChapter, FiltersChapter):
    """Searches go through the graph, whose recall is to be shown."""

    @pytest.fixture
    def make_index(self, shared: MakeIndex) -> MakeIndex:
        return partial(shared, options="&exact_below=0&refresh=write")


class TestSetup(SpecChapter):
    """Each test has a place where nothing is."""

    @pytest.fixture
    def make_index(self, port: int, index_name: str) -> MakeIndex:
        return partial(opened, port, index_name)
