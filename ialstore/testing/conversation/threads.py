"""Many threads at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

from ialstore.conversation import ConversationStore
from ialstore.errors import ConflictError
from ialstore.model import Message
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.threads import THREADS, at_once

__all__ = ["Threads"]


class Threads(ConversationSuiteBase):
    """Many threads at once."""

    def test_one_of_many_appends_of_a_message_stores_it(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S1, S15: concurrent appends of one id store it once."""
        messages = [say(str(place)) for place in range(20)]

        results = at_once(lambda _: [store.append(one) for one in messages])

        for place, message in enumerate(messages):
            stored = [one[place] for one in results if one[place].stored]
            assert len(stored) == 1
            assert all(
                message.id in (*one[place].stored, *one[place].duplicates) for one in results
            )
        assert list(store.history("u1", newest_first=False)) == messages

    def test_one_of_many_contents_of_an_id_is_stored(
        self, store: ConversationStore, say: Say
    ) -> None:
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

    def test_one_of_many_deletes_counts_a_message(self, store: ConversationStore, say: Say) -> None:
        """S10: of concurrent deletes of one id exactly one counts it."""
        messages = [say() for _ in range(20)]
        ids = [one.id for one in messages]
        for _ in range(3):
            store.append(*messages)
            counts = at_once(lambda place: store.delete("u1", ids[place:] + ids[:place]))
            assert sum(counts) == 20
            store.append(*messages)
            counts = at_once(lambda _: store.delete_session("u1", "s1"))
            assert sum(counts) == 20

    def test_readers_see_the_old_or_the_new_message_and_nothing_else(
        self, store: ConversationStore, say: Say
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
                for seen in (store.get("u1", [first.id]), store.history("u1")):
                    assert seen or not store.capabilities.strong_reads, "S4: it is there throughout"
                    found += seen
            return found

        seen = at_once(lambda place: read(place) if place else write(place), threads=3)
        for one in seen[1] + seen[2]:
            assert one in (first, second)

    def test_threads_that_write_at_once_lose_nothing(
        self, store: ConversationStore, say: Say
    ) -> None:
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

    def test_many_erases_at_once_leave_nothing(self, store: ConversationStore, say: Say) -> None:
        """S11: each counts messages that were there."""
        store.append(*(say() for _ in range(20)))
        reports = at_once(lambda _: store.erase("u1"))
        assert sum(one.messages for one in reports) >= 20
        assert max(one.messages for one in reports) <= 20
        assert [one.remaining for one in reports] == [0] * THREADS
        assert list(store.history("u1")) == []
        assert list(store.sessions("u1")) == []

    def test_first_writes_at_once_lose_nothing(self, store: ConversationStore, say: Say) -> None:
        """S15: of users and sessions that nobody has written for before."""

        def append_own(messages: list[Message], place: int) -> None:
            store.append(messages[place])

        for turn in range(20):
            user = f"u{turn}"
            messages = [
                say(str(place), user_id=user, session_id=f"s{place % 2}")
                for place in range(THREADS)
            ]
            at_once(partial(append_own, messages))
            assert list(store.history(user, newest_first=False)) == messages
            for session in ("s0", "s1"):
                found = list(store.history(user, session_id=session, newest_first=False))
                assert found == [one for one in messages if one.session_id == session]
            assert {one.session_id for one in store.sessions(user)} == {"s0", "s1"}

    def test_what_was_there_before_an_erase_is_gone_whatever_is_appended(
        self, store: ConversationStore, say: Say
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
