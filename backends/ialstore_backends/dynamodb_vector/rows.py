"""Vectors as items of the table, and back, straight from and to the JSON of the wire.

PynamoDB takes three milliseconds for a list of a thousand numbers: items are built without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore._text import check_text, from_seconds
from ialstore.decoding import DAMAGE, shown_id, stored_role
from ialstore.errors import CorruptError
from ialstore.vector_model import EncodedRecord, IndexSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore.ids import Role
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb_embeddings.table import Chunks

__all__ = ["Beside", "VectorRows", "beside_of", "numbers"]

_DIGITS: Final = "%.9g"
"""Nine significant digits tell every float32 from every other (IEEE 754-2019, 5.12.2)."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is kept beside a vector, as rows and entries of the index have it."""

    id: str
    session_id: str
    role: Role
    text: str | None
    expires: int | None


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Rows of the table; see ``RowFormat``.

    Attributes:
        chunks: partitions.
        spec: of the index.
        seconds: tells the time that is written to rows; None where none is.
    """

    chunks: Chunks
    spec: IndexSpec
    seconds: Callable[[], int] | None

    @property
    def session_attribute(self) -> str:
        """Attribute that holds the session."""
        return "session_id"

    def items(self, records: Sequence[tuple[str, EncodedRecord]]) -> list[Item]:
        """Return the rows of pairs of user and record."""
        written: Item = {}
        if self.seconds is not None:
            written["written_at"] = {"N": str(self.seconds())}
        return [{**self._item(user_id, record), **written} for user_id, record in records]

    def _item(self, user_id: str, record: EncodedRecord) -> Item:
        item: Item = {
            **self.chunks.key(user_id, record.id),
            "session_id": {"S": record.session_id},
            "role": {"S": record.role.value},
            "vector": {"L": numbers(record.vector)},
        }
        if record.text is not None:
            item["text"] = {"S": record.text}
        if record.expires is not None:
            item["expires_at"] = {"N": str(record.expires)}
        return item

    def records(self, items: Sequence[Item]) -> list[EncodedRecord]:
        """Return the records of rows."""
        return [self._record(item) for item in items]

    def _record(self, item: Item) -> EncodedRecord:
        beside = beside_of(item)
        try:
            vector = self._vector(item)
        except DAMAGE as error:
            raise _damaged(beside.id) from error
        return EncodedRecord(
            beside.id, vector, beside.session_id, beside.role, beside.text, beside.expires
        )

    def _vector(self, item: Item) -> NDArray[np.float32]:
        """Return the vector of a row, or raise one of ``DAMAGE``."""
        held: list[dict[str, str]] = item["vector"]["L"]
        with np.errstate(over="ignore"):  # of what is no float32
            vector = np.array([float(one["N"]) for one in held]).astype(np.float32)
        if len(vector) != self.spec.dimension or not np.isfinite(vector).all():
            raise ValueError("no vector of this index")
        if self.spec.metric == "cosine" and not vector.any():
            raise ValueError("no direction")
        vector.flags.writeable = False
        return vector

    def session_of(self, item: Item) -> str:
        """Return the session of a row that was read without its vector."""
        return beside_of(item).session_id


def numbers(vector: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return a vector as a list of numbers of DynamoDB, exact as float32."""
    return [{"N": _DIGITS % one} for one in (vector + np.float32(0)).tolist()]  # no -0


def beside_of(item: Item) -> Beside:
    """Return what is beside the vector of a row, or of an entry of the index.

    Raises:
        CorruptError: it is not what was written.
    """
    one = ""
    try:
        one = item["embedding_id"]["S"]
        session_id: str = item["session_id"]["S"]
        check_text(session_id, "session")
        text: str | None = item["text"]["S"] if "text" in item else None
        expires = int(item["expires_at"]["N"]) if "expires_at" in item else None
        if expires is not None:
            from_seconds(expires)
        return Beside(one, session_id, stored_role(one, session_id), text, expires)
    except DAMAGE as error:
        raise _damaged(one) from error


def _damaged(one: object) -> CorruptError:
    return CorruptError(
        f"the stored vector {shown_id(one)} is damaged; delete it and upsert it again"
    )
