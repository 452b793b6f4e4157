"""``bulk_load`` from an async iterable: in batches, so that no thread waits for the next item."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from ialstore.component import Progress
from ialstore.errors import IalStoreError, InvalidInputError, Outcome
from ialstore.ids import check_id_part
from ialstore.limits import LOAD_BATCH, MAX_PAGE_BYTES
from ialstore.model import LoadReport, encode_message
from ialstore.vector_model import encode_record

if TYPE_CHECKING:
    from ialstore.model import Message
    from ialstore.vector_model import IndexSpec, VectorRecord

__all__ = ["load_async", "message_size", "record_size"]

T = TypeVar("T")

LoadBatch = Callable[[list[T], Progress | None], Awaitable[LoadReport]]


async def load_async(
    items: AsyncIterable[T],
    load: LoadBatch[T],
    *,
    progress: Progress | None,
    size_of: Callable[[T], int | None],
) -> LoadReport:
    """Load items of an async iterable with calls of ``load``, one after the other.

    Args:
        items: read in the task of the caller, not while a batch is stored.
        load: stores up to 1,000 items, about 16 MiB, or none at all where there are none.
        progress: called as the sync ``bulk_load`` calls it.
        size_of: returns the bytes of an item, None for one that ``load`` will refuse: then no
            more are read.
    """
    loaded = _Loaded(load, progress)
    try:
        async for item in items:
            size = size_of(item)
            if size is not None and loaded.batch and loaded.size + size > MAX_PAGE_BYTES:
                await loaded.flush()
            loaded.batch.append(item)
            loaded.size += size or 0
            if size is None or len(loaded.batch) == LOAD_BATCH:
                await loaded.flush()
        if loaded.batch or not loaded.calls:
            await loaded.flush()
    except IalStoreError as error:
        if loaded.written and error.outcome is Outcome.NOT_APPLIED:
            error.outcome = Outcome.PARTIAL  # it spoke of the last batch alone
        raise
    return LoadReport(loaded.written, loaded.failed)


class _Loaded(Generic[T]):
    """What was loaded so far, and the batch that is next."""

    def __init__(self, load: LoadBatch[T], progress: Progress | None) -> None:
        self.batch: list[T] = []
        self.size = 0
        self.written = 0
        self.failed = 0
        self.calls = 0
        self._load = load
        self._progress = progress

    async def flush(self) -> None:
        batch, self.batch, self.size = self.batch, [], 0
        self.calls += 1
        report = await self._load(batch, self._shown())
        self.written += report.written
        self.failed += report.failed

    def _shown(self) -> Progress | None:
        """Return the progress of one call, which counts from what earlier calls did."""
        before, progress = self.written + self.failed, self._progress
        return progress and (lambda done, total: progress(before + done, total))


def message_size(message: Message) -> int | None:
    """Return the bytes of a message as the store counts them; None for one that it refuses."""
    try:
        return encode_message(message).size
    except InvalidInputError:
        return None


def record_size(pair: tuple[str, VectorRecord], spec: IndexSpec) -> int | None:
    """Return the bytes of a vector; None for a pair of user id and record that is refused."""
    try:
        user_id, record = pair
        check_id_part(user_id, "user_id")
        return int(encode_record(record, spec).vector.nbytes)
    except (TypeError, ValueError):  # no pair, or `InvalidInputError`
        return None
