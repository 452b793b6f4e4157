"""W4: the async face passes the whole kit, asked through an event loop in another thread."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import pytest

from ialstore import AsyncConversationStore, AsyncVectorIndex, IndexSpec
from ialstore.component import StoreSettings
from ialstore.testing.conversation.base import MakeStore
from ialstore.testing.vector.base import MakeIndex
from ialstore_backends.faiss import FaissVectorIndex
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from tests.conformance.brief import BriefIndexSuite, BriefStoreSuite

pytestmark = pytest.mark.no_cover

T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own; a forked child begins a new one."""

    def __init__(self) -> None:
        self._begin()

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns; it has the caller's context variables."""
        if self._process_id != os.getpid():  # pragma: no cover - coverage does not follow it
            self._begin()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def end(self) -> None:
        """Stop it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self) -> None:
        self._process_id = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()


class Blocking:
    """Looks like a store or an index; makes each call on its async face, and waits for it."""

    def __init__(self, face: Any, loop: Loop) -> None:
        self._face = face
        self._loop = loop

    @property
    def _closed(self) -> bool:
        """Whether closing has begun, which nothing public tells."""
        return bool(self._face._threads._refusing)  # noqa: SLF001 - as above

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._face, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *args, **kwargs: self._loop.wait_for(found(*args, **kwargs))

    def close(self) -> None:
        self._loop.wait_for(self._face.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FeedingAsync(Blocking):
    """Makes an async iterable of what ``bulk_load`` is given."""

    def bulk_load(self, items: Iterable[Any], **options: Any) -> Any:
        return self._loop.wait_for(self._face.bulk_load(each(items), **options))


async def each(items: Iterable[Any]) -> AsyncIterator[Any]:
    """Yield the items; waits for each in a thread, for a test may hold it back."""
    remaining, end = iter(items), object()
    while (item := await asyncio.to_thread(next, remaining, end)) is not end:
        yield item


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """Return an event loop for all tests."""
    loop = Loop()
    yield loop
    loop.end()


class TestMemoryStore(BriefStoreSuite):
    @pytest.fixture
    def make_store(self, loop: Loop) -> MakeStore:
        def make_store(**settings: Unpack[StoreSettings]) -> Any:
            return FeedingAsync(AsyncConversationStore(MemoryConversationStore(**settings)), loop)

        return make_store


class TestSqliteStore(BriefStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path, loop: Loop) -> MakeStore:
        def make_store(**settings: Unpack[StoreSettings]) -> Any:
            store = SqliteConversationStore(tmp_path / "conversations.db", **settings)
            return Blocking(AsyncConversationStore(store, max_threads=2), loop)

        return make_store


class TestMemoryIndex(BriefIndexSuite):
    @pytest.fixture
    def make_index(self, loop: Loop) -> MakeIndex:
        def make_index(spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Any:
            return FeedingAsync(AsyncVectorIndex(MemoryVectorIndex(spec, **settings)), loop)

        return make_index


class TestSqliteIndex(BriefIndexSuite):
    @pytest.fixture
    def make_index(self, tmp_path: Path, loop: Loop) -> MakeIndex:
        def make_index(spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Any:
            index = SqliteVectorIndex(tmp_path / "vectors.db", spec, **settings)
            return Blocking(AsyncVectorIndex(index, max_threads=2), loop)

        return make_index


class TestFaissIndex(BriefIndexSuite):
    """Without an index: what FAISS does is the same in any thread; the directory is what counts."""

    @pytest.fixture
    def make_index(self, tmp_path: Path, loop: Loop) -> MakeIndex:
        def make_index(spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Any:
            index = FaissVectorIndex(tmp_path / "faiss", spec, **settings)
            return Blocking(AsyncVectorIndex(index, max_threads=2), loop)

        return make_index
