"""The sound store in which faults of a cache are planted."""

from __future__ import annotations

from typing import Unpack

from ialstore.component import StoreSettings
from ialstore.wrappers.cache import CacheConversationStore, CacheOptions
from ialstore_backends.memory import MemoryConversationStore

TAIL = 32


class Cached(CacheConversationStore):
    """A store in memory behind a cache in memory."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(
            MemoryConversationStore(**settings), CacheOptions(url="memory:", tail=TAIL)
        )
