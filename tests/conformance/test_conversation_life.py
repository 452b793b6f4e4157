"""The contract of conversation stores: time, threads, events, and a store's own life."""

from __future__ import annotations

import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ialstore import (
    ConflictError,
    ConversationStore,
    DeadlineExceededError,
    IalStoreError,
    InvalidInputError,
    Message,
    Outcome,
    Page,
    StoreNotReadyError,
    Units,
    deadline,
    events,
    meter,
)
from ialstore.events import OperationEvent

Say = Callable[..., Message]
MakeStore = Callable[..., ConversationStore]
THREADS = 8


def at_once(work: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
    """Return what ``work`` returns for each of several threads that start together."""
    start = threading.Barrier(threads)

    def run(place: int) -> Any:
        start.wait()
        return work(place)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def calls_of(store: ConversationStore, message: Message) -> dict[str, Callable[[], object]]:
    """Return every public call, by its name."""
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: store.append(message),
        "replace": lambda: store.replace(message),
        "get": lambda: store.get("u1", [message.id]),
        "history": lambda: store.history("u1"),
        "summaries": lambda: store.summaries("u1"),
        "sessions": lambda: store.sessions("u1"),
        "delete": lambda: store.delete("u1", [message.id]),
        "delete_session": lambda: store.delete_session("u1", "s1"),
        "erase": lambda: store.erase("u1"),
        "bulk_load": lambda: store.bulk_load([message]),
        "optimize": lambda: store.optimize("u1"),
        "check": store.check,
        "setup": store.setup,
    }
    if store.capabilities.users:
        calls["users"] = store.users
    return calls


# -- expiry ---------------------------------------------------------------------------------------


def test_a_message_is_absent_from_the_second_it_expires(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """C2: once `now >= expires_at`, in every read."""
    message = say(expires_at=clock() + timedelta(seconds=10))
    store.append(message)

    clock.advance(9.999999)
    assert store.get("u1", [message.id]) == [message]
    assert list(store.history("u1")) == [message]
    assert len(store.summaries("u1")) == len(store.sessions("u1")) == 1

    clock.advance(0.000001)
    assert store.get("u1", [message.id]) == []
    for page in (
        store.history("u1"),
        store.history("u1", session_id="s1", newest_first=False),
        store.summaries("u1"),
    ):
        assert page == Page(())
    if store.capabilities.exact_sessions:
        assert store.sessions("u1") == Page(())
    assert store.replace(message) is False
    assert store.delete("u1", [message.id]) == 0
    assert store.delete_session("u1", "s1") == 0


def test_the_clock_of_the_caller_decides(store: ConversationStore, say: Say, clock: Any) -> None:
    """C2, S15: stores take `clock=`."""
    message = say(expires_at=clock() + timedelta(seconds=1))
    store.append(message)
    clock.advance(-10_000)
    assert list(store.history("u1")) == [message]


def test_an_expired_message_may_be_appended(store: ConversationStore, say: Say, clock: Any) -> None:
    """C2: it counts as stored and is never read."""
    message = say(expires_at=clock() - timedelta(days=1))
    for _ in range(2):
        assert store.append(message).stored == (message.id,)
        assert list(store.history("u1")) == []
        assert store.get("u1", [message.id]) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_pass_over_what_is_expired(
    store: ConversationStore, say: Say, clock: Any, limit: int
) -> None:
    """C2, S6: a page ends at its limit of live messages."""
    soon = clock() + timedelta(seconds=1)
    messages = [say(expires_at=None if place % 3 else soon) for place in range(10)]
    store.append(*messages)
    clock.advance(1)
    live = [one for one in messages if one.expires_at is None]

    found: list[Message] = []
    cursor: str | None = None
    while True:
        page = store.history("u1", limit=limit, cursor=cursor, newest_first=False)
        found += page
        cursor = page.cursor
        if cursor is None:
            break
        assert len(page) in (limit, 0)
    assert found == live


def test_delete_session_and_erase_remove_what_is_expired_too(
    store: ConversationStore, say: Say, clock: Any
) -> None:
    """S10, S11: but count only messages that were live."""
    soon = clock() + timedelta(seconds=1)
    store.append(say(expires_at=soon), say(), say(session_id="s2", expires_at=soon))
    clock.advance(1)
    assert store.delete_session("u1", "s1") == 1
    assert store.erase("u1").messages == 0
    clock.advance(-1)
    assert not [one for one in store.history("u1") if one.session_id == "s2"]


# -- many threads ---------------------------------------------------------------------------------


def test_one_of_many_appends_of_a_message_stores_it(store: ConversationStore, say: Say) -> None:
    """S1, S15: concurrent appends of one id store it once."""
    messages = [say(str(place)) for place in range(20)]

    results = at_once(lambda _: [store.append(one) for one in messages])

    for place, message in enumerate(messages):
        stored = [one[place] for one in results if one[place].stored]
        assert len(stored) == 1
        assert all(message.id in (*one[place].stored, *one[place].duplicates) for one in results)
    assert list(store.history("u1", newest_first=False)) == messages


def test_one_of_many_contents_of_an_id_is_stored(store: ConversationStore, say: Say) -> None:
    """S2: the others are conflicts."""
    message = say()

    def append(place: int) -> bool:
        try:
            return bool(store.append(replace(message, content=str(place))).stored)
        except ConflictError:
            return False

    won = at_once(append)
    assert won.count(True) == 1
    assert [one.content for one in store.history("u1")] == [str(won.index(True))]


def test_one_of_many_deletes_counts_a_message(store: ConversationStore, say: Say) -> None:
    """S10: of concurrent deletes of one id exactly one counts it."""
    messages = [say() for _ in range(20)]
    store.append(*messages)
    ids = [one.id for one in messages]

    counts = at_once(lambda place: store.delete("u1", ids[place:] + ids[:place]))
    assert sum(counts) == 20
    store.append(*messages)
    counts = at_once(lambda _: store.delete_session("u1", "s1"))
    assert sum(counts) == 20


def test_readers_see_the_old_or_the_new_message_and_nothing_else(
    store: ConversationStore, say: Say
) -> None:
    """S4: atomically for readers."""
    messages = [say(letter * 20_000, created_at=None) for letter in "a"]
    (first,) = messages
    second = replace(first, content="b" * 20_000, payload={"big": "b" * 20_000})
    store.append(first)
    finish = threading.Event()

    def write(_: int) -> list[Message]:
        for _ in range(30):
            store.replace(second)
            store.replace(first)
        finish.set()
        return []

    def read(_: int) -> list[Message]:
        found: list[Message] = []
        while not finish.is_set():
            found += store.get("u1", [first.id])
            found += store.history("u1")
        return found

    seen = at_once(lambda place: read(place) if place else write(place), threads=3)
    for one in seen[1] + seen[2]:
        assert one in (first, second)


def test_threads_that_write_at_once_lose_nothing(store: ConversationStore, say: Say) -> None:
    """S15: safe from many threads."""
    batches = [
        [say(session_id=f"s{place}", content=str(step)) for step in range(20)]
        for place in range(THREADS)
    ]

    def work(place: int) -> int:
        for message in batches[place]:
            store.append(message)
            store.history("u1", limit=3)
        return store.delete("u1", [one.id for one in batches[place][::2]])

    assert at_once(work) == [10] * THREADS
    kept = [one for batch in batches for one in batch[1::2]]
    assert list(store.history("u1", newest_first=False, limit=1000)) == kept
    assert len(store.sessions("u1")) == THREADS


def test_what_was_there_before_an_erase_is_gone_whatever_is_appended(
    store: ConversationStore, say: Say
) -> None:
    """S11: everything acknowledged before it began."""
    before = [say(session_id=f"s{place}") for place in range(50)]
    during = [say() for _ in range(50)]
    store.append(*before)

    def work(place: int) -> object:
        if place == 0:
            return store.erase("u1")
        return [store.append(one) for one in during[place::2]]

    at_once(work, threads=3)
    found = {one.id for one in store.history("u1", limit=1000)}
    assert found.isdisjoint(one.id for one in before)
    store.append(*during)
    assert len(store.history("u1", limit=1000)) == 50


# -- deadlines, events, meters --------------------------------------------------------------------


def test_a_deadline_that_is_over_ends_every_call(store: ConversationStore, say: Say) -> None:
    """C3, C4: with the outcome."""
    message = say()
    store.append(message)
    for name, call in calls_of(store, replace(message, content="other")).items():
        with deadline(1e-9), pytest.raises(DeadlineExceededError) as caught:
            call()
        assert caught.value.operation == name
        assert caught.value.backend == store.backend
        assert caught.value.outcome in (Outcome.NOT_APPLIED, Outcome.UNKNOWN)
    assert list(store.history("u1")) == [message]


def test_a_long_deadline_changes_nothing(store: ConversationStore, say: Say) -> None:
    """C3: set by `with deadline(seconds)`, also nested."""
    with deadline(60), deadline(30):
        for call in calls_of(store, say()).values():
            call()


def test_every_call_emits_one_event(store: ConversationStore, say: Say) -> None:
    """E3: one event a call, from the outermost layer, without ids of users or content."""
    heard: list[OperationEvent] = []
    everywhere: list[OperationEvent] = []
    store.subscribe(heard.append)
    end = events.subscribe(everywhere.append)
    calls = calls_of(store, say("zanzibar"))
    try:
        for call in calls.values():
            call()
    finally:
        end()

    assert [one.operation for one in heard] == list(calls)
    assert everywhere == heard
    strongest = "strong" if store.capabilities.strong_reads else "eventual"
    for event in heard:
        assert (event.kind, event.backend, event.error) == ("conversation", store.backend, None)
        if event.operation in ("get", "history", "summaries", "sessions"):
            assert event.consistency == strongest
        assert "zanzibar" not in repr(event)
        assert "u1" not in repr(event.details)
    items = {one.operation: one.items for one in heard}
    assert (items["append"], items["replace"], items["get"], items["history"]) == (1, 1, 1, 1)


def test_an_event_names_the_error(store: ConversationStore, say: Say) -> None:
    """E1: the class that the caller sees."""
    message = say()
    store.append(message)
    heard: list[OperationEvent] = []
    store.subscribe(heard.append)
    with pytest.raises(ConflictError):
        store.append(replace(message, content="other"))
    assert [(one.operation, one.error) for one in heard] == [("append", "ConflictError")]


def test_a_listener_that_raises_breaks_no_call(store: ConversationStore, say: Say) -> None:
    message = say()

    def fail(event: OperationEvent) -> None:
        raise RuntimeError(event.operation)

    end = store.subscribe(fail)
    assert store.append(message).stored == (message.id,)
    end()
    assert list(store.history("u1")) == [message]


def test_meters_sum_and_nest(store: ConversationStore, say: Say) -> None:
    heard: list[OperationEvent] = []
    store.subscribe(heard.append)
    with meter() as outer:
        store.append(say())
        with meter() as inner:
            store.history("u1")
    assert inner.units == heard[1].units
    assert outer.units == heard[0].units + heard[1].units
    assert isinstance(outer.units, Units)


def test_errors_can_be_pickled(store: ConversationStore, say: Say) -> None:
    """E1: they travel between processes."""
    message = say()
    store.append(message)
    raised: list[IalStoreError] = []
    for call in (
        lambda: store.append(replace(message, content="other")),
        lambda: store.history("u1", limit=0),
        lambda: store.history("u1", cursor="x"),
    ):
        with pytest.raises(IalStoreError) as caught:
            call()
        raised.append(caught.value)
    for error in raised:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made right here
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


# -- open, close, fork ----------------------------------------------------------------------------


def test_a_closed_store_refuses_every_call(store: ConversationStore, say: Say) -> None:
    """S15: a later call raises `StoreNotReadyError`; `close` is idempotent."""
    message = say()
    store.append(message)
    with store as same:
        assert same is store
    store.close()

    calls = calls_of(store, message)
    calls |= {
        "append ": store.append,
        "get ": lambda: store.get("u1", []),
        "delete ": lambda: store.delete("u1", []),
    }
    for name, call in calls.items():
        with pytest.raises(StoreNotReadyError) as caught:
            call()
        assert caught.value.operation == name.strip()
    with pytest.raises(InvalidInputError):
        store.history("")


def test_close_waits_for_running_calls(make_store: MakeStore, say: Say, clock: Any) -> None:
    """S15: `close` waits for running calls."""
    store = make_store(clock=clock)
    messages = [say() for _ in range(2000)]
    begun = threading.Event()

    def slowly() -> Any:
        for place, message in enumerate(messages):
            if place == 1200:
                begun.set()
                while not store._closed:  # noqa: SLF001 - nothing public tells that close has begun
                    time.sleep(0)
            yield message

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(store.bulk_load, slowly())
        begun.wait(10)
        store.close()
        assert loading.result(10).written == 2000


def test_an_open_store_has_nothing_to_complain_about(store: ConversationStore, say: Say) -> None:
    """S15: `check` names each difference; `setup` changes nothing that is there."""
    assert store.check() == []
    store.append(say())
    store.setup()
    assert store.check() == []
    assert len(store.history("u1")) == 1


def test_what_was_acknowledged_is_there_after_reopening(
    make_store: MakeStore, say: Say, clock: Any
) -> None:
    """S15, C4: with `capabilities.durable`."""
    store = make_store(clock=clock)
    messages = [say(payload={"a": [1, 1.0]}, session_id=one) for one in "ab"]
    store.append(*messages)
    if not store.capabilities.durable:
        return
    both = make_store(clock=clock)
    assert list(both.history("u1", newest_first=False)) == messages
    store.close()
    assert both.append(*messages).duplicates == tuple(one.id for one in messages)
    both.close()
    again = make_store(clock=clock)
    assert list(again.history("u1", newest_first=False)) == messages
    assert [one.session_id for one in again.sessions("u1")] == ["b", "a"]
    assert again.check() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_may_use_the_store(store: ConversationStore, say: Say) -> None:
    """S15: a forked child opens its own connections."""
    before, child_s, after = say("before"), say("child"), say("after")
    store.append(before)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:  # pragma: no cover - coverage does not follow it
        told = b"failed"
        try:
            store.append(child_s)
            if list(store.history("u1", newest_first=False)) == [before, child_s]:
                told = b"fine"
            store.close()
        finally:
            os.write(writing, told)
            os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reading, 100)
    os.close(reading)
    os.close(writing)
    assert told == b"fine"

    store.append(after)
    shared = [child_s] if store.capabilities.multi_process else []
    assert list(store.history("u1", newest_first=False)) == [before, *shared, after]
    assert store.check() == []
