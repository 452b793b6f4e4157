"""Opening, closing, reopening, forking."""

from __future__ import annotations

import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import InvalidInputError, LockedError, StoreNotReadyError
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, MakeStore, Say
from ialstore.testing.conversation.helpers import calls_of

__all__ = ["Life"]


class Life(ConversationSuiteBase):
    """Opening, closing, reopening, forking."""

    def test_a_closed_store_refuses_every_call(self, store: ConversationStore, say: Say) -> None:
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

    def test_close_waits_for_running_calls(
        self, open_store: MakeStore, say: Say, clock: ManualClock
    ) -> None:
        """S15: `close` waits for running calls."""
        store = open_store(clock=clock)
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
        self, open_store: MakeStore, say: Say, clock: ManualClock
    ) -> None:
        """S15, C4: with `capabilities.durable`."""
        store = open_store(clock=clock)
        messages = [say(payload={"a": [1, 1.0]}, session_id=one) for one in "ab"]
        store.append(*messages)
        if not store.capabilities.durable:
            pytest.skip("capabilities.durable is false: nothing is there after reopening")
        store.close()
        again = open_store(clock=clock)
        assert list(again.history("u1", newest_first=False)) == messages
        assert again.append(*messages).duplicates == tuple(one.id for one in messages)
        assert [one.session_id for one in again.sessions("u1")] == ["b", "a"]
        assert again.check() == []

    def test_another_handle_sees_what_was_acknowledged(
        self, open_store: MakeStore, say: Say, clock: ManualClock
    ) -> None:
        """C1, S15: with `capabilities.multi_process`."""
        store = open_store(clock=clock)
        if not store.capabilities.multi_process:
            pytest.skip("capabilities.multi_process is false: there may be no other handle")
        message = say()
        store.append(message)
        other = open_store(clock=clock)
        assert list(other.history("u1")) == [message]
        store.close()
        assert other.append(message).duplicates == (message.id,)

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
        told = os.read(reading, 100)
        os.close(reading)
        os.close(writing)
        # Where one process at a time may use the store, the child is kept out like any other.
        assert told in ((b"fine",) if store.capabilities.multi_process else (b"fine", b"kept out"))

        store.append(after)
        shared = [child_s] if store.capabilities.multi_process else []
        assert list(store.history("u1", newest_first=False)) == [before, *shared, after]
        assert store.check() == []
