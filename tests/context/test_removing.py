"""Deleting and erasing: vectors first, then messages, and nothing is left to be recalled."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from ialstore import InvalidInputError, Outcome, UnavailableError
from ialstore.context import ContextEngine, DeleteReport


def fail() -> None:
    raise UnavailableError("down")


def test_deleted_messages_are_gone_from_both_sides(any_rig: Any) -> None:
    first, second, third = any_rig.say("a cat", "a dog", "...")

    report = any_rig.engine.delete("u", [first.id, third.id])

    assert report == DeleteReport(messages=2, vectors=1)
    assert any_rig.vector_ids() == [second.id]
    assert list(any_rig.store.history("u")) == [second]
    assert any_rig.engine.delete("u", [first.id]) == DeleteReport()


def test_a_deleted_session_is_gone_from_both_sides(any_rig: Any) -> None:
    any_rig.say("a cat", "...", session_id="old")
    (kept,) = any_rig.say("a dog")

    assert any_rig.engine.delete_session("u", "old") == DeleteReport(messages=2, vectors=1)
    assert any_rig.vector_ids() == [kept.id]
    assert list(any_rig.store.history("u")) == [kept]


def test_an_erased_user_is_gone_from_both_sides(any_rig: Any) -> None:
    any_rig.say("a cat", "...")
    (other,) = any_rig.say("a dog", user_id="v")

    report = any_rig.engine.erase("u")

    assert (report.messages, report.vectors, report.remaining) == (2, 1, 0)
    assert any_rig.vector_ids() == []
    assert not any_rig.store.history("u").items
    assert any_rig.vector_ids("v") == [other.id]


CALLS = ["delete", "delete_session", "erase"]


def remove(rig: Any, call: str) -> Any:
    """Remove all that session s of user u holds."""
    if call == "delete":
        return rig.engine.delete("u", [message.id for message in rig.store.history("u")])
    arguments = ("u", "s") if call == "delete_session" else ("u",)
    return getattr(rig.engine, call)(*arguments)


@pytest.mark.parametrize("call", CALLS)
def test_a_failure_of_the_index_keeps_the_messages_and_says_so(rig: Any, call: str) -> None:
    rig.say("a cat")
    rig.index.before[call] = fail

    with pytest.raises(UnavailableError, match="down; no message is deleted") as caught:
        remove(rig, call)

    assert caught.value.outcome is Outcome.PARTIAL
    assert len(rig.store.history("u")) == 1
    remove(rig, call)
    assert not rig.store.history("u").items


@pytest.mark.parametrize("call", CALLS)
def test_a_failure_of_the_store_leaves_nothing_to_recall_and_says_so(rig: Any, call: str) -> None:
    rig.say("a cat")
    rig.store.before[call] = fail

    with pytest.raises(UnavailableError, match="down; the vectors are deleted, the messages may"):
        remove(rig, call)

    assert rig.vector_ids() == []
    remove(rig, call)
    assert not rig.store.history("u").items


@pytest.mark.parametrize("ids", ["abc", ["abc"], [7]])
def test_ids_are_checked_before_anything_is_deleted(rig: Any, ids: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        rig.engine.delete("u", ids)
    assert "repeating" not in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
def test_removing_forgets_no_other_user(rig: Any, call: str) -> None:
    rig.say("a cat")
    rig.say("a cat", user_id="v")

    remove(rig, call)

    assert len(rig.vector_ids("v")) == 1


def test_what_is_removed_is_no_longer_live(rig: Any) -> None:
    def figure() -> float:
        value: float = rig.engine.get_performance_metrics()["memory_bytes_per_session"]
        return value

    rig.say("a cat")
    rig.say("a cat", session_id="old")
    rig.say("a cat", user_id="v")

    rig.engine.delete_session("u", "old")
    assert figure() > 0
    rig.engine.erase("v")
    assert figure() > 0
    rig.engine.delete_session("u", "never seen")
    rig.engine.erase("u")
    assert figure() == 0


# -- beside writers -----------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["delete_session", "erase"])
def test_an_append_that_a_removal_overtakes_leaves_no_vector(rig: Any, call: str) -> None:
    """The removal begins and ends between the message's storing and its vector's."""
    rig.store.after["append"] = lambda: remove(rig, call)

    rig.engine.append(rig.message("a cat"))

    assert not rig.store.history("u").items
    assert rig.vector_ids() == []


@pytest.mark.parametrize("call", ["delete_session", "erase"])
def test_an_append_within_a_removal_leaves_no_vector(rig: Any, call: str) -> None:
    """The append begins and ends between the removal of vectors and that of messages."""
    rig.store.before[call] = lambda: rig.say("a cat")

    remove(rig, call)

    assert not rig.store.history("u").items
    assert rig.vector_ids() == []


@pytest.mark.parametrize("call", ["delete_session", "erase"])
def test_an_append_that_ends_within_a_removal_leaves_no_vector(rig: Any, call: str) -> None:
    """The message is stored before the removal begins, its vector before messages are removed."""
    stored, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        stored.set()
        go_on.wait(20)

    def finish() -> None:
        go_on.set()
        writer.join()

    rig.store.after["append"] = pause
    writer = threading.Thread(target=rig.say, args=("a cat",))
    writer.start()
    stored.wait(20)
    rig.store.before[call] = finish

    remove(rig, call)

    assert not rig.store.history("u").items
    assert rig.vector_ids() == []


def test_a_removal_spares_what_was_appended_after_it(rig: Any) -> None:
    said: list[Any] = []
    rig.store.after["delete_session"] = lambda: said.extend(rig.say("a cat"))

    remove(rig, "delete_session")

    assert list(rig.store.history("u")) == said
    assert rig.vector_ids() == [said[0].id]


@pytest.mark.parametrize("call", ["delete_session", "erase"])
def test_what_another_process_removes_while_it_is_saved_is_not_recalled(
    rig: Any, call: str
) -> None:
    """The removal begins and ends between the message's storing and its vector's."""
    other = ContextEngine(rig.store, rig.index, rig.engine.embedder)
    arguments = ("u", "s") if call == "delete_session" else ("u",)
    rig.store.after["append"] = lambda: getattr(other, call)(*arguments)

    rig.say("a cat")

    assert rig.vector_ids() == []
    assert rig.build("cat", "another").memories == ()


@pytest.mark.parametrize("call", CALLS)
def test_a_removal_spares_the_vectors_of_what_is_saved_meanwhile(rig: Any, call: str) -> None:
    rig.say("a dog")
    rig.store.before["append"] = lambda: remove(rig, call)

    (new,) = rig.say("a cat")

    assert rig.vector_ids() == [new.id]


@pytest.mark.parametrize("call", CALLS)
def test_what_is_saved_again_right_after_its_removal_has_its_vector(rig: Any, call: str) -> None:
    (old,) = rig.say("a cat")
    rig.store.after[call] = lambda: rig.engine.append(old)

    remove(rig, call)

    assert list(rig.store.history("u")) == [old]
    assert rig.vector_ids() == [old.id]


def test_a_message_replaced_while_it_is_saved_again_is_recalled_as_replaced(rig: Any) -> None:
    (old,) = rig.say("my password is cat")
    rig.index.before["upsert"] = lambda: rig.engine.replace(replace(old, content="cat: redacted"))

    rig.engine.append(old)

    assert [hit.text for hit in rig.index.search("u", rig.engine.embedder.embed_query("cat"))] == [
        "cat: redacted"
    ]


def test_a_failure_to_look_again_says_what_may_remain(rig: Any) -> None:
    rig.store.before["delete_session"] = lambda: rig.say("a cat")
    rig.store.after["delete_session"] = lambda: rig.index.before.update(delete_session=fail)

    with pytest.raises(UnavailableError, match="vectors written meanwhile may remain"):
        remove(rig, "delete_session")

    rig.engine.repair("u")
    assert rig.vector_ids() == []


def test_threads_that_append_and_remove_leave_no_vector_without_message(any_rig: Any) -> None:
    def talk() -> None:
        for i in range(20):
            any_rig.engine.save("u", "s", "user", f"cat {i}")

    def forget() -> None:
        for i in range(20):
            remove(any_rig, CALLS[1 + i % 2])

    threads = [threading.Thread(target=one) for one in [talk] * 8 + [forget] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    live = {message.id for message in any_rig.store.history("u", limit=1000)}
    assert set(any_rig.vector_ids()) <= live
