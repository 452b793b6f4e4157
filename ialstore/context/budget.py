"""How much a context may hold, and how its room is shared between the two kinds of content."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ialstore._text import check_int
from ialstore.context.model import LeftOut, LeftOutReason
from ialstore.context.retrieve import Chosen, choose_memories
from ialstore.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ialstore.context.retrieve import Candidate
    from ialstore.context.tokens import TokenCounting
    from ialstore.context.window import Recent
    from ialstore.model import Message

__all__ = ["ContextBudget", "Plan", "check_max_tokens", "plan_context"]

MAX_TOKENS: Final = 10_000_000
MAX_RECENT_MESSAGES: Final = 500
MAX_MEMORIES: Final = 100


@dataclass(frozen=True, slots=True)
class ContextBudget:
    """How much a context may hold.

    Attributes:
        max_tokens: of all that is sent, 1 to 10 million.
        recent_share: part of the tokens, 0 to 1, that recent messages take before memories are
            chosen; what either side leaves, the other may use. The newest turn goes first,
            whatever its share.
        recent_messages: newest messages to consider, 0 to 500. A turn that begins before them is
            left out, but the newest turn is read to its beginning.
        memories: memories at most, 0 to 100; 0 never searches.
        min_score: least score of a memory; what is a good one depends on the embedder.
    """

    max_tokens: int = 2000
    recent_share: float = 0.6
    recent_messages: int = 20
    memories: int = 10
    min_score: float | None = None

    def __post_init__(self) -> None:
        check_max_tokens(self.max_tokens)
        check_int(self.recent_messages, "recent_messages", at_least=0, at_most=MAX_RECENT_MESSAGES)
        check_int(self.memories, "memories", at_least=0, at_most=MAX_MEMORIES)
        if not (_is_number(self.recent_share) and 0 <= self.recent_share <= 1):
            raise InvalidInputError("recent_share must be a number from 0 to 1")
        if self.min_score is not None and not (
            _is_number(self.min_score) and math.isfinite(self.min_score)
        ):
            raise InvalidInputError("min_score must be a finite number or None")


def check_max_tokens(value: object) -> None:
    """Refuse what is not an int from 1 to 10 million."""
    check_int(value, "max_tokens", at_least=1, at_most=MAX_TOKENS)


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes into a context, and what does not."""

    recent: tuple[Message, ...]
    """Oldest first."""
    chosen: Chosen
    tokens: int
    left_out: tuple[LeftOut, ...]


def plan_context(
    recent: Recent,
    candidates: Sequence[Candidate],
    budget: ContextBudget,
    max_tokens: int,
    counting: TokenCounting,
) -> Plan:
    """Share the tokens: recent messages to their share, memories, recent messages with the rest.

    When the rest lets in more recent messages, memories among them are repeats: memories are then
    chosen once more, with at least the room they had.
    """
    share = max_tokens
    if candidates:
        share = max(
            int(max_tokens * budget.recent_share), min(recent.newest_turn_tokens, max_tokens)
        )
    count = recent.fitting(share)
    chosen = choose_memories(
        candidates, recent.newest(count), max_tokens - recent.tokens(count), budget, counting
    )
    wider = recent.fitting(max_tokens - chosen.tokens)
    if wider > count:
        count = wider
        chosen = choose_memories(
            candidates, recent.newest(count), max_tokens - recent.tokens(count), budget, counting
        )
    recalled = {memory.id for memory in chosen.memories}
    unfit = [
        LeftOut(message.id, LeftOutReason.BUDGET if whole else LeftOutReason.TURN)
        for message, whole in recent.beyond(count)
        if message.id not in recalled
    ]
    listed = {one.id for one in unfit}
    return Plan(
        tuple(reversed(recent.newest(count))),
        chosen,
        recent.tokens(count) + chosen.tokens,
        (*unfit, *(one for one in chosen.left_out if one.id not in listed)),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
