"""The vector indexes that come with the library, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from ialstore.capabilities import VectorCapabilities
from ialstore.model import EraseReport
from ialstore.operation import Operation
from ialstore.testing import VectorDifferentialSuite
from ialstore.testing.profiles import PROFILES
from ialstore.testing.vector.base import MakeIndex
from ialstore.testing.vector.differential import places_of
from ialstore.vector_model import EncodedRecord, SearchQuery, SearchResult
from ialstore_backends.memory import MemoryVectorIndex
from ialstore_backends.sqlite import SqliteOptions, SqliteVectorIndex


class TestExactIndexes(VectorDifferentialSuite):
    @pytest.fixture
    def make_indexes(self, tmp_path: Path) -> Mapping[str, MakeIndex]:
        fast = SqliteOptions(synchronous="normal")
        nothing = SqliteOptions(synchronous="normal", cache_mb=0)
        return {
            "memory": MemoryVectorIndex,
            "sqlite": lambda spec, **settings: SqliteVectorIndex(
                tmp_path / "held.db", spec, options=fast, **settings
            ),
            "sqlite that holds nothing": lambda spec, **settings: SqliteVectorIndex(
                tmp_path / "read.db", spec, options=nothing, **settings
            ),
        }


class CutsTexts(MemoryVectorIndex):
    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        cut = [replace(one, text=one.text and one.text[:3]) for one in records]
        super()._upsert(op, user_id, cut)


class CountsAgain(MemoryVectorIndex):
    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        super()._delete(op, user_id, ids)
        return len(ids)


class ErasesNobody(MemoryVectorIndex):
    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return EraseReport()


class FiltersAfterwards(MemoryVectorIndex):
    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        found = super()._search(op, replace(query, roles=None))
        hits = [hit for hit in found if query.roles is None or hit.role in query.roles]
        return SearchResult(tuple(hits), found.examined, found.reranked)


class FindsLess(MemoryVectorIndex):
    """It claims more than it finds."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES, exact=False, min_recall=0.95
    )

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        return super()._search(op, replace(query, k=max(1, query.k - 1)))


class TakesAnyUser(MemoryVectorIndex):
    def count(self, user_id: str, **options: object) -> int:
        return super().count(user_id or "nobody")


class Wrong(MemoryVectorIndex):
    """No exact index stands beside it."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES, exact=False
    )


@pytest.mark.parametrize(
    ("wrong", "promise"),
    [
        (CutsTexts, "wrong, beside memory: V2, M1: get returns records as they were given"),
        (CountsAgain, r"S10: delete of .*: memory says \d+, wrong"),
        (ErasesNobody, "S11: erase of .*: memory says"),
        (FiltersAfterwards, "wrong, beside memory: V3, V6: an exact index returned other than"),
    ],
)
def test_a_machine_finds_the_index_that_disagrees(
    wrong: type[MemoryVectorIndex], promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = replace(PROFILES["default"], shrink=False, fixed=True)  # others miss it, rarely
    monkeypatch.setitem(PROFILES, "default", fixed)
    places = places_of("dot", {"memory": MemoryVectorIndex, "wrong": wrong}, {})
    with pytest.raises(AssertionError, match=promise):
        VectorDifferentialSuite().test_all_answer_alike(places)


def test_a_crowd_finds_the_index_that_misses_more_than_it_says() -> None:
    places = places_of("cosine", {"memory": MemoryVectorIndex, "wrong": FindsLess}, {})
    with pytest.raises(AssertionError, match=r"V6: recall of 0\.\d+ of wrong"):
        VectorDifferentialSuite().test_all_find_the_same_in_a_crowd(places)


def test_an_input_that_one_index_takes_is_found() -> None:
    places = places_of("cosine", {"memory": MemoryVectorIndex, "wrong": TakesAnyUser}, {})
    with pytest.raises(AssertionError, match="E2: no user: memory says InvalidInputError, wrong"):
        VectorDifferentialSuite().test_all_refuse_the_same(places)


def test_one_index_must_be_exact() -> None:
    places = places_of("cosine", {"wrong": Wrong}, {})
    with pytest.raises(pytest.fail.Exception, match="one of the indexes must be exact"):
        VectorDifferentialSuite().test_all_find_the_same_in_a_crowd(places)
