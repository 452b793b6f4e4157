"""Messages and records to copy, and stores in which something happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import numpy as np

from ialstore import ConversationStore, IndexSpec, Message, Role, VectorIndex, VectorRecord
from ialstore.capabilities import ConversationCapabilities, VectorCapabilities
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import AppendResult, EncodedMessage
from ialstore.operation import Operation
from ialstore.testing.clock import START
from ialstore.vector_model import EncodedRecord
from ialstore.wrappers.base import ConversationWrapper
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

__all__ = [
    "SPEC",
    "Coarse",
    "Doing",
    "Weak",
    "everything",
    "held",
    "message",
    "messages",
    "record",
    "records",
    "vectors_held",
]

SPEC: Final = IndexSpec(8)


def message(number: int, user: str = "u", **fields: Any) -> Message:
    """Return a message that is the same in every run."""
    given: dict[str, Any] = {"session_id": f"s{number % 3}", "content": f"message {number}"}
    return Message.new(
        user_id=user,
        role="user",
        created_at=START + timedelta(seconds=number),
        key=str(number),
        **given | fields,
    )


def messages(count: int, user: str = "u") -> list[Message]:
    """Return the first messages of a user."""
    return [message(number, user) for number in range(count)]


def everything(user: str) -> list[Message]:
    """Return messages with everything that a message can have, one of each role."""
    return [
        message(
            number,
            user,
            session_id=f"ses\u00efon {user}",
            content=f"\x00 e\u0301 \U0001f468 {number}",
            payload={"b": [1, 1.0, None, True], "a": {"deep": ["\u2028"]}},
            name="n",
            turn_id="t",
            source_id="x",
            summary="in short",
            tokens=number,
            metadata={"k": {"z": 1, "a": 2.5}},
            expires_at=START + timedelta(days=400, microseconds=1),
        )
        for number in range(len(Role))
    ]


def record(number: int, user: str = "u", **fields: Any) -> VectorRecord:
    """Return a record that is the same in every run, and belongs to ``message``."""
    made = message(number, user)
    vector = np.random.default_rng(number).standard_normal(SPEC.dimension, np.float32)
    whole = VectorRecord(made.id, vector, made.session_id, made.role, f"text {number}")
    return replace(whole, **fields)


def records(count: int, user: str = "u") -> list[VectorRecord]:
    """Return the first records of a user."""
    return [record(number, user) for number in range(count)]


def held(store: ConversationStore, user: str = "u") -> list[Message]:
    """Return what a user has, oldest first."""
    return list(store.history(user, newest_first=False, limit=1000))


def vectors_held(index: VectorIndex, user: str = "u") -> list[tuple[Any, ...]]:
    """Return what a user has, with vectors as lists."""
    ids = index.ids(user, limit=1000).items
    found = [one for at in range(0, len(ids), 100) for one in index.get(user, ids[at : at + 100])]
    return [
        (one.id, one.vector.tolist(), one.session_id, one.role, one.text, one.expires_at)
        for one in found
    ]


class Doing(ConversationWrapper):
    """A store that does something else, once, when one of its hooks was called.

    Attributes:
        after_read: runs after the first page of a history.
        before_append: runs before the first append.
    """

    def __init__(self, inner: ConversationStore) -> None:
        super().__init__(inner)
        self.after_read: Callable[[], object] | None = None
        self.before_append: Callable[[], object] | None = None

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        do, self.after_read = self.after_read, None
        if do is not None:
            do()
        return rows

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        do, self.before_append = self.before_append, None
        if do is not None:
            do()
        return super()._append(op, user_id, entries)


class Weak(MemoryConversationStore):
    """A store without strong reads."""

    @property
    def capabilities(self) -> ConversationCapabilities:
        return replace(super().capabilities, strong_reads=False)


class Coarse(MemoryVectorIndex):
    """An index that keeps vectors in steps of a hundredth."""

    error = 0.05

    @property
    def capabilities(self) -> VectorCapabilities:
        return replace(super().capabilities, vector_error=self.error, exact=False)

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        coarse = [replace(one, vector=np.round(one.vector, 2)) for one in records]
        super()._upsert(op, user_id, coarse)
