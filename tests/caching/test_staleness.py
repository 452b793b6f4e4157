"""W2: no process reads what is stale, however many read and write at once."""

from __future__ import annotations

import os

import pytest

from ialstore.testing.profiles import PROFILES, profile
from ialstore.testing.servers import RunningServer
from tests.caching.staleness import measure

pytestmark = pytest.mark.no_cover

THOROUGH = profile() == PROFILES["thorough"]


def url(server: RunningServer) -> str:
    return f"redis://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("pause", "reads"), [(0.1, 50_000 if THOROUGH else 1000), (0.01, 1000)], ids=["many", "harsh"]
)
def test_readers_of_other_processes_read_nothing_stale(
    dynoxide: RunningServer, redis_server: RunningServer, pause: float, reads: int
) -> None:
    counts = measure(
        dynoxide.endpoint,
        url(redis_server),
        f"fresh{os.getpid()}-{pause}-",
        seconds=60 if THOROUGH else 8,
        pause=pause,
    )

    assert counts.stale == 0, counts
    assert counts.reads > reads, counts
    assert counts.hits > counts.reads / 4, "else there was little that could be stale"
    assert counts.writes > 20, counts


def test_a_naive_cache_is_found_stale(dynoxide: RunningServer, redis_server: RunningServer) -> None:
    counts = measure(
        dynoxide.endpoint,
        url(redis_server),
        f"stale{os.getpid()}-",
        seconds=5,
        pause=0.01,
        naive=True,
    )

    assert counts.stale > 0, counts
