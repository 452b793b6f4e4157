"""Every way to read, before and after every way to write: no answer is of before."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from ialstore.conversation import ConversationStore
from ialstore.model import Message, MessageSummary
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.base import ConversationSuiteBase, Say
from ialstore.testing.conversation.helpers import walk
from ialstore.testing.conversation.model import ConversationModel, ModelQuery

__all__ = ["Freshness"]


class Kept:
    """A store and the messages it was given, in it and in a model.

    Attributes:
        given: stored, of two sessions; the last one expires in a second.
        spare: not stored yet.
    """

    def __init__(self, store: ConversationStore, clock: ManualClock, say: Say) -> None:
        self.store = store
        self.clock = clock
        soon = clock() + timedelta(seconds=1)
        self.given = [say(session_id=session) for session in ("s1", "s2", "s1", "s2")]
        self.given.append(say(session_id="s1", expires_at=soon))
        self.spare = say(session_id="s1")
        self.model = ConversationModel(clock)
        store.append(*self.given)
        for one in self.given:
            self.model.put(one)

    def assert_read(self) -> None:
        """Read everything in every way."""
        live = {one.id: one for one in self.model.live("u1")}
        for one in (*self.given, self.spare):
            assert self.store.get("u1", [one.id]) == ([live[one.id]] if one.id in live else [])
        ids = [one.id for one in (*self.given, self.spare)]
        assert self.store.get("u1", ids) == [live[one] for one in ids if one in live]
        for session, newest_first in itertools.product([None, "s1", "s2"], [True, False]):
            query = ModelQuery("u1", session, None, None, newest_first)
            expected = query.answer(self.model)
            brief = [MessageSummary.of(one) for one in expected]
            for limit in (1, 2, 50):
                page = self.store.history("u1", **query.arguments(), limit=limit)
                assert list(page) == expected[:limit]
                summaries = self.store.summaries("u1", **query.arguments(), limit=limit)
                assert list(summaries) == brief[:limit]
            assert walk(self.store.history, limit=2, **query.arguments()) == expected
        active = self.model.sessions("u1")
        listed = [(one.session_id, one.last_active) for one in self.store.sessions("u1", limit=2)]
        can = self.store.capabilities
        if can.exact_sessions and not can.activity_precision:
            assert listed == active
        names = {name for name, _ in listed}
        assert names >= {name for name, _ in active}
        assert not can.exact_sessions or len(names) == len(active)


def _append(kept: Kept) -> None:
    _put(kept, kept.spare, kept.store.append)


def _append_again(kept: Kept) -> None:
    kept.store.append(replace(kept.given[0], summary="other", tokens=9))


def _replace(kept: Kept) -> None:
    for one in (kept.given[0], kept.given[-1]):
        _put(kept, replace(one, content="replaced", summary="new"), kept.store.replace)


def _load(kept: Kept) -> None:
    for one in (replace(kept.given[1], content="loaded"), kept.spare):
        _put(kept, one, lambda message: kept.store.bulk_load([message]))


def _put(kept: Kept, message: Message, write: Callable[[Message], object]) -> None:
    write(message)
    kept.model.put(message)


def _delete(kept: Kept) -> None:
    ids = [kept.given[0].id, kept.given[-1].id]
    assert kept.store.delete("u1", ids) == kept.model.remove("u1", ids)


def _delete_session(kept: Kept) -> None:
    assert kept.store.delete_session("u1", "s1") == kept.model.remove_session("u1", "s1")


def _erase(kept: Kept) -> None:
    assert kept.store.erase("u1").messages == kept.model.remove_session("u1", None)


def _let_time_pass(kept: Kept) -> None:
    kept.clock.advance(1)


def _optimize(kept: Kept) -> None:
    kept.clock.advance(1)
    kept.store.optimize("u1")


WRITES: Final[dict[str, Callable[[Kept], None]]] = {
    "append": _append,
    "append again": _append_again,
    "replace": _replace,
    "bulk_load": _load,
    "delete": _delete,
    "delete_session": _delete_session,
    "erase": _erase,
    "time": _let_time_pass,
    "optimize": _optimize,
}


class Freshness(ConversationSuiteBase):
    """What was read before a write is read anew after it."""

    @pytest.mark.parametrize("write", WRITES)
    def test_no_read_answers_as_before_a_write(
        self, store: ConversationStore, say: Say, clock: ManualClock, write: str
    ) -> None:
        """C1, C2, M6: in any way, of the same call as before the write."""
        kept = Kept(store, clock, say)
        kept.assert_read()
        WRITES[write](kept)
        kept.assert_read()
        again = replace(kept.given[2], summary="again")
        if store.replace(again):
            kept.model.put(again)
        kept.assert_read()
