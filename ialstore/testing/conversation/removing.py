"""Deleting, and erasing a user."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import LimitExceededError
from ialstore.ids import Role
from ialstore.model import EraseReport, LoadReport
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import SIZES, everything, listed, twin_of

__all__ = ["Removing"]


class Removing(ConversationSuiteBase):
    """Deleting, and erasing a user."""

    def test_delete_counts_what_it_removed(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S10: messages, not rows; unknown, repeated and expired ones don't count."""
        one, two, kept = say("1"), say("2", payload={"big": "x" * 500_000}), say("3")
        expired = say(expires_at=clock() + timedelta(seconds=1))
        store.append(one, two, kept, expired)
        clock.advance(1)

        assert store.delete("u1", [one.id, two.id, one.id, say().id, expired.id]) == 2
        assert store.delete("u1", [one.id]) == 0
        assert store.delete("u1", []) == 0
        assert everything(store) == [kept]

    def test_delete_takes_up_to_1000_ids(self, store: ConversationStore, say: Say) -> None:
        """S10: of up to 1,000 ids."""
        messages = [say() for _ in range(1000)]
        assert store.bulk_load(messages) == LoadReport(written=1000)
        ids = [one.id for one in messages]

        with pytest.raises(LimitExceededError):
            store.delete("u1", [*ids, ids[0]])
        assert store.delete("u1", ids) == 1000
        assert everything(store) == []

    def test_delete_takes_any_number_of_ids(self, store: ConversationStore, say: Say) -> None:
        """S10: none is left where a driver takes fewer at once."""
        kept = [say() for _ in range(sum(SIZES) + 130)]
        store.bulk_load(kept)
        for number in (*SIZES, 126):
            unwanted, kept = kept[:number], kept[number:]
            assert store.delete("u1", [one.id for one in unwanted]) == number
            assert everything(store, limit=1000) == kept

    def test_delete_session_removes_its_messages_and_no_other(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S10, C6: prefixes, other users and hostile names stay."""
        mine = [say(session_id="a") for _ in range(3)]
        expired = say(session_id="a", expires_at=clock() + timedelta(seconds=1))
        others = [say(session_id=one) for one in ("a#", "a%", "a b", "aa", "A", twin_of("a"))]
        foreign = say(user_id="u10", session_id="a")
        store.append(*mine, expired, *others)
        store.append(foreign)
        clock.advance(1)

        assert store.delete_session("u1", "a") == 3
        assert store.delete_session("u1", "a") == 0
        assert everything(store) == others
        assert everything(store, "u10") == [foreign]

    def test_delete_session_takes_long_sessions(self, store: ConversationStore, say: Say) -> None:
        """S10: however many messages there are."""
        store.bulk_load(say() for _ in range(2300))
        assert store.delete_session("u1", "s1") == 2300
        assert listed(store) == []

    def test_erase_removes_everything_of_a_user_and_nothing_of_others(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S11, C6: removes everything acknowledged before it began."""
        store.append(*[say(session_id=one) for one in ("a", "b", "b#")])
        store.append(say(expires_at=clock() + timedelta(seconds=1)))
        foreign = [say(user_id=user) for user in ("u10", "u", "u1#", "u1%", "U1")]
        for message in foreign:
            store.append(message)
        clock.advance(1)

        report = store.erase("u1")

        assert isinstance(report, EraseReport)
        assert (report.messages, report.remaining) == (3, 0)
        assert everything(store) == []
        assert listed(store) == []
        assert [everything(store, one.user_id) for one in foreign] == [[one] for one in foreign]
        assert store.erase("u1").messages == 0

    @pytest.mark.parametrize("way", ["delete", "delete_session", "erase", "replace", "bulk_load"])
    def test_nothing_of_a_long_message_is_left_in_a_short_one(
        self, store: ConversationStore, say: Say, way: str
    ) -> None:
        """S3, S4, S10, S11, S12: of the same id; a store may keep it in parts."""
        text = "".join(Random(1).choices(string.printable, k=900_000))
        long = say(text, payload={"a": text[:50_000]}, metadata={"b": text[:20_000]})
        short = replace(long, content="short", payload=None, metadata={})
        store.append(long)
        removals: dict[str, Callable[[], object]] = {
            "delete": lambda: store.delete("u1", [long.id]),
            "delete_session": lambda: store.delete_session("u1", "s1"),
            "erase": lambda: store.erase("u1"),
            "replace": lambda: store.replace(short),
            "bulk_load": lambda: store.bulk_load([short]),
        }
        removals[way]()
        store.append(short)
        assert store.get("u1", [long.id]) == [short]
        assert everything(store) == [short]
        assert store.append(short).duplicates == (short.id,)

    @pytest.mark.parametrize("way", ["delete", "delete_session", "erase"])
    def test_messages_of_every_role_are_removed(
        self, store: ConversationStore, say: Say, way: str
    ) -> None:
        """S10, S11: events, which no model sees, among them."""
        messages = [say(role=role) for role in Role]
        store.append(*messages)
        removals: dict[str, Callable[[], int]] = {
            "delete": lambda: store.delete("u1", [one.id for one in messages]),
            "delete_session": lambda: store.delete_session("u1", "s1"),
            "erase": lambda: store.erase("u1").messages,
        }
        assert removals[way]() == len(messages)
        assert everything(store) == []

    def test_an_erased_user_may_begin_anew(self, store: ConversationStore, say: Say) -> None:
        """S3, S11: erased ids are forgotten."""
        message = say()
        store.append(message)
        store.erase("u1")
        assert everything(store) == []
        assert listed(store) == []
        assert store.append(message).stored == (message.id,)
        assert everything(store) == [message]
        assert listed(store) == ["s1"]

    def test_a_deleted_session_may_begin_anew(self, store: ConversationStore, say: Say) -> None:
        """S9, S10: it is listed again, though the store may remember that it was."""
        message, other = say(), say(session_id="s2")
        store.append(message, other)
        for _ in range(2):
            store.delete_session("u1", "s1")
            assert listed(store) == ["s2"]
            assert store.append(message).stored == (message.id,)
            assert listed(store) == ["s2", "s1"]

    def test_erase_takes_long_histories(self, store: ConversationStore, say: Say) -> None:
        """S11: however many messages there are."""
        store.bulk_load(say(session_id=f"s{place % 3}") for place in range(1200))
        report = store.erase("u1")
        assert (report.messages, report.remaining) == (1200, 0)
        assert everything(store) == []
        assert listed(store) == []

    def test_delete_session_and_erase_remove_what_is_expired_too(
        self, store: ConversationStore, say: Say, clock: ManualClock
    ) -> None:
        """S10, S11: but count only messages that were live."""
        soon = clock() + timedelta(seconds=1)
        store.append(say(expires_at=soon), say(), say(session_id="s2", expires_at=soon))
        clock.advance(1)
        assert store.delete_session("u1", "s1") == 1
        assert store.erase("u1").messages == 0
        clock.advance(-1)
        assert not [one for one in store.history("u1") if one.session_id == "s2"]
