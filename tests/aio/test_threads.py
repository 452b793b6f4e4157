"""W4: calls side by side, in a bounded number of threads, with the caller's context variables."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ialstore import (
    AsyncConversationStore,
    AsyncVectorIndex,
    DeadlineExceededError,
    IndexSpec,
    InvalidInputError,
    Message,
    Outcome,
    UnavailableError,
    deadline,
    meter,
    open_async_store,
    operation,
)
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

Say = Callable[..., Message]

MESSAGE = Message.new(user_id="u", session_id="s", role="user", content="hello")


def test_the_loop_goes_on_while_a_store_is_slow(run: Any, held: Any, say: Say) -> None:
    async def main() -> None:
        async with AsyncConversationStore(held) as face:
            appending = asyncio.create_task(face.append(say()))
            await held.calls_begin()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not appending.done()
            held.go.set()
            assert len((await appending).stored) == 1

    run(main)


def test_many_more_calls_than_threads_are_all_answered(run: Any, held: Any, say: Say) -> None:
    messages = [say(str(number)) for number in range(200)]

    async def main() -> None:
        async with AsyncConversationStore(held, max_threads=4) as face:
            appending = [asyncio.create_task(face.append(one)) for one in messages]
            await held.calls_begin(4)
            held.go.set()
            results = await asyncio.gather(*appending)
            assert [one.stored for one in results] == [(message.id,) for message in messages]
            page = await face.history("u", newest_first=False, limit=1000)
            assert list(page) == messages

    run(main)
    assert held.most <= 4


def test_calls_are_served_in_the_order_in_which_they_came(run: Any, held: Any, say: Say) -> None:
    messages = [say(str(number)) for number in range(50)]
    held.go.set()

    async def main() -> None:
        async with AsyncConversationStore(held, max_threads=1) as face:
            await asyncio.gather(*(face.append(one) for one in messages))

    run(main)
    assert held.began == [(message.id,) for message in messages]


def test_threads_of_abandoned_calls_count(run: Any, held: Any, say: Say) -> None:
    async def main() -> None:
        async with AsyncConversationStore(held, max_threads=2) as face:
            for _ in range(2):
                task = asyncio.create_task(face.append(say()))
                await held.calls_begin(len(held.began) + 1)
                task.cancel()
            third = asyncio.create_task(face.append(say()))
            await asyncio.to_thread(bool)
            assert len(held.began) == 2
            held.go.set()
            await third

    run(main)
    assert held.most == 2


def test_one_face_serves_several_loops_at_once(held: Any, say: Say) -> None:
    face = AsyncConversationStore(held, max_threads=2)

    async def append() -> int:
        results = await asyncio.gather(*(face.append(say()) for _ in range(5)))
        return sum(len(one.stored) for one in results)

    stored: list[int] = []
    loops = [threading.Thread(target=lambda: stored.append(asyncio.run(append()))) for _ in "abc"]
    for one in loops:
        one.start()
    held.go.set()
    for one in loops:
        one.join()
    asyncio.run(face.aclose())
    assert stored == [5, 5, 5]
    assert held.most <= 2


def test_a_meter_counts_calls_of_tasks_made_inside_its_block(run: Any, held: Any, say: Say) -> None:
    held.go.set()

    async def main() -> None:
        async with AsyncConversationStore(held) as face:
            await face.append(say())
            with meter() as outer:
                await asyncio.gather(*(face.append(say()) for _ in range(10)))
                with meter() as inner:
                    await asyncio.create_task(face.append(say()))
            await face.append(say())
            assert (outer.units.read, inner.units.read) == (11, 1)

    run(main)


def test_a_deadline_reaches_the_thread(run: Any, held: Any, say: Say) -> None:
    held.go.set()

    async def main() -> None:
        async with AsyncConversationStore(held) as face:
            await face.append(say())
            with deadline(1000):
                await asyncio.create_task(face.append(say()))
                with deadline(2):
                    await face.append(say())

    run(main)
    usual, long, short = held.remaining
    assert 2 < usual <= 5
    assert 5 < long <= 1000
    assert short <= 2


def test_a_call_without_a_thread_in_time_is_not_made(run: Any, held: Any, say: Say) -> None:
    """C3: no call outlasts its deadline."""
    first, second = say(), say()

    async def main() -> None:
        async with AsyncConversationStore(held, max_threads=1) as face:
            appending = asyncio.create_task(face.append(first))
            await held.calls_begin()
            with deadline(0.001), pytest.raises(DeadlineExceededError, match="1 were busy") as late:
                await face.append(second)
            with deadline(0.001), pytest.raises(DeadlineExceededError) as later:
                await face.erase("u")
            assert (late.value.backend, late.value.operation) == ("memory", "append")
            assert (later.value.backend, later.value.operation) == ("memory", "erase")
            assert late.value.retryable
            assert late.value.outcome is Outcome.NOT_APPLIED
            held.go.set()
            await appending

    run(main)
    assert held.began == [(first.id,)]


def test_the_time_that_a_call_waits_for_a_thread_counts(
    run: Any, held: Any, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3: no call outlasts its deadline, here the store's own of 5 s."""
    now = [1000.0]
    time = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: 0.0)
    monkeypatch.setattr(operation, "time", time)
    first, second = say(), say()

    async def main() -> None:
        async with AsyncConversationStore(held, max_threads=1) as face:
            appending = asyncio.create_task(face.append(first))
            await held.calls_begin()
            waiting = asyncio.create_task(face.append(second))
            erasing = asyncio.create_task(face.erase("nobody"))
            await asyncio.sleep(0)
            now[0] += 5
            held.go.set()
            await appending
            with pytest.raises(DeadlineExceededError, match="append did not end within 5 s"):
                await waiting
            await erasing  # its deadline holds for each request

    run(main)
    assert held.began == [(first.id,)]


STORE_CALLS: list[Callable[[Any], Any]] = [
    lambda store: store.setup(),
    lambda store: store.check(),
    lambda store: store.append(MESSAGE),
    lambda store: store.replace(MESSAGE),
    lambda store: store.get("u", [MESSAGE.id]),
    lambda store: store.history("u"),
    lambda store: store.summaries("u"),
    lambda store: store.sessions("u"),
    lambda store: store.users(),
    lambda store: store.delete("u", [MESSAGE.id]),
    lambda store: store.delete_session("u", "s"),
    lambda store: store.erase("u"),
    lambda store: store.bulk_load([MESSAGE]),
    lambda store: store.optimize("u"),
]
INDEX_CALLS: list[Callable[[Any], Any]] = [
    lambda index: index.setup(),
    lambda index: index.check(),
    lambda index: index.upsert("u", []),
    lambda index: index.search("u", [1, 1]),
    lambda index: index.get("u", [MESSAGE.id]),
    lambda index: index.count("u"),
    lambda index: index.ids("u"),
    lambda index: index.users(),
    lambda index: index.delete("u", [MESSAGE.id]),
    lambda index: index.delete_session("u", "s"),
    lambda index: index.erase("u"),
    lambda index: index.bulk_load([]),
    lambda index: index.optimize("u"),
]


def is_late(call: Callable[[], object]) -> bool:
    """Tell whether a call finds that its time is up."""
    try:
        call()
    except DeadlineExceededError:
        return True
    return False


def new_store() -> MemoryConversationStore:
    return MemoryConversationStore()


def new_index() -> MemoryVectorIndex:
    return MemoryVectorIndex(IndexSpec(2))


@pytest.mark.parametrize(
    ("make", "face_of", "call"),
    [
        *((new_store, AsyncConversationStore, call) for call in STORE_CALLS),
        *((new_index, AsyncVectorIndex, call) for call in INDEX_CALLS),
    ],
)
def test_a_call_waits_for_a_thread_as_long_as_the_sync_one_has_time(
    make: Any, face_of: Any, call: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3: for some calls the deadline holds per request, and their wait is one."""
    now = [1000.0]
    time = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: 0.0)
    monkeypatch.setattr(operation, "time", time)
    with deadline(5):
        now[0] += 5
        expected = is_late(lambda: call(make()))
    begun, go = threading.Event(), threading.Event()

    def nothing() -> Iterator[Any]:
        begun.set()
        assert go.wait(30)
        yield from ()

    async def main() -> None:
        async with face_of(make(), max_threads=1) as face:
            first = asyncio.create_task(face.bulk_load(nothing()))
            assert await asyncio.to_thread(begun.wait, 30)
            with deadline(5):
                now[0] += 5
                second = asyncio.create_task(call(face))
            for _ in range(20):
                await asyncio.sleep(0)
            assert second.done() == expected
            go.set()
            await asyncio.gather(first, second, return_exceptions=True)
            assert isinstance(second.exception(), DeadlineExceededError) == expected

    run(main)


def test_without_an_event_loop_of_asyncio_no_call_is_made(held: Any, say: Say) -> None:
    """Such as under trio."""
    face = AsyncConversationStore(held)
    for call in (face.append(say()), face.aclose(), open_async_store("memory:").__aenter__()):
        with pytest.raises(RuntimeError, match="no running event loop"):
            call.send(None)
    assert held.began == []
    held.close()


def test_an_error_passes_unchanged(run: Any, held: Any, say: Say) -> None:
    raised = UnavailableError("down", retryable=True)

    def fail() -> None:
        raise raised

    held.instead = fail
    held.go.set()

    async def main() -> None:
        async with AsyncConversationStore(held) as face:
            with pytest.raises(UnavailableError) as caught:
                await face.append(say())
            assert caught.value is raised
            assert (raised.backend, raised.operation) == ("memory", "append")

    run(main)


def test_a_stop_iteration_does_not_keep_the_caller_waiting(run: Any, held: Any, say: Say) -> None:
    held.instead = lambda: next(iter(()))
    held.go.set()

    async def main() -> None:
        async with AsyncConversationStore(held) as face:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await face.append(say())

    run(main)


@pytest.mark.parametrize("max_threads", [0, -1, 1001, 1.5, "4", None, True])
def test_a_wrong_number_of_threads_is_refused(max_threads: Any) -> None:
    with pytest.raises(InvalidInputError, match="max_threads"):
        AsyncConversationStore(MemoryConversationStore(), max_threads=max_threads)
    with pytest.raises(InvalidInputError, match="max_threads"):
        AsyncVectorIndex(MemoryVectorIndex(IndexSpec(2)), max_threads=max_threads)


FORK = """
import asyncio, os, sys, threading
from ialstore import AsyncConversationStore, Message
from ialstore_backends.memory import MemoryConversationStore

inside, finish = threading.Event(), threading.Event()

class Waiting(MemoryConversationStore):
    def _get(self, op, user_id, ids):
        inside.set()
        finish.wait(10)
        return super()._get(op, user_id, ids)

message = Message.new(user_id="u", session_id="s", role="user", content="hello")
face = AsyncConversationStore(Waiting(), max_threads=1)

async def read():
    return await face.get("u", [message.id])

asyncio.run(face.append(message))
reading = threading.Thread(target=lambda: asyncio.run(read()))
reading.start()
inside.wait(10)
with face._threads._guard:  # as another thread might hold it
    child = os.fork()
finish.set()
found = asyncio.run(read())
asyncio.run(face.aclose())
assert found == [message]
if child:
    reading.join()
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    """S15: a forked child does not wait for calls of its parent."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=30)


INTERPRETER_END = """
import asyncio, sys, threading
from ialstore import AsyncConversationStore, Message
from ialstore_backends.sqlite import SqliteConversationStore

begun, ending = threading.Event(), threading.Event()

class Slow(SqliteConversationStore):
    def _append(self, op, user_id, entries):
        begun.set()
        ending.wait(10)
        return super()._append(op, user_id, entries)

message = Message.new(user_id="u", session_id="s", role="user", content="hello")
face = AsyncConversationStore(Slow(sys.argv[1]))

async def main():
    appending = asyncio.create_task(face.append(message))
    await asyncio.to_thread(begun.wait, 10)

asyncio.run(main())
ending.set()
"""


def test_a_program_that_ends_lets_a_running_write_end_first(tmp_path: Any) -> None:
    from ialstore_backends.sqlite import SqliteConversationStore

    path = tmp_path / "conversations.db"
    subprocess.run([sys.executable, "-c", INTERPRETER_END, path], check=True, timeout=30)
    with SqliteConversationStore(path) as store:
        assert [one.content for one in store.history("u")] == ["hello"]
