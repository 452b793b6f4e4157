"""Which way a read takes, and what it costs: seen in the events of the calls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore import Consistency, Message
from ialstore.events import OperationEvent, subscribe
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions, reading

DAY = datetime(2096, 2, 29, 8, tzinfo=UTC)
EVENTUAL = Consistency.EVENTUAL


@pytest.fixture
def store(server: RunningServer, prefix: str) -> Iterator[DynamoConversationStore]:
    with DynamoConversationStore(prefix, DynamoOptions(endpoint=server.endpoint)) as store:
        store.setup()
        yield store


@pytest.fixture
def events() -> Iterator[list[OperationEvent]]:
    found: list[OperationEvent] = []
    unsubscribe = subscribe(found.append)
    yield found
    unsubscribe()


def say(session: str, number: int, **fields: Any) -> Message:
    return Message.new(
        user_id="u",
        session_id=session,
        role="user",
        content="x" * 900,
        created_at=DAY + timedelta(seconds=number),
        key=str(number),
        **fields,
    )


def crowd(store: DynamoConversationStore, sessions: int, each: int) -> list[Message]:
    """Store messages of many sessions in turn; return those of the first."""
    messages = [say(f"s{n % sessions}", n) for n in range(sessions * each)]
    assert store.bulk_load(messages).written == len(messages)
    return messages[::sessions]


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_session_in_a_crowd_is_read_through_its_index(
    store: DynamoConversationStore, events: list[OperationEvent], *, newest_first: bool
) -> None:
    """S14: eventual reads may; the second one begins there, and costs the index and its rows."""
    mine = crowd(store, 20, 25)
    store.append(say("s0", 0, expires_at=datetime(1970, 1, 1, tzinfo=UTC)))
    wanted = mine[::-1] if newest_first else mine
    for limit in (5, 25, 1000):
        page = store.history(
            "u", session_id="s0", limit=limit, newest_first=newest_first, consistency=EVENTUAL
        )
        assert list(page) == wanted[:limit]
    assert {event.details["plan"] for event in events if event.operation == "history"} == {
        "SessionIndex"
    }
    events.clear()
    store.history("u", session_id="s0", limit=20, consistency=EVENTUAL)
    (event,) = events
    assert event.units.read <= 12
    assert set(event.details["units_by_partition"]) == {"SessionIndex"}


def test_a_strong_read_in_a_crowd_reads_the_day_once(
    store: DynamoConversationStore, events: list[OperationEvent]
) -> None:
    """S14: no index may answer; two requests beside that of the directory."""
    mine = crowd(store, 20, 25)
    events.clear()
    assert list(store.history("u", session_id="s0", limit=20)) == mine[:4:-1]
    assert len(store.history("u", limit=1000)) == 500
    event, everything = events
    assert event.details["plan"] == "days"
    assert event.details["units_by_partition"].keys() == {"directory", "2096-02-29"}
    assert event.units.read <= everything.units.read + 1
    assert event.units.requests == 3


def test_the_way_through_an_index_is_forgotten_when_too_many_users_take_it(
    store: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch, events: list[OperationEvent]
) -> None:
    """No process remembers more than so many users."""
    monkeypatch.setattr(reading, "_MOST_CROWDED", 1)
    store.bulk_load(
        Message.new(
            user_id=user,
            session_id=f"s{n % 10}",
            role="user",
            content=str(n),
            created_at=DAY + timedelta(seconds=n),
        )
        for user in ("u", "v")
        for n in range(60)
    )
    for user in ("u", "v", "u"):
        events.clear()
        page = store.history(user, session_id="s0", limit=5, consistency=EVENTUAL)
        assert [one.content for one in page] == ["50", "40", "30", "20", "10"]
        assert "2096-02-29" in events[0].details["units_by_partition"], "its first read looks"


def test_a_message_that_went_while_its_index_was_read_is_left_out(
    store: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S4: no reader sees a part; an index may be behind."""
    mine = crowd(store, 10, 6)
    assert len(store.history("u", session_id="s0", limit=5, consistency=EVENTUAL)) == 5
    items = store._reader.items  # noqa: SLF001 - where another process acts in between

    def delete_first(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        store.delete("u", [mine[-1].id])
        return items(*args, **options)

    monkeypatch.setattr(store._reader, "items", delete_first)  # noqa: SLF001 - as above
    page = store.history("u", session_id="s0", limit=5, consistency=EVENTUAL)
    assert list(page) == mine[-2::-1], "the next one takes its place"


@pytest.mark.parametrize("session", [None, "s0"])
def test_eventual_summaries_come_from_an_index(
    store: DynamoConversationStore, events: list[OperationEvent], session: str | None
) -> None:
    """S7: in one request, in either direction; rows that have expired are left out."""
    mine = crowd(store, 3, 8)
    gone = say("s0", 100, expires_at=datetime(1970, 1, 1, tzinfo=UTC))
    store.append(gone)
    everyone = list(store.history("u", limit=1000))
    wanted = [one.id for one in everyone if session is None or one.session_id == session]
    assert session is None or wanted == [one.id for one in mine[::-1]]
    events.clear()
    for newest_first in (True, False):
        page = store.summaries(
            "u", session_id=session, newest_first=newest_first, limit=1000, consistency=EVENTUAL
        )
        assert [one.id for one in page] == (wanted if newest_first else wanted[::-1])
    assert [event.units.requests for event in events] == [1, 1]
    assert {event.details["plan"] for event in events} == {
        "UserTimeIndex" if session is None else "SessionIndex"
    }


def test_a_later_day_of_another_process_is_not_missed(
    store: DynamoConversationStore, server: RunningServer
) -> None:
    """S14: what this process knows is only where it looks first."""
    prefix = store.table.removesuffix("conversation-history-v2")
    store.append(say("s0", 0))
    assert len(store.history("u", session_id="s0", limit=5)) == 1
    with DynamoConversationStore(prefix, DynamoOptions(endpoint=server.endpoint)) as other:
        later = say("s0", 200_000)
        other.append(later)
    assert store.history("u", session_id="s0", limit=1).items == (later,)
    assert store.history("u", limit=1).items == (later,)


def test_no_more_days_are_read_than_messages_are_wanted(
    store: DynamoConversationStore, events: list[OperationEvent]
) -> None:
    """S6: the days of a user who says little are read some at once, but none in vain."""
    days = [say("s", number * 86_400) for number in range(40)]
    store.bulk_load(days)
    assert {event.details["table"] for event in events} == {store.table}, "logs name it"
    for limit in (1, 2, 7, 20):
        events.clear()
        assert list(store.history("u", newest_first=False, limit=limit)) == days[:limit]
        assert events[0].units.requests == 1 + limit
        assert events[0].units.read == 1 + limit


def test_users_with_hostile_ids_meet_in_no_index(store: DynamoConversationStore) -> None:
    """C6: prefixes, separators and escapes, read through the indexes."""
    users = ["u", "u1", "u#s", "u%23s", "u#", "#u", "%", "é\n", "*"]
    sessions = ["s", "s1", "#s", "s#", "%23s"]
    there = {
        (user, session): Message.new(
            user_id=user, session_id=session, role="user", content=user + session, created_at=DAY
        )
        for user in users
        for session in sessions
    }
    store.bulk_load(there.values())
    for user in users:
        mine = [there[user, session] for session in sessions]
        found = store.summaries(user, consistency=EVENTUAL)
        assert {one.id for one in found} == {one.id for one in mine}
        assert {one.user_id for one in found} == {user}
        listed = store.sessions(user, consistency=EVENTUAL)
        assert sorted(one.session_id for one in listed) == sorted(sessions)
        for session in sessions:
            (brief,) = store.summaries(user, session_id=session, consistency=EVENTUAL)
            (whole,) = store.history(user, session_id=session, consistency=EVENTUAL)
            assert (brief.summary, whole) == (user + session, there[user, session])
