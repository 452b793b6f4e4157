"""Vectors as items of the table, and back.

Written through the PynamoDB model; read below it, straight from the JSON of the wire.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore._text import check_text, from_seconds
from ialstore.decoding import DAMAGE, shown_id, stored_role
from ialstore.errors import CorruptError
from ialstore.vector_model import EncodedRecord, IndexSpec
from ialstore_backends.dynamodb.table import from_base64
from ialstore_backends.lsh.codec import decode
from ialstore_backends.lsh.hyperplanes import codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb_embeddings.table import Chunks
    from ialstore_backends.lsh.codec import VectorCodec
    from ialstore_backends.lsh.schema import EmbeddingRow

__all__ = ["EXPIRES", "CodedRows", "items_of", "metadata_of", "records_of", "session_of"]

_SESSION: Final = "session"
EXPIRES: Final = "expires"
"""Seconds since 1970, in the metadata of a row that expires."""


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Rows of the index of codes; see ``RowFormat``."""

    model: type[EmbeddingRow]
    chunks: Chunks
    codec: VectorCodec
    spec: IndexSpec

    @property
    def session_attribute(self) -> str:
        """Attribute that holds the session, among others."""
        return "metadata"

    def items(self, records: Sequence[tuple[str, EncodedRecord]]) -> list[Item]:
        """Return the rows of pairs of user and record."""
        return items_of(records, self.model, self.chunks, self.codec)

    def records(self, items: Sequence[Item]) -> list[EncodedRecord]:
        """Return the records of rows."""
        return records_of(items, self.spec)

    def session_of(self, item: Item) -> str:
        """Return the session of a row."""
        return session_of(item)


def items_of(
    records: Sequence[tuple[str, EncodedRecord]],
    model: type[EmbeddingRow],
    chunks: Chunks,
    codec: VectorCodec,
) -> list[Item]:
    """Return the rows of pairs of user and record, as botocore takes them."""
    vectors = np.array([record.vector for _, record in records])
    return [
        model(
            user_chunk=chunks.of(user_id, record.id),
            embedding_id=record.id,
            similarity_hash=code,
            vector_compressed=blob,
            metadata=metadata_of(record),
            text=record.text,
            expires_at=record.expires,
        ).serialize()
        for (user_id, record), code, blob in zip(
            records, codes(vectors), codec.encode(vectors), strict=True
        )
    ]


def metadata_of(record: EncodedRecord) -> str:
    """Return what an entry of the index holds beside the vector; the role is in the id."""
    fields: dict[str, Any] = {_SESSION: record.session_id}
    if record.expires is not None:
        fields[EXPIRES] = record.expires
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _sort_key(item: Item) -> str:
    """Return the id of a row of this layout."""
    found: str = item["embedding_id"]["S"]
    return found


def records_of(
    items: Sequence[Item], spec: IndexSpec, id_of: Callable[[Item], str] = _sort_key
) -> list[EncodedRecord]:
    """Return the records of rows, or of entries of the index, which hold no text.

    Args:
        items: as they were read.
        spec: of the index.
        id_of: returns the id of a row; it may raise ``CorruptError``, or one of ``DAMAGE``.

    Raises:
        CorruptError: one is not what was written.
    """
    blobs: list[bytes] = []
    fields: list[tuple[str, str, int | None]] = []
    for item in items:
        one = ""
        try:
            one = id_of(item)
            fields.append((one, *_beside(item["metadata"]["S"])))
            blobs.append(from_base64(item["vector_compressed"]["B"]))
        except DAMAGE as error:
            raise _damaged(one) from error
    vectors = decode(blobs, spec.dimension)
    good: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(vectors), axis=1)
    if spec.metric == "cosine":
        good &= np.logical_or.reduce(vectors != 0, axis=1)
    vectors.flags.writeable = False
    records: list[EncodedRecord] = []
    for (one, session_id, expires), item, vector, is_good in zip(
        fields, items, vectors, good.tolist(), strict=True
    ):
        try:
            role = stored_role(one, session_id)
            text = item["text"]["S"] if "text" in item else None
        except DAMAGE as error:
            raise _damaged(one) from error
        if not is_good:
            raise _damaged(one)
        records.append(EncodedRecord(one, vector, session_id, role, text, expires))
    return records


@lru_cache(maxsize=4096)
def _beside(metadata: str) -> tuple[str, int | None]:
    """Return session and expiry, or raise one of ``DAMAGE``."""
    fields = json.loads(metadata)
    session_id, expires = fields[_SESSION], fields.get(EXPIRES)
    check_text(session_id, "session")
    if expires is not None:
        from_seconds(expires)
    return session_id, expires


def session_of(item: Item) -> str:
    """Return the session of a row that was read without its vector.

    Raises:
        CorruptError: it is not what was written.
    """
    try:
        return _beside(item["metadata"]["S"])[0]
    except DAMAGE as error:
        raise _damaged(_sort_key(item)) from error


def _damaged(one: object) -> CorruptError:
    return CorruptError(
        f"the stored vector {shown_id(one)} is damaged; delete it and upsert it again"
    )
