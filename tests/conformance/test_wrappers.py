"""W1: each wrapper passes the whole kit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import pytest

from ialstore import ConversationStore, EraseReport, IndexSpec, VectorIndex
from ialstore.capabilities import ConversationCapabilities, VectorCapabilities
from ialstore.component import Progress, StoreSettings
from ialstore.migrate import verify
from ialstore.model import AppendResult, EncodedMessage, OptimizeReport
from ialstore.operation import Operation
from ialstore.testing.conversation.base import MakeStore
from ialstore.testing.vector.base import MakeIndex
from ialstore.vector_model import EncodedRecord
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper
from ialstore.wrappers.dual import DualConversationStore, DualOptions, DualVectorIndex
from ialstore.wrappers.faults import FaultsConversationStore, FaultsVectorIndex
from ialstore.wrappers.metrics import MetricsConversationStore, MetricsVectorIndex
from ialstore.wrappers.namespace import (
    NamespaceConversationStore,
    NamespaceOptions,
    NamespaceVectorIndex,
)
from ialstore.wrappers.readonly import ReadonlyConversationStore, ReadonlyVectorIndex
from ialstore.wrappers.shadow import ShadowConversationStore, ShadowOptions, ShadowVectorIndex
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteOptions
from tests.conformance.brief import BriefIndexSuite, BriefStoreSuite

PREFIX = NamespaceOptions(prefix="te/na%nt")


class Seeded(ConversationWrapper):
    """Reads through ``readonly``; what a test writes goes past it."""

    def __init__(self, inner: ConversationStore) -> None:
        self.past = inner
        super().__init__(ReadonlyConversationStore(inner))

    @property
    def capabilities(self) -> ConversationCapabilities:
        return self.past.capabilities

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        return self.past._append(op, user_id, entries)

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return self.past._replace(op, entry)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self.past._delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self.past._delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return self.past._erase(op, user_id)

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        self.past._load(op, entries)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self.past._optimize(op, user_id, progress)


class SeededIndex(VectorWrapper):
    """Reads through ``readonly``; what a test writes goes past it."""

    def __init__(self, inner: VectorIndex) -> None:
        self.past = inner
        super().__init__(ReadonlyVectorIndex(inner))

    @property
    def capabilities(self) -> VectorCapabilities:
        return self.past.capabilities

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self.past._upsert(op, user_id, records)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self.past._delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self.past._delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return self.past._erase(op, user_id)

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        self.past._load(op, records)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self.past._optimize(op, user_id, progress)


def over_memory(wrap: Any, *options: Any) -> MakeStore:
    """Return what makes a wrapper of a memory store."""

    def make_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
        wrapped: ConversationStore = wrap(MemoryConversationStore(**settings), *options)
        return wrapped

    return make_store


def index_over_memory(wrap: Any, *options: Any) -> MakeIndex:
    """Return what makes a wrapper of a memory index."""

    def make_index(spec: IndexSpec, **settings: Unpack[StoreSettings]) -> VectorIndex:
        wrapped: VectorIndex = wrap(MemoryVectorIndex(spec, **settings), *options)
        return wrapped

    return make_index


@pytest.mark.no_cover
class TestMetrics(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return over_memory(MetricsConversationStore)


@pytest.mark.no_cover
class TestNamespace(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return over_memory(NamespaceConversationStore, PREFIX)


@pytest.mark.no_cover
class TestNamespaceOfSqlite(BriefStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        make_inner = partial(SqliteConversationStore, tmp_path / "conversations.db")

        def make_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
            return NamespaceConversationStore(make_inner(**settings), PREFIX)

        return make_store


@pytest.mark.no_cover
class TestReadonlyOverASeededStore(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return over_memory(Seeded)


class TestFaultsThatAreOff(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return over_memory(FaultsConversationStore)


@pytest.mark.no_cover
class TestDual(BriefStoreSuite):
    """After each test the second store holds what the first one holds."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        made: list[tuple[ConversationStore, ConversationStore]] = []
        fast = SqliteOptions(synchronous="normal")

        def make_store(**settings: Unpack[StoreSettings]) -> ConversationStore:
            first, second = (
                SqliteConversationStore(tmp_path / name, fast, **settings) for name in ("1", "2")
            )
            made.append((first, second))
            return DualConversationStore(first, DualOptions(url="memory:"), second=second)

        yield make_store
        if made:
            settings = made[0][0].settings
            with (
                SqliteConversationStore(tmp_path / "1", fast, **settings) as first,
                SqliteConversationStore(tmp_path / "2", fast, **settings) as second,
            ):
                assert verify(first, second).same


@pytest.mark.no_cover
class TestDualThatRecords(BriefStoreSuite):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return over_memory(DualConversationStore, DualOptions(url="memory:", on_error="record"))


@pytest.mark.no_cover
class TestDualOfIndex(BriefIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return index_over_memory(DualVectorIndex, DualOptions(url="memory:"))


@pytest.mark.no_cover
class TestShadow(BriefStoreSuite):
    """The shadow holds nothing, so that it never agrees."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        return over_memory(ShadowConversationStore, ShadowOptions(url="memory:", share=1))


@pytest.mark.no_cover
class TestShadowOfIndex(BriefIndexSuite):
    """The shadow holds nothing, so that it never agrees."""

    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return index_over_memory(ShadowVectorIndex, ShadowOptions(url="memory:", share=1))


@pytest.mark.no_cover
class TestMetricsOfIndex(BriefIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return index_over_memory(MetricsVectorIndex)


class TestNamespaceOfIndex(BriefIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return index_over_memory(NamespaceVectorIndex, PREFIX)


@pytest.mark.no_cover
class TestReadonlyOverASeededIndex(BriefIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return index_over_memory(SeededIndex)


class TestFaultsOfIndexThatAreOff(BriefIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return index_over_memory(FaultsVectorIndex)
