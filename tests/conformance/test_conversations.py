"""The contract of conversation stores: what is written is read, counted and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore import (
    AppendResult,
    ConflictError,
    Consistency,
    ConversationStore,
    EraseReport,
    InvalidInputError,
    LimitExceededError,
    LoadReport,
    Message,
    MessageSummary,
    Page,
    SessionInfo,
    UnsupportedOperationError,
)
from ialstore.ids import session_hash

Say = Callable[..., Message]


def everything(store: ConversationStore, user: str = "u1", **filters: Any) -> list[Message]:
    """Return all messages of a user, the oldest first."""
    found: list[Message] = []
    cursor: str | None = None
    while True:
        page = store.history(user, newest_first=False, cursor=cursor, **filters)
        found += page
        cursor = page.cursor
        if cursor is None:
            return found


def listed(store: ConversationStore, user: str = "u1") -> list[str]:
    return [one.session_id for one in store.sessions(user, limit=1000)]


def twin_of(session_id: str) -> str:
    """Return another session with the same hash, which an id can't tell apart."""
    return next(
        other
        for other in map(str, range(100_000))
        if session_hash(other) == session_hash(session_id)
    )


# -- append ---------------------------------------------------------------------------------------


def test_what_is_appended_is_read(store: ConversationStore, say: Say) -> None:
    """S1, S5, S6: appended messages come back whole."""
    messages = [
        say("hello", name="Ann", summary="greets", tokens=1, metadata={"mood": "good"}),
        say("", role="assistant", payload={"calls": [{"id": 1}]}, turn_id="t1", source_id="x"),
    ]

    result = store.append(*messages)

    assert result == AppendResult(stored=tuple(one.id for one in messages), duplicates=())
    assert store.get("u1", [one.id for one in messages]) == messages
    assert everything(store) == messages


def test_appending_nothing_stores_nothing(store: ConversationStore) -> None:
    """S1: 0 to 100 messages."""
    assert store.append() == AppendResult()


def test_appending_the_same_message_twice_stores_it_once(
    store: ConversationStore, say: Say
) -> None:
    """S1: idempotent."""
    first, second, third = say("a"), say("b"), say("c")
    store.append(second)

    result = store.append(third, second, first)

    assert result == AppendResult(stored=(third.id, first.id), duplicates=(second.id,))
    assert store.append(first, second) == AppendResult((), (first.id, second.id))
    assert everything(store) == [first, second, third]


def test_a_duplicate_keeps_its_first_summary_tokens_and_expiry(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S1, M7: a duplicate is not written again."""
    first = say(summary="first", tokens=1, expires_at=clock() + timedelta(hours=1))
    later = replace(first, summary=None, tokens=2, expires_at=None)
    store.append(first)

    assert store.append(later).duplicates == (first.id,)
    assert store.get("u1", [first.id]) == [first]


@pytest.mark.parametrize(
    "changed",
    [
        {"content": "other"},
        {"content": "hello "},
        {"payload": {}},
        {"name": ""},
        {"turn_id": "t"},
        {"source_id": "x"},
        {"metadata": {"a": 1}},
    ],
)
def test_the_same_id_with_other_content_is_a_conflict(
    store: ConversationStore, say: Say, changed: dict[str, Any]
) -> None:
    """S2, M7: nothing is stored, and what is there stays."""
    first, other = say(), say()
    store.append(first)

    with pytest.raises(ConflictError) as caught:
        store.append(replace(first, **changed))
    assert caught.value.ids == (first.id,)
    assert (caught.value.operation, caught.value.retryable) == ("append", False)
    assert caught.value.backend == store.backend

    if store.capabilities.atomic_append:
        with pytest.raises(ConflictError) as caught:
            store.append(other, replace(first, **changed))
        assert caught.value.ids == (first.id,)
        assert everything(store) == [first]


def test_a_message_of_a_session_with_the_same_hash_is_a_conflict(
    store: ConversationStore, say: Say
) -> None:
    """S2, M7: the session is part of what is compared."""
    first = say()
    store.append(first)
    with pytest.raises(ConflictError):
        store.append(replace(first, session_id=twin_of("s1")))
    assert listed(store) == ["s1"]


def test_the_same_message_twice_in_a_call_is_stored_once(
    store: ConversationStore, say: Say
) -> None:
    """S2: the same id twice in one call: once if equal."""
    one, other = say("a", summary="first"), say("b")

    result = store.append(one, other, replace(one, summary="second"), one)

    assert result == AppendResult(stored=(one.id, other.id))
    assert everything(store) == [one, other]


def test_two_contents_of_one_id_in_a_call_are_a_conflict(
    store: ConversationStore, say: Say
) -> None:
    """S2: else `ConflictError` before any I/O."""
    one = say("a")
    with pytest.raises(ConflictError) as caught:
        store.append(say("b"), one, replace(one, content="c"))
    assert caught.value.ids == (one.id,)
    assert everything(store) == []


def test_a_deleted_message_may_be_appended_again(store: ConversationStore, say: Say) -> None:
    """S3: deleted ids are forgotten."""
    message = say("a")
    store.append(message)
    store.delete("u1", [message.id])
    again = replace(message, content="b")

    assert store.append(again).stored == (message.id,)
    assert everything(store) == [again]


def test_an_expired_message_may_be_appended_again(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S3: expired ids are forgotten, even those of another session with the same hash."""
    message = say("a", expires_at=clock() + timedelta(seconds=1))
    store.append(message)
    clock.advance(1)
    again = replace(message, session_id=twin_of("s1"), content="b", expires_at=None)

    assert store.append(again).stored == (message.id,)
    assert everything(store) == [again]
    assert store.get("u1", [message.id]) == [again]
    assert listed(store) == [again.session_id]
    assert everything(store, session_id="s1") == []


@pytest.mark.parametrize(("number", "error"), [(100, None), (101, LimitExceededError)])
def test_an_append_takes_up_to_100_messages(
    store: ConversationStore, say: Say, number: int, error: type[Exception] | None
) -> None:
    """S1: 0 to 100 messages."""
    messages = [say(str(place)) for place in range(number)]
    if error is None:
        assert store.append(*messages).stored == tuple(one.id for one in messages)
        assert everything(store) == messages
        return
    with pytest.raises(error):
        store.append(*messages)
    assert everything(store) == []


def test_an_append_takes_up_to_4_mib(store: ConversationStore, say: Say) -> None:
    """S1: 4 MiB in all; repeated messages count once."""
    messages = [say("x" * 1024 * 1024) for _ in range(4)]
    one_byte = say("x")

    with pytest.raises(LimitExceededError):
        store.append(*messages, one_byte)
    assert everything(store) == []
    assert len(store.append(*messages, messages[0], say("")).stored) == 5


def test_an_append_takes_messages_of_one_user(store: ConversationStore, say: Say) -> None:
    """S1, C6: of one user."""
    with pytest.raises(InvalidInputError, match="one user"):
        store.append(say(), say(user_id="u10"))
    assert everything(store) == everything(store, "u10") == []


# -- replace --------------------------------------------------------------------------------------


def test_replace_changes_a_message_as_a_whole(store: ConversationStore, say: Say) -> None:
    """S4: replaces the message of the same id."""
    first = say("a", name="n", summary="s", tokens=1, payload={"a": 1}, metadata={"b": 2})
    other = say("c")
    store.append(first, other)
    second = replace(first, content="b", name=None, summary=None, tokens=None, payload=None)
    second = replace(second, metadata={})

    assert store.replace(second) is True
    assert everything(store) == [second, other]
    assert store.append(second).duplicates == (first.id,)
    with pytest.raises(ConflictError):
        store.append(first)


def test_replace_stores_nothing_where_nothing_is(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S4: False when it is absent, deleted or expired."""
    absent, deleted = say(), say()
    expired = say(expires_at=clock() + timedelta(seconds=1))
    store.append(deleted, expired)
    store.delete("u1", [deleted.id])
    clock.advance(1)

    for message in (absent, deleted, replace(expired, expires_at=None)):
        assert store.replace(message) is False
    assert everything(store) == []
    assert listed(store) == []


def test_replace_may_set_move_and_lift_an_expiry(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S4, C2: the expiry is replaced too."""
    message = say()
    store.append(message)
    for seconds in (10, 20, None):
        expires = None if seconds is None else clock() + timedelta(seconds=seconds)
        assert store.replace(replace(message, expires_at=expires))
    clock.advance(100)
    assert everything(store) == [message]
    assert store.replace(replace(message, expires_at=clock()))
    assert everything(store) == []


def test_replace_moves_no_message_to_another_session(store: ConversationStore, say: Say) -> None:
    """S4: what the hash byte lets through is a `ConflictError`."""
    message = say()
    store.append(message)
    with pytest.raises(ConflictError) as caught:
        store.replace(replace(message, session_id=twin_of("s1")))
    assert caught.value.ids == (message.id,)
    assert everything(store) == [message]
    assert store.replace(replace(say(), session_id=twin_of("s1"))) is False


# -- get ------------------------------------------------------------------------------------------


def test_get_answers_in_the_order_asked(store: ConversationStore, say: Say) -> None:
    """S5: repeats are answered as asked, unknown ones left out."""
    one, two, three = say("1"), say("2"), say("3")
    unknown = say()
    store.append(one, two, three)

    asked = [three.id, unknown.id, one.id, three.id]
    assert store.get("u1", asked) == [three, one, three]
    assert store.get("u1", tuple(asked)) == [three, one, three]
    assert store.get("u1", []) == []
    assert store.get("nobody", asked) == []


def test_get_takes_up_to_100_ids(store: ConversationStore, say: Say) -> None:
    """S5: up to 100 ids."""
    messages = [say(str(place)) for place in range(100)]
    store.append(*messages)
    ids = [one.id for one in messages]

    assert store.get("u1", ids[::-1]) == messages[::-1]
    with pytest.raises(LimitExceededError):
        store.get("u1", [*ids, ids[0]])


# -- summaries ------------------------------------------------------------------------------------


def test_summaries_are_histories_in_short(store: ConversationStore, say: Say) -> None:
    """S7: where no summary was given, the first 200 characters of the content."""
    long = "é😀\0\n" * 100
    messages = [
        say(long),
        say(long, summary="short", tokens=3, role="tool"),
        say(long, summary=""),
        say("", session_id="s2", payload={"a": 1}),
    ]
    store.append(*messages)

    page = store.summaries("u1", newest_first=False)

    assert isinstance(page, Page)
    assert page.cursor is None
    assert list(page) == [
        MessageSummary(one.id, "u1", one.session_id, one.role, text, one.tokens)
        for one, text in zip(messages, [long[:200], "short", "", ""], strict=True)
    ]


# -- sessions -------------------------------------------------------------------------------------


def test_sessions_are_listed_the_latest_active_first(store: ConversationStore, say: Say) -> None:
    """S9: newest activity first, exact to `capabilities.activity_precision`."""
    messages = [say(session_id=session) for session in ("a", "b", "c", "a")]
    store.append(*messages)

    precision = store.capabilities.activity_precision
    page = store.sessions("u1")
    if not precision:
        assert list(page) == [
            SessionInfo("a", messages[3].created_at),
            SessionInfo("c", messages[2].created_at),
            SessionInfo("b", messages[1].created_at),
        ]
    newest = {one.session_id: one.created_at for one in messages}
    assert {one.session_id for one in page} == set(newest)
    for one in page:
        assert timedelta(0) <= newest[one.session_id] - one.last_active <= precision
    assert [one.last_active for one in page] == sorted(
        (one.last_active for one in page), reverse=True
    )


def test_sessions_active_at_the_same_time_are_listed_by_id(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S9: ties by session id."""
    sessions = ["b", "a", "é", "a#", "a%", "B", "s10", "s1", "😀", "\uffff"]
    store.append(*[say(session_id=one, created_at=clock()) for one in sessions])
    assert listed(store) == sorted(sessions)


@pytest.mark.parametrize("limit", range(1, 9))
def test_pages_of_sessions_neither_drop_nor_repeat(
    store: ConversationStore, say: Say, clock: Any, limit: int
) -> None:
    """S9, S8: every session is listed once over all pages."""
    store.append(
        *[say(session_id=f"early {place}", created_at=clock()) for place in range(4)],
        *[say(session_id=f"late #%:{place}") for place in range(3)],
    )
    whole = list(store.sessions("u1"))
    assert len(whole) == 7

    found: list[SessionInfo] = []
    cursor: str | None = None
    while True:
        page = store.sessions("u1", limit=limit, cursor=cursor)
        assert len(page) <= limit
        found += page
        cursor = page.cursor
        if cursor is None:
            break
    assert found == whole


def test_a_page_of_sessions_goes_on_although_its_last_one_is_gone(
    store: ConversationStore, say: Say
) -> None:
    """S9, S8: a cursor is a position, not a session."""
    store.append(*[say(session_id=one) for one in "abcde"])
    page = store.sessions("u1", limit=2)
    assert [one.session_id for one in page] == ["e", "d"]
    store.delete_session("u1", "d")
    store.append(say(session_id="f"))

    rest = store.sessions("u1", cursor=page.cursor)
    assert [one.session_id for one in rest] == ["c", "b", "a"]


def test_a_session_without_messages_is_not_listed(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S9: exact with `capabilities.exact_sessions`; always after `delete_session`."""
    emptied, expiring, gone, kept = (
        say(session_id="emptied"),
        say(session_id="expiring", expires_at=clock() + timedelta(seconds=1)),
        say(session_id="gone"),
        say(session_id="kept"),
    )
    store.append(emptied, expiring, gone, kept)
    store.delete("u1", [emptied.id])
    store.delete_session("u1", "gone")
    clock.advance(1)

    found = listed(store)
    assert "kept" in found
    assert "gone" not in found
    if store.capabilities.exact_sessions:
        assert found == ["kept"]


def test_the_activity_of_a_session_is_that_of_its_newest_live_message(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S9: the time of the session's newest live message."""
    if store.capabilities.activity_precision:
        pytest.xfail("activity is only exact to capabilities.activity_precision")
    first, second = say(), say()
    third = say(expires_at=clock() + timedelta(seconds=1))
    store.append(third, first, second)
    assert list(store.sessions("u1")) == [SessionInfo("s1", third.created_at)]
    clock.advance(1)
    assert list(store.sessions("u1")) == [SessionInfo("s1", second.created_at)]
    store.delete("u1", [second.id])
    assert list(store.sessions("u1")) == [SessionInfo("s1", first.created_at)]


# -- delete, erase --------------------------------------------------------------------------------


def test_delete_counts_what_it_removed(store: ConversationStore, say: Say, clock: Any) -> None:
    """S10: messages, not rows; unknown, repeated and expired ones don't count."""
    one, two, kept = say("1"), say("2", payload={"big": "x" * 500_000}), say("3")
    expired = say(expires_at=clock() + timedelta(seconds=1))
    store.append(one, two, kept, expired)
    clock.advance(1)

    assert store.delete("u1", [one.id, two.id, one.id, say().id, expired.id]) == 2
    assert store.delete("u1", [one.id]) == 0
    assert store.delete("u1", []) == 0
    assert everything(store) == [kept]


def test_delete_takes_up_to_1000_ids(store: ConversationStore, say: Say) -> None:
    """S10: of up to 1,000 ids."""
    messages = [say() for _ in range(1000)]
    assert store.bulk_load(messages) == LoadReport(written=1000)
    ids = [one.id for one in messages]

    with pytest.raises(LimitExceededError):
        store.delete("u1", [*ids, ids[0]])
    assert store.delete("u1", ids) == 1000
    assert everything(store) == []


def test_delete_session_removes_its_messages_and_no_other(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S10, C6: prefixes, other users and hostile names stay."""
    mine = [say(session_id="a") for _ in range(3)]
    expired = say(session_id="a", expires_at=clock() + timedelta(seconds=1))
    others = [say(session_id=one) for one in ("a#", "a%", "a b", "aa", "A", twin_of("a"))]
    foreign = say(user_id="u10", session_id="a")
    store.append(*mine, expired, *others)
    store.append(foreign)
    clock.advance(1)

    assert store.delete_session("u1", "a") == 3
    assert store.delete_session("u1", "a") == 0
    assert everything(store) == others
    assert everything(store, "u10") == [foreign]


def test_delete_session_takes_long_sessions(store: ConversationStore, say: Say) -> None:
    """S10: however many messages there are."""
    store.bulk_load(say() for _ in range(2300))
    assert store.delete_session("u1", "s1") == 2300
    assert listed(store) == []


def test_erase_removes_everything_of_a_user_and_nothing_of_others(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S11, C6: removes everything acknowledged before it began."""
    store.append(*[say(session_id=one) for one in ("a", "b", "b#")])
    store.append(say(expires_at=clock() + timedelta(seconds=1)))
    foreign = [say(user_id=user) for user in ("u10", "u", "u1#", "u1%", "U1")]
    for message in foreign:
        store.append(message)
    clock.advance(1)

    report = store.erase("u1")

    assert isinstance(report, EraseReport)
    assert (report.messages, report.remaining) == (3, 0)
    assert everything(store) == []
    assert listed(store) == []
    assert [everything(store, one.user_id) for one in foreign] == [[one] for one in foreign]
    assert store.erase("u1").messages == 0


def test_an_erased_user_may_begin_anew(store: ConversationStore, say: Say) -> None:
    """S3, S11: erased ids are forgotten."""
    message = say()
    store.append(message)
    store.erase("u1")
    assert store.append(message).stored == (message.id,)
    assert everything(store) == [message]


# -- bulk_load, optimize, users -------------------------------------------------------------------


def test_bulk_load_restores_messages_of_any_users(store: ConversationStore, say: Say) -> None:
    """S12: of any users from any iterable; one already stored is replaced."""
    there = say("old", user_id="u1", summary="old")
    store.append(there)
    new = replace(there, content="new", summary=None)
    others = [say(user_id=user, payload={"a": [1, 1.0]}) for user in ("u10", "u1", "a#b")]

    def messages() -> Iterator[Message]:
        yield new
        yield from others

    assert store.bulk_load(messages()) == LoadReport(written=4, failed=0)
    assert everything(store) == [new, others[1]]
    assert everything(store, "u10") == [others[0]]
    assert everything(store, "a#b") == [others[2]]


def test_bulk_load_of_nothing_writes_nothing(store: ConversationStore) -> None:
    assert store.bulk_load([]) == LoadReport()
    assert store.bulk_load(iter(())) == LoadReport()


def test_the_last_of_several_contents_is_loaded(store: ConversationStore, say: Say) -> None:
    """S12: the same id may come twice."""
    message = say("first")
    last = replace(message, content="last")
    assert store.bulk_load([message, last]).written == 2
    assert everything(store) == [last]


def test_bulk_load_restores_what_is_expired_already(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S12, C2: an expired message counts as stored and is never read."""
    expired, kept = say(expires_at=clock()), say()
    assert store.bulk_load([expired, kept]) == LoadReport(written=2)
    assert everything(store) == [kept]
    assert store.bulk_load([replace(expired, expires_at=None), kept]) == LoadReport(written=2)
    assert len(everything(store)) == 2


def test_bulk_load_tells_its_progress(store: ConversationStore, say: Say) -> None:
    """S12: with the number done so far."""
    told: list[tuple[int, int | None]] = []
    store.bulk_load((say() for _ in range(2001)), progress=lambda *step: told.append(step))

    assert told[-1] == (2001, None)
    assert told == sorted(told)
    assert len(told) > 1


def test_a_load_that_failed_is_completed_by_repeating_it(
    store: ConversationStore, say: Say
) -> None:
    """S12: repeating it after a failure is safe and completes it."""
    messages = [say(str(place)) for place in range(1500)]

    def failing() -> Iterator[Message]:
        yield from messages[:1200]
        raise KeyError("the backup is torn")

    with pytest.raises(KeyError):
        store.bulk_load(failing())
    before = everything(store, limit=1000)
    assert before == messages[: len(before)]
    assert store.bulk_load(messages) == LoadReport(written=1500)
    assert everything(store, limit=1000) == messages


def test_a_wrong_message_in_a_load_is_refused(store: ConversationStore, say: Say) -> None:
    """S12, M5, E2: every write validates."""
    message = say()
    for wrong in (replace(message, content="\ud800"), "a text", None):
        with pytest.raises(InvalidInputError):
            store.bulk_load([wrong])  # type: ignore[list-item]  # the point of the test
    assert everything(store) == []


def test_optimize_changes_no_answer(store: ConversationStore, say: Say, clock: Any) -> None:
    """S13: its only effect is on cost, speed and listings."""
    messages = [say(session_id=one) for one in "abc"]
    store.append(*messages, say(session_id="d", expires_at=clock() + timedelta(seconds=1)))
    store.delete("u1", [messages[0].id])
    clock.advance(1)
    told: list[tuple[int, int | None]] = []

    report = store.optimize("u1", progress=lambda *step: told.append(step))

    assert report.removed >= 0
    assert report.reclaimed_bytes >= 0
    assert everything(store) == messages[1:]
    assert listed(store) == ["c", "b"]
    assert store.optimize("nobody").removed == 0


def test_users_are_listed_behind_a_capability(store: ConversationStore, say: Say) -> None:
    """S14: every user at least once, in no order, possibly repeated."""
    users = ["u1", "u10", "a#b", "%", "é", "😀", "' OR 1=1 --"]
    for user in users:
        store.append(say(user_id=user))
    if not store.capabilities.users:
        with pytest.raises(UnsupportedOperationError):
            store.users()
        return

    for limit in range(1, 9):
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = store.users(limit=limit, cursor=cursor)
            assert len(page) <= limit
            found += page
            cursor = page.cursor
            if cursor is None:
                break
        assert set(found) == set(users)
    assert set(store.users()) == set(users)


# -- consistency ----------------------------------------------------------------------------------


@pytest.mark.parametrize("consistency", [Consistency.STRONG, "strong"])
def test_a_strong_read_sees_what_was_acknowledged(
    store: ConversationStore, say: Say, consistency: Consistency
) -> None:
    """C1: STRONG: everything acknowledged before the call began."""
    message = say()
    store.append(message)
    if not store.capabilities.strong_reads:
        with pytest.raises(UnsupportedOperationError):
            store.get("u1", [message.id], consistency=consistency)
        return
    assert store.get("u1", [message.id], consistency=consistency) == [message]
    assert list(store.history("u1", consistency=consistency)) == [message]
    assert list(store.summaries("u1", consistency=consistency)) == [MessageSummary.of(message)]
    assert len(store.sessions("u1", consistency=consistency)) == 1


def test_an_eventual_read_shows_nothing_wrong(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """C1: never another user's, never expired ones."""
    live, expiring = say(), say(expires_at=clock() + timedelta(seconds=1))
    store.append(live, expiring)
    store.append(say(user_id="u10"))
    clock.advance(1)

    eventual = Consistency.EVENTUAL
    for found in (
        store.get("u1", [live.id, expiring.id], consistency=eventual),
        list(store.history("u1", consistency=eventual)),
    ):
        assert found in ([], [live])
    assert {one.id for one in store.summaries("u1", consistency=eventual)} <= {live.id}
    assert {one.session_id for one in store.sessions("u1", consistency=eventual)} <= {"s1"}


def test_an_unknown_consistency_is_refused(store: ConversationStore) -> None:
    for call in (store.history, store.summaries, store.sessions):
        with pytest.raises(InvalidInputError, match="consistency must be"):
            call("u1", consistency="weak")  # type: ignore[arg-type]  # the point of the test


def test_retention_gives_every_message_an_expiry(
    make_store: Callable[..., ConversationStore], say: Say, clock: Any
) -> None:
    """C2: `retention_days` sets a default expiry, counted from the message's creation."""
    store = make_store(clock=clock, retention_days=1)
    old = say(created_at=datetime(2024, 2, 28, 12, 0, 1, tzinfo=UTC))
    late = say(created_at=clock())
    own = say(expires_at=clock() + timedelta(days=9))
    loaded = say(created_at=clock())
    store.append(old, late, own)
    store.bulk_load([loaded])

    assert [one.id for one in everything(store)] == sorted([old.id, late.id, own.id, loaded.id])
    clock.advance(1)
    assert {one.id for one in everything(store)} == {late.id, own.id, loaded.id}
    assert store.replace(replace(late, content="new"))
    clock.advance(86_399)
    assert everything(store) == [own]
