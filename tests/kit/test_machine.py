"""The machine's own judgements, whatever its examples happen to meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ialstore import AppendResult, Message, PartialWriteError
from ialstore.capabilities import ConversationCapabilities
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore.testing.clock import ManualClock
from ialstore.testing.conversation.machine import ConversationMachine
from ialstore.testing.conversation.model import ConversationModel
from ialstore.testing.strategies import MACHINE_START
from ialstore_backends.memory import MemoryConversationStore


class InPart(MemoryConversationStore):
    """Stores what is new of a batch with a conflict; ``told`` changes what it says of that."""

    told: dict[str, Any]

    @property
    def capabilities(self) -> ConversationCapabilities:
        return replace(super().capabilities, atomic_append=False)

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        there = self._get(op, user_id, [entry.message.id for entry in entries])
        new = [entry for entry in entries if entry.message.id not in there]
        conflicting = [
            entry.message.id
            for entry in entries
            if (old := there.get(entry.message.id)) and old.content_hash != entry.content_hash
        ]
        if not new or not conflicting:
            return super()._append(op, user_id, entries)
        stored = super()._append(op, user_id, new).stored
        told: dict[str, Any] = {"stored": stored, "conflicting": conflicting, **self.told}
        raise PartialWriteError("stored in part", **told)


def say(session: str, key: str, content: str) -> Message:
    return Message.new(
        user_id="u",
        session_id=session,
        role="user",
        content=content,
        created_at=MACHINE_START,
        key=key,
    )


def machine(**told: Any) -> ConversationMachine:
    made = ConversationMachine()
    made.clock = ManualClock(MACHINE_START)
    made.model = ConversationModel(made.clock)
    made.store = made.other = InPart(clock=made.clock)
    made.store.told = told
    return made


OLD, NEW = say("s1", "old", "there"), say("s1", "new", "new")


def test_what_a_batch_with_a_conflict_stored_is_in_the_model() -> None:
    one = machine()
    one.append_all([OLD])
    one.append_all([NEW, replace(OLD, content="other")])
    assert {message.id for message in one.model.live("u")} == {OLD.id, NEW.id}


@pytest.mark.parametrize(
    "told", [{"stored": []}, {"conflicting": []}, {"unknown": [NEW.id], "stored": []}], ids=str
)
def test_what_is_told_falsely_of_a_batch_is_noticed(told: dict[str, Any]) -> None:
    one = machine(**told)
    one.append_all([OLD])
    with pytest.raises(AssertionError):
        one.append_all([NEW, replace(OLD, content="other")])


def test_a_message_of_a_session_with_the_same_hash_is_not_replaced() -> None:
    one = machine()
    one.append_all([OLD])
    one.known = [replace(OLD, session_id="261")]
    one.replace((0, {"content": "moved"}))
    assert one.model.live("u") == [OLD]


def test_a_message_of_a_session_with_the_same_hash_is_not_loaded() -> None:
    one = machine()
    one.append_all([OLD])
    one.known = [replace(OLD, session_id="261")]
    one.bulk_load([(0, {"content": "moved"})])
    assert one.model.live("u") == [OLD]


def test_an_old_cursor_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """S6: the machine keeps the cursors of the walks that it made."""
    one = machine()
    monkeypatch.setattr(one, "own", str)  # the users of this module are no example's
    one.walks = []
    one.append_all([OLD, NEW])
    drawn: Any = SimpleNamespace(draw=lambda _: one.walks[0] if one.walks else 1)
    one.history("u", None, None, None, drawn, newest_first=False)
    ((_, behind, _),) = one.walks
    assert behind == min(OLD.id, NEW.id)
    one.go_on(drawn, 10)
    one.store.delete("u", [max(OLD.id, NEW.id)])
    with pytest.raises(AssertionError):
        one.go_on(drawn, 10)
