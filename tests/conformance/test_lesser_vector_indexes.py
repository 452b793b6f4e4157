"""Indexes that promise less, and keep it: the kit takes each for what it says of itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import methodcaller
from typing import Any, ClassVar, Unpack
from zlib import crc32

import numpy as np
import pytest

from ialstore import (
    EraseReport,
    IndexSpec,
    LockedError,
    SearchResult,
    StoreNotReadyError,
    VectorIndex,
)
from ialstore.capabilities import VectorCapabilities
from ialstore.component import StoreSettings
from ialstore.listing import Rows
from ialstore.operation import Operation
from ialstore.testing import VectorIndexSuite
from ialstore.testing.vector.base import MakeIndex, Settle
from ialstore.testing.vector.differential import VectorDifferentialSuite
from ialstore.vector_model import EncodedRecord, SearchQuery
from ialstore_backends.memory import MemoryVectorIndex


@dataclass
class Place:
    """What several handles share, as a file or a server would be."""

    spec: IndexSpec | None = None
    lock: Any = field(default_factory=threading.Lock)
    by_user: dict[str, Any] = field(default_factory=dict[str, Any])
    owner: object = None
    late: list[Callable[[], object]] = field(default_factory=list[Any])
    shown: MemoryVectorIndex | None = None


class PlacedIndex(MemoryVectorIndex):
    """Keeps its vectors in a place that other handles may open, too."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES, durable=True
    )

    def __init__(self, place: Place, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(spec, **settings)
        self.place = place
        self._lock = place.lock
        self._by_user = place.by_user

    def _bind_spec(self, op: Operation, spec: IndexSpec) -> IndexSpec:
        with self._lock:
            self.place.spec = self.place.spec or spec
            return self.place.spec


class ReadOnlyIndex(PlacedIndex):
    """Reads what another handle wrote, and promises no more than to do so some time."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        PlacedIndex.CAPABILITIES, writable=False, strong_reads=False
    )


class RoughIndex(MemoryVectorIndex):
    """Rounds vectors to eight bits, and overlooks some: fewer, the harder it tries."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES, exact=False, min_recall=0.9, max_k=100, vector_error=0.02
    )

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        super()._upsert(op, user_id, [replace(one, vector=rounded(one.vector)) for one in records])

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        seen = 0.9 + 0.1 * (query.effort or 0.5)
        everything = super()._search(op, replace(query, k=1_000_000))
        hits = [hit for hit in everything.hits if crc32(hit.id.encode()) < seen * 2**32]
        return SearchResult(tuple(hits[: query.k]), everything.examined, 0)


def rounded(vector: Any) -> Any:
    """Return the nearest vector of 255 steps in each dimension."""
    wide = vector.astype(np.float64)
    step = max(np.abs(wide).max(), 1e-60) / 127
    near = (np.rint(wide / step) * step).astype(np.float32)
    near.flags.writeable = False
    return near


class LateIndex(MemoryVectorIndex):
    """Shows what was written when it is told to, and serves one handle at a time."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES,
        strong_reads=False,
        durable=True,
        needs_setup=True,
        users=False,
        metrics=frozenset({"dot"}),
    )

    def __init__(self, place: Place, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(spec, **settings)
        self.place = place
        self._by_user = place.by_user

    def show(self) -> None:
        with self.place.lock:
            while self.place.late:
                self.place.late.pop(0)()

    def _setup(self, op: Operation) -> None:
        self.place.spec = self.place.spec or self.spec
        super()._setup(op)

    def _bind_spec(self, op: Operation, spec: IndexSpec) -> IndexSpec:
        if self.place.owner not in (None, self):
            raise LockedError("another handle has it")
        if self.place.spec is None:
            raise StoreNotReadyError("call setup()")
        self.place.owner = self
        if self.place.shown is None:
            self.place.shown = MemoryVectorIndex(self.place.spec)
        return self.place.spec

    def _close(self) -> None:
        if self.place.owner is self:
            self.place.owner = None

    def _later(self, hook: Callable[[MemoryVectorIndex], object]) -> None:
        self.place.late.append(lambda: hook(self._shown))

    @property
    def _shown(self) -> MemoryVectorIndex:
        shown = self.place.shown
        assert shown is not None
        return shown

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        super()._upsert(op, user_id, records)
        self._later(lambda shown: shown._upsert(op, user_id, records))  # noqa: SLF001 - as a wrapper does

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        self._later(lambda shown: shown._delete(op, user_id, ids))  # noqa: SLF001 - as a wrapper does
        return super()._delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        self._later(lambda shown: shown._delete_session(op, user_id, session_id))  # noqa: SLF001 - as a wrapper does
        return super()._delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        self._later(lambda shown: shown._erase(op, user_id))  # noqa: SLF001 - as a wrapper does
        return super()._erase(op, user_id)

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        return self._shown._search(op, query)  # noqa: SLF001 - as a wrapper does

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        return self._shown._get(op, user_id, ids)  # noqa: SLF001 - as a wrapper does

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return self._shown._ids(op, user_id, limit, after)  # noqa: SLF001 - as a wrapper does

    def _after_fork(self) -> None:
        super()._after_fork()
        self.place.lock = threading.Lock()


class TestRough(VectorIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return RoughIndex


class TestReadOnly(VectorIndexSuite):
    @pytest.fixture
    def place(self) -> Place:
        return Place()

    @pytest.fixture
    def make_index(self, place: Place) -> MakeIndex:
        return partial(ReadOnlyIndex, place)

    @pytest.fixture
    def make_writer(self, place: Place) -> MakeIndex:
        return partial(PlacedIndex, place)

    @pytest.fixture
    def settle(self) -> Settle:
        return methodcaller("check")


class TestLate(VectorIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return partial(LateIndex, Place())

    @pytest.fixture
    def settle(self) -> Settle:
        return show


def show(index: VectorIndex) -> None:
    assert isinstance(index, LateIndex)
    index.show()


class TestLesserIndexesBesideAnExactOne(VectorDifferentialSuite):
    @pytest.fixture
    def make_indexes(self) -> Mapping[str, MakeIndex]:
        return {
            "rough": RoughIndex,
            "late": partial(LateIndex, Place()),
            "memory": MemoryVectorIndex,
        }

    @pytest.fixture
    def settles(self) -> Mapping[str, Settle]:
        return {"late": show}


class TestReadOnlyBesideAnExactOne(VectorDifferentialSuite):
    """It has nothing to compare, and says so."""

    @pytest.fixture
    def make_indexes(self) -> Mapping[str, MakeIndex]:
        return {"read-only": partial(ReadOnlyIndex, Place()), "memory": MemoryVectorIndex}
