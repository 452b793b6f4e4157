"""``dual``: writes that reach both stores, and what is known when they don't."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ialstore import (
    ConfigurationError,
    ConversationStore,
    IndexSpec,
    InvalidInputError,
    Outcome,
    PartialWriteError,
    UnavailableError,
    open_index,
    open_store,
)
from ialstore.events import OperationEvent
from ialstore.exporters.amounts import amounts
from ialstore.migrate import CopyOptions, copy, verify
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper
from ialstore.wrappers.dual import DualConversationStore, DualOptions, DualVectorIndex
from ialstore.wrappers.readonly import ReadonlyConversationStore
from ialstore.wrappers.retry import RetryConversationStore, RetryOptions
from ialstore_backends.faiss import FaissVectorIndex
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from tests.migrate.stores import SPEC, held, message, messages, record, records, vectors_held

RAISE = DualOptions(url="memory:")
RECORD = DualOptions(url="memory:", on_error="record")


class Failing(ConversationWrapper):
    """A store whose every hook fails while it is down."""

    down: Exception | None = None
    partly: tuple[str, ...] = ()

    def _around(self, op: Any, call: Callable[[], Any]) -> Any:
        if self.down is not None:
            raise self.down
        return super()._around(op, call)

    def _append(self, op: Any, user_id: str, entries: Any) -> Any:
        if not self.partly:
            return super()._append(op, user_id, entries)
        stored = [one for one in entries if one.message.id in self.partly]
        missing = [one.message.id for one in entries if one not in stored]
        if stored:
            super()._append(op, user_id, stored)
        self.partly = ()
        raise PartialWriteError(
            stored=[one.message.id for one in stored], not_stored=missing, retryable=True
        )


class FailingIndex(VectorWrapper):
    """An index whose every hook fails while it is down."""

    down: Exception | None = None
    partly: tuple[str, ...] = ()

    def _around(self, op: Any, call: Callable[[], Any]) -> Any:
        if self.down is not None:
            raise self.down
        return super()._around(op, call)

    def _upsert(self, op: Any, user_id: str, records: Any) -> None:
        if self.partly:
            stored = [one for one in records if one.id in self.partly]
            if stored:
                super()._upsert(op, user_id, stored)
            raise PartialWriteError(stored=[one.id for one in stored])
        super()._upsert(op, user_id, records)


def dual(options: DualOptions = RAISE) -> tuple[DualConversationStore, Failing, Failing]:
    """Return a store that writes twice, and the two."""
    first, second = Failing(MemoryConversationStore()), Failing(MemoryConversationStore())
    return DualConversationStore(first, options, second=second), first, second


def dual_index(options: DualOptions = RAISE) -> tuple[DualVectorIndex, FailingIndex, FailingIndex]:
    """Return an index that writes twice, and the two."""
    first, second = (FailingIndex(MemoryVectorIndex(SPEC)) for _ in range(2))
    return DualVectorIndex(first, options, second=second), first, second


WRITES: dict[str, Callable[[ConversationStore], object]] = {
    "append": lambda store: store.append(*messages(3)),
    "replace": lambda store: store.replace(message(1, content="newer")),
    "delete": lambda store: store.delete("u", [message(0).id]),
    "delete_session": lambda store: store.delete_session("u", "s1"),
    "bulk_load": lambda store: store.bulk_load(messages(4)),
    "erase": lambda store: store.erase("u"),
}
INDEX_WRITES: dict[str, Callable[[Any], object]] = {
    "upsert": lambda index: index.upsert("u", records(3)),
    "delete": lambda index: index.delete("u", [record(0).id]),
    "delete_session": lambda index: index.delete_session("u", "s1"),
    "bulk_load": lambda index: index.bulk_load([("u", record(4))]),
    "erase": lambda index: index.erase("u"),
}


def test_every_write_reaches_both() -> None:
    store, first, second = dual()
    for write in WRITES.values():
        write(store)
        assert verify(first, second).same
    index, one, other = dual_index()
    for write in INDEX_WRITES.values():
        write(index)
        assert verify(one, other).same
        index.optimize("u")
    assert store.missed == index.missed == ()
    assert store.optimize("u").removed == 0


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_the_second_store_misses_can_be_repeated(name: str) -> None:
    store, first, second = dual()
    store.append(*messages(2))
    second.down = UnavailableError("down", retryable=True)
    with pytest.raises(UnavailableError, match="and not the second") as caught:
        WRITES[name](store)
    assert caught.value.outcome in (Outcome.UNKNOWN, Outcome.PARTIAL)
    assert store.missed == ("u",)
    second.down = None
    WRITES[name](store)
    assert copy(first, second, CopyOptions(users=store.missed, delete_extra=True)).same
    if name not in ("append", "bulk_load", "replace", "erase"):
        return  # what is gone from the first is not deleted twice
    assert verify(first, second).same


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_the_second_store_misses_is_recorded_and_copied(name: str) -> None:
    store, first, second = dual(RECORD)
    store.append(*messages(2))
    events: list[OperationEvent] = []
    store.subscribe(events.append)
    second.down = UnavailableError("down")
    WRITES[name](store)
    assert [amounts(event)["dual_missed"] for event in events] == [1]
    second.down = None
    assert not verify(first, second).same
    assert store.missed == ("u",)
    assert store.check() == [
        "the second store (memory): users may be missing writes: ialstore copy"
    ]
    assert copy(first, second, CopyOptions(users=store.missed, delete_extra=True)).same


@pytest.mark.parametrize("name", INDEX_WRITES)
@pytest.mark.parametrize("options", [RAISE, RECORD], ids=["raise", "record"])
def test_vectors_that_the_second_index_misses_are_recorded(name: str, options: DualOptions) -> None:
    index, first, second = dual_index(options)
    index.upsert("u", records(2))
    second.down = UnavailableError("down")
    if options is RAISE:
        with pytest.raises(UnavailableError, match="and not the second"):
            INDEX_WRITES[name](index)
    else:
        INDEX_WRITES[name](index)
        assert index.optimize("u").removed == 0
    second.down = None
    assert index.missed == ("u",)
    assert copy(first, second, CopyOptions(users=index.missed, delete_extra=True)).same
    assert vectors_held(second) == vectors_held(first)


def test_an_erase_that_the_second_store_misses_says_so() -> None:
    store, _, second = dual(RECORD)
    second.down = UnavailableError("down")
    assert store.erase("u").out_of_reach == (
        "the second store (memory) failed: erase the user there",
    )


def test_a_retry_in_front_brings_both_together() -> None:
    """E4: what was stored in part is not sent again, and reaches the second store all the same."""
    for raising in (RAISE, RECORD):
        store, first, second = dual(raising)
        first.partly = (message(0).id,)
        retrying = RetryConversationStore(store, RetryOptions(first_wait_seconds=1e-9))
        assert len(retrying.append(*messages(3)).stored) == 3
        assert held(first) == held(second) == messages(3)


def test_what_the_first_store_may_have_written_is_recorded() -> None:
    store, first, second = dual()
    first.down = UnavailableError("lost", outcome=Outcome.UNKNOWN)
    with pytest.raises(UnavailableError, match="lost"):
        store.append(*messages(1))
    assert store.missed == ("u",)
    assert held(second) == []
    other, first, second = dual()
    first.down = UnavailableError("refused")
    with pytest.raises(UnavailableError, match="refused"):
        other.append(*messages(1))
    assert other.missed == ()


def test_a_partial_write_goes_on_to_the_second_store_or_is_recorded() -> None:
    store, first, second = dual()
    first.partly, second.down = (message(1).id,), UnavailableError("down")
    with pytest.raises(PartialWriteError):
        store.append(*messages(2))
    assert store.missed == ("u",)
    first.partly = ("none",)
    with pytest.raises(PartialWriteError):
        store.append(*messages(2))
    index, one, other = dual_index()
    index.upsert("u", records(1))
    one.partly = (record(1).id,)
    with pytest.raises(PartialWriteError):
        index.upsert("u", records(3))
    assert vectors_held(one) == vectors_held(other)
    one.partly = ("none",)
    with pytest.raises(PartialWriteError):
        index.upsert("u", records(3))


def test_a_message_that_the_second_store_never_had_is_recorded_when_it_is_replaced() -> None:
    store, first, second = dual()
    first.append(message(1))
    assert store.replace(message(1, content="newer"))
    assert not store.replace(message(2))
    assert store.missed == ("u",)
    assert held(second) == []


def test_users_are_recorded_in_a_file_until_it_is_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "missed"
    store, _, second = dual(DualOptions(url="memory:", on_error="record", record=str(path)))
    second.down = UnavailableError("down")
    for user in ("\u00fc\n", "a", "a"):
        store.append(message(1, user), message(2, user))
    assert [json.loads(line) for line in path.read_text().splitlines()] == ["\u00fc\n", "a"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.rename(tmp_path / "repairing")
    store.append(message(3, "a"))
    assert path.read_text() == '"a"\n'
    assert store.missed == ("a",)


def test_a_file_that_cant_take_note_fails_the_write(tmp_path: Path) -> None:
    options = DualOptions(url="memory:", on_error="record", record=str(tmp_path / "no" / "file"))
    store, _, second = dual(options)
    second.down = UnavailableError("down")
    with pytest.raises(UnavailableError, match="can't take note of a missed write") as caught:
        store.append(message(1))
    assert caught.value.outcome is Outcome.UNKNOWN


def test_it_can_do_what_both_can(tmp_path: Path) -> None:
    store, _, _ = dual()
    assert store.capabilities.atomic_append is False
    assert dual(RECORD)[0].capabilities.atomic_append is True
    second = ReadonlyConversationStore(MemoryConversationStore())
    readonly = DualConversationStore(MemoryConversationStore(), RAISE, second=second)
    assert not readonly.capabilities.writable
    with FaissVectorIndex(tmp_path / "f", SPEC) as faiss:
        index = DualVectorIndex(MemoryVectorIndex(SPEC), RAISE, second=faiss)
        assert index.capabilities.metrics == faiss.capabilities.metrics
        index.upsert("u", records(2))
        assert index.held_bytes >= faiss.held_bytes
    assert store.held_bytes == 0


def test_a_forked_child_waits_for_no_lock_of_its_parent() -> None:
    for made in (dual(), dual_index()):
        made[0]._second._lock.acquire()  # noqa: SLF001 - as another thread may at the fork
        made[0]._after_fork()  # noqa: SLF001 - what the fork calls
        assert made[0].missed == ()


def test_checks_and_setup_are_of_both() -> None:
    store, _, second = dual()
    store.setup()
    assert store.check() == []
    index, _, other = dual_index()
    index.setup()
    second.down = other.down = UnavailableError("down")
    said = ["the second store (memory): it can't be checked: UnavailableError"]
    assert store.check() == index.check() == said
    with pytest.raises(UnavailableError):
        store.setup()


def test_an_index_made_for_other_vectors_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/v.db"
    with open_index(url, IndexSpec(9)) as index:
        index.setup()
    for on_error in ("raise", "record"):
        options = DualOptions(url=url, on_error=on_error)
        with DualVectorIndex(MemoryVectorIndex(SPEC), options) as index:
            with pytest.raises(ConfigurationError, match="the index was made for"):
                index.upsert("u", records(1))
            assert index.inner.count("u") == (on_error == "record")


@pytest.mark.parametrize("options", [RAISE, RECORD], ids=["raise", "record"])
def test_a_second_index_that_is_down_at_first_keeps_nobody_from_reading(
    options: DualOptions,
) -> None:
    index, _, second = dual_index(options)
    second.down = UnavailableError("down")
    assert index.count("u") == 0


def test_every_answer_is_that_of_the_first_store() -> None:
    store, first, second = dual()
    first.append(*messages(3))
    second.append(message(9))
    assert held(store) == messages(3)
    assert store.append(*messages(4)).stored == (message(3).id,)
    assert store.delete("u", [message(2).id, message(9).id]) == 1
    index, one, other = dual_index()
    one.upsert("u", records(3))
    other.upsert("u", [record(9)])
    assert index.count("u") == 3
    assert index.delete("u", [record(2).id, record(9).id]) == 1


def test_it_is_configured_with_the_url_of_the_second_store(tmp_path: Path) -> None:
    config: Any = {
        "conversation": {
            "url": f"sqlite:///{tmp_path}/1.db",
            "wrap": ["retry", {"use": "dual", "url": f"sqlite:///{tmp_path}/2.db"}],
        }
    }
    with open_store(config) as store:
        store.append(message(1))
    with open_store(f"sqlite:///{tmp_path}/2.db") as second:
        assert held(second) == [message(1)]
    with pytest.raises(InvalidInputError, match="on_error"):
        DualOptions(url="memory:", on_error="ignore")  # type: ignore[arg-type]  # the test
    assert "memory" not in repr(RAISE)
