"""Memories: what a search recalls beside the recent messages."""

from __future__ import annotations

from typing import Any

import pytest

from ialstore import UnavailableError
from ialstore.limits import MAX_TEXT_BYTES
from ialstore.vector_model import VectorRecord


def ids(items: Any) -> list[str]:
    return [item.id for item in items]


def left_out(context: Any) -> dict[str, str]:
    return {one.id: str(one.reason) for one in context.left_out}


def test_messages_of_other_sessions_are_recalled_best_first(any_rig: Any) -> None:
    good, poor = any_rig.say("my cat eats tuna", "the cat sleeps all day long", session_id="old")
    any_rig.say("nothing of the kind", session_id="old")
    any_rig.say("hello")

    context = any_rig.build("what does my cat eat? tuna?")

    assert ids(context.memories)[:2] == [good.id, poor.id]
    first = context.memories[0]
    assert (first.text, first.role, first.session_id) == (good.content, "user", "old")
    assert first.created_at == good.created_at
    assert first.score > context.memories[1].score


def test_older_messages_of_the_same_session_are_recalled(new_rig: Any) -> None:
    rig = new_rig(recent_messages=2)
    cat, _, _ = rig.say("my cat eats tuna", "well", "then")

    assert ids(rig.build("cat").memories)[0] == cat.id


def test_memories_are_of_this_user_only(any_rig: Any) -> None:
    any_rig.say("my cat eats tuna", user_id="v")

    assert any_rig.build("cat").memories == ()


def test_what_is_in_the_window_is_not_recalled_too(any_rig: Any) -> None:
    any_rig.say("cat", "cat and dog", "a cat again")

    context = any_rig.build("cat")

    assert len(context.recent) == 3
    assert context.memories == ()
    assert context.left_out == ()


def test_repeats_in_the_window_cost_no_memory_its_place(new_rig: Any) -> None:
    rig = new_rig(memories=3, recent_messages=5)
    old = rig.say(*(f"cat number {i}" for i in range(3)), session_id="old")
    rig.say(*(f"cat {i}" for i in range(5)))

    assert set(ids(rig.build("cat").memories)) == set(ids(old))


def test_a_text_said_before_is_recalled_once(new_rig: Any) -> None:
    rig = new_rig()
    twice = rig.say("the cat is fine", "the cat is fine", session_id="old")

    context = rig.build("cat")

    assert len(context.memories) == 1
    assert sorted([*ids(context.memories), *left_out(context)]) == ids(twice)
    assert set(left_out(context).values()) == {"repeat"}


def test_a_text_that_is_in_the_window_is_not_recalled_from_elsewhere(rig: Any) -> None:
    (old,) = rig.say("where is the cat?", session_id="old")
    rig.say("where is the cat?")

    context = rig.build("where is the cat?")

    assert context.memories == ()
    assert left_out(context) == {old.id: "repeat"}


def test_only_what_user_and_assistant_said_is_recalled(rig: Any) -> None:
    for role in ("system", "developer", "tool", "event"):
        message = rig.message("a cat", role=role, session_id="old")
        rig.store.append(message)
        vector = rig.embedder.inner.embed(["a cat"])[0]
        rig.index.upsert("u", [VectorRecord(message.id, vector, "old", role, "a cat")])
    said = [*rig.say("a cat", session_id="old"), *rig.say("cat", "assistant", session_id="old")]

    assert set(ids(rig.build("cat").memories)) <= set(ids(said))


@pytest.mark.parametrize("query", ["", " ", "?!", "👍", "\n\u0301"])
def test_a_query_without_words_recalls_nothing_and_searches_nothing(rig: Any, query: str) -> None:
    rig.say("a cat", session_id="old")
    rig.say("hello")

    context = rig.build(query)

    assert context.memories == ()
    assert len(context.recent) == 1
    assert rig.embedder.queries == []
    assert "search" not in rig.index.calls


def test_nothing_is_searched_where_no_memories_are_wanted(new_rig: Any) -> None:
    rig = new_rig(memories=0)
    rig.say("a cat", session_id="old")

    assert rig.build("cat").memories == ()
    assert rig.embedder.queries == []


def test_at_most_the_wanted_number_is_recalled(new_rig: Any) -> None:
    rig = new_rig(memories=2)
    rig.say(*(f"cat {i}" for i in range(9)), session_id="old")

    assert len(rig.build("cat").memories) == 2


def test_a_memory_below_the_least_score_is_left_out_unread(new_rig: Any) -> None:
    rig = new_rig(min_score=0.99)
    (old,) = rig.say("the cat " + "x" * 3000, session_id="old")
    rig.store.calls.clear()

    context = rig.build("cat")

    assert context.memories == ()
    assert left_out(context) == {old.id: "score"}
    assert "get" not in rig.store.calls


def test_a_memory_too_long_for_the_room_leaves_it_to_shorter_ones(new_rig: Any) -> None:
    rig = new_rig(token_counter=len, max_tokens=500)
    (long,) = rig.say("cat " * 100, session_id="old")
    (short,) = rig.say("cat in the house of a friend", session_id="old")

    context = rig.build("cat")

    assert ids(context.memories) == [short.id]
    assert left_out(context) == {long.id: "budget"}


@pytest.mark.parametrize("letter", ["x", "ß", "中", "😀"])
@pytest.mark.parametrize("extra", range(-4, 3))
def test_a_text_longer_than_the_index_keeps_is_read_whole(
    new_rig: Any, letter: str, extra: int
) -> None:
    rig = new_rig(max_tokens=100_000)
    size = len(letter.encode())
    content = "cat " + letter * ((MAX_TEXT_BYTES - 4) // size + extra)
    rig.say(content, session_id="old")

    (memory,) = rig.build("cat").memories
    (record,) = rig.index.get("u", [memory.id])

    assert memory.text == content
    assert content.startswith(record.text)
    assert len(record.text.encode()) + 4 * size > MAX_TEXT_BYTES - 4


def test_a_short_text_costs_no_read_of_the_store(rig: Any) -> None:
    rig.say("a cat " + "x" * 600 + "ß" * 600, session_id="old")
    rig.store.calls.clear()

    assert len(rig.build("cat").memories) == 1
    assert "get" not in rig.store.calls


def test_a_vector_without_text_gets_it_from_the_store(rig: Any) -> None:
    (old,) = rig.say("a cat", session_id="old")
    (record,) = rig.index.get("u", [old.id])
    rig.index.upsert("u", [VectorRecord(old.id, record.vector, "old", "user")])

    assert rig.build("cat").memories[0].text == "a cat"


def test_a_long_text_among_the_recent_messages_is_not_read_again(new_rig: Any) -> None:
    rig = new_rig(max_tokens=1000)
    old, _ = rig.say("cat " + "x" * 3000, "y " * 2500)
    rig.store.calls.clear()

    context = rig.build("cat")

    assert ids(context.memories) == [old.id]
    assert rig.store.calls.count("get") == 0


def test_a_memory_whose_message_is_gone_is_left_out(rig: Any) -> None:
    (old,) = rig.say("cat " + "x" * 3000, session_id="old")
    rig.store.delete("u", [old.id])

    context = rig.build("cat")

    assert context.memories == ()
    assert left_out(context) == {old.id: "gone"}


def test_more_long_texts_than_one_get_takes_are_read(new_rig: Any) -> None:
    rig = new_rig(memories=100, recent_messages=30, max_tokens=10_000_000)
    rig.say(*(f"cat {i} " + "x" * 3000 for i in range(110)), session_id="old")

    assert len(rig.build("cat").memories) == 100


def test_an_expired_message_is_not_recalled(rig: Any) -> None:
    when = rig.clock.now.replace(hour=13)
    rig.say("a cat", session_id="old", expires_at=when)
    assert len(rig.build("cat").memories) == 1

    rig.clock.advance(3600)

    assert rig.build("cat").memories == ()


@pytest.mark.parametrize("part", ["store", "index"])
def test_a_build_fails_whole_when_a_part_fails(rig: Any, part: str) -> None:
    def fail() -> None:
        raise UnavailableError("down")

    rig.say("a cat")
    if part == "store":
        rig.store.before["history"] = fail
    else:
        rig.index.before["search"] = fail

    with pytest.raises(UnavailableError, match="down"):
        rig.build("cat")
    assert len(rig.build("cat").recent) == 1


def test_a_failing_embedder_is_unavailable_and_tells_no_content(rig: Any) -> None:
    def fail() -> None:
        raise RuntimeError("cannot embed: secret words")

    rig.embedder.instead = fail
    with pytest.raises(UnavailableError, match="embedder '' raised RuntimeError") as caught:
        rig.build("secret words")

    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.retryable


def test_a_query_is_embedded_as_far_as_the_embedder_reads(rig: Any) -> None:
    rig.embedder.max_characters = 5
    rig.say("0123456789")
    rig.build("abcdefghij")

    assert rig.embedder.texts == ["01234"]
    assert rig.embedder.queries == ["abcde"]
