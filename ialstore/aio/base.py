"""What async faces share: calls in threads, closing, and what a store says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Generic, ParamSpec, Self, TypeVar

from ialstore import events
from ialstore.aio.loading import load_async
from ialstore.aio.threads import DEFAULT_THREADS, Threads, in_new_thread
from ialstore.component import Component, Progress, StoreSettings
from ialstore.limits import DEFAULT_TIMEOUT_SECONDS
from ialstore.model import LoadReport
from ialstore.operation import count_from_now, seconds_to_begin

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["AsyncComponent", "AsyncFace"]

C = TypeVar("C", bound=Component)
P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")


class AsyncFace(ABC):
    """Base of every async face: makes the calls of a sync object in threads; not for other use."""

    def __init__(self, backend: str, settings: StoreSettings, max_threads: int) -> None:
        self._timeout_seconds = settings.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS)
        self._threads = Threads(max_threads, backend)

    async def aclose(self) -> None:
        """Wait for calls, also for those of cancelled callers, and give everything back.

        Later calls raise ``StoreNotReadyError``. Idempotent; when it is cancelled, the closing
        goes on, and another call waits for it.
        """
        await in_new_thread(self._close, name="ialstore-async-close")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    @abstractmethod
    def _close(self) -> None:
        """Wait for calls and close the sync object; blocks."""

    async def _call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a sync method; a deadline holds for all of it, with the wait for a thread."""
        return await self._run(_name(method), lambda: method(*args, **kwargs), copy_context())

    async def _run(
        self,
        name: str,
        call: Callable[[], T],
        context: Context,
        *,
        renewable: bool = False,
        is_part: bool = False,
    ) -> T:
        return await self._threads.run(
            name,
            call,
            context=context,
            patience_seconds=seconds_to_begin(self._timeout_seconds, renewable=renewable),
            is_part=is_part,
        )


class AsyncComponent(AsyncFace, Generic[C]):
    """Base of ``AsyncConversationStore`` and ``AsyncVectorIndex``; not for other use."""

    def __init__(self, sync: C, *, max_threads: int = DEFAULT_THREADS) -> None:
        super().__init__(sync.backend, sync.settings, max_threads)
        self._sync = sync

    @property
    def sync(self) -> C:
        """What this is the face of, for code that runs in threads of its own."""
        return self._sync

    @property
    def backend(self) -> str:
        """URL scheme of the backend, for events and errors."""
        return self._sync.backend

    @property
    def settings(self) -> StoreSettings:
        """The keyword arguments it was made with."""
        return self._sync.settings

    @property
    def retention_seconds(self) -> int | None:
        """Expiry of what has none of its own, counted from the message's creation; or None."""
        return self._sync.retention_seconds

    @property
    def held_bytes(self) -> int:
        """Bytes that this process holds to answer faster: cached rows, vectors, codes."""
        return self._sync.held_bytes

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        """Call ``listener`` with the event of every call, in the thread of the call.

        Returns the function that ends it.
        """
        return self._sync.subscribe(listener)

    async def setup(self) -> None:
        """Create what is missing; see ``setup`` of the sync class."""
        await self._call_by_request(self._sync.setup)

    async def check(self) -> list[str]:
        """Return what differs from what is expected; see ``check`` of the sync class."""
        return await self._call_by_request(self._sync.check)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.backend})"

    def _close(self) -> None:
        self._threads.close(self._sync.close)

    async def _call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a sync method; its time counts from now, not from when a thread is free."""
        if self._threads.closed:
            return method(*args, **kwargs)  # it raises, and touches nothing
        context = copy_context()
        context.run(count_from_now, self._timeout_seconds)
        return await self._run(_name(method), lambda: method(*args, **kwargs), context)

    async def _call_by_request(
        self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a sync method whose deadline holds for each request, the wait being one."""
        if self._threads.closed:
            return method(*args, **kwargs)  # as above
        return await self._run(
            _name(method), lambda: method(*args, **kwargs), copy_context(), renewable=True
        )

    async def _load_async(
        self,
        items: AsyncIterable[Item],
        load: Callable[[list[Item], Progress | None], LoadReport],
        *,
        progress: Progress | None,
        size_of: Callable[[Item], int | None],
    ) -> LoadReport:
        """Call ``bulk_load`` for each batch of an async iterable; ``aclose`` waits for the last."""

        async def load_batch(batch: list[Item], shown: Progress | None) -> LoadReport:
            return await self._run(
                "bulk_load",
                lambda: load(batch, shown),
                copy_context(),
                renewable=True,
                is_part=True,
            )

        with self._threads.held_open("bulk_load"):
            return await load_async(items, load_batch, progress=progress, size_of=size_of)


def _name(method: Callable[..., object]) -> str:
    return getattr(method, "__name__", "call")
