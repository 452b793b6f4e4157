"""Recall: embedding the query, searching the index, reading long texts, choosing memories."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from ialstore._text import check_text
from ialstore.context.model import FoundMessage, LeftOut, LeftOutReason, Memory
from ialstore.context.render import memory_block
from ialstore.context.vectors import may_be_cut
from ialstore.embedding import has_words
from ialstore.errors import InvalidInputError
from ialstore.ids import Role
from ialstore.limits import MAX_GET
from ialstore.vector_model import Where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ialstore.context.budget import ContextBudget
    from ialstore.context.parallel import SideBySide
    from ialstore.context.tokens import TokenCounting
    from ialstore.conversation import ConversationStore
    from ialstore.model import Message
    from ialstore.vector import VectorIndex
    from ialstore.vector_model import Hit

__all__ = [
    "SPOKEN",
    "Candidate",
    "Chosen",
    "Found",
    "check_words",
    "choose_memories",
    "read_candidates",
    "read_messages",
    "search",
]

SPOKEN: Final = Where(roles=(Role.USER, Role.ASSISTANT))
"""What is recalled; other messages have no vectors, unless they were stored by hand."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first, and the seconds of its two steps."""

    hits: tuple[Hit, ...] = ()
    embed_seconds: float = 0.0
    search_seconds: float = 0.0


def search(
    index: VectorIndex,
    embed: Callable[[str], NDArray[np.float32]],
    user_id: str,
    query: str,
    *,
    k: int,
    where: Where,
    side_by_side: SideBySide,
) -> Found:
    """Return the k messages of a user nearest to a query that has words.

    While the query is embedded, what searches of the user begin with is read.
    """
    started = time.perf_counter()
    if index.is_prefetch_due(user_id):
        _, (vector, embed_seconds) = side_by_side.run(
            partial(index.prefetch, user_id), partial(_timed, embed, query)
        )
    else:
        vector, embed_seconds = _timed(embed, query)
    hits = index.search(user_id, vector, k, where=where).hits
    return Found(hits, embed_seconds, time.perf_counter() - started - embed_seconds)


def _timed(
    embed: Callable[[str], NDArray[np.float32]], query: str
) -> tuple[NDArray[np.float32], float]:
    started = time.perf_counter()
    return embed(query), time.perf_counter() - started


def check_words(query: str) -> None:
    """Refuse a query in which there is nothing to search for.

    Raises:
        InvalidInputError: it has no letter and no digit, or is no text.
    """
    check_text(query, "query")
    if not has_words(query):
        raise InvalidInputError("the query has no letters or digits; write some words")


def read_messages(
    store: ConversationStore, user_id: str, hits: Sequence[Hit]
) -> list[FoundMessage]:
    """Return the messages of hits, best first, as far as the store still has them.

    A vector may be there a moment longer than its message.
    """
    ids = [hit.id for hit in hits]
    messages = {
        message.id: message
        for first in range(0, len(ids), MAX_GET)
        for message in store.get(user_id, ids[first : first + MAX_GET])
    }
    return [FoundMessage(messages[hit.id], hit.score) for hit in hits if hit.id in messages]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hit that may become a memory, with its whole text; None when the message is gone."""

    hit: Hit
    text: str | None = field(repr=False)


def read_candidates(
    store: ConversationStore,
    user_id: str,
    hits: Sequence[Hit],
    recent: Sequence[Message],
    budget: ContextBudget,
) -> list[Candidate]:
    """Return the hits that may become memories, best first, each with its whole text.

    Those among the messages just read may turn out as repeats, so they come on top of the
    budget's number. What the index holds in part is read from the store.
    """
    whole = {message.id: message.content for message in recent}
    floor = _floor(budget)
    pool: list[Hit] = []
    unread: dict[str, None] = {}
    places = budget.memories
    for hit in hits:
        if places == 0:
            break
        pool.append(hit)
        if hit.id in whole:
            continue
        places -= 1
        if hit.score >= floor and (hit.text is None or may_be_cut(hit.text)):
            unread[hit.id] = None
    ids = list(unread)
    for start in range(0, len(ids), MAX_GET):
        for message in store.get(user_id, ids[start : start + MAX_GET]):
            whole[message.id] = message.content
    return [
        Candidate(hit, whole.get(hit.id, None if hit.id in unread else hit.text)) for hit in pool
    ]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Memories, best first, the tokens of their block, and what was left out."""

    memories: tuple[Memory, ...] = ()
    tokens: int = 0
    left_out: tuple[LeftOut, ...] = ()


def choose_memories(
    candidates: Sequence[Candidate],
    recent: Sequence[Message],
    room: int,
    budget: ContextBudget,
    counting: TokenCounting,
) -> Chosen:
    """Return the best candidates that the recent messages don't hold, as far as the room reaches.

    The best ``budget.memories`` of them compete for the room: one that is too long for it takes
    its place all the same.
    """
    ids = {message.id for message in recent}
    texts = {message.content for message in recent}
    floor = _floor(budget)
    memories: list[Memory] = []
    left_out: list[LeftOut] = []
    tokens = counting.rendered(memory_block(())) if candidates else 0
    places = budget.memories
    for candidate in candidates:
        hit, text = candidate.hit, candidate.text
        if places == 0:
            break
        if hit.id in ids:
            continue
        if hit.score < floor:
            left_out.append(LeftOut(hit.id, LeftOutReason.SCORE))
        elif text is None:
            left_out.append(LeftOut(hit.id, LeftOutReason.GONE))
        elif text in texts:
            left_out.append(LeftOut(hit.id, LeftOutReason.REPEAT))
        else:
            places -= 1
            memory = Memory(hit.id, hit.role, hit.session_id, hit.score, text)
            more = counting.text(f"{memory.line}\n")
            if tokens + more > room:
                left_out.append(LeftOut(hit.id, LeftOutReason.BUDGET))
                continue
            tokens += more
            texts.add(text)
            memories.append(memory)
    # The whole block may count otherwise than its lines one by one: what counts is the whole.
    while memories and (tokens := counting.rendered(memory_block(memories))) > room:
        left_out.append(LeftOut(memories.pop().id, LeftOutReason.BUDGET))
    return Chosen(tuple(memories), tokens if memories else 0, tuple(left_out))


def _floor(budget: ContextBudget) -> float:
    return -math.inf if budget.min_score is None else budget.min_score
