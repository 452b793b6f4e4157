"""Conversations in memory: what maintenance leaves of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ialstore import Message
from ialstore_backends.memory import MemoryConversationStore

START = datetime(2024, 2, 29, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Name(StrEnum):
    PLANNER = "planner"


def new(user: str, *, expires_in: float | None = None) -> Message:
    expires_at = None if expires_in is None else START + timedelta(seconds=expires_in)
    return Message.new(
        user_id=user, session_id="s", role="user", content="hello", expires_at=expires_at
    )


def test_optimize_removes_the_expired_messages_of_its_user_alone() -> None:
    clock = Clock()
    store = MemoryConversationStore(clock=clock)
    live = new("u")
    store.append(new("u", expires_in=1), live, new("u", expires_in=2))
    store.append(new("v", expires_in=1))
    clock.now += timedelta(seconds=1)
    steps: list[tuple[int, int | None]] = []
    report = store.optimize("u", progress=lambda done, total: steps.append((done, total)))
    assert report.removed == 1
    assert steps == [(1, 1)]
    assert len(store.history("u")) == 2
    clock.now += timedelta(seconds=1)
    assert store.optimize("u").removed == 1
    assert store.history("u").items == (live,)
    assert store.optimize("v").removed == 1


def test_texts_of_a_subclass_of_str_come_back() -> None:
    store = MemoryConversationStore()
    message = Message.new(
        user_id="u", session_id="s", role="user", content=Name.PLANNER, name=Name.PLANNER
    )
    store.append(message)
    assert store.get("u", [message.id]) == [message]


def test_optimize_forgets_a_user_who_has_no_messages_left() -> None:
    clock = Clock()
    store = MemoryConversationStore(clock=clock)
    expiring, deleted = new("expiring", expires_in=1), new("deleted")
    store.append(expiring)
    store.append(deleted)
    store.append(new("kept"))
    store.delete("deleted", [deleted.id])
    clock.now += timedelta(seconds=1)
    for user in ("expiring", "deleted", "kept", "unknown"):
        store.optimize(user)
    assert list(store.users()) == ["kept"]
