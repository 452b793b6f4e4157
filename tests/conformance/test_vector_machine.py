"""Vector indexes against a model of plain dicts, in random order of calls.

The model is written from the contract and shares no code with the indexes. Where several processes
may use an index, two handles to it take turns, so that each has to notice what the other wrote.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ialstore import IndexSpec, VectorIndex, VectorRecord, Where, message_id
from ialstore.ids import id_time

MakeIndex = Callable[..., VectorIndex]

START = datetime(2024, 2, 29, 23, 59, 59, 999_990, tzinfo=UTC)
TICK = timedelta(microseconds=5)
SECOND = timedelta(seconds=1)
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)

USERS = ("u1", "u10", "a#%'")
SESSIONS = ("s1", "s10", "é")
ROLES = ("user", "assistant")
NUMBERS = (-3.0, -1.0, 0.0, 0.5, 1.0, 7.0)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Model:
    """Records by user and id."""

    clock: Clock
    users: dict[str, dict[str, VectorRecord]]

    def live(self, user: str) -> dict[str, VectorRecord]:
        """Return what of a user has not expired, in the order of ids."""
        records = self.users.get(user, {})
        return {
            one: records[one]
            for one in sorted(records)
            if (end := records[one].expires_at) is None or self.clock() < end
        }

    def put(self, user: str, record: VectorRecord) -> None:
        self.users.setdefault(user, {})[record.id] = record

    def remove(self, user: str, ids: set[str]) -> int:
        count = len(ids & self.live(user).keys())
        for one in ids:
            self.users.get(user, {}).pop(one, None)
        return count

    def nearest(self, metric: str, user: str, query: list[float], where: Where) -> dict[str, float]:
        """Return the scores of what passes the filters, by id."""
        return {
            one.id: score(metric, query, list(one.vector))
            for one in self.live(user).values()
            if where.session_id in (None, one.session_id)
            and where.exclude_session_id != one.session_id
            and (where.roles is None or one.role in where.roles)
            and (where.since is None or id_time(one.id) >= where.since)
            and (where.until is None or id_time(one.id) < where.until)
        }


def score(metric: str, query: list[float], vector: list[float]) -> float:
    if metric == "euclidean":
        return -math.dist(query, vector)
    product = math.fsum(a * b for a, b in zip(query, vector, strict=True))
    return product if metric == "dot" else product / (math.hypot(*query) * math.hypot(*vector))


users = st.sampled_from(USERS)
sessions = st.sampled_from(SESSIONS)
vectors = st.lists(st.sampled_from(NUMBERS), min_size=3, max_size=3).filter(any)
moments = st.one_of(st.none(), st.integers(-1, 4).map(lambda ticks: START + ticks * TICK))


@st.composite
def ids(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return one of few ids, with its session and role."""
    session, role = draw(sessions), draw(st.sampled_from(ROLES))
    at = START + draw(st.integers(0, 3)) * TICK
    return message_id("u", session, at, role, draw(st.sampled_from("12"))), session, role


@st.composite
def records(draw: st.DrawFn) -> VectorRecord:
    one, session, role = draw(ids())
    return VectorRecord(
        one,
        draw(vectors),
        session,
        role,
        draw(st.sampled_from([None, "", "text", "\0é"])),
        draw(st.one_of(st.none(), st.integers(0, 3).map(lambda n: MIDNIGHT + n * SECOND))),
    )


@st.composite
def filters(draw: st.DrawFn) -> Where:
    session = draw(st.one_of(st.none(), sessions))
    other = None if session else draw(st.one_of(st.none(), sessions))
    since, until = draw(moments), draw(moments)
    if since is not None and until is not None and since > until:
        since, until = until, since
    roles = draw(st.one_of(st.none(), st.lists(st.sampled_from(ROLES), min_size=1)))
    return Where(session, other, roles, since, until)


class VectorMachine(RuleBasedStateMachine):
    """Compares an index with the model after every step."""

    new_place: Callable[[], MakeIndex]

    @initialize(metric=st.sampled_from(["cosine", "dot", "euclidean"]))
    def open(self, metric: str) -> None:
        self.clock = Clock()
        self.model = Model(self.clock, {})
        self.metric = metric
        self.make_index = self.new_place()
        self.index = self.make_index(IndexSpec(3, metric), clock=self.clock)
        self.other = self.index
        if self.index.capabilities.multi_process:
            self.other = self.make_index(IndexSpec(3, metric), clock=self.clock)

    @rule()
    def take_the_other_handle(self) -> None:
        self.index, self.other = self.other, self.index

    @rule(user=users, batch=st.lists(records(), min_size=1, max_size=4))
    def upsert(self, user: str, batch: list[VectorRecord]) -> None:
        self.index.upsert(user, batch)
        for one in batch:
            self.model.put(user, one)

    @rule(batch=st.lists(st.tuples(users, records()), max_size=5))
    def bulk_load(self, batch: list[tuple[str, VectorRecord]]) -> None:
        report = self.index.bulk_load(iter(batch))
        assert (report.written, report.failed) == (len(batch), 0)
        for user, one in batch:
            self.model.put(user, one)

    @rule(user=users, unwanted=st.lists(ids(), min_size=1, max_size=3))
    def delete(self, user: str, unwanted: list[tuple[str, str, str]]) -> None:
        given = [one for one, _, _ in unwanted]
        assert self.index.delete(user, given) == self.model.remove(user, set(given))

    @rule(user=users, data=st.data())
    def delete_what_is_there(self, user: str, data: st.DataObject) -> None:
        if live := list(self.model.live(user)):
            given = data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=2))
            assert self.index.delete(user, given) == self.model.remove(user, set(given))

    @rule(user=users, session=sessions)
    def delete_session(self, user: str, session: str) -> None:
        own = self.model.users.get(user, {}).values()
        count = self.model.remove(user, {one.id for one in own if one.session_id == session})
        assert self.index.delete_session(user, session) == count

    @rule(user=users)
    def erase(self, user: str) -> None:
        report = self.index.erase(user)
        count = self.model.remove(user, set(self.model.users.get(user, {})))
        assert (report.vectors, report.remaining) == (count, 0)

    @rule(user=users)
    def optimize(self, user: str) -> None:
        self.index.optimize(user)

    @rule(seconds=st.sampled_from([-1, 1, 2]))
    def change_the_time(self, seconds: int) -> None:
        """Back, too: what is only expired, and not removed, lives again."""
        if seconds < 0:  # what optimize removed is gone for good
            for user in USERS:
                gone = set(self.model.users.get(user, {})) - self.model.live(user).keys()
                self.index.delete(user, list(gone))
                self.model.remove(user, gone)
        self.clock.now += seconds * SECOND

    @precondition(lambda self: self.index.capabilities.durable)
    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = self.make_index(IndexSpec(3, self.metric), clock=self.clock)

    @rule(user=users, query=vectors, k=st.integers(1, 8), where=filters())
    def search(self, user: str, query: list[float], k: int, where: Where) -> None:
        true = self.model.nearest(self.metric, user, query, where)
        records = self.model.live(user)

        result = self.index.search(user, query, k, where=where)

        found = [(hit.id, hit.score) for hit in result]
        assert [one for one, _ in sorted(found, key=lambda pair: (-pair[1], pair[0]))] == [
            one for one, _ in found
        ]
        assert dict(found) == pytest.approx({one: true[one] for one, _ in found}, abs=1e-6)
        for hit in result:
            one = records[hit.id]
            assert (hit.session_id, hit.role, hit.text) == (one.session_id, one.role, one.text)
        if self.index.capabilities.exact:
            best = sorted(true.values(), reverse=True)[:k]
            assert [score for _, score in found] == pytest.approx(best, abs=1e-6)

    @precondition(lambda self: self.index.capabilities.users)
    @rule()
    def users(self) -> None:
        listed = set(self.index.users())
        assert listed >= {user for user in USERS if self.model.live(user)}
        assert listed <= {user for user in USERS if self.model.users.get(user)}

    @invariant()
    def every_user_has_what_the_model_says(self) -> None:
        for user in USERS:
            live = self.model.live(user)
            assert self.index.count(user) == len(live)
            assert list(self.index.ids(user)) == list(live)
            found = self.index.get(user, list(live))
            assert [facts(one) for one in found] == [facts(one) for one in live.values()]

    @invariant()
    def every_vector_is_found(self) -> None:
        for user in USERS:
            live = self.model.live(user)
            hits = self.index.search(user, [1.0, 0.5, -7.0], 100).hits
            if self.index.capabilities.exact:
                assert sorted(hit.id for hit in hits) == list(live)
            assert {(hit.id, hit.text) for hit in hits} <= {
                (one.id, one.text) for one in live.values()
            }

    def teardown(self) -> None:
        self.index.close()
        self.other.close()


def facts(record: VectorRecord) -> tuple[Any, ...]:
    return (
        record.id,
        list(record.vector),
        record.session_id,
        record.role,
        record.text,
        record.expires_at,
    )


def test_an_index_answers_like_a_dict_of_records(new_index_place: Callable[[], MakeIndex]) -> None:
    """V2, V3, V4, V5, V7, C2, C6: in any order of calls."""

    class Machine(VectorMachine):
        def __init__(self) -> None:
            self.new_place = new_index_place
            super().__init__()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
