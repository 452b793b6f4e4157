"""No call of one user meets another, whatever the ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from ialstore.conversation import ConversationStore
from ialstore.testing.cases import IDS, named
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import everything, listed

__all__ = ["Tenants"]


BETWEEN: Final = " #%/:|-_.,;@=~+&\\\n\t\x01\x1f\x7f"
"""What joins ids in the keys of stores."""


class Tenants(ConversationSuiteBase):
    """No call of one user meets another, whatever the ids."""

    def test_one_id_may_belong_to_two_users(self, store: ConversationStore, say: Say) -> None:
        """M6: a message is identified by (`user_id`, `id`)."""
        mine = say("mine")
        theirs = replace(mine, user_id="u10", content="theirs")
        store.append(mine)
        store.append(theirs)

        assert store.get("u1", [mine.id]) == [mine]
        assert store.get("u10", [mine.id]) == [theirs]
        assert store.replace(replace(theirs, content="changed"))
        assert store.delete("u10", [mine.id]) == 1
        assert list(store.history("u1")) == [mine]
        store.append(theirs)
        assert store.delete_session("u10", "s1") == 1
        assert list(store.history("u1")) == [mine]
        store.bulk_load([theirs])
        store.optimize("u10")
        assert store.erase("u10").messages == 1
        assert list(store.history("u1")) == [mine]

    @named(IDS)
    def test_hostile_ids_meet_only_themselves(
        self, store: ConversationStore, say: Say, value: str
    ) -> None:
        """C6: for any bytes in the ids."""
        mine = [say("mine", user_id=value, session_id=value), say("mine", user_id=value)]
        other = say("other", user_id="u1", session_id=value)
        store.append(*mine)
        if value != "u1":
            store.append(other)

        assert list(store.history(value, newest_first=False))[: len(mine)] == mine
        assert mine[0] in list(store.history(value, session_id=value))
        assert {one.session_id for one in store.sessions(value)} >= {value}
        assert store.get(value, [mine[0].id]) == [mine[0]]
        assert store.delete_session(value, value) >= 1
        store.erase(value)
        assert list(store.history(value)) == []
        if value != "u1":
            assert list(store.history("u1")) == [other]

    @pytest.mark.parametrize("between", ["", "%23", "::", "\U0010ffff", *BETWEEN])
    def test_users_and_sessions_do_not_run_together(
        self, store: ConversationStore, say: Say, between: str
    ) -> None:
        """C6: user `a#b` with session `c` is not user `a` with session `b#c`."""
        one = say("one", user_id=f"a{between}b", session_id="c")
        other = say("other", user_id="a", session_id=f"b{between}c")
        store.append(one)
        store.append(other)
        for mine in (one, other):
            user, session = mine.user_id, mine.session_id
            assert listed(store, user) == [session]
            assert list(store.history(user, session_id=session)) == [mine]
            (brief,) = store.summaries(user, session_id=session)
            assert brief.id == mine.id
        assert store.delete_session(one.user_id, "c") == 1
        assert everything(store, "a") == [other]
        assert listed(store, "a") == [other.session_id]

    def test_no_session_meets_another(self, store: ConversationStore, say: Say) -> None:
        """C6, S6, S9, S10: for any bytes in their ids."""
        messages = {one: say(session_id=one) for one in (*IDS.values(), "\ufeffu", "u\u200b")}
        store.append(*messages.values())
        assert set(listed(store)) == set(messages)
        for session, message in messages.items():
            assert list(store.history("u1", session_id=session)) == [message]
            (brief,) = store.summaries("u1", session_id=session)
            assert brief.id == message.id
        left = list(messages)
        while left:
            assert store.delete_session("u1", left.pop(0)) == 1
            assert everything(store) == [messages[one] for one in left]
            assert set(listed(store)) == set(left)

    def test_no_call_of_one_user_meets_another(self, store: ConversationStore, say: Say) -> None:
        """C6: no call returns, counts, changes or erases another's."""
        messages = {
            user: [say(user, user_id=user, session_id=session) for session in ("s1", "s10", user)]
            for user in IDS.values()
        }
        for one in messages.values():
            store.append(*one)
        everybody = [one.id for of_user in messages.values() for one in of_user]

        for user, own in messages.items():
            foreign = [one for one in everybody if one not in {m.id for m in own}][:100]
            assert store.get(user, foreign) == []
            assert store.delete(user, foreign) == 0
            assert list(store.history(user, newest_first=False)) == own
            assert [one.id for one in store.summaries(user, newest_first=False)] == [
                one.id for one in own
            ]
            assert {one.session_id for one in store.sessions(user)} == {"s1", "s10", user}
            assert list(store.history(user, session_id="s1")) == [
                one for one in own if one.session_id == "s1"
            ]

        # A call that took more than its own would leave too little for those behind it, so all go
        # in this order, and then in the other one.
        users = list(messages)
        for order in (users, users[::-1]):
            for user in users:
                store.append(*messages[user])
            for turn, user in enumerate(order):
                own = messages[user]
                of_session = sum(one.session_id == "s10" for one in own)
                assert store.delete_session(user, "s10") == of_session
                assert store.erase(user).messages == len(own) - of_session
                if turn == len(order) // 2:
                    for other in users:
                        gone = other in order[: turn + 1]
                        assert len(store.history(other)) == (0 if gone else len(messages[other]))
            assert not any(store.history(user) for user in users)
