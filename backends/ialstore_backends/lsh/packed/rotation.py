"""A random rotation of any dimension that is never stored: signs and Hadamard transforms.

Three rounds, each flipping the signs of random coordinates, putting the coordinates into another
order, and transforming the first and then the last 2^m of them, with 2^m the largest power of two
that fits. Every round is orthogonal for any dimension. Signs and orders are cut from one SHAKE-256
stream, so that every platform and every version of NumPy has the same rotation; the sums in
float32 may differ in their last bit.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Rotation", "rotation"]

_SEED: Final = b"ialstore packed rotation 1"
_ROUNDS: Final = 3


class Rotation:
    """The rotation of one dimension; holds some kilobytes."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        bits = dimension.bit_length() - 1
        self._width = 1 << bits
        self._starts = sorted({0, dimension - self._width})
        # A Kronecker product of two small transforms is the large one: two matrix products.
        self._left = _hadamard(bits // 2)
        self._right = _hadamard(bits - bits // 2)
        words = hashlib.shake_256(_SEED + dimension.to_bytes(2, "big")).digest(
            8 * dimension * _ROUNDS
        )
        stream = np.frombuffer(words, "<u8").reshape(_ROUNDS, dimension)
        self._signs = np.where(stream & 1, 1, -1).astype(np.float32)
        self._orders = np.argsort(stream, axis=1, kind="stable")

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the rotated vectors; any shape (..., dimension), float32."""
        turned = self._rows(vectors)
        for signs, order in zip(self._signs, self._orders, strict=True):
            turned = (turned * signs).take(order, axis=1)
            for start in self._starts:
                self._transform(turned, start)
        return np.reshape(turned, vectors.shape)

    def undo(self, turned: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors whose rotation is ``turned``."""
        vectors = self._rows(turned)
        for signs, order in zip(self._signs[::-1], self._orders[::-1], strict=True):
            mixed = vectors.copy()
            for start in reversed(self._starts):
                self._transform(mixed, start)
            vectors = np.empty_like(mixed)
            vectors[:, order] = mixed
            vectors *= signs
        return np.reshape(vectors, turned.shape)

    def _rows(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.reshape(np.asarray(vectors, np.float32), (-1, self.dimension))

    def _transform(self, vectors: NDArray[np.float32], start: int) -> None:
        """Transform coordinates in place; its own inverse."""
        part = vectors[:, start : start + self._width]
        blocks = part.reshape(-1, len(self._left), len(self._right))
        part[:] = (self._left @ (blocks @ self._right)).reshape(part.shape)


@lru_cache(maxsize=8)
def rotation(dimension: int) -> Rotation:
    """Return the rotation of a dimension, 1 to 4,096."""
    return Rotation(dimension)


def _hadamard(bits: int) -> NDArray[np.float32]:
    """Return the orthogonal, symmetric Hadamard matrix of 2^bits rows (Sylvester)."""
    matrix = np.ones((1, 1), np.float32)
    for _ in range(bits):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return np.asarray(matrix / np.sqrt(np.float32(1 << bits)), np.float32)
