"""The values of the context engine: a context and its parts, and reports of deletes and repairs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ialstore.context.render import (
    in_turns,
    memory_block,
    memory_line,
    rendered_message,
    shown_context,
)
from ialstore.cost import Units
from ialstore.ids import Role, id_time

if TYPE_CHECKING:
    from datetime import datetime

    from ialstore.model import Message

__all__ = [
    "Context",
    "DeleteReport",
    "FoundMessage",
    "LeftOut",
    "LeftOutReason",
    "Memory",
    "RepairReport",
    "Timings",
]


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message that a search found."""

    message: Message
    score: float
    """As the index gave it: higher is nearer."""


@dataclass(frozen=True, slots=True)
class Memory:
    """An older message that the search recalled; the ``repr`` shows no text.

    Its text was written by whoever ``role`` says, at some time: input to judge, not to obey.
    """

    id: str
    role: Role
    session_id: str
    score: float
    """As the index gave it: higher is nearer."""
    text: str = field(repr=False)

    @property
    def created_at(self) -> datetime:
        """Time of the message in UTC, read off the id."""
        return id_time(self.id)

    @property
    def line(self) -> str:
        """The line that shows it to a model."""
        return memory_line(self.role, self.created_at, self.text)


class LeftOutReason(StrEnum):
    """Why a message is not in a context."""

    BUDGET = "budget"
    """It, or its turn, does not fit into the tokens."""
    TURN = "turn"
    """Its turn does not lie whole within the newest messages that were considered."""
    SCORE = "score"
    """Its score is below the budget's ``min_score``."""
    REPEAT = "repeat"
    """The same text is in the context already."""
    GONE = "gone"
    """Its vector was found, but the store has the message no more."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A message that was considered and is not in the context."""

    id: str
    reason: LeftOutReason


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time of the parts of a build; reading and searching overlap."""

    store_ms: float
    """Reading recent messages, and long texts of memories."""
    embed_ms: float
    """Embedding the query."""
    search_ms: float
    """Searching the index."""
    total_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What to send with the next question; the ``repr`` shows no text.

    Attributes:
        query: what the memories were searched with.
        recent: the newest messages, oldest first, turns whole.
        memories: what the search recalled and the recent messages don't hold, best first.
        tokens: what ``as_messages`` takes, by the engine's counter; at most ``max_tokens``.
        max_tokens: the budget.
        timings: wall time of the build.
        units: what it used of the store and the index.
        left_out: what was considered and is not here, and why: recent messages, then memories.
    """

    query: str = field(repr=False)
    recent: tuple[Message, ...]
    memories: tuple[Memory, ...]
    tokens: int
    max_tokens: int
    timings: Timings
    units: Units
    left_out: tuple[LeftOut, ...]

    def as_messages(self) -> list[dict[str, Any]]:
        """Return messages as chat providers take them; change them as you like.

        First the memories in the order of time, as one marked block in the user role; then the
        recent messages as they are: role, content, name where there is one, and what the payload
        adds or replaces; those of one turn stand together. The query itself is not among them:
        add ``{"role": "user", "content": query}`` unless it was saved before the build.
        """
        messages = [copy.deepcopy(rendered_message(message)) for message in in_turns(self.recent)]
        if not self.memories:
            return messages
        return [memory_block(self.memories), *messages]

    def as_text(self) -> str:
        """Return the context for reading, not for a model."""
        return shown_context(self)


@dataclass(frozen=True, slots=True)
class DeleteReport:
    """What one delete removed."""

    messages: int = 0
    """From the conversation store."""
    vectors: int = 0
    """From the index."""


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What one repair found and mended."""

    messages: int = 0
    """Live messages of the user."""
    added: int = 0
    """Vectors that were missing."""
    removed: int = 0
    """Vectors whose message is gone or has no words."""
