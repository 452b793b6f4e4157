"""W3: ``readonly`` refuses every write before it reaches the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ialstore import (
    IndexSpec,
    Message,
    UnsupportedOperationError,
    VectorRecord,
    open_store,
)
from ialstore.wrappers.readonly import ReadonlyConversationStore, ReadonlyVectorIndex
from ialstore.wrappers.retry import RetryConversationStore
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

MESSAGE = Message.new(user_id="u", session_id="s", role="user", content="x")
RECORD = VectorRecord(MESSAGE.id, [1.0, 0.0], "s", "user")


@pytest.mark.parametrize(
    "name",
    [
        "append",
        "bulk_load",
        "delete",
        "delete_session",
        "erase",
        "optimize",
        "replace",
        "setup",
    ],
)
def test_no_write_reaches_a_read_only_store(name: str) -> None:
    """W3: `setup` included, at any depth of wrapping."""
    inner = MemoryConversationStore()
    inner.append(MESSAGE)
    store = RetryConversationStore(ReadonlyConversationStore(inner))
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: store.append(MESSAGE),
        "bulk_load": lambda: store.bulk_load([MESSAGE]),
        "delete": lambda: store.delete("u", [MESSAGE.id]),
        "delete_session": lambda: store.delete_session("u", "s"),
        "erase": lambda: store.erase("u"),
        "optimize": lambda: store.optimize("u"),
        "replace": lambda: store.replace(MESSAGE),
        "setup": store.setup,
    }

    with pytest.raises(UnsupportedOperationError, match="read-only"):
        calls[name]()

    assert not store.capabilities.writable
    assert list(store.history("u")) == [MESSAGE]
    assert store.check() == []


@pytest.mark.parametrize(
    "name", ["upsert", "bulk_load", "delete", "delete_session", "erase", "optimize", "setup"]
)
def test_no_write_reaches_a_read_only_index(name: str) -> None:
    """W3: of an index too."""
    inner = MemoryVectorIndex(IndexSpec(2))
    inner.upsert("u", [RECORD])
    index = ReadonlyVectorIndex(inner)
    calls: dict[str, Callable[[], object]] = {
        "upsert": lambda: index.upsert("u", [RECORD]),
        "bulk_load": lambda: index.bulk_load([("u", RECORD)]),
        "delete": lambda: index.delete("u", [RECORD.id]),
        "delete_session": lambda: index.delete_session("u", "s"),
        "erase": lambda: index.erase("u"),
        "optimize": lambda: index.optimize("u"),
        "setup": index.setup,
    }

    with pytest.raises(UnsupportedOperationError, match="read-only"):
        calls[name]()

    assert [hit.id for hit in index.search("u", [1, 1])] == [RECORD.id]


def test_a_configuration_makes_a_store_read_only(tmp_path: Path) -> None:
    """W3: chosen by config alone."""
    url = f"sqlite:///{tmp_path}/agent.db"
    with open_store(url) as store:
        store.append(MESSAGE)
    with open_store({"conversation": {"url": url, "wrap": ["readonly", "retry"]}}) as store:
        assert list(store.history("u")) == [MESSAGE]
        with pytest.raises(UnsupportedOperationError):
            store.append(MESSAGE)
