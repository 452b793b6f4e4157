"""What the async face adds to a call, and what limits it; figures are medians.

Three questions:

1. microseconds of ``get`` of one message from the memory store, awaited one after the other and
   200 at a time: the sync call, the async face, ``asyncio.to_thread``, and ``anyio`` if installed;
2. calls a second to a service that answers after 5 ms, by ``max_threads``, 200 at a time;
3. threads that are left when 50 callers give up on a hung store, with a limit of 4 threads: the
   async face, and ``anyio`` if installed.
"""

from __future__ import annotations

import asyncio
import importlib
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from _report import Bars, Report, arguments

from ialstore import AsyncConversationStore, Message
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore

AT_ONCE = 200
LATENCY_SECONDS = 0.005
LIMIT = 4
CALLERS = 50
MANNERS = ("one by one", f"{AT_ONCE} at once")

Call = Callable[[], Awaitable[object]]


def load_anyio() -> Any:
    """Return anyio, or None where it is not installed."""
    try:
        return importlib.import_module("anyio")
    except ModuleNotFoundError:
        return None


async def one_by_one(call: Call, count: int) -> float:
    """Return the microseconds of a call, awaited one after the other."""
    started = time.perf_counter()
    for _ in range(count):
        await call()
    return (time.perf_counter() - started) / count * 1e6


async def at_once(call: Call, count: int) -> float:
    """Return the microseconds of a call among many at a time."""
    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(count)))
    return (time.perf_counter() - started) / count * 1e6


async def measure_cost(rounds: int) -> dict[str, dict[str, float]]:
    """Return the median microseconds of ``get``, by way and manner; the ways take turns."""
    store = MemoryConversationStore()
    message = Message.new(user_id="u", session_id="s", role="user", content="hello")
    store.append(message)
    get = partial(store.get, "u", [message.id])

    async def sync() -> object:
        return get()

    async with AsyncConversationStore(store) as face:
        ways: dict[str, Call] = {
            "sync call": sync,
            "async face": lambda: face.get("u", [message.id]),
            "asyncio.to_thread": lambda: asyncio.to_thread(get),
        }
        anyio = load_anyio()
        if anyio is not None:
            limiter = anyio.CapacityLimiter(16)
            ways["anyio.to_thread"] = lambda: anyio.to_thread.run_sync(
                get, abandon_on_cancel=True, limiter=limiter
            )
        times: dict[str, dict[str, list[float]]] = {
            way: {manner: [] for manner in MANNERS} for way in ways
        }
        for _ in range(rounds):
            for way, call in ways.items():
                for manner, taken in zip(MANNERS, (one_by_one, at_once), strict=True):
                    times[way][manner].append(await taken(call, AT_ONCE))
    return {
        way: {manner: statistics.median(taken) for manner, taken in manners.items()}
        for way, manners in times.items()
    }


class Distant(MemoryConversationStore):
    """A store as far away as a service."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        time.sleep(LATENCY_SECONDS)
        return super()._get(op, user_id, ids)


async def measure_threads(rounds: int) -> dict[int, float]:
    """Return the median calls a second, by the number of threads."""
    message = Message.new(user_id="u", session_id="s", role="user", content="hello")
    found: dict[int, float] = {}
    for threads in (1, 4, 8, 16, 32, 64):
        async with AsyncConversationStore(Distant(), max_threads=threads) as face:
            await face.append(message)
            call = partial(face.get, "u", [message.id])
            taken = [await at_once(call, AT_ONCE) for _ in range(rounds)]
        found[threads] = 1e6 / statistics.median(taken)
    return found


class Hung(MemoryConversationStore):
    """A store that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__(timeout_seconds=60)
        self.go = threading.Event()

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        self.go.wait()
        return {}


async def threads_after(call: Call) -> int:
    """Return how many threads there are more, after callers gave up one after the other."""
    before = threading.active_count()
    for _ in range(CALLERS):
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await call()
    return threading.active_count() - before


async def measure_abandoned() -> dict[str, int]:
    """Return the threads that are left, by way."""
    message = Message.new(user_id="u", session_id="s", role="user", content="hello")
    store = Hung()
    found: dict[str, int] = {}
    async with AsyncConversationStore(store, max_threads=LIMIT) as face:
        found["async face"] = await threads_after(lambda: face.get("u", [message.id]))
        anyio = load_anyio()
        if anyio is not None:
            limiter = anyio.CapacityLimiter(LIMIT)
            get = partial(store.get, "u", [message.id])
            found["anyio.to_thread"] = await threads_after(
                lambda: anyio.to_thread.run_sync(get, abandon_on_cancel=True, limiter=limiter)
            )
        store.go.set()
    return found


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="of 200 calls each (25)")
    given = parser.parse_args()
    report = Report("async_overhead", __doc__)
    cost = report.table("cost", "get, memory store", "way", *(f"{one}, us" for one in MANNERS))
    for way, manners in asyncio.run(measure_cost(given.rounds)).items():
        cost.add(way, *(manners[one] for one in MANNERS))
    title = f"A service that answers after {LATENCY_SECONDS * 1000:g} ms"
    threads = report.table("threads", title, "max_threads", "calls a second")
    for count, calls in asyncio.run(measure_threads(max(3, given.rounds // 5))).items():
        threads.add(count, calls)
    title = f"Left by {CALLERS} callers who gave up, limit {LIMIT}"
    left = report.table("left", title, "way", "threads")
    for way, count in asyncio.run(measure_abandoned()).items():
        left.add(way, count)
    report.pictures.append(Bars("cost", ["way"], cost.columns[1:]))
    report.finish(given)


if __name__ == "__main__":
    main()
