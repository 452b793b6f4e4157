"""Where a cache is, as a configuration says it, and ``open_cache``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ialstore.errors import InvalidInputError
from ialstore.model import EraseReport
from ialstore.registry import find
from ialstore.url import StoreURL, redact_url

if TYPE_CHECKING:
    from ialstore.caching.guard import Removal
    from ialstore.caching.protocol import Cache

__all__ = ["CacheAddress", "open_cache"]


@dataclass(frozen=True, slots=True)
class CacheAddress:
    """Where a cache is, and how long to wait for it.

    Attributes:
        url: ``redis://``, ``rediss://``, or ``memory:``, which all of this process share.
        ttl_seconds: how long a value stays; no value is older than that, whatever happens.
        timeout_seconds: for one step of the cache, connecting included.
    """

    url: str = field(repr=False)
    ttl_seconds: float = field(default=300.0, kw_only=True)
    timeout_seconds: float = field(default=0.08, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("ttl_seconds", "timeout_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} must be a number above 0")

    def erased(self, removal: Removal) -> EraseReport:
        """Return the report of what was removed of a user; names the cache if it did not answer."""
        if removal.is_sure:
            return EraseReport(cached=removal.values)
        where = redact_url(self.url)
        left = f"the cache {where}, which did not answer: values end within {self.ttl_seconds:g} s"
        return EraseReport(cached=removal.values, out_of_reach=(left,))


def open_cache(address: CacheAddress) -> Cache:
    """Return the cache of a URL; connects to nothing yet.

    Raises:
        ConfigurationError: the URL or an option in it is wrong.
        MissingDriverError: a driver is not installed; the text names the extra.
    """
    url = StoreURL.parse(address.url)
    found = find("cache", url.scheme)
    return cast("Cache", found.from_url(url, timeout_seconds=address.timeout_seconds))
