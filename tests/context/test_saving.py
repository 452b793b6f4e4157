"""Saving: the store first, then the vector; a retry completes what failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ialstore import (
    ConflictError,
    InvalidInputError,
    Message,
    Outcome,
    ThrottledError,
    UnavailableError,
    UnsupportedOperationError,
)
from ialstore.limits import MAX_TEXT_BYTES


def failing(error: Exception) -> Any:
    def fail() -> None:
        raise error

    return fail


def test_an_appended_message_is_stored_and_found(any_rig: Any) -> None:
    message = any_rig.message("my cat eats tuna", session_id="old")

    result = any_rig.engine.append(message)

    assert result.stored == (message.id,)
    assert any_rig.store.get("u", [message.id]) == [message]
    assert [memory.id for memory in any_rig.build("cat").memories] == [message.id]


def test_saving_returns_the_message_that_is_stored(any_rig: Any) -> None:
    expiry = datetime(2100, 1, 1, tzinfo=UTC)
    fields: dict[str, Any] = {
        "payload": {"a": [1]},
        "name": "Ann",
        "turn_id": "1",
        "source_id": "x-1",
        "summary": "tuna",
        "tokens": 5,
        "metadata": {"k": "v"},
        "expires_at": expiry,
    }

    message = any_rig.engine.save("u", "s", "user", "my cat eats tuna", **fields)

    assert any_rig.store.get("u", [message.id]) == [message]
    assert {name: getattr(message, name) for name in fields} == fields
    assert any_rig.index.get("u", [message.id])[0].expires_at == expiry


def test_an_interaction_is_one_turn_of_two_messages(any_rig: Any) -> None:
    question, answer = any_rig.engine.save_interaction("u", "s", "How are you?", "Fine.")

    assert list(any_rig.store.history("u", newest_first=False)) == [question, answer]
    assert (question.role, answer.role) == ("user", "assistant")
    assert question.turn_id == answer.turn_id == question.id
    assert sorted(any_rig.vector_ids()) == [question.id, answer.id]


@pytest.mark.parametrize(
    ("role", "content", "has_vector"),
    [
        ("user", "hello", True),
        ("assistant", "7", True),
        ("user", "", False),
        ("assistant", "?! 👍", False),
        ("system", "hello", False),
        ("developer", "hello", False),
        ("tool", "hello", False),
        ("event", "hello", False),
    ],
)
def test_only_words_of_user_and_assistant_have_vectors(
    rig: Any, role: str, content: str, *, has_vector: bool
) -> None:
    rig.say(content, role=role)

    assert bool(rig.vector_ids()) is has_vector
    assert bool(rig.embedder.texts) is has_vector


def test_the_speaker_is_embedded_but_not_kept(rig: Any) -> None:
    (message,) = rig.say("hello", name="Ann")

    assert rig.embedder.texts == ["Ann: hello"]
    assert rig.index.get("u", [message.id])[0].text == "hello"


@pytest.mark.parametrize("letter", ["x", "é", "中", "😀"])
def test_the_index_keeps_the_first_2_kib_of_whole_characters(rig: Any, letter: str) -> None:
    (message,) = rig.say("a" + letter * 3000)

    text = rig.index.get("u", [message.id])[0].text
    assert message.content.startswith(text)
    assert MAX_TEXT_BYTES - 4 < len(text.encode()) <= MAX_TEXT_BYTES


def test_appending_nothing_does_nothing(rig: Any) -> None:
    assert rig.engine.append().stored == ()


def test_what_is_no_message_is_refused(rig: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected a Message, not dict"):
        rig.engine.append({"content": "hello"})


@pytest.mark.parametrize("arguments", [("", "s"), ("u", ""), (7, "s"), ("u", None)])
def test_ids_are_checked_before_anything_is_written(rig: Any, arguments: Any) -> None:
    with pytest.raises(InvalidInputError):
        rig.engine.save(*arguments, "user", "hello")
    with pytest.raises(InvalidInputError):
        rig.engine.save_interaction(*arguments, "hello", "hello")
    assert rig.store.calls == []


# -- failures -----------------------------------------------------------------------------------


def test_a_failure_of_the_store_carries_the_messages(rig: Any) -> None:
    rig.store.before["append"] = failing(ThrottledError("slow down", retryable=True))

    with pytest.raises(ThrottledError) as caught:
        rig.engine.save("u", "s", "user", "hello")

    assert str(caught.value) == "slow down"
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert [message.content for message in caught.value.messages] == ["hello"]
    assert rig.embedder.texts == []


@pytest.mark.parametrize("part", ["embedder", "index"])
def test_a_retry_after_a_failure_completes_the_same_messages(rig: Any, part: str) -> None:
    fail = failing(UnavailableError("down", retryable=True))
    if part == "embedder":
        rig.embedder.instead = fail
    else:
        rig.index.before["upsert"] = fail

    with pytest.raises(UnavailableError) as caught:
        rig.engine.save_interaction("u", "s", "a cat", "a dog")
    error = caught.value

    assert str(error) == (
        "down; the messages are stored, but not all of their vectors; "
        "append(*error.messages), repair(user_id) or ialstore repair completes it"
    )
    assert error.outcome is Outcome.PARTIAL
    assert rig.vector_ids() == []

    result = rig.engine.append(*error.messages)

    assert result.duplicates == tuple(message.id for message in error.messages)
    assert rig.vector_ids() == sorted(result.duplicates)
    assert len(rig.store.history("u")) == 2


def test_texts_are_embedded_in_as_few_calls_as_the_store_takes_appends(rig: Any) -> None:
    sizes: list[int] = []
    embed = rig.embedder.embed

    def counted(texts: Any) -> Any:
        sizes.append(len(texts))
        return embed(texts)

    rig.embedder.embed = counted
    messages = [rig.message(f"word {i}") for i in range(250)]
    for start in range(0, 250, 100):
        rig.engine.append(*messages[start : start + 100])
    rig.index.delete("u", [message.id for message in messages])
    rig.engine.repair("u")

    assert sizes == [100, 100, 50] * 2


def test_an_unknown_outcome_stays_unknown(rig: Any) -> None:
    rig.index.before["upsert"] = failing(UnavailableError("lost", outcome=Outcome.UNKNOWN))

    with pytest.raises(UnavailableError) as caught:
        rig.engine.save("u", "s", "user", "hello")
    assert caught.value.outcome is Outcome.UNKNOWN


def test_a_foreign_error_of_an_embedder_is_wrapped_without_content(rig: Any) -> None:
    rig.embedder.instead = failing(KeyError("secret words"))

    with pytest.raises(UnavailableError, match="raised KeyError; the messages are") as caught:
        rig.engine.save("u", "s", "user", "secret words")

    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)
    assert [message.content for message in caught.value.messages] == ["secret words"]


@pytest.mark.parametrize(
    ("vectors", "text"),
    [
        (np.ones((2, 64)), r"shape \(2, 64\), not \(1, 64\)"),
        (np.ones(64), r"shape \(64,\)"),
        (np.zeros((1, 64)), "zero or not finite"),
        (np.full((1, 64), np.nan), "zero or not finite"),
        ([["a"] * 64], "no array of numbers"),
    ],
)
def test_vectors_of_the_wrong_form_are_refused(rig: Any, vectors: Any, text: str) -> None:
    rig.embedder.instead = lambda: vectors

    with pytest.raises(UnavailableError, match=text):
        rig.engine.save("u", "s", "user", "hello")


def test_a_conflict_carries_the_messages_and_changes_nothing(rig: Any) -> None:
    (message,) = rig.say("hello", key="k")
    other = Message.new(
        user_id="u",
        session_id="s",
        role="user",
        content="other",
        created_at=message.created_at,
        key="k",
    )

    with pytest.raises(ConflictError) as caught:
        rig.engine.append(other)

    assert caught.value.messages == (other,)
    assert rig.index.get("u", [message.id])[0].text == "hello"


def test_a_duplicate_keeps_its_first_expiry(rig: Any) -> None:
    soon = rig.clock.now + timedelta(hours=1)
    message = rig.message("a cat", expires_at=soon)
    rig.store.append(message)
    later = Message(**{**fields_of(message), "expires_at": soon + timedelta(days=1)})

    rig.engine.append(later, rig.message("a dog"))

    assert rig.index.get("u", [message.id])[0].expires_at == soon
    assert len(rig.vector_ids()) == 2


def fields_of(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in Message.__slots__}


def test_a_duplicate_that_is_deleted_meanwhile_gets_no_vector(rig: Any) -> None:
    message = rig.message("a cat")
    rig.store.append(message)
    rig.store.after["append"] = lambda: rig.store.delete("u", [message.id])

    assert rig.engine.append(message).duplicates == (message.id,)
    assert rig.vector_ids() == []


def test_a_message_given_twice_has_one_vector(rig: Any) -> None:
    message = rig.message("a cat")

    rig.engine.append(message, message)

    assert rig.vector_ids() == [message.id]
    assert rig.embedder.texts == ["a cat"]


def test_nothing_is_stored_where_the_index_cannot_be_written(rig: Any, monkeypatch: Any) -> None:
    read_only = replace(rig.index.capabilities, writable=False)
    monkeypatch.setattr(type(rig.index), "CAPABILITIES", read_only)

    calls: list[Callable[[], Any]] = [
        lambda: rig.engine.save("u", "s", "user", "hello"),
        lambda: rig.engine.replace(rig.message("hello")),
        lambda: rig.engine.delete("u", []),
        lambda: rig.engine.repair("u"),
    ]
    for call in calls:
        with pytest.raises(UnsupportedOperationError, match=r"vector store .* is read-only"):
            call()
    assert rig.store.calls == []


# -- order --------------------------------------------------------------------------------------


def ahead(rig: Any, **span: float) -> Message:
    """Return a message that a host with a fast clock has stored."""
    when = datetime.now(UTC) + timedelta(**span)
    message: Message = rig.message("from afar", created_at=when)
    return message


@pytest.mark.parametrize("known_by", ["append", "build", "build of all sessions"])
def test_a_reply_never_sorts_before_what_the_engine_knows(rig: Any, known_by: str) -> None:
    question = ahead(rig, minutes=4)
    if known_by == "append":
        rig.engine.append(question)
    else:
        rig.store.append(question)
        rig.build(session_id="s" if known_by == "build" else None)

    reply = rig.engine.save("u", "s", "assistant", "hello")
    turn = rig.engine.save_interaction("u", "s", "hello", "hello")

    assert question.id < reply.id < turn[0].id < turn[1].id


def test_other_sessions_and_users_keep_the_time(rig: Any) -> None:
    question = ahead(rig, minutes=4)
    rig.engine.append(question)

    assert rig.engine.save("u", "other", "user", "hello").id < question.id
    assert rig.engine.save("v", "s", "user", "hello").id < question.id


def test_an_id_too_far_ahead_does_not_block_its_session(rig: Any) -> None:
    rig.engine.append(ahead(rig, hours=1))
    first = rig.engine.save("u", "s", "user", "hello")
    near = ahead(rig, minutes=4)
    rig.engine.append(near)

    assert first.id < near.id < rig.engine.save("u", "s", "user", "hello").id


def test_a_clock_set_back_does_not_block_a_session(rig: Any, monkeypatch: Any) -> None:
    rig.engine.append(ahead(rig, minutes=4))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 10 * 60 * 10**9)

    assert rig.engine.save("u", "s", "user", "hello")


def test_an_older_message_does_not_set_the_order_back(rig: Any) -> None:
    question = ahead(rig, minutes=4)
    rig.engine.append(question)
    rig.engine.append(rig.message("from long ago"))

    assert rig.engine.save("u", "s", "user", "hello").id > question.id


def test_many_threads_save_in_the_order_of_their_own_turns(any_rig: Any) -> None:
    turns: list[Any] = []

    def talk(name: str) -> None:
        for i in range(5):
            turns.append(any_rig.engine.save_interaction("u", name, f"cat {i}", f"dog {i}"))
            any_rig.engine.build_context("cat", "u", name)

    threads = [threading.Thread(target=talk, args=(f"s{i}",)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(turns) == 80
    assert any_rig.index.count("u") == 160
    for i in range(16):
        said = list(any_rig.store.history("u", session_id=f"s{i}", newest_first=False))
        assert [message.content for message in said] == [
            text for j in range(5) for text in (f"cat {j}", f"dog {j}")
        ]
