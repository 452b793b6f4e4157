"""The contract of vector indexes, on a real node."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

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


@pytest.mark.no_cover
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


class _Graph:
    """Searches go through the graph; cosine has the space of dot, of unit vectors."""

    METRIC: ClassVar[str]

    @pytest.fixture
    def make_index(self, shared: MakeIndex) -> MakeIndex:
        return partial(shared, options="&exact_below=0&refresh=write")

    @pytest.fixture
    def metric(self) -> str:
        return self.METRIC


@pytest.mark.no_cover
class TestGraph(_Graph, RecallChapter):
    METRIC = "dot"


class TestGraphUnderFilters(_Graph, FiltersChapter):
    METRIC = "euclidean"


class TestSetup(SpecChapter):
    """Each test has a place where nothing is."""

    test_every_user_is_listed = ReadingChapter.test_every_user_is_listed

    @pytest.fixture
    def make_index(self, port: int, index_name: str) -> MakeIndex:
        return partial(opened, port, index_name)
