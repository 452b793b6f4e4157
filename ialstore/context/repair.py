"""Repair: finding where the vectors of a user differ from the messages, and mending it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ialstore.component import Progress, no_progress
from ialstore.context.listing import PAGE, all_messages, all_vector_ids
from ialstore.context.model import RepairReport
from ialstore.context.vectors import needs_vector
from ialstore.ids import HIGHEST_ID
from ialstore.limits import MAX_APPEND_BYTES, MAX_GET

if TYPE_CHECKING:
    from ialstore.context.writing import Writer
    from ialstore.conversation import ConversationStore
    from ialstore.model import Message
    from ialstore.vector import VectorIndex

__all__ = ["repair_user"]


def repair_user(
    store: ConversationStore,
    index: VectorIndex,
    writer: Writer,
    user_id: str,
    progress: Progress | None,
) -> RepairReport:
    """Merge the messages of a user with the ids of the vectors, both in the order of ids.

    Holds one page of either, and a batch of what is to be mended.
    """
    mending = _Mending(writer, user_id)
    vector_ids = all_vector_ids(index, user_id)
    vector_id = next(vector_ids, HIGHEST_ID)
    seen = 0
    for message in all_messages(store, user_id):
        while vector_id < message.id:
            mending.unneeded(vector_id)
            vector_id = next(vector_ids, HIGHEST_ID)
        there = vector_id == message.id
        if there:
            vector_id = next(vector_ids, HIGHEST_ID)
        if needs_vector(message) and not there:
            mending.lacking(message)
        elif there and not needs_vector(message):
            mending.unneeded(message.id)
        seen += 1
        if progress is not None and seen % PAGE == 0:
            progress(seen, None)
    while vector_id < HIGHEST_ID:
        mending.unneeded(vector_id)
        vector_id = next(vector_ids, HIGHEST_ID)
    mending.finish()
    (progress or no_progress)(seen, seen)
    return RepairReport(seen, mending.added, mending.removed)


class _Mending:
    """What is to be mended, done in batches."""

    def __init__(self, writer: Writer, user_id: str) -> None:
        self.added = 0
        self.removed = 0
        self._writer = writer
        self._user_id = user_id
        self._messages: list[Message] = []
        self._characters = 0
        self._ids: list[str] = []

    def lacking(self, message: Message) -> None:
        """Have a vector stored."""
        self._messages.append(message)
        self._characters += len(message.content)
        if len(self._messages) == MAX_GET or self._characters > MAX_APPEND_BYTES:
            self._add()

    def unneeded(self, vector_id: str) -> None:
        """Have a vector removed."""
        self._ids.append(vector_id)
        if len(self._ids) == MAX_GET:
            self._remove()

    def finish(self) -> None:
        """Do what is left."""
        self._add()
        self._remove()

    def _add(self) -> None:
        if self._messages:
            self._writer.mend(self._user_id, self._messages)
        self.added += len(self._messages)
        self._messages, self._characters = [], 0

    def _remove(self) -> None:
        self.removed += self._writer.remove_orphans(self._user_id, self._ids)
        self._ids = []
