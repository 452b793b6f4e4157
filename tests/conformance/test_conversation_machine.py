"""Conversation stores against a model of plain lists, in random order of calls.

The model is written from the contract and shares no code with the stores: it keeps every message
of every user in one list and answers by looking through it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ialstore import (
    AppendResult,
    ConflictError,
    ConversationStore,
    EraseReport,
    Message,
    MessageSummary,
    SessionInfo,
)
from ialstore.ids import HIGHEST_ID
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore

MakeStore = Callable[..., ConversationStore]

START = datetime(2024, 2, 29, 23, 59, 59, 999_990, tzinfo=UTC)
TICK = timedelta(microseconds=5)
SECOND = timedelta(seconds=1)

USERS = ("u1", "u10", "a#%'", "\n😀")
# "s1" and "261" have the same hash: an id can't tell them apart.
SESSIONS = ("s1", "s10", "#", "é", "261")
TWINS = {"s1": "261", "261": "s1"}
EXPIRES = START.replace(microsecond=0) + SECOND


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def same(one: Message, other: Message) -> bool:
    """Whether two messages are the same by M7."""

    def compared(message: Message) -> tuple[Any, ...]:
        return (
            message.session_id,
            message.content,
            json.dumps(message.payload),
            message.name,
            message.turn_id,
            message.source_id,
            json.dumps(message.metadata, sort_keys=True),
        )

    return compared(one) == compared(other)


class Model:
    """All messages in one list."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.messages: list[Message] = []

    def live(self, user: str) -> list[Message]:
        """Return what of a user has not expired, in the order of ids."""
        found = [
            one
            for one in self.messages
            if one.user_id == user and (one.expires_at is None or self.clock() < one.expires_at)
        ]
        return sorted(found, key=lambda one: one.id)

    def find(self, message: Message) -> Message | None:
        return next((one for one in self.live(message.user_id) if one.id == message.id), None)

    def put(self, message: Message) -> None:
        self.remove(message.user_id, [message.id])
        self.messages.append(message)

    def remove(self, user: str, ids: list[str]) -> int:
        count = sum(one.id in ids for one in self.live(user))
        self.messages = [
            one for one in self.messages if not (one.user_id == user and one.id in ids)
        ]
        return count

    def remove_where(self, user: str, session: str | None) -> int:
        def goes(one: Message) -> bool:
            return one.user_id == user and session in (None, one.session_id)

        count = sum(goes(one) for one in self.live(user))
        self.messages = [one for one in self.messages if not goes(one)]
        return count

    def sessions(self, user: str) -> list[tuple[str, datetime]]:
        newest: dict[str, datetime] = {}
        for one in self.live(user):
            newest[one.session_id] = one.created_at
        by_id = sorted(newest.items())
        return sorted(by_id, key=lambda pair: pair[1], reverse=True)


@dataclass(frozen=True)
class Query:
    """A history that a test walks through, and where it stands."""

    user: str
    session: str | None
    since: datetime | None
    until: datetime | None
    newest_first: bool

    def arguments(self) -> dict[str, Any]:
        return {
            "session_id": self.session,
            "since": self.since,
            "until": self.until,
            "newest_first": self.newest_first,
        }

    def answer(self, model: Model, behind: str | None) -> list[Message]:
        found = [
            one
            for one in model.live(self.user)
            if (self.session is None or one.session_id == self.session)
            and (self.since is None or one.created_at >= self.since)
            and (self.until is None or one.created_at < self.until)
        ]
        if self.newest_first:
            return [one for one in reversed(found) if behind is None or one.id < behind]
        return [one for one in found if behind is None or one.id > behind]


users = st.sampled_from([*USERS[:1] * 4, *USERS])
sessions = st.sampled_from(SESSIONS)
limits = st.integers(1, 4)
places = st.integers(0, 7)
times = st.one_of(st.none(), st.integers(-1, 3).map(lambda ticks: START + ticks * TICK))


@st.composite
def addresses(draw: st.DrawFn) -> Message:
    """Return a message for its id; one example has a few of them, to meet each often."""
    session = draw(sessions)
    message = Message.new(
        user_id=draw(users),
        session_id=session,
        role=draw(st.sampled_from(["user", "assistant"])),
        content="",
        created_at=START + draw(st.integers(0, 2)) * TICK,
        key=draw(st.sampled_from(["1", "2"])),
    )
    if session in TWINS and draw(st.booleans()):
        return replace(message, session_id=TWINS[session])
    return message


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Return the fields that are not in an id; few of each, so that they are often equal."""
    return {
        "content": draw(st.sampled_from(["", "a", "a"])),
        "payload": draw(st.sampled_from([None, None, {"a": 1}, {"a": 1.0}])),
        "metadata": draw(st.sampled_from([{}, {}, {"b": 1, "a": [2]}])),
        "summary": draw(st.sampled_from([None, "short"])),
        "tokens": draw(st.sampled_from([None, 1])),
        "expires_at": draw(
            st.sampled_from([None, None, *(EXPIRES + place * SECOND for place in range(3))])
        ),
    }


drafts = st.tuples(places, contents())


class ConversationMachine(RuleBasedStateMachine):
    """Compares a store with the model after every step."""

    new_place: Callable[[], MakeStore]

    @initialize(known=st.lists(addresses(), min_size=4, max_size=8), twice=st.booleans())
    def open(self, known: list[Message], *, twice: bool) -> None:
        if twice:  # one id of two users
            known = [*known, replace(known[0], user_id="u10")]
        self.known = known
        self.clock = Clock()
        self.model = Model(self.clock)
        self.make_store = self.new_place()
        self.store = self.make_store(clock=self.clock)
        self.walks: list[tuple[Query, str, str]] = []

    def message(self, draft: tuple[int, dict[str, Any]]) -> Message:
        place, fields = draft
        return replace(self.known[place % len(self.known)], **fields)

    @rule(some=st.lists(drafts, min_size=1, max_size=6), one_user=st.booleans())
    def append(self, some: list[tuple[int, dict[str, Any]]], *, one_user: bool) -> None:
        batch = [self.message(one) for one in some]
        user = batch[0].user_id
        self.append_all([replace(one, user_id=user) for one in batch] if one_user else batch[:1])

    @precondition(lambda self: self.model.messages)
    @rule(place=places, fields=contents())
    def append_again(self, place: int, fields: dict[str, Any]) -> None:
        there = self.model.messages[place % len(self.model.messages)]
        uncompared = {name: fields[name] for name in ("summary", "tokens", "expires_at")}
        self.append_all([replace(there, **uncompared)])

    def append_all(self, batch: list[Message]) -> None:
        first: dict[str, Message] = {}
        torn = any(not same(first.setdefault(one.id, one), one) for one in batch)
        there = {one.id: self.model.find(one) for one in batch}
        conflicts = [
            one.id for one in first.values() if (old := there[one.id]) and not same(old, one)
        ]
        if torn or conflicts:
            with pytest.raises(ConflictError) as caught:
                self.store.append(*batch)
            if not torn:
                assert list(caught.value.ids) == conflicts
            return
        result = self.store.append(*batch)
        assert list(result.stored) == [one for one in first if there[one] is None]
        assert list(result.duplicates) == [one for one in first if there[one] is not None]
        for one in result.stored:
            self.model.put(first[one])

    @rule(draft=drafts)
    def replace(self, draft: tuple[int, dict[str, Any]]) -> None:
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

    @rule(some=st.lists(places, min_size=1, max_size=3), user=st.one_of(st.none(), users))
    def delete(self, some: list[int], user: str | None) -> None:
        unwanted = [self.known[place % len(self.known)] for place in some]
        ids = [one.id for one in unwanted]
        user = user or unwanted[0].user_id
        assert self.store.delete(user, ids) == self.model.remove(user, ids)

    @rule(user=users, session=sessions)
    def delete_session(self, user: str, session: str) -> None:
        count = self.model.remove_where(user, session)
        assert self.store.delete_session(user, session) == count
        assert session not in [one.session_id for one in self.store.sessions(user)]

    @rule(user=users)
    def erase(self, user: str) -> None:
        report = self.store.erase(user)
        assert (report.messages, report.remaining) == (self.model.remove_where(user, None), 0)

    @rule(user=users)
    def optimize(self, user: str) -> None:
        self.store.optimize(user)

    @rule(seconds=st.integers(1, 2))
    def pass_time(self, seconds: int) -> None:
        self.clock.now += seconds * SECOND

    @precondition(lambda self: self.store.capabilities.durable)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.make_store(clock=self.clock)

    @rule(
        user=users,
        session=st.one_of(st.none(), sessions),
        since=times,
        until=times,
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
        if since is not None and until is not None and since > until:
            since, until = until, since
        query = Query(user, session, since, until, newest_first)
        expected = query.answer(self.model, None)
        found: list[Message] = []
        cursor: str | None = None
        while True:
            limit = data.draw(limits)
            page = self.store.history(user, **query.arguments(), limit=limit, cursor=cursor)
            brief = self.store.summaries(user, **query.arguments(), limit=1000)
            assert list(page) == expected[len(found) :][:limit]
            assert list(brief) == [MessageSummary.of(one) for one in expected]
            found += page
            cursor = page.cursor
            if cursor is None:
                break
            if page.items:
                self.walks.append((query, page.items[-1].id, cursor))
        assert found == expected

    @precondition(lambda self: self.walks)
    @rule(data=st.data(), limit=limits)
    def go_on(self, data: st.DataObject, limit: int) -> None:
        """Use an old cursor, whatever happened since."""
        query, behind, cursor = data.draw(st.sampled_from(self.walks))
        page = self.store.history(query.user, **query.arguments(), limit=limit, cursor=cursor)
        assert list(page) == query.answer(self.model, behind)[:limit]

    @rule(user=users, limit=limits)
    def sessions(self, user: str, limit: int) -> None:
        self.compare_sessions(user, limit)

    def compare_sessions(self, user: str, limit: int) -> None:
        expected = self.model.sessions(user)
        found: list[tuple[str, datetime]] = []
        cursor: str | None = None
        while True:
            page = self.store.sessions(user, limit=limit, cursor=cursor)
            found += [(one.session_id, one.last_active) for one in page]
            cursor = page.cursor
            if cursor is None:
                break
        can = self.store.capabilities
        if can.exact_sessions and not can.activity_precision:
            assert found == expected
        names = [name for name, _ in found]
        assert len(names) == len(set(names))
        for name, active in expected:
            assert abs(dict(found)[name] - active) <= can.activity_precision

    @precondition(lambda self: self.store.capabilities.users)
    @rule()
    def users(self) -> None:
        assert set(self.store.users()) >= {one for one in USERS if self.model.live(one)}

    @invariant()
    def every_user_sees_what_the_model_says(self) -> None:
        ids = [one.id for one in reversed(self.known)]
        for user in USERS:
            live = {one.id: one for one in self.model.live(user)}
            found = list(self.store.history(user, newest_first=False, limit=1000))
            assert found == self.model.live(user)
            assert self.store.get(user, ids) == [live[one] for one in ids if one in live]
            assert json.dumps([[one.payload, one.metadata] for one in found]) == json.dumps(
                [[one.payload, one.metadata] for one in self.model.live(user)]
            )

    @invariant()
    def pages_and_sessions_of_the_busiest_user_are_right(self) -> None:
        self.compare_sessions(USERS[0], 1000)
        found: list[Message] = []
        page = self.store.history(USERS[0], limit=2)
        while page.cursor is not None:
            found += page
            page = self.store.history(USERS[0], limit=2, cursor=page.cursor)
        assert [*found, *page] == self.model.live(USERS[0])[::-1]

    def teardown(self) -> None:
        self.store.close()


def run(new_place: Callable[[], MakeStore], **changed: Any) -> None:
    class Machine(ConversationMachine):
        def __init__(self) -> None:
            self.new_place = new_place
            super().__init__()

    given: dict[str, Any] = {
        "stateful_step_count": 30,
        "deadline": None,
        "phases": [phase for phase in Phase if phase is not Phase.explain],  # it takes minutes
        "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    }
    run_state_machine_as_test(Machine, settings=settings(**(given | changed)))


def test_a_store_answers_like_a_list_of_messages(new_place: Callable[[], MakeStore]) -> None:
    """S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, S12, C2, C6, M6, M7: in any order of calls."""

    run(new_place, max_examples=30)


class LateExpiry(MemoryConversationStore):
    """Shows a message in the very second it expires."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        op._now = op.now - 1  # noqa: SLF001 - the planted fault
        return super()._get(op, user_id, ids)


class Overwriting(MemoryConversationStore):
    """Writes a duplicate again."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        self._load(op, entries)
        return result


class Dropping(MemoryConversationStore):
    """Loses the first message of each page but the first."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        cut = query.newest_first and query.upper != HIGHEST_ID and query.limit > 1
        return Rows(rows.items[1:], rows.more) if cut else rows


class Forgetful(MemoryConversationStore):
    """Keeps the old message of another session beside the new one of the same id."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        self._delete(op, entry.message.user_id, [entry.message.id])
        return bool(self._append(op, entry.message.user_id, [entry]).stored)


class Prefixing(MemoryConversationStore):
    """Takes the beginning of a user's id for the user."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        for one in list(self._by_user):
            if one.startswith(user_id) and one != user_id:
                super()._erase(op, one)
        return super()._erase(op, user_id)


class Miscounting(MemoryConversationStore):
    """Counts every id it was given."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return super()._delete(op, user_id, ids) and len(ids)


class Unsorted(MemoryConversationStore):
    """Lists sessions that were active at the same time in the wrong order."""

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = super()._sessions(op, user_id, 1000, None)
        items = sorted(rows.items, key=lambda one: (one.last_active, one.session_id))[::-1]
        if after is not None:
            items = items[items.index(after) + 1 :] if after in items else []
        return Rows(items[:limit], len(items) > limit)


class Numeric(MemoryConversationStore):
    """Makes 1 of 1.0, as native maps of a backend do."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(
            op,
            [
                replace(one, payload_text=one.payload_text and one.payload_text.replace("1.0", "1"))
                for one in entries
            ],
        )


@pytest.mark.parametrize(
    "kind",
    [
        LateExpiry,
        Overwriting,
        Dropping,
        Forgetful,
        Prefixing,
        Miscounting,
        Unsorted,
        Numeric,
    ],
)
def test_the_machine_finds_a_planted_fault(kind: type[MemoryConversationStore]) -> None:
    """A checker that can't fail proves nothing."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it finds
        run(
            lambda: kind,
            max_examples=300,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            verbosity=Verbosity.quiet,
        )
    assert not isinstance(caught.value, KeyboardInterrupt)


def test_the_twins_have_one_hash() -> None:
    """M3: what the machine relies on."""
    for one, other in TWINS.items():
        made = [
            Message.new(user_id="u", session_id=session, role="user", content="", created_at=START)
            for session in (one, other)
        ]
        assert replace(made[0], session_id=other).content_hash
        assert made[0].id[:21] == made[1].id[:21]
