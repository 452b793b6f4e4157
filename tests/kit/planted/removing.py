"""What is removed comes back, or takes others with it."""

from __future__ import annotations

from collections.abc import Sequence

from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from tests.kit.planted.registry import breaks


@breaks("S10")
class DeletesByPrefix(MemoryConversationStore):
    """A session is deleted with every other whose name begins with its own."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        user = self._by_user.get(user_id)
        names = list(user.sessions) if user else []
        return sum(
            super(DeletesByPrefix, self)._delete_session(op, user_id, one)
            for one in names
            if one.startswith(session_id)
        )


@breaks("S10")
class CountsUnknownIds(MemoryConversationStore):
    """Delete counts the ids it was given, not the messages it removed."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        super()._delete(op, user_id, ids)
        return len(ids)
