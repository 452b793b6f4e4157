"""Each cache in turn, opened twice where it can be, and buckets that no other test uses."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ialstore.caching.protocol import Bucket, Cache
from ialstore.registry import find
from ialstore.testing.servers import RunningServer, started
from ialstore.url import StoreURL

_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RunningServer]:
    with started("redis") as server:
        yield server


@pytest.fixture(scope="session")
def dynoxide() -> Iterator[RunningServer]:
    with started("dynoxide") as server, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        yield server


@pytest.fixture(params=["redis"])
def open_cache(request: pytest.FixtureRequest) -> Iterator[Callable[[], Cache]]:
    """Return what opens a cache; what is opened twice is the same cache."""
    server: RunningServer = request.getfixturevalue("redis_server")
    url = StoreURL.parse(f"redis://127.0.0.1:{server.port}")
    with ExitStack() as stack:

        def opened() -> Cache:
            cache: Cache = find("cache", url.scheme).from_url(url, timeout_seconds=5)
            stack.callback(cache.close)
            return cache

        yield opened


@pytest.fixture
def cache(open_cache: Callable[[], Cache]) -> Cache:
    return open_cache()


@pytest.fixture
def other(open_cache: Callable[[], Cache]) -> Cache:
    """Return the same cache as another process has it."""
    return open_cache()


@pytest.fixture
def buckets() -> list[Bucket]:
    """Return two buckets of one owner."""
    owner = f"{os.getpid():x}{next(_numbers):08x}"
    return [Bucket(owner, "session"), Bucket(owner, "user")]


@pytest.fixture
def bucket(buckets: list[Bucket]) -> Bucket:
    return buckets[0]
