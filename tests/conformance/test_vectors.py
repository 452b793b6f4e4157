"""The contract of vector indexes: what is written is read, counted, listed and removed."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ialstore import (
    ConfigurationError,
    EraseReport,
    IndexSpec,
    InvalidInputError,
    LimitExceededError,
    LoadReport,
    StoreNotReadyError,
    UnsupportedOperationError,
    VectorIndex,
    VectorRecord,
)
from ialstore.ids import session_hash
from ialstore.model import Consistency

MakeIndex = Callable[..., VectorIndex]
Record = Callable[..., VectorRecord]

UNKNOWN = "01a2049c-c6e3-774b-af40-dce0cd2bb0b6"


def all_ids(index: VectorIndex, user: str = "u1", limit: int = 1000) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = index.ids(user, limit=limit, cursor=cursor)
        assert len(page) <= limit
        found += page
        cursor = page.cursor
        if cursor is None:
            return found


def all_users(index: VectorIndex, limit: int = 1000) -> set[str]:
    found: set[str] = set()
    cursor: str | None = None
    while True:
        page = index.users(limit=limit, cursor=cursor)
        found |= set(page)
        cursor = page.cursor
        if cursor is None:
            return found


def assert_same(found: VectorRecord, given: VectorRecord, error: float = 0.0) -> None:
    """Assert that a record comes back as given; the vector within `capabilities.vector_error`."""
    assert (found.id, found.session_id, found.role) == (given.id, given.session_id, given.role)
    assert found.text == given.text
    assert found.expires_at == given.expires_at
    wanted = np.asarray(given.vector).astype(np.float32)
    assert found.vector.dtype == np.float32
    assert not found.vector.flags.writeable
    away = np.linalg.norm(found.vector.astype(float) - wanted.astype(float))
    assert away <= error * np.linalg.norm(wanted.astype(float))


# -- the spec -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [IndexSpec(4, "cosine", "m"), IndexSpec(3, "dot", "m"), IndexSpec(3, "cosine", "other")],
    ids=["dimension", "metric", "model"],
)
def test_an_index_made_for_another_spec_is_refused(
    make_index: MakeIndex, record: Record, other: IndexSpec
) -> None:
    """V1: the spec is stored by first use and compared by the first operation."""
    first = make_index(IndexSpec(3, "cosine", "m"))
    first.upsert("u1", [record()])
    if not first.capabilities.durable:
        return
    first.close()

    second = make_index(other)
    with pytest.raises(ConfigurationError, match="made for"):
        second.count("u1")
    with pytest.raises(ConfigurationError, match="made for"):
        second.search("u1", [1.0] * other.dimension)
    assert any("made for" in line for line in second.check())
    assert make_index(IndexSpec(3, "cosine", "m")).check() == []


def test_an_empty_model_is_not_compared(make_index: MakeIndex, record: Record) -> None:
    """V1: an empty model skips that field."""
    first = make_index(IndexSpec(3, "cosine", "m"))
    first.upsert("u1", [record()])
    if first.capabilities.durable:
        assert make_index(IndexSpec(3)).count("u1") == 1


def test_reading_is_first_use_too(make_index: MakeIndex) -> None:
    """V1: an index that was only read has a spec."""
    first = make_index(IndexSpec(3))
    assert first.count("u1") == 0
    if first.capabilities.durable:
        with pytest.raises(ConfigurationError):
            make_index(IndexSpec(4)).count("u1")


def test_setup_and_check_may_be_called_at_any_time(index: VectorIndex, record: Record) -> None:
    """V7: as for conversations."""
    index.setup()
    index.upsert("u1", [record()])
    index.setup()
    assert index.check() == []
    assert index.count("u1") == 1


# -- upsert and get -------------------------------------------------------------------------------


def test_what_is_upserted_is_read(index: VectorIndex, record: Record) -> None:
    """V2, V7: records come back in the order asked, repeats as asked, unknown ones left out."""
    given = [
        record([1.0, 2.0, 3.0], text="hello", expires_at=datetime(2030, 1, 1, tzinfo=UTC)),
        record([0.1, 0.2, -0.3], session_id="é#%", role="tool", text=""),
        record([1e-3, 0.0, 0.0], text="\U0001f600\0\r\n" * 10),
    ]
    index.upsert("u1", given)

    first, second, third = (one.id for one in given)
    found = index.get("u1", [third, UNKNOWN, first, third, second])

    assert [one.id for one in found] == [third, first, third, second]
    for one in found:
        original = next(other for other in given if other.id == one.id)
        assert_same(one, original, index.capabilities.vector_error)


def test_upserting_nothing_and_reading_nothing(index: VectorIndex) -> None:
    """V2, V7: no records, no ids."""
    index.upsert("u1", [])
    assert index.get("u1", []) == []
    assert index.delete("u1", []) == 0
    assert index.count("u1") == 0
    assert all_ids(index) == []


def test_an_upsert_replaces_the_record_of_the_same_id(index: VectorIndex, record: Record) -> None:
    """V2: replaces by id, as a whole; the last one given stays."""
    first = record([1.0, 0.0, 0.0], text="first", expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    other = record([0.0, 0.0, 1.0])
    index.upsert("u1", [first, other])
    lost = record([0.5, 0.5, 0.0], id=first.id, text="lost")
    again = record([0.0, 1.0, 0.0], id=first.id)

    index.upsert("u1", [lost, other, again])

    (found,) = index.get("u1", [first.id])
    assert_same(found, again, index.capabilities.vector_error)
    assert index.count("u1") == 2
    assert all_ids(index) == [first.id, other.id]
    (hit,) = index.search("u1", [0.0, 1.0, 0.0], 1).hits
    assert (hit.id, hit.text) == (first.id, None)


def test_an_upsert_may_move_a_record_to_another_session_of_the_same_hash(
    index: VectorIndex, record: Record
) -> None:
    """V2: what the id lets through is replaced like any other field."""
    twin = next(n for n in map(str, range(10_000)) if session_hash(n) == session_hash("s1"))
    first = record(text="first")
    index.upsert("u1", [first])
    index.upsert("u1", [record(id=first.id, session_id=twin)])

    assert index.get("u1", [first.id])[0].session_id == twin
    assert index.delete_session("u1", "s1") == 0
    assert index.delete_session("u1", twin) == 1


@pytest.mark.parametrize(
    "vector",
    [
        [1, 2, 3],
        (1.5, -2.5, 3.5),
        np.array([1, 2, 3], np.uint8),
        np.array([1, -2, 3], np.int64),
        np.array([1.5, 2.5, 3.5], np.float16),
        np.array([0.1, 0.2, 0.3], np.float64),
        np.array([0.1, 0.2, 0.3], np.longdouble),
        np.array([0.1, 0.2, 0.3], ">f4"),
        np.array([0.1, 0.2, 0.3], ">f8"),
        np.arange(1, 10, dtype=np.float32).reshape(3, 3)[:, 1],
        np.arange(1, 4, dtype=np.float32)[::-1],
        np.array([1e-45, 0, 0], np.float32),
        np.array([3e38, -3e38, 3e38], np.float32),
        np.array([1e300, 1, 1]) * 1e-300,
    ],
    ids=[
        "list",
        "tuple",
        "uint8",
        "int64",
        "float16",
        "float64",
        "longdouble",
        "big-endian float32",
        "big-endian float64",
        "not contiguous",
        "backwards",
        "subnormal",
        "huge",
        "vanishing",
    ],
)
def test_any_real_vector_of_the_right_length_is_stored(
    index: VectorIndex, record: Record, vector: Any
) -> None:
    """V2, V4: kept as float32, and found by itself."""
    given = record(vector)
    index.upsert("u1", [given, record([-1.0, 0.0, 0.0]), record([0.0, -1.0, 0.1])])
    (found,) = index.get("u1", [given.id])
    assert_same(found, given, index.capabilities.vector_error)
    (hit,) = index.search("u1", vector, 1).hits
    assert hit.id == given.id
    assert hit.score == pytest.approx(1, abs=1e-5)


BAD_VECTORS: dict[str, Any] = {
    "NaN": [1.0, math.nan, 1.0],
    "infinity": [1.0, math.inf, 1.0],
    "minus infinity": [1.0, -math.inf, 1.0],
    "too large for float32": [1.0, 1e39, 1.0],
    "zero": [0.0, -0.0, 0.0],
    "zero as float32": [1e-50, 0.0, 0.0],
    "too short": [1.0, 2.0],
    "too long": [1.0, 2.0, 3.0, 4.0],
    "empty": [],
    "rank 0": 1.0,
    "rank 2": [[1.0, 2.0, 3.0]],
    "ragged": [[1.0], [2.0, 3.0], []],
    "None": None,
    "text": "123",
    "texts": ["1", "2", "3"],
    "bytes": b"123",
    "bool": [True, False, True],
    "complex": [1j, 1.0, 1.0],
    "object": np.array([1.0, 2.0, 3.0], object),
    "an integer beyond 64 bits": [10**400, 1, 1],
    "dates": np.array([1, 2, 3], "datetime64[s]"),
    "fields": np.zeros(3, [("a", "f4")]),
    "masked": np.ma.MaskedArray([1.0, 2.0, 3.0], [False, True, False]),
    "masked, nothing hidden": np.ma.MaskedArray([1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("name", BAD_VECTORS)
def test_what_is_no_vector_is_refused(index: VectorIndex, record: Record, name: str) -> None:
    """V2, V3, E2: before any I/O; nothing of the call is stored."""
    with pytest.raises(InvalidInputError):
        index.upsert("u1", [record(), record(BAD_VECTORS[name])])
    with pytest.raises(InvalidInputError):
        index.search("u1", BAD_VECTORS[name])
    with pytest.raises(InvalidInputError):
        index.bulk_load([("u1", record(BAD_VECTORS[name]))])
    assert index.count("u1") == 0


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_zero_is_a_vector_where_no_direction_is_asked_for(
    make_index: MakeIndex, record: Record, metric: str
) -> None:
    """V2: non-zero under cosine only."""
    index = make_index(IndexSpec(3, metric))
    given = record([0.0, 0.0, 0.0])
    index.upsert("u1", [given])
    assert [hit.score for hit in index.search("u1", [0.0, 0.0, 0.0])] == [0.0]
    assert_same(index.get("u1", [given.id])[0], given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_callers_array_is_neither_kept_nor_changed(
    index: VectorIndex, record: Record, dtype: Any
) -> None:
    """V2: a later change of it changes no record."""
    mine = np.array([1.0, 2.0, 3.0], dtype)
    given = record(mine)
    index.upsert("u1", [given])
    index.search("u1", mine)
    assert mine.tolist() == [1.0, 2.0, 3.0]
    assert mine.flags.writeable

    mine[:] = [-3.0, 0.0, 1.0]

    assert index.get("u1", [given.id])[0].vector.tolist() == pytest.approx([1, 2, 3], rel=0.1)
    assert index.search("u1", [1.0, 2.0, 3.0]).hits[0].score == pytest.approx(1, abs=1e-5)


def test_a_read_only_array_is_taken(index: VectorIndex, record: Record) -> None:
    """V2: nothing is written into it."""
    mine = np.array([1.0, 2.0, 3.0], np.float32)
    mine.flags.writeable = False
    index.upsert("u1", [record(mine)])
    assert index.search("u1", mine).hits[0].score == pytest.approx(1, abs=1e-5)


def test_the_limits_of_an_upsert(index: VectorIndex, record: Record) -> None:
    """V2: up to 1,000 records, text up to 2 KiB."""
    index.upsert("u1", [record(text="é" * 1024) for _ in range(1000)])
    assert index.count("u1") == 1000
    with pytest.raises(LimitExceededError):
        index.upsert("u1", [record()] * 1001)
    with pytest.raises(LimitExceededError):
        index.upsert("u1", [record(text="é" * 1024 + "x")])
    with pytest.raises(InvalidInputError):
        index.upsert("u1", [record(text="\ud800")])
    with pytest.raises(InvalidInputError):
        index.upsert("u1", [record(role="event", id=record().id)])
    with pytest.raises(InvalidInputError):
        index.upsert("u1", [record(session_id="other", id=record().id)])
    assert index.count("u1") == 1000


# -- deleting -------------------------------------------------------------------------------------


def test_deleting_counts_what_was_there(index: VectorIndex, record: Record) -> None:
    """V7, S10: unknown ids are passed over; what is deleted is gone from every read."""
    first, second, third = given = [record(), record(), record()]
    index.upsert("u1", given)
    index.search("u1", [1.0, 0.0, 0.0])

    assert index.delete("u1", [second.id, UNKNOWN, second.id]) == 1
    assert index.delete("u1", [second.id]) == 0

    assert all_ids(index) == [first.id, third.id]
    assert index.get("u1", [second.id]) == []
    assert {hit.id for hit in index.search("u1", [1.0, 0.0, 0.0])} == {first.id, third.id}
    assert index.count("u1") == 2


def test_what_was_deleted_may_be_stored_again(index: VectorIndex, record: Record) -> None:
    """V2, V7: a deleted id is forgotten."""
    one = record([1.0, 0.0, 0.0], text="old")
    index.upsert("u1", [one])
    for _ in range(3):
        assert len(index.search("u1", [0.0, 1.0, 0.0])) == 1
        index.delete("u1", [one.id])
        assert len(index.search("u1", [0.0, 1.0, 0.0])) == 0
        index.upsert("u1", [record([0.0, 1.0, 0.0], id=one.id)])
    (hit,) = index.search("u1", [0.0, 1.0, 0.0])
    assert hit.text is None
    assert hit.score == pytest.approx(1, abs=1e-5)


def test_a_session_is_deleted_as_a_whole(index: VectorIndex, record: Record) -> None:
    """V7, S10: of any size, and nothing else of the user."""
    kept = record(session_id="s10")
    index.upsert("u1", [record() for _ in range(1000)])
    index.upsert("u1", [kept, *(record() for _ in range(234))])
    index.upsert("u2", [record()])
    assert len(index.search("u1", [1.0, 0.0, 0.0], 100)) == 100

    assert index.delete_session("u1", "s1") == 1234
    assert index.delete_session("u1", "s1") == 0
    assert index.delete_session("u1", "never") == 0

    assert all_ids(index) == [kept.id]
    assert [hit.id for hit in index.search("u1", [1.0, 0.0, 0.0])] == [kept.id]
    assert index.count("u2") == 1


def test_erase_removes_everything_of_a_user(index: VectorIndex, record: Record, clock: Any) -> None:
    """V7, S11: expired vectors, too, which are not counted."""
    later = clock() + timedelta(seconds=5)
    index.upsert("u1", [record() for _ in range(3)] + [record(expires_at=later)])
    index.upsert("u10", [record()])
    index.search("u1", [1.0, 0.0, 0.0])
    clock.advance(5)

    assert index.erase("u1") == EraseReport(vectors=3)
    assert index.erase("u1") == EraseReport()

    clock.now -= timedelta(hours=1)
    assert index.count("u1") == 0
    assert len(index.search("u1", [1.0, 0.0, 0.0])) == 0
    assert index.count("u10") == 1
    index.upsert("u1", [record(text="again")])
    assert [hit.text for hit in index.search("u1", [1.0, 0.0, 0.0])] == ["again"]


# -- listing and loading --------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_ids_are_listed_in_pages(index: VectorIndex, record: Record, limit: int) -> None:
    """V7, S8: ascending, each once."""
    given = [record() for _ in range(7)]
    index.upsert("u1", given[::-1])
    index.upsert("u2", [record()])
    assert all_ids(index, limit=limit) == [one.id for one in given]


def test_a_cursor_of_ids_survives_what_happens_meanwhile(
    index: VectorIndex, record: Record
) -> None:
    """V7, S8: neither drops nor repeats an id that was there throughout."""
    given = [record() for _ in range(5)]
    index.upsert("u1", given)
    page = index.ids("u1", limit=2)
    index.delete("u1", [given[1].id, given[3].id])
    assert list(index.ids("u1", cursor=page.cursor)) == [given[2].id, given[4].id]
    with pytest.raises(InvalidInputError):
        index.ids("u2", cursor=page.cursor)
    with pytest.raises(InvalidInputError):
        index.ids("u1", cursor=f"{page.cursor}x")


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**9, True, 1.0, None])
def test_a_page_has_one_to_a_thousand_ids(index: VectorIndex, limit: Any) -> None:
    """V7, E2."""
    with pytest.raises(InvalidInputError):
        index.ids("u1", limit=limit)


def test_every_user_is_listed(index: VectorIndex, record: Record) -> None:
    """V7, S14: behind a capability; erased ones are not."""
    if not index.capabilities.users:
        with pytest.raises(UnsupportedOperationError):
            index.users()
        return
    names = {"u1", "u10", "%", "\n", "é", "\U0001f600", "a#b", "A" * 384}
    index.bulk_load([(name, record()) for name in names])
    for limit in (1, 3, 1000):
        assert all_users(index, limit) == names
    index.erase("u1")
    assert all_users(index) == names - {"u1"}


def test_bulk_load_restores_vectors_of_any_users(index: VectorIndex, record: Record) -> None:
    """V7, S12: replaces what is there, may be repeated, reads its records as it needs them."""
    one = record([1.0, 0.0, 0.0], text="old")
    index.upsert("u1", [one])
    again = record([0.0, 1.0, 0.0], id=one.id, text="new")
    pairs = [(f"u{n % 3}", record()) for n in range(1500)]
    pairs += [("u1", record(id=one.id)), ("u1", again)]
    calls: list[tuple[int, int | None]] = []

    for _ in range(2):
        report = index.bulk_load(iter(pairs), progress=lambda *call: calls.append(call))
        assert report == LoadReport(written=1502)

    assert calls == [(1000, None), (1502, None)] * 2
    assert [index.count(f"u{n}") for n in range(3)] == [500, 501, 500]
    assert index.get("u1", [one.id])[0].text == "new"
    assert index.bulk_load([]) == LoadReport()


def test_optimize_changes_no_answer(index: VectorIndex, record: Record, clock: Any) -> None:
    """V7, S13, C2: it may remove what is expired."""
    kept = record()
    index.upsert("u1", [kept, record(expires_at=clock() + timedelta(seconds=1))])
    clock.advance(1)
    calls: list[int] = []

    report = index.optimize("u1", progress=lambda done, _: calls.append(done))

    assert report.removed in (0, 1)
    assert all(done <= 1 for done in calls)
    assert index.optimize("u1").removed == 0
    assert all_ids(index) == [kept.id]
    assert index.optimize("nobody").removed == 0


# -- expiry, isolation, life ----------------------------------------------------------------------


def test_an_expired_vector_is_absent_from_every_read(
    index: VectorIndex, record: Record, clock: Any
) -> None:
    """C2, V3: once now >= expires_at."""
    kept = record()
    brief = record(expires_at=clock() + timedelta(seconds=10))
    gone = record(expires_at=clock() - timedelta(days=1))
    index.upsert("u1", [kept, brief, gone])

    clock.advance(9.999)
    assert all_ids(index) == [kept.id, brief.id]
    assert {hit.id for hit in index.search("u1", [1.0, 0.0, 0.0])} == {kept.id, brief.id}
    clock.advance(0.001)
    for _ in range(2):
        assert all_ids(index) == [kept.id]
        assert index.get("u1", [gone.id, brief.id]) == []
        assert index.count("u1") == 1
        assert [hit.id for hit in index.search("u1", [1.0, 0.0, 0.0])] == [kept.id]
    assert index.delete("u1", [gone.id, brief.id]) == 0
    index.upsert("u1", [record(id=brief.id)])
    assert index.count("u1") == 2


def test_an_expired_vector_counts_in_no_delete(
    index: VectorIndex, record: Record, clock: Any
) -> None:
    """C2, S10: live vectors are counted."""
    index.upsert("u1", [record(), record(expires_at=clock())])
    assert index.delete_session("u1", "s1") == 1


def test_retention_gives_vectors_their_expiry(make_index: MakeIndex, record: Record) -> None:
    """C2: counted from the message's creation."""
    now = datetime(2024, 3, 1, tzinfo=UTC)
    index = make_index(IndexSpec(3), clock=lambda: now, retention_days=1)
    old = record(at=now - timedelta(days=1, seconds=1))
    new = record(at=now - timedelta(hours=23))
    index.upsert("u1", [old, new])
    assert all_ids(index) == [new.id]


USERS = ("u1", "u10", "U1", "u1 ", "u", "%", "u1%00", "u1#s1", "'; DROP TABLE vectors; --", "\n")


def test_users_see_only_their_own(index: VectorIndex, record: Record) -> None:
    """C6: for any bytes in the ids."""
    one = record(text="shared id")
    for user in USERS:
        index.upsert(user, [record(id=one.id, text=user), record([3.0, 2.0, 1.0], text=user)])
    for user in USERS:
        assert [hit.text for hit in index.search(user, [1.0, 2.0, 3.0])] == [user] * 2
        assert index.get(user, [one.id])[0].text == user
    assert index.delete("u1", [one.id]) == 1
    assert index.delete_session("u10", "s1") == 2
    index.erase("u")
    left = {"u1": 1, "u10": 0, "u": 0}
    for user in USERS:
        assert index.count(user) == len(index.search(user, [1.0, 0.0, 0.0])) == left.get(user, 2)


@pytest.mark.parametrize("user", ["", "\0", "a\0b", "\ud800", "x" * 385, "#" * 129, None, b"u", 1])
def test_what_is_no_user_is_refused(index: VectorIndex, record: Record, user: Any) -> None:
    """E2: by every method, before any I/O."""
    calls: list[Callable[[], Any]] = [
        lambda: index.upsert(user, [record()]),
        lambda: index.search(user, [1.0, 0.0, 0.0]),
        lambda: index.get(user, [UNKNOWN]),
        lambda: index.delete(user, [UNKNOWN]),
        lambda: index.delete_session(user, "s1"),
        lambda: index.delete_session("u1", user),
        lambda: index.count(user),
        lambda: index.ids(user),
        lambda: index.erase(user),
        lambda: index.optimize(user),
        lambda: index.bulk_load([(user, record())]),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            call()


@pytest.mark.parametrize("ids", ["x", UNKNOWN, b"x", None, ["x"], [None], [UNKNOWN.upper()], 1])
def test_what_are_no_ids_is_refused(index: VectorIndex, ids: Any) -> None:
    """E2: a single text is not a list of ids."""
    for call in (index.get, index.delete):
        with pytest.raises(InvalidInputError):
            call("u1", ids)


def test_the_number_of_ids_is_limited(index: VectorIndex) -> None:
    """V7: 100 to get, 1,000 to delete."""
    assert index.get("u1", [UNKNOWN] * 100) == []
    assert index.delete("u1", [UNKNOWN] * 1000) == 0
    with pytest.raises(LimitExceededError):
        index.get("u1", [UNKNOWN] * 101)
    with pytest.raises(LimitExceededError):
        index.delete("u1", [UNKNOWN] * 1001)


def test_eventual_reads_answer_too(index: VectorIndex, record: Record) -> None:
    """C1: what else is asked for is refused."""
    index.upsert("u1", [record()])
    eventual = Consistency.EVENTUAL
    assert len(index.search("u1", [1.0, 0.0, 0.0], consistency=eventual)) <= 1
    assert len(index.get("u1", [UNKNOWN], consistency=eventual)) == 0
    assert index.count("u1", consistency=eventual) <= 1
    assert len(index.ids("u1", consistency=eventual)) <= 1
    with pytest.raises(InvalidInputError):
        index.count("u1", consistency="sometimes")  # type: ignore[arg-type]  # what is tested


def test_a_closed_index_says_so(index: VectorIndex, record: Record) -> None:
    """S15: closing twice is fine; what is stored stays."""
    index.upsert("u1", [record()])
    index.close()
    index.close()
    for call in (
        lambda: index.search("u1", [1.0, 0.0, 0.0]),
        lambda: index.upsert("u1", [record()]),
        lambda: index.upsert("u1", []),
        lambda: index.get("u1", []),
        lambda: index.delete("u1", []),
        lambda: index.count("u1"),
        index.check,
        index.setup,
    ):
        with pytest.raises(StoreNotReadyError):
            call()


def test_what_was_stored_is_there_after_reopening(make_index: MakeIndex, record: Record) -> None:
    """C4, S15: with `capabilities.durable`."""
    first = make_index(IndexSpec(3))
    given = [record(text=str(n)) for n in range(3)]
    first.upsert("u1", given)
    if not first.capabilities.durable:
        return
    both = make_index(IndexSpec(3))
    assert all_ids(both) == [one.id for one in given]
    first.close()
    both.delete("u1", [given[0].id])
    both.close()
    again = make_index(IndexSpec(3))
    assert {hit.text for hit in again.search("u1", [1.0, 0.0, 0.0])} == {"1", "2"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_may_use_the_index(index: VectorIndex, record: Record) -> None:
    """S15: a forked child opens its own connections."""
    index.upsert("u1", [record(text="parent")])
    index.search("u1", [1.0, 0.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is the point
        child = os.fork()
    if not child:
        found = 0
        try:
            index.upsert("u1", [record(text="child", session_id="s2")])
            found = len(index.search("u1", [1.0, 0.0, 0.0]))
        finally:
            os._exit(found)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 2
    shared = index.capabilities.multi_process
    assert len(index.search("u1", [1.0, 0.0, 0.0])) == (2 if shared else 1)
