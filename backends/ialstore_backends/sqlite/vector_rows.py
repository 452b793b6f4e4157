"""Rows of vectors and of their users: made with checksums, and read only when these agree.

As in ``message_rows``, two CRC-32 stand in the row of a vector: ``short_checksum`` leaves text and
vector out, ``checksum`` covers all of it. The row of a user counts its vectors, so that one that is
missing is noticed when all are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np

from ialstore._text import from_seconds
from ialstore.decoding import DAMAGE, shown_id, stored_role
from ialstore.ids import Role
from ialstore.vector_model import EncodedRecord, IndexSpec, check_vector
from ialstore_backends.sqlite.failures import DamagedRowError
from ialstore_backends.sqlite.held import State

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Entry",
    "Row",
    "changed_state",
    "is_id_intact",
    "is_intact",
    "read_entries",
    "read_id",
    "read_record",
    "read_state",
    "row_of",
]

Row: TypeAlias = tuple[Any, ...]

_LITTLE_ENDIAN: Final = np.dtype("<f4")


class Entry(NamedTuple):
    """What a matrix keeps beside a vector."""

    id: str
    session_id: str
    role: Role
    text: str | None
    expires: int | None


# -- users -------------------------------------------------------------------------------------


def read_state(row: Row) -> tuple[str, State]:
    """Return a user and the state of its vectors.

    Raises:
        DamagedRowError: the row is damaged.
    """
    user_id, *numbers, checksum = row
    if type(user_id) is not str or _state_checksum(user_id, numbers) != checksum:
        raise DamagedRowError(f"user {numbers[0]} in vector_users is damaged")
    return user_id, State(*numbers)


def changed_state(user_id: str, state: State) -> Row:
    """Return the values that put a state in place of the user's former one."""
    return (*state[1:], _state_checksum(user_id, state), state.user)


def _state_checksum(user_id: str, numbers: Sequence[object]) -> int:
    return crc32(repr(tuple(numbers)).encode(), crc32(user_id.encode()))


# -- vectors -----------------------------------------------------------------------------------


def row_of(seed: int, number: int, user: int, record: EncodedRecord) -> Row:
    """Return the values of a row, in the order of its columns."""
    blob = record.vector.astype(_LITTLE_ENDIAN, copy=False).tobytes()
    short = _short_checksum(seed, record.id, record.session_id, record.expires)
    return (
        number,
        user,
        record.id,
        record.session_id,
        record.expires,
        short,
        _checksum(short, record.text, blob),
        record.text,
        blob,
    )


def _short_checksum(seed: int, one: str, session_id: str, expires: object) -> int:
    return crc32("\0".join((one, session_id, repr(expires))).encode(), seed)


def _checksum(short: int, text: str | None, blob: bytes) -> int:
    return crc32(blob, short if text is None else crc32(b"\0" + text.encode(), short))


def read_entries(
    user_id: str, rows: Sequence[Row], dimension: int
) -> tuple[list[Entry], NDArray[np.float32]]:
    """Return what a matrix takes of some rows.

    Raises:
        DamagedRowError: a row is damaged.
    """
    seed = crc32(user_id.encode())
    entries: list[Entry] = []
    for _, one, session_id, text, expires, checksum, blob in rows:
        try:
            short = _short_checksum(seed, one, session_id, expires)
            if _checksum(short, text, blob) != checksum:
                raise _damaged(one)
            entries.append(Entry(one, session_id, stored_role(one, session_id), text, expires))
        except DAMAGE as error:
            raise _damaged(one) from error
    try:
        return entries, _vectors([row[-1] for row in rows], dimension)
    except DAMAGE as error:
        raise DamagedRowError("vectors have another length than the spec") from error


def read_record(user_id: str, row: Row, spec: IndexSpec) -> EncodedRecord:
    """Return the record of one row.

    Raises:
        DamagedRowError: the row is damaged.
    """
    one, blob = row[1], row[-1]
    ((_, session_id, role, text, expires),), _ = read_entries(user_id, [row], spec.dimension)
    try:
        if expires is not None:
            from_seconds(expires)
        vector = check_vector(_vectors([blob], spec.dimension)[0], spec, "the stored vector")
    except DAMAGE as error:  # pragma: no cover - another program wrote it, checksum and all
        raise _damaged(one) from error
    return EncodedRecord(one, vector, session_id, role, text, expires)


def read_id(user_id: str, row: Row) -> str:
    """Return the id of a row that was read without text and vector.

    Raises:
        DamagedRowError: the row is damaged.
    """
    one, session_id, expires, short_checksum = row
    try:
        if _short_checksum(crc32(user_id.encode()), one, session_id, expires) != short_checksum:
            raise _damaged(one)
    except DAMAGE as error:
        raise _damaged(one) from error
    return str(one)


def is_id_intact(user_id: str, row: Row) -> bool:
    """Whether the checksum of such a row agrees with it."""
    try:
        read_id(user_id, row)
    except DamagedRowError:
        return False
    return True


def is_intact(user_id: str, row: Row, short_checksum: int, spec: IndexSpec) -> bool:
    """Whether both checksums of a row agree with it, and it can be read."""
    try:
        record = read_record(user_id, row, spec)
    except (DamagedRowError, *DAMAGE):
        return False
    short = (record.id, record.session_id, record.expires, short_checksum)
    return is_id_intact(user_id, short)


def _vectors(blobs: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    if {*map(len, blobs)} != {4 * dimension}:
        raise ValueError("wrong length")
    flat = np.frombuffer(b"".join(blobs), _LITTLE_ENDIAN).astype(np.float32, copy=False)
    return flat.reshape(len(blobs), dimension)


def _damaged(one: object) -> DamagedRowError:
    return DamagedRowError(f"the stored vector {shown_id(one)} is damaged")
