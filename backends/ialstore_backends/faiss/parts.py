"""What ``matrix`` is made of: FAISS's index with what is known of it, graves, and selectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ialstore.ids import Role
from ialstore_backends.faiss.recipes import faiss

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GRAVE", "Built", "Live", "Restored", "scale_of", "selector_of"]

_BITS_OF_LONGEST: Final = 8  # in the middle of what float16 holds


class _Grave(NamedTuple):
    """Stands where an entry was."""

    id: str = ""
    session_id: str = ""
    role: Role = Role.USER
    text: str | None = None
    expires: int | None = None


GRAVE: Final = _Grave()


@dataclass(slots=True, eq=False)
class Built:
    """A FAISS index and what has to be known of it.

    Attributes:
        index: FAISS's own.
        count: rows in it: the first of the matrix.
        learned_from: rows that it was trained with.
        ceiling: the square of a length somewhat above that of every vector it learned from; under
            the dot product a graph gives it to all.
    """

    index: Any
    count: int
    learned_from: int
    ceiling: float


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """An index that was read from a file.

    Attributes:
        built: the index, without the vectors that it was written without.
        numbers: of the rows that it was made of, in their order, which is ascending.
        checksums: of these rows.
    """

    built: Built
    numbers: NDArray[np.int64]
    checksums: NDArray[np.int64]

    def places(
        self, numbers: NDArray[np.int64], checksums: NDArray[np.int64]
    ) -> NDArray[np.intp] | None:
        """Return the places of those rows, the first ones, that it has; None if they differ."""
        inside = int((numbers <= self.numbers[-1]).sum())
        places = np.searchsorted(self.numbers, numbers[:inside])
        same = self.numbers[places] == numbers[:inside]
        same &= self.checksums[places] == checksums[:inside]
        return places if same.all() else None


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """Rows that are neither graves nor expired, from one time to another."""

    since: int
    until: int
    rows: NDArray[np.intp]


def scale_of(ceiling: float) -> float:
    """Return what vectors under other metrics than cosine are multiplied by, a power of two.

    It changes no order. Very short vectors would be the same to float16 and to k-means, and of very
    long ones float16 would hold infinities.

    Args:
        ceiling: see ``Built``; zero where all vectors are.
    """
    if not ceiling:
        return 1.0
    return 2.0 ** (_BITS_OF_LONGEST - round(math.log2(ceiling) / 2))


def selector_of(rows: NDArray[np.intp], count: int) -> Any:
    """Return FAISS's form of some rows among the first ``count``."""
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return faiss().IDSelectorBitmap(np.packbits(mask, bitorder="little"))
