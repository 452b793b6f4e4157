"""The window: the newest messages, oldest first, turns whole, events never."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialstore.context import LeftOutReason


def texts(messages: Any) -> list[str]:
    return [message.content for message in messages]


def reasons(context: Any) -> list[str]:
    return [str(one.reason) for one in context.left_out]


def test_the_newest_messages_of_the_session_come_oldest_first(any_rig: Any) -> None:
    any_rig.say("one", "two")
    any_rig.say("elsewhere", session_id="other")
    any_rig.say("three")

    assert texts(any_rig.build().recent) == ["one", "two", "three"]


def test_without_a_session_the_newest_of_the_user_are_taken(any_rig: Any) -> None:
    any_rig.say("one")
    any_rig.say("two", session_id="other")
    any_rig.say("not mine", user_id="v")

    assert texts(any_rig.build(session_id=None).recent) == ["one", "two"]


def test_an_unknown_user_has_an_empty_context(any_rig: Any) -> None:
    context = any_rig.build("anything")

    assert (context.recent, context.memories, context.left_out) == ((), (), ())
    assert context.tokens == 0
    assert context.as_messages() == []


def test_at_most_the_wanted_number_of_messages_is_taken(new_rig: Any) -> None:
    rig = new_rig(recent_messages=3)
    rig.say(*"abcdefghij")

    context = rig.build()

    assert texts(context.recent) == ["h", "i", "j"]
    assert context.left_out == ()


def test_no_recent_messages_are_read_when_none_are_wanted(new_rig: Any) -> None:
    rig = new_rig(recent_messages=0)
    rig.say("apple")

    assert rig.build().recent == ()
    assert len(rig.build("apple").memories) == 1
    assert "history" not in rig.store.calls


def test_the_run_stops_at_the_first_turn_that_does_not_fit(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=30)
    rig.say("small", "x" * 20, "newer", "newest")

    context = rig.build()

    assert texts(context.recent) == ["newer", "newest"]
    assert reasons(context) == ["budget", "budget"]


def test_messages_of_a_turn_are_kept_or_dropped_together(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=45)
    rig.say("question 1", "answer 1 x", turn_id="1")
    rig.say("question 2", "answer 2 x", turn_id="2")

    context = rig.build()

    assert texts(context.recent) == ["question 2", "answer 2 x"]
    assert reasons(context) == ["budget", "budget"]


def test_turns_of_one_name_in_two_sessions_are_two(new_rig: Any) -> None:
    rig = new_rig(recent_messages=2)
    rig.say("a", turn_id="1")
    rig.say("b", session_id="other", turn_id="1")
    rig.say("c", session_id="other", turn_id="1")

    assert texts(rig.build(session_id=None).recent) == ["b", "c"]


def test_turns_that_interleave_are_kept_or_dropped_together(new_rig: Any) -> None:
    rig = new_rig(recent_messages=3)
    for content, turn in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b"), ("c", None)]:
        rig.say(content, turn_id=turn)

    context = rig.build()

    assert texts(context.recent) == ["c"]
    assert reasons(context) == ["turn", "turn"]


def test_a_turn_that_begins_before_the_wanted_messages_is_left_out(new_rig: Any) -> None:
    rig = new_rig(recent_messages=3)
    rig.say(*"abcd", turn_id="1")
    rig.say(*"ef")

    context = rig.build()

    assert texts(context.recent) == ["e", "f"]
    assert [(one.id[:0], one.reason) for one in context.left_out] == [("", "turn")]


@pytest.mark.parametrize("length", [5, 30, 100, 300])
def test_the_newest_turn_is_read_to_its_beginning(new_rig: Any, length: int) -> None:
    rig = new_rig(recent_messages=2, max_tokens=100_000)
    rig.say("before")
    messages = rig.say(*(str(i) for i in range(length)), turn_id="1")

    assert list(rig.build().recent) == messages


def test_a_newest_turn_without_a_beginning_in_reach_is_left_out(new_rig: Any) -> None:
    rig = new_rig(recent_messages=1, max_tokens=100_000)
    rig.say(*(str(i) for i in range(800)), turn_id="1")

    context = rig.build()

    assert not context.recent
    assert reasons(context) == ["turn"]


def test_a_newest_turn_is_read_no_further_than_the_tokens_reach(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, recent_messages=1, max_tokens=20)
    rig.say(*"abcdefghijklm", turn_id="1")

    context = rig.build()

    assert not context.recent
    assert set(reasons(context)) == {"budget"}
    assert rig.store.calls.count("history") == 1


def test_one_page_is_enough_for_a_long_session_of_pairs(new_rig: Any) -> None:
    rig = new_rig(recent_messages=6)
    for turn in range(20):
        rig.say("question", "answer", turn_id=str(turn))

    assert len(rig.build().recent) == 6
    assert rig.store.calls.count("history") == 1


def test_events_are_never_sent_and_take_no_room(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=18, recent_messages=2)
    rig.say("first")
    rig.say("started " * 10, role="event")
    rig.say("last")
    rig.say("stopped", role="event")

    context = rig.build()

    assert texts(context.recent) == ["first", "last"]
    assert context.left_out == ()


def test_messages_behind_many_events_are_found(new_rig: Any) -> None:
    rig = new_rig(recent_messages=4)
    rig.say("first", "last")
    rig.say(*(f"event {i}" for i in range(100)), role="event")

    assert texts(rig.build().recent) == ["first", "last"]


def test_messages_between_many_events_are_found(new_rig: Any) -> None:
    rig = new_rig(recent_messages=4)
    for content in ("first", "last"):
        rig.say(*(f"event {i}" for i in range(30)), role="event")
        rig.say(content)

    assert texts(rig.build().recent) == ["first", "last"]


def test_all_other_roles_are_sent(rig: Any) -> None:
    for role in ("system", "developer", "user", "assistant", "tool"):
        rig.say(role, role=role)

    assert [one["role"] for one in rig.build().as_messages()] == [
        "system",
        "developer",
        "user",
        "assistant",
        "tool",
    ]


@given(
    spans=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=8),
    wanted=st.integers(1, 10),
    max_tokens=st.integers(1, 120),
)
def test_no_turn_is_ever_cut(
    new_rig: Any, spans: list[tuple[int, bool]], wanted: int, max_tokens: int
) -> None:
    rig = new_rig(token_counter=len, recent_messages=wanted, max_tokens=max_tokens)
    turns = []
    for number, (length, in_turn) in enumerate(spans):
        said = rig.say(*["word"] * length, turn_id=str(number) if in_turn else None)
        turns += [said] if in_turn else [[message] for message in said]

    context = rig.build()

    # A run of whole turns, up to the newest message; the longest such run within both limits.
    counts = [0]
    for turn in reversed(turns):
        counts.append(counts[-1] + len(turn))
    fit = [
        count
        for place, count in enumerate(counts)
        if 8 * count <= max_tokens and (count <= wanted or place == 1)
    ]
    everything = [message for turn in turns for message in turn]
    assert list(context.recent) == everything[len(everything) - max(fit) :]
    assert all(one.reason in LeftOutReason for one in context.left_out)


def test_the_result_of_a_tool_is_never_shown_without_its_call(new_rig: Any) -> None:
    rig = new_rig(recent_messages=4)
    rig.say("", role="assistant", turn_id="t", payload={"tool_calls": [{"id": "1"}]})
    rig.say(*(f"chat {number}" for number in range(9)))
    rig.say("22 °C", role="tool", turn_id="t", payload={"tool_call_id": "1"})

    assert rig.build().recent[0].role == "assistant"
    assert len(rig.build().recent) == 11, "the newest turn is read to its beginning"
    rig.say("thanks", *(f"chat {number}" for number in range(2)))
    assert [message.content for message in rig.build().recent] == ["thanks", "chat 0", "chat 1"]
