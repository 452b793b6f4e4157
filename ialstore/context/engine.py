"""``ContextEngine``: saves what is said, and builds the context for the next answer."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from ialstore._text import check_int, check_text
from ialstore.component import utc_now
from ialstore.context.budget import ContextBudget, check_max_tokens, plan_context
from ialstore.context.maintenance import Maintenance, OptimizeWhen
from ialstore.context.metrics import Metrics, hit_rate
from ialstore.context.model import Context, DeleteReport, FoundMessage, RepairReport, Timings
from ialstore.context.parallel import SideBySide
from ialstore.context.repair import repair_user
from ialstore.context.retrieve import (
    SPOKEN,
    Found,
    check_words,
    read_candidates,
    read_messages,
    search,
)
from ialstore.context.sessions import Sessions
from ialstore.context.tokens import TokenCounting, estimate_tokens
from ialstore.context.vectors import CheckedEmbedder
from ialstore.context.window import Recent, read_recent
from ialstore.context.writing import Writer
from ialstore.cost import meter
from ialstore.embedding import has_words
from ialstore.errors import ConfigurationError
from ialstore.ids import Role, check_id_part
from ialstore.model import AppendResult, EraseReport, Message
from ialstore.vector_model import check_where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from ialstore.component import Progress
    from ialstore.context.query_cache import QueryCache
    from ialstore.context.tokens import TokenCounter
    from ialstore.conversation import ConversationStore
    from ialstore.embedding import Embedder
    from ialstore.vector import VectorIndex
    from ialstore.vector_model import Where

__all__ = ["ContextEngine"]


class ContextEngine:
    """The memory of an agent: a store of conversations, an index of vectors, an embedder.

    All methods are safe from many threads. The store and the index belong to the engine: closing
    it closes them. Each call to them keeps to its own deadline, all calls together to one set with
    ``ialstore.deadline()``; of embedders, those that ask a service keep to that one as well.
    """

    def __init__(
        self,
        store: ConversationStore,
        index: VectorIndex,
        embedder: Embedder,
        *,
        budget: ContextBudget | None = None,
        token_counter: TokenCounter = estimate_tokens,
        query_cache: QueryCache | None = None,
        optimize: OptimizeWhen = "background",
    ) -> None:
        """Make an engine.

        Args:
            store: keeps the messages.
            index: keeps a vector for each message of user or assistant that has words, for as
                long as the store keeps the message.
            embedder: makes the vectors; the one that the index was made with.
            budget: how much a context may hold.
            token_counter: counts the tokens of a text; by default an estimate.
            query_cache: keeps the vectors of queries; without one, every query is embedded.
            optimize: maintenance of the index that pays after a write: in the ``background``; or
                ``manual``, where a process does not live on between calls.

        Raises:
            ConfigurationError: the parts don't fit together.
        """
        if not callable(token_counter):
            raise ConfigurationError("token_counter must take a text and return an int")
        self._store = store
        self._index = index
        self._embedder = embedder
        self._checked_embedder = CheckedEmbedder(embedder, index.spec)
        self._budget = budget or ContextBudget()
        self._counting = TokenCounting(token_counter)
        self._sessions = Sessions(store.settings.get("clock", utc_now))
        self._query_cache = query_cache
        self._metrics = Metrics()
        self._side_by_side = SideBySide()
        self._maintenance = Maintenance(index, optimize)
        self._writer = Writer(
            store, index, self._checked_embedder, self._sessions, self._maintenance
        )
        self._unsubscribe = [part.subscribe(self._metrics.listen) for part in (store, index)]
        _living.add(self)

    @property
    def store(self) -> ConversationStore:
        """Where the messages are."""
        return self._store

    @property
    def index(self) -> VectorIndex:
        """Where the vectors are."""
        return self._index

    @property
    def embedder(self) -> Embedder:
        """What makes the vectors."""
        return self._embedder

    @property
    def budget(self) -> ContextBudget:
        """How much a context may hold."""
        return self._budget

    # -- writing --------------------------------------------------------------------------------

    def append(self, *messages: Message) -> AppendResult:
        """Store up to 100 messages of one user, then the vectors of those that have words.

        Appending messages again is safe: it stores none twice, and completes missing vectors.

        Raises:
            IalStoreError: as the store's ``append``; of the embedder or the index, when messages
                are stored but vectors are not: the text says so. ``messages`` of the error are
                those given.
        """
        return self._writer.append(messages)

    def replace(self, message: Message) -> bool:
        """Replace the stored message of the same id and its vector; False when there is none.

        Raises:
            IalStoreError: as the store's ``replace``, or of the embedder or the index. Repeating
                the call completes it.
        """
        return self._writer.replace(message)

    def save(
        self,
        user_id: str,
        session_id: str,
        role: Role | str,
        content: str,
        *,
        payload: dict[str, Any] | list[Any] | None = None,
        name: str | None = None,
        turn_id: str | None = None,
        source_id: str | None = None,
        summary: str | None = None,
        tokens: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Message:
        """Make a message of this moment and append it; see ``Message`` for the arguments.

        It sorts behind every message of its session that this engine has written or read, also
        when another host's clock is ahead. For another time, append ``Message.new(...)``.

        Raises:
            IalStoreError: as ``append``. To try again, append ``*error.messages``: a second
                ``save`` makes a second message.
        """
        message = Message.new(
            user_id=user_id,
            session_id=session_id,
            role=role,
            content=content,
            after=self._newest_id(user_id, session_id),
            payload=payload,
            name=name,
            turn_id=turn_id,
            source_id=source_id,
            summary=summary,
            tokens=tokens,
            metadata=metadata,
            expires_at=expires_at,
        )
        self.append(message)
        return message

    def save_interaction(
        self, user_id: str, session_id: str, user_text: str, assistant_text: str
    ) -> tuple[Message, Message]:
        """Append a question and its answer as one turn, and return both.

        Raises:
            IalStoreError: as ``save``.
        """
        question = Message.new(
            user_id=user_id,
            session_id=session_id,
            role=Role.USER,
            content=user_text,
            after=self._newest_id(user_id, session_id),
        )
        question = replace(question, turn_id=question.id)
        answer = Message.new(
            user_id=user_id,
            session_id=session_id,
            role=Role.ASSISTANT,
            content=assistant_text,
            after=question.id,
            turn_id=question.id,
        )
        self.append(question, answer)
        return question, answer

    # -- removing and repairing -----------------------------------------------------------------

    def delete(self, user_id: str, ids: Sequence[str]) -> DeleteReport:
        """Remove messages and their vectors by id; unknown ones are passed over.

        Vectors go first, so that no failure leaves the text of a deleted message to be recalled.

        Raises:
            IalStoreError: the text says what is done; repeating the call completes it.
        """
        return self._writer.delete(user_id, ids)

    def delete_session(self, user_id: str, session_id: str) -> DeleteReport:
        """Remove all messages of a session and their vectors, as ``delete`` does."""
        return self._writer.delete_session(user_id, session_id)

    def erase(self, user_id: str) -> EraseReport:
        """Remove everything of a user that was acknowledged before: vectors, then messages.

        Cached vectors of queries go last, and count as ``cached``.

        Raises:
            IalStoreError: the text says what is done; repeating the call completes it.
        """
        report = self._writer.erase(user_id)
        if self._query_cache is not None:
            report += self._query_cache.erase(user_id)
        return report

    def repair(self, user_id: str, *, progress: Progress | None = None) -> RepairReport:
        """Store vectors that messages of a user lack, and remove those without a message.

        Safe at any time and as often as you like; safe beside readers and writers.

        Args:
            user_id: whose vectors to mend.
            progress: called with the messages looked at so far and None; in the end with both.

        Raises:
            IalStoreError: repeating the call completes it.
        """
        self._writer.require_writable("repair")
        check_id_part(user_id, "user_id")
        return repair_user(self._store, self._index, self._writer, user_id, progress)

    # -- reading --------------------------------------------------------------------------------

    def build_context(
        self,
        query: str,
        user_id: str,
        session_id: str | None = None,
        *,
        max_tokens: int | None = None,
    ) -> Context:
        """Return the newest messages of a session and what else the user's messages recall.

        Args:
            query: what to recall for, usually the question; without a letter or digit in it,
                nothing is recalled. It is not part of what the context sends.
            user_id: the tenant.
            session_id: whose newest messages to take; None takes the newest of the user.
            max_tokens: instead of the budget's.

        Raises:
            InvalidInputError: an argument breaks the contract.
            IalStoreError: the store, the index or the embedder failed; there is no context that
                silently lacks a part.
        """
        check_text(query, "query")
        check_id_part(user_id, "user_id")
        if session_id is not None:
            check_id_part(session_id, "session_id")
        room = self._budget.max_tokens
        if max_tokens is not None:
            check_max_tokens(max_tokens)
            room = max_tokens
        started = time.perf_counter()
        with meter() as metered:
            recent, found = self._read(query, user_id, session_id, room)
            reading = time.perf_counter()
            candidates = read_candidates(
                self._store, user_id, found.hits, recent.messages, self._budget
            )
            read_seconds = recent.seconds + time.perf_counter() - reading
        plan = plan_context(recent, candidates, self._budget, room, self._counting)
        self._take_note(user_id, session_id, recent)
        timings = Timings(
            store_ms=read_seconds * 1000,
            embed_ms=found.embed_seconds * 1000,
            search_ms=found.search_seconds * 1000,
            total_ms=(time.perf_counter() - started) * 1000,
        )
        searched = timings.embed_ms + timings.search_ms
        self._metrics.built(timings.total_ms, searched if self._searches(query) else None)
        return Context(
            query=query,
            recent=plan.recent,
            memories=plan.chosen.memories,
            tokens=plan.tokens,
            max_tokens=room,
            timings=timings,
            units=metered.units,
            left_out=plan.left_out,
        )

    def search(
        self, query: str, user_id: str, k: int = 10, *, where: Where = SPOKEN
    ) -> list[FoundMessage]:
        """Return the messages of a user that are nearest to a query, best first.

        For a tool of an agent, or a search box. What to send with a question is ``build_context``.

        Args:
            query: a question or some words.
            user_id: the tenant.
            k: at most so many, 1 to ``index.capabilities.max_k``.
            where: which messages to consider; by default those of user and assistant.

        Raises:
            InvalidInputError: an argument breaks the contract, or the query has no word.
            LimitExceededError: ``k`` is above the index's limit.
            IalStoreError: the store, the index or the embedder failed.
        """
        check_words(query)
        check_id_part(user_id, "user_id")
        check_int(k, "k", at_least=1, at_most=self._index.capabilities.max_k)
        check_where(where)
        found = self._find(query, user_id, k, where)
        return read_messages(self._store, user_id, found.hits)

    def _find(self, query: str, user_id: str, k: int, where: Where) -> Found:
        """Return the nearest vectors to a query that has words."""

        def embed(text: str) -> NDArray[np.float32]:
            make = self._checked_embedder.embed_query
            cache = self._query_cache
            return make(text) if cache is None else cache.embed(user_id, text, make)

        return search(
            self._index,
            embed,
            user_id,
            query,
            k=k,
            where=where,
            side_by_side=self._side_by_side,
        )

    def _searches(self, query: str) -> bool:
        return self._budget.memories > 0 and has_words(query)

    def _read(
        self, query: str, user_id: str, session_id: str | None, max_tokens: int
    ) -> tuple[Recent, Found]:
        budget = self._budget

        def recent() -> Recent:
            if budget.recent_messages == 0:
                return Recent()
            return read_recent(
                self._store,
                user_id,
                session_id,
                wanted=budget.recent_messages,
                max_tokens=max_tokens,
                counting=self._counting,
            )

        def found() -> Found:
            # Recent messages among the hits are dropped: as many more leave enough.
            most = budget.memories + budget.recent_messages
            return self._find(query, user_id, min(most, self._index.capabilities.max_k), SPOKEN)

        if not self._searches(query):
            return recent(), Found()
        return self._side_by_side.run(recent, found)

    def _newest_id(self, user_id: str, session_id: str) -> str | None:
        check_id_part(user_id, "user_id")
        check_id_part(session_id, "session_id")
        return self._sessions.newest_id(user_id, session_id)

    def _take_note(self, user_id: str, session_id: str | None, recent: Recent) -> None:
        """Remember which session was served, and the newest id in it."""
        latest = recent.latest
        if latest is not None:
            self._sessions.served(user_id, latest.session_id, latest.id)
        else:
            self._sessions.served(user_id, session_id)

    # -- the engine itself ----------------------------------------------------------------------

    def get_performance_metrics(self) -> dict[str, float]:
        """Return figures of this engine since it was made.

        ``avg_context_build_ms``, ``p95_context_build_ms``, ``avg_embedding_search_ms`` and
        ``p95_embedding_search_ms`` (embedding the query and searching) are those of the last
        1,000 builds; ``context_builds`` counts all. ``read_units`` and ``write_units`` are sums
        over all calls to the store and the index, as is ``cache_hit_rate`` (0 without a cache);
        ``query_cache_hit_rate`` is that of the vectors of queries.
        ``memory_bytes_per_session`` is what store, index and engine hold in memory, divided by
        the sessions served within the last 30 minutes.
        """
        parts = (self._store, self._index, self._sessions, self._query_cache)
        held = sum(part.held_bytes for part in parts if part is not None)
        live = self._sessions.live()
        queries = {} if self._query_cache is None else self._query_cache.counts()
        return {
            **self._metrics.values(),
            "query_cache_hit_rate": hit_rate(queries),
            "memory_bytes_per_session": held / live if live else 0.0,
        }

    def close(self) -> None:
        """Wait for running calls and close the index and the store; idempotent."""
        with ExitStack() as stack:
            stack.callback(self._store.close)
            stack.callback(self._index.close)
            stack.callback(self._side_by_side.close)
            stack.callback(self._maintenance.wait)
            if self._query_cache is not None:
                stack.callback(self._query_cache.close)
            for unsubscribe in self._unsubscribe:
                stack.callback(unsubscribe)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"ContextEngine({self._store.backend}, {self._index.backend}, "
            f"{self._embedder.model!r}, {self._budget})"
        )

    def _after_fork(self) -> None:
        for part in (self._sessions, self._metrics, self._side_by_side, self._maintenance):
            part.after_fork()
        if self._query_cache is not None:
            self._query_cache.after_fork()  # pragma: no cover - runs in forked children only


_living: weakref.WeakSet[ContextEngine] = weakref.WeakSet()


def _forget_parent() -> None:
    for engine in list(_living):
        engine._after_fork()  # noqa: SLF001 - one mechanism


if hasattr(os, "register_at_fork"):  # pragma: no branch - all but Windows
    os.register_at_fork(after_in_child=_forget_parent)
