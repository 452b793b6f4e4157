"""What embedded stores take of a disk and of memory: found by filling one in a scratch folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from ialstore.estimate import Estimate, Stored, sample_message, sample_records

if TYPE_CHECKING:
    from ialstore.conversation import ConversationStore
    from ialstore.estimate import Workload
    from ialstore.vector import VectorIndex

__all__ = ["estimate_conversations", "estimate_vectors"]

_SIZES: Final = (200, 600)
"""Messages in the store when it is looked at: what grows between them is theirs."""
_PRICE: Final = "disk.gb_month"
_PATH: Final = "scratch"


def estimate_conversations(
    opened: Callable[[Path], ConversationStore], workload: Workload, age_days: float
) -> Estimate:
    """Return the disk that conversations of this age take.

    Args:
        opened: returns a store at a path.
        workload: what the application does.
        age_days: days since it began.
    """
    messages = [sample_message(workload, number) for number in range(_SIZES[-1])]

    def load(path: Path, first: int, end: int) -> int:
        with opened(path) as store:
            store.setup()
            store.bulk_load(messages[first:end])
        return 0

    return _estimate("conversations", load, workload, age_days)


def estimate_vectors(
    opened: Callable[[Path], VectorIndex], workload: Workload, age_days: float
) -> Estimate:
    """Return the disk and the memory that vectors of this age take.

    See ``estimate_conversations``.
    """
    records = sample_records(
        _SIZES[-1],
        workload.dimension,
        workload.message_bytes,
        is_kept=workload.retention_days is None,
    )

    def load(path: Path, first: int, end: int) -> int:
        with opened(path) as index:
            index.setup()
            index.bulk_load(("user", record) for record in records[first:end])
            index.search("user", records[0].vector, k=1)  # holds them from now on
            return index.held_bytes

    return _estimate("vectors", load, workload, age_days)


def _estimate(
    name: str, load: Callable[[Path, int, int], int], workload: Workload, age_days: float
) -> Estimate:
    sizes: list[int] = []
    held: list[int] = []
    with TemporaryDirectory() as folder:
        first = 0
        for end in _SIZES:
            held.append(load(Path(folder, _PATH), first, end))
            sizes.append(sum(one.stat().st_size for one in Path(folder).rglob("*")))
            first = end
    each, each_held = ((now - before) / (_SIZES[1] - _SIZES[0]) for before, now in (sizes, held))
    count = workload.messages_per_day * workload.kept_days(age_days)
    return Estimate(
        stored=(Stored(f"disk, {name}", count * each, _PRICE),),
        held_bytes_per_user=count * each_held,
    )
