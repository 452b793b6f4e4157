"""What several chapters of the suite use."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.ids import session_hash
from ialstore.model import Message, Page
from ialstore.testing.pages import all_items, pages


def everything(store: ConversationStore, user: str = "u1", **filters: Any) -> list[Message]:
    """Return all messages of a user, the oldest first."""
    return all_items(
        lambda cursor: store.history(user, newest_first=False, cursor=cursor, **filters)
    )


def all_users(store: ConversationStore, limit: int = 1000) -> list[str]:
    """Return all users, page by page; one may come twice."""
    found: list[str] = []
    for page in pages(lambda cursor: store.users(limit=limit, cursor=cursor)):
        assert len(page) <= limit, "S14: a page is longer than its limit"
        found += page
    return found


def listed(store: ConversationStore, user: str = "u1") -> list[str]:
    """Return the sessions of a user in the order of their listing."""
    return [one.session_id for one in store.sessions(user, limit=1000)]


def twin_of(session_id: str) -> str:
    """Return another session with the same hash, which an id can't tell apart."""
    return next(
        other
        for other in map(str, range(100_000))
        if session_hash(other) == session_hash(session_id) and other != session_id
    )


WRITES = (
    "append",
    "replace",
    "delete",
    "delete_session",
    "erase",
    "bulk_load",
    "optimize",
    "setup",
)
"""Names of the calls that write."""


def calls_of(store: ConversationStore, message: Message) -> dict[str, Callable[[], object]]:
    """Return every public call, by its name."""
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: store.append(message),
        "replace": lambda: store.replace(message),
        "get": lambda: store.get("u1", [message.id]),
        "history": lambda: store.history("u1"),
        "summaries": lambda: store.summaries("u1"),
        "sessions": lambda: store.sessions("u1"),
        "delete": lambda: store.delete("u1", [message.id]),
        "delete_session": lambda: store.delete_session("u1", "s1"),
        "erase": lambda: store.erase("u1"),
        "bulk_load": lambda: store.bulk_load([message]),
        "optimize": lambda: store.optimize("u1"),
        "check": store.check,
        "setup": store.setup,
    }
    if store.capabilities.users:
        calls["users"] = store.users
    return calls


BOTH_WAYS = pytest.mark.parametrize("newest_first", [True, False], ids=["newest", "oldest"])


SIZES = (1, 2, 3, 9, 10, 11, 15, 16, 17, 24, 25, 26, 31, 33, 49, 51, 63, 65, 99, 100)
"""Of batches: around those that drivers take at once."""

MICROSECOND = timedelta(microseconds=1)


def walk(
    listing: Callable[..., Page[Any]], user: str = "u1", *, limit: int, **query: Any
) -> list[Any]:
    """Return what all pages hold together; every page but the last is full."""
    found: list[Any] = []
    for page in pages(lambda cursor: listing(user, limit=limit, cursor=cursor, **query)):
        found += page
        assert len(page) <= limit, "S6: a page is longer than its limit"
        assert page.cursor is None or len(page) in (limit, 0), "S6: a page ends at its limit"
    return found


SECRET = "zanzibar"  # noqa: S105 - stands for any content


def exactly(value: Any) -> str:
    """Return a text that differs wherever two JSON values differ, key order and types included."""
    return json.dumps(value)
