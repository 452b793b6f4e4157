"""``bulk_load`` and ``optimize``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from ialstore.errors import InvalidInputError
from ialstore.model import LoadReport, OptimizeReport
from ialstore.testing.clock import ManualClock
from ialstore.testing.vector.base import USER, MakeRecord, VectorSuiteBase, X, Y, wide
from ialstore.testing.vector.crowd import crowd, queries
from ialstore.testing.vector.oracle import Oracle, all_ids, all_records, assert_same
from ialstore.vector import VectorIndex
from ialstore.vector_model import VectorRecord

__all__ = ["LoadingChapter"]


class LoadingChapter(VectorSuiteBase):
    """V7, S12 and S13."""

    def test_bulk_load_restores_vectors_of_any_users(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V7, S12: replaces what is there, may be repeated; the last one given stays."""
        one = record(X, text="old")
        index.upsert("u1", [one])
        again = record(Y, id=one.id, text="new")
        users = np.random.default_rng(1).integers(3, size=1500)
        pairs = [(f"u{n}", record(wide(1.0, place), text="x")) for place, n in enumerate(users)]
        pairs += [("u1", record(id=one.id, text="lost")), ("u1", again)]
        calls: list[tuple[int, int | None]] = []

        def progress(done: int, total: int | None) -> None:
            calls.append((done, total))

        for _ in range(2):
            report = index.bulk_load(iter(pairs), progress=progress)
            assert report == LoadReport(written=1502)

        half = len(calls) // 2
        assert calls[:half] == calls[half:]
        assert calls[half - 1] == (1502, None), "S12: progress ends with what was done"
        assert [done for done, _ in calls[:half]] == sorted(done for done, _ in calls[:half])
        assert index.get("u1", [one.id])[0].text == "new"
        for user in ("u0", "u1", "u2"):
            wanted = {given.id: given for owner, given in pairs if owner == user}
            assert all_ids(index, user) == sorted(wanted)
            for found in all_records(index, list(wanted), user):
                assert_same(found, wanted[found.id], index.capabilities.vector_error)
        Oracle.of(index).search(Y)

    def test_loading_nothing_is_fine(self, index: VectorIndex) -> None:
        """S12: no records, nothing written."""
        assert index.bulk_load([]) == LoadReport()
        assert index.bulk_load(iter(())) == LoadReport()
        assert index.count(USER) == 0

    def test_a_load_reads_its_records_as_it_needs_them(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """S12: what comes before a record that breaks the contract may be written."""
        read = 0

        def pair(number: int) -> tuple[str, VectorRecord]:
            nonlocal read
            read = number
            return USER, record(X if number <= 2200 else X[:-1])

        with pytest.raises(InvalidInputError):
            index.bulk_load(map(pair, range(1, 2501)))
        assert read == 2201, "S12: it stops at the first record that breaks the contract"
        assert index.count(USER) <= 2200

    def test_an_iterable_that_fails_fails_the_load(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """S12: with its own error; repeating the load completes it."""
        given = [(USER, record()) for _ in range(20)]

        def pairs() -> Iterator[tuple[str, VectorRecord]]:
            yield from given[:10]
            raise LookupError("no more of them")

        with pytest.raises(LookupError, match="no more of them"):
            index.bulk_load(pairs())
        assert index.bulk_load(given) == LoadReport(written=20)
        assert all_ids(index) == [one.id for _, one in given]

    def test_optimize_changes_no_answer(
        self, index: VectorIndex, record: MakeRecord, clock: ManualClock
    ) -> None:
        """V7, S13, C2: it may remove what is expired."""
        kept = record()
        index.upsert(USER, [kept, record(expires_at=clock() + timedelta(seconds=1))])
        clock.advance(1)
        calls: list[int] = []

        report = index.optimize(USER, progress=lambda done, _: calls.append(done))

        assert isinstance(report, OptimizeReport)
        assert report.reclaimed_bytes >= 0
        assert calls == sorted(calls)
        index.optimize(USER)
        assert all_ids(index) == [kept.id]
        Oracle.of(index).search(X)
        assert index.optimize("nobody").removed == 0

    def test_optimize_may_be_called_at_any_time(self, index: VectorIndex) -> None:
        """S13: before, between and after writes; every record stays."""
        records = crowd(500, 3)
        index.optimize(USER)
        index.upsert(USER, records[:250])
        index.optimize(USER, only_due=True)
        assert not index.is_optimize_due(USER), "what pays has been done"
        index.optimize(USER)
        index.upsert(USER, records[250:])
        index.delete(USER, [one.id for one in records[::5]])
        for _ in range(2):
            index.optimize(USER)
            oracle = Oracle.of(index)
            assert len(oracle.records) == 400
            for query in queries(records, 4):
                oracle.search(query)
