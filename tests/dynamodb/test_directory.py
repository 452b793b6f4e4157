"""The directory: leases, what two processes do to it, and what `optimize` removes from it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore import Message, meter
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions, directory

NOON = datetime(2096, 2, 29, 12, tzinfo=UTC)


@pytest.fixture
def store(dynoxide: RunningServer, table: str) -> Iterator[DynamoConversationStore]:
    with DynamoConversationStore(table, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        yield store


@pytest.fixture
def other(dynoxide: RunningServer, table: str) -> Iterator[DynamoConversationStore]:
    """Return the same table, as another process has it."""
    with DynamoConversationStore(table, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        yield store


def say(session: str = "s", days: float = 0) -> Message:
    at = NOON + timedelta(days=days)
    return Message.new(user_id="u", session_id=session, role="user", content="x", created_at=at)


def rows(store: DynamoConversationStore) -> list[str]:
    """Return what stands in the directory."""
    with store._operation("check") as op:  # noqa: SLF001 - what the table holds
        found = store._directory.rows(op, "u")  # noqa: SLF001 - as above
    return sorted(row["timestamp_type"]["S"] + ("-" if "removed" in row else "") for row in found)


def listed(store: DynamoConversationStore) -> list[str]:
    return [one.session_id for one in store.sessions("u")]


def requests(store: DynamoConversationStore, message: Message) -> int:
    with meter() as metered:
        store.append(message)
    return metered.units.requests


def test_what_was_announced_is_remembered_for_a_while(
    store: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first append of a (day, session) says so, the later ones don't; later again."""
    assert requests(store, say()) == 3
    assert requests(store, say()) == 1
    assert requests(store, say("t")) == 2
    assert requests(store, say(days=1)) == 3
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + directory.LEASE_SECONDS + 1)
    assert requests(store, say(days=1.1)) == 3


def test_a_lease_is_not_renewed_by_using_it(
    store: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S9: what is removed ten minutes after a mark, no process may still believe to be listed."""
    began = time.monotonic()
    assert requests(store, say()) == 3
    for share, expected in ((0.5, 1), (0.9, 1), (1.1, 3)):
        now = began + share * directory.LEASE_SECONDS
        monkeypatch.setattr(time, "monotonic", lambda at=now: at)
        later = say(days=share * directory.LEASE_SECONDS / 86_400)
        assert requests(store, later) == expected, f"after {share} of the lease"


def test_the_activity_of_a_steady_conversation_is_exact_to_ten_minutes(
    store: DynamoConversationStore,
) -> None:
    """S9: nobody pauses for ten minutes, and yet the session is not listed as of its beginning."""
    for minutes in range(0, 60, 4):
        message = say(days=minutes / 1440)
        store.append(message)
        (session,) = store.sessions("u")
        assert session.last_active is not None
        behind = message.created_at - session.last_active
        assert behind <= timedelta(seconds=directory.LEASE_SECONDS), f"after {minutes} minutes"


def test_no_process_remembers_without_bound(
    store: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_LEASES", 4)
    for number in range(6):
        store.append(say(f"s{number}"))
    assert requests(store, say("s5")) == 1
    assert requests(store, say("s0")) > 1
    assert len(store.history("u")) == 8


def test_a_removed_session_is_only_marked_while_somebody_may_remember_it(
    store: DynamoConversationStore, other: DynamoConversationStore
) -> None:
    """S9: the other process announced it before, and does not again."""
    other.append(say())
    assert store.delete_session("u", "s") == 1
    assert rows(store) == ["d#2096", "s#s-"]
    assert listed(store) == []
    late = say()
    other.append(late)
    assert listed(store) == ["s"]
    assert store.history("u", session_id="s").items == (late,)
    assert store.erase("u").messages == 1
    assert rows(store) == ["d#2096-", "s#s-"]
    other.append(late)
    assert store.history("u").items == (late,)
    assert store.optimize("u").removed == 0
    assert store.history("u").items == (late,)


def test_optimize_unlists_what_is_empty(
    store: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S13: first a mark; when nobody can remember it any more, the row."""
    store.append(say("gone"), kept := say("kept", days=400))
    old = store.history("u", session_id="gone").items[0]
    assert store.delete("u", [old.id]) == 1
    seen: list[tuple[int, int | None]] = []
    assert store.optimize("u", progress=lambda done, total: seen.append((done, total))).removed == 1
    assert seen[-1][0] == seen[-1][1]
    assert rows(store) == ["d#2096", "d#2097", "s#gone-", "s#kept"]
    assert store.optimize("u").removed == 0
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + directory.SAFE_SECONDS + 1)
    assert store.optimize("u").removed == 1
    assert rows(store) == ["d#2096", "d#2097", "s#kept"]
    assert store.history("u").items == (kept,)
    assert store.erase("u").out_of_reach[1:]
    monkeypatch.setattr(time, "time", lambda: now + 2 * directory.SAFE_SECONDS + 2)
    assert store.optimize("u").removed == 3
    assert rows(store) == []
    assert len(store.erase("u").out_of_reach) == 1


def test_what_is_announced_again_while_it_is_dropped_stays(
    store: DynamoConversationStore, other: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S9: the row goes only as it was read."""
    store.append(say())
    assert store.delete_session("u", "s") == 1
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + directory.SAFE_SECONDS + 1)
    drop = store._directory.drop  # noqa: SLF001 - where another process acts in between
    late = say()

    def announce_first(*args: Any) -> bool:
        other.append(late)
        return drop(*args)

    monkeypatch.setattr(store._directory, "drop", announce_first)  # noqa: SLF001 - as above
    assert store.optimize("u").removed == 0
    assert listed(store) == ["s"]
    assert store.history("u", session_id="s").items == (late,)


def test_an_erase_that_meets_a_writer_says_what_is_left(
    store: DynamoConversationStore, other: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: another process appends all the time; the report is honest."""
    store.append(say())
    mark = store._directory.mark_user  # noqa: SLF001 - where another process acts in between

    def append_then_mark(*args: Any) -> int:
        other.append(say())
        return mark(*args)

    monkeypatch.setattr(store._directory, "mark_user", append_then_mark)  # noqa: SLF001 - as above
    report = store.erase("u")
    assert (report.messages, report.remaining) == (3, 1)
    assert len(store.history("u")) == 1


def test_an_import_of_old_messages_does_not_make_a_session_older(
    store: DynamoConversationStore, other: DynamoConversationStore
) -> None:
    """S9: activity is that of the newest message, and its days are listed all the same."""
    new, old = say(days=3), say()
    store.append(new)
    other.append(old)
    (session,) = store.sessions("u")
    assert session.last_active == new.created_at
    assert other.history("u", session_id="s").items == (new, old)


def test_a_listing_looks_at_the_days_of_a_session_that_may_be_empty(
    store: DynamoConversationStore, other: DynamoConversationStore
) -> None:
    """S9: nothing else tells whether another process wrote to it since."""
    other.append(*[say(f"s{number}") for number in range(6)])
    for number in range(5):
        store.delete_session("u", f"s{number}")
    late = say("s3")
    other.append(late)
    with meter() as metered:
        assert listed(store) == ["s3", "s5"]
    assert metered.units.requests <= 1 + 2 * 5, "the newest row of the day, then the others"


def test_an_erase_of_many_sessions_has_its_time_for_each_part(
    store: DynamoConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3, S11: its deadline holds per request."""
    monkeypatch.setattr(directory, "_MARKS", 4)
    store.append(*[say(f"s{number}") for number in range(10)])
    assert store.erase("u").messages == 10
    assert rows(store) == ["d#2096-", *[f"s#s{number}-" for number in range(10)]]
