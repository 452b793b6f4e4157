"""``cache``: answers from a cache what was read before, and is never stale.

It keeps the newest messages of each session and user, and lists of sessions. What a write changes
is removed before the write is acknowledged; what readers and writers do meanwhile is settled by
``ialstore.caching.protocol``. When the cache fails, the store answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from ialstore.caching.guard import GuardedCache, Removal, State
from ialstore.caching.options import CacheAddress, open_cache
from ialstore.caching.protocol import Bucket, Cache, Step, run, writing
from ialstore.caching.reader import Reader, Slot, milliseconds, owner_of, slot_of
from ialstore.caching.values import read_sessions, read_tail, sealed_sessions, sealed_tail
from ialstore.conversation import ConversationStore
from ialstore.errors import (
    ConfigurationError,
    InvalidInputError,
    UnavailableError,
)
from ialstore.ids import HIGHEST_ID, id_session_hash, session_hash
from ialstore.limits import MAX_PAGE
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import (
    AppendResult,
    Consistency,
    EncodedMessage,
    EraseReport,
    Message,
    MessageSummary,
    OptimizeReport,
    SessionInfo,
)
from ialstore.url import redact_url
from ialstore.wrappers.base import ConversationWrapper

if TYPE_CHECKING:
    from ialstore.capabilities import ConversationCapabilities
    from ialstore.component import Progress
    from ialstore.operation import Operation

__all__ = ["CacheConversationStore", "CacheOptions"]

T = TypeVar("T")

_GRACE_SECONDS: Final = 5.0
"""A mark outlasts the time of its call by so much: a late request may still reach the store."""
_USER: Final = "user"
"""The part of what every message of a user changes; others are named by a session's hash."""
_PARTS: Final = (_USER, *(f"{byte:02x}" for byte in range(256)))


@dataclass(frozen=True, slots=True)
class CacheOptions(CacheAddress):
    """Where the cache is, and what it keeps.

    Attributes:
        tail: newest messages kept of each session and user.
        require_mark: refuse a write that could not be announced to the cache, rather than let
            other processes read what is stale until the cache is back, or ``ttl_seconds`` are over.
        name: tells this store from others that use the same cache; by default the store says it.
    """

    tail: int = field(default=50, kw_only=True)
    require_mark: bool = field(default=False, kw_only=True)
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        CacheAddress.__post_init__(self)
        if not 1 <= self.tail <= MAX_PAGE:
            raise InvalidInputError(f"tail must be 1 to {MAX_PAGE:,}")


class CacheConversationStore(ConversationWrapper):
    """A conversation store whose newest messages and lists of sessions are cached."""

    NAME: ClassVar[str] = "cache"
    OPTIONS: ClassVar[type[Any] | None] = CacheOptions

    def __init__(
        self, inner: ConversationStore, options: CacheOptions, *, cache: Cache | None = None
    ) -> None:
        """Make a cached store.

        Args:
            inner: the store.
            options: where the cache is, and what it keeps.
            cache: instead of the one that the URL names.

        Raises:
            ConfigurationError: the store has no strongly consistent reads, which alone may fill a
                cache, or the URL is wrong.
        """
        if not inner.capabilities.strong_reads:
            raise ConfigurationError(
                f"{inner.backend} offers no strongly consistent reads: a cache of it could be stale"
            )
        super().__init__(inner)
        self._options = options
        self._cache = GuardedCache(cache or open_cache(options), options.ttl_seconds)
        self._reader = Reader(self._cache, options.ttl_seconds)
        self._lists_sessions = not inner.capabilities.exact_sessions

    @property
    def capabilities(self) -> ConversationCapabilities:
        """Those of the inner store, with the time that a dead writer may leave values stale."""
        inner = self.inner.capabilities
        return replace(
            inner,
            multi_process=inner.multi_process and self._cache.shared,
            stale_after_crash_seconds=max(
                inner.stale_after_crash_seconds,
                self._options.ttl_seconds if self._cache.shared else 0.0,
            ),
        )

    @property
    def held_bytes(self) -> int:
        """Bytes that the inner store and the cache hold in this process."""
        return self.inner.held_bytes + self._cache.held_bytes

    # -- reading --------------------------------------------------------------------------------

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        found = self._tail(op, query)
        return super()._history(op, query) if found is None else found

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        found = self._tail(op, query, fills=False)
        if found is None:
            return super()._summaries(op, query)
        return Rows([MessageSummary.of(message) for message in found.items], found.more)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        def read(most: int, behind: SessionInfo | None) -> Rows[SessionInfo]:
            return super(CacheConversationStore, self)._sessions(op, user_id, most, behind)

        # Where the expiry of a message changes the list at once, the list can't know when.
        if not self._lists_sessions or limit > self._options.tail:
            return read(limit, after)
        slot = self._slot(op, user_id, _USER, "sessions")

        def load() -> tuple[Rows[SessionInfo], bytes]:
            rows = _strongly(op, lambda: read(self._options.tail, None))
            return _first(rows, limit), sealed_sessions(slot.key, rows, op.now)

        def answer(sealed: bytes) -> Rows[SessionInfo] | None:
            return read_sessions(slot.key, sealed, limit, after, op.now)

        found = self._reader.read(op, slot, answer, load if after is None else None)
        self._note_state(op)
        return read(limit, after) if found is None else found

    def _tail(
        self, op: Operation, query: HistoryQuery, *, fills: bool = True
    ) -> Rows[Message] | None:
        """Return the answer that the newest messages give, cached or read; None without one."""
        if query.limit > self._options.tail:
            return None
        user_id, session_id = query.user_id, query.session_id
        if session_id is None:
            slot = self._slot(op, user_id, _USER, "tail")
        else:
            slot = self._slot(op, user_id, _part(session_id), "tail", session_id)
        newest = HistoryQuery(user_id, session_id, limit=self._options.tail)

        def load() -> tuple[Rows[Message], bytes]:
            rows = _strongly(op, lambda: super(CacheConversationStore, self)._history(op, newest))
            sealed = sealed_tail(slot.key, rows, op.now)
            inside = [one for one in rows.items if one.id >= query.lower]
            more = rows.more and len(inside) == len(rows.items)
            return _first(Rows(inside, more), query.limit), sealed

        def answer(sealed: bytes) -> Rows[Message] | None:
            return read_tail(slot.key, sealed, query, op.now)

        is_newest = query.newest_first and query.upper == HIGHEST_ID
        found = self._reader.read(op, slot, answer, load if fills and is_newest else None)
        self._note_state(op)
        return found

    # -- writing --------------------------------------------------------------------------------

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        parts = {_part(entry.message.session_id) for entry in entries}
        return self._writing(
            op,
            {user_id: parts},
            lambda: super(CacheConversationStore, self)._append(op, user_id, entries),
        )[0]

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return self._writing(
            op,
            {entry.message.user_id: {_part(entry.message.session_id)}},
            lambda: super(CacheConversationStore, self)._replace(op, entry),
        )[0]

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._writing(
            op,
            {user_id: {f"{id_session_hash(one):02x}" for one in ids}},
            lambda: super(CacheConversationStore, self)._delete(op, user_id, ids),
        )[0]

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._writing(
            op,
            {user_id: {_part(session_id)}},
            lambda: super(CacheConversationStore, self)._delete_session(op, user_id, session_id),
        )[0]

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        touched: dict[str, set[str]] = {}
        for entry in entries:
            message = entry.message
            touched.setdefault(message.user_id, set()).add(_part(message.session_id))
        self._writing(op, touched, lambda: super(CacheConversationStore, self)._load(op, entries))

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self._writing(
            op,
            {user_id: set()},
            lambda: super(CacheConversationStore, self)._optimize(op, user_id, progress),
        )[0]

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        report, removal = self._writing(
            op,
            {user_id: set(_PARTS)},
            lambda: super(CacheConversationStore, self)._erase(op, user_id),
        )
        return report + self._options.erased(removal)

    def _writing(
        self, op: Operation, touched: Mapping[str, Iterable[str]], write: Callable[[], T]
    ) -> tuple[T, Removal]:
        """Write between mark and settlement.

        Args:
            op: the call.
            touched: the parts of each user that the write changes, besides that of the user.
            write: writes the store.

        Returns:
            What ``write`` returned, and what was removed in all; sure if the cache said so in the
            end.

        Raises:
            UnavailableError: the mark could not be set, and is required.
        """
        owners = [
            [
                Bucket(owner_of(self._address_of(op, user_id)), part)
                for part in sorted({_USER, *parts})
            ]
            for user_id, parts in touched.items()
        ]
        token = os.urandom(8).hex()
        values = 0
        is_sure = True

        def each(remove: Callable[[Sequence[Bucket]], Removal], unheard: str) -> None:
            nonlocal values, is_sure
            removals = [remove(buckets) for buckets in owners]
            values += sum(one.values for one in removals)
            is_sure = all(one.is_sure for one in removals)
            if unsent := sum(not one.is_sent for one in removals):
                op.count(unheard, unsent)

        def do(step: Step) -> Any:
            match step:
                case Step.MARK:
                    mark_ms = milliseconds(op.remaining() + _GRACE_SECONDS)
                    each(lambda one: self._cache.mark(one, token, mark_ms), "cache_unmarked")
                    if self._options.require_mark and not is_sure:
                        raise UnavailableError(
                            "the cache did not take the announcement of a write; nothing was "
                            "written",
                            retryable=True,
                        )
                case Step.WRITE:
                    return write()
                case Step.SETTLE:
                    each(lambda one: self._cache.settle(one, token), "cache_unsettled")
                case _:
                    keep_ms = milliseconds(_GRACE_SECONDS)
                    each(lambda one: self._cache.settle(one, token, keep_ms), "cache_unsettled")
            return None

        try:
            written: T = run(writing(), do)
        finally:
            if values:
                op.count("cache_invalidations", values)
            self._note_state(op)
        return written, Removal(values, is_sure=is_sure)

    # -- the whole ------------------------------------------------------------------------------

    def _check(self, op: Operation) -> list[str]:
        found = super()._check(op)
        self._cache.look(Bucket("", "check"), "", None, 0)
        if self._cache.state is State.OPEN:
            found.append(f"the cache {redact_url(self._options.url)} does not answer")
        return found

    def _close(self) -> None:
        super()._close()
        self._cache.close()

    def _after_fork(self) -> None:
        self._reader.after_fork()

    def _note_state(self, op: Operation) -> None:
        op.note("cache_state", str(self._cache.state))

    def _slot(self, op: Operation, user_id: str, part: str, *names: str) -> Slot:
        return slot_of(self._address_of(op, user_id), part, *names)

    def _address_of(self, op: Operation, user_id: str) -> tuple[str, ...]:
        address = self.inner._address(op, user_id)
        if self._options.name:
            # The last text is what the store calls the user, behind namespaces too.
            return (self._options.name, user_id if address is None else address[-1])
        if address is None:
            raise ConfigurationError(
                f"{self.backend} does not say which store it is; give the cache a name of its own: "
                'name = "..."'
            )
        return address


def _part(session_id: str) -> str:
    return f"{session_hash(session_id):02x}"


def _first(rows: Rows[T], limit: int) -> Rows[T]:
    return Rows(rows.items[:limit], rows.more or len(rows.items) > limit)


def _strongly(op: Operation, load: Callable[[], T]) -> T:
    """Return what a strongly consistent read gives, whatever the caller asked for."""
    asked, op.consistency = op.consistency, Consistency.STRONG
    try:
        return load()
    finally:
        op.consistency = asked
