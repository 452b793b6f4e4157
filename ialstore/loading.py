"""How ``bulk_load`` hands what it is given to a backend, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from ialstore.component import Progress, no_progress
from ialstore.errors import PartialWriteError
from ialstore.model import LoadReport

if TYPE_CHECKING:
    from ialstore.operation import Operation

__all__ = ["load_batches", "load_in_parts", "report_to"]

T = TypeVar("T")


def load_batches(
    op: Operation,
    batches: Iterable[Sequence[T]],
    load: Callable[[Operation, Sequence[T]], None],
    id_of: Callable[[T], str],
    progress: Progress | None,
) -> LoadReport:
    """Hand batches to the hook of a backend, and count what it could not store."""
    written = failed = 0
    report = report_to(op, progress)
    for batch in _given(op, batches):
        op.renew()
        try:
            load(op, batch)
        except PartialWriteError as error:
            missing = {*error.not_stored, *error.unknown}
            lost = sum(id_of(one) in missing for one in batch)
        else:
            lost = 0
        failed += lost
        written += len(batch) - lost
        op.is_partly_applied = written > 0
        op.items = written
        report(written + failed, None)
    return LoadReport(written, failed)


def report_to(op: Operation, progress: Progress | None) -> Progress:
    """Return a callback that calls the caller's, whose errors are not those of the driver."""
    if progress is None:
        return no_progress

    def report(done: int, total: int | None) -> None:
        try:
            progress(done, total)
        except Exception as error:
            op.callers_error = error
            raise

    return report


def _given(op: Operation, batches: Iterable[Sequence[T]]) -> Iterator[Sequence[T]]:
    """Yield batches; what the caller's iterable raises is not an error of the driver."""
    rest = iter(batches)
    while True:
        try:
            batch = next(rest)
        except StopIteration:
            return
        except Exception as error:
            op.callers_error = error
            raise
        yield batch


def load_in_parts(
    op: Operation,
    parts: Iterable[Sequence[T]],
    load: Callable[[Sequence[T]], None],
    id_of: Callable[[T], str],
) -> None:
    """Store the parts of one batch one after the other; an error tells of the whole batch.

    For the hook ``_load`` of a backend that can't store what belongs to several users at once.

    Args:
        op: the running call.
        parts: of the batch, such as what belongs to one user.
        load: stores one part.
        id_of: id of an item.

    Raises:
        PartialWriteError: one part was stored in part; those behind it were not begun.
    """
    waiting = list(parts)
    stored: list[str] = []
    for place, part in enumerate(waiting, 1):
        try:
            load(part)
        except PartialWriteError as error:
            behind = [id_of(one) for later in waiting[place:] for one in later]
            # Two users may share an id: rather sent again than believed to be stored.
            missing = dict.fromkeys((*error.unknown, *error.not_stored, *behind))
            raise PartialWriteError(
                str(error),
                stored=[one for one in (*stored, *error.stored) if one not in missing],
                duplicates=error.duplicates,
                conflicting=error.conflicting,
                not_stored=[one for one in missing if one not in error.unknown],
                unknown=error.unknown,
                backend=error.backend,
                operation=error.operation,
                retryable=error.retryable,
            ) from error
        stored += map(id_of, part)
        op.is_partly_applied = True
