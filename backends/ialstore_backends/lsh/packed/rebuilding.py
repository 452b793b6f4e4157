"""New cells: when they are due, and what is written. Nothing is read but what is handed in.

The tail is merged into cells when that costs, spread over its entries, a little less than a write
unit an entry. Long entries, of which a segment takes few, wait longer, and make up for what they
cost in writes that fail and segments that are deleted. Everything is encoded again, from the
stored vectors, whenever their number has grown by a quarter: only then are the mean, shaped bits
and thresholds renewed. Codes merged since tell less than shaped ones, and the more of them there
are, the more is missed.

That is done early when the tail is of another kind than the cells. Until the number has grown by
a quarter it is not done early again, whatever comes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from ialstore_backends.lsh.packed.calibration import calibrate
from ialstore_backends.lsh.packed.cells import cluster, nearest, summarize
from ialstore_backends.lsh.packed.entries import EntryFormat, are_expired, newest
from ialstore_backends.lsh.packed.head import (
    Calibration,
    Facts,
    Head,
    cell_record_bytes,
    decode_head,
    encode_head,
    stored_mean,
)
from ialstore_backends.lsh.packed.shaping import shaped_bits, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore_backends.lsh.packed.cells import Cells
    from ialstore_backends.lsh.packed.entries import Entries, Floats

    Places = NDArray[np.intp]

__all__ = [
    "FILL",
    "FIRST",
    "FLAT_CELLS",
    "GROWTH",
    "MIN_TAIL",
    "Rebuilt",
    "TooManyVectorsError",
    "capacity",
    "due",
    "encode_all",
    "is_of_new_kind",
    "merge",
    "most_vectors",
    "tail_limit",
]

MIN_TAIL: Final = 64
FIRST: Final = 128  # vectors from which on there is a mean
FLAT_CELLS: Final = 6
GROWTH: Final = 1.25
_FAR: Final = 0.9  # nine of ten entries of cells lie nearer to a centroid than what is far
_MANY: Final = 0.4  # share of the tail; of text that goes on 0.1, and 0.3 where its topics change
_FLATTEST: Final = 1e-6  # part of the square of the length: a smaller spread counts as this
_UNIT_BYTES: Final = 4096
_KEY_BYTES: Final = 96  # keys and names of a cell's item; a long user id takes more
FILL: Final = 0.94
_MOST_ENTRIES: Final = 255
_HEAD_BYTES: Final = 300_000
_LARGEST_HEAD_BYTES: Final = 390_000  # an item takes 400 KiB, with its key and names
_SHORTEST: Final = 1e-6  # part of the longest, below which vectors count as one of that length
_UNKNOWN: Final = Calibration(1.0, least_hits=0.0, delta=0.0, delta_of_all=0.0, most=48)


class TooManyVectorsError(Exception):
    """A head does not take the cells of so many vectors.

    Attributes:
        count: of the vectors.
    """

    def __init__(self, layout: EntryFormat, count: int) -> None:
        super().__init__(
            f"the user has {count} vectors, and cells can be made of {most_vectors(layout)}; the "
            "others are searched, too, but at a cost that grows: delete some, or spread them over "
            "several users"
        )
        self.count = count


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What to write: the cells of the next epoch first, then the head, which switches to them.

    Attributes:
        head: bytes of the head item.
        cells: bytes of each cell, by its number.
        count: entries in them.
    """

    head: bytes
    cells: tuple[bytes, ...]
    count: int


def tail_limit(layout: EntryFormat, count: int) -> int:
    """Return how many entries the closed segments of a user with so many in cells may have.

    The open segment is read with them, and not merged.
    """
    pays = int(count * layout.nbytes / 1024 * (1.1 + layout.nbytes / 400))
    return max(MIN_TAIL, pays - 1024 // layout.nbytes)


def due(head: Head | None, layout: EntryFormat, tail: int) -> Literal["merge", "encode"] | None:
    """Return what is to be done about a tail of so many entries."""
    if head is None:
        return "encode" if tail >= FIRST else None
    if tail < tail_limit(layout, head.facts.count):
        return None
    return "encode" if head.facts.count + tail >= GROWTH * head.facts.encoded else "merge"


def is_of_new_kind(head: Head, cells: Entries, tail: Entries, *, now: int) -> bool:
    """Return whether the tail is better not merged, for it is unlike what was encoded.

    Distances are those of decoded codes to their nearest centroid, in spreads of its cell. Of one
    kind as many of the tail are far as of the cells: a tenth.

    Args:
        head: of the user.
        cells: all entries of all cells, in their order.
        tail: entries and tombstones.
        now: seconds since 1970.
    """
    late = newest(tail)
    late = late[~are_expired(late["about"], now)]
    if head.facts.early or len(late) < MIN_TAIL // 2 or not len(cells):
        return False
    layout, sizes = head.facts.layout, head.cells.sizes
    found = summarize(layout, cells, np.repeat(np.arange(len(sizes)), sizes), len(sizes))
    usual = np.quantile(_distances(layout, cells, found), _FAR)
    return bool((_distances(layout, late, found) > usual).mean() >= _MANY)


def _distances(layout: EntryFormat, entries: Entries, cells: Cells) -> Floats:
    """Return the square of the distance of entries to their nearest centroid, in spreads."""
    cell, squares = nearest(layout, entries, cells.centroids)
    least = _FLATTEST * np.square(cells.lengths) + np.finfo(np.float32).tiny
    return np.asarray(squares / np.maximum(np.square(cells.spreads), least)[cell], np.float32)


def merge(
    head: Head,
    cells: Entries,
    tail: Entries,
    *,
    segment: int,
    now: int,
    key_bytes: int = _KEY_BYTES,
) -> Rebuilt:
    """Copy the entries that count into new cells, without those that are expired.

    Args:
        head: of the user.
        cells: all entries of all cells.
        tail: entries and tombstones of the segments merged.
        segment: number of the first segment that is not merged.
        now: seconds since 1970.
        key_bytes: what an item takes besides its entries.

    Raises:
        TooManyVectorsError: they are more than ``most_vectors``.
    """
    entries = newest(np.concatenate([cells, tail]))
    entries = entries[~are_expired(entries["about"], now)]
    _check_count(head.facts.layout, len(entries))
    facts = replace(head.facts, segment=segment)
    return _written(facts, entries, None, key_bytes)


def encode_all(
    layout: EntryFormat,
    rotated: Floats,
    known: Entries,
    head: Head | None,
    *,
    version: int,
    segment: int,
    row_bytes: int = 0,
    key_bytes: int = _KEY_BYTES,
    late: Places | None = None,
) -> Rebuilt:
    """Encode vectors anew, with a mean, bits and thresholds that fit them.

    Args:
        layout: of the entries.
        rotated: the rotated vectors, of unit length under cosine, shape (n, dimension), n > 0.
        known: entries with their tags, generations and what filters need.
        head: of the user so far.
        version: of the codes, which no other encoding of the user has.
        segment: number of the first segment whose entries are not among them.
        row_bytes: of a row, on the mean.
        key_bytes: what an item takes besides its entries.
        late: places of the vectors whose new kind is the reason, if one is.

    Raises:
        TooManyVectorsError: they are more than ``most_vectors``.
    """
    _check_count(layout, len(rotated))
    mean = stored_mean(_middle(rotated, layout.metric))
    residuals = rotated - mean
    entries = layout.encode(residuals, shaped_bits(residuals, weights(residuals)), known)
    facts = Facts(
        layout,
        epoch=0 if head is None else head.facts.epoch,
        version=version,
        segment=segment,
        count=len(entries),
        encoded=len(entries),
        flat=True,
        mean=mean,
        calibration=_UNKNOWN,
        row_bytes=row_bytes,
        early=late is not None,
        mixed=late is not None or (head is not None and head.facts.mixed),
    )
    return _written(facts, entries, residuals, key_bytes, late)


def _middle(rotated: Floats, metric: str) -> Floats:
    """Return what is taken off vectors: their mean, but that long ones don't outweigh short ones.

    Codes err by a share of what they stand for. So under euclidean short vectors would all look
    alike less the mean of long ones; weighted with the inverse of its length each counts alike.
    """
    if metric != "euclidean":
        return np.asarray(rotated.mean(axis=0, dtype=np.float64), np.float32)
    lengths = np.linalg.norm(rotated, axis=1).astype(np.float64)
    shares = 1 / np.maximum(lengths, lengths.max() * _SHORTEST + np.finfo(np.float32).tiny)
    return np.asarray((shares / shares.sum()).astype(np.float32) @ rotated, np.float32)


def capacity(layout: EntryFormat, count: int, key_bytes: int = _KEY_BYTES) -> int:
    """Return the most entries of a cell: what fits into the fewest read units.

    The head of very many long codes would be too large: there cells take more units.
    """
    units = 1
    while True:
        most = min((units * _UNIT_BYTES - key_bytes) // layout.nbytes, _MOST_ENTRIES)
        number = count / (most * FILL)
        if number * cell_record_bytes(layout) <= _HEAD_BYTES or most == _MOST_ENTRIES:
            return most
        units += 1


def most_vectors(layout: EntryFormat) -> int:
    """Return of how many vectors of one user cells can be made."""
    # The head has a byte for each number of the mean, and some more before it.
    room = _LARGEST_HEAD_BYTES - 2 * layout.dimension
    return room // cell_record_bytes(layout) * int(_MOST_ENTRIES * FILL)


def _check_count(layout: EntryFormat, count: int) -> None:
    if count > most_vectors(layout):
        raise TooManyVectorsError(layout, count)


def _written(
    facts: Facts,
    entries: Entries,
    residuals: Floats | None,
    key_bytes: int,
    late: Places | None = None,
) -> Rebuilt:
    layout = facts.layout
    most = capacity(layout, len(entries), key_bytes)
    number = max(1, -(-len(entries) // int(most * FILL)))
    epoch = (facts.epoch + 1) % 65536
    cells = cluster(layout, entries, most, number, seed=epoch)
    facts = replace(facts, epoch=epoch, count=len(entries), flat=number <= FLAT_CELLS)
    if residuals is not None and len(entries) > 1:
        head = decode_head(encode_head(facts, cells), layout)
        calibration = calibrate(head, residuals, entries, cells.cell, seed=epoch, late=late)
        facts = replace(facts, calibration=calibration)
    order = np.argsort(cells.cell, kind="stable")
    parts = np.split(entries[order], np.cumsum(cells.sizes)[:-1])
    return Rebuilt(encode_head(facts, cells), tuple(part.tobytes() for part in parts), len(entries))
