"""What is loaded and reported on the way, through the public methods of both kinds of store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from ialstore import (
    AppendResult,
    ConversationStore,
    IalStoreError,
    IndexSpec,
    LoadReport,
    Message,
    OptimizeReport,
    Outcome,
    PartialWriteError,
    UnavailableError,
    VectorIndex,
    VectorRecord,
)
from ialstore.component import Progress
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore.vector_model import EncodedRecord
from ialstore.wrappers.retry import RetryConversationStore, RetryOptions, RetryVectorIndex
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex

AT_ONCE = RetryOptions(first_wait_seconds=1e-9, longest_wait_seconds=1e-9)
USERS = ("a", "b", "c")


def messages(users: Sequence[str] = USERS) -> list[Message]:
    return [
        Message.new(user_id=user, session_id="s", role="user", content="hello") for user in users
    ]


def vectors(users: Sequence[str] = USERS) -> list[tuple[str, VectorRecord]]:
    return [(one.user_id, VectorRecord(one.id, [1.0], "s", "user")) for one in messages(users)]


class Store(MemoryConversationStore):
    """A store with the default ``_load``, which raises what a test says when ``b`` is written."""

    _load = ConversationStore._load  # noqa: SLF001 - the default

    def __init__(self, *errors: IalStoreError) -> None:
        super().__init__()
        self.errors = list(errors)

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        if user_id == "b" and self.errors:
            raise self.errors.pop(0)
        return super()._append(op, user_id, entries)


class Index(MemoryVectorIndex):
    """As ``Store``, for vectors; an error that is partial names the ids of the call."""

    def __init__(self, *errors: type[IalStoreError]) -> None:
        super().__init__(IndexSpec(1))
        self.errors = list(errors)

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        if user_id == "b" and self.errors:
            kind = self.errors.pop(0)
            if kind is not PartialWriteError:
                raise kind("no answer", retryable=True)
            super()._upsert(op, user_id, records[:1])
            ids = [record.id for record in records]
            raise PartialWriteError(
                "cut off", stored=ids[:1], not_stored=ids[1:2], unknown=ids[2:], retryable=True
            )
        super()._upsert(op, user_id, records)


def counts(index: VectorIndex) -> dict[str, int]:
    return {user: index.count(user) for user in USERS}


def test_what_is_behind_a_part_that_failed_is_not_counted_as_written() -> None:
    """S12, V7: the load goes on with the next batch, and a repetition completes it."""
    index = Index(PartialWriteError)
    given = vectors(["a", "b", "b", "b", "c", "c"])

    assert index.bulk_load(given) == LoadReport(written=2, failed=4)
    assert counts(index) == {"a": 1, "b": 1, "c": 0}
    assert index.bulk_load(given) == LoadReport(written=6)
    assert counts(index) == {"a": 1, "b": 3, "c": 2}


def test_a_retry_sends_what_is_behind_a_part_that_failed() -> None:
    """E4: what is not stored, or not known to be."""
    index = Index(PartialWriteError)
    report = RetryVectorIndex(index, AT_ONCE).bulk_load(vectors(["a", "b", "b", "b", "c"]))
    assert report == LoadReport(written=5)
    assert counts(index) == {"a": 1, "b": 3, "c": 1}


def test_an_id_of_two_users_is_rather_sent_again() -> None:
    """C6: ids belong to a user."""
    index = Index(PartialWriteError)
    (_, record), *_ = vectors(["a"])
    report = index.bulk_load([("a", record), ("b", record), ("c", record)])
    assert report == LoadReport(written=0, failed=3)


def test_an_error_of_one_message_says_that_the_ones_before_it_are_stored() -> None:
    """C4: partly applied."""
    given = messages()
    store = Store(UnavailableError("no answer"))

    with pytest.raises(UnavailableError) as caught:
        store.bulk_load(given)

    assert caught.value.outcome is Outcome.PARTIAL
    assert [len(store.history(user)) for user in USERS] == [1, 0, 0]
    assert store.bulk_load(given) == LoadReport(written=3)


def test_a_first_error_says_that_nothing_is_stored() -> None:
    """C4: not applied."""
    with pytest.raises(UnavailableError) as caught:
        Index(UnavailableError).bulk_load(vectors("b"))
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_an_unknown_message_leaves_those_behind_it_not_stored() -> None:
    """S12, E4."""
    given = messages()
    unknown = PartialWriteError("lost", unknown=[given[1].id], retryable=True)
    assert Store(unknown).bulk_load(given) == LoadReport(written=1, failed=2)

    store = Store(unknown)
    assert RetryConversationStore(store, AT_ONCE).bulk_load(given) == LoadReport(written=3)
    assert [len(store.history(user)) for user in USERS] == [1, 1, 1]


def test_the_error_of_a_batch_has_every_id_once() -> None:
    """E1."""
    raised: list[PartialWriteError] = []

    class Watched(Index):
        def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
            try:
                super()._load(op, records)
            except PartialWriteError as error:
                raised.append(error)
                raise

    given = vectors(["a", "b", "b", "b", "c"])
    Watched(PartialWriteError).bulk_load(given)

    (error,) = raised
    ids = [record.id for _, record in given]
    assert (error.stored, error.not_stored, error.unknown) == (
        (ids[0], ids[1]),
        (ids[2], ids[4]),
        (ids[3],),
    )
    assert isinstance(error.__cause__, PartialWriteError)
    assert (error.retryable, str(error)) == (True, "cut off")


class Tidy(Store):
    """A store that takes every OSError for one of its driver, and reports of its maintenance."""

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return UnavailableError("no answer") if isinstance(error, OSError) else None

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        progress(1, 1)
        return OptimizeReport()


def unreadable() -> Iterator[Message]:
    yield messages()[0]
    raise OSError("the caller's file is gone")


def broken(*_: object) -> None:
    raise OSError("the caller's pipe is broken")


CALLS: Mapping[str, Callable[[ConversationStore], object]] = {
    "an iterable": lambda store: store.bulk_load(unreadable()),
    "progress of a load": lambda store: store.bulk_load(messages(), progress=broken),
    "progress of maintenance": lambda store: store.optimize("a", progress=broken),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("wrap", [lambda store: store, RetryConversationStore])
def test_what_the_caller_s_own_code_raises_is_not_an_error_of_the_driver(
    call: Callable[[ConversationStore], object],
    wrap: Callable[[ConversationStore], ConversationStore],
) -> None:
    with pytest.raises(OSError, match="the caller's"):
        call(wrap(Tidy()))


def test_maintenance_needs_no_listener() -> None:
    assert Tidy().optimize("a") == OptimizeReport()
