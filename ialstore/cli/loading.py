"""Appending any number of messages of any users, in batches as large as a store takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ialstore.errors import ConflictError, PartialWriteError
from ialstore.limits import MAX_APPEND, MAX_APPEND_BYTES
from ialstore.model import Message, encode_message

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.model import AppendResult

__all__ = ["Loaded", "load"]

_MAX_WAITING: Final = 20 * MAX_APPEND
"""Messages held back, over all users, until a batch is full."""


@dataclass(slots=True)
class Loaded:
    """What became of the messages of a load.

    Attributes:
        stored: how many were written.
        duplicates: how many were already there.
        conflicts: ids that are stored with other content, and were left as they are.
        users: whose messages there were.
        sessions: user and session of each, in the order of the load.
    """

    stored: int = 0
    duplicates: int = 0
    conflicts: list[str] = field(default_factory=list[str])
    users: set[str] = field(default_factory=set[str])
    sessions: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])

    @property
    def seen(self) -> int:
        """How many messages are dealt with."""
        return self.stored + self.duplicates + len(self.conflicts)


@dataclass(slots=True)
class _Batch:
    messages: dict[str, Message] = field(default_factory=dict[str, Message])
    size: int = 0


def load(
    messages: Iterable[Message],
    append: Callable[..., AppendResult],
    progress: Progress,
    loaded: Loaded,
) -> None:
    """Append messages; those in conflict are counted, and the others go on.

    Args:
        messages: of any users.
        append: of a store or an engine.
        progress: called with the number dealt with so far.
        loaded: keeps count, also of what was written before an error.

    Raises:
        IalStoreError: as ``append``; loading the same messages again completes it.
    """
    waiting: dict[str, _Batch] = {}

    def flush(user_id: str) -> None:
        _append(list(waiting.pop(user_id).messages.values()), append, loaded)
        progress(loaded.seen, None)

    for message in messages:
        user_id = message.user_id
        loaded.users.add(user_id)
        loaded.sessions[user_id, message.session_id] = None
        size = encode_message(message).size
        batch = waiting.get(user_id)
        if batch is not None and (
            message.id in batch.messages
            or len(batch.messages) == MAX_APPEND
            or batch.size + size > MAX_APPEND_BYTES
        ):
            flush(user_id)
        batch = waiting.setdefault(user_id, _Batch())
        batch.messages[message.id] = message
        batch.size += size
        if sum(len(one.messages) for one in waiting.values()) >= _MAX_WAITING:
            for one in list(waiting):
                flush(one)
    for one in list(waiting):
        flush(one)


def _append(batch: list[Message], append: Callable[..., AppendResult], loaded: Loaded) -> None:
    """Append a batch; what conflicts is taken out, and the others are appended again.

    Appending again also completes the vectors of what a failed call had stored.
    """
    written: set[str] = set()
    try:
        while batch:
            try:
                result = append(*batch)
            except ConflictError as error:
                conflicts = set(error.ids)
            except PartialWriteError as error:
                written.update(error.stored)
                conflicts = set(error.conflicting)
                if not conflicts:
                    raise
            else:
                written.update(result.stored)
                loaded.duplicates += len(set(result.duplicates) - written)
                return
            loaded.conflicts += sorted(conflicts)
            batch = [message for message in batch if message.id not in conflicts]
    finally:
        loaded.stored += len(written)
