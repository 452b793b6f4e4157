"""Names of the table Conversation Vectors, and what its indexes hold; imports no driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ialstore_backends.dynamodb.sizes import FLOAT_BYTES, item_bytes

if TYPE_CHECKING:
    from ialstore.vector_model import IndexSpec
    from ialstore_backends.dynamodb.table import Item

__all__ = [
    "MAX_K",
    "TABLE",
    "VECTOR_INDEX",
    "WRITTEN_INDEX",
    "entry_bytes",
    "entry_of",
    "vector_index",
]

TABLE: Final = "conversation-vectors"
VECTOR_INDEX: Final = "VectorIndex"
WRITTEN_INDEX: Final = "WrittenIndex"
MAX_K: Final = 100
"""Most results of one search of the service."""

_FUNCTIONS: Final = {"cosine": "COSINE", "dot": "DOT_PRODUCT", "euclidean": "EUCLIDEAN"}
_KEYS: Final = ("user_chunk", "embedding_id")
_FILTERS: Final = ("session_id", "role")
_BESIDE: Final = ("text", "expires_at")
_VECTOR: Final = "vector"


def vector_index(spec: IndexSpec) -> dict[str, Any]:
    """Return the vector index of a spec, as ``CreateTable`` takes it."""
    return {
        "IndexName": VECTOR_INDEX,
        "VectorAttribute": {"AttributeName": _VECTOR},
        "Dimensions": spec.dimension,
        "DistanceFunction": _FUNCTIONS[spec.metric],
        "SearchSchema": [
            {"AttributeName": _KEYS[0], "SearchSchemaElementType": "HASH"},
            *(
                {"AttributeName": name, "SearchSchemaElementType": "INLINE_FILTER"}
                for name in _FILTERS
            ),
        ],
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(_BESIDE)},
    }


def entry_of(row: Item) -> Item:
    """Return what a search returns of a row."""
    return {name: row[name] for name in (*_KEYS, *_FILTERS, *_BESIDE) if name in row}


def entry_bytes(row: Item) -> int:
    """Return the bytes of a row in the vector index, as the service counts them."""
    return item_bytes(entry_of(row)) + len(_VECTOR) + FLOAT_BYTES * len(row[_VECTOR]["L"])
