"""``sqlite:`` stores and indexes: one file, used by many threads and processes at once."""

from ialstore_backends.sqlite.connection import SqliteOptions
from ialstore_backends.sqlite.conversations import SqliteConversationStore
from ialstore_backends.sqlite.vectors import SqliteVectorIndex

__all__ = ["SqliteConversationStore", "SqliteOptions", "SqliteVectorIndex"]
