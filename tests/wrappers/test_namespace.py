"""W3: ``namespace`` gives a program users of its own in a store that it shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore import (
    ConfigurationError,
    IndexSpec,
    InvalidInputError,
    LimitExceededError,
    Message,
    VectorRecord,
    open_index,
    open_store,
)
from ialstore.wrappers.namespace import (
    NamespaceConversationStore,
    NamespaceOptions,
    NamespaceVectorIndex,
)
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore

PREFIXES = ("a", "a/", "a/b", "a%2F", "%", "/", "ab", "#")
USERS = ("b", "/b", "b/c", "2Fb", "u", "#")


def say(user: str, content: str = "x") -> Message:
    return Message.new(user_id=user, session_id="s", role="user", content=content)


def inside(store: MemoryConversationStore, prefix: str) -> NamespaceConversationStore:
    return NamespaceConversationStore(store, NamespaceOptions(prefix))


def test_no_two_namespaces_share_a_user() -> None:
    """W3, C6: whatever stands in their names."""
    shared = MemoryConversationStore()
    stores = {prefix: inside(shared, prefix) for prefix in PREFIXES}
    told = {
        (prefix, user): say(user, f"{prefix} says {user}") for prefix in PREFIXES for user in USERS
    }
    for (prefix, _), one in told.items():
        stores[prefix].append(one)

    for (prefix, user), one in told.items():
        store = stores[prefix]
        assert list(store.history(user)) == [one]
        assert store.get(user, [one.id]) == [one]
        assert [brief.user_id for brief in store.summaries(user)] == [user]
        assert set(store.users()) == set(USERS)
    assert len(set(shared.users(limit=1000))) == len(told)
    for (prefix, user), one in told.items():
        others = [other.id for key, other in told.items() if key != (prefix, user)]
        assert stores[prefix].delete(user, others) == 0
        assert stores[prefix].replace(replace(one, content="y"))
        assert stores[prefix].erase(user).messages == 1
    assert list(shared.users()) == []


@given(
    prefixes=st.lists(st.text("a/%#2F", min_size=1, max_size=5), min_size=2, max_size=2),
    users=st.lists(st.text("a/%#2F", min_size=1, max_size=5), min_size=2, max_size=2),
)
def test_different_pairs_are_different_users(prefixes: list[str], users: list[str]) -> None:
    """W3, C6: for any namespace and user."""
    shared = MemoryConversationStore()
    for prefix, user in zip(prefixes, users, strict=True):
        inside(shared, prefix).append(say(user))
    pairs = set(zip(prefixes, users, strict=True))
    assert len(list(shared.users())) == len(pairs)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_only_its_own_users_are_listed(limit: int) -> None:
    """W3, S14: stripped, over any number of pages, whoever else is there."""
    shared = MemoryConversationStore()
    mine = [f"u{number}" for number in range(7)]
    store = inside(shared, "mine")
    for user in mine:
        store.append(say(user))
        shared.append(say(f"other/{user}"), say(f"other/{user}"))
        inside(shared, "min").append(say(user))

    found: list[str] = []
    cursor: str | None = None
    while True:
        page = store.users(limit=limit, cursor=cursor)
        assert len(page) <= limit
        found += page
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(found) == mine


def test_users_are_found_behind_a_page_of_others() -> None:
    """S14: a page of the inner store may hold none of its own."""
    shared = MemoryConversationStore()
    for number in range(1100):
        shared.append(say(f"a{number:04d}"))
    store = inside(shared, "z")
    store.append(say("me"))
    assert list(store.users()) == ["me"]


@pytest.mark.parametrize(
    ("prefix", "error"),
    [
        ("", InvalidInputError),
        ("a\0", InvalidInputError),
        ("\ud800", InvalidInputError),
        ("x" * 129, LimitExceededError),
        ("/" * 43, LimitExceededError),
    ],
)
def test_a_namespace_has_a_name_of_up_to_128_bytes(prefix: str, error: type[Exception]) -> None:
    """W3: after escaping."""
    with pytest.raises(error):
        NamespaceOptions(prefix)
    for longest in ("x" * 128, "/" * 42):
        assert NamespaceOptions(longest).prefix == longest


def test_the_longest_names_fit(tmp_path: Path) -> None:
    """W3: a user of 384 bytes in a namespace of 128."""
    inner = SqliteConversationStore(tmp_path / "db")
    with NamespaceConversationStore(inner, NamespaceOptions("/" * 42)) as store:
        one = say("x" * 384)
        store.append(one)
        assert list(store.history("x" * 384)) == [one]


def test_two_namespaces_of_an_index_are_apart() -> None:
    """W3, C6: for vectors, in every call."""
    shared = MemoryVectorIndex(IndexSpec(2))
    first, second = (
        NamespaceVectorIndex(shared, NamespaceOptions(prefix)) for prefix in ("a", "a/b")
    )
    one, other = say("u"), say("u")

    def record(message: Message, *vector: float) -> VectorRecord:
        return VectorRecord(message.id, np.array(vector), "s", "user")

    first.upsert("b/u", [record(one, 1, 0)])
    second.bulk_load([("u", record(other, 0, 1))])

    assert [hit.id for hit in first.search("b/u", [1, 1])] == [one.id]
    assert [hit.id for hit in second.search("u", [1, 1])] == [other.id]
    assert first.get("b/u", [other.id]) == []
    assert (first.count("b/u"), second.count("u")) == (1, 1)
    assert (list(first.ids("b/u")), list(second.users())) == ([one.id], ["u"])
    assert first.delete("b/u", [other.id]) == 0
    assert first.optimize("b/u").removed == 0
    assert first.delete_session("b/u", "s") == 1
    assert second.erase("u").vectors == 1


def test_a_configuration_names_the_namespace() -> None:
    """W3: chosen by config, with errors that name the key."""
    wrap: list[Any] = ["retry", {"use": "namespace", "prefix": "tenant"}]
    with open_store({"conversation": {"url": "memory:", "wrap": wrap}}) as store:
        one = say("u")
        store.append(one)
        assert list(store.history("u")) == [one]
        assert list(store.users()) == ["u"]
    with open_index({"vector": {"url": "memory:", "wrap": wrap}}, IndexSpec(2)) as index:
        assert index.count("u") == 0
    for wrong in ("namespace", {"use": "namespace", "prefx": "tenant"}):
        with pytest.raises(ConfigurationError, match="prefix"):
            open_store({"conversation": {"url": "memory:", "wrap": [wrong]}})
