"""Many threads on one index."""

from __future__ import annotations

import threading

import numpy as np

from ialstore.testing.threads import THREADS, at_once
from ialstore.testing.vector.base import (
    DIMENSION,
    USER,
    MakeRecord,
    VectorSuiteBase,
    X,
    wide,
)
from ialstore.testing.vector.oracle import Oracle, all_ids, assert_in_order
from ialstore.vector import VectorIndex

__all__ = ["ThreadsChapter"]


class ThreadsChapter(VectorSuiteBase):
    """S15: safe from many threads."""

    def test_threads_that_write_at_once_lose_nothing(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """S15: of one user, of several, and beside searches."""
        batches = [
            [record(wide(1.0, place, step), session_id=f"s{place}") for step in range(24)]
            for place in range(THREADS)
        ]

        def work(place: int) -> int:
            for one in batches[place]:
                index.upsert(USER, [one])
                index.upsert(f"own {place}", [one])
                assert index.get(USER, [one.id]), "C1: a thread reads what it wrote"
                assert_in_order(index.search(USER, X, 5).hits, 5)
            return index.delete(USER, [one.id for one in batches[place][::2]])

        assert at_once(work) == [12] * THREADS
        kept = sorted(one.id for batch in batches for one in batch[1::2])
        assert all_ids(index) == kept
        assert index.count(USER) == len(kept)
        Oracle.of(index).search(X, 100)
        for place, batch in enumerate(batches):
            assert all_ids(index, f"own {place}") == [one.id for one in batch]
            Oracle.of(index, f"own {place}").search(X, 100)

    def test_one_of_many_deletes_counts_a_vector(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """S10: of concurrent deletes of one id exactly one counts it."""
        given = [record() for _ in range(30)]
        ids = [one.id for one in given]
        for _ in range(3):
            index.upsert(USER, given)
            counts = at_once(lambda place: index.delete(USER, ids[place:] + ids[:place]))
            assert sum(counts) == 30
            index.upsert(USER, given)
            counts = at_once(lambda _: sum(index.delete(USER, [one]) for one in ids))
            assert sum(counts) == 30
            index.upsert(USER, given)
            assert sum(at_once(lambda _: index.delete_session(USER, "s1"))) == 30
        assert index.count(USER) == 0

    def test_readers_see_the_old_or_the_new_record_and_nothing_else(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """S4, V2: a record is replaced as a whole."""
        first = record(np.full(DIMENSION, 1.0), text="first" * 100)
        second = record(np.full(DIMENSION, -2.0), id=first.id, text="second" * 100)
        signs = {first.text: 1, second.text: -1}
        index.upsert(USER, [first])
        finished = threading.Event()

        def write() -> None:
            try:
                for _ in range(40):
                    index.upsert(USER, [second])
                    index.upsert(USER, [first])
            finally:
                finished.set()

        def read() -> None:
            while not finished.is_set():
                (one,) = index.get(USER, [first.id])
                assert set(np.sign(one.vector)) == {signs[one.text]}, "V2: a mixed record"
                assert {hit.text for hit in index.search(USER, X)} <= signs.keys()
                assert index.count(USER) == 1

        at_once(lambda place: read() if place else write(), threads=3)
        assert all_ids(index) == [first.id]

    def test_what_was_there_before_an_erase_is_gone_whatever_is_stored_meanwhile(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """S11: everything acknowledged before it began."""
        before = [record(wide(1.0, n)) for n in range(60)]
        during = [record(wide(2.0, n)) for n in range(40)]
        index.upsert(USER, before)

        def work(place: int) -> None:
            if place:
                for one in during[place - 1 :: 2]:
                    index.upsert(USER, [one])
            else:
                index.erase(USER)

        at_once(work, threads=3)
        assert not set(all_ids(index)) & {one.id for one in before}
        index.upsert(USER, during)
        assert all_ids(index) == [one.id for one in during]
        Oracle.of(index).search(X, 100)
