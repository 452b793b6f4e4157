"""Which messages have a vector, what is embedded and kept of them, and an embedder that is checked.

The index of a context engine holds one vector for each message of user or assistant with a letter
or digit in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ialstore._text import from_seconds
from ialstore.embedding import embedded_text, has_words, sensible_vectors
from ialstore.errors import ConfigurationError, IalStoreError, UnavailableError
from ialstore.ids import Role
from ialstore.limits import MAX_TEXT_BYTES
from ialstore.model import default_expiry
from ialstore.vector_model import VectorRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from ialstore.embedding import Embedder
    from ialstore.model import Message
    from ialstore.vector_model import IndexSpec

__all__ = ["CheckedEmbedder", "expiry", "kept_text", "make_records", "may_be_cut", "needs_vector"]

_LONGEST_CHARACTER: Final = 4  # bytes of UTF-8


def needs_vector(message: Message) -> bool:
    """Return whether a message can be recalled: user or assistant said it, in words."""
    return message.role in (Role.USER, Role.ASSISTANT) and has_words(message.content)


def kept_text(content: str) -> str:
    """Return what the index keeps: the first 2 KiB, cut between two characters."""
    data = content[:MAX_TEXT_BYTES].encode()
    return data[:MAX_TEXT_BYTES].decode(errors="ignore")


def may_be_cut(text: str) -> bool:
    """Return whether a text that the index kept may be the beginning of a longer one."""
    if len(text) * _LONGEST_CHARACTER <= MAX_TEXT_BYTES - _LONGEST_CHARACTER:
        return False
    return len(text.encode()) > MAX_TEXT_BYTES - _LONGEST_CHARACTER


class CheckedEmbedder:
    """An embedder that fits an index, and whose faults become errors of ialstore."""

    def __init__(self, embedder: Embedder, spec: IndexSpec) -> None:
        """Take an embedder.

        Raises:
            ConfigurationError: the index was made for other vectors.
        """
        if embedder.dimension != spec.dimension or (
            embedder.model and spec.model and embedder.model != spec.model
        ):
            raise ConfigurationError(
                f"the embedder makes vectors of {embedder.dimension} dimensions with "
                f"{embedder.model!r}, the index is for {spec.dimension} with {spec.model!r}; "
                "use the embedder that the index was made with, or another index"
            )
        self._embedder = embedder

    def embed(self, messages: Sequence[Message]) -> NDArray[np.float32]:
        """Return the vectors of messages, shape (n, dimension).

        Raises:
            UnavailableError: the embedder failed.
        """
        end = self._embedder.max_characters
        texts = [embedded_text(message)[:end] for message in messages]
        shape = (len(messages), self._embedder.dimension)
        return self._checked(lambda: self._embedder.embed(texts), shape)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a query, shape (dimension,).

        Raises:
            UnavailableError: the embedder failed.
        """
        end = self._embedder.max_characters
        shape = (self._embedder.dimension,)
        return self._checked(lambda: self._embedder.embed_query(text[:end]), shape)

    def _checked(self, embed: Callable[[], Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
        source = f"the embedder {self._embedder.model!r}"
        try:
            found = embed()
        except IalStoreError:
            raise
        except Exception as error:
            raise UnavailableError(
                f"{source} raised {type(error).__name__}", operation="embed", retryable=True
            ) from error
        return sensible_vectors(found, shape, source)


def expiry(message: Message, retention_seconds: int | None) -> datetime | None:
    """Return when a store with this retention lets a message expire."""
    if message.expires_at is not None:
        return message.expires_at
    seconds = default_expiry(message.id, retention_seconds)
    return None if seconds is None else from_seconds(seconds)


def make_records(
    embedder: CheckedEmbedder, messages: Sequence[Message], retention_seconds: int | None
) -> list[VectorRecord]:
    """Embed messages and return their records, which expire with the store's messages."""
    vectors = embedder.embed(messages)
    return [
        VectorRecord(
            message.id,
            vector,
            message.session_id,
            message.role,
            kept_text(message.content),
            expiry(message, retention_seconds),
        )
        for message, vector in zip(messages, vectors, strict=True)
    ]
