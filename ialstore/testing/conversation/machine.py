"""A state machine: calls in any order, every answer compared with a model after every step."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Final, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ialstore.conversation import ConversationStore
from ialstore.errors import ConflictError, PartialWriteError
from ialstore.model import Message, MessageSummary
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, MakeStore, OpenStore
from ialstore.testing.conversation.helpers import all_users
from ialstore.testing.conversation.model import ConversationModel, ModelQuery, same
from ialstore.testing.pages import all_items, pages
from ialstore.testing.profiles import profile
from ialstore.testing.strategies import (
    MACHINE_START,
    SESSIONS,
    addresses,
    contents,
    moments,
)

__all__ = ["ConversationMachine", "Machine", "run_machine"]

USERS: Final = ("u1", "u10", "a#%'", "\n😀")
"""A prefix pair and hostile characters; each example puts a number of its own before them."""

_numbers = itertools.count()
places = st.integers(0, 7)
drafts = st.tuples(places, contents())
limits = st.integers(1, 4)
some_user = st.sampled_from([*USERS[:1] * 4, *USERS])
some_session = st.sampled_from(SESSIONS)


class ConversationMachine(RuleBasedStateMachine):
    """Compares a store with the model after every step.

    Each example has users of its own in the store that ``make_store`` opens.
    """

    make_store: ClassVar[Callable[..., ConversationStore]]

    @initialize(known=st.lists(addresses(USERS), min_size=4, max_size=8), twice=st.booleans())
    def open(self, known: list[Message], *, twice: bool) -> None:
        """Open the store, and a second handle where there may be one."""
        if twice:  # one id of two users
            known = [*known, replace(known[0], user_id=USERS[1])]
        self.number = next(_numbers)
        self.known = [replace(one, user_id=self.own(one.user_id)) for one in known]
        self.clock = ManualClock(MACHINE_START)
        self.model = ConversationModel(self.clock)
        self.store = self.other = type(self).make_store(clock=self.clock)
        if self.store.capabilities.multi_process:
            self.other = type(self).make_store(clock=self.clock)
        self.walks: list[tuple[ModelQuery, str, str]] = []
        self.bursts = 0

    def own(self, user: str) -> str:
        """Return a user of this example."""
        return f"{self.number}/{user}"

    @property
    def users(self) -> list[str]:
        """All users of this example."""
        return [self.own(user) for user in USERS]

    def message(self, draft: tuple[int, dict[str, Any]]) -> Message:
        """Return a message that is known or not, with fields."""
        place, fields = draft
        return replace(self.known[place % len(self.known)], **fields)

    # -- writing --------------------------------------------------------------------------------

    @rule(some=st.lists(drafts, min_size=1, max_size=6), one_user=st.booleans())
    def append(self, some: list[tuple[int, dict[str, Any]]], *, one_user: bool) -> None:
        """Append a few messages of one user."""
        batch = [self.message(one) for one in some]
        user = batch[0].user_id
        self.append_all([replace(one, user_id=user) for one in batch] if one_user else batch[:1])

    @precondition(lambda self: self.model.messages)
    @rule(place=places, fields=contents())
    def append_again(self, place: int, fields: dict[str, Any]) -> None:
        """Append what is there, with other fields of those that are not compared."""
        there = self.model.messages[place % len(self.model.messages)]
        uncompared = {name: fields[name] for name in ("summary", "tokens", "expires_at")}
        self.append_all([replace(there, **uncompared)])

    def append_all(self, batch: list[Message]) -> None:
        """Append messages and compare the result with what the model says."""
        first: dict[str, Message] = {}
        torn = any(not same(first.setdefault(one.id, one), one) for one in batch)
        there = {one.id: self.model.find(one) for one in batch}
        conflicts = [
            one.id for one in first.values() if (old := there[one.id]) and not same(old, one)
        ]
        if torn or conflicts:
            self.append_in_conflict(batch, [] if torn else conflicts, first)
            return
        result = self.store.append(*batch)
        assert list(result.stored) == [one for one in first if there[one] is None]
        assert list(result.duplicates) == [one for one in first if there[one] is not None]
        for one in result.stored:
            self.model.put(first[one])

    def append_in_conflict(
        self, batch: list[Message], conflicts: list[str], given: dict[str, Message]
    ) -> None:
        """Append what is stored with other content, or given with two (no conflicts are named)."""
        with pytest.raises((ConflictError, PartialWriteError)) as caught:
            self.store.append(*batch)
        for message in given.values():
            self.model.tried(message)
        error: Exception = caught.value
        if not isinstance(error, PartialWriteError):
            assert isinstance(error, ConflictError)
            assert not conflicts or list(error.ids) == conflicts
            return
        assert conflicts, "two contents of one id in one call are a ConflictError"
        assert not self.store.capabilities.atomic_append, "a failed batch stores nothing"
        absent = {one for one in given if self.model.find(given[one]) is None}
        assert sorted(error.conflicting) == sorted(conflicts)
        assert set(error.stored) <= absent
        assert set(error.duplicates) <= given.keys() - absent - set(conflicts)
        told = [*error.stored, *error.duplicates, *conflicts, *error.not_stored, *error.unknown]
        assert sorted(told) == sorted(given), "every id is in exactly one of the tuples"
        assert not error.unknown, "nothing failed: what became of each is known"
        for one in error.stored:
            self.model.put(given[one])

    @precondition(lambda self: self.bursts < 2)
    @rule(
        number=st.sampled_from([24, 25, 26, 99, 100]),
        user=some_user,
        session=some_session,
        step=st.sampled_from([timedelta(microseconds=1), timedelta(hours=7)]),
        load=st.booleans(),
    )
    def burst(self, number: int, user: str, session: str, step: timedelta, *, load: bool) -> None:
        """Write more than a page, a batch or a day holds."""
        self.bursts += 1
        batch = [
            Message.new(
                user_id=self.own(user),
                session_id=session,
                role="tool",
                content=str(place),
                created_at=MACHINE_START + place * step,
                key=f"burst {self.bursts}",
            )
            for place in range(number)
        ]
        if not load:
            self.append_all(batch)
            return
        report = self.store.bulk_load(iter(batch))
        assert (report.written, report.failed) == (number, 0)
        for one in batch:
            self.model.put(one)

    @rule(draft=drafts)
    def replace(self, draft: tuple[int, dict[str, Any]]) -> None:
        """Replace what may be there, of this session or of another with the same hash."""
        message = self.message(draft)
        there = self.model.find(message)
        if there is not None and there.session_id != message.session_id:
            with pytest.raises(ConflictError):
                self.store.replace(message)
            return
        assert self.store.replace(message) is (there is not None)
        if there is not None:
            self.model.put(message)

    @rule(some=st.lists(drafts, max_size=5))
    def bulk_load(self, some: list[tuple[int, dict[str, Any]]]) -> None:
        """Load messages of any users, over what is there."""
        # What moves a message to a session of the same hash is left to `append` and `replace`.
        loaded: list[Message] = []
        for one in map(self.message, some):
            there = [other for other in (*self.model.messages, *loaded) if other.id == one.id]
            if all(other.session_id == one.session_id for other in there):
                loaded.append(one)
        report = self.store.bulk_load(iter(loaded))
        assert (report.written, report.failed) == (len(loaded), 0)
        for one in loaded:
            self.model.put(one)

    # -- removing -------------------------------------------------------------------------------

    @rule(some=st.lists(places, min_size=1, max_size=3), user=st.one_of(st.none(), some_user))
    def delete(self, some: list[int], user: str | None) -> None:
        """Delete messages that are there or not, of their user or of another."""
        unwanted = [self.known[place % len(self.known)] for place in some]
        ids = [one.id for one in unwanted]
        owner = unwanted[0].user_id if user is None else self.own(user)
        assert self.store.delete(owner, ids) == self.model.remove(owner, ids)

    @rule(user=some_user, session=some_session)
    def delete_session(self, user: str, session: str) -> None:
        """Delete a session, which is then not listed."""
        owner = self.own(user)
        count = self.model.remove_session(owner, session)
        assert self.store.delete_session(owner, session) == count
        assert session not in [one.session_id for one in self.store.sessions(owner)]

    @rule(user=some_user)
    def erase(self, user: str) -> None:
        """Erase a user."""
        owner = self.own(user)
        report = self.store.erase(owner)
        count = self.model.remove_session(owner, None)
        assert (report.messages, report.remaining) == (count, 0)
        assert list(self.store.sessions(owner)) == []

    @rule(user=some_user)
    def optimize(self, user: str) -> None:
        """Do maintenance, which changes no answer."""
        self.store.optimize(self.own(user))

    # -- time and place -------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([-1, 1, 2]))
    def change_the_time(self, seconds: int) -> None:
        """Let time pass, or the clock step back."""
        if seconds < 0:  # whether an expired message is still there is up to the store
            for user in self.users:
                if gone := self.model.expired(user):
                    assert self.store.delete(user, gone) == 0, "expired ones don't count"
                    self.model.remove(user, gone)
        self.clock.advance(seconds)

    @precondition(lambda self: self.store.capabilities.durable)
    @rule()
    def reopen(self) -> None:
        """Close the store and open it again."""
        both = self.other is self.store
        self.store.close()
        self.store = type(self).make_store(clock=self.clock)
        if both:
            self.other = self.store

    @rule()
    def take_the_other_handle(self) -> None:
        """Go on with the second handle, which has to see what the first one wrote."""
        self.store, self.other = self.other, self.store

    # -- reading --------------------------------------------------------------------------------

    @rule(
        user=some_user,
        session=st.one_of(st.none(), some_session),
        since=moments,
        until=moments,
        newest_first=st.booleans(),
        data=st.data(),
    )
    def history(
        self,
        user: str,
        session: str | None,
        since: datetime | None,
        until: datetime | None,
        data: st.DataObject,
        *,
        newest_first: bool,
    ) -> None:
        """Walk through a history, page by page."""
        if since is not None and until is not None and since > until:
            since, until = until, since
        query = ModelQuery(self.own(user), session, since, until, newest_first)
        expected = query.answer(self.model)
        limit = data.draw(limits if len(expected) < 20 else st.sampled_from([7, 25, 99, 100]))
        brief = self.store.summaries(query.user_id, **query.arguments(), limit=1000)
        assert list(brief) == [MessageSummary.of(one) for one in expected]
        found: list[Message] = []
        turn = partial(self.store.history, query.user_id, **query.arguments(), limit=limit)
        for page in pages(lambda cursor: turn(cursor=cursor)):
            assert list(page) == expected[len(found) :][:limit]
            found += page
            if page.cursor and page.items:
                self.walks.append((query, page.items[-1].id, page.cursor))
        assert found == expected

    @precondition(lambda self: self.walks)
    @rule(data=st.data(), limit=limits)
    def go_on(self, data: st.DataObject, limit: int) -> None:
        """Use an old cursor, whatever happened since."""
        query, behind, cursor = data.draw(st.sampled_from(self.walks))
        page = self.store.history(query.user_id, **query.arguments(), limit=limit, cursor=cursor)
        assert list(page) == query.answer(self.model, behind)[:limit]

    @rule(user=some_user, limit=limits)
    def sessions(self, user: str, limit: int) -> None:
        """List the sessions of a user, page by page."""
        self.compare_sessions(self.own(user), limit)

    def compare_sessions(self, user: str, limit: int) -> None:
        """Compare all pages of a listing with the model."""
        expected = self.model.sessions(user)
        listing = all_items(lambda cursor: self.store.sessions(user, limit=limit, cursor=cursor))
        found = [(one.session_id, one.last_active) for one in listing]
        assert found == sorted(sorted(found), key=lambda pair: pair[1], reverse=True)
        can = self.store.capabilities
        if can.exact_sessions and not can.activity_precision:
            assert found == expected
            return
        listed = dict(found)
        assert len(listed) == len(found), "a session is listed once"
        for name, newest in expected:
            assert listed[name] >= newest - can.activity_precision
            assert listed[name] <= self.model.ever[user, name]

    @precondition(lambda self: self.store.capabilities.users)
    @rule()
    def list_users(self) -> None:
        """List all users, those of other examples among them."""
        found = set(all_users(self.store))
        assert found >= {one for one in self.users if self.model.live(one)}

    @invariant()
    def every_user_sees_what_the_model_says(self) -> None:
        """Compare everything that each user has."""
        ids = [one.id for one in reversed(self.known)]
        for user in self.users:
            live = {one.id: one for one in self.model.live(user)}
            found = list(self.store.history(user, newest_first=False, limit=1000))
            assert found == list(live.values())
            assert self.store.get(user, ids) == [live[one] for one in ids if one in live]
            assert json.dumps([[one.payload, one.metadata] for one in found]) == json.dumps(
                [[one.payload, one.metadata] for one in live.values()]
            )

    @invariant()
    def pages_and_sessions_of_the_busiest_user_are_right(self) -> None:
        """Compare pages and sessions of the user that most messages belong to."""
        user = self.users[0]
        expected = self.model.live(user)[::-1]
        limit = max(2, len(expected) // 3)
        self.compare_sessions(user, 1000)
        found: list[Message] = []
        for page in pages(lambda cursor: self.store.history(user, limit=limit, cursor=cursor)):
            found += page
        assert found == expected

    def teardown(self) -> None:
        """Close both handles."""
        self.store.close()
        self.other.close()


class DisturbedMachine(ConversationMachine):
    """The same, with something happening beside the store."""

    disturbances: ClassVar[Sequence[Callable[[], object]]] = ()

    @rule(place=places)
    def disturb(self, place: int) -> None:
        """Let one of them happen: no answer may change."""
        self.disturbances[place % len(self.disturbances)]()


def run_machine(
    make_store: MakeStore, disturbances: Sequence[Callable[[], object]] = (), **changed: Any
) -> None:
    """Run the machine on a store.

    Args:
        make_store: opens the store; called again it opens the same one, if it is durable.
        disturbances: what may happen beside the store, without any answer changing.
        changed: ``share`` of the profile's runs, and settings of Hypothesis in place of its own.
    """
    base = DisturbedMachine if disturbances else ConversationMachine
    members = {"make_store": staticmethod(make_store), "disturbances": tuple(disturbances)}
    own = cast("type[RuleBasedStateMachine]", type(base.__name__, (base,), members))
    run_state_machine_as_test(own, settings=profile().machine(**changed))


class Machine(ConversationSuiteBase):
    """Calls in any order against a model of plain lists."""

    MACHINE_SHARE: ClassVar[float] = 1.0
    """Of the profile's runs: less for one of several ways to open a store on a slow server."""

    def test_it_answers_like_a_list_of_messages(
        self, open_store: OpenStore, disturbances: Sequence[Callable[[], object]]
    ) -> None:
        """S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, S12, S13, C2, C6, M6, M7: in any order."""
        with open_store() as store:
            if not store.capabilities.writable:
                pytest.skip("capabilities.writable is false: this test writes")
        run_machine(open_store, disturbances, share=self.MACHINE_SHARE)
