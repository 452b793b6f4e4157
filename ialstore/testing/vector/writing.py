"""What ``upsert`` stores, replaces and refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import pytest

from ialstore.errors import InvalidInputError, LimitExceededError
from ialstore.ids import Role, session_hash
from ialstore.limits import MAX_TEXT_BYTES, MAX_UPSERT
from ialstore.testing.vector.base import (
    DIMENSION,
    USER,
    MakeRecord,
    OpenIndex,
    VectorSuiteBase,
    X,
    Y,
    Z,
    assert_refused,
    spec_of,
    wide,
)
from ialstore.testing.vector.oracle import Oracle, all_ids, all_records, assert_same
from ialstore.vector import VectorIndex
from ialstore.vector_model import VectorRecord

__all__ = ["BAD_VECTORS", "WritingChapter"]

_RAMP: Final = np.arange(1, DIMENSION + 1)

GOOD_VECTORS: Final[dict[str, Any]] = {
    "list of int": list(range(1, DIMENSION + 1)),
    "tuple of float": tuple(_RAMP / 3),
    "uint8": _RAMP.astype(np.uint8),
    "int64": -_RAMP.astype(np.int64),
    "float16": _RAMP.astype(np.float16) / 7,
    "float64": _RAMP / 7,
    "longdouble": _RAMP.astype(np.longdouble) / 7,
    "big-endian float32": (_RAMP / 7).astype(">f4"),
    "big-endian float64": (_RAMP / 7).astype(">f8"),
    "not contiguous": np.outer(_RAMP, _RAMP).astype(np.float32)[:, 1],
    "backwards": _RAMP.astype(np.float32)[::-1],
    "subnormal": np.array(wide(1e-45), np.float32),
    "huge": np.array(wide(3e38, -3e38, 3e38), np.float32),
    "of every magnitude": np.array(wide(1e-45, 1e-20, 1.0, 1e20), np.float32),
    "minus zero": np.array([-0.0, *_RAMP[1:]]),
}

BAD_VECTORS: Final[dict[str, Any]] = {
    "NaN": wide(1.0, math.nan),
    "infinity": wide(1.0, math.inf),
    "minus infinity": wide(1.0, -math.inf),
    "too large for float32": wide(1.0, 1e39),
    "too short": X[:-1],
    "too long": (*X, 0.0),
    "empty": [],
    "rank 0": 1.0,
    "rank 2": [X],
    "ragged": [[1.0], [2.0, 3.0], []],
    "None": None,
    "text": "1" * DIMENSION,
    "texts": ["1"] * DIMENSION,
    "bytes": b"1" * DIMENSION,
    "bool": [True] * DIMENSION,
    "complex": [1j] * DIMENSION,
    "object": np.array(X, object),
    "an integer beyond 64 bits": [10**400] * DIMENSION,
    "dates": np.ones(DIMENSION).astype("datetime64[s]"),
    "fields": np.zeros(DIMENSION, [("a", "f4")]),
    "masked": np.ma.MaskedArray(X, [False, True] * (DIMENSION // 2)),
    "masked, nothing hidden": np.ma.MaskedArray(X),
}

TEXTS: Final = {
    "none": None,
    "empty": "",
    "NUL, CRLF and tab": "\0\r\n\t",
    "emoji, joined": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "not normalized": "e\u0301é\ufeff\u202eRTL",
    "the longest": "x" * MAX_TEXT_BYTES,
    "the longest of two bytes": "é" * (MAX_TEXT_BYTES // 2),
    "the longest of four bytes": "\U0001f600" * (MAX_TEXT_BYTES // 4),
    "looks like JSON": '{"a": "\\u0000"}',
    "looks like SQL": "'; DROP TABLE vectors; --",
    "blank at both ends": " \n text \n ",
}


class WritingChapter(VectorSuiteBase):
    """V2."""

    @pytest.mark.parametrize("name", TEXTS)
    def test_a_text_comes_back_code_point_for_code_point(
        self, index: VectorIndex, record: MakeRecord, name: str
    ) -> None:
        """V2, M1: up to 2 KiB, from get and from search."""
        given = record(text=TEXTS[name])
        index.upsert(USER, [given])
        (found,) = index.get(USER, [given.id])
        assert found.text == given.text
        assert {hit.text for hit in index.search(USER, given.vector)} <= {given.text}
        Oracle.of(index).search(given.vector)

    def test_a_record_comes_back_whole(self, index: VectorIndex, record: MakeRecord) -> None:
        """V2, V7: vector, session, role, text and expiry, rounded up to whole seconds."""
        late = datetime(2099, 1, 1, tzinfo=UTC)
        given = [
            record(text="hello", expires_at=late),
            record(expires_at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
            record(at=datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
            record(at=datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
            record(wide(0.1, 0.2, -0.3), session_id="é#%", role="tool", text=""),
            record(wide(1e-3), session_id="\n", text="\U0001f600" * 10),
            *(record(tuple(_RAMP / 7), role=role) for role in Role),
        ]
        index.upsert(USER, given)
        found = index.get(USER, [one.id for one in given])
        for one, other in zip(found, given, strict=True):
            assert_same(one, other, index.capabilities.vector_error)

        index.upsert(USER, [record(id=given[0].id, expires_at=late - timedelta(seconds=0.999999))])
        assert index.get(USER, [given[0].id])[0].expires_at == late, "rounded up to whole seconds"

    @pytest.mark.parametrize("name", GOOD_VECTORS)
    def test_any_real_vector_of_the_right_length_is_stored(
        self, index: VectorIndex, record: MakeRecord, name: str
    ) -> None:
        """V2, V4: kept as float32, and found by itself."""
        vector = GOOD_VECTORS[name]
        given = record(vector)
        index.upsert(USER, [given, record(wide(-1.0)), record(wide(0.0, -1.0, 0.1))])
        (found,) = index.get(USER, [given.id])
        assert_same(found, given, index.capabilities.vector_error)
        Oracle.of(index).search(vector, 1)

    @pytest.mark.parametrize("name", BAD_VECTORS)
    def test_what_is_no_vector_is_refused(
        self, index: VectorIndex, record: MakeRecord, name: str
    ) -> None:
        """V2, V3, E2: before any I/O; nothing of the call is stored."""
        bad = BAD_VECTORS[name]
        for call in (
            lambda: index.upsert(USER, [record(), record(bad)]),
            lambda: index.search(USER, bad),
            lambda: index.bulk_load([(USER, record(bad))]),
        ):
            with pytest.raises(InvalidInputError):
                call()
        assert index.count(USER) == 0

    @pytest.mark.parametrize("zero", [(0.0, -0.0), (1e-50, 0.0)], ids=["zero", "as float32"])
    def test_zero_is_a_vector_where_no_direction_is_asked_for(
        self, searched: VectorIndex, record: MakeRecord, zero: tuple[float, ...]
    ) -> None:
        """V2: non-zero under cosine only."""
        if not searched.capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")
        given = record(wide(*zero))
        if searched.spec.metric == "cosine":
            with pytest.raises(InvalidInputError):
                searched.upsert(USER, [given])
            with pytest.raises(InvalidInputError):
                searched.search(USER, wide(*zero))
            assert searched.count(USER) == 0
        else:
            searched.upsert(USER, [given, record(X)])
            assert_same(searched.get(USER, [given.id])[0], given, 0)
            oracle = Oracle.of(searched)
            oracle.search(wide(*zero))
            oracle.search(X)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_callers_array_is_neither_kept_nor_changed(
        self, index: VectorIndex, record: MakeRecord, dtype: Any
    ) -> None:
        """V2: a later change of it changes no record."""
        mine = np.array(wide(1.0, 2.0, 3.0), dtype)
        given = record(mine)
        index.upsert(USER, [given])
        loaded = record(mine)
        index.bulk_load([(USER, loaded)])
        index.search(USER, mine)
        assert mine.tolist() == list(wide(1.0, 2.0, 3.0)), "V2: the array was changed"
        assert mine.flags.writeable, "V2: the array was made read-only"

        mine[:] = wide(-3.0, 0.0, 1.0)

        unchanged = record(wide(1.0, 2.0, 3.0), id=given.id)
        assert_same(index.get(USER, [given.id])[0], unchanged, index.capabilities.vector_error)
        oracle = Oracle.of(index)
        assert np.array_equal(*oracle.vectors), "V2: a vector changed with the caller's array"
        oracle.search(wide(1.0, 2.0, 3.0))

    def test_a_read_only_array_is_taken(self, index: VectorIndex, record: MakeRecord) -> None:
        """V2: nothing is written into it."""
        mine = np.array(wide(1.0, 2.0, 3.0), np.float32)
        mine.flags.writeable = False
        index.upsert(USER, [record(mine)])
        Oracle.of(index).search(mine)

    def test_an_upsert_replaces_the_record_of_the_same_id(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V2: replaces by id, as a whole; the last one given stays."""
        first = record(X, text="first", expires_at=datetime(2099, 1, 1, tzinfo=UTC))
        other = record(Z)
        index.upsert(USER, [first, other])
        Oracle.of(index).search(Y)
        lost = record(wide(0.5, 0.5), id=first.id, text="lost")
        again = record(Y, id=first.id)

        index.upsert(USER, [lost, other, again])

        (found,) = index.get(USER, [first.id])
        assert_same(found, again, index.capabilities.vector_error)
        assert index.count(USER) == 2
        assert all_ids(index) == [first.id, other.id]
        for query in (X, Y):
            Oracle.of(index).search(query, 1)

    def test_a_record_replaced_many_times_is_there_once(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V2, V3: no old vector, text or expiry comes back."""
        given = [record(text="0") for _ in range(30)]
        for turn in range(5):
            vectors = np.random.default_rng(turn).standard_normal((30, DIMENSION))
            index.upsert(
                USER,
                [
                    record(vector, id=one.id, text=str(turn))
                    for vector, one in zip(vectors, given, strict=True)
                ],
            )
            oracle = Oracle.of(index)
            assert {one.text for one in oracle.records.values()} == {str(turn)}
            for query in vectors[:3]:
                oracle.search(query)
        assert index.count(USER) == 30

    def test_an_upsert_may_move_a_record_to_another_session_of_the_same_hash(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V2: what the id lets through is replaced like any other field."""
        twin = next(n for n in map(str, range(10_000)) if session_hash(n) == session_hash("s1"))
        first = record(text="first")
        index.upsert(USER, [first])
        index.upsert(USER, [record(id=first.id, session_id=twin)])

        assert index.get(USER, [first.id])[0].session_id == twin
        Oracle.of(index).search(X)
        assert index.delete_session(USER, "s1") == 0
        assert index.delete_session(USER, twin) == 1

    def test_an_upsert_takes_up_to_a_thousand_records(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V2: all of them with the longest text."""
        given = [record(text=f"{n:04}" + "é" * 1022) for n in range(MAX_UPSERT)]
        index.upsert(USER, given)
        assert index.count(USER) == MAX_UPSERT
        assert all_ids(index) == [one.id for one in given]
        found = all_records(index, [one.id for one in given])
        assert [one.text for one in found] == [one.text for one in given]
        with pytest.raises(LimitExceededError):
            index.upsert(USER, [record()] * (MAX_UPSERT + 1))
        assert index.count(USER) == MAX_UPSERT

    @pytest.mark.parametrize("call", ["upsert", "bulk_load"])
    def test_a_record_that_breaks_the_contract_is_refused(
        self, index: VectorIndex, record: MakeRecord, call: str
    ) -> None:
        """V2, E2: session and role agree with the id; text is text up to 2 KiB."""
        good = record()
        bad: dict[str, Any] = {
            "a text too long": record(text="x" * (MAX_TEXT_BYTES + 1)),
            "a text too long in bytes": record(text="é" * (MAX_TEXT_BYTES // 2) + "x"),
            "a lone surrogate": record(text="\ud800"),
            "bytes": record(text=b"x"),
            "another role": record(role="event", id=good.id),
            "another session": record(session_id="other", id=good.id),
            "no session": record(session_id="", id=good.id),
            "no role": record(role="nobody", id=good.id),
            "no id": record(id="x"),
            "an id in upper case": record(id=good.id.upper()),
            "a naive time": record(expires_at=datetime(2030, 1, 1)),  # noqa: DTZ001 - as named
            "no record": (good.id, X),
        }
        store: dict[str, Callable[[list[VectorRecord]], object]] = {
            "upsert": lambda records: index.upsert(USER, records),
            "bulk_load": lambda records: index.bulk_load((USER, one) for one in records),
        }
        for name, one in bad.items():
            assert_refused(InvalidInputError, partial(store[call], [good, one]), f"V2: {name}")
        left = {"upsert": [], "bulk_load": [good.id]}  # a load may write what comes before
        assert set(all_ids(index)) <= set(left[call])

    def test_upserting_nothing_and_reading_nothing(self, index: VectorIndex) -> None:
        """V2, V7: no records, no ids."""
        index.upsert(USER, [])
        assert index.get(USER, []) == []
        assert index.delete(USER, []) == 0
        assert index.count(USER) == 0
        assert all_ids(index) == []

    def test_an_upsert_of_one_metric_scores_by_it(
        self, open_index: OpenIndex, record: MakeRecord, metric: str
    ) -> None:
        """V2, V4: vectors are kept as long as they were given, whatever the metric."""
        index = open_index(spec_of(metric))
        if not index.capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")
        given = [record(wide(3.0, 4.0)), record(wide(30.0)), record(wide(0.1, 0.0, -0.1))]
        index.upsert(USER, given)
        for one in given:
            (found,) = index.get(USER, [one.id])
            assert_same(found, one, index.capabilities.vector_error)
        oracle = Oracle.of(index)
        for query in (X, wide(0.5, 20.0), wide(-2.0, 0.0, 3.0)):
            oracle.search(query, 1)
            oracle.search(query, 3)
