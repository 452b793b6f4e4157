"""The table Conversation Vectors: its PynamoDB model; the vector index is in ``table``."""

from __future__ import annotations

from typing import Any

from pynamodb.attributes import ListAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import KeysOnlyProjection, LocalSecondaryIndex
from pynamodb.models import Model

from ialstore_backends.dynamodb_vector.table import TABLE, WRITTEN_INDEX

__all__ = ["VectorRow", "vector_model"]


class VectorRow(Model):
    """A vector and what is kept beside it."""

    user_chunk = UnicodeAttribute(hash_key=True)
    embedding_id = UnicodeAttribute(range_key=True)
    session_id = UnicodeAttribute(null=True)
    role = UnicodeAttribute(null=True)
    vector: ListAttribute[Any] = ListAttribute(of=NumberAttribute, null=True)
    text = UnicodeAttribute(null=True)
    expires_at = NumberAttribute(null=True)
    # Of the row that says how the table is laid out:
    format = NumberAttribute(null=True)
    layout = UnicodeAttribute(null=True)
    chunks = NumberAttribute(null=True)
    strong_reads = NumberAttribute(null=True)
    dimension = NumberAttribute(null=True)
    metric = UnicodeAttribute(null=True)
    model = UnicodeAttribute(null=True)


class _Written(LocalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # PynamoDB's
    class Meta:
        index_name = WRITTEN_INDEX
        projection = KeysOnlyProjection()

    user_chunk = UnicodeAttribute(hash_key=True)
    written_at = NumberAttribute(range_key=True)


def vector_model(prefix: str, *, strong_reads: bool) -> type[VectorRow]:
    """Return the model of the table of a prefix.

    Args:
        prefix: with which its name begins.
        strong_reads: whether it has an index of what was written last.
    """
    members: dict[str, Any] = {"Meta": type("Meta", (), {"table_name": f"{prefix}{TABLE}"})}
    if strong_reads:
        members["written_at"] = NumberAttribute(null=True)
        members["by_writing"] = _Written()
    return type("VectorRow", (VectorRow,), members)
