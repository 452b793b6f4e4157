"""``delete``, ``delete_session`` and ``erase``."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ialstore.model import EraseReport
from ialstore.testing.clock import ManualClock
from ialstore.testing.vector.base import (
    UNKNOWN,
    USER,
    MakeRecord,
    OpenIndex,
    VectorSuiteBase,
    X,
    Y,
    let_others_in,
    wide,
)
from ialstore.testing.vector.crowd import crowd, queries
from ialstore.testing.vector.oracle import Oracle, all_ids
from ialstore.vector import VectorIndex

__all__ = ["RemovingChapter"]


def assert_gone(index: VectorIndex, ids: list[str], user: str = USER) -> None:
    """Assert that no read of a user knows these ids."""
    assert index.get(user, ids) == [], "V7: get returns what was removed"
    assert not set(ids) & set(all_ids(index, user)), "V7: ids lists what was removed"
    hits = index.search(user, X, 100, effort=1).hits
    assert not set(ids) & {hit.id for hit in hits}, "V3: search finds what was removed"


class RemovingChapter(VectorSuiteBase):
    """V7, S10 and S11."""

    def test_deleting_counts_what_was_there(self, index: VectorIndex, record: MakeRecord) -> None:
        """V7, S10: unknown ids are passed over; what is deleted is gone from every read."""
        first, second, third = given = [record(), record(), record()]
        index.upsert(USER, given)
        index.upsert("u2", [second])
        index.search(USER, X)

        assert index.delete(USER, [second.id, UNKNOWN, second.id]) == 1
        assert index.delete(USER, [second.id]) == 0

        assert all_ids(index) == [first.id, third.id]
        assert index.count(USER) == 2
        assert_gone(index, [second.id])
        Oracle.of(index).search(X)
        assert all_ids(index, "u2") == [second.id]

    def test_what_was_deleted_may_be_stored_again(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V2, V7: a deleted id is forgotten."""
        one = record(X, text="old")
        index.upsert(USER, [one])
        for _ in range(3):
            Oracle.of(index).search(Y)
            assert index.delete(USER, [one.id]) == 1
            assert index.search(USER, Y).hits == ()
            index.upsert(USER, [record(Y, id=one.id)])
            assert index.get(USER, [one.id])[0].text is None
            Oracle.of(index).search(Y)

    def test_many_are_deleted_at_once(self, index: VectorIndex) -> None:
        """V7: up to 1,000, and the others stay where they are."""
        given = crowd(1200, 4)
        index.bulk_load((USER, one) for one in given)
        asked = queries(given, 4)
        Oracle.of(index).search(asked[0])
        unwanted = [one.id for one in given[::6]] + [one.id for one in given[300:1100]]
        expected = sorted({one.id for one in given} - set(unwanted))

        assert index.delete(USER, unwanted[:1000]) == len(set(unwanted[:1000]))

        assert index.count(USER) == len(expected)
        assert all_ids(index) == expected
        oracle = Oracle.of(index)
        for query in asked:
            oracle.search(query, 100)

    def test_a_session_is_deleted_as_a_whole(self, index: VectorIndex, record: MakeRecord) -> None:
        """V7, S10: of any size, and nothing else of the user."""
        kept = [record(session_id=one) for one in ("s10", "s", "S1", "s1 ", "s1#", "s1%")]
        index.upsert(USER, [record() for _ in range(1000)])
        index.upsert(USER, [*kept, *(record() for _ in range(234))])
        index.upsert("u2", [record()])
        index.search(USER, X, 100)

        assert index.delete_session(USER, "s1") == 1234
        assert index.delete_session(USER, "s1") == 0
        assert index.delete_session(USER, "never") == 0

        assert all_ids(index) == sorted(one.id for one in kept)
        Oracle.of(index).search(X)
        assert index.count("u2") == 1

    def test_a_session_is_deleted_whatever_else_is_stored(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V7, M1: wildcards and joints in its name are part of the name."""
        names = ("%", "_", "*", "a#b", "a", "b", "'", "é", "e\u0301", "\n", "..")
        index.upsert(USER, [record(session_id=one) for one in names])
        for count, name in enumerate(names, 1):
            assert index.delete_session(USER, name) == 1, f"S10: session {name!r}"
            assert index.count(USER) == len(names) - count, f"S10: session {name!r} took others"

    def test_erase_removes_everything_of_a_user(
        self, index: VectorIndex, record: MakeRecord, clock: ManualClock
    ) -> None:
        """V7, S11: expired vectors, too, which are not counted."""
        later = clock() + timedelta(seconds=5)
        given = [*(record(session_id=f"s{n}") for n in range(3)), record(expires_at=later)]
        index.upsert(USER, given)
        index.upsert("u10", [record()])
        index.search(USER, X)
        clock.advance(5)

        report = index.erase(USER)
        assert isinstance(report, EraseReport)
        assert (report.vectors, report.messages, report.remaining) == (3, 0, 0)
        assert all(isinstance(one, str) for one in report.out_of_reach)
        assert index.erase(USER).vectors == 0

        clock.advance(-3600)
        assert index.count(USER) == 0
        assert_gone(index, [one.id for one in given])
        assert index.count("u10") == 1
        index.optimize(USER)
        again = record(text="again")
        index.upsert(USER, [again])
        assert all_ids(index) == [again.id]
        Oracle.of(index).search(X)

    def test_erase_reaches_users_of_many_vectors(self, index: VectorIndex) -> None:
        """S11: until a strong read-back is empty."""
        for user in (USER, "u10"):
            index.bulk_load((user, one) for one in crowd(1100, 2))
        Oracle.of(index).search(X)
        assert index.erase(USER).vectors == 1100
        assert index.count(USER) == 0
        assert index.search(USER, X, 100).hits == ()
        assert index.count("u10") == 1100

    def test_what_was_removed_stays_removed_after_reopening(
        self, index: VectorIndex, open_index: OpenIndex, record: MakeRecord
    ) -> None:
        """S3, S10, S11: it does not come back."""
        given = [record(wide(1.0, n), session_id=f"s{n % 3}") for n in range(30)]
        for user in (USER, "u2"):
            index.upsert(user, given)
        index.delete(USER, [given[0].id])
        index.delete_session(USER, "s1")
        index.erase("u2")
        left = [one.id for n, one in enumerate(given) if n and n % 3 != 1]
        assert all_ids(index) == left
        let_others_in(index)

        again = open_index()
        assert all_ids(again) == left
        assert again.count("u2") == 0
        assert_gone(again, [one.id for one in given], "u2")
        Oracle.of(again).search(X, 100)
        one = record(text="new")
        again.upsert("u2", [one])
        assert all_ids(again, "u2") == [one.id]
        Oracle.of(again, "u2").search(X)

    def test_what_one_handle_removes_is_gone_for_the_other(
        self, index: VectorIndex, open_index: OpenIndex, record: MakeRecord
    ) -> None:
        """C1, S10, S11: and what it adds is there."""
        if not index.capabilities.multi_process:
            pytest.skip("capabilities.multi_process is false")
        other = open_index()
        given = [record(wide(1.0, n), session_id=f"s{n % 3}") for n in range(30)]
        index.upsert(USER, given)
        Oracle.of(other).search(X)
        index.delete(USER, [given[0].id])
        Oracle.of(other).search(X)
        index.upsert(USER, [record(Y, id=given[3].id, session_id="s0", text="replaced")])
        Oracle.of(other).search(Y)
        index.delete_session(USER, "s1")
        Oracle.of(other).search(X)
        assert len(all_ids(other)) == 19
        index.erase(USER)
        assert_gone(other, [one.id for one in given])
        index.upsert(USER, [given[6]])
        assert all_ids(other) == [given[6].id]
        Oracle.of(other).search(X)
