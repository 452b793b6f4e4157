"""Many processes read what one writes, through a cache, and count what is stale.

Run as a program for each process by ``measure``: a writer appends numbered messages to a few
sessions and says in shared memory which are acknowledged; readers read the newest messages of a
session, which must not be older than what was acknowledged before they began.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ialstore import ConversationStore, Message
from ialstore.caching.protocol import Bucket, Cache, Found, Look
from ialstore.registry import find
from ialstore.url import StoreURL
from ialstore.wrappers.cache import CacheConversationStore, CacheOptions
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions

SESSIONS = 4
NEWEST = 5
_NUMBER = struct.Struct("q")


class NaiveCache:
    """The same cache as most programs use one: read, and put; write, and remove."""

    SHARED = True

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    @property
    def held_bytes(self) -> int:
        return 0

    def look(self, bucket: Bucket, name: str, token: str | None, lease_ms: int) -> Look:
        look = self._cache.look(bucket, name, None, lease_ms)
        return Look(Found.LEASED) if look.found is not Found.VALUE and token else look

    def fill(self, bucket: Bucket, name: str, token: str, value: bytes, ttl_ms: int) -> bool:
        self._cache.look(bucket, name, token, 10)
        return self._cache.fill(bucket, name, token, value, ttl_ms)

    def release(self, bucket: Bucket, name: str, token: str) -> None:
        pass

    def mark(
        self, buckets: Sequence[Bucket], token: str, mark_ms: int, *, wait: bool = True
    ) -> int:
        return 0

    def settle(
        self, buckets: Sequence[Bucket], token: str, keep_ms: int = 0, *, wait: bool = True
    ) -> int:
        return self._cache.settle(buckets, token)

    def close(self) -> None:
        self._cache.close()

    def after_fork(self) -> None:
        self._cache.after_fork()


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened: reads, those that were stale, those that the cache answered, and writes."""

    reads: int = 0
    stale: int = 0
    hits: int = 0
    writes: int = 0
    unmarked: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.reads + other.reads,
            self.stale + other.stale,
            self.hits + other.hits,
            self.writes + other.writes,
            self.unmarked + other.unmarked,
        )


def measure(
    dynamodb: str,
    redis: str,
    prefix: str,
    *,
    seconds: float,
    pause: float,
    readers: int = 7,
    naive: bool = False,
) -> Counts:
    """Return what a writer and so many readers, each a process, counted together.

    Args:
        dynamodb: endpoint of the server.
        redis: URL of the cache.
        prefix: of the tables.
        seconds: how long they all work.
        pause: how long the writer rests after a message at most, in seconds. Each message
            invalidates what the readers share: with short pauses most reads fill the cache, with
            long ones most are answered by it.
        readers: how many.
        naive: use the cache as most programs use one.
    """
    with ExitStack() as stack:
        store = stack.enter_context(
            DynamoConversationStore(prefix, DynamoOptions(endpoint=dynamodb))
        )
        store.setup()
        shared = stack.enter_context(tempfile.NamedTemporaryFile())
        shared.write(_NUMBER.pack(-1) * SESSIONS)
        shared.flush()
        common = [dynamodb, redis, prefix, shared.name, str(seconds), str(pause), str(int(naive))]
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, str(number), *common],
                stdout=subprocess.PIPE,
                env=environment,
            )
            for number in range(readers + 1)
        ]
        outputs = [process.communicate(timeout=seconds + 60)[0] for process in processes]
        assert not any(process.returncode for process in processes), outputs
    total = Counts()
    for output in outputs:
        total += Counts(**json.loads(output))
    return total


def _open(args: argparse.Namespace) -> ConversationStore:
    cache: Cache = find("cache", "redis").from_url(StoreURL.parse(args.redis), timeout_seconds=0.08)
    inner = DynamoConversationStore(args.prefix, DynamoOptions(endpoint=args.dynamodb))
    return CacheConversationStore(
        inner,
        CacheOptions(url=args.redis),
        cache=cast("Cache", NaiveCache(cache)) if args.naive else cache,
    )


def _write(store: ConversationStore, acked: mmap.mmap, ends_at: float, pause: float) -> Counts:
    unmarked = writes = 0

    def listen(event: Any) -> None:
        nonlocal unmarked
        unmarked += event.details.get("cache_unmarked", 0)

    store.subscribe(listen)
    while time.monotonic() < ends_at:
        session = writes % SESSIONS
        text = str(writes)
        store.append(Message.new(user_id="u", session_id=f"s{session}", role="user", content=text))
        _NUMBER.pack_into(acked, session * _NUMBER.size, writes)
        writes += 1
        time.sleep(random.uniform(0, pause))
    return Counts(writes=writes, unmarked=unmarked)


def _read(store: ConversationStore, acked: mmap.mmap, ends_at: float) -> Counts:
    hits = reads = stale = 0

    def listen(event: Any) -> None:
        nonlocal hits
        hits += event.details.get("cache_hits", 0)

    store.subscribe(listen)
    while time.monotonic() < ends_at:
        session = random.randrange(SESSIONS)
        known = _NUMBER.unpack_from(acked, session * _NUMBER.size)[0]
        page = store.history("u", session_id=f"s{session}", limit=NEWEST)
        newest = int(page[0].content) if page.items else -1
        reads += 1
        stale += newest < known
    return Counts(reads=reads, stale=stale, hits=hits)


def main() -> None:
    """Be one of the processes; the first is the writer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("number", type=int)
    parser.add_argument("dynamodb")
    parser.add_argument("redis")
    parser.add_argument("prefix")
    parser.add_argument("shared")
    parser.add_argument("seconds", type=float)
    parser.add_argument("pause", type=float)
    parser.add_argument("naive", type=int)
    args = parser.parse_args()
    with (
        Path(args.shared).open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as acked,
        _open(args) as store,
    ):
        ends_at = time.monotonic() + args.seconds
        if args.number == 0:
            counts = _write(store, acked, ends_at, args.pause)
        else:
            counts = _read(store, acked, ends_at)
    sys.stdout.write(json.dumps({one: getattr(counts, one) for one in Counts.__slots__}))


if __name__ == "__main__":
    main()
