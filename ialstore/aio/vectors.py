"""``AsyncVectorIndex``: the async face of any vector index."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any

from ialstore.aio.base import AsyncComponent
from ialstore.aio.loading import record_size
from ialstore.capabilities import VectorCapabilities
from ialstore.component import Progress
from ialstore.model import Consistency, EraseReport, LoadReport, OptimizeReport, Page
from ialstore.vector import VectorIndex
from ialstore.vector_model import IndexSpec, SearchResult, VectorRecord, Where

__all__ = ["AsyncVectorIndex"]

_EVERYTHING = Where()


class AsyncVectorIndex(AsyncComponent[VectorIndex]):
    """Vectors of an agent's messages, for asyncio; see ``VectorIndex``.

    Threads, cancelling and closing are as for ``AsyncConversationStore``.
    """

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do."""
        return self._sync.capabilities

    @property
    def spec(self) -> IndexSpec:
        """What the index was made for."""
        return self._sync.spec

    # -- writing --------------------------------------------------------------------------------

    async def upsert(self, user_id: str, records: Sequence[VectorRecord]) -> None:
        """Store up to 1,000 records; see ``VectorIndex.upsert``."""
        await self._call(self._sync.upsert, user_id, records)

    async def delete(self, user_id: str, ids: Sequence[str]) -> int:
        """Delete vectors by id; see ``VectorIndex.delete``."""
        return await self._call(self._sync.delete, user_id, ids)

    async def delete_session(self, user_id: str, session_id: str) -> int:
        """Delete all vectors of a session; see ``VectorIndex.delete_session``."""
        return await self._call_by_request(self._sync.delete_session, user_id, session_id)

    async def erase(self, user_id: str) -> EraseReport:
        """Remove everything of a user; see ``VectorIndex.erase``."""
        return await self._call_by_request(self._sync.erase, user_id)

    async def bulk_load(
        self,
        records: Iterable[tuple[str, VectorRecord]] | AsyncIterable[tuple[str, VectorRecord]],
        *,
        progress: Progress | None = None,
    ) -> LoadReport:
        """Restore pairs of user id and record; see ``VectorIndex.bulk_load``.

        An async iterable is read in the caller's task, and each batch of up to 1,000 records is a
        call of its own; any other iterable is read in the thread of the one call. ``progress`` is
        called in the thread.
        """
        if isinstance(records, AsyncIterable):
            return await self._load_async(
                records,
                lambda batch, shown: self._sync.bulk_load(batch, progress=shown),
                progress=progress,
                size_of=lambda pair: record_size(pair, self.spec),
            )
        return await self._call_by_request(self._sync.bulk_load, records, progress=progress)

    def is_optimize_due(self, user_id: str) -> bool:
        """Return whether ``optimize`` pays; see ``VectorIndex.is_optimize_due``."""
        return self._sync.is_optimize_due(user_id)

    async def optimize(
        self, user_id: str, *, progress: Progress | None = None, only_due: bool = False
    ) -> OptimizeReport:
        """Do maintenance; see ``VectorIndex.optimize``. ``progress`` runs in the thread."""
        return await self._call_by_request(
            self._sync.optimize, user_id, progress=progress, only_due=only_due
        )

    # -- reading --------------------------------------------------------------------------------

    def is_prefetch_due(self, user_id: str) -> bool:
        """Return whether ``prefetch`` would help; see ``VectorIndex.is_prefetch_due``."""
        return self._sync.is_prefetch_due(user_id)

    async def prefetch(self, user_id: str, *, consistency: Consistency | None = None) -> None:
        """Read beforehand what searches begin with; see ``VectorIndex.prefetch``."""
        await self._call(self._sync.prefetch, user_id, consistency=consistency)

    async def search(
        self,
        user_id: str,
        vector: Any,
        k: int = 10,
        *,
        where: Where = _EVERYTHING,
        effort: float | None = None,
        consistency: Consistency | None = None,
    ) -> SearchResult:
        """Return the nearest vectors of a user, best first; see ``VectorIndex.search``."""
        return await self._call(
            self._sync.search,
            user_id,
            vector,
            k,
            where=where,
            effort=effort,
            consistency=consistency,
        )

    async def get(
        self, user_id: str, ids: Sequence[str], *, consistency: Consistency | None = None
    ) -> list[VectorRecord]:
        """Return the records with these ids; see ``VectorIndex.get``."""
        return await self._call(self._sync.get, user_id, ids, consistency=consistency)

    async def count(self, user_id: str, *, consistency: Consistency | None = None) -> int:
        """Return the number of a user's vectors; see ``VectorIndex.count``."""
        return await self._call(self._sync.count, user_id, consistency=consistency)

    async def ids(
        self,
        user_id: str,
        *,
        limit: int = 1000,
        cursor: str | None = None,
        consistency: Consistency | None = None,
    ) -> Page[str]:
        """Return one page of the ids of a user's vectors; see ``VectorIndex.ids``."""
        return await self._call(
            self._sync.ids, user_id, limit=limit, cursor=cursor, consistency=consistency
        )

    async def users(self, *, limit: int = 100, cursor: str | None = None) -> Page[str]:
        """Return one page of all users; see ``VectorIndex.users``."""
        return await self._call_by_request(self._sync.users, limit=limit, cursor=cursor)
