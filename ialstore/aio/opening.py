"""``open_async_store``, ``open_async_index`` and ``open_async_engine``."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, Unpack

from ialstore.aio.base import AsyncFace
from ialstore.aio.conversations import AsyncConversationStore
from ialstore.aio.engine import AsyncContextEngine
from ialstore.aio.threads import DEFAULT_THREADS, check_max_threads, in_new_thread
from ialstore.aio.vectors import AsyncVectorIndex

if TYPE_CHECKING:
    from types import TracebackType

    from ialstore.component import StoreSettings
    from ialstore.config import ConfigSource
    from ialstore.context import ContextEngine
    from ialstore.conversation import ConversationStore
    from ialstore.vector import VectorIndex
    from ialstore.vector_model import IndexSpec

__all__ = ["Opening", "open_async_engine", "open_async_index", "open_async_store"]

F = TypeVar("F", bound=AsyncFace)


class _Closable(Protocol):
    def close(self) -> None: ...


S = TypeVar("S", bound=_Closable)


class Opening(Generic[F]):
    """What opens a face: ``await`` it, or enter it with ``async with``, which also closes it."""

    def __init__(self, open_sync: Callable[[], S], face: Callable[[S], F]) -> None:
        async def opened() -> F:
            return face(
                await in_new_thread(
                    open_sync, name="ialstore-async-open", unwanted=lambda one: one.close()
                )
            )

        self._open = opened

    def __await__(self) -> Generator[Any, None, F]:
        return self._open().__await__()

    async def __aenter__(self) -> F:
        self._opened = await self
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()


def open_async_store(
    source: ConfigSource = None,
    *,
    max_threads: int = DEFAULT_THREADS,
    **settings: Unpack[StoreSettings],
) -> Opening[AsyncConversationStore]:
    """Open a conversation store for asyncio, in a thread: that may touch files, import drivers.

    Write ``async with open_async_store(url) as store:``, or ``await open_async_store(url)`` and
    close it yourself.

    Args:
        source: see ``open_store``.
        max_threads: how many calls may run at a time, 1 to 1,000; others wait.
        **settings: see ``open_store``.

    Raises:
        InvalidInputError: ``max_threads`` is out of range.
        IalStoreError: as ``open_store``, when it is awaited.
    """
    check_max_threads(max_threads)

    def open_sync() -> ConversationStore:
        from ialstore.config import open_store

        return open_store(source, **settings)

    return Opening(open_sync, lambda store: AsyncConversationStore(store, max_threads=max_threads))


def open_async_index(
    source: ConfigSource = None,
    spec: IndexSpec | None = None,
    *,
    max_threads: int = DEFAULT_THREADS,
    **settings: Unpack[StoreSettings],
) -> Opening[AsyncVectorIndex]:
    """Open a vector index for asyncio, as ``open_async_store`` opens a store.

    Args:
        source: see ``open_index``.
        spec: see ``open_index``.
        max_threads: how many calls may run at a time, 1 to 1,000; others wait.
        **settings: see ``open_index``.

    Raises:
        InvalidInputError: ``max_threads`` is out of range.
        IalStoreError: as ``open_index``, when it is awaited.
    """
    check_max_threads(max_threads)

    def open_sync() -> VectorIndex:
        from ialstore.config import open_index

        return open_index(source, spec, **settings)

    return Opening(open_sync, lambda index: AsyncVectorIndex(index, max_threads=max_threads))


def open_async_engine(
    source: ConfigSource = None,
    *,
    max_threads: int = DEFAULT_THREADS,
    **settings: Unpack[StoreSettings],
) -> Opening[AsyncContextEngine]:
    """Open a context engine for asyncio, as ``open_async_store`` opens a store.

    Args:
        source: see ``open_engine``.
        max_threads: how many calls may run at a time, 1 to 1,000; others wait.
        **settings: see ``open_engine``.

    Raises:
        InvalidInputError: ``max_threads`` is out of range.
        IalStoreError: as ``open_engine``, when it is awaited.
    """
    check_max_threads(max_threads)

    def open_sync() -> ContextEngine:
        from ialstore.context import open_engine

        return open_engine(source, **settings)

    return Opening(open_sync, lambda engine: AsyncContextEngine(engine, max_threads=max_threads))
