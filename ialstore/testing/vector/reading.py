"""``get``, ``ids``, ``count`` and ``users``, and how fresh reads are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ialstore.errors import InvalidInputError, LimitExceededError, UnsupportedOperationError
from ialstore.limits import MAX_DELETE, MAX_GET
from ialstore.model import Consistency
from ialstore.testing.vector.base import (
    UNKNOWN,
    USER,
    Fill,
    MakeRecord,
    OpenIndex,
    VectorSuiteBase,
    X,
    assert_refused,
    let_others_in,
)
from ialstore.testing.vector.crowd import crowd
from ialstore.testing.vector.oracle import Oracle, all_ids, all_users, assert_same
from ialstore.vector import VectorIndex

__all__ = ["ReadingChapter"]


def reads_of(index: VectorIndex, consistency: Any) -> dict[str, Callable[[], Any]]:
    """Return every read that takes a consistency, by its name."""
    return {
        "search": lambda: index.search(USER, X, consistency=consistency),
        "get": lambda: index.get(USER, [UNKNOWN], consistency=consistency),
        "count": lambda: index.count(USER, consistency=consistency),
        "ids": lambda: index.ids(USER, consistency=consistency),
    }


class ReadingChapter(VectorSuiteBase):
    """V7 but for what removes, and C1."""

    def test_records_come_in_the_order_asked(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V7, S5: repeats as asked, unknown ones left out."""
        given = [record(text=str(n), session_id=f"s{n}") for n in range(3)]
        fill(reader, given)
        first, second, third = (one.id for one in given)
        found = reader.get(USER, [third, UNKNOWN, first, third, second])
        assert [one.text for one in found] == ["2", "0", "2", "1"]
        assert reader.get("u2", [first, second, third]) == []

    def test_a_hundred_records_are_read_at_once(self, reader: VectorIndex, fill: Fill) -> None:
        """V7: as they were given."""
        given = crowd(300)
        fill(reader, given)
        for some in (given[:100], given[200:100:-1], given[::3]):
            found = reader.get(USER, [one.id for one in some])
            assert len(found) == len(some)
            for one, other in zip(found, some, strict=True):
                assert_same(one, other, reader.capabilities.vector_error)

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
    def test_ids_are_listed_in_pages(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord, limit: int
    ) -> None:
        """V7, S6: ascending, each once."""
        given = [record() for _ in range(7)]
        fill(reader, given[::-1])
        fill(reader, [record()], "u2")
        assert all_ids(reader, limit=limit) == [one.id for one in given]

    def test_ids_of_many_sessions_and_pages_are_listed(
        self, reader: VectorIndex, fill: Fill
    ) -> None:
        """V7, S6: a page is full while there are more; none is dropped at a border."""
        given = sorted(one.id for one in crowd(1100))
        fill(reader, crowd(1100)[::-1])
        assert reader.count(USER) == 1100
        for limit in (99, 100, 101, 1000):
            first = reader.ids(USER, limit=limit)
            assert list(first) == given[:limit]
            assert list(reader.ids(USER, limit=500, cursor=first.cursor)) == given[limit:][:500]
        assert all_ids(reader, limit=173) == given

    def test_a_cursor_of_ids_survives_what_happens_meanwhile(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V7, S8: neither drops nor repeats an id that was there throughout."""
        given = [record() for _ in range(6)]
        index.upsert(USER, [*given[:3], *given[4:]])
        page = index.ids(USER, limit=2)
        assert list(page) == [given[0].id, given[1].id]
        index.delete(USER, [given[1].id, given[4].id])
        index.upsert(USER, [given[3], given[0]])
        later = [given[2].id, given[3].id, given[5].id]
        for limit in (1, 2, 1000):
            found: list[str] = []
            cursor = page.cursor
            while cursor is not None:
                more = index.ids(USER, limit=limit, cursor=cursor)
                found += more
                cursor = more.cursor
            assert found == later

    def test_a_cursor_survives_reopening(
        self, index: VectorIndex, open_index: OpenIndex, record: MakeRecord
    ) -> None:
        """S8: restarts and other processes."""
        given = [record() for _ in range(3)]
        index.upsert(USER, given)
        page = index.ids(USER, limit=1)
        let_others_in(index)
        assert list(open_index().ids(USER, cursor=page.cursor)) == [one.id for one in given[1:]]

    def test_a_cursor_that_is_damaged_or_of_another_query_is_refused(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """S8, C6: it grants nothing."""
        for user in (USER, "u10"):
            fill(reader, [record() for _ in range(3)], user)
        cursor = reader.ids(USER, limit=1).cursor
        assert cursor is not None
        bad: list[Any] = [f"{cursor}x", cursor[:-1], cursor[1:], "x", "", b"x", 1, "\ud800"]
        for one in bad:
            call = partial(reader.ids, USER, cursor=one)
            assert_refused(InvalidInputError, call, f"S8: the cursor {one!r}")
        call = partial(reader.ids, "u10", cursor=cursor)
        assert_refused(InvalidInputError, call, "S8: the cursor of another user")

    @pytest.mark.parametrize("limit", [0, -1, 1001, 10**9, True, 1.0, None, "1"])
    def test_a_page_has_one_to_a_thousand_ids(self, reader: VectorIndex, limit: Any) -> None:
        """V7, E2: any other limit is refused."""
        with pytest.raises(InvalidInputError):
            reader.ids(USER, limit=limit)

    @pytest.mark.parametrize("ids", ["x", UNKNOWN, b"x", None, ["x"], [None], [UNKNOWN.upper()], 1])
    def test_what_are_no_ids_is_refused(self, index: VectorIndex, ids: Any) -> None:
        """E2: a single text is not a list of ids."""
        for call in (index.get, index.delete):
            with pytest.raises(InvalidInputError):
                call(USER, ids)

    def test_the_number_of_ids_is_limited(self, index: VectorIndex) -> None:
        """V7: 100 to get, 1,000 to delete."""
        assert index.get(USER, [UNKNOWN] * MAX_GET) == []
        assert index.delete(USER, [UNKNOWN] * MAX_DELETE) == 0
        with pytest.raises(LimitExceededError):
            index.get(USER, [UNKNOWN] * (MAX_GET + 1))
        with pytest.raises(LimitExceededError):
            index.delete(USER, [UNKNOWN] * (MAX_DELETE + 1))

    def test_every_user_is_listed(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V7, S14: every user at least once."""
        if not reader.capabilities.users:
            pytest.skip("capabilities.users is false")
        assert all_users(reader) == []
        names = ["u1", "u10", "%", "\n", "é", "\U0001f600", "a#b", "A" * 384]
        for name in names:
            fill(reader, [record()], name)
        for limit in (1, 3, 1000):
            assert set(all_users(reader, limit)) == set(names)

    def test_a_user_without_vectors_is_not_listed(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V7, S14, S11: what was erased leaves no name behind."""
        if not index.capabilities.users:
            pytest.skip("capabilities.users is false")
        index.upsert("u1", [record()])
        index.upsert("u10", [record()])
        index.erase("u1")
        index.count("u2")
        index.search("u2", X)
        assert set(all_users(index)) == {"u10"}

    def test_users_are_listed_only_where_it_is_offered(self, reader: VectorIndex) -> None:
        """S14: behind a capability."""
        if reader.capabilities.users:
            pytest.skip("capabilities.users is true")
        with pytest.raises(UnsupportedOperationError):
            reader.users()

    def test_strong_reads_see_every_write_before_them(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """C1: the default, and where it is asked for by name."""
        if not index.capabilities.strong_reads:
            pytest.skip("capabilities.strong_reads is false")
        strong = Consistency.STRONG
        given = [record(text=str(turn)) for turn in range(1, 6)]
        for turn, one in enumerate(given, 1):
            index.upsert(USER, [one])
            assert index.count(USER, consistency=strong) == index.count(USER) == turn
            assert index.get(USER, [one.id], consistency=strong)[0].text == str(turn)
            assert one.id in list(index.ids(USER, consistency=strong))
            Oracle.of(index).search(X, consistency=strong)
            Oracle.of(index).search(X)
        index.delete(USER, [given[0].id])
        assert index.count(USER, consistency=strong) == 4
        assert index.get(USER, [given[0].id], consistency=strong) == []
        Oracle.of(index).search(X, consistency=strong)

    def test_strong_reads_are_refused_where_there_are_none(self, reader: VectorIndex) -> None:
        """C1: they raise without `capabilities.strong_reads`."""
        if reader.capabilities.strong_reads:
            pytest.skip("capabilities.strong_reads is true")
        for name, call in reads_of(reader, Consistency.STRONG).items():
            assert_refused(UnsupportedOperationError, call, f"C1: a strong {name}")

    def test_eventual_reads_answer_too(self, index: VectorIndex, record: MakeRecord) -> None:
        """C1: messages may be missing for a while, and nobody else's are shown."""
        index.upsert(USER, [record(text="mine")])
        index.upsert("u2", [record(text="other's"), record(text="other's")])
        eventual = Consistency.EVENTUAL
        assert {hit.text for hit in index.search(USER, X, consistency=eventual)} <= {"mine"}
        assert index.get(USER, [UNKNOWN], consistency=eventual) == []
        assert index.count(USER, consistency=eventual) <= 1
        assert len(index.ids(USER, consistency=eventual)) <= 1

    def test_what_is_no_consistency_is_refused(self, reader: VectorIndex) -> None:
        """C1, E2: strong, eventual or None."""
        for wrong in ("sometimes", "", 1):
            for name, call in reads_of(reader, wrong).items():
                assert_refused(InvalidInputError, call, f"C1: {name} with {wrong!r}")
