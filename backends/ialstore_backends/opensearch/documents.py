"""Records as documents of the index, and back.

The vector is there twice: exactly, as bytes that are only read back, and as the engine searches it,
of a length whose products neither overflow nor vanish in its float32.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore._text import check_text, from_seconds
from ialstore.decoding import DAMAGE, shown_id, stored_role
from ialstore.errors import CorruptError
from ialstore.vector_model import EncodedRecord, IndexSpec, check_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore_backends.opensearch.failures import JSON

__all__ = [
    "FIELDS",
    "document",
    "document_id",
    "record_of",
    "routing",
    "searched",
    "unit",
]

FIELDS: Final = ["id", "session", "text", "expires", "exact"]
"""What of a document makes a record."""

_EXACT: Final = np.dtype("<f4")
_LONGEST: Final = 1e15


def routing(user_id: str) -> str:
    """Return what a user's documents are routed by: a hash, as ids may hold any character."""
    return hashlib.sha256(user_id.encode()).hexdigest()


def document_id(user_id: str, message_id: str) -> str:
    """Return the id of a document."""
    return f"{routing(user_id)}:{message_id}"


def document(user_id: str, record: EncodedRecord, vector: NDArray[np.float32]) -> JSON:
    """Return a document.

    Args:
        user_id: the tenant.
        record: what is stored.
        vector: its own as the engine searches it.
    """
    fields: JSON = {
        "user": user_id,
        "id": record.id,
        "session": record.session_id,
        "role": str(record.role),
        "exact": base64.b64encode(record.vector.astype(_EXACT, copy=False).tobytes()).decode(),
        "vector": vector,
    }
    if record.text is not None:
        fields["text"] = record.text
    if record.expires is not None:
        fields["expires"] = record.expires
    return fields


def searched(vectors: NDArray[np.float32], spec: IndexSpec) -> NDArray[np.float32]:
    """Return vectors as the engine searches them, shape (n, dimension).

    Under cosine they have unit length; otherwise the longest are shortened, of which the engine
    then knows the direction alone. Scores are computed from the exact ones.
    """
    if spec.metric == "cosine":
        return unit(vectors)
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    found: NDArray[np.float32] = (wide * np.minimum(1, _LONGEST / np.maximum(lengths, 1))).astype(
        np.float32
    )
    return found


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of unit length in the same directions; zero stays zero."""
    wide = vectors.astype(np.float64)  # squares of float32 neither overflow nor vanish in it
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    found: NDArray[np.float32] = (wide / lengths).astype(np.float32)
    return found


def record_of(source: Mapping[str, Any], spec: IndexSpec) -> EncodedRecord:
    """Return the record of a document.

    Raises:
        CorruptError: it is not what was written.
    """
    one = source.get("id")
    try:
        return _record(source, spec)
    except DAMAGE:
        # Not from the error, which may hold what is stored.
        raise CorruptError(
            f"the stored vector {shown_id(one)} is damaged; delete it and upsert it again"
        ) from None


def _record(source: Mapping[str, Any], spec: IndexSpec) -> EncodedRecord:
    one, session_id = source["id"], source["session"]
    text, expires = source.get("text"), source.get("expires")
    check_text(session_id, "session")
    if text is not None:
        check_text(text, "text")
    if expires is not None:
        from_seconds(expires)
    numbers = np.frombuffer(base64.b64decode(source["exact"], validate=True), _EXACT)
    vector = check_vector(numbers, spec, "a stored vector")
    return EncodedRecord(one, vector, session_id, stored_role(one, session_id), text, expires)
