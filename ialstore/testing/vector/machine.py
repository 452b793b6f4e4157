"""A state machine: an index against a model of plain dicts, in random order of calls.

Each example uses users of its own, so that all examples share one place and one spec. Where several
processes may use an index, two handles to it take turns, so that each has to notice what the other
wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, cycle
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ialstore.capabilities import VectorCapabilities
from ialstore.model import Consistency
from ialstore.testing.clock import ManualClock
from ialstore.testing.profiles import profile
from ialstore.testing.vector.base import (
    MakeIndex,
    OpenIndex,
    Settle,
    VectorSuiteBase,
    close_all,
    opener,
    spec_of,
)
from ialstore.testing.vector.model import Model
from ialstore.testing.vector.oracle import (
    Oracle,
    all_ids,
    all_records,
    all_users,
    assert_in_order,
)
from ialstore.testing.vector.strategies import (
    BEGIN,
    PROBES,
    SESSIONS,
    USERS,
    Burst,
    Name,
    bursts,
    filters,
    names,
    records,
    users,
    vectors,
)
from ialstore.vector import VectorIndex
from ialstore.vector_model import VectorRecord, Where

__all__ = ["MachineChapter", "VectorMachine"]

_STEPS = [timedelta(seconds=seconds) for seconds in (1, 2, -1)] + [
    timedelta(microseconds=us) for us in (10, 1, -1)
]


@dataclass
class Place:
    """Where all examples of a machine happen."""

    open_index: OpenIndex
    settle: Settle | None
    opened: list[VectorIndex]
    """What an example closes at its end, however it ends: another one may be locked out."""
    examples: Iterator[int] = field(default_factory=lambda: count(1))
    """Numbers them."""


class VectorMachine(RuleBasedStateMachine):
    """Compares an index with the model after every step; subclass it to say which."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(BEGIN)
        self.model = Model(self.clock)
        self.prefix = f"{next(self.place.examples)}/"
        self.everyone = [self.prefix + user for user in USERS]
        self.touched = self.everyone[:1]
        self.probes = cycle(PROBES)
        self.asked: dict[str, tuple[int, Where]] = {}
        self.cursors: list[tuple[str, str, str]] = []
        try:
            self.index = self.other = self.open()
            if self.index.capabilities.multi_process:
                self.other = self.open()
        except BaseException:
            close_all(self.place.opened)
            raise

    def open(self) -> VectorIndex:
        return self.place.open_index(clock=self.clock, settled=False)

    # -- writes ---------------------------------------------------------------------------------

    @rule(user=users, batch=st.lists(records(), min_size=1, max_size=4))
    def upsert(self, user: str, batch: list[VectorRecord]) -> None:
        self.store(user, batch)

    @rule(user=users, burst=bursts)
    def upsert_many(self, user: str, burst: Burst) -> None:
        self.store(user, burst.records())

    def store(self, user: str, batch: Sequence[VectorRecord]) -> None:
        user = self.prefix + user
        self.index.upsert(user, batch)
        self.model.put(user, batch)
        self.wrote(user)

    @rule(batch=st.lists(st.tuples(users, records()), max_size=5))
    def bulk_load(self, batch: list[tuple[str, VectorRecord]]) -> None:
        self.load([(self.prefix + user, one) for user, one in batch])

    @rule(user=users, burst=bursts)
    def bulk_load_many(self, user: str, burst: Burst) -> None:
        self.load([(self.prefix + user, one) for one in burst.records()])

    def load(self, batch: Sequence[tuple[str, VectorRecord]]) -> None:
        report = self.index.bulk_load(iter(batch))
        assert (report.written, report.failed) == (len(batch), 0), "S12: bulk_load counts"
        for user, one in batch:
            self.model.put(user, [one])
        self.wrote(*{user for user, _ in batch})

    @rule(user=users, unwanted=st.lists(names, min_size=1, max_size=3))
    def delete(self, user: str, unwanted: list[Name]) -> None:
        self.take(user, [one.id for one in unwanted])

    @rule(user=users, data=st.data())
    def delete_what_is_there(self, user: str, data: st.DataObject) -> None:
        if live := list(self.model.live(self.prefix + user)):
            self.take(user, data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=2)))

    @rule(user=users, every=st.integers(2, 3))
    def delete_many(self, user: str, every: int) -> None:
        self.take(user, list(self.model.live(self.prefix + user))[::every])

    def take(self, user: str, ids: Sequence[str]) -> None:
        user = self.prefix + user
        wanted = self.model.remove(user, ids)
        assert self.index.delete(user, ids) == wanted, "V7, S10: delete counts what was there"
        self.wrote(user)

    @rule(user=users, session=st.sampled_from(SESSIONS))
    def delete_session(self, user: str, session: str) -> None:
        user = self.prefix + user
        wanted = self.model.remove(user, self.model.session(user, session))
        found = self.index.delete_session(user, session)
        assert found == wanted, "V7, S10: delete_session counts what was there"
        self.wrote(user)

    @rule(user=users)
    def erase(self, user: str) -> None:
        user = self.prefix + user
        wanted = self.model.remove(user, list(self.model.users.get(user, {})))
        report = self.index.erase(user)
        assert (report.vectors, report.remaining) == (wanted, 0), "V7, S11: erase counts"
        self.wrote(user)

    @rule(user=users)
    def optimize(self, user: str) -> None:
        self.index.optimize(self.prefix + user)
        self.wrote(self.prefix + user)

    def wrote(self, *changed: str) -> None:
        """Look at once, where reads may be late; then wait until they aren't."""
        self.touched = list(changed) or self.touched
        for user in changed:
            self.glance(user)
        if self.place.settle is not None and not self.index.capabilities.strong_reads:
            self.place.settle(self.index)
            self.place.settle(self.other)

    def glance(self, user: str) -> None:
        """C1: an eventual read may be late, but shows only what was this user's, and is live."""
        given = self.model.given.get(user, {})
        hits = self.other.search(
            user, [1.0] * self.index.spec.dimension, 20, consistency=Consistency.EVENTUAL
        ).hits
        assert_in_order(hits, 20)
        for hit in hits:
            beside = (hit.session_id, hit.role, hit.text)
            assert any(
                beside == (one.session_id, one.role, one.text) and self.model.is_live(one)
                for one in given.get(hit.id, ())
            ), f"C1, C2: eventual search returned {hit}, which {user!r} never had, or is expired"
        listed = self.other.ids(user, limit=20, consistency=Consistency.EVENTUAL)
        assert set(listed) <= given.keys(), f"C1, C6: {user!r} never had what eventual ids list"

    # -- time and handles -----------------------------------------------------------------------

    @rule(step=st.sampled_from(_STEPS))
    def change_the_time(self, step: timedelta) -> None:
        """Back, too: what has expired may be gone for good, so it is removed before."""
        if step < timedelta(0):
            for user in self.everyone:
                gone = list(self.model.expired(user))
                assert self.index.delete(user, gone) == 0, "C2: delete counts what is expired"
                self.model.remove(user, gone)
                self.wrote(user)
        self.clock.now += step

    @rule()
    def take_the_other_handle(self) -> None:
        self.index, self.other = self.other, self.index

    @precondition(lambda self: self.index.capabilities.durable)
    @rule()
    def reopen(self) -> None:
        was_alone = self.other is self.index
        self.index.close()
        self.index = self.open()
        if was_alone:
            self.other = self.index

    # -- reads ----------------------------------------------------------------------------------

    @rule(user=users, query=vectors, k=st.sampled_from([1, 2, 3, 5, 8, 30, 100]), where=filters())
    def search(self, user: str, query: Any, k: int, where: Where) -> None:
        self.oracle(self.prefix + user).search(query, k, where)

    @precondition(lambda self: self.index.capabilities.strong_reads)
    @rule(user=users, query=vectors)
    def search_strongly(self, user: str, query: Any) -> None:
        self.oracle(self.prefix + user).search(query, 10, consistency=Consistency.STRONG)

    def oracle(self, user: str) -> Oracle:
        """Return what the index says it holds, once it is what the model holds."""
        live = self.model.live(user)
        oracle = Oracle.knowing(self.index, user, all_records(self.index, list(live), user))
        oracle.assert_holds(live)
        return oracle

    @rule(user=users, unknown=st.lists(names, max_size=5))
    def get(self, user: str, unknown: list[Name]) -> None:
        user = self.prefix + user
        live = self.model.live(user)
        asked = [one.id for one in unknown] + list(live)[:3]
        found = [one.id for one in self.index.get(user, asked)]
        assert found == [one for one in asked if one in live], "V7, S5: get, in the order asked"

    @rule(user=users, limit=st.sampled_from([1, 2, 3, 25, 100]))
    def list_a_page(self, user: str, limit: int) -> None:
        self.turn_a_page(self.prefix + user, None, "", limit)

    @precondition(lambda self: self.cursors)
    @rule(which=st.integers(0, 7), limit=st.sampled_from([1, 2, 3, 25, 100]))
    def list_the_next_page(self, which: int, limit: int) -> None:
        """With a cursor from any time before, of any handle and limit."""
        self.turn_a_page(*self.cursors[which % len(self.cursors)], limit)

    def turn_a_page(self, user: str, cursor: str | None, after: str, limit: int) -> None:
        page = self.index.ids(user, limit=limit, cursor=cursor)
        behind = [one for one in self.model.live(user) if one > after]
        assert list(page) == behind[:limit], "V7, S6: a page of ids, behind its cursor"
        if page.cursor is None:
            assert len(behind) <= limit, "V7, S6: the listing ends before its end"
        else:
            self.cursors.append((user, page.cursor, page[-1] if len(page) else after))

    @precondition(lambda self: self.index.capabilities.users)
    @rule()
    def users(self) -> None:
        listed = {one for one in all_users(self.index) if one.startswith(self.prefix)}
        live = {user for user in self.everyone if self.model.live(user)}
        assert listed >= live, "V7, S14: a user with vectors is not listed"
        held = {user for user in self.everyone if self.model.users.get(user)}
        assert listed <= held, "V7, S14: a user who has nothing is listed"

    @invariant()
    def every_user_has_what_the_model_says(self) -> None:
        """In full for those whom the last call touched; ids and counts for all.

        What was asked last is asked again: an answer must not outlive a write.
        """
        for user in self.everyone:
            live = self.model.live(user)
            found = self.index.count(user)
            assert found == len(live), f"V7, C2, C6: count of {user!r} is {found}, not {len(live)}"
            assert all_ids(self.index, user) == list(live), f"V7, C2, C6: ids of {user!r}"
            if user in self.touched:
                oracle = self.oracle(user)
                probe = next(self.probes)
                for k, where in (self.asked.get(user, probe), probe):
                    oracle.search([1.0] * self.index.spec.dimension, k, where)
                self.asked[user] = probe
        self.touched = []

    def teardown(self) -> None:
        """Look at everything once more, from both sides; unless a step has failed."""
        try:
            for index in (self.index, self.other) if sys.exc_info()[0] is None else ():
                self.index = index
                self.touched = self.everyone
                self.every_user_has_what_the_model_says()
        finally:
            close_all(self.place.opened)


class MachineChapter(VectorSuiteBase):
    """Everything together."""

    MACHINE_SHARE: ClassVar[float] = 1.0
    """Of the profile's runs: less for one of several ways to open an index on a slow server."""

    def test_an_index_answers_like_a_dict_of_records(
        self,
        make_index: MakeIndex,
        settle: Settle | None,
        metric: str,
        capabilities: VectorCapabilities,
        clock: ManualClock,
    ) -> None:
        """V2, V3, V4, V5, V7, S3, S8, S10, S11, S12, S13, S14, C1, C2, C6: in any order."""
        if not capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")

        opened: list[VectorIndex] = []

        class Machine(VectorMachine):
            place = Place(
                opener(make_index, settle, spec_of(metric), clock, opened), settle, opened
            )

        run_state_machine_as_test(Machine, settings=profile().machine(self.MACHINE_SHARE))
