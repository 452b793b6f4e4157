"""``AsyncContextEngine``: the async face of a context engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from ialstore.aio.base import AsyncFace
from ialstore.aio.conversations import AsyncConversationStore
from ialstore.aio.threads import DEFAULT_THREADS
from ialstore.aio.vectors import AsyncVectorIndex
from ialstore.component import Progress
from ialstore.context import (
    Context,
    ContextBudget,
    ContextEngine,
    DeleteReport,
    FoundMessage,
    RepairReport,
)
from ialstore.context.retrieve import SPOKEN
from ialstore.embedding import Embedder
from ialstore.ids import Role
from ialstore.model import AppendResult, EraseReport, Message
from ialstore.vector_model import Where

__all__ = ["AsyncContextEngine"]


class AsyncContextEngine(AsyncFace):
    """The memory of an agent, for asyncio; see ``ContextEngine``.

    Threads, cancelling and closing are as for ``AsyncConversationStore``. The faces of the store
    and the index have threads of their own, as many each; they start when they are needed.
    """

    def __init__(self, sync: ContextEngine, *, max_threads: int = DEFAULT_THREADS) -> None:
        super().__init__(sync.store.backend, sync.store.settings, max_threads)
        self._sync = sync
        self._store = AsyncConversationStore(sync.store, max_threads=max_threads)
        self._index = AsyncVectorIndex(sync.index, max_threads=max_threads)

    @property
    def sync(self) -> ContextEngine:
        """What this is the face of, for code that runs in threads of its own."""
        return self._sync

    @property
    def store(self) -> AsyncConversationStore:
        """Where the messages are."""
        return self._store

    @property
    def index(self) -> AsyncVectorIndex:
        """Where the vectors are."""
        return self._index

    @property
    def embedder(self) -> Embedder:
        """What makes the vectors; its calls block."""
        return self._sync.embedder

    @property
    def budget(self) -> ContextBudget:
        """How much a context may hold."""
        return self._sync.budget

    # -- writing --------------------------------------------------------------------------------

    async def append(self, *messages: Message) -> AppendResult:
        """Store messages, then their vectors; see ``ContextEngine.append``."""
        return await self._call(self._sync.append, *messages)

    async def replace(self, message: Message) -> bool:
        """Replace a message and its vector; see ``ContextEngine.replace``."""
        return await self._call(self._sync.replace, message)

    async def save(
        self,
        user_id: str,
        session_id: str,
        role: Role | str,
        content: str,
        *,
        payload: dict[str, Any] | list[Any] | None = None,
        name: str | None = None,
        turn_id: str | None = None,
        source_id: str | None = None,
        summary: str | None = None,
        tokens: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Message:
        """Make a message of this moment and append it; see ``ContextEngine.save``.

        Repeating a call that was cancelled may make a second message; to be able to repeat it,
        make the message with ``Message.new`` and ``append`` it.
        """
        return await self._call(
            self._sync.save,
            user_id,
            session_id,
            role,
            content,
            payload=payload,
            name=name,
            turn_id=turn_id,
            source_id=source_id,
            summary=summary,
            tokens=tokens,
            metadata=metadata,
            expires_at=expires_at,
        )

    async def save_interaction(
        self, user_id: str, session_id: str, user_text: str, assistant_text: str
    ) -> tuple[Message, Message]:
        """Append a question and its answer; see ``ContextEngine.save_interaction``.

        Repeating a call that was cancelled may store both twice, as with ``save``.
        """
        return await self._call(
            self._sync.save_interaction, user_id, session_id, user_text, assistant_text
        )

    # -- removing and repairing -----------------------------------------------------------------

    async def delete(self, user_id: str, ids: Sequence[str]) -> DeleteReport:
        """Remove messages and their vectors by id; see ``ContextEngine.delete``."""
        return await self._call(self._sync.delete, user_id, ids)

    async def delete_session(self, user_id: str, session_id: str) -> DeleteReport:
        """Remove all messages of a session; see ``ContextEngine.delete_session``."""
        return await self._call(self._sync.delete_session, user_id, session_id)

    async def erase(self, user_id: str) -> EraseReport:
        """Remove everything of a user; see ``ContextEngine.erase``."""
        return await self._call(self._sync.erase, user_id)

    async def repair(self, user_id: str, *, progress: Progress | None = None) -> RepairReport:
        """Mend the vectors of a user; see ``ContextEngine.repair``.

        ``progress`` is called in the thread.
        """
        return await self._call(self._sync.repair, user_id, progress=progress)

    # -- reading --------------------------------------------------------------------------------

    async def build_context(
        self,
        query: str,
        user_id: str,
        session_id: str | None = None,
        *,
        max_tokens: int | None = None,
    ) -> Context:
        """Return the newest messages and what else is recalled; see the sync method."""
        return await self._call(
            self._sync.build_context, query, user_id, session_id, max_tokens=max_tokens
        )

    async def search(
        self, query: str, user_id: str, k: int = 10, *, where: Where = SPOKEN
    ) -> list[FoundMessage]:
        """Return the messages nearest to a query; see ``ContextEngine.search``."""
        return await self._call(self._sync.search, query, user_id, k, where=where)

    async def get_performance_metrics(self) -> dict[str, float]:
        """Return figures of this engine; see ``ContextEngine.get_performance_metrics``."""
        return await self._call(self._sync.get_performance_metrics)

    def __repr__(self) -> str:
        return f"Async{self._sync!r}"

    def _close(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._store._close)  # noqa: SLF001 - faces of one engine
            stack.callback(self._index._close)  # noqa: SLF001 - faces of one engine
            stack.callback(self._threads.close, self._sync.close)
