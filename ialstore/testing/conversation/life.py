"""Opening, closing, reopening, forking."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import (
    InvalidInputError,
    LockedError,
    Outcome,
    StoreNotReadyError,
    UnsupportedOperationError,
)
from ialstore.testing.conversation.base import ConversationSuiteBase, Fill, OpenStore, Say
from ialstore.testing.conversation.helpers import WRITES, calls_of, everything, listed

__all__ = ["Life"]


class Life(ConversationSuiteBase):
    """Opening, closing, reopening, forking."""

    def test_a_closed_store_refuses_every_call(self, store: ConversationStore, say: Say) -> None:
        """S15: a later call raises `StoreNotReadyError`; `close` is idempotent."""
        message = say()
        store.append(message)
        for name, call in calls_of(store, message).items():
            if name not in WRITES:  # what it answers now, it might remember
                call()
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

    def test_close_waits_for_running_calls(self, store: ConversationStore, say: Say) -> None:
        """S15: `close` waits for running calls."""
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
            assert begun.wait(10)
            store.close()
            assert loading.result(10).written == 2000

    def test_an_open_store_has_nothing_to_complain_about(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S15: `check` names each difference; `setup` changes nothing that is there."""
        assert store.check() == []
        store.append(say())
        store.setup()
        assert store.check() == []
        assert len(store.history("u1")) == 1

    def test_what_was_acknowledged_is_there_after_reopening(
        self, store: ConversationStore, open_store: OpenStore, say: Say
    ) -> None:
        """S15, C4: of every kind of write, with `capabilities.durable`."""
        if not store.capabilities.durable:
            pytest.skip("capabilities.durable is false: nothing is there after reopening")
        kept, changed, gone, loaded = (
            say(name, payload={"a": [1, 1.0]}, session_id=name)
            for name in ("kept", "changed", "gone", "loaded")
        )
        store.append(kept, changed, gone, say(session_id="dropped"))
        store.append(say(user_id="u10"))
        changed = replace(changed, content="otherwise", payload=None, summary="new")
        store.replace(changed)
        store.bulk_load([loaded])
        store.delete("u1", [gone.id])
        store.delete_session("u1", "dropped")
        store.erase("u10")
        store.close()

        again = open_store()
        assert everything(again) == [kept, changed, loaded]
        assert everything(again, "u10") == []
        assert again.check() == []
        found = listed(again)
        assert "dropped" not in found
        assert [one for one in found if one != "gone"] == ["loaded", "changed", "kept"]
        assert again.append(kept, changed, loaded).duplicates == (kept.id, changed.id, loaded.id)
        again.delete("u1", [kept.id])
        again.close()
        assert everything(open_store()) == [changed, loaded]

    def test_a_second_handle_sees_what_the_first_one_did(
        self, store: ConversationStore, open_store: OpenStore, say: Say
    ) -> None:
        """C1, C4: with `capabilities.multi_process`, at once and though nobody closed it."""
        if not store.capabilities.multi_process:
            pytest.skip("capabilities.multi_process is false")
        handles = (store, open_store())
        shared = say("shared")
        store.append(shared)
        kept = [shared]
        for turn in range(4):
            writer, other = handles[turn % 2], handles[1 - turn % 2]
            assert other.get("u1", [shared.id]) == [shared]
            shared = replace(shared, content=f"turn {turn}")
            assert writer.replace(shared)
            assert other.get("u1", [shared.id]) == [shared]
            kept[0] = shared
            one, two, loaded = say("one"), say("two"), say("loaded", session_id="s2")
            assert everything(other) == kept
            writer.append(one, two)
            writer.bulk_load([loaded])
            assert everything(other) == [*kept, one, two, loaded]
            one = replace(one, content="changed")
            assert writer.replace(one)
            assert other.get("u1", [one.id]) == [one]
            assert other.append(one).duplicates == (one.id,)
            assert writer.delete("u1", [two.id]) == 1
            assert other.get("u1", [two.id]) == []
            assert other.delete("u1", [two.id]) == 0
            assert set(listed(other)) == {"s1", "s2"}
            assert writer.delete_session("u1", "s2") == 1
            assert listed(other) == ["s1"]
            kept.append(one)
            assert everything(other) == everything(writer) == kept
        handles[0].erase("u1")
        assert everything(handles[1]) == []
        assert listed(handles[1]) == []

    def test_a_session_that_another_handle_deleted_is_listed_again(
        self, store: ConversationStore, open_store: OpenStore, say: Say
    ) -> None:
        """S9: with `capabilities.multi_process`; a handle may remember that it was listed."""
        if not store.capabilities.multi_process:
            pytest.skip("capabilities.multi_process is false")
        other = open_store()
        for remove in (partial(other.delete_session, "u1", "s1"), partial(other.erase, "u1")):
            store.append(say())
            remove()
            assert listed(store) == listed(other) == []
            store.append(say())
            assert listed(store) == listed(other) == ["s1"]

    def test_a_store_that_needs_setup_says_so(self, open_store: OpenStore, say: Say) -> None:
        """S15, E1: with `capabilities.needs_setup`, nothing is created unless asked."""
        store = open_store(set_up=False)
        if not (store.capabilities.needs_setup and store.capabilities.writable):
            pytest.skip("capabilities.needs_setup is false, or nothing can be set up")
        message = say()
        for name, call in calls_of(store, message).items():
            if name not in ("check", "setup"):
                with pytest.raises(StoreNotReadyError) as caught:
                    call()
                told = (caught.value.operation, caught.value.outcome)
                assert told == (name, Outcome.NOT_APPLIED)
        assert store.check() != []
        store.setup()
        store.setup()
        assert store.check() == []
        assert store.append(message).stored == (message.id,)

    def test_a_store_is_used_without_setup(self, open_store: OpenStore, say: Say) -> None:
        """S15: without `capabilities.needs_setup` the first use creates what is missing."""
        store = open_store(set_up=False)
        if store.capabilities.needs_setup or not store.capabilities.writable:
            pytest.skip("capabilities.needs_setup is true, or nothing can be created")
        assert list(store.history("u1")) == []
        assert store.delete("u1", [say().id]) == 0
        assert len(store.append(say()).stored) == 1

    def test_a_read_only_store_refuses_every_write(
        self, reader: ConversationStore, fill: Fill, say: Say
    ) -> None:
        """W3: without `capabilities.writable`, `setup` included; reads answer."""
        if reader.capabilities.writable:
            pytest.skip("capabilities.writable is true")
        message = say()
        fill(reader, [message])
        calls = calls_of(reader, say())
        for name in WRITES:
            with pytest.raises(UnsupportedOperationError) as caught:
                calls.pop(name)()
            told = (caught.value.operation, caught.value.backend)
            assert told == (name, reader.backend)
        for call in calls.values():
            call()
        assert everything(reader) == [message]
        with pytest.raises(UnsupportedOperationError):
            reader.append()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child_may_use_the_store(self, store: ConversationStore, say: Say) -> None:
        """S15: a forked child opens its own connections."""
        before, child_s, after = say("before"), say("child"), say("after")
        store.append(before)
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if child == 0:  # pragma: no cover - coverage does not follow it
            told = b"failed"
            signal.alarm(10)  # ends a child that hangs
            try:
                store.append(child_s)
                if list(store.history("u1", newest_first=False)) == [before, child_s]:
                    told = b"fine"
                store.close()
            except LockedError:
                told = b"kept out"
            finally:
                os.write(writing, told)
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        told = os.read(reading, 100)
        os.close(reading)
        # Where one process at a time may use the store, the child is kept out like any other.
        assert told in ((b"fine",) if store.capabilities.multi_process else (b"fine", b"kept out"))

        store.append(after)
        there = list(store.history("u1", newest_first=False))
        if not store.capabilities.multi_process:  # what the child wrote may be elsewhere
            there = [one for one in there if one != child_s]
            assert there == [before, after]
        else:
            assert there == [before, child_s, after]
        assert store.check() == []
