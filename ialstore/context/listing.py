"""Everything of a user, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ialstore.conversation import ConversationStore
    from ialstore.model import Message
    from ialstore.vector import VectorIndex

__all__ = ["PAGE", "all_messages", "all_vector_ids"]

PAGE: Final = 200
"""Messages read at once."""


def all_messages(
    store: ConversationStore, user_id: str, session_id: str | None = None
) -> Iterator[Message]:
    """Yield the messages of a user, or of a session, in the order of their ids."""
    cursor: str | None = None
    while True:
        page = store.history(
            user_id, session_id=session_id, newest_first=False, limit=PAGE, cursor=cursor
        )
        yield from page
        cursor = page.cursor
        if cursor is None:
            return


def all_vector_ids(index: VectorIndex, user_id: str) -> Iterator[str]:
    """Yield the ids of a user's vectors in their order."""
    cursor: str | None = None
    while True:
        page = index.ids(user_id, cursor=cursor)
        yield from page
        cursor = page.cursor
        if cursor is None:
            return
