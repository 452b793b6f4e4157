"""The vector index in memory: how it is opened, what it holds, and what a fork leaves of it."""

from __future__ import annotations

import pytest

from ialstore import ConfigurationError, IndexSpec, VectorRecord
from ialstore.url import StoreURL
from ialstore_backends.memory import MemoryVectorIndex

SPEC = IndexSpec(2)
ONE = VectorRecord("01a2049c-c6e3-774b-af40-dce0cd2bb0b6", [1.0, 0.0], "s1", "user")


def test_each_index_is_private() -> None:
    url = StoreURL.parse("memory:")
    with MemoryVectorIndex.from_url(url, SPEC) as one, MemoryVectorIndex.from_url(url, SPEC) as two:
        one.upsert("u", [ONE])
        assert (one.count("u"), two.count("u")) == (1, 0)


@pytest.mark.parametrize("url", ["memory:name", "memory://host", "memory:?size=1"])
def test_memory_takes_no_name_and_no_options(url: str) -> None:
    with pytest.raises(ConfigurationError):
        MemoryVectorIndex.from_url(StoreURL.parse(url), SPEC)


def test_what_is_held_is_counted() -> None:
    index = MemoryVectorIndex(SPEC)
    assert index.held_bytes == 0
    index.upsert("u", [ONE])
    one = index.held_bytes
    index.upsert("v", [ONE])
    assert index.held_bytes == 2 * one > 0
    index.delete("u", [ONE.id])
    index.erase("v")
    assert index.held_bytes == 0
    assert list(index.users()) == []


def test_a_forked_child_keeps_the_vectors() -> None:
    index = MemoryVectorIndex(SPEC)
    index.upsert("u", [ONE])
    index._lock.acquire()  # noqa: SLF001 - another thread, when the process forked
    index._after_fork()  # noqa: SLF001 - what a fork calls in the child
    assert index.count("u") == 1
