"""``AsyncConversationStore``: the async face of any conversation store."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from datetime import datetime

from ialstore.aio.base import AsyncComponent
from ialstore.aio.loading import message_size
from ialstore.capabilities import ConversationCapabilities
from ialstore.component import Progress
from ialstore.conversation import ConversationStore
from ialstore.model import (
    AppendResult,
    Consistency,
    EraseReport,
    LoadReport,
    Message,
    MessageSummary,
    OptimizeReport,
    Page,
    SessionInfo,
)

__all__ = ["AsyncConversationStore"]


class AsyncConversationStore(AsyncComponent[ConversationStore]):
    """Messages of an agent's conversations, for asyncio; see ``ConversationStore``.

    Every call runs in one of up to ``max_threads`` threads. Cancelling it frees the caller at
    once; if it has begun it runs on, its outcome unknown, and repeating it is safe. ``meter()``
    and ``deadline()`` hold as in sync code; the time that a call waits for a thread counts too.
    The store belongs to the face: ``aclose`` closes it. For any number of event loops.
    """

    @property
    def capabilities(self) -> ConversationCapabilities:
        """What this store can do."""
        return self._sync.capabilities

    # -- writing --------------------------------------------------------------------------------

    async def append(self, *messages: Message) -> AppendResult:
        """Store up to 100 messages of one user; see ``ConversationStore.append``."""
        return await self._call(self._sync.append, *messages)

    async def replace(self, message: Message) -> bool:
        """Replace a message as a whole; see ``ConversationStore.replace``."""
        return await self._call(self._sync.replace, message)

    async def delete(self, user_id: str, ids: Sequence[str]) -> int:
        """Delete messages by id; see ``ConversationStore.delete``."""
        return await self._call(self._sync.delete, user_id, ids)

    async def delete_session(self, user_id: str, session_id: str) -> int:
        """Delete all messages of a session; see ``ConversationStore.delete_session``."""
        return await self._call_by_request(self._sync.delete_session, user_id, session_id)

    async def erase(self, user_id: str) -> EraseReport:
        """Remove everything of a user; see ``ConversationStore.erase``."""
        return await self._call_by_request(self._sync.erase, user_id)

    async def bulk_load(
        self,
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        progress: Progress | None = None,
    ) -> LoadReport:
        """Restore messages of any users; see ``ConversationStore.bulk_load``.

        An async iterable is read in the caller's task, and each batch of up to 1,000 messages is a
        call of its own; any other iterable is read in the thread of the one call. ``progress`` is
        called in the thread.
        """
        if isinstance(messages, AsyncIterable):
            return await self._load_async(
                messages,
                lambda batch, shown: self._sync.bulk_load(batch, progress=shown),
                progress=progress,
                size_of=message_size,
            )
        return await self._call_by_request(self._sync.bulk_load, messages, progress=progress)

    async def optimize(self, user_id: str, *, progress: Progress | None = None) -> OptimizeReport:
        """Do maintenance; see ``ConversationStore.optimize``. ``progress`` runs in the thread."""
        return await self._call_by_request(self._sync.optimize, user_id, progress=progress)

    # -- reading --------------------------------------------------------------------------------

    async def get(
        self, user_id: str, ids: Sequence[str], *, consistency: Consistency | None = None
    ) -> list[Message]:
        """Return the messages with these ids; see ``ConversationStore.get``."""
        return await self._call(self._sync.get, user_id, ids, consistency=consistency)

    async def history(
        self,
        user_id: str,
        *,
        session_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = True,
        limit: int = 50,
        cursor: str | None = None,
        consistency: Consistency | None = None,
    ) -> Page[Message]:
        """Return one page of a user's messages; see ``ConversationStore.history``."""
        return await self._call(
            self._sync.history,
            user_id,
            session_id=session_id,
            since=since,
            until=until,
            newest_first=newest_first,
            limit=limit,
            cursor=cursor,
            consistency=consistency,
        )

    async def summaries(
        self,
        user_id: str,
        *,
        session_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = True,
        limit: int = 50,
        cursor: str | None = None,
        consistency: Consistency | None = None,
    ) -> Page[MessageSummary]:
        """Return one page of a user's messages in short; see ``ConversationStore.summaries``."""
        return await self._call(
            self._sync.summaries,
            user_id,
            session_id=session_id,
            since=since,
            until=until,
            newest_first=newest_first,
            limit=limit,
            cursor=cursor,
            consistency=consistency,
        )

    async def sessions(
        self,
        user_id: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        consistency: Consistency | None = None,
    ) -> Page[SessionInfo]:
        """Return one page of a user's sessions; see ``ConversationStore.sessions``."""
        return await self._call(
            self._sync.sessions, user_id, limit=limit, cursor=cursor, consistency=consistency
        )

    async def users(self, *, limit: int = 100, cursor: str | None = None) -> Page[str]:
        """Return one page of all users; see ``ConversationStore.users``."""
        return await self._call_by_request(self._sync.users, limit=limit, cursor=cursor)
