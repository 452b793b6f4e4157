"""What the capabilities claim: consistency and the listing of users."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ialstore.conversation import ConversationStore
from ialstore.errors import InvalidInputError, UnsupportedOperationError
from ialstore.model import Consistency, MessageSummary
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Fill, OpenStore, Say, Settle
from ialstore.testing.conversation.helpers import all_users

__all__ = ["Claims"]


class Claims(ConversationSuiteBase):
    """What the capabilities claim: consistency and the listing of users."""

    @pytest.mark.parametrize("consistency", [Consistency.STRONG, "strong"])
    def test_a_strong_read_sees_what_was_acknowledged(
        self, reader: ConversationStore, fill: Fill, say: Say, consistency: Consistency
    ) -> None:
        """C1: STRONG: everything acknowledged before the call began."""
        message = say()
        fill(reader, [message])
        if not reader.capabilities.strong_reads:
            with pytest.raises(UnsupportedOperationError):
                reader.get("u1", [message.id], consistency=consistency)
            pytest.skip("capabilities.strong_reads is false, and is refused as it should be")
        assert reader.get("u1", [message.id], consistency=consistency) == [message]
        assert list(reader.history("u1", consistency=consistency)) == [message]
        assert list(reader.summaries("u1", consistency=consistency)) == [MessageSummary.of(message)]
        assert len(reader.sessions("u1", consistency=consistency)) == 1

    def test_an_eventual_read_shows_nothing_wrong(
        self, reader: ConversationStore, fill: Fill, say: Say, clock: ManualClock
    ) -> None:
        """C1: never another user's, never expired ones."""
        live, expiring = say(), say(expires_at=clock() + timedelta(seconds=1))
        fill(reader, [live, expiring])
        fill(reader, [say(user_id="u10")])
        clock.advance(1)

        eventual = Consistency.EVENTUAL
        for found in (
            reader.get("u1", [live.id, expiring.id], consistency=eventual),
            list(reader.history("u1", consistency=eventual)),
        ):
            assert found in ([], [live])
        assert {one.id for one in reader.summaries("u1", consistency=eventual)} <= {live.id}
        assert {one.session_id for one in reader.sessions("u1", consistency=eventual)} <= {"s1"}

    def test_reads_that_lag_show_nothing_wrong(
        self, open_store: OpenStore, settle: Settle | None, say: Say, clock: ManualClock
    ) -> None:
        """C1: messages may be missing, or removed ones still shown, for a while."""
        store = open_store(settled=False)
        if not store.capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")
        live, expiring = say(), say(expires_at=clock() + timedelta(seconds=1))
        foreign = say(user_id="u10")

        def assert_nothing_wrong(known: set[str]) -> None:
            eventual = Consistency.EVENTUAL
            asked = [live.id, expiring.id, foreign.id]
            assert {one.id for one in store.get("u1", asked, consistency=eventual)} <= known
            for listing in (store.history, store.summaries):
                assert {one.id for one in listing("u1", consistency=eventual)} <= known

        store.append(live, expiring)
        store.append(foreign)
        assert_nothing_wrong({live.id, expiring.id})
        if settle is not None:
            settle(store)
        clock.advance(1)
        assert_nothing_wrong({live.id})
        assert store.delete("u1", [live.id]) == 1
        assert_nothing_wrong({live.id})
        if settle is not None:
            settle(store)
        assert list(store.history("u1")) == []

    def test_an_unknown_consistency_is_refused(self, store: ConversationStore) -> None:
        """E2, C1: strong, eventual or none."""
        for call in (store.history, store.summaries, store.sessions):
            with pytest.raises(InvalidInputError, match="consistency must be"):
                call("u1", consistency="weak")  # type: ignore[arg-type]  # the point of the test

    def test_users_are_listed_behind_a_capability(self, store: ConversationStore, say: Say) -> None:
        """S14: every user at least once, in no order, possibly repeated."""
        users = ["u1", "u10", "a#b", "%", "é", "😀", "' OR 1=1 --"]
        for user in users:
            store.append(say(user_id=user))
        if not store.capabilities.users:
            with pytest.raises(UnsupportedOperationError):
                store.users()
            pytest.skip("capabilities.users is false, and is refused as it should be")

        for limit in range(1, 9):
            assert set(all_users(store, limit)) == set(users)
        assert set(store.users()) == set(users)

    def test_many_users_are_listed_however_they_came(
        self, store: ConversationStore, say: Say
    ) -> None:
        """S14, S12: also by a load, and where a page ends with the last of them."""
        if not store.capabilities.users:
            pytest.skip("capabilities.users is false")
        users = [f"user {place}" for place in range(220)]
        store.bulk_load(say(user_id=one) for one in users[:200])
        for one in users[200:]:
            store.append(say(user_id=one))
        for limit in (7, 20, 99, 100, 101, 110, 219, 220, 1000):
            assert set(all_users(store, limit)) == set(users)
        for one in users[95:105]:
            store.erase(one)
        assert set(all_users(store, 100)) == {*users[:95], *users[105:]}
