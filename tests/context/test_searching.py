"""``ContextEngine.search``: the messages of a user that are nearest to a query."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ialstore import InvalidInputError, LimitExceededError, UnavailableError, Where
from tests.context.conftest import START


def contents(found: list[Any]) -> list[str]:
    return [one.message.content for one in found]


def test_the_nearest_messages_come_whole_and_best_first(any_rig: Any) -> None:
    long = "my cat eats tuna, " + "and tuna again, " * 300
    cat, poor, _ = any_rig.say(long, "the cat sleeps all day long", "nothing of the kind")
    any_rig.say("my cat eats tuna", user_id="v")

    found = any_rig.engine.search("what does my cat eat? tuna?", "u", 2)

    assert [one.message for one in found] == [cat, poor]
    assert found[0].score > found[1].score
    assert len(any_rig.engine.search("cat", "u")) == 3, "ten at most, unless told otherwise"


def test_filters_are_those_of_the_index(any_rig: Any) -> None:
    any_rig.say("a cat on monday", session_id="monday")
    any_rig.say("a cat on tuesday", session_id="tuesday")
    any_rig.say("cats are cats", role="assistant", session_id="tuesday")
    search = any_rig.engine.search

    assert contents(search("cat", "u", where=Where(session_id="monday"))) == ["a cat on monday"]
    assert contents(search("cat", "u", where=Where(roles=["assistant"]))) == ["cats are cats"]
    late = Where(since=START + timedelta(seconds=3))
    assert contents(search("cat", "u", where=late)) == ["cats are cats"]
    assert search("cat", "nobody") == []


def test_more_are_found_than_one_get_takes(rig: Any) -> None:
    rig.engine.append(*(rig.message(f"cat {number}") for number in range(100)))
    rig.engine.append(*(rig.message(f"cat {number}") for number in range(100, 150)))

    found = rig.engine.search("cat", "u", 130)

    assert len({one.message.id for one in found}) == 130
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


def test_a_message_that_is_gone_is_not_found(rig: Any) -> None:
    cat, dog = rig.say("the cat", "the dog")
    rig.store.delete("u", [cat.id])

    assert contents(rig.engine.search("the", "u")) == [dog.content]


def test_what_is_wrong_is_said_before_anything_is_read(rig: Any) -> None:
    rig.say("the cat")
    calls = rig.index.calls.copy()
    for query in ("", "?!", 5):
        with pytest.raises(InvalidInputError, match="query"):
            rig.engine.search(query, "u")
    with pytest.raises(InvalidInputError, match="user_id"):
        rig.engine.search("cat", "")
    with pytest.raises(LimitExceededError, match="k"):
        rig.engine.search("cat", "u", rig.index.capabilities.max_k + 1)
    with pytest.raises(InvalidInputError, match="k"):
        rig.engine.search("cat", "u", 0)
    for where in (None, Where(session_id="a", exclude_session_id="b"), Where(roles=[])):
        with pytest.raises(InvalidInputError, match="where"):
            rig.engine.search("cat", "u", where=where)
    assert rig.embedder.queries == []
    assert rig.index.calls == calls


@pytest.mark.parametrize("part", ["store", "index"])
def test_a_part_that_fails_is_an_error(rig: Any, part: str) -> None:
    rig.say("the cat")

    def fail() -> None:
        raise UnavailableError("down")

    failing = getattr(rig, part)
    failing.before["get" if part == "store" else "search"] = fail
    with pytest.raises(UnavailableError, match="down"):
        rig.engine.search("cat", "u")
    assert contents(rig.engine.search("cat", "u")) == ["the cat"]
