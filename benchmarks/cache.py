"""What the cache saves: the last 20 messages from Redis, and from DynamoDB with 5 ms added.

Both are read in turn in one run, and medians compared; then 200 threads read one cold key. Where
langchain-community is installed (`.venv-peers`), its Redis history reads the same 20 messages.

    python benchmarks/cache.py [--rounds 300]
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from _report import Bars, Report, arguments

from ialstore import ConversationStore, Message
from ialstore.caching.values import sealed_tail
from ialstore.listing import Rows
from ialstore.testing.proxy import FaultProxy, ProxiedRequest
from ialstore.testing.servers import start
from ialstore.wrappers.cache import CacheConversationStore, CacheOptions
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions

ADDED_SECONDS = 0.005
MESSAGES = 20
TEXT = "The train to Graz leaves at ten past seven; we should book two seats by the window. "
THREADS = 200
WARM_UP = 10


def messages() -> list[Message]:
    """Return messages of about 250 bytes each."""
    return [
        Message.new(
            user_id="alice",
            session_id="trip",
            role="user" if number % 2 else "assistant",
            content=f"{number}: {TEXT * 3}",
        )
        for number in range(MESSAGES)
    ]


def read(store: ConversationStore) -> None:
    """Read the last 20 messages."""
    page = store.history("alice", session_id="trip", limit=MESSAGES)
    if len(page) != MESSAGES:
        raise AssertionError(f"{len(page)} messages instead of {MESSAGES}")


def in_turn(rounds: int, **calls: Callable[[], object]) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU microseconds of calls that take turns."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + WARM_UP):
        for name, call in calls.items():
            began, used = time.perf_counter(), time.thread_time()
            call()
            if number >= WARM_UP:
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.thread_time() - used)
    return {
        name: (statistics.median(wall[name]) * 1e6, statistics.median(cpu[name]) * 1e6)
        for name in calls
    }


def herd(store: ConversationStore, count: Callable[[], int]) -> int:
    """Return the requests that the store gets when many threads read one cold key at once."""
    barrier = threading.Barrier(THREADS)
    before = count()

    def one() -> None:
        barrier.wait()
        read(store)

    threads = [threading.Thread(target=one) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count() - before


def langchain_reader(url: str, contents: list[str]) -> Callable[[], object] | None:
    """Return what reads the same messages from langchain's Redis history, if it is installed."""
    if find_spec("langchain_community") is None:
        return None
    module: Any = import_module("langchain_community.chat_message_histories")
    history = module.RedisChatMessageHistory("trip", url=url)
    for content in contents:
        history.add_user_message(content)
    return lambda: history.messages


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args()
    rounds: int = given.rounds
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")  # noqa: S106 - none
    seen: list[str] = []

    def late(request: ProxiedRequest) -> None:
        seen.append(request.operation)
        time.sleep(ADDED_SECONDS)

    with start("dynoxide") as dynamodb, start("redis") as redis:
        url = f"redis://127.0.0.1:{redis.port}"
        with FaultProxy(dynamodb.port, late) as proxy:
            bare = DynamoConversationStore("b-", DynamoOptions(endpoint=proxy.endpoint))
            bare.setup()
            said = messages()
            bare.append(*said)
            inner = DynamoConversationStore("b-", DynamoOptions(endpoint=proxy.endpoint))
            with bare, CacheConversationStore(inner, CacheOptions(url=url)) as cached:
                calls: dict[str, Callable[[], object]] = {
                    "cached": lambda: read(cached),
                    "DynamoDB": lambda: read(bare),
                }
                peer = langchain_reader(url, [one.content for one in said])
                if peer is not None:
                    calls["langchain, Redis"] = peer
                found = in_turn(rounds, **calls)
                cached.append(Message.new(user_id="alice", session_id="x", role="user", content=""))
                cached.replace(said[0])  # the key is cold again
                requests = herd(cached, lambda: len(seen))

    packages = ["redis", "botocore", *(["langchain-community"] if peer is not None else [])]
    report = Report("cache", __doc__, packages)
    title = f"The last {MESSAGES} messages, {ADDED_SECONDS * 1000:g} ms added to each request"
    table = report.table("reads", title, "from", "us", "CPU us", "times as long as cached")
    for name, (wall, cpu) in found.items():
        table.add(name, wall, cpu, wall / found["cached"][0])
    report.pictures.append(Bars("reads", ["from"], ["us", "CPU us"]))
    report.figures |= {
        "cached, us": found["cached"][0],
        "DynamoDB, times as long": found["DynamoDB"][0] / found["cached"][0],
        "bytes of the value": len(sealed_tail(bytes(32), Rows(said[::-1]), 0)),
        "bytes of the contents alone": sum(len(one.content) for one in said),
        "threads on one cold key": THREADS,
        "requests to DynamoDB for all of them": requests,
    }
    report.finish(given)


if __name__ == "__main__":
    main()
