"""Vectors as bytes, and back: int8 with a scale, float16 or float32, compressed or not.

The first byte says how a vector is written, so that a reader needs no option. A vector that a codec
would distort by more than it promises is written in float32.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from ialstore.errors import CorruptError
from ialstore_backends._late import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CODECS", "ERRORS", "LEVELS", "CodecName", "CompressionName", "VectorCodec", "decode"]

CodecName = Literal["int8", "float16", "float32"]
CompressionName = Literal["none", "zlib", "zstd"]

CODECS: Final[tuple[CodecName, ...]] = ("int8", "float16", "float32")
ERRORS: Final[dict[CodecName, float]] = {"int8": 0.02, "float16": 0.001, "float32": 0.0}
"""Largest relative Euclidean distance of a vector that is read from the one that was written."""

_COMPRESSIONS: Final[tuple[CompressionName, ...]] = ("none", "zlib", "zstd")
_TYPES: Final = (np.dtype("<i1"), np.dtype("<f2"), np.dtype("<f4"))
_SCALE: Final = np.dtype("<f4")
LEVELS: Final = 127
"""Whole numbers to either side of zero, of int8: the largest number of a vector is the last."""
_INT8, _FLOAT16, _FLOAT32 = range(3)
_COMPRESSION_SHIFT: Final = 2
_CODEC_MASK: Final = 3


@dataclass(frozen=True, slots=True)
class VectorCodec:
    """Writes vectors.

    Attributes:
        name: how a number is written.
        compression: of what comes out; where it saves nothing, it is left out.
    """

    name: CodecName = "int8"
    compression: CompressionName = "none"

    def __post_init__(self) -> None:
        if self.compression == "zstd":
            require("zstandard", extra="zstd", needed_by="compression=zstd")

    @property
    def error(self) -> float:
        """See ``ERRORS``."""
        return ERRORS[self.name]

    def encode(self, vectors: NDArray[np.float32]) -> list[bytes]:
        """Return the bytes of each row, shape (n, dimension)."""
        kind = CODECS.index(self.name)
        bodies, decoded = _WRITERS[kind](vectors)
        wide = vectors.astype(np.float64)
        away = np.linalg.norm(decoded.astype(np.float64) - wide, axis=1)
        good = away <= ERRORS[self.name] * np.linalg.norm(wide, axis=1)
        exact, _ = _float32(vectors)
        return [
            self._packed(kind, body) if fits else self._packed(_FLOAT32, plain)
            for body, plain, fits in zip(bodies, exact, good.tolist(), strict=True)
        ]

    def _packed(self, kind: int, body: bytes) -> bytes:
        number = _COMPRESSIONS.index(self.compression)
        smaller = _COMPRESSORS[number](body)
        if len(smaller) < len(body):
            return bytes([kind | number << _COMPRESSION_SHIFT]) + smaller
        return bytes([kind]) + body


def decode(blobs: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """Return vectors, shape (len(blobs), dimension).

    Raises:
        CorruptError: one is not what was written.
    """
    try:
        unpacked = [_unpacked(blob, dimension) for blob in blobs]
    except (IndexError, KeyError, ValueError, zlib.error) as error:
        raise CorruptError("a stored vector is damaged; upsert it again") from error
    kinds = {kind for kind, _ in unpacked}
    if len(kinds) == 1:
        return _READERS[kinds.pop()]([body for _, body in unpacked])
    vectors = np.empty((len(blobs), dimension), np.float32)
    for kind in kinds:
        rows = [row for row, (own, _) in enumerate(unpacked) if own == kind]
        vectors[rows] = _READERS[kind]([unpacked[row][1] for row in rows])
    return vectors


def _unpacked(blob: bytes, dimension: int) -> tuple[int, bytes]:
    kind, number = blob[0] & _CODEC_MASK, blob[0] >> _COMPRESSION_SHIFT
    size = dimension * _TYPES[kind].itemsize + (_SCALE.itemsize if kind == _INT8 else 0)
    body = _DECOMPRESSORS[number](blob[1:], size)
    if len(body) != size:
        raise ValueError("another length")
    return kind, body


# -- numbers -----------------------------------------------------------------------------------

_Written = tuple[Iterable[bytes], "NDArray[np.float32]"]


def _int8(vectors: NDArray[np.float32]) -> _Written:
    """Return rows of a scale and whole numbers, and what they are read as."""
    scales = (np.abs(vectors).max(axis=1) / np.float32(LEVELS)).astype(np.float32)
    safe = np.where(scales > 0, scales, np.float32(1))
    # Among the smallest floats the rounded scale may be too small for the largest number.
    levels = np.clip(np.rint(vectors / safe[:, None]), -LEVELS, LEVELS).astype(_TYPES[_INT8])
    heads = scales.astype(_SCALE)
    bodies = (head.tobytes() + row.tobytes() for head, row in zip(heads, levels, strict=True))
    return bodies, _scaled(levels, scales[:, None])


def _float16(vectors: NDArray[np.float32]) -> _Written:
    with np.errstate(over="ignore"):
        halves = vectors.astype(_TYPES[_FLOAT16])
    return (row.tobytes() for row in halves), halves.astype(np.float32)


def _float32(vectors: NDArray[np.float32]) -> _Written:
    return (row.tobytes() for row in vectors.astype(_TYPES[_FLOAT32], copy=False)), vectors


def _read_int8(bodies: Sequence[bytes]) -> NDArray[np.float32]:
    table = np.frombuffer(b"".join(bodies), np.uint8).reshape(len(bodies), -1)
    scales = np.ascontiguousarray(table[:, : _SCALE.itemsize]).view(_SCALE).astype(np.float32)
    levels = np.ascontiguousarray(table[:, _SCALE.itemsize :]).view(_TYPES[_INT8])
    return _scaled(levels, scales)


def _scaled(levels: NDArray[Any], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # of the largest floats; what is infinite is not used
        found: NDArray[np.float32] = levels.astype(np.float32) * scales
    return found


def _read_floats(kind: int) -> Callable[[Sequence[bytes]], NDArray[np.float32]]:
    def read(bodies: Sequence[bytes]) -> NDArray[np.float32]:
        flat = np.frombuffer(b"".join(bodies), _TYPES[kind])
        return flat.reshape(len(bodies), -1).astype(np.float32)

    return read


_WRITERS: Final = (_int8, _float16, _float32)
_READERS: Final = (_read_int8, _read_floats(_FLOAT16), _read_floats(_FLOAT32))


# -- compression -------------------------------------------------------------------------------


def _as_it_is(body: bytes, size: int = 0) -> bytes:
    del size
    return body


def _deflate(body: bytes) -> bytes:
    return zlib.compress(body, 9)


def _inflate(body: bytes, size: int) -> bytes:
    reader = zlib.decompressobj()
    found = reader.decompress(body, size + 1)
    if not reader.eof or reader.unused_data:
        raise ValueError("cut, or followed by something")
    return found


def _zstd_compress(body: bytes) -> bytes:
    import zstandard

    # Neither a size nor a checksum: both are known, and cost as much as is saved.
    return zstandard.ZstdCompressor(level=19, write_content_size=False).compress(body)


def _zstd_decompress(body: bytes, size: int) -> bytes:
    require("zstandard", extra="zstd", needed_by="a vector that was compressed with zstd")
    import zstandard

    try:
        if zstandard.frame_content_size(body) > size:
            raise ValueError("larger than a vector")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=size + 1)
    except zstandard.ZstdError as error:
        raise ValueError("no frame of zstd") from error


# In the order of the names.
_COMPRESSORS: Final = (_as_it_is, _deflate, _zstd_compress)
_DECOMPRESSORS: Final = (_as_it_is, _inflate, _zstd_decompress)
