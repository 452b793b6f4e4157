"""Everything of a user, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ialstore.listing import walk

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
    return walk(
        lambda cursor: store.history(
            user_id, session_id=session_id, newest_first=False, limit=PAGE, cursor=cursor
        )
    )


def all_vector_ids(index: VectorIndex, user_id: str) -> Iterator[str]:
    """Yield the ids of a user's vectors in their order."""
    return walk(lambda cursor: index.ids(user_id, cursor=cursor))
