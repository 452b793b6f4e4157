"""``readonly``: refuses every write before it reaches the store, ``setup`` included."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from ialstore.wrappers.base import ConversationWrapper, VectorWrapper

if TYPE_CHECKING:
    from ialstore.capabilities import ConversationCapabilities, VectorCapabilities

__all__ = ["ReadonlyConversationStore", "ReadonlyVectorIndex"]


class ReadonlyConversationStore(ConversationWrapper):
    """A conversation store that only answers."""

    NAME: ClassVar[str] = "readonly"

    @property
    def capabilities(self) -> ConversationCapabilities:
        """Those of the inner store, without writing."""
        return replace(self.inner.capabilities, writable=False, needs_setup=False)


class ReadonlyVectorIndex(VectorWrapper):
    """A vector index that only answers.

    Looking at an index that was never used stores its spec, as any first look does.
    """

    NAME: ClassVar[str] = "readonly"

    @property
    def capabilities(self) -> VectorCapabilities:
        """Those of the inner index, without writing."""
        return replace(self.inner.capabilities, writable=False, needs_setup=False)
