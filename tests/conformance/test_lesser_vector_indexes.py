"""Indexes that promise less, and keep it: the kit takes each for what it says of itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import methodcaller
from pathlib import Path
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
from ialstore.testing import VectorDifferentialSuite, VectorIndexSuite
from ialstore.testing.vector.base import MakeIndex, Settle
from ialstore.vector_model import EncodedRecord, SearchQuery
from ialstore.wrappers.base import VectorWrapper
from ialstore_backends.memory import MemoryVectorIndex
from ialstore_backends.sqlite import SqliteVectorIndex
from tests.conformance.brief import BriefIndexSuite


@dataclass
class Place:
    """What several handles share, as a file or a server would be."""

    spec: IndexSpec | None = None
    lock: Any = field(default_factory=threading.Lock)
    by_user: dict[str, Any] = field(default_factory=dict[str, Any])


class PlacedIndex(MemoryVectorIndex):
    """Keeps its vectors in a place that other handles may open, too."""

    def __init__(self, place: Place, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(spec, **settings)
        self.place = place
        self._lock = place.lock
        self._by_user = place.by_user

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        return self.place.spec

    def _store_spec(self, op: Operation, spec: IndexSpec) -> None:
        with self._lock:
            self.place.spec = self.place.spec or spec


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


class LateIndex(VectorWrapper):
    """Writes to a file, and shows it when it is told to; one handle at a time may be open."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        SqliteVectorIndex.CAPABILITIES,
        strong_reads=False,
        multi_process=False,
        needs_setup=True,
        users=False,
        metrics=frozenset({"dot"}),
    )
    holders: ClassVar[dict[Path, LateIndex]] = {}

    def __init__(self, path: Path, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(SqliteVectorIndex(path, spec, **settings))
        self.path = path
        self.shown = MemoryVectorIndex(spec, **settings)
        self.late: list[Callable[[], object]] = []

    @property
    def capabilities(self) -> VectorCapabilities:
        return self.CAPABILITIES

    def show(self) -> None:
        while self.late:
            self.late.pop(0)()

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        if not self.path.exists():
            raise StoreNotReadyError("call setup()")
        if self.holders.setdefault(self.path, self) is not self:
            raise LockedError("another handle has it")
        stored = super()._stored_spec(op)
        if stored is not None and stored.dimension == self.spec.dimension:
            self._show_all(op)
        return stored

    def _show_all(self, op: Operation) -> None:
        for user in self.inner._users(op, 1000, None).items:  # noqa: SLF001 - as a wrapper does
            ids = self.inner._ids(op, user, 10_000, None).items  # noqa: SLF001 - as above
            if ids:  # not all are expired
                records = self.inner._get(op, user, ids)  # noqa: SLF001 - as above
                self.shown._upsert(op, user, list(records.values()))  # noqa: SLF001 - as above

    def _setup(self, op: Operation) -> None:
        super()._setup(op)
        self._bind(op)

    def _close(self) -> None:
        if self.holders.get(self.path) is self:
            del self.holders[self.path]
        super()._close()

    def _later(self, hook: Callable[..., object], *args: object) -> None:
        self.late.append(partial(hook, *args))

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        super()._upsert(op, user_id, records)
        self._later(self.shown._upsert, op, user_id, records)  # noqa: SLF001 - as above

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        super()._load(op, records)
        self._later(self.shown._load, op, records)  # noqa: SLF001 - as above

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        self._later(self.shown._delete, op, user_id, ids)  # noqa: SLF001 - as above
        return super()._delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        self._later(self.shown._delete_session, op, user_id, session_id)  # noqa: SLF001 - as above
        return super()._delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        self._later(self.shown._erase, op, user_id)  # noqa: SLF001 - as above
        return super()._erase(op, user_id)

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        return self.shown._search(op, query)  # noqa: SLF001 - as above

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        return self.shown._get(op, user_id, ids)  # noqa: SLF001 - as above

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return self.shown._ids(op, user_id, limit, after)  # noqa: SLF001 - as above

    def _count(self, op: Operation, user_id: str) -> int:
        return self.shown._count(op, user_id)  # noqa: SLF001 - as above


class TestRough(BriefIndexSuite):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return RoughIndex


class TestReadOnly(BriefIndexSuite):
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
    MACHINE_SHARE = 1 / 8

    @pytest.fixture
    def make_index(self, tmp_path: Path) -> MakeIndex:
        return partial(LateIndex, tmp_path / "late.db")

    @pytest.fixture
    def settle(self) -> Settle:
        return show


def show(index: VectorIndex) -> None:
    assert isinstance(index, LateIndex)
    index.show()


class TestLesserIndexesBesideAnExactOne(VectorDifferentialSuite):
    @pytest.fixture
    def make_indexes(self, tmp_path: Path) -> Mapping[str, MakeIndex]:
        return {
            "rough": RoughIndex,
            "late": partial(LateIndex, tmp_path / "late.db"),
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
