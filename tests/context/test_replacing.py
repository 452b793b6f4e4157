"""Replacing a message: a search never finds what the store no longer holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ialstore import ConflictError, InvalidInputError, Message, UnavailableError


def failing(error: Exception) -> Any:
    def fail() -> None:
        raise error

    return fail


def session_byte(session_id: str) -> int:
    """Return what a message id holds of its session."""
    return hashlib.sha256(session_id.encode()).digest()[0]


def found(rig: Any, message: Message) -> str | None:
    """Return the text that the index keeps of a message."""
    records = rig.index.get("u", [message.id])
    return records[0].text if records else None


def test_a_replaced_text_is_found_by_its_new_words_only(any_rig: Any) -> None:
    (message,) = any_rig.say("my cat eats tuna", session_id="old")

    assert any_rig.engine.replace(replace(message, content="my dog eats beef"))

    assert any_rig.store.get("u", [message.id])[0].content == "my dog eats beef"
    assert [memory.text for memory in any_rig.build("dog").memories] == ["my dog eats beef"]


def test_replacing_an_absent_message_stores_nothing(any_rig: Any) -> None:
    message = any_rig.message("hello")

    assert not any_rig.engine.replace(message)
    assert any_rig.vector_ids() == []
    assert not any_rig.store.history("u").items


def test_a_text_without_words_has_no_vector_any_more(rig: Any) -> None:
    (message,) = rig.say("hello")

    rig.engine.replace(replace(message, content="..."))
    assert rig.vector_ids() == []

    rig.engine.replace(replace(message, content="hello again"))
    assert found(rig, message) == "hello again"


@pytest.mark.parametrize("fields", [{"summary": "short"}, {"tokens": 3}, {"metadata": {"k": 1}}])
def test_a_change_beside_the_text_embeds_nothing(rig: Any, fields: dict[str, Any]) -> None:
    (message,) = rig.say("hello")
    rig.embedder.texts.clear()

    assert rig.engine.replace(replace(message, **fields))

    assert rig.embedder.texts == []
    assert rig.vector_ids() == [message.id]
    assert "delete" not in rig.index.calls


def test_a_change_of_the_speaker_is_embedded(rig: Any) -> None:
    (message,) = rig.say("hello")

    rig.engine.replace(replace(message, name="Ann"))

    assert rig.embedder.texts[-1] == "Ann: hello"


def test_a_new_expiry_holds_for_the_vector_too(rig: Any) -> None:
    (message,) = rig.say("hello")
    soon = rig.clock.now + timedelta(hours=1)

    rig.engine.replace(replace(message, expires_at=soon))
    assert rig.index.get("u", [message.id])[0].expires_at == soon

    rig.engine.replace(replace(message, expires_at=None))
    assert rig.index.get("u", [message.id])[0].expires_at is None


def test_retention_is_no_change(new_rig: Any) -> None:
    rig = new_rig(retention_days=30)
    (message,) = rig.say("hello")
    rig.embedder.texts.clear()

    assert rig.engine.replace(replace(message, summary="short"))
    assert rig.embedder.texts == []


def test_a_message_without_words_needs_no_vector_when_replaced(rig: Any) -> None:
    (message,) = rig.say("...")

    assert rig.engine.replace(replace(message, content="!!!"))
    assert rig.embedder.texts == []


@pytest.mark.parametrize("part", ["embedder", "index", "store"])
def test_a_failure_leaves_no_old_text_to_be_found_and_a_retry_completes_it(
    rig: Any, part: str
) -> None:
    (message,) = rig.say("a secret")
    fail = failing(UnavailableError("down"))
    if part == "embedder":
        rig.embedder.instead = fail
    else:
        getattr(rig, part).before["upsert" if part == "index" else "replace"] = fail
    new = replace(message, content="nothing")

    with pytest.raises(UnavailableError, match=r"down; the message may be replaced") as caught:
        rig.engine.replace(new)

    assert caught.value.messages == (new,)
    assert found(rig, message) is None
    assert rig.engine.replace(*caught.value.messages)
    assert found(rig, message) == "nothing"


def test_an_invalid_message_is_refused_before_anything_is_written(rig: Any) -> None:
    (message,) = rig.say("hello")
    rig.store.calls.clear()

    with pytest.raises(InvalidInputError):
        rig.engine.replace(replace(message, content="\ud800"))
    assert rig.store.calls == []
    assert found(rig, message) == "hello"


def test_another_session_with_the_same_hash_is_a_conflict_and_keeps_its_vector(rig: Any) -> None:
    (message,) = rig.say("hello")
    twin = next(name for name in map(str, range(10_000)) if session_byte(name) == session_byte("s"))

    with pytest.raises(ConflictError):
        rig.engine.replace(replace(message, session_id=twin, content="other"))
    assert found(rig, message) == "hello"


def test_of_two_that_replace_at_once_the_vector_is_the_one_of_the_store(rig: Any) -> None:
    (message,) = rig.say("first")
    second, third = replace(message, content="second"), replace(message, content="third")
    rig.store.after["replace"] = lambda: rig.engine.replace(third)

    rig.engine.replace(second)

    assert rig.store.get("u", [message.id])[0].content == "third"
    assert found(rig, message) == "third"


@pytest.mark.parametrize("content", ["...", "third"])
def test_what_changes_while_a_vector_is_stored_is_followed(rig: Any, content: str) -> None:
    (message,) = rig.say("first")
    rig.index.after["upsert"] = lambda: rig.store.replace(replace(message, content=content))

    rig.engine.replace(replace(message, content="second"))

    assert found(rig, message) == (content if content == "third" else None)


def test_a_message_deleted_while_it_is_replaced_leaves_no_vector(rig: Any) -> None:
    (message,) = rig.say("first")
    rig.index.after["upsert"] = lambda: rig.store.delete("u", [message.id])

    rig.engine.replace(replace(message, content="second"))

    assert found(rig, message) is None


def test_an_unchanged_text_that_lacks_its_vector_gets_it(rig: Any) -> None:
    (message,) = rig.say("hello")
    rig.index.delete("u", [message.id])

    rig.engine.replace(message)

    assert found(rig, message) == "hello"


def test_a_message_that_gets_words_while_it_loses_them_keeps_its_vector(rig: Any) -> None:
    (said,) = rig.say("a cat")
    worded = replace(said, content="a dog")

    def overtake() -> None:
        rig.index.before["delete"] = lambda: rig.engine.replace(worded)

    rig.store.after["replace"] = overtake
    rig.engine.replace(replace(said, content="..."))

    assert list(rig.store.history("u")) == [worded]
    assert rig.vector_ids() == [said.id]
