"""The code entry of a vector: sign bits, factor, tag, generation and what filters need.

A vector is ``G v = mean + y`` with G the rotation, and y about ``factor * bits`` with bits of -1
and 1. Products of queries with y are estimated. Under cosine and euclidean the query is taken less
the mean as well, and the length of y is in the entry, so that a mean that most vectors share (as
of many embedding models) costs no accuracy.

Entries of many vectors are one structured array, whose bytes are what is stored. Hour and tag
together are the key of a vector, from which its row is found. A tombstone has a key and a
generation only. Of several entries with one key the highest generation counts.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from ialstore.errors import CorruptError
from ialstore.ids import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = [
    "LAST_HOUR",
    "TOMBSTONE_BYTES",
    "Entries",
    "EntryFormat",
    "Floats",
    "about",
    "are_dead",
    "are_expired",
    "decode_magnitudes",
    "encode_magnitudes",
    "hour_of",
    "hours",
    "key_of",
    "keys_of",
    "newest",
    "optimal_factors",
    "role_codes",
    "session_code",
    "sign_bits",
    "tag_of",
    "tombstone",
    "winners",
]

Entries: TypeAlias = "NDArray[np.void]"
"""Entries as a structured array, shape (n,)."""
Floats: TypeAlias = "NDArray[np.float32]"

TOMBSTONE_BYTES: Final = 12
_TOMBSTONE: Final = np.dtype([("key", "<u8"), ("generation", "<u4")])
_ROLE_CODE: Final = {role: code for code, role in enumerate(Role)}
_TOMBSTONE_ROLE: Final = 7
LAST_HOUR: Final = (1 << 21) - 1  # in the year 2209; what is later counts as this hour
_TAG: Final = 0xFFFF_FFFF
_HOUR_MILLISECONDS: Final = 3_600_000
_STEPS_PER_OCTAVE: Final = 128  # of magnitudes in two bytes: 0.3 % at most
_LEAST_EXPONENT: Final = -160
_FACTOR_STEPS: Final = 18  # an octave, of cosine factors in one byte: 2 % at most
_LENGTH_STEPS: Final = 40  # an octave, of lengths in one byte: 0.9 % at most
_LARGEST_LENGTH: Final = 2.0
_LIFE_STEPS_PER_OCTAVE: Final = 8
_LIFE_HOURS: Final = np.exp2((np.arange(256) - 1) / _LIFE_STEPS_PER_OCTAVE)
_LIFE_HOURS[0] = np.inf


@dataclass(frozen=True, eq=True)
class EntryFormat:
    """How entries of one kind of vectors are laid out.

    Attributes:
        dimension: of the vectors.
        metric: ``cosine`` has one byte each for the factor and the length of y, ``euclidean``
            two each, ``dot`` two for the factor.
    """

    dimension: int
    metric: str

    @property
    def has_length(self) -> bool:
        """Whether estimates are of distances, and entries have a length."""
        return self.metric != "dot"

    @property
    def code_bytes(self) -> int:
        """Bytes of the sign bits."""
        return -(-self.dimension // 8)

    @property
    def nbytes(self) -> int:
        """Bytes of an entry."""
        return self.dtype.itemsize

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """The fields of an entry, without gaps."""
        fields: list[Any] = [
            ("tag", "<u4"),
            ("generation", "<u4"),
            ("session", "<u2"),
            ("about", "<u4"),
            ("factor", "u1" if self.metric == "cosine" else "<u2"),
        ]
        if self.has_length:
            fields.append(("length", "u1" if self.metric == "cosine" else "<u2"))
        return np.dtype([*fields, ("code", "u1", (self.code_bytes,))])

    def encode(self, residuals: Floats, signs: Floats, known: Entries | None = None) -> Entries:
        """Return entries of rotated vectors less the rotated mean, shape (n, dimension).

        Args:
            residuals: the vectors; unit length before the mean was taken off under cosine.
            signs: shape of ``residuals``, of -1 and 1.
            known: entries whose other fields are taken over; None leaves them zero.
        """
        entries = np.zeros(len(residuals), self.dtype)
        if known is not None:
            for name in ("tag", "generation", "session", "about"):
                entries[name] = known[name]
        entries["code"] = np.packbits(signs > 0, axis=1)
        factors = optimal_factors(residuals, signs)
        if self.metric == "cosine":
            entries["factor"] = _encode_bytes(factors, self._largest, _FACTOR_STEPS)
        else:
            entries["factor"] = encode_magnitudes(factors)
        if self.has_length:
            lengths = np.sqrt(np.square(residuals).sum(axis=1))
            if self.metric == "cosine":
                entries["length"] = _encode_bytes(lengths, _LARGEST_LENGTH, _LENGTH_STEPS)
            else:
                entries["length"] = encode_magnitudes(lengths)
        return entries

    def factors(self, entries: Entries) -> Floats:
        """Return the factors of entries."""
        if self.metric == "cosine":
            return _decode_bytes(entries["factor"], self._largest, _FACTOR_STEPS)
        return decode_magnitudes(entries["factor"])

    def lengths(self, entries: Entries) -> Floats:
        """Return the lengths of what was encoded, of entries that have them."""
        if self.metric == "cosine":
            return _decode_bytes(entries["length"], _LARGEST_LENGTH, _LENGTH_STEPS)
        return decode_magnitudes(entries["length"])

    def signs(self, entries: Entries) -> Floats:
        """Return the bits as -1 and 1, shape (n, dimension)."""
        bits = np.unpackbits(entries["code"], axis=1, count=self.dimension)
        return np.where(bits, np.float32(1), np.float32(-1))

    def decode(self, entries: Entries) -> Floats:
        """Return approximations of the rotated residuals, shape (n, dimension)."""
        return self.signs(entries) * self.factors(entries)[:, None]

    def from_bytes(self, data: bytes) -> Entries:
        """Return the entries of a cell.

        Raises:
            CorruptError: not a whole number of entries.
        """
        if len(data) % self.nbytes:
            raise CorruptError("a cell of vector codes has a length that no cell has")
        return np.frombuffer(data, self.dtype)

    def from_set(self, elements: Iterable[bytes]) -> Entries:
        """Return the entries and tombstones of one segment of the tail, in no order.

        Raises:
            CorruptError: an element has another length.
        """
        found: list[bytes] = []
        for element in elements:
            if len(element) == TOMBSTONE_BYTES:
                found.append(self._dead(element))
            elif len(element) == self.nbytes:
                found.append(element)
            else:
                raise CorruptError("a segment of vector codes has an element of unknown length")
        return np.frombuffer(b"".join(found), self.dtype)

    def _dead(self, element: bytes) -> bytes:
        row = np.zeros(1, self.dtype)
        given = np.frombuffer(element, _TOMBSTONE)
        row["tag"], row["generation"] = given["key"] & _TAG, given["generation"]
        row["about"] = _TOMBSTONE_ROLE << 29 | (given["key"] >> 32) << 8
        return row.tobytes()

    @property
    def _largest(self) -> float:
        return 4 / math.sqrt(self.dimension)


def sign_bits(residuals: Floats) -> Floats:
    """Return the plain code of rotated residuals: their signs, as -1 and 1."""
    return np.where(residuals >= 0, np.float32(1), np.float32(-1))


def optimal_factors(residuals: Floats, signs: Floats) -> Floats:
    """Return the factors with which estimates are without bias (RaBitQ, SIGMOD 2024): y.y / y.b."""
    squares = np.square(residuals).sum(axis=1)
    along = (residuals * signs).sum(axis=1)
    factors: Floats = np.where(along > 0, squares / np.where(along > 0, along, 1), 0)
    return factors.astype(np.float32)


def tombstone(key: int, generation: int) -> bytes:
    """Return what removes the entries of a key up to this generation."""
    return np.array([(key, generation)], _TOMBSTONE).tobytes()


def key_of(message_id: str, salt: int = 0) -> int:
    """Return the key of a vector: 21 bits of its hour, and its tag."""
    return hour_of(message_id) << 32 | tag_of(message_id, salt)


def keys_of(entries: Entries) -> NDArray[np.uint64]:
    """Return the keys of entries and tombstones."""
    found: NDArray[np.uint64] = hours(entries["about"]).astype(np.uint64)
    found <<= np.uint64(32)
    found |= entries["tag"]
    return found


def tag_of(message_id: str, salt: int = 0) -> int:
    """Return the tag of an id; another salt where that is taken by another id."""
    digest = hashlib.sha256(f"{salt}#{message_id}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def session_code(session_id: str) -> int:
    """Return two bytes that stand for a session in filters."""
    return int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:2], "little")


def hour_of(message_id: str) -> int:
    """Return the hour since 1970 of an id or of a bound of ids, cut to 21 bits."""
    milliseconds = int(message_id[:8] + message_id[9:13], 16)
    return min(milliseconds // _HOUR_MILLISECONDS, LAST_HOUR)


def about(message_id: str, role: Role, expires: int | None) -> int:
    """Return 4 bytes of role, hour and, rounded up to 9 %, time to live.

    Args:
        message_id: which holds the time.
        role: of the message.
        expires: seconds since 1970, or None.
    """
    hour = hour_of(message_id)
    life = 0
    if expires is not None and hour < LAST_HOUR:
        hours = max(1, math.ceil(expires / 3600) - hour)
        life = min(1 + math.ceil(_LIFE_STEPS_PER_OCTAVE * math.log2(hours)), 255)
    return _ROLE_CODE[role] << 29 | hour << 8 | life


def role_codes(column: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the codes of the roles; 7 of a tombstone."""
    codes: NDArray[np.uint32] = column >> np.uint32(29)
    return codes


def are_dead(column: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return which entries are tombstones."""
    dead: NDArray[np.bool_] = role_codes(column) == _TOMBSTONE_ROLE
    return dead


def hours(column: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the hours since 1970."""
    found: NDArray[np.uint32] = column >> np.uint32(8) & np.uint32(LAST_HOUR)
    return found


def are_expired(column: NDArray[np.uint32], now: int) -> NDArray[np.bool_]:
    """Return which entries are expired for certain at ``now``, seconds since 1970."""
    life = column & 255
    if not life.any():
        return np.zeros(len(column), bool)
    until = hours(column) + _LIFE_HOURS.take(life)
    until *= 3600
    expired: NDArray[np.bool_] = until <= now
    return expired


def winners(entries: Entries) -> NDArray[np.intp]:
    """Return the place of what counts of each key, tombstones included, by ascending key."""
    keys = keys_of(entries)
    order = np.lexsort((are_dead(entries["about"]), entries["generation"], keys))
    ordered = keys[order]
    is_last = np.concatenate([ordered[1:] != ordered[:-1], [True]])[: len(order)]
    chosen: NDArray[np.intp] = order[is_last]
    return chosen


def newest(entries: Entries) -> Entries:
    """Return the entries that count, in their order; none of a key that is removed."""
    places = np.sort(winners(entries))
    found = entries[places]
    return found[~are_dead(found["about"])]


def encode_magnitudes(values: Floats) -> NDArray[np.uint16]:
    """Return two bytes for each number of at least zero, on a log scale."""
    with np.errstate(divide="ignore"):
        steps = (np.log2(values.astype(np.float64)) - _LEAST_EXPONENT) * _STEPS_PER_OCTAVE
    codes: NDArray[np.uint16] = np.clip(np.rint(steps), 0, 65535).astype(np.uint16)
    return codes


def decode_magnitudes(codes: NDArray[np.uint16]) -> Floats:
    """Return the numbers of ``encode_magnitudes``."""
    exponents = codes / _STEPS_PER_OCTAVE + _LEAST_EXPONENT
    return np.where(codes > 0, np.exp2(np.minimum(exponents, 127.9)), 0).astype(np.float32)


def _encode_bytes(values: Floats, largest: float, steps_per_octave: int) -> NDArray[np.uint8]:
    with np.errstate(divide="ignore"):
        steps = np.log2(values.astype(np.float64) / largest) * steps_per_octave + 255
    codes: NDArray[np.uint8] = np.clip(np.rint(steps), 0, 255).astype(np.uint8)
    return codes


def _decode_bytes(codes: NDArray[np.uint8], largest: float, steps_per_octave: int) -> Floats:
    values = np.exp2((codes.astype(np.float32) - 255) / steps_per_octave) * largest
    return np.where(codes > 0, values, 0).astype(np.float32)
