"""ialstore: pluggable storage for the memory of an LLM agent.

Open a store, an index or a whole context engine by URL or config; every backend gives the same
answers. See ``ConversationStore``, ``VectorIndex`` and ``ContextEngine``.
"""

from ialstore._version import __version__
from ialstore.config import open_index, open_store
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

__all__ = [
    "AccessDeniedError",
    "AppendResult",
    "ConfigurationError",
    "ConflictError",
    "Consistency",
    "ConversationStore",
    "CorruptError",
    "DeadlineExceededError",
    "EraseReport",
    "Hit",
    "IalStoreError",
    "IndexSpec",
    "InvalidInputError",
    "LimitExceededError",
    "LoadReport",
    "LockedError",
    "Message",
    "MessageSummary",
    "MissingDriverError",
    "OptimizeReport",
    "Outcome",
    "Page",
    "PartialWriteError",
    "Role",
    "SearchResult",
    "SessionInfo",
    "StorageFullError",
    "StoreNotReadyError",
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
    "open_index",
    "open_store",
]
