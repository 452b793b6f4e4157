"""Wrappers forward everything, and only the outermost layer validates and emits the event."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ialstore import (
    ConversationStore,
    IalStoreError,
    IndexSpec,
    Message,
    StoreNotReadyError,
    UnavailableError,
    VectorIndex,
    VectorRecord,
)
from ialstore.events import OperationEvent
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper, Wrapper
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

NOT_HOOKS = {
    # The frame around every call, the same in every layer.
    "_begin",
    "_compare_spec",
    "_is_heard",
    "_tell",
    "_emit",
    "_end",
    "_forked",
    "_named",
    "_operation",
    "_reading",
    "_require_users",
    "_require_writable",
    "_translating",
    # Each layer's own: it is told of a fork itself, and knows its own driver's errors.
    "_after_fork",
    "_translate",
    # Done once, by the outermost layer.
    "_batches",
    "_bind",
    "_encode",
    "_encode_batch",
}


def defined(kind: type[Any]) -> set[str]:
    """Return the names of the methods that a class and its bases of ours define."""
    return {
        name
        for one in kind.__mro__
        if one.__module__.startswith("ialstore")
        for name, member in vars(one).items()
        if inspect.isfunction(member) and name.startswith("_") and not name.startswith("__")
    }


@pytest.mark.parametrize(
    ("contract", "wrapper"),
    [(ConversationStore, ConversationWrapper), (VectorIndex, VectorWrapper)],
)
def test_every_hook_is_forwarded(contract: type[Any], wrapper: type[Any]) -> None:
    own = set(vars(wrapper)) | set(vars(Wrapper))
    assert defined(contract) - NOT_HOOKS - own == set()


@pytest.mark.parametrize(
    ("contract", "wrapper"),
    [(ConversationStore, ConversationWrapper), (VectorIndex, VectorWrapper)],
)
def test_what_a_store_says_of_itself_is_forwarded(contract: type[Any], wrapper: type[Any]) -> None:
    own = set(vars(wrapper)) | set(vars(Wrapper))
    says = {name for name in dir(contract) if isinstance(getattr(contract, name), property)}
    handed_to_the_constructor = {"retention_seconds", "settings", "spec"}
    assert says - own - handed_to_the_constructor == set()


def message(content: str = "x") -> Message:
    return Message.new(user_id="u", session_id="s", role="user", content=content)


def test_one_event_is_emitted_and_heard_at_every_layer() -> None:
    """W1: by the outermost layer, once."""
    inner = MemoryConversationStore()
    middle = ConversationWrapper(inner)
    outer = ConversationWrapper(middle)
    heard: list[OperationEvent] = []
    for layer in (inner, middle, outer):
        layer.subscribe(heard.append)
    outer.append(message())
    assert len(heard) == 3
    assert heard[0] is heard[1] is heard[2]
    assert heard[0].backend == "memory"


def test_an_event_is_made_only_where_somebody_listens() -> None:
    inner = MemoryConversationStore()
    outer = ConversationWrapper(ConversationWrapper(inner))
    heard: list[OperationEvent] = []
    outer.append(message())
    end = inner.subscribe(heard.append)
    outer.history("u")
    end()
    outer.history("u")
    assert [one.operation for one in heard] == ["history"]


def test_closing_a_wrapper_closes_what_is_inside() -> None:
    inner = MemoryConversationStore()
    ConversationWrapper(ConversationWrapper(inner)).close()
    with pytest.raises(StoreNotReadyError):
        inner.append(message())


class DriverError(Exception):
    """What a driver raises."""


class Failing(MemoryConversationStore):
    """A store whose driver fails."""

    def _append(self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]) -> Any:
        raise DriverError

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return UnavailableError("down") if isinstance(error, DriverError) else None


def test_driver_errors_are_translated_at_the_border_of_their_own_layer() -> None:
    caught: list[Exception] = []

    class Watching(ConversationWrapper):
        def _append(self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]) -> Any:
            try:
                return super()._append(op, user_id, entries)
            except Exception as error:
                caught.append(error)
                raise

    with pytest.raises(UnavailableError) as raised:
        Watching(Failing()).append(message())
    assert caught == [raised.value]
    assert isinstance(raised.value.__cause__, DriverError)
    assert (raised.value.backend, raised.value.operation) == ("memory", "append")


def test_an_error_that_no_layer_knows_passes_unchanged() -> None:
    class Wrong(MemoryConversationStore):
        def _users(self, op: Operation, limit: int, after: str | None) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ConversationWrapper(Wrong()).users()


def test_a_wrapped_store_gives_the_same_answers_in_every_call() -> None:
    plain, wrapped = MemoryConversationStore(), ConversationWrapper(MemoryConversationStore())
    messages = [message(str(number)) for number in range(5)]
    answers: list[list[Any]] = []
    for store in (plain, wrapped):
        store.setup()
        answers.append(
            [
                store.append(*messages),
                store.replace(messages[0]),
                store.get("u", [messages[1].id]),
                store.history("u", limit=2),
                store.summaries("u", limit=2),
                store.sessions("u"),
                store.users(),
                store.delete("u", [messages[0].id]),
                store.optimize("u"),
                store.delete_session("u", "s"),
                store.bulk_load(messages),
                store.erase("u"),
                store.check(),
                store.held_bytes,
                store.capabilities,
            ]
        )
    assert answers[0] == answers[1]


def test_a_wrapped_index_gives_the_same_answers_in_every_call() -> None:
    spec = IndexSpec(2)
    plain = MemoryVectorIndex(spec)
    wrapped = VectorWrapper(MemoryVectorIndex(spec))
    one = message()
    record = VectorRecord(one.id, np.array([1.0, 0.0]), "s", "user", "x")
    answers: list[list[Any]] = []
    for index in (plain, wrapped):
        index.setup()
        index.upsert("u", [record])
        answers.append(
            [
                index.search("u", [1, 1]),
                [found.id for found in index.get("u", [one.id])],
                index.count("u"),
                index.ids("u"),
                index.users(),
                index.optimize("u"),
                index.delete("u", [one.id]),
                index.bulk_load([("u", record)]),
                index.delete_session("u", "s"),
                index.erase("u"),
                index.check(),
                index.spec,
                index.capabilities,
            ]
        )
        index.close()
    assert answers[0] == answers[1]
