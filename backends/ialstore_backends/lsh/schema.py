"""The table Conversation Embeddings: its PynamoDB model, which is its one definition."""

from __future__ import annotations

from typing import Any

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model

from ialstore_backends.lsh.table import SIMILARITY_INDEX, TABLE

__all__ = ["EmbeddingRow", "embedding_model"]


class EmbeddingRow(Model):
    """A vector and what is kept beside it."""

    user_chunk = UnicodeAttribute(hash_key=True)
    embedding_id = UnicodeAttribute(range_key=True)
    similarity_hash = UnicodeAttribute(null=True)
    vector_compressed = BinaryAttribute(null=True, legacy_encoding=False)
    metadata = UnicodeAttribute(null=True)
    text = UnicodeAttribute(null=True)
    expires_at = NumberAttribute(null=True)
    # Of the row that says how the table is laid out:
    format = NumberAttribute(null=True)
    layout = UnicodeAttribute(null=True)
    chunks = NumberAttribute(null=True)
    codec = UnicodeAttribute(null=True)
    dimension = NumberAttribute(null=True)
    metric = UnicodeAttribute(null=True)
    model = UnicodeAttribute(null=True)


class _Similarity(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # PynamoDB's
    class Meta:
        index_name = SIMILARITY_INDEX
        projection = IncludeProjection(["vector_compressed", "metadata"])

    user_chunk = UnicodeAttribute(hash_key=True)
    similarity_hash = UnicodeAttribute(range_key=True)


def embedding_model(prefix: str, layout: str) -> type[EmbeddingRow]:
    """Return the model of the table of a prefix; only the layout ``gsi`` has an index."""
    members: dict[str, Any] = {"Meta": type("Meta", (), {"table_name": f"{prefix}{TABLE}"})}
    if layout == "gsi":
        members["by_similarity"] = _Similarity()
    return type("EmbeddingRow", (EmbeddingRow,), members)
