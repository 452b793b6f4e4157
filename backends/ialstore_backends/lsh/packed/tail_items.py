"""The codes of a user as rows of one partition, and what they look like.

``H`` is the head, ``T...`` are closed segments of the tail, ``U`` is the open one: one query reads
them, in this order. ``A...`` and ``B...`` are cells of every other epoch, ``V...`` are means.

Writers add to the open segment alone. When it is full, its elements are added to the closed segment
of its number, and it begins anew under the next number, on condition that nothing was added
meanwhile: whatever was added is in one of the two. A closed segment that somebody late adds to
holds nothing that it did not hold before. One that is made again by it may lack something, and is
below the head's first, which the open segment tells those who don't read the head again. Who made
it finds the open segment changed, and deletes it.

Whoever rebuilds takes a number from the open segment, its fence. Cells are overwritten only by a
higher fence, and the head is switched in one transaction that looks whether the fence is still the
last one. Versions are fences too. They begin with the time and a random number, so that those of an
erased user never come again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ialstore.errors import CorruptError
from ialstore_backends.dynamodb.keys import escaped
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import from_base64

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import EntryFormat
    from ialstore_backends.lsh.packed.head import Head

__all__ = [
    "CODES",
    "HEAD",
    "OPEN",
    "OpenSegment",
    "Stored",
    "StoredHead",
    "cell_name",
    "code_key",
    "damaged",
    "elements_of",
    "entries_of_segment",
    "fence_of",
    "fence_version",
    "item_key",
    "key_bytes",
    "mean_name",
    "numeric",
    "opened_of",
    "segment_name",
    "segment_room",
]

CODES: Final = "@"
"""The chunk of no vector."""
HEAD: Final = "H"
OPEN: Final = "U"
_WITH_MEAN: Final = 1 << 60
_UNIT_BYTES: Final = 1024
_NUMBERS_BYTES: Final = 70  # of the open segment, besides its keys and elements
_CELL_BYTES: Final = 12  # of a cell, likewise


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """The open segment, as it was read.

    Attributes:
        version: of its entries.
        number: of the segment.
        writes: how often it was written to.
        size: bytes of its elements.
        fence: the last one that was taken.
        claimed: when that was, seconds since 1970; 0 of one that is done.
        due: number of the segment from which a rebuild pays.
        first: number of the first segment that is not in the cells.
        elements: entries and tombstones.
    """

    version: int
    number: int
    writes: int
    size: int
    fence: int
    claimed: int
    due: int
    first: int
    elements: tuple[bytes, ...]

    @property
    def has_mean(self) -> bool:
        """Whether there is a mean of this version; otherwise it is zero."""
        return self.version >= _WITH_MEAN


@dataclass(frozen=True, slots=True, eq=False)
class StoredHead:
    """A head as it was read.

    Attributes:
        head: what it says.
        fence: which its cells have.
        flat: bytes of the cells, where they are in the head.
    """

    head: Head
    fence: int
    flat: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What the partition of codes holds, as far as one query read it.

    Attributes:
        head: None where there is none, or it was not asked for.
        segments: elements of closed segments of the version, by number.
        old: keys of closed segments of an earlier version, or that lie before the head's.
        opened: the open segment.
    """

    head: StoredHead | None
    segments: dict[int, tuple[bytes, ...]]
    old: tuple[Item, ...]
    opened: OpenSegment | None

    @property
    def first(self) -> int:
        """Number of the first segment of the tail."""
        return 0 if self.head is None else self.head.head.facts.segment

    def lacks(self, first: int) -> bool:
        """Return whether a query, which is no snapshot, passed by a closed segment."""
        end = 0 if self.opened is None else self.opened.number
        return any(number not in self.segments for number in range(first, end))

    @property
    def is_whole(self) -> bool:
        """Whether the parts belong together."""
        opened = self.opened
        if opened is None:
            return self.head is None
        if opened.has_mean is not (self.head is not None):
            return False
        if self.head is not None and self.head.head.facts.version != opened.version:
            return False  # pragma: no cover - the switch came while the query passed by
        return self.first >= opened.first and not self.lacks(self.first)


def segment_room(layout: EntryFormat, user_id: str) -> int:
    """Return how many bytes of elements the open segment takes within one write unit."""
    keys = item_bytes(code_key(user_id, OPEN))
    return max(_UNIT_BYTES - keys - _NUMBERS_BYTES, layout.nbytes)


def entries_of_segment(layout: EntryFormat, user_id: str) -> int:
    """Return how many entries a segment takes."""
    return segment_room(layout, user_id) // layout.nbytes


def key_bytes(user_id: str) -> int:
    """Return what the item of a cell takes besides its entries."""
    return item_bytes(code_key(user_id, cell_name(0, 0))) + _CELL_BYTES


def code_key(user_id: str, name: str) -> Item:
    """Return the key of an item of codes."""
    return {
        "user_chunk": {"S": f"{escaped(user_id)}#{CODES}"},
        "embedding_id": {"S": name},
    }


def fence_version(fence: int) -> int:
    """Return the version of the codes of a rebuild."""
    return fence | _WITH_MEAN


def fence_of(version: int) -> int:
    """Return the fence of the rebuild that made a version."""
    return version & ~_WITH_MEAN


def cell_name(epoch: int, number: int) -> str:
    """Return the sort key of a cell."""
    return f"{'AB'[epoch % 2]}{number:05d}"


def segment_name(number: int, version: int) -> str:
    """Return the sort key of a closed segment."""
    return f"T{number:08d}{version:016x}"


def mean_name(version: int) -> str:
    """Return the sort key of a mean."""
    return f"V{version:016x}"


def item_key(row: Item) -> Item:
    """Return the key of an item that was read."""
    return {name: row[name] for name in ("user_chunk", "embedding_id")}


def numeric(value: int) -> dict[str, str]:
    """Return a number as an attribute."""
    return {"N": str(value)}


def elements_of(row: Item) -> tuple[bytes, ...]:
    """Return the entries and tombstones of a segment."""
    found: list[str] = row["e"]["BS"] if "e" in row else []
    return tuple(from_base64(one) for one in found)


def opened_of(row: Item) -> OpenSegment:
    """Return the open segment."""
    return OpenSegment(
        version=int(row["v"]["N"]),
        number=int(row["n"]["N"]),
        writes=int(row["w"]["N"]),
        size=int(row["b"]["N"]),
        fence=int(row["f"]["N"]),
        claimed=int(row["t"]["N"]) if "t" in row else 0,
        due=int(row["d"]["N"]),
        first=int(row["s"]["N"]) if "s" in row else 0,
        elements=elements_of(row),
    )


def damaged() -> CorruptError:
    """Return the error to raise where an item is not what was written."""
    return CorruptError("the codes of a user's vectors are damaged; run optimize")
