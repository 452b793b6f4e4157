"""The conversation stores that come with the library, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import pytest

from ialstore import (
    AppendResult,
    ConflictError,
    ConversationStore,
    InvalidInputError,
    Message,
    OptimizeReport,
    PartialWriteError,
    UnavailableError,
)
from ialstore.component import Progress, StoreSettings
from ialstore.events import OperationEvent
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore.testing.clock import START
from ialstore.testing.conversation.base import MakeStore, Settle
from ialstore.testing.conversation.machine import run_machine
from ialstore.testing.differential import DifferentialSuite, DisagreementError, SideBySide
from ialstore.testing.profiles import PROFILES
from ialstore.wrappers.retry import RetryConversationStore
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore, SqliteOptions


def retrying(**settings: Unpack[StoreSettings]) -> ConversationStore:
    return RetryConversationStore(MemoryConversationStore(**settings))


class TestExactStores(DifferentialSuite):
    @pytest.fixture
    def make_stores(self, tmp_path: Path) -> Mapping[str, MakeStore]:
        fast = SqliteOptions(synchronous="normal")
        return {
            "memory": MemoryConversationStore,
            "sqlite": partial(SqliteConversationStore, tmp_path / "c.db", options=fast),
            "retry": retrying,
        }


class Lenient(MemoryConversationStore):
    """Lists sessions as one that promises less about them."""

    CAPABILITIES = replace(
        MemoryConversationStore.CAPABILITIES,
        exact_sessions=False,
        activity_precision=timedelta(minutes=10),
        strong_reads=False,
    )


class TestStoresThatPromiseLess(DifferentialSuite):
    @pytest.fixture
    def make_stores(self) -> Mapping[str, MakeStore]:
        return {"lenient": Lenient, "memory": MemoryConversationStore}

    @pytest.fixture
    def settles(self) -> Mapping[str, Settle]:
        return {"lenient": lambda _: None}


class ReadOnly(MemoryConversationStore):
    CAPABILITIES = replace(MemoryConversationStore.CAPABILITIES, writable=False)


class InParts(MemoryConversationStore):
    CAPABILITIES = replace(MemoryConversationStore.CAPABILITIES, atomic_append=False)


class ForgetsSummaries(MemoryConversationStore):
    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        brief = [replace(one, message=replace(one.message, summary=None)) for one in entries]
        return super()._append(op, user_id, brief)


class CountsAll(MemoryConversationStore):
    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        super()._delete(op, user_id, ids)
        return len(ids)


class Leaks(MemoryConversationStore):
    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        raise OSError("the driver's own")


class EndsEarly(MemoryConversationStore):
    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        return Rows(super()._history(op, query).items)


class DropsOne(MemoryConversationStore):
    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        return Rows(rows.items[1:], rows.more)


class GoesOn(MemoryConversationStore):
    """Has always one more page, which is allowed when it is empty."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        return Rows(super()._history(op, query).items, more=True)


class NamesNoConflict(MemoryConversationStore):
    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except ConflictError:
            raise ConflictError("which is not said") from None


class Fails(MemoryConversationStore):
    """Says that it stored nothing, or that it does not know."""

    def __init__(self, *, known: bool) -> None:
        super().__init__()
        self.known = known

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        ids = [one.message.id for one in entries]
        lost: dict[str, Any] = {"not_stored": ids} if self.known else {"unknown": ids}
        raise PartialWriteError("stored in part", **lost)


class DoesNothing(MemoryConversationStore):
    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        raise UnavailableError("not today")


def message(content: str = "hello", **given: Any) -> Message:
    fields: dict[str, Any] = {"user_id": "u1", "session_id": "s1", "role": "user"}
    fields |= {"created_at": START, "key": content, "content": content, "summary": "s"}
    return Message.new(**(fields | given))


def beside(wrong: ConversationStore) -> SideBySide:
    return SideBySide({"memory": MemoryConversationStore(), "wrong": wrong})


CALLS: dict[str, Callable[[SideBySide], object]] = {
    "append": lambda all_: all_.append(message(), replace(message(), content="other")),
    "conflict": lambda all_: all_.append(replace(message(), content="other")),
    "get": lambda all_: all_.get("u1", [message().id]),
    "history": lambda all_: all_.history("u1", limit=1),
    "delete": lambda all_: all_.delete("u1", [message().id, message("unknown").id]),
    "optimize": lambda all_: all_.optimize("u1"),
}


@pytest.mark.parametrize(
    ("wrong", "call", "told"),
    [
        (ForgetsSummaries, "get", r"get of 'u1': .* disagree: at place 0: summary 's' and None"),
        (ForgetsSummaries, "history", r"history of 'u1', {'limit': 1}: .* summary 's' and None"),
        (CountsAll, "delete", r"delete of 'u1': memory and wrong disagree: 1 and 2"),
        (Leaks, "get", r"get of 'u1': memory and wrong disagree: \[.*\] and \('OSError',\)"),
        (EndsEarly, "history", r"history of 'u1', .*: wrong ends where memory goes on"),
        (DropsOne, "history", r"history of 'u1', .*: memory and wrong disagree: 1 and 0 items"),
        (NamesNoConflict, "conflict", r"append: memory and wrong disagree: \('ConflictError', 'ap"),
        (DoesNothing, "optimize", r"optimize of 'u1': .* disagree: None and \('UnavailableError'"),
    ],
)
def test_the_call_and_the_store_that_disagree_are_named(
    wrong: type[MemoryConversationStore], call: str, told: str
) -> None:
    with beside(wrong()) as all_:
        assert len(all_.append(message(), message("two"), message("three")).stored) == 3
        with pytest.raises(DisagreementError, match=told):
            CALLS[call](all_)


def test_the_place_of_the_first_difference_is_told() -> None:
    later = message("two", created_at=START + timedelta(seconds=1))
    with beside(ForgetsSummaries()) as all_:
        all_.append(message(summary=None), later)
        with pytest.raises(DisagreementError, match="at place 1: summary 's' and None"):
            all_.get("u1", [message().id, later.id])


def test_what_an_error_says_of_each_id_is_compared() -> None:
    all_ = SideBySide({"sure": Fails(known=True), "unsure": Fails(known=False)})
    with pytest.raises(DisagreementError, match="append: sure and unsure disagree:"):
        all_.append(message())


def test_an_error_that_all_raise_is_raised() -> None:
    all_ = beside(MemoryConversationStore())
    all_.append(message())
    with pytest.raises(ConflictError):
        all_.append(replace(message(), content="other"))
    with pytest.raises(InvalidInputError):
        all_.sessions("u1", cursor="x")


def test_one_more_page_is_allowed_when_it_is_empty() -> None:
    all_ = beside(GoesOn())
    all_.append(message(), message("two"))
    assert all_.history("u1").cursor is None
    assert len(SideBySide(dict(reversed([*all_.stores.items()]))).history("u1")) == 2


def test_a_machine_finds_the_store_that_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = replace(PROFILES["default"], shrink=False, fixed=True)  # others miss it, rarely
    monkeypatch.setitem(PROFILES, "default", fixed)

    def make(**settings: Unpack[StoreSettings]) -> Any:
        stores = {"memory": MemoryConversationStore, "wrong": ForgetsSummaries}
        return SideBySide({name: one(**settings) for name, one in stores.items()})

    with pytest.raises(DisagreementError, match=r"memory and wrong disagree: .*summary"):
        run_machine(make)


def test_stores_side_by_side_agree_on_what_a_failed_batch_leaves() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"capabilities\.atomic_append"):
        beside(InParts())


def test_it_looks_like_a_store() -> None:
    with beside(MemoryConversationStore()) as all_:
        assert all_.backend == "memory beside wrong"
        heard: list[OperationEvent] = []
        all_.subscribe(heard.append)
        all_.setup()
        assert all_.check() == []
        all_.append(message(), message("two", session_id="s2"))
        all_.append(message(user_id="u2"))
        assert [one.operation for one in heard] == ["setup", "check", "append", "append"]
        assert set(all_.users(limit=1)) == {"u1", "u2"}
        assert all_.delete_session("u1", "s2") == 1
        assert all_.erase("u1").messages == 1
        assert list(all_.sessions("u1")) == []
        assert not all_.replace(message())
        assert all_.bulk_load(iter([message()])).written == 1


def test_sessions_that_none_lists_exactly_are_those_of_the_first() -> None:
    all_ = SideBySide({"one": Lenient(), "other": Lenient()})
    all_.append(message(), message("two", session_id="s2"))
    assert len(all_.sessions("u1", limit=1)) == 1


def test_the_suite_writes() -> None:
    suite = DifferentialSuite()
    with pytest.raises(pytest.skip.Exception, match=r"capabilities\.writable"):
        suite.test_all_answer_alike(lambda: beside(ReadOnly()))
