"""``Where``: what passes is ranked as if it were alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from statistics import fmean
from typing import Any, Final

import numpy as np
import pytest

from ialstore.errors import InvalidInputError
from ialstore.ids import Role, session_hash
from ialstore.testing.clock import START
from ialstore.testing.vector.base import (
    DIMENSION,
    USER,
    Fill,
    MakeRecord,
    VectorSuiteBase,
    X,
    Y,
    wide,
)
from ialstore.testing.vector.crowd import WHERES, crowd, queries
from ialstore.testing.vector.oracle import Oracle, assert_honest
from ialstore.vector import VectorIndex
from ialstore.vector_model import VectorRecord, Where

__all__ = ["FiltersChapter"]

BY_CHANCE: Final = 0.1
"""What the few queries of one filter may miss beyond what is missed on average."""
_TICK: Final = timedelta(microseconds=1)

BAD_WHERES: Final[dict[str, Any]] = {
    "both sessions": Where(session_id="a", exclude_session_id="b"),
    "both sessions, the same": Where(session_id="a", exclude_session_id="a"),
    "an empty session": Where(session_id=""),
    "a NUL": Where(exclude_session_id="\0"),
    "no roles": Where(roles=[]),
    "a text for roles": Where(roles="user"),
    "an unknown role": Where(roles=["nobody"]),
    "a role that is None": Where(roles=[None]),  # type: ignore[list-item]  # what is tested
    "a naive time": Where(since=datetime(2024, 1, 1)),  # noqa: DTZ001 - what is tested
    "a text for a time": Where(until="2024-01-01"),  # type: ignore[arg-type]  # what is tested
    "since after until": Where(since=START, until=START - _TICK),
    "None": None,
    "a dict": {},
}


class FiltersChapter(VectorSuiteBase):
    """V5."""

    def test_filters_apply_before_the_top_k(self, searched: VectorIndex, fill: Fill) -> None:
        """V5, V6: with the recall that the index stands for, whatever the filter."""
        records = crowd(240, 3)
        fill(searched, records)
        oracle = Oracle.of(searched)
        asked = queries(records, 4 if searched.capabilities.exact else 12, 4)
        recalls: list[float] = []
        for name, where in WHERES.items():
            found = [oracle.search(query, k, where) for query in asked for k in (1, 7, 100)]
            assert_honest(searched, fmean(found) + BY_CHANCE, f"for {name}")
            if oracle.count(where):
                recalls += found
        assert_honest(searched, fmean(recalls), "with filters")

    def test_what_is_filtered_out_takes_no_place(
        self, searched: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V5: a few far vectors are found behind many near ones that do not pass."""
        near = [record(wide(1.0, 0.001 * n)) for n in range(300)]
        far = [record(wide(-1.0, n), session_id="far", role="tool") for n in range(30)]
        late = [record(wide(-1.0, -n)) for n in range(30)]
        fill(searched, [*near, *far, *late])
        oracle = Oracle.of(searched)
        since = Where(since=START + timedelta(seconds=330.5))
        found = [
            oracle.search(X, 30, where)
            for where in (Where(session_id="far"), Where(roles=["tool"]), since)
        ]
        assert_honest(searched, fmean(found), "where near vectors are filtered out")

    @pytest.mark.parametrize("role", list(Role))
    def test_each_role_is_told_apart(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord, role: Role
    ) -> None:
        """V5: by its name or its value."""
        fill(reader, [record(role=one) for one in Role for _ in range(2)])
        oracle = Oracle.of(reader)
        oracle.search(X, 20, Where(roles=[role]))
        oracle.search(X, 20, Where(roles={str(role)}))
        oracle.search(X, 20, Where(roles=tuple(one for one in Role if one != role)))

    def test_the_range_of_time_is_half_open(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V5, S6: from since, up to but without until, to the microsecond."""
        times = [START + n * _TICK for n in (-1000, -1, 0, 1, 2, 999, 1000)]
        fill(reader, [record(at=at, role=role) for at in times for role in ("assistant", "user")])
        oracle = Oracle.of(reader)
        assert len(oracle.records) == 2 * len(times)
        for since in times:
            oracle.search(X, 20, Where(since=since))
            oracle.search(X, 20, Where(until=since))
            oracle.search(X, 20, Where(since=since, until=since + _TICK))
            oracle.search(X, 20, Where(since=since, until=since))

    def test_times_are_compared_whatever_their_zone(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V5, M2: a moment is a moment."""
        fill(reader, [record(at=START + timedelta(hours=n)) for n in range(-3, 4)])
        there = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
        Oracle.of(reader).search(X, 10, Where(since=there))
        Oracle.of(reader).search(X, 10, Where(until=there))

    def test_sessions_of_the_same_hash_are_told_apart(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V5: the byte of the session in an id decides nothing."""
        twin = next(n for n in map(str, range(10_000)) if session_hash(n) == session_hash("s1"))
        fill(reader, [record(session_id=one) for one in ("s1", twin, "s1", twin, "s10", "s")])
        oracle = Oracle.of(reader)
        for session in ("s1", twin, "s10", "s", "S1"):
            oracle.search(X, 10, Where(session_id=session))
            oracle.search(X, 10, Where(exclude_session_id=session))

    def test_sessions_are_compared_byte_for_byte(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V5, M1: case, blanks, accents and wildcards are part of the name."""
        names = [
            *("a", "A", "a ", " a", "é", "e\u0301", "%", "_", "*", "a%", "a#b", "'", '"', "\n")
        ]
        names += ["x" * 384, "x" * 383, "é" * 192, "#" * 128]
        fill(reader, [record(session_id=one, text=one) for one in names])
        oracle = Oracle.of(reader)
        for name in names:
            oracle.search(X, 20, Where(session_id=name))
            oracle.search(X, 20, Where(exclude_session_id=name))

    def test_a_user_may_have_many_sessions(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V5: more than a byte can number."""
        fill(reader, [record(wide(1.0, n), session_id=f"s{n % 300}") for n in range(600)])
        oracle = Oracle.of(reader)
        for number in (0, 43, 44, 255, 256, 299):
            oracle.search(X, 10, Where(session_id=f"s{number}"))
        oracle.search(X, 10, Where(exclude_session_id="s0"))

    def test_the_range_of_time_reaches_from_the_first_to_the_last_moment(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V5, M3: from 1970 to 9999."""
        first = datetime(1970, 1, 1, tzinfo=UTC)
        last = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
        fill(reader, [record(at=at) for at in (first, first + _TICK, START, last - _TICK, last)])
        oracle = Oracle.of(reader)
        assert len(oracle.records) == 5
        for moment in (first, first + _TICK, START, last - _TICK, last):
            oracle.search(X, 10, Where(since=moment))
            oracle.search(X, 10, Where(until=moment))

    def test_filters_hold_after_records_were_replaced(
        self, index: VectorIndex, record: MakeRecord
    ) -> None:
        """V5, V2: they look at the record that is there."""
        given = [record(X, session_id="s1") for _ in range(20)]
        index.upsert(USER, given)
        index.delete(USER, [one.id for one in given[:10]])
        index.upsert(USER, [record(Y, session_id="s2") for _ in range(10)])
        index.upsert(USER, [VectorRecord(one.id, Y, "s1", "user") for one in given[5:15]])
        oracle = Oracle.of(index)
        for where in (Where(session_id="s1"), Where(session_id="s2"), Where(roles=["user"])):
            oracle.search(X, 30, where)
            oracle.search(Y, 12, where)

    def test_a_search_that_nothing_passes_finds_nothing(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V3, V5: no hits, and no error."""
        fill(reader, [record()])
        for where in (
            Where(session_id="other"),
            Where(exclude_session_id="s1"),
            Where(roles=["tool"]),
            Where(until=START),
            Where(since=START, until=START),
        ):
            assert reader.search(USER, X, where=where).hits == ()

    @pytest.mark.parametrize("name", BAD_WHERES)
    def test_filters_that_say_nothing_sensible_are_refused(
        self, reader: VectorIndex, name: str
    ) -> None:
        """V5, E2: before any I/O."""
        with pytest.raises(InvalidInputError):
            reader.search(USER, X, where=BAD_WHERES[name])

    def test_a_long_list_of_roles_is_answered(
        self, reader: VectorIndex, fill: Fill, record: MakeRecord
    ) -> None:
        """V5: however often a role is named."""
        fill(reader, [record(), record(role="tool")])
        Oracle.of(reader).search(np.ones(DIMENSION), 10, Where(roles=["user"] * 10_000))
