"""W4: cancelling a call frees the caller; the operation may run on, and closing waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ialstore import (
    AsyncContextEngine,
    AsyncConversationStore,
    ContextEngine,
    HashingEmbedder,
    IndexSpec,
    Message,
    StoreNotReadyError,
    meter,
)
from ialstore.events import OperationEvent
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore

Say = Callable[..., Message]


async def some_turns() -> None:
    """Give every task that is ready some turns of the loop."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_cancelling_frees_the_caller_while_the_operation_runs_on(
    run: Any, held: Any, say: Say
) -> None:
    message = say()

    async def main() -> None:
        face = AsyncConversationStore(held)
        appending = asyncio.create_task(face.append(message))
        await held.calls_begin()
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert held.ended == []
        held.go.set()
        await face.aclose()
        assert held.ended == [(message.id,)]

    run(main)


def test_closing_waits_for_calls_whose_callers_are_gone(run: Any, held: Any, say: Say) -> None:
    async def main() -> None:
        face = AsyncConversationStore(held)
        appending = asyncio.create_task(face.append(say()))
        await held.calls_begin()
        appending.cancel()
        closing = asyncio.create_task(face.aclose())
        await some_turns()
        assert appending.cancelled()
        assert not closing.done()
        with pytest.raises(StoreNotReadyError, match=r"get: .* closed"):
            await face.get("u", [])
        held.go.set()
        await closing
        assert len(held.ended) == 1

    run(main)


def test_closing_lets_calls_that_wait_for_a_thread_be_made(run: Any, held: Any, say: Say) -> None:
    async def main() -> None:
        face = AsyncConversationStore(held, max_threads=1)
        appending = [asyncio.create_task(face.append(say())) for _ in range(3)]
        await held.calls_begin()
        closing = asyncio.create_task(face.aclose())
        await some_turns()
        held.go.set()
        await closing
        assert all(len(one.stored) == 1 for one in await asyncio.gather(*appending))

    run(main)


def test_closing_goes_on_when_it_is_cancelled_and_another_waits_for_it(
    run: Any, held: Any, say: Say
) -> None:
    async def main() -> None:
        face = AsyncConversationStore(held)
        appending = asyncio.create_task(face.append(say()))
        await held.calls_begin()
        first = asyncio.create_task(face.aclose())
        await some_turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(face.aclose())
        await some_turns()
        assert not second.done()
        held.go.set()
        await second
        assert appending.done()
        with pytest.raises(StoreNotReadyError):
            held.get("u", [])

    run(main)


def test_whoever_closes_second_waits_until_everything_is_given_back(run: Any) -> None:
    begun, go = threading.Event(), threading.Event()

    class SlowlyClosed(MemoryConversationStore):
        def _close(self) -> None:
            begun.set()
            assert go.wait(30)

    async def main() -> None:
        face = AsyncConversationStore(SlowlyClosed())
        first = asyncio.create_task(face.aclose())
        assert await asyncio.to_thread(begun.wait, 30)
        second = asyncio.create_task(face.aclose())
        for _ in range(20):
            await asyncio.to_thread(bool)
        assert not second.done()
        go.set()
        await first
        await second

    run(main)


def test_a_call_that_still_waits_for_a_thread_is_dropped_when_it_is_cancelled(
    run: Any, held: Any, say: Say
) -> None:
    async def main() -> None:
        async with AsyncConversationStore(held, max_threads=1) as face:
            first = asyncio.create_task(face.append(say()))
            await held.calls_begin()
            second = asyncio.create_task(face.append(say()))
            await some_turns()
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            held.go.set()
            await first
        assert len(held.began) == 1

    run(main)


def test_a_timeout_frees_the_caller(run: Any, held: Any, say: Say) -> None:
    async def main() -> None:
        async with AsyncConversationStore(held) as face:
            timers: list[asyncio.Timeout] = []

            async def append() -> None:
                async with asyncio.timeout(None) as timer:
                    timers.append(timer)
                    await face.append(say())

            appending = asyncio.create_task(append())
            await held.calls_begin()
            timers[0].reschedule(asyncio.get_running_loop().time())
            with pytest.raises(TimeoutError):
                await appending
            assert held.ended == []
            held.go.set()
        assert len(held.ended) == 1

    run(main)


def test_leaving_the_block_closes_also_when_its_task_is_cancelled(
    run: Any, held: Any, say: Say
) -> None:
    async def main() -> None:
        async def work() -> None:
            async with AsyncConversationStore(held) as face:
                await face.append(say())

        working = asyncio.create_task(work())
        await held.calls_begin()
        working.cancel()
        await some_turns()
        assert not working.done()  # it waits for the append
        held.go.set()
        with pytest.raises(asyncio.CancelledError):
            await working
        with pytest.raises(StoreNotReadyError):
            held.get("u", [])

    run(main)


def test_the_end_of_the_loop_leaves_a_running_call_alone(run: Any, held: Any, say: Say) -> None:
    face = AsyncConversationStore(held)

    async def leave() -> None:
        leaving = asyncio.create_task(face.append(say()))
        await held.calls_begin()
        assert not leaving.done()  # asyncio.run cancels it

    run(leave)
    held.go.set()
    run(face.aclose)
    assert len(held.ended) == 1


def test_an_error_for_which_nobody_waits_is_in_the_event_and_nowhere_else(
    run: Any, held: Any, say: Say
) -> None:
    seen: list[OperationEvent] = []

    def fail() -> None:
        raise ZeroDivisionError

    held.instead = fail

    async def main() -> None:
        async with AsyncConversationStore(held) as face:
            face.subscribe(seen.append)
            appending = asyncio.create_task(face.append(say()))
            await held.calls_begin()
            appending.cancel()
            held.go.set()

    run(main)
    assert [one.error for one in seen] == ["ZeroDivisionError"]


def test_a_meter_counts_a_call_whose_caller_is_gone(run: Any, held: Any, say: Say) -> None:
    async def main() -> None:
        async with AsyncConversationStore(held) as face:
            with meter() as metered:
                appending = asyncio.create_task(face.append(say()))
                await held.calls_begin()
                appending.cancel()
            held.go.set()
        assert metered.units.read == 1

    run(main)


@pytest.mark.parametrize("turns", range(6))
def test_a_write_that_is_cancelled_is_applied_whole_or_not_at_all(
    turns: int, run: Any, say: Say, tmp_path: Path
) -> None:
    """C4: every write ends as acknowledged, not applied, or unknown; repeating it is safe."""
    path = tmp_path / "conversations.db"
    batches = [[say(f"{batch} {part}") for part in range(3)] for batch in range(20)]

    async def main() -> None:
        async with AsyncConversationStore(SqliteConversationStore(path), max_threads=2) as face:
            writing = [asyncio.create_task(face.append(*batch)) for batch in batches]
            for one in writing:
                for _ in range(turns):
                    await asyncio.sleep(0)
                one.cancel()
            await asyncio.gather(*writing, return_exceptions=True)

    run(main)
    with SqliteConversationStore(path) as store:
        for batch in batches:
            ids = [message.id for message in batch]
            assert [one.id for one in store.get("u", ids)] in ([], ids)
            store.append(*batch)
            assert [one.id for one in store.get("u", ids)] == ids


def test_a_cancelled_call_of_an_engine_runs_to_its_end_before_the_engine_is_closed(
    run: Any, held: Any, say: Say
) -> None:
    embedder = HashingEmbedder(dimension=64)
    index = MemoryVectorIndex(IndexSpec(64, model=embedder.model))
    message = say("something to find")
    seen: list[tuple[str, str | None]] = []
    index.subscribe(lambda event: seen.append((event.operation, event.error)))

    async def main() -> None:
        face = AsyncContextEngine(ContextEngine(held, index, embedder))
        appending = asyncio.create_task(face.append(message))
        await held.calls_begin()
        appending.cancel()
        closing = asyncio.create_task(face.aclose())
        await some_turns()
        assert appending.cancelled()
        held.go.set()
        await closing

    run(main)
    assert ("upsert", None) in seen, "the index was closed between the message and its vector"
