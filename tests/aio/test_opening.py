"""Opening a face: in a thread, by ``await`` or with ``async with``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ialstore import (
    AsyncContextEngine,
    AsyncConversationStore,
    AsyncVectorIndex,
    ConfigurationError,
    IndexSpec,
    InvalidInputError,
    StoreNotReadyError,
    open_async_engine,
    open_async_index,
    open_async_store,
    registry,
)
from ialstore_backends.memory import MemoryConversationStore

PATIENCE_SECONDS = 30


class Slow(MemoryConversationStore):
    """A store whose opening waits until the test lets it go."""

    begun = threading.Event()
    go = threading.Event()
    opened: list[Slow]
    threads: list[int]

    @classmethod
    def from_url(cls, url: Any, **settings: Any) -> Slow:
        cls.threads.append(threading.get_ident())
        cls.begun.set()
        assert cls.go.wait(PATIENCE_SECONDS)
        store = cls(**settings)
        cls.opened.append(store)
        return store


@pytest.fixture
def slow() -> Iterator[type[Slow]]:
    """Let the scheme slow: be the store above."""
    Slow.begun.clear()
    Slow.go.clear()
    Slow.opened, Slow.threads = [], []
    registry.register("conversation", "slow", Slow)
    yield Slow
    Slow.go.set()


def test_a_store_an_index_and_an_engine_are_opened_by_url(run: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'memory.db'}"

    async def main() -> None:
        async with open_async_engine(url, max_threads=2) as engine:
            assert isinstance(engine, AsyncContextEngine)
            saved = await engine.save("u", "s", "user", "Nuts make my throat swell.")
            context = await engine.build_context("Which nuts can I eat?", "u", "other")
            assert [memory.text for memory in context.memories] == [saved.content]
        async with open_async_store(url, timeout_seconds=3) as store:
            assert isinstance(store, AsyncConversationStore)
            assert store.settings.get("timeout_seconds") == 3
            assert await store.get("u", [saved.id]) == [saved]
        async with open_async_index(url, engine.index.spec) as index:
            assert isinstance(index, AsyncVectorIndex)
            assert await index.count("u") == 1
        async with open_async_index("memory:", IndexSpec(3)) as other:
            assert other.spec == IndexSpec(3)

    run(main)


def test_what_is_awaited_is_closed_by_hand_and_what_is_entered_by_itself(run: Any) -> None:
    async def main() -> None:
        store = await open_async_store("memory:")
        assert await store.users() is not None
        await store.aclose()
        async with open_async_store("memory:") as other:
            pass
        for one in (store, other):
            with pytest.raises(StoreNotReadyError):
                await one.users()

    run(main)


def test_errors_of_opening_are_raised_when_it_is_awaited(run: Any) -> None:
    async def main() -> None:
        opening = open_async_store("memry:")
        with pytest.raises(ConfigurationError, match="memory"):
            await opening
        with pytest.raises(ConfigurationError, match="memory"):
            async with open_async_engine("memry:"):
                raise AssertionError

    run(main)


@pytest.mark.parametrize("opening", [open_async_store, open_async_index, open_async_engine])
def test_a_wrong_number_of_threads_is_refused_before_anything_is_opened(opening: Any) -> None:
    with pytest.raises(InvalidInputError, match="max_threads"):
        opening("memory:", max_threads=0)


def test_opening_runs_in_a_thread(run: Any, slow: type[Slow]) -> None:
    async def main() -> None:
        opening = asyncio.ensure_future(open_async_store("slow:"))
        assert await asyncio.to_thread(slow.begun.wait, PATIENCE_SECONDS)
        assert not opening.done()
        slow.go.set()
        await (await opening).aclose()

    run(main)
    assert threading.get_ident() not in slow.threads


def openers() -> list[threading.Thread]:
    """Return the threads that open something."""
    return [one for one in threading.enumerate() if one.name == "ialstore-async-open"]


@pytest.mark.parametrize("opened", ["later", "already"])
def test_what_was_opened_for_a_caller_who_is_gone_is_closed(
    opened: str, run: Any, slow: type[Slow]
) -> None:
    async def main() -> None:
        opening = asyncio.ensure_future(open_async_store("slow:"))
        await asyncio.sleep(0)
        assert slow.begun.wait(PATIENCE_SECONDS)  # in the loop, so that it learns of nothing
        (thread,) = openers()
        if opened == "already":
            slow.go.set()
            thread.join()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        slow.go.set()
        await asyncio.to_thread(thread.join)

    run(main)
    (store,) = slow.opened
    with pytest.raises(StoreNotReadyError):
        store.users()


def test_opening_that_fails_for_a_caller_who_is_gone_is_forgotten(
    run: Any, slow: type[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ConfigurationError("wrong")

    monkeypatch.setattr(Slow, "__init__", fail)

    async def main() -> None:
        opening = asyncio.ensure_future(open_async_store("slow:"))
        assert await asyncio.to_thread(slow.begun.wait, PATIENCE_SECONDS)
        (thread,) = openers()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        slow.go.set()
        await asyncio.to_thread(thread.join)

    run(main)
