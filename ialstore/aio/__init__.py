"""The async face: stores, indexes and the context engine for asyncio.

The same methods as the sync classes, to be awaited: each call runs in a thread of a small pool.
``docs/async.md`` says what cancelling means.
"""

from ialstore.aio.conversations import AsyncConversationStore
from ialstore.aio.engine import AsyncContextEngine
from ialstore.aio.opening import open_async_engine, open_async_index, open_async_store
from ialstore.aio.vectors import AsyncVectorIndex

__all__ = [
    "AsyncContextEngine",
    "AsyncConversationStore",
    "AsyncVectorIndex",
    "open_async_engine",
    "open_async_index",
    "open_async_store",
]
