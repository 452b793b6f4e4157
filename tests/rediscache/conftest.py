"""A Redis of the session, caches on servers, and buckets that no other test uses."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ialstore.caching.protocol import Bucket
from ialstore.testing.redis_servers import client_of
from ialstore.testing.servers import RunningServer, started
from ialstore.url import StoreURL
from ialstore_backends.redis import RedisCache

_numbers = itertools.count()

Open = Callable[..., RedisCache]


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RunningServer]:
    """Return a server that nobody harms."""
    with started("redis") as server:
        yield server


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """Return a server of the test's own."""
    with started("redis", "--enable-debug-command", "yes") as server:
        yield server


@pytest.fixture
def admin(server: RunningServer) -> Iterator[Any]:
    """Return a plain client of the test's own server."""
    with client_of(server) as client:
        yield client


@pytest.fixture
def opened() -> Iterator[Open]:
    """Return what opens the cache at a URL, or on a server."""
    with ExitStack() as stack:

        def opened(where: str | RunningServer, timeout_seconds: float = 5) -> RedisCache:
            text = where if isinstance(where, str) else f"redis://127.0.0.1:{where.port}"
            url = StoreURL.parse(text)
            cache = RedisCache.from_url(url, timeout_seconds=timeout_seconds)
            stack.callback(cache.close)
            return cache

        yield opened


@pytest.fixture
def cache(opened: Open, server: RunningServer) -> RedisCache:
    return opened(server)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(f"{os.getpid():x}{next(_numbers):08x}", "session")
