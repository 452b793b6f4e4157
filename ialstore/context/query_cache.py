"""``QueryCache``: keeps the vectors of queries, which an embedder would make the same again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.caching.envelope import seal, unseal
from ialstore.caching.guard import GuardedCache
from ialstore.caching.options import CacheAddress, open_cache
from ialstore.caching.protocol import Bucket
from ialstore.caching.reader import Reader, owner_of, slot_of
from ialstore.operation import end_of_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ialstore.caching.protocol import Cache
    from ialstore.model import EraseReport

__all__ = ["QueryCache", "QueryCacheOptions"]

_DAY_SECONDS: Final = 86_400.0
_EMBED_SECONDS: Final = 5.0
"""For an embedder, where no deadline is set."""
_LEAST_SECONDS: Final = 0.01
_PART: Final = "queries"


@dataclass(frozen=True, slots=True)
class QueryCacheOptions(CacheAddress):
    """Where the vectors of queries are kept.

    Attributes:
        ttl_seconds: how long each stays.
    """

    ttl_seconds: float = field(default=_DAY_SECONDS, kw_only=True)


class QueryCache:
    """The vectors of each user's queries; safe from many threads.

    Args:
        options: where they are kept.
        model: of the embedder, which tells its vectors from those of others.
        dimension: of the vectors.
        cache: instead of the one that the URL names.

    Raises:
        ConfigurationError: the URL is wrong.
    """

    def __init__(
        self,
        options: QueryCacheOptions,
        model: str,
        dimension: int,
        *,
        cache: Cache | None = None,
    ) -> None:
        self._cache = GuardedCache(cache or open_cache(options), options.ttl_seconds)
        self._reader = Reader(self._cache, options.ttl_seconds)
        self._options = options
        self._model = model
        self._dimension = dimension
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes that it holds in this process."""
        return self._cache.held_bytes

    def embed(
        self, user_id: str, text: str, embed: Callable[[str], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Return the vector of a user's query; ``embed`` makes it where it is not there."""
        slot = slot_of(_address(user_id), _PART, "query", self._model, str(self._dimension), text)

        def answer(sealed: bytes) -> NDArray[np.float32]:
            body = unseal(slot.key, sealed)
            if body is None:
                raise ValueError("no value of this key")
            return np.frombuffer(body, "<f4").astype(np.float32).reshape(self._dimension)

        def load() -> tuple[NDArray[np.float32], bytes | None]:
            vector = embed(text)
            return vector, seal(slot.key, vector.astype("<f4").tobytes())

        found = self._reader.read(self, slot, answer, load)
        return embed(text) if found is None else found

    def erase(self, user_id: str) -> EraseReport:
        """Remove the vectors of a user's queries."""
        buckets = [Bucket(owner_of(_address(user_id)), _PART)]
        return self._options.erased(self._cache.settle(buckets, ""))

    def counts(self) -> dict[str, int]:
        """Return what was looked up so far: ``cache_hits``, ``cache_misses`` and others."""
        with self._lock:
            return dict(self._counts)

    def remaining(self) -> float:
        """Return the seconds that an embedder has now."""
        return max(end_of_call(_EMBED_SECONDS) - time.monotonic(), _LEAST_SECONDS)

    def count(self, key: str, amount: int = 1) -> None:
        """Add to one of the counts."""
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + amount

    def close(self) -> None:
        """Give connections back."""
        self._cache.close()

    def after_fork(self) -> None:  # pragma: no cover - in a child only
        """Forget what belongs to the parent: connections, readers, and a lock they may hold."""
        self._lock = threading.Lock()
        self._reader.after_fork()


def _address(user_id: str) -> tuple[str, ...]:
    return ("queries", user_id)
