"""The system that this library replaces, built as it was described, to be measured beside it.

One table of conversations, keyed by user and timestamp, which is read whole and filtered by the
client; one of embeddings, each a JSON list of numbers, which is scanned and compared in Python.
PynamoDB does both with its own defaults: eventually consistent reads, pages of 1 MB.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pynamodb.attributes import UnicodeAttribute
from pynamodb.models import Model

from ialstore import Message, VectorRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Original"]

Hits = list[tuple[float, str, str]]
"""Scores, ids and texts, the best first."""
_REGION: Final = "us-east-1"


class _Conversation(Model):
    user_id = UnicodeAttribute(hash_key=True)
    timestamp = UnicodeAttribute(range_key=True)
    session_id = UnicodeAttribute()
    role = UnicodeAttribute()
    content = UnicodeAttribute()


class _Embedding(Model):
    embedding_id = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute()
    session_id = UnicodeAttribute()
    role = UnicodeAttribute()
    text = UnicodeAttribute()
    vector = UnicodeAttribute()


class Original:
    """Both tables.

    Args:
        prefix: of their names.
        endpoint: of the service.
    """

    def __init__(self, prefix: str, endpoint: str) -> None:
        self._conversations = _model(_Conversation, f"{prefix}conversations", endpoint)
        self._embeddings = _model(_Embedding, f"{prefix}embeddings", endpoint)

    @property
    def tables(self) -> tuple[str, str]:
        """Their names."""
        return self._conversations.Meta.table_name, self._embeddings.Meta.table_name

    def setup(self) -> None:
        """Create them."""
        for model in (self._conversations, self._embeddings):
            model.create_table(billing_mode="PAY_PER_REQUEST", wait=True)

    def load(
        self, messages: Iterable[Message], records: Iterable[tuple[str, VectorRecord]]
    ) -> None:
        """Write many."""
        with self._conversations.batch_write() as batch:
            for message in messages:
                batch.save(self._row(message))
        with self._embeddings.batch_write() as batch:
            for user_id, record in records:
                batch.save(self._embedding(user_id, record))

    def append(self, message: Message) -> None:
        """Write a message."""
        self._row(message).save()

    def add(self, user_id: str, record: VectorRecord) -> None:
        """Write an embedding."""
        self._embedding(user_id, record).save()

    def recent(self, user_id: str, session_id: str, limit: int) -> list[Any]:
        """Return the last messages of a session, the oldest first."""
        rows = list(self._conversations.query(user_id))
        mine = [row for row in rows if row.session_id == session_id]
        mine.sort(key=lambda row: row.timestamp)
        return mine[-limit:]

    def search(self, user_id: str, query: Sequence[float], k: int) -> Hits:
        """Return the nearest by cosine, computed number by number."""
        length = math.hypot(*query)
        scored: Hits = []
        for row in self._scan(user_id):
            vector = json.loads(row.vector)
            product = sum(a * b for a, b in zip(query, vector, strict=True))
            scored.append((product / (length * math.hypot(*vector)), row.embedding_id, row.text))
        return sorted(scored, reverse=True)[:k]

    def search_numpy(self, user_id: str, query: NDArray[np.float32], k: int) -> Hits:
        """Return the same, computed by NumPy: how much of the time is the comparison."""
        rows = list(self._scan(user_id))
        vectors = np.array([json.loads(row.vector) for row in rows], np.float32)
        scores = vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
        best = np.argsort(-scores)[:k]
        return [(float(scores[i]), rows[i].embedding_id, rows[i].text) for i in best]

    def _scan(self, user_id: str) -> Iterable[Any]:
        scanned: Iterable[Any] = self._embeddings.scan(_Embedding.user_id == user_id)
        return scanned

    def _row(self, message: Message) -> Any:
        return self._conversations(
            user_id=message.user_id,
            timestamp=message.created_at.isoformat(timespec="microseconds"),
            session_id=message.session_id,
            role=str(message.role),
            content=message.content,
        )

    def _embedding(self, user_id: str, record: VectorRecord) -> Any:
        return self._embeddings(
            embedding_id=record.id,
            user_id=user_id,
            session_id=record.session_id,
            role=str(record.role),
            text=record.text,
            vector=json.dumps([float(one) for one in record.vector]),
        )


def _model(base: type[Model], name: str, endpoint: str) -> Any:
    """Return a model of its own for a table: PynamoDB keeps one name and connection per class."""
    meta = type("Meta", (), {"table_name": name, "host": endpoint, "region": _REGION})
    return type(base.__name__, (base,), {"Meta": meta})
