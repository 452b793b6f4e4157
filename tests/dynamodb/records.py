"""Records for tests of vectors in DynamoDB."""

from __future__ import annotations

from typing import Any

from ialstore.ids import message_id
from ialstore.testing.clock import START
from ialstore.testing.vector.base import USER, X
from ialstore.vector_model import VectorRecord

__all__ = ["Records"]


class Records:
    """Makes records of one session, a second apart."""

    def __init__(self) -> None:
        self._made = 0

    def __call__(self, vector: Any = X, **fields: Any) -> VectorRecord:
        """Return the next one."""
        self._made += 1
        session, role = fields.setdefault("session_id", "s1"), fields.setdefault("role", "user")
        made = message_id(USER, session, START, role, str(self._made))
        return VectorRecord(fields.pop("id", made), vector, **fields)
