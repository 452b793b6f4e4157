"""Names of the table Conversation Embeddings and of its index; imports no driver."""

from __future__ import annotations

from typing import Final

__all__ = ["SIMILARITY_INDEX", "TABLE"]

TABLE: Final = "conversation-embeddings"
SIMILARITY_INDEX: Final = "SimilarityIndex"
