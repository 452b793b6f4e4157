"""ialstore: pluggable storage for the memory of an LLM agent.

Open a store, an index or a whole context engine by URL or config; every backend gives the same
answers. See ``ConversationStore``, ``VectorIndex`` and ``ContextEngine``.
"""

from typing import TYPE_CHECKING, Any

from ialstore._version import __version__
from ialstore.component import StoreSettings
from ialstore.conversation import ConversationStore
from ialstore.cost import Units, meter
from ialstore.errors import (
    AccessDeniedError,
    ConfigurationError,
    ConflictError,
    CorruptError,
    DeadlineExceededError,
    IalStoreError,
    InvalidInputError,
    LimitExceededError,
    LockedError,
    MissingDriverError,
    Outcome,
    PartialWriteError,
    StorageFullError,
    StoreNotReadyError,
    ThrottledError,
    UnavailableError,
    UnsupportedOperationError,
)
from ialstore.ids import Role, message_id
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
from ialstore.operation import deadline
from ialstore.vector import VectorIndex
from ialstore.vector_model import Hit, IndexSpec, SearchResult, VectorRecord, Where

if TYPE_CHECKING:
    from ialstore.aio import (
        AsyncContextEngine,
        AsyncConversationStore,
        AsyncVectorIndex,
        open_async_engine,
        open_async_index,
        open_async_store,
    )
    from ialstore.callables import CallableEmbedder
    from ialstore.config import open_index, open_store
    from ialstore.context import (
        Context,
        ContextBudget,
        ContextEngine,
        DeleteReport,
        FoundMessage,
        Memory,
        RepairReport,
        open_engine,
    )
    from ialstore.embedding import Embedder, HashingEmbedder

__all__ = [
    "AccessDeniedError",
    "AppendResult",
    "AsyncContextEngine",
    "AsyncConversationStore",
    "AsyncVectorIndex",
    "CallableEmbedder",
    "ConfigurationError",
    "ConflictError",
    "Consistency",
    "Context",
    "ContextBudget",
    "ContextEngine",
    "ConversationStore",
    "CorruptError",
    "DeadlineExceededError",
    "DeleteReport",
    "Embedder",
    "EraseReport",
    "FoundMessage",
    "HashingEmbedder",
    "Hit",
    "IalStoreError",
    "IndexSpec",
    "InvalidInputError",
    "LimitExceededError",
    "LoadReport",
    "LockedError",
    "Memory",
    "Message",
    "MessageSummary",
    "MissingDriverError",
    "OptimizeReport",
    "Outcome",
    "Page",
    "PartialWriteError",
    "RepairReport",
    "Role",
    "SearchResult",
    "SessionInfo",
    "StorageFullError",
    "StoreNotReadyError",
    "StoreSettings",
    "ThrottledError",
    "UnavailableError",
    "Units",
    "UnsupportedOperationError",
    "VectorIndex",
    "VectorRecord",
    "Where",
    "__version__",
    "deadline",
    "message_id",
    "meter",
    "open_async_engine",
    "open_async_index",
    "open_async_store",
    "open_engine",
    "open_index",
    "open_store",
]

# Imported when first asked for: a program that only handles messages or stores of its own need not
# wait for the configuration and the context engine.
_LATER = {
    "AsyncContextEngine": "ialstore.aio",
    "AsyncConversationStore": "ialstore.aio",
    "AsyncVectorIndex": "ialstore.aio",
    "CallableEmbedder": "ialstore.callables",
    "Context": "ialstore.context",
    "ContextBudget": "ialstore.context",
    "ContextEngine": "ialstore.context",
    "DeleteReport": "ialstore.context",
    "Embedder": "ialstore.embedding",
    "FoundMessage": "ialstore.context",
    "HashingEmbedder": "ialstore.embedding",
    "Memory": "ialstore.context",
    "RepairReport": "ialstore.context",
    "open_async_engine": "ialstore.aio",
    "open_async_index": "ialstore.aio",
    "open_async_store": "ialstore.aio",
    "open_engine": "ialstore.context",
    "open_index": "ialstore.config",
    "open_store": "ialstore.config",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
