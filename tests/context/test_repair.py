"""Repair: what the index lacks is added, what it should not hold is removed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ialstore import InvalidInputError, UnavailableError
from ialstore.context import RepairReport
from ialstore.vector_model import VectorRecord


def test_missing_vectors_are_added_and_orphans_removed(any_rig: Any) -> None:
    messages = any_rig.say(*(f"cat {i}" for i in range(10)))
    ids = [message.id for message in messages]
    any_rig.index.delete("u", [ids[0], ids[4], ids[9]])
    any_rig.store.delete("u", [ids[1], ids[5], ids[8]])

    report = any_rig.engine.repair("u")

    assert report == RepairReport(messages=7, added=3, removed=3)
    assert any_rig.vector_ids() == [one for place, one in enumerate(ids) if place not in (1, 5, 8)]
    assert any_rig.engine.repair("u") == RepairReport(messages=7)


def test_messages_that_need_no_vector_get_none(rig: Any) -> None:
    rig.say("...", "")
    for role in ("system", "developer", "tool", "event"):
        rig.say("hello", role=role)

    assert rig.engine.repair("u") == RepairReport(messages=6)
    assert rig.vector_ids() == []


def test_vectors_of_messages_that_need_none_are_removed(rig: Any) -> None:
    wordless, tool = rig.message("..."), rig.message("hello", role="tool")
    rig.store.append(wordless, tool)
    vector = rig.embedder.inner.embed(["x"])[0]
    rig.index.upsert("u", [VectorRecord(m.id, vector, "s", m.role) for m in (wordless, tool)])

    assert rig.engine.repair("u") == RepairReport(messages=2, removed=2)


def test_an_unknown_user_needs_no_repair(any_rig: Any) -> None:
    assert any_rig.engine.repair("u") == RepairReport()


def test_vectors_behind_the_last_message_are_removed(rig: Any) -> None:
    rig.store.delete("u", [message.id for message in rig.say(*"abc")])

    assert rig.engine.repair("u") == RepairReport(removed=3)


def test_more_vectors_than_one_page_holds_are_seen(rig: Any) -> None:
    messages = [rig.message("x") for _ in range(1500)]
    vector = rig.embedder.inner.embed(["x"])[0]
    for some in (messages[:1000], messages[1000:]):
        rig.index.upsert("u", [VectorRecord(m.id, vector, "s", m.role) for m in some])

    assert rig.engine.repair("u") == RepairReport(removed=1500)


def test_only_the_user_is_repaired(rig: Any) -> None:
    (message,) = rig.say("a cat", user_id="v")
    rig.index.delete("v", [message.id])

    rig.engine.repair("u")

    assert rig.vector_ids("v") == []


def test_many_differences_are_mended_in_batches(rig: Any) -> None:
    lacking = [rig.message(f"cat {i}") for i in range(230)]
    for message in lacking:
        rig.store.append(message)
    orphans = rig.say(*(f"dog {i}" for i in range(230)))
    for message in orphans:
        rig.store.delete("u", [message.id])
    seen: list[tuple[int, int | None]] = []

    report = rig.engine.repair("u", progress=lambda *done: seen.append(done))

    assert report == RepairReport(messages=230, added=230, removed=230)
    assert rig.vector_ids() == [message.id for message in lacking]
    assert seen == [(200, None), (230, 230)]


def test_long_texts_are_mended_in_smaller_batches(rig: Any) -> None:
    for i in range(6):
        rig.store.append(rig.message(f"{i} " + "x" * 1_000_000))

    rig.engine.repair("u")

    assert len(rig.vector_ids()) == 6
    assert rig.index.calls.count("upsert") == 2


def test_repair_completes_what_a_failed_repair_began(rig: Any) -> None:
    def fail() -> None:
        raise UnavailableError("down")

    messages = [rig.message(f"cat {i}") for i in range(150)]
    for message in messages:
        rig.store.append(message)
    rig.index.after["upsert"] = lambda: setattr(rig.embedder, "instead", fail)

    with pytest.raises(UnavailableError):
        rig.engine.repair("u")

    assert len(rig.vector_ids()) == 100
    assert rig.engine.repair("u") == RepairReport(messages=150, added=50)


def test_a_message_appended_while_repair_runs_keeps_its_vector(rig: Any) -> None:
    rig.say("a cat")
    said: list[Any] = []
    rig.store.after["history"] = lambda: said.extend(rig.say("a dog"))

    rig.engine.repair("u")

    assert said[0].id in rig.vector_ids()


def test_a_message_deleted_while_repair_runs_gets_no_vector(rig: Any) -> None:
    message = rig.message("a cat")
    rig.store.append(message)
    rig.store.after["history"] = lambda: rig.engine.delete("u", [message.id])

    rig.engine.repair("u")

    assert rig.vector_ids() == []


def test_a_message_replaced_while_repair_runs_gets_the_vector_of_its_new_text(rig: Any) -> None:
    message = rig.message("a cat")
    rig.store.append(message)
    rig.store.after["history"] = lambda: rig.engine.replace(replace(message, content="a dog"))

    rig.engine.repair("u")

    assert rig.index.get("u", [message.id])[0].text == "a dog"


def test_the_user_id_is_checked(rig: Any) -> None:
    with pytest.raises(InvalidInputError):
        rig.engine.repair("")


def test_a_vector_whose_message_came_back_meanwhile_stays(rig: Any) -> None:
    (old,) = rig.say("a cat")
    rig.store.delete("u", [old.id])
    rig.store.before["get"] = lambda: rig.store.append(old)

    assert rig.engine.repair("u").removed == 0
    assert rig.vector_ids() == [old.id]


def test_a_message_that_comes_back_while_its_vector_is_removed_gets_it_back(rig: Any) -> None:
    (old,) = rig.say("a cat")
    rig.store.delete("u", [old.id])
    rig.index.before["delete"] = lambda: rig.engine.append(old)

    assert rig.engine.repair("u").removed == 0
    assert rig.vector_ids() == [old.id]


def test_a_vector_that_another_repair_removes_is_not_counted_twice(rig: Any) -> None:
    (old,) = rig.say("a cat")
    rig.store.delete("u", [old.id])
    rig.index.before["delete"] = lambda: rig.index.delete("u", [old.id])

    assert rig.engine.repair("u").removed == 0
