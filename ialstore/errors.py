"""Every error that ialstore raises, and nothing else.

::

    IalStoreError                    backend, operation, retryable, outcome, messages
    ├── ConfigurationError           a URL, a config key or a stored setting is wrong
    │   └── MissingDriverError       an extra is not installed; the text names it
    ├── InvalidInputError            also a ValueError; refused before any I/O
    │   └── LimitExceededError       a size or a count is past its limit
    ├── UnsupportedOperationError    the capabilities of the store do not include this
    ├── StoreNotReadyError           not set up, closed, or written by a newer version
    ├── ConflictError                the same id is stored with other content
    ├── PartialWriteError            a batch was written in part; says which ids
    ├── ThrottledError               the service asks for a pause
    ├── UnavailableError             the service did not answer, or not sensibly
    ├── DeadlineExceededError        the time given to the call is used up
    ├── AccessDeniedError            credentials or file modes forbid it
    ├── LockedError                  another writer holds the store
    ├── StorageFullError             no room, or a quota is used up
    └── CorruptError                 stored data fails its checks

No message of an error holds a secret or any content of a message.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ialstore.model import Message

__all__ = [
    "AccessDeniedError",
    "ConfigurationError",
    "ConflictError",
    "CorruptError",
    "DeadlineExceededError",
    "IalStoreError",
    "InvalidInputError",
    "LimitExceededError",
    "LockedError",
    "MissingDriverError",
    "Outcome",
    "PartialWriteError",
    "StorageFullError",
    "StoreNotReadyError",
    "ThrottledError",
    "UnavailableError",
    "UnsupportedOperationError",
]


class Outcome(StrEnum):
    """What became of a write that raised."""

    NOT_APPLIED = "not_applied"
    """Nothing was written."""
    PARTIAL = "partial"
    """Some of it was written; where it is one batch, a ``PartialWriteError`` says which ids."""
    UNKNOWN = "unknown"
    """It may have been applied, at most once; repeating the call is safe."""


class IalStoreError(Exception):
    """Base of all errors of ialstore.

    Attributes:
        backend: URL scheme of the store that raised, such as ``sqlite``; empty if none did.
        operation: name of the public method, such as ``append``; empty if none.
        retryable: whether the same call may succeed later without a change.
        outcome: what became of the write; ``NOT_APPLIED`` for reads.
        messages: what the context engine was asked to save, so that a retry reuses the ids.
    """

    def __init__(
        self,
        message: str = "",
        *,
        backend: str = "",
        operation: str = "",
        retryable: bool = False,
        outcome: Outcome = Outcome.NOT_APPLIED,
    ) -> None:
        super().__init__(message)
        self.backend = backend
        self.operation = operation
        self.retryable = retryable
        self.outcome = outcome
        self.messages: tuple[Message, ...] = ()


class ConfigurationError(IalStoreError):
    """A URL, a config key or a stored setting is wrong; the text names it."""


class MissingDriverError(ConfigurationError):
    """The driver of a backend is not installed; the text names the extra to install."""


class InvalidInputError(IalStoreError, ValueError):
    """An argument breaks the contract; raised before any I/O."""


class LimitExceededError(InvalidInputError):
    """A size or a count is past its limit."""


class UnsupportedOperationError(IalStoreError):
    """The store's capabilities do not include this."""


class StoreNotReadyError(IalStoreError):
    """The store is not set up, is closed, or has a format newer than this library."""


class ConflictError(IalStoreError):
    """The same id is already stored with other content; what is stored was not changed.

    Attributes:
        ids: the ids in conflict.
    """

    def __init__(
        self,
        message: str = "",
        *,
        ids: Iterable[str] = (),
        backend: str = "",
        operation: str = "",
    ) -> None:
        super().__init__(message, backend=backend, operation=operation)
        self.ids = tuple(ids)


class PartialWriteError(IalStoreError):
    """A batch was written in part; every id of the call is in exactly one of the tuples.

    Attributes:
        stored: written by this call.
        duplicates: already there, equal.
        conflicting: already there with other content; left as it was.
        not_stored: certainly not written.
        unknown: may have been written; repeating the call is safe.
    """

    def __init__(
        self,
        message: str = "",
        *,
        stored: Iterable[str] = (),
        duplicates: Iterable[str] = (),
        conflicting: Iterable[str] = (),
        not_stored: Iterable[str] = (),
        unknown: Iterable[str] = (),
        backend: str = "",
        operation: str = "",
        retryable: bool = False,
    ) -> None:
        super().__init__(
            message,
            backend=backend,
            operation=operation,
            retryable=retryable,
            outcome=Outcome.PARTIAL,
        )
        self.stored = tuple(stored)
        self.duplicates = tuple(duplicates)
        self.conflicting = tuple(conflicting)
        self.not_stored = tuple(not_stored)
        self.unknown = tuple(unknown)


class ThrottledError(IalStoreError):
    """The service asks for a pause."""


class UnavailableError(IalStoreError):
    """The service or file did not answer, or not sensibly."""


class DeadlineExceededError(IalStoreError):
    """The time given to the call is used up."""


class AccessDeniedError(IalStoreError):
    """Credentials, a policy or a file mode forbid it."""


class LockedError(IalStoreError):
    """Another writer holds the store."""


class StorageFullError(IalStoreError):
    """There is no room left, or a quota is used up."""


class CorruptError(IalStoreError):
    """Stored data fails its checks; nothing of it is returned."""
