"""The budget: what it accepts, and how its tokens are shared."""

from __future__ import annotations

from typing import Any

import pytest

from ialstore import InvalidInputError, LimitExceededError
from ialstore.context import ContextBudget, LeftOutReason

MARKS = 4  # tokens of a message besides its texts


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 0},
        {"max_tokens": 10_000_001},
        {"max_tokens": 2000.0},
        {"max_tokens": True},
        {"recent_share": -0.1},
        {"recent_share": 1.1},
        {"recent_share": float("nan")},
        {"recent_share": True},
        {"recent_share": "0.5"},
        {"recent_messages": -1},
        {"recent_messages": 501},
        {"memories": -1},
        {"memories": 101},
        {"min_score": float("inf")},
        {"min_score": "high"},
    ],
)
def test_a_budget_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(fields))):
        ContextBudget(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_tokens": 1, "recent_share": 0, "recent_messages": 0, "memories": 0},
        {"max_tokens": 10_000_000, "recent_share": 1, "recent_messages": 500, "memories": 100},
        {"min_score": -1},
    ],
)
def test_a_budget_in_range_is_accepted(fields: dict[str, Any]) -> None:
    ContextBudget(**fields)


def talk(rig: Any) -> None:
    """Let a user say in an old session what the new one, of other words, may recall."""
    rig.say(*[f"apple {i:03d}" for i in range(20)], session_id="old")
    rig.say(*[f"other {i:03d}" for i in range(20)])


def test_recent_messages_take_their_share_where_there_are_memories(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=1000, recent_share=0.1, memories=20)
    talk(rig)

    context = rig.build("apple")

    # A message is 9 characters and 4 marks: 7 of them fit into the share of 100 tokens.
    assert len(context.recent) == 7
    assert len(context.memories) > 5
    assert context.tokens > 900


def test_recent_messages_take_all_where_there_is_nothing_to_recall(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=200, recent_share=0.1)
    talk(rig)

    assert len(rig.build("").recent) == 200 // 13


def test_what_memories_leave_goes_to_recent_messages(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=500, recent_share=0.1, memories=1)
    talk(rig)

    context = rig.build("apple")

    assert len(context.memories) == 1
    assert len(context.recent) > 10


def test_what_recent_messages_leave_goes_to_memories(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=1000, recent_share=0.9, memories=20)
    rig.say(*[f"apple {i:03d}" for i in range(20)], session_id="old")
    rig.say("other")

    assert rig.build("apple").tokens > 900


def test_a_memory_that_more_recent_messages_repeat_makes_room_for_another(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=400, recent_share=0.01, memories=2)
    old = rig.say("apple pie long ago", "apple tart long ago", session_id="old")
    new = rig.say("apple", "apple apple")

    context = rig.build("apple")

    assert list(context.recent) == new
    assert {memory.id for memory in context.memories} <= {message.id for message in old}


def test_the_newest_turn_goes_before_memories_whatever_its_share(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=400, recent_share=0)
    rig.say("apple", session_id="old")
    rig.say("x" * 390)

    context = rig.build("apple")

    assert len(context.recent) == 1
    assert not context.memories
    assert [one.reason for one in context.left_out] == [LeftOutReason.BUDGET]


def test_a_newest_turn_that_can_never_fit_leaves_all_to_memories(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=400)
    (old,) = rig.say("apple", session_id="old")
    (new,) = rig.say("x" * 400)

    context = rig.build("apple")

    assert not context.recent
    assert [memory.id for memory in context.memories] == [old.id]
    assert [(one.id, one.reason) for one in context.left_out] == [(new.id, "budget")]


def test_a_block_that_counts_more_than_its_lines_loses_the_poorest_memories(new_rig: Any) -> None:
    rig = new_rig(token_counter=lambda text: len(text) ** 2 // 1000, max_tokens=130)
    best, *_ = rig.say("cat cat", *(f"cat and {i}" for i in range(5)), session_id="old")

    context = rig.build("cat")

    assert context.memories[0].id == best.id
    assert 0 < len(context.memories) < 6
    assert len(context.memories) + len(context.left_out) == 6
    assert context.tokens <= 130


def test_max_tokens_of_a_call_replace_those_of_the_budget(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=1)
    rig.say("apple")

    assert rig.build().max_tokens == 1
    assert not rig.build().recent
    context = rig.build(max_tokens=MARKS + 5)
    assert len(context.recent) == 1
    assert context.tokens == context.max_tokens == 9


@pytest.mark.parametrize("max_tokens", [0, -1, 10_000_001, 1.0, "2000"])
def test_max_tokens_of_a_call_are_checked(rig: Any, max_tokens: Any) -> None:
    with pytest.raises(InvalidInputError, match="max_tokens"):
        rig.build(max_tokens=max_tokens)


def test_too_many_tokens_are_past_a_limit(rig: Any) -> None:
    with pytest.raises(LimitExceededError):
        rig.build(max_tokens=10_000_001)


def test_a_message_counts_as_its_maker_counted_it_where_that_is_more(new_rig: Any) -> None:
    rig = new_rig(token_counter=len)
    rig.say("x", tokens=700)
    rig.say("y", tokens=500, name="Ann")

    assert rig.build().tokens == 700 + 500 + len("nameAnn") + 2 * MARKS


def test_a_false_number_of_tokens_does_not_break_the_budget(new_rig: Any) -> None:
    rig = new_rig(token_counter=len)
    rig.say("x" * 5000, tokens=0)

    assert rig.build(max_tokens=1000).recent == ()


def test_payload_and_name_count_as_sent(new_rig: Any) -> None:
    rig = new_rig(token_counter=len)
    rig.say("hi", name="Ann", payload={"tool_calls": [{"id": 1}]})

    assert rig.build().tokens == MARKS + 2 + len("nameAnn") + len('tool_calls[{"id":1}]')


def test_a_list_as_payload_counts_instead_of_the_content(new_rig: Any) -> None:
    rig = new_rig(token_counter=len)
    rig.say("hello", payload=[{"type": "text"}])

    assert rig.build().tokens == MARKS + len('[{"type":"text"}]')
