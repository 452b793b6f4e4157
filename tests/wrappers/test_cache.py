"""W2: which calls a cache answers, which fill it, which empty it, and what their events say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Final

import pytest

from ialstore import (
    ConfigurationError,
    Consistency,
    ConversationStore,
    InvalidInputError,
    Message,
    SessionInfo,
    UnavailableError,
)
from ialstore.caching.protocol import Bucket, Look
from ialstore.capabilities import ConversationCapabilities
from ialstore.errors import Outcome
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import AppendResult
from ialstore.operation import Operation
from ialstore.testing.clock import ManualClock
from ialstore.wrappers.cache import CacheConversationStore, CacheOptions
from ialstore.wrappers.namespace import NamespaceConversationStore, NamespaceOptions
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.memory_cache import MemoryCache

HIT: Final = {"cache_hits": 1, "cache_state": "closed"}
MISS: Final = {"cache_misses": 1, "cache_state": "closed"}
FILL: Final = {"cache_misses": 1, "cache_fills": 1, "cache_state": "closed"}
NOT_CACHED: Final[dict[str, Any]] = {}


def say(content: str = "x", session: str = "s", user: str = "u", **more: Any) -> Message:
    return Message.new(user_id=user, session_id=session, role="user", content=content, **more)


class Watched(MemoryConversationStore):
    """A store that notes with which consistency it is read, and whose writes can be in doubt."""

    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        MemoryConversationStore.CAPABILITIES, exact_sessions=False
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.read: list[Consistency | None] = []
        self.fault: Exception | None = None

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        self.read.append(op.consistency)
        return super()._history(op, query)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        self.read.append(op.consistency)
        return super()._sessions(op, user_id, limit, after)

    def _append(self, op: Operation, user_id: str, entries: Any) -> AppendResult:
        result = super()._append(op, user_id, entries)
        if self.fault is not None:
            raise self.fault
        return result


class Shared(MemoryCache):
    """A cache that other processes see, and that can be down."""

    SHARED: ClassVar[bool] = True
    is_down = False

    def look(self, bucket: Bucket, name: str, token: str | None, lease_ms: int) -> Look:
        self._meet()
        return super().look(bucket, name, token, lease_ms)

    def _remove(self, buckets: Sequence[Bucket], token: str, mark_ms: int) -> int:
        self._meet()
        return super()._remove(buckets, token, mark_ms)

    def _meet(self) -> None:
        if self.is_down:
            raise OSError("down")


@pytest.fixture
def inner() -> Watched:
    return Watched()


@pytest.fixture
def cache() -> Shared:
    return Shared()


@pytest.fixture
def store(inner: Watched, cache: Shared) -> CacheConversationStore:
    return cached(inner, cache)


def cached(inner: ConversationStore, cache: MemoryCache, **options: Any) -> CacheConversationStore:
    return CacheConversationStore(inner, CacheOptions("memory:", tail=4, **options), cache=cache)


def told(store: ConversationStore, call: Callable[[], object]) -> Mapping[str, Any]:
    """Return the details of the event of a call."""
    details: list[Mapping[str, Any]] = []
    unsubscribe = store.subscribe(lambda event: details.append(event.details))
    try:
        call()
    finally:
        unsubscribe()
    (one,) = details
    return one


# -- reading --------------------------------------------------------------------------------------

READS: Final[dict[str, tuple[Callable[[ConversationStore], object], Any, Any]]] = {
    "newest": (lambda one: one.history("u", limit=2), FILL, HIT),
    "newest of a session": (lambda one: one.history("u", session_id="s", limit=2), FILL, HIT),
    "as many as are kept": (lambda one: one.history("u", limit=4), FILL, HIT),
    "more than are kept": (lambda one: one.history("u", limit=5), NOT_CACHED, NOT_CACHED),
    "from the oldest": (
        lambda one: one.history("u", newest_first=False, limit=2),
        MISS,
        MISS,
    ),
    "summaries": (lambda one: one.summaries("u", limit=2), MISS, MISS),
    "sessions": (lambda one: one.sessions("u", limit=2), FILL, HIT),
    "more sessions than are kept": (lambda one: one.sessions("u"), NOT_CACHED, NOT_CACHED),
    "by id": (lambda one: one.get("u", []), NOT_CACHED, NOT_CACHED),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_says_what_the_cache_did(store: CacheConversationStore, name: str) -> None:
    read, first, second = READS[name]
    store.append(*(say(str(number)) for number in range(6)))
    assert told(store, lambda: read(store)) == first
    assert told(store, lambda: read(store)) == second


def test_what_a_tail_tells_is_answered_from_it(store: CacheConversationStore) -> None:
    given = [say(str(number)) for number in range(3)]
    store.append(*given)
    store.history("u", limit=4)
    for call in (
        lambda: store.summaries("u", limit=4),
        lambda: store.history("u", newest_first=False, limit=4),
        lambda: store.history("u", since=given[1].created_at, limit=4),
    ):
        assert told(store, call) == HIT
    assert list(store.history("u", newest_first=False, limit=4)) == given


def test_the_next_pages_come_from_the_tail_as_far_as_it_goes(
    store: CacheConversationStore,
) -> None:
    given = [say(str(number)) for number in range(6)][::-1]
    store.append(*given)
    first = store.history("u", limit=2)
    pages = [list(first)]
    details: list[Mapping[str, Any]] = []
    cursor = first.cursor
    store.subscribe(lambda event: details.append(event.details))
    while cursor is not None:
        page = store.history("u", limit=2, cursor=cursor)
        pages.append(list(page))
        cursor = page.cursor
    assert [one for page in pages for one in page] == given
    assert details[:2] == [HIT, MISS]


def test_the_next_page_of_sessions_comes_from_the_list(store: CacheConversationStore) -> None:
    store.append(*(say(session=f"s{number}") for number in range(4)))
    first = store.sessions("u", limit=2)
    assert first.cursor is not None
    assert told(store, lambda: store.sessions("u", limit=2, cursor=first.cursor)) == HIT


def test_only_strong_reads_fill(store: CacheConversationStore, inner: Watched) -> None:
    inner.append(say())
    store.history("u", limit=2, consistency=Consistency.EVENTUAL)
    store.sessions("u", limit=2, consistency=Consistency.EVENTUAL)
    assert inner.read == [Consistency.STRONG] * 2
    inner.read.clear()
    store.history("u", limit=9, consistency=Consistency.EVENTUAL)
    assert inner.read == [Consistency.EVENTUAL]
    inner.read.clear()
    eventual = Consistency.EVENTUAL
    assert told(store, lambda: store.history("u", limit=2, consistency=eventual)) == HIT
    assert not inner.read


def test_a_failed_fill_leaves_the_consistency_that_was_asked_for(
    store: CacheConversationStore, inner: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Consistency | None] = []

    def fails(op: Operation, _: HistoryQuery) -> Rows[Message]:
        seen.append(op.consistency)
        raise UnavailableError("down")

    monkeypatch.setattr(inner, "_history", fails)
    with pytest.raises(UnavailableError):
        store.history("u", limit=2, consistency=Consistency.EVENTUAL)
    assert seen == [Consistency.STRONG]


def test_what_expires_leaves_the_tail(cache: Shared) -> None:
    clock = ManualClock()
    store = cached(Watched(clock=clock), cache)
    stays, goes = say("stays"), say("goes", expires_at=clock() + timedelta(seconds=10))
    store.append(stays, goes)
    assert len(store.history("u", limit=4)) == 2
    clock.advance(10)
    assert told(store, lambda: store.history("u", limit=4)) == HIT
    assert list(store.history("u", limit=4)) == [stays]


def test_lists_that_expiry_changes_are_not_cached(cache: Shared) -> None:
    store = cached(MemoryConversationStore(), cache)
    assert told(store, lambda: store.sessions("u", limit=2)) == NOT_CACHED


# -- writing --------------------------------------------------------------------------------------

WRITES: Final[dict[str, Callable[[ConversationStore, Message], object]]] = {
    "append": lambda store, _: store.append(say("more")),
    "replace": lambda store, one: store.replace(replace(one, content="other")),
    "delete": lambda store, one: store.delete("u", [one.id]),
    "delete_session": lambda store, _: store.delete_session("u", "s"),
    "erase": lambda store, _: store.erase("u"),
    "bulk_load": lambda store, _: store.bulk_load([say("more"), say("more", user="u2")]),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_removes_what_it_changes(store: CacheConversationStore, name: str) -> None:
    one = say()
    store.append(one)
    for _ in range(2):
        store.history("u", limit=2)
        store.history("u", session_id="s", limit=2)
        store.sessions("u", limit=2)
    details = told(store, lambda: WRITES[name](store, one))
    assert details["cache_invalidations"] == 3
    assert details["cache_state"] == "closed"
    assert list(store.history("u", limit=4)) == list(store.inner.history("u", limit=4))
    assert "cache_invalidations" not in told(store, lambda: store.append(say(user="new")))


def test_optimizing_removes_what_the_user_sees_of_all(store: CacheConversationStore) -> None:
    store.append(say())
    store.history("u", limit=2)
    store.history("u", session_id="s", limit=2)
    assert told(store, lambda: store.optimize("u"))["cache_invalidations"] == 1
    assert told(store, lambda: store.history("u", session_id="s", limit=2)) == HIT


def test_other_users_and_sessions_stay(store: CacheConversationStore) -> None:
    store.append(say(), say(session="other"))
    store.append(say(user="u2"))
    store.history("u", session_id="other", limit=2)
    store.history("u2", limit=2)
    store.append(say())
    assert told(store, lambda: store.history("u", session_id="other", limit=2)) == HIT
    assert told(store, lambda: store.history("u2", limit=2)) == HIT


def test_erase_reports_what_was_cached(store: CacheConversationStore) -> None:
    store.append(say())
    store.history("u", limit=2)
    store.history("u", session_id="s", limit=2)
    report = store.erase("u")
    assert (report.messages, report.cached, report.out_of_reach) == (1, 2, ())


def test_erase_says_what_it_could_not_reach(inner: Watched, cache: Shared) -> None:
    store = CacheConversationStore(
        inner, CacheOptions("redis://:secret@host/0", ttl_seconds=60), cache=cache
    )
    store.append(say())
    cache.is_down = True
    report = store.erase("u")
    store.close()
    assert (report.messages, report.cached) == (1, 0)
    (left,) = report.out_of_reach
    assert "secret" not in left
    assert "host" in left
    assert "60 s" in left


def test_a_write_in_doubt_leaves_its_mark(store: CacheConversationStore, inner: Watched) -> None:
    inner.fault = UnavailableError("lost", outcome=Outcome.UNKNOWN)
    with pytest.raises(UnavailableError):
        store.append(say())
    assert told(store, lambda: store.history("u", limit=2)) == MISS
    inner.fault = UnavailableError("refused")
    with pytest.raises(UnavailableError):
        store.append(say(user="u2"))
    assert told(store, lambda: store.history("u2", limit=2)) == FILL


def test_a_write_between_read_and_fill_refuses_the_fill(
    store: CacheConversationStore, inner: Watched, cache: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = cached(inner, cache)
    read = inner._history  # noqa: SLF001 - a write comes right after it

    def overtaken(op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = read(op, query)
        elsewhere.append(say("new"))
        return rows

    monkeypatch.setattr(inner, "_history", overtaken)
    details = told(store, lambda: store.history("u", limit=2))
    monkeypatch.undo()
    assert details == {"cache_misses": 1, "cache_refused_fills": 1, "cache_state": "closed"}
    assert [one.content for one in store.history("u", limit=2)] == ["new"]


# -- a cache that is down -------------------------------------------------------------------------


def test_without_its_cache_a_store_answers_and_writes(
    store: CacheConversationStore, cache: Shared
) -> None:
    cache.is_down = True
    wrote = told(store, lambda: store.append(say()))
    assert wrote == {"cache_unmarked": 1, "cache_unsettled": 1, "cache_state": "open"}
    assert len(store.history("u", limit=2)) == 1
    assert told(store, lambda: store.history("u", limit=2))["cache_state"] == "open"
    assert store.check() == ["the cache memory: does not answer"]
    store.close()


def test_a_sound_cache_passes_the_check(store: CacheConversationStore) -> None:
    assert store.check() == []


def test_a_mark_can_be_required(inner: Watched, cache: Shared) -> None:
    store = cached(inner, cache, require_mark=True)
    store.append(say())
    cache.is_down = True
    with pytest.raises(UnavailableError, match="nothing was written") as caught:
        store.append(say("second"))
    assert caught.value.retryable
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert len(inner.history("u")) == 1
    store.close()


def test_after_a_fork_the_cache_is_told(store: CacheConversationStore, cache: Shared) -> None:
    store.append(say())
    store.history("u", limit=2)
    store._after_fork()  # noqa: SLF001 - as the child calls it
    assert cache.held_bytes == store.held_bytes - store.inner.held_bytes == 0


# -- which store it is ----------------------------------------------------------------------------


class Nameless(Watched):
    def _address(self, op: Operation, user_id: str) -> Any:
        return None


class Unsure(Watched):
    CAPABILITIES: ClassVar[ConversationCapabilities] = replace(
        Watched.CAPABILITIES, strong_reads=False
    )


def test_stores_that_share_a_cache_share_no_values(cache: Shared) -> None:
    one, other = cached(Watched(), cache), cached(Watched(), cache)
    one.append(say())
    one.history("u", limit=2)
    assert told(other, lambda: other.history("u", limit=2)) == FILL
    assert len(other.history("u", limit=2)) == 0


def test_a_store_that_has_no_name_is_refused_with_the_cure(cache: Shared) -> None:
    with pytest.raises(ConfigurationError, match=r'name = "\.\.\."'):
        cached(Nameless(), cache).append(say())
    named = [cached(Nameless(), cache, name=name) for name in ("a", "b")]
    for store in named:
        assert told(store, partial(store.history, "u", limit=2)) == FILL


def test_a_store_without_strong_reads_is_refused(cache: Shared) -> None:
    with pytest.raises(ConfigurationError, match="strongly consistent"):
        cached(Unsure(), cache)


def test_what_is_written_inside_a_namespace_is_seen_outside(inner: Watched, cache: Shared) -> None:
    def within(store: ConversationStore, prefix: str) -> ConversationStore:
        return NamespaceConversationStore(store, NamespaceOptions(prefix))

    inside = within(cached(inner, cache), "a/")
    outside = cached(within(inner, "a/"), cache)
    other = cached(within(inner, "b/"), cache)
    for writer, reader in ((inside, outside), (outside, inside)):
        before = len(reader.history("u", limit=4))
        writer.append(say())
        assert len(reader.history("u", limit=4)) == before + 1
    assert told(inside, lambda: inside.history("u", limit=4)) == HIT
    assert told(other, lambda: other.history("u", limit=4)) == FILL
    assert len(other.history("u", limit=4)) == 0


def test_its_capabilities_say_how_long_a_dead_writer_is_felt(inner: Watched) -> None:
    alone = cached(inner, MemoryCache(), ttl_seconds=30)
    assert alone.capabilities == replace(inner.capabilities, multi_process=False)
    shared = cached(inner, Shared(), ttl_seconds=30)
    assert shared.capabilities == replace(inner.capabilities, stale_after_crash_seconds=30)


@pytest.mark.parametrize(
    "options",
    [{"tail": 0}, {"tail": 1001}, {"ttl_seconds": 0}, {"timeout_seconds": float("nan")}],
    ids=lambda one: next(iter(one)),
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        CacheOptions("memory:", **options)


def test_by_default_the_url_names_the_cache() -> None:
    store = CacheConversationStore(Watched(), CacheOptions("memory:"))
    store.append(say())
    assert told(store, lambda: store.history("u", limit=2)) == FILL
    store.erase("u")
