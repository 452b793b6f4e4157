"""The head item: what a search must know of a user before it reads anything else.

The mean, what was calibrated, and for each cell a code of its centroid, its spread and size: 55
bytes a cell at 384 dimensions. To write it is to switch to the cells of another epoch.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore.errors import CorruptError, StoreNotReadyError
from ialstore_backends.lsh.packed.codes import Codes
from ialstore_backends.lsh.packed.entries import (
    EntryFormat,
    decode_magnitudes,
    encode_magnitudes,
    sign_bits,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore_backends.lsh.packed.cells import Cells
    from ialstore_backends.lsh.packed.entries import Floats

__all__ = [
    "NEIGHBOURS",
    "Calibration",
    "CellTable",
    "Facts",
    "Head",
    "cell_record_bytes",
    "decode_head",
    "encode_head",
    "stored_mean",
]

NEIGHBOURS: Final = 10
"""Hits that thresholds are made for; those for k hits follow from them."""

_FORMAT: Final = 1
_FLAT: Final = 1  # flags
_EARLY: Final = 2
_MIXED: Final = 4
_LARGEST: Final = 127
_FIXED: Final = struct.Struct("<BBHQIIIfffffHffI")  # no padding; the arrays follow


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes thresholds fit the vectors of a user.

    Attributes:
        alpha: standard deviation of the scores within a cell, in parts of its spread.
        least_hits: of the ten nearest, what a cell must be expected to hold to be read.
        delta: how far below the k-th best an estimate may lie and still be looked at.
        delta_of_all: the same when no cell is left out; less, for nothing was lost before.
        most: rows looked at for ten hits, at most.
        rows: looked at for ten hits, on the mean.
        growth: rows looked at grow by the width of the window to this power.
    """

    alpha: float
    least_hits: float
    delta: float
    delta_of_all: float
    most: int
    rows: float = 0.0
    growth: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class CellTable:
    """The cells of a head.

    Attributes:
        centroids: searched like any codes.
        spreads: see ``Cells``.
        sizes: entries of each.
    """

    centroids: Codes
    spreads: Floats
    sizes: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What the head says besides the cells.

    Attributes:
        layout: of the entries; not stored in the head.
        epoch: of the cells; counts rebuilds, wraps at 65,536.
        version: of the codes; another one whenever everything was encoded again.
        segment: number of the first segment of the tail that is not in the cells.
        count: entries in the cells.
        encoded: vectors there were when everything was encoded.
        flat: whether the cells are read with the head, all of them.
        mean: near that of the rotated vectors, as ``stored_mean`` returns it.
        calibration: thresholds.
        row_bytes: of a row, on the mean, when everything was encoded; 0 where that is unknown.
        early: whether everything was encoded before that was due, because of a new kind.
        mixed: whether that ever was so.
    """

    layout: EntryFormat
    epoch: int
    version: int
    segment: int
    count: int
    encoded: int
    flat: bool
    mean: Floats
    calibration: Calibration
    row_bytes: int = 0
    early: bool = False
    mixed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The head of a user, as it is read."""

    facts: Facts
    cells: CellTable


def encode_head(facts: Facts, cells: Cells) -> bytes:
    """Return the bytes of a head."""
    layout = _cell_layout(facts.layout)
    entries = layout.encode(cells.centroids, sign_bits(cells.centroids))
    table = np.zeros(len(entries), _cell_type(layout))
    for name in _shared(layout):
        table[name] = entries[name]
    if layout.has_length:
        table["length"] = encode_magnitudes(cells.lengths)
    table["spread"] = encode_magnitudes(cells.spreads)
    table["size"] = cells.sizes
    scale, mean = _rounded(facts.mean)
    fixed = _FIXED.pack(
        _FORMAT,
        _FLAT * facts.flat | _EARLY * facts.early | _MIXED * facts.mixed,
        facts.epoch % 65536,
        facts.version,
        facts.segment,
        facts.count,
        facts.encoded,
        scale,
        facts.calibration.alpha,
        facts.calibration.least_hits,
        facts.calibration.delta,
        facts.calibration.delta_of_all,
        facts.calibration.most,
        facts.calibration.rows,
        facts.calibration.growth,
        facts.row_bytes,
    )
    return b"".join([fixed, mean.tobytes(), table.tobytes()])


def decode_head(data: bytes, layout: EntryFormat) -> Head:
    """Return the head of these bytes.

    Raises:
        CorruptError: they are no head of such vectors.
        StoreNotReadyError: a newer version of the library wrote it.
    """
    if data and data[0] > _FORMAT:
        raise StoreNotReadyError("a newer version of ialstore wrote these vectors; update it")
    centroids = _cell_layout(layout)
    kind = _cell_type(centroids)
    start = _FIXED.size + layout.dimension
    if len(data) < start or (len(data) - start) % kind.itemsize:
        raise CorruptError("the head of a user's vectors is damaged; run optimize")
    _, flags, epoch, version, segment, count, encoded, scale, *thresholds, row_bytes = (
        _FIXED.unpack_from(data)
    )
    mean = _mean(scale, np.frombuffer(data, np.int8, layout.dimension, _FIXED.size))
    table = np.frombuffer(data, kind, offset=start)
    entries = np.zeros(len(table), centroids.dtype)
    for name in _shared(centroids):
        entries[name] = table[name]
    calibration = Calibration(*thresholds)
    return Head(
        Facts(
            layout,
            epoch,
            version,
            segment,
            count,
            encoded,
            bool(flags & _FLAT),
            mean,
            calibration,
            row_bytes,
            bool(flags & _EARLY),
            bool(flags & _MIXED),
        ),
        CellTable(
            Codes(centroids, entries),
            decode_magnitudes(table["spread"]),
            table["size"].astype(np.intp),
        ),
    )


def stored_mean(mean: Floats) -> Floats:
    """Return a mean as a head will return it. What is encoded with it loses nothing thereby."""
    return _mean(*_rounded(mean))


def cell_record_bytes(layout: EntryFormat) -> int:
    """Return what a cell takes in the head."""
    return _cell_type(_cell_layout(layout)).itemsize


def _cell_layout(layout: EntryFormat) -> EntryFormat:
    """Return the layout of centroids: any length, so that one byte won't do."""
    return EntryFormat(layout.dimension, "euclidean") if layout.metric == "cosine" else layout


def _cell_type(layout: EntryFormat) -> np.dtype[np.void]:
    fields: list[Any] = [("factor", "<u2"), ("spread", "<u2"), ("size", "u1")]
    if layout.has_length:
        fields.append(("length", "<u2"))
    return np.dtype([*fields, ("code", "u1", (layout.code_bytes,))])


def _rounded(mean: Floats) -> tuple[float, NDArray[np.int8]]:
    scale = float(np.float32(np.abs(mean).max() / _LARGEST))
    return scale, np.rint(mean / np.float32(scale or 1)).astype(np.int8)


def _mean(scale: float, numbers: NDArray[np.int8]) -> Floats:
    return np.multiply(numbers, np.float32(scale), dtype=np.float32)


def _shared(layout: EntryFormat) -> tuple[str, ...]:
    """Return the fields that a cell has of an entry."""
    return ("code", "factor", "length") if layout.has_length else ("code", "factor")
