"""Maintenance that pays runs in the background, once at a time, and hurts nobody."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from ialstore import (
    ContextEngine,
    HashingEmbedder,
    IndexSpec,
    Message,
    OptimizeReport,
    UnavailableError,
)
from ialstore.context.maintenance import Maintenance
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

SECONDS = 10


class Index(MemoryVectorIndex):
    """Says that maintenance pays until it is done; stops in it until a test lets it go on."""

    def __init__(self, spec: IndexSpec) -> None:
        super().__init__(spec)
        self.due = {"u", "v", "w"}
        self.began: list[str] = []
        self.may_go_on = threading.Event()
        self.fails = False

    def _is_optimize_due(self, user_id: str) -> bool:
        return user_id in self.due

    def _optimize_due(self, op: Any, user_id: str) -> OptimizeReport:
        self.began.append(user_id)
        assert self.may_go_on.wait(SECONDS)
        if self.fails:
            raise UnavailableError("as planned")
        self.due.discard(user_id)
        return OptimizeReport()


@pytest.fixture
def index() -> Index:
    return Index(IndexSpec(64))


def message(number: int) -> Message:
    at = datetime(2026, 11, 1, 0, 0, number, tzinfo=UTC)
    return Message.new(
        user_id="u", session_id="s", role="user", content=f"message {number}", created_at=at
    )


def test_a_write_begins_what_pays_and_does_not_wait(index: Index) -> None:
    """Once, while it is on its way; closing the engine waits for it."""
    engine = ContextEngine(MemoryConversationStore(), index, HashingEmbedder(dimension=64))
    engine.append(message(1))
    engine.append(message(2))
    threading.Timer(0.05, index.may_go_on.set).start()
    engine.close()
    assert (index.began, index.due) == (["u"], {"v", "w"})


def test_nothing_is_begun_where_it_is_left_to_the_command(index: Index) -> None:
    embedder = HashingEmbedder(dimension=64)
    with ContextEngine(MemoryConversationStore(), index, embedder, optimize="manual") as engine:
        engine.append(message(1))
    assert index.began == []


def test_a_failure_is_left_to_the_next_write(index: Index) -> None:
    maintenance = Maintenance(index, "background")
    index.may_go_on.set()
    for index.fails in (True, False):
        maintenance.after_write("u")
        maintenance.wait()
    maintenance.after_write("u")
    assert index.began == ["u", "u"]


def test_no_more_than_two_users_are_looked_at_at_once(index: Index) -> None:
    maintenance = Maintenance(index, "background")
    for user in ("u", "v", "w"):
        maintenance.after_write(user)
    index.may_go_on.set()
    maintenance.wait()
    assert sorted(index.began) == ["u", "v"]
    maintenance.after_fork()
    maintenance.after_write("w")
    maintenance.wait()
    assert index.due == set()
