"""S12, W4: ``bulk_load`` from sync and async iterables."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import pytest

from ialstore import (
    AsyncConversationStore,
    AsyncVectorIndex,
    IndexSpec,
    InvalidInputError,
    LoadReport,
    Message,
    Outcome,
    PartialWriteError,
    StoreNotReadyError,
    UnavailableError,
    VectorRecord,
    message_id,
)
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

Say = Callable[..., Message]
T = TypeVar("T")

SPEC = IndexSpec(2)
ID = message_id("u", "s", datetime(2024, 2, 29, tzinfo=UTC), "user", "key")
RECORD = VectorRecord(ID, np.array([1.0, 2.0]), "s", "user")


async def each(items: Iterable[T], error: BaseException | None = None) -> AsyncIterator[T]:
    """Yield items with a turn of the loop before each, then raise the error."""
    for item in items:
        await asyncio.sleep(0)
        yield item
    if error is not None:
        raise error


class CountingStore(MemoryConversationStore):
    """Keeps the number of messages of each batch; reports or raises what the test asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.faults: dict[int, Exception] = {}
        """What to raise, by the number of the batch."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        self.batches.append(len(entries))
        fault = self.faults.get(len(self.batches))
        if fault is not None:
            raise fault
        super()._load(op, entries)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture(scope="session")
def messages(say: Say) -> list[Message]:
    return [say(str(number)) for number in range(2500)]


def test_an_async_iterable_is_loaded_in_batches(
    run: Any, store: CountingStore, messages: list[Message]
) -> None:
    shown: list[tuple[int, int | None]] = []

    async def main() -> None:
        async with AsyncConversationStore(store) as face:
            report = await face.bulk_load(each(messages), progress=lambda *now: shown.append(now))
            assert report == LoadReport(2500, 0)
            assert await face.get("u", [messages[-1].id]) == [messages[-1]]

    run(main)
    assert store.batches == [1000, 1000, 500]
    assert shown == [(1000, None), (2000, None), (2500, None)]


def test_a_batch_also_ends_at_16_mib(run: Any, store: CountingStore, say: Say) -> None:
    large = [say("x" * 2**20) for _ in range(17)]

    async def main() -> None:
        async with AsyncConversationStore(store) as face:
            assert await face.bulk_load(each([*large, say()])) == LoadReport(18, 0)

    run(main)
    assert store.batches == [16, 2]


def test_batches_that_end_with_the_iterable_are_followed_by_none(
    run: Any, store: CountingStore, messages: list[Message]
) -> None:
    operations: list[str] = []

    async def main() -> None:
        async with AsyncConversationStore(store) as face:
            face.subscribe(lambda event: operations.append(event.operation))
            assert await face.bulk_load(each(messages[:1000])) == LoadReport(1000, 0)
            assert await face.bulk_load(each(messages[:0])) == LoadReport(0, 0)

    run(main)
    assert store.batches == [1000]
    assert operations == ["bulk_load", "bulk_load"]


def test_a_closed_store_loads_not_even_nothing(run: Any, store: CountingStore) -> None:
    async def main() -> None:
        face = AsyncConversationStore(store)
        await face.aclose()
        with pytest.raises(StoreNotReadyError):
            await face.bulk_load(each(()))

    run(main)


def test_what_a_store_could_not_write_is_counted_over_all_batches(
    run: Any, store: CountingStore, messages: list[Message]
) -> None:
    lost = [messages[1000].id, messages[1001].id]
    store.faults = {2: PartialWriteError("some", not_stored=lost)}
    shown: list[int] = []

    async def main() -> None:
        async with AsyncConversationStore(store) as face:
            report = await face.bulk_load(
                each(messages), progress=lambda done, _: shown.append(done)
            )
            assert report == LoadReport(2498, 2)

    run(main)
    assert shown == [1000, 2000, 2500]


@pytest.mark.parametrize(
    "case",
    [
        (1, Outcome.NOT_APPLIED, Outcome.NOT_APPLIED),
        (2, Outcome.NOT_APPLIED, Outcome.PARTIAL),
        (2, Outcome.UNKNOWN, Outcome.UNKNOWN),
    ],
)
def test_an_error_speaks_of_the_whole_load(
    case: tuple[int, Outcome, Outcome], run: Any, store: CountingStore, messages: list[Message]
) -> None:
    """C4: what was applied is known."""
    batch, said, outcome = case
    fault = UnavailableError("down", outcome=said)
    store.faults = {batch: fault}

    async def main() -> None:
        async with AsyncConversationStore(store) as face:
            with pytest.raises(UnavailableError) as raised:
                await face.bulk_load(each(messages))
            assert raised.value is fault
            assert fault.outcome is outcome

    run(main)
    assert len(store.batches) == batch


@pytest.mark.parametrize("wrong", [None, "text", ("u", None), ("", RECORD), (RECORD,)])
def test_a_pair_that_breaks_the_contract_is_refused_as_in_sync_code(wrong: Any, run: Any) -> None:
    """S12: no item behind it is read."""
    read: list[Any] = []
    items = [("u", RECORD), wrong, ("u", RECORD)]
    with pytest.raises((ValueError, TypeError)) as expected:
        MemoryVectorIndex(SPEC).bulk_load(items)

    async def reading() -> AsyncIterator[Any]:
        for item in items:
            read.append(item)
            yield item

    async def main() -> None:
        async with AsyncVectorIndex(MemoryVectorIndex(SPEC)) as face:
            with pytest.raises((ValueError, TypeError)) as raised:
                await face.bulk_load(reading())
            assert str(raised.value) == str(expected.value)
            assert vars(raised.value) == vars(expected.value)

    run(main)
    assert len(read) == 2


@pytest.mark.parametrize("wrong", [None, "text"])
def test_a_message_that_breaks_the_contract_is_refused_as_in_sync_code(
    wrong: Any, run: Any, store: CountingStore, messages: list[Message]
) -> None:
    items = [*messages[:1001], wrong, *messages[1001:]]
    with pytest.raises(InvalidInputError) as expected:
        CountingStore().bulk_load(items)

    async def main() -> None:
        async with AsyncConversationStore(store) as face:
            with pytest.raises(InvalidInputError) as raised:
                await face.bulk_load(each(items))
            assert str(raised.value) == str(expected.value)
            assert vars(raised.value) == vars(expected.value)

    run(main)
    assert store.batches == [1000]


def test_an_error_of_the_iterable_passes_unchanged(
    run: Any, store: CountingStore, messages: list[Message]
) -> None:
    broken = OSError("the file is gone")

    async def main() -> None:
        async with AsyncConversationStore(store) as face:
            with pytest.raises(OSError, match="gone") as raised:
                await face.bulk_load(each(messages[:1500], broken))
            assert raised.value is broken

    run(main)
    assert store.batches == [1000]


async def reading_until_it_is_refused(face: AsyncConversationStore) -> None:
    while True:
        await face.get("u", [])


def test_closing_waits_for_a_load_and_all_that_it_reads(
    run: Any, store: CountingStore, messages: list[Message]
) -> None:
    """S15: `close` waits for running calls; a load is one, however many batches it has."""

    async def main() -> None:
        face = AsyncConversationStore(store)
        begun, go = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[Message]:
            begun.set()
            await go.wait()
            for one in messages:
                yield one

        loading = asyncio.create_task(face.bulk_load(slowly()))
        await begun.wait()
        closing = asyncio.create_task(face.aclose())
        with pytest.raises(StoreNotReadyError):
            await reading_until_it_is_refused(face)
        assert not closing.done()
        go.set()
        assert await loading == LoadReport(2500, 0)
        await closing
        with pytest.raises(StoreNotReadyError):
            await face.bulk_load(slowly())

    run(main)


def test_a_load_may_be_fed_by_the_same_face_with_a_single_thread(
    run: Any, store: CountingStore, messages: list[Message]
) -> None:
    """No thread is taken while the iterable is waited for."""
    store.bulk_load(messages[:300])

    async def main() -> None:
        async with AsyncConversationStore(store, max_threads=1) as face:

            async def copies() -> AsyncIterator[Message]:
                cursor = None
                while True:
                    page = await face.history("u", limit=100, cursor=cursor)
                    for one in page:
                        yield Message.new(
                            user_id="copy",
                            session_id=one.session_id,
                            role=one.role,
                            content=one.content,
                        )
                    cursor = page.cursor
                    if cursor is None:
                        return

            assert await face.bulk_load(copies()) == LoadReport(300, 0)

    run(main)


def test_an_async_iterable_is_read_in_the_task_of_the_caller(
    run: Any, store: CountingStore, messages: list[Message]
) -> None:
    """So that a cancelled load also cancels what the iterable waits for."""

    async def main() -> None:
        cleaned: list[asyncio.Task[Any] | None] = []
        waiting = asyncio.Event()

        async def endless() -> AsyncIterator[Message]:
            try:
                yield messages[0]
                waiting.set()
                await asyncio.Event().wait()
            finally:
                cleaned.append(asyncio.current_task())

        async with AsyncConversationStore(store) as face:
            loading = asyncio.create_task(face.bulk_load(endless()))
            await waiting.wait()
            loading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loading
        assert cleaned == [loading]

    run(main)
    assert store.batches == []


def test_a_sync_iterable_and_progress_run_in_the_thread_of_the_call(
    run: Any, store: CountingStore, messages: list[Message]
) -> None:
    seen: set[int] = set()

    def reading() -> Iterator[Message]:
        seen.add(threading.get_ident())
        yield from messages

    async def main() -> None:
        async with AsyncConversationStore(store) as face:
            report = await face.bulk_load(
                reading(), progress=lambda *_: seen.add(threading.get_ident())
            )
            assert report == LoadReport(2500, 0)

    run(main)
    assert len(seen) == 1
    assert threading.get_ident() not in seen


def test_vectors_are_loaded_from_an_async_iterable_too(run: Any, messages: list[Message]) -> None:
    pairs = [
        ("u", VectorRecord(one.id, np.array([1.0, number]), "s", "user"))
        for number, one in enumerate(messages[:1500])
    ]
    shown: list[int] = []

    async def main() -> None:
        async with AsyncVectorIndex(MemoryVectorIndex(SPEC)) as face:
            report = await face.bulk_load(each(pairs), progress=lambda done, _: shown.append(done))
            assert report == LoadReport(1500, 0)
            assert await face.count("u") == 1500

    run(main)
    assert shown == [1000, 1500]
