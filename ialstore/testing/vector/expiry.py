"""Vectors that expire, and whose vectors are whose."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from ialstore.errors import InvalidInputError
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.vector.base import (
    UNKNOWN,
    USER,
    Fill,
    MakeRecord,
    OpenIndex,
    VectorSuiteBase,
    X,
    assert_refused,
    wide,
)
from ialstore.testing.vector.crowd import crowd
from ialstore.testing.vector.oracle import Oracle, all_ids
from ialstore.vector import VectorIndex
from ialstore.vector_model import Where

__all__ = ["ExpiryChapter", "IsolationChapter"]

USERS: Final = (
    "u1",
    "u10",
    "u",
    "U1",
    "u1 ",
    " u1",
    "%",
    "_1",
    "u_",
    "u1%00",
    "u1#s1",
    "u1/s1",
    "u1:s1",
    "'; DROP TABLE vectors; --",
    "\n",
    "é",
    "e\u0301",
    "\U0001f600",
    "..",
    "*",
    "x" * 384,
    "#" * 128,  # as long, once it is escaped
)


class ExpiryChapter(VectorSuiteBase):
    """C2."""

    def test_an_expired_vector_is_absent_from_every_read(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord, clock: ManualClock
    ) -> None:
        """C2, V3: once now >= expires_at."""
        kept = record()
        brief = record(expires_at=clock() + timedelta(seconds=9.25))  # rounded up
        gone = record(expires_at=clock() - timedelta(days=1))
        fill(reader, [kept, brief, gone])

        clock.advance(9.999999)
        assert all_ids(reader) == [kept.id, brief.id]
        assert reader.count(USER) == 2
        Oracle.of(reader).search(X)
        clock.advance(0.000001)
        for _ in range(2):
            assert all_ids(reader) == [kept.id], "C2: ids lists what is expired"
            assert all_ids(reader, limit=1) == [kept.id], "C2: ids lists what is expired"
            assert reader.get(USER, [gone.id, brief.id]) == [], "C2: get returns what is expired"
            assert reader.count(USER) == 1, "C2: count counts what is expired"
            Oracle.of(reader).search(X)
            Oracle.of(reader).search(X, where=Where(session_id="s1"))

    def test_what_is_expired_counts_in_no_write(
        self, index: VectorIndex, record: MakeRecord, clock: ManualClock
    ) -> None:
        """C2, S10: live vectors are counted."""
        given = [record(expires_at=clock() + timedelta(seconds=n % 2)) for n in range(6)]
        index.upsert(USER, given)
        assert index.delete(USER, [given[0].id, given[1].id]) == 1
        assert index.delete_session(USER, "s1") == 2
        clock.advance(-10)
        assert index.count(USER) == 0, "S10: delete or delete_session leaves what is expired"
        clock.advance(10)
        index.upsert(USER, given)
        assert index.erase(USER).vectors == 3
        clock.advance(-10)
        assert index.count(USER) == 0, "S11: erase leaves what is expired"

    def test_an_expired_vector_may_be_stored_again(
        self, index: VectorIndex, record: MakeRecord, clock: ManualClock
    ) -> None:
        """C2, S3: with a later expiry, or none, it lives."""
        one = record(expires_at=clock() + timedelta(seconds=1), text="old")
        index.upsert(USER, [one])
        Oracle.of(index).search(X)
        clock.advance(1)
        for later in (clock() + timedelta(seconds=1), None):
            index.upsert(USER, [record(id=one.id, expires_at=later)])
            assert index.count(USER) == 1
            assert index.get(USER, [one.id])[0].text is None
            Oracle.of(index).search(X)
        clock.advance(3600)
        assert index.count(USER) == 1, "V2: the old expiry lives on"
        Oracle.of(index).search(X)

    def test_a_vector_given_an_expiry_expires(
        self, index: VectorIndex, record: MakeRecord, clock: ManualClock
    ) -> None:
        """C2, V2: a replacement may end what had no end."""
        one, other = record(), record()
        index.upsert(USER, [one, other])
        Oracle.of(index).search(X)
        index.upsert(USER, [record(id=one.id, expires_at=clock() + timedelta(seconds=1))])
        assert index.count(USER) == 2
        clock.advance(1)
        assert all_ids(index) == [other.id]
        Oracle.of(index).search(X)

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_pages_pass_over_what_is_expired(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord, clock: ManualClock, limit: int
    ) -> None:
        """C2, S6: a page ends at its limit of live ids."""
        soon = clock() + timedelta(seconds=1)
        given = [record(expires_at=None if n % 3 else soon) for n in range(10)]
        fill(reader, given)
        clock.advance(1)
        live = [one.id for one in given if one.expires_at is None]
        assert all_ids(reader, limit=limit) == live
        assert list(reader.ids(USER, limit=limit)) == live[:limit]

    def test_the_clock_of_the_caller_decides(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord, clock: ManualClock
    ) -> None:
        """C2, S15: indexes take `clock=`, which may also step back."""
        fill(reader, [record(expires_at=clock() + timedelta(seconds=1)), record()])
        for seconds in (-10_000, 5_000, -7, 5_007):
            clock.advance(seconds)
            assert reader.count(USER) == 2
            Oracle.of(reader).search(X)

    def test_a_clock_that_steps_back_hides_nothing(
        self, index: VectorIndex, record: MakeRecord, clock: ManualClock
    ) -> None:
        """C2: what is stored after it lives until its own end."""
        index.upsert(USER, [record(expires_at=clock() + timedelta(seconds=1)), record()])
        clock.advance(10)
        Oracle.of(index).search(X)
        assert index.count(USER) == 1
        clock.advance(-10)
        late = record(expires_at=clock() + timedelta(seconds=5))
        index.upsert(USER, [late])
        assert late.id in all_ids(index)
        assert index.get(USER, [late.id])
        Oracle.of(index).search(X)
        clock.advance(5)
        assert late.id not in all_ids(index)
        Oracle.of(index).search(X)

    def test_retention_gives_vectors_their_expiry(
        self, open_index: OpenIndex, record: MakeRecord
    ) -> None:
        """C2: counted from the message's creation, where a vector has none of its own."""
        now = datetime(2096, 3, 1, tzinfo=UTC)
        index = open_index(clock=lambda: now, retention_days=1)
        if not index.capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")
        old = record(at=now - timedelta(days=1, seconds=1))
        new = record(at=now - timedelta(hours=23))
        own = record(at=now - timedelta(days=2), expires_at=now + timedelta(days=9))
        index.upsert(USER, [old, new, own])
        index.bulk_load([(USER, record(at=now - timedelta(days=3)))])
        assert all_ids(index) == sorted([new.id, own.id])
        assert index.get(USER, [new.id])[0].expires_at == now + timedelta(hours=1)
        assert index.get(USER, [own.id])[0].expires_at == own.expires_at
        Oracle.of(index).search(X)


class IsolationChapter(VectorSuiteBase):
    """C6."""

    def test_users_see_only_their_own(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """C6: for any bytes in the ids."""
        shared = record()
        for user in USERS:
            fill(reader, [record(id=shared.id, text=user), record(wide(3, 2, 1), text=user)], user)
        for user in USERS:
            assert {hit.text for hit in reader.search(user, X)} <= {user}, f"C6: {user!r}"
            assert reader.get(user, [shared.id])[0].text == user
            assert reader.count(user) == len(all_ids(reader, user)) == 2
            Oracle.of(reader, user).search(X)
        for nobody in ("u1\x01", "u100", "u1#", "%25", "%%", "x" * 383):
            assert reader.count(nobody) == 0
            assert all_ids(reader, nobody) == []
            assert reader.search(nobody, X, 100).hits == ()

    def test_users_remove_only_their_own(self, index: VectorIndex, record: MakeRecord) -> None:
        """C6, S10, S11: whatever their names have in common."""
        shared = record()
        for user in USERS:
            index.upsert(user, [shared, record(session_id="s10")])
        left = dict.fromkeys(USERS, 2)
        for number, user in enumerate(USERS):
            if number % 4 == 0:
                assert index.delete(user, [shared.id]) == 1
                left[user] = 1
            elif number % 4 == 1:
                assert index.delete_session(user, "s1") == 1
                left[user] = 1
            elif number % 4 == 2:
                assert index.erase(user).vectors == 2
                left[user] = 0
            assert {one: index.count(one) for one in USERS} == left, f"C6: {user!r} took others"
        for user, count in left.items():
            oracle = Oracle.of(index, user)
            assert len(oracle.records) == count
            oracle.search(X)

    def test_a_user_who_replaces_changes_only_their_own(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """C6, V2: two users may use one id."""
        shared = record(text="first")
        index.upsert("u1", [shared])
        index.upsert("u10", [record(wide(0, 1), id=shared.id, text="second")])
        index.bulk_load([("u", record(wide(0, 0, 1), id=shared.id, text="third"))])
        for user, text in (("u1", "first"), ("u10", "second"), ("u", "third")):
            assert [one.text for one in index.get(user, [shared.id])] == [text]
            Oracle.of(index, user).search(X)

    def test_filters_let_nobody_elses_through(self, reader: VectorIndex, fill: Fill) -> None:
        """C6, V5: a session of the same name is another session."""
        for user in ("u1", "u10"):
            fill(reader, crowd(120, 2), user)
        fill(reader, crowd(30, 5), "u")
        for user in ("u1", "u"):
            oracle = Oracle.of(reader, user)
            for where in (
                Where(session_id="s1"),
                Where(exclude_session_id="s1"),
                Where(roles=["user"]),
                Where(until=START + timedelta(seconds=25)),
            ):
                oracle.search(X, 100, where)

    @pytest.mark.parametrize(
        "user", ["", "\0", "a\0b", "\ud800", "x" * 385, "#" * 129, None, b"u", 1]
    )
    def test_what_is_no_user_is_refused(
        self, index: VectorIndex, record: MakeRecord, user: Any
    ) -> None:
        """E2, C6: by every method, before any I/O."""
        calls: dict[str, Callable[[], object]] = {
            "upsert": lambda: index.upsert(user, [record()]),
            "search": lambda: index.search(user, X),
            "get": lambda: index.get(user, [UNKNOWN]),
            "delete": lambda: index.delete(user, [UNKNOWN]),
            "delete_session": lambda: index.delete_session(user, "s1"),
            "delete_session ": lambda: index.delete_session("u1", user),
            "count": lambda: index.count(user),
            "ids": lambda: index.ids(user),
            "erase": lambda: index.erase(user),
            "optimize": lambda: index.optimize(user),
            "bulk_load": lambda: index.bulk_load([(user, record())]),
        }
        for name, call in calls.items():
            assert_refused(InvalidInputError, call, f"E2: {name} of user {user!r}")
