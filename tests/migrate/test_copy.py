"""``copy`` and ``verify``: what arrives, what is reported, and what happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ialstore import (
    ConfigurationError,
    ConflictError,
    ConversationStore,
    IndexSpec,
    InvalidInputError,
    PartialWriteError,
    UnavailableError,
    UnsupportedOperationError,
    VectorIndex,
)
from ialstore.events import OperationEvent
from ialstore.migrate import CopyOptions, Tally, copy, verify
from ialstore.migrate.verify import UserReport
from ialstore.testing.clock import START, ManualClock
from ialstore.wrappers.namespace import NamespaceConversationStore, NamespaceOptions
from ialstore_backends.faiss import FaissVectorIndex
from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from tests.migrate.stores import (
    SPEC,
    Coarse,
    Doing,
    Weak,
    everything,
    held,
    message,
    messages,
    record,
    records,
    vectors_held,
)

Store = MemoryConversationStore
EXACTLY = CopyOptions(delete_extra=True)


@pytest.fixture
def source() -> ConversationStore:
    return Store()


@pytest.fixture
def target() -> ConversationStore:
    return Store()


def only(store: ConversationStore, target: ConversationStore, **options: Any) -> UserReport:
    """Copy the one user that there is."""
    (report,) = copy(store, target, CopyOptions(**options)).users
    return report


# -- what arrives --------------------------------------------------------------------------------

STORES: dict[str, Callable[[Path], ConversationStore]] = {
    "memory": lambda _: Store(),
    "sqlite": lambda folder: SqliteConversationStore(folder / "messages.db"),
    "namespace": lambda _: NamespaceConversationStore(Store(), NamespaceOptions("n")),
}
INDEXES: dict[str, Callable[[Path], VectorIndex]] = {
    "memory": lambda _: MemoryVectorIndex(SPEC),
    "sqlite": lambda folder: SqliteVectorIndex(folder / "vectors.db", SPEC),
    "faiss": lambda folder: FaissVectorIndex(folder / "faiss", SPEC),
}


@pytest.mark.parametrize("into", STORES)
@pytest.mark.parametrize("out_of", STORES)
def test_every_field_of_a_message_arrives_on_any_store(
    out_of: str, into: str, tmp_path: Path
) -> None:
    for side in ("from", "to"):
        (tmp_path / side).mkdir()
    with STORES[out_of](tmp_path / "from") as source, STORES[into](tmp_path / "to") as target:
        for user in ("u#1", "\u00fc/2"):
            source.append(*everything(user))
        report = copy(source, target)
        assert report.same
        for user in ("u#1", "\u00fc/2"):
            assert held(target, user) == held(source, user)
            assert list(target.sessions(user)) == list(source.sessions(user))
            assert list(target.summaries(user)) == list(source.summaries(user))


@pytest.mark.parametrize("into", INDEXES)
@pytest.mark.parametrize("out_of", INDEXES)
def test_every_field_of_a_record_arrives_on_any_index(
    out_of: str, into: str, tmp_path: Path
) -> None:
    for side in ("from", "to"):
        (tmp_path / side).mkdir()
    with INDEXES[out_of](tmp_path / "from") as source, INDEXES[into](tmp_path / "to") as target:
        source.upsert("u", records(3))
        source.upsert("v", [record(1, "v", text=None, expires_at=START + timedelta(days=999))])
        report = copy(source, target)
        assert report.same
        assert report.total("stored") == 4
        for user in ("u", "v"):
            assert vectors_held(target, user) == vectors_held(source, user)


def test_more_than_a_page_and_a_batch_arrives(source: Store, target: Store) -> None:
    source.bulk_load([*messages(1201), *messages(99, "v")])
    big = message(2000, content="x" * 1_000_000)
    source.append(big, *(replace(message(2000 + n), content=big.content) for n in range(1, 4)))
    source.append(*(replace(message(2010 + n), content=big.content) for n in range(3)))
    report = copy(source, target)
    assert report.same
    assert report.total("stored") == 1201 + 99 + 7
    assert [one.source.count for one in report.users] == [1208, 99]
    assert held(target) == held(source)


def test_many_vectors_arrive() -> None:
    source, target = MemoryVectorIndex(SPEC), MemoryVectorIndex(SPEC)
    source.upsert("u", records(250))
    assert copy(source, target).users[0].stored == 250
    assert vectors_held(target) == vectors_held(source)


def test_copying_again_writes_nothing_and_finds_the_same_hashes(
    source: Store, target: Store
) -> None:
    source.append(*messages(10))
    first = only(source, target)
    writes: list[str] = []
    target.subscribe(lambda event: writes.append(event.operation))
    again = only(source, target)
    assert again == replace(first, stored=0)
    assert again.source == again.target
    assert set(writes) == {"history", "users"}


def test_the_hash_does_not_depend_on_who_computes_it_but_on_every_field(target: Store) -> None:
    whole = everything("u")
    target.append(*whole)
    (report,) = verify(target, Store()).users
    changes: list[dict[str, Any]] = [
        {"content": "x"},
        {"summary": "other"},
        {"tokens": 99},
        {"expires_at": None},
        {"metadata": {}},
        {"payload": {"a": {"deep": ["\u2028"]}, "b": [1, 1.0, None, True]}},  # the order of keys
        {"payload": {"b": [1, 1, None, True], "a": {"deep": ["\u2028"]}}},
    ]
    for change in changes:
        other = Store()
        other.append(replace(whole[0], **change), *whole[1:])
        (differing,) = verify(target, other).users
        assert differing.different == 1, change
        assert differing.source == report.source
        assert differing.target.count == report.source.count
        assert differing.target.hash != report.source.hash, change
    assert report.target == Tally()


def test_many_differences_are_counted_without_a_second_look(source: Store, target: Store) -> None:
    source.bulk_load(messages(1150))
    events: list[OperationEvent] = []
    source.subscribe(events.append)
    assert verify(source, target).users[0].missing == 1150
    assert sum(one.items or 0 for one in events if one.operation == "get") == 1000


# -- which part is copied ------------------------------------------------------------------------


def test_what_is_new_changed_or_gone_is_seen_by_the_next_copy(source: Store, target: Store) -> None:
    source.append(*messages(6))
    copy(source, target)
    source.append(message(7))
    source.replace(message(1, summary="now"))
    source.replace(message(2, content="other"))
    source.delete("u", [message(3).id])

    seen = verify(source, target).users[0]
    assert (seen.missing, seen.different, seen.extra, seen.stored) == (1, 2, 1, 0)
    assert set(seen.examples) == {message(n).id for n in (1, 2, 3, 7)}

    report = only(source, target)
    assert (report.stored, report.replaced, report.deleted, report.extra) == (1, 2, 0, 1)
    assert not report.same
    assert report.examples == (message(3).id,)
    assert held(target) == sorted([*held(source), message(3)], key=lambda one: one.id)

    report = only(source, target, delete_extra=True)
    assert (report.stored, report.replaced, report.deleted, report.extra) == (0, 0, 1, 0)
    assert report.same
    assert held(target) == held(source)


def test_a_user_that_was_erased_is_named_and_removed_when_asked(
    source: Store, target: Store
) -> None:
    source.append(*messages(2))
    copy(source, target)
    source.erase("u")
    assert not copy(source, target).same
    assert copy(source, target, EXACTLY).same
    assert held(target) == []


def test_only_the_users_named_are_looked_at(source: Store, target: Store) -> None:
    source.append(message(1, "a"))
    source.append(message(1, "b"))
    target.append(message(1, "c"))
    report = copy(source, target, CopyOptions(users=("a", "nobody", "a"), delete_extra=True))
    assert [one.user_id for one in report.users] == ["a", "nobody"]
    assert set(target.users()) == {"a", "c"}


def test_a_source_that_lists_no_users_needs_them_named(target: Store) -> None:
    class Silent(Store):
        @property
        def capabilities(self) -> Any:
            return replace(super().capabilities, users=False)

    source = Silent()
    source.append(message(1))
    with pytest.raises(UnsupportedOperationError):
        copy(source, target)
    assert copy(source, target, CopyOptions(users=("u",))).same
    assert copy(target, source).same


@pytest.mark.parametrize("delete_extra", [False, True])
def test_what_is_older_than_since_is_left_alone_on_both_sides(
    source: Store, target: Store, *, delete_extra: bool
) -> None:
    source.append(*messages(10))
    target.append(message(-1, "u"), message(20))
    report = only(source, target, since=START + timedelta(seconds=7), delete_extra=delete_extra)
    assert report.source.count == report.stored == 3
    assert message(-1) in held(target)
    assert (message(20) in held(target)) is not delete_extra


def test_since_holds_for_vectors_by_the_time_of_their_messages() -> None:
    source, target = MemoryVectorIndex(SPEC), MemoryVectorIndex(SPEC)
    source.upsert("u", records(5))
    copy(source, target, CopyOptions(since=START + timedelta(seconds=3)))
    assert list(target.ids("u")) == [record(3).id, record(4).id]


# -- vectors -------------------------------------------------------------------------------------


def test_vectors_may_differ_by_what_the_indexes_allow_and_no_more() -> None:
    exact, coarse = MemoryVectorIndex(SPEC), Coarse(SPEC)
    exact.upsert("u", records(20))
    report = copy(exact, coarse)
    assert report.same
    assert report.users[0].source == report.users[0].target
    assert vectors_held(coarse) != vectors_held(exact)
    assert copy(coarse, exact).same  # both directions, and rounded once only
    coarse.error = 1e-4
    assert verify(exact, coarse).users[0].different == 20


def test_an_index_that_rounds_more_than_it_says_is_reported_as_different() -> None:
    exact, coarse = MemoryVectorIndex(SPEC), Coarse(SPEC)
    coarse.error = 1e-4
    exact.upsert("u", records(3))
    report = copy(exact, coarse)
    assert report.users[0].different == 3
    assert report.users[0].missing == 0


def test_a_vector_that_changed_is_replaced_and_one_that_is_gone_removed() -> None:
    source, target = MemoryVectorIndex(SPEC), MemoryVectorIndex(SPEC)
    source.upsert("u", records(4))
    copy(source, target)
    source.upsert("u", [record(1, vector=record(9).vector), record(2, text="other")])
    source.delete("u", [record(3).id])
    (report,) = copy(source, target, EXACTLY).users
    assert (report.stored, report.replaced, report.deleted) == (0, 2, 1)
    assert vectors_held(target) == vectors_held(source)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", [IndexSpec(9), IndexSpec(8, "dot"), IndexSpec(8, model="b")], ids=str
)
def test_indexes_made_for_other_vectors_are_refused_before_anything_is_written(
    spec: IndexSpec, tmp_path: Path
) -> None:
    """V1: by what they were opened for, and by what is stored."""
    source = MemoryVectorIndex(replace(SPEC, model="a"))
    source.upsert("u", records(1))
    with pytest.raises(ConfigurationError, match="the source holds"):
        copy(source, MemoryVectorIndex(spec))
    with SqliteVectorIndex(tmp_path / "v.db", spec) as made:
        made.setup()
    with SqliteVectorIndex(tmp_path / "v.db", source.spec) as target:
        for act in (copy, verify):
            with pytest.raises(ConfigurationError, match="the index was made for"):
                act(source, target)


def test_what_cant_be_copied_is_refused(source: Store) -> None:
    with pytest.raises(InvalidInputError, match="a conversation store can't be copied to a vector"):
        copy(source, MemoryVectorIndex(SPEC))
    with pytest.raises(InvalidInputError, match="the same store"):
        copy(source, source)
    with pytest.raises(InvalidInputError):
        CopyOptions(users=("",))
    with pytest.raises(InvalidInputError):
        CopyOptions(since=START.replace(tzinfo=None))
    with pytest.raises(ConfigurationError, match="no strongly consistent reads"):
        copy(Weak(), source, EXACTLY)


# -- time ----------------------------------------------------------------------------------------


def test_the_time_to_live_goes_on_where_it_was() -> None:
    """C2: an expiry is a moment, on either side."""
    clock = ManualClock()
    source, target = Store(clock=clock), Store(clock=clock)
    source.append(*messages(2), message(3, expires_at=START + timedelta(seconds=10)))
    assert only(source, target).stored == 3
    clock.advance(20)
    assert only(source, target).source.count == 2
    assert len(held(target)) == 2


@pytest.mark.parametrize("act", [copy, verify])
@pytest.mark.parametrize("side", ["source", "target"])
def test_what_expires_between_the_readings_is_no_difference(side: str, act: Any) -> None:
    clock = ManualClock()
    source, target = Doing(Store(clock=clock)), Doing(Store(clock=clock))
    brief = message(1, expires_at=START + timedelta(seconds=10))
    reading = source if side == "source" else target
    reading.append(brief, message(2))
    source.append(message(2))
    target.append(message(2))
    reading.after_read = lambda: clock.advance(20)
    report = act(source, target)
    assert report.same
    assert report.users[0].source.count == 1


def test_a_default_expiry_of_the_source_stays_and_one_of_the_target_is_given() -> None:
    clock = ManualClock(START + timedelta(days=5))
    source, target = Store(clock=clock, retention_days=10), Store(clock=clock, retention_days=4)
    source.append(*messages(2))
    assert only(source, target).same
    assert [one.expires_at for one in held(target)] == [one.expires_at for one in held(source)]

    forever = Store(clock=clock)
    late = message(3 * 86_400)
    forever.append(message(0), late)
    report = only(forever, target, users=("u",), delete_extra=True)
    assert report.expired == 1
    assert report.same
    assert [one.id for one in held(target)] == [late.id]
    assert held(target)[0].expires_at == START + timedelta(days=7)


# -- meanwhile -----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["after_read", "before_append"])
def test_what_is_deleted_in_the_source_meanwhile_is_not_brought_back(when: str) -> None:
    source, target = Doing(Store()), Doing(Store())
    source.append(*messages(3))

    def delete() -> None:  # as a program does that writes to both
        for side in (source, target):
            side.delete("u", [message(1).id])

    setattr(source if when == "after_read" else target, when, delete)
    report = only(source, target)
    assert report.same
    assert held(target) == [message(0), message(2)]


@pytest.mark.parametrize("is_there", [False, True])
def test_what_is_replaced_in_the_source_meanwhile_arrives_as_it_is_now(*, is_there: bool) -> None:
    source, target = Doing(Store()), Doing(Store())
    source.append(*messages(3))
    if is_there:
        target.append(message(1))
    newer = message(1, content="newer")

    def change() -> None:
        for side in (source, target):
            side.replace(newer)

    source.after_read = change
    assert only(source, target).same
    assert held(target)[1] == newer


def test_what_comes_to_the_source_after_it_was_deleted_there_is_not_deleted() -> None:
    source, target = Store(), Doing(Store())
    target.append(*messages(1))
    source.append(message(1))

    class Late(Doing):
        def _delete(self, op: Any, user_id: str, ids: Any) -> int:
            source.append(message(0))
            return super()._delete(op, user_id, ids)

    assert copy(source, Late(target), EXACTLY).same
    assert held(target) == messages(2)


def test_what_was_written_between_the_two_readings_is_no_difference() -> None:
    source, target = Doing(Store()), Store()
    source.append(*messages(2))
    copy(source, target)

    def write() -> None:
        for side in (source, target):
            side.append(message(5))
            side.replace(message(0, content="newer"))
            side.delete("u", [message(1).id])

    source.after_read = write
    report = verify(source, target)
    assert report.same
    assert report.users[0].source == report.users[0].target
    source.after_read = lambda: [side.append(message(6)) for side in (source, target)]
    report = copy(source, target, EXACTLY)
    assert report.same
    assert report.total("deleted") == 0


def test_a_source_that_never_rests_is_reported_and_not_waited_for(target: Store) -> None:
    class Restless(Store):
        turn = 0

        def _history(self, op: Any, query: Any) -> Any:
            self.turn += 1
            for one in self._by_user:
                self._replace_quietly(one)
            return super()._history(op, query)

        def _replace_quietly(self, user: str) -> None:
            self.bulk_load([message(0, user, content=f"turn {self.turn}")])

        def _get(self, op: Any, user_id: str, ids: Any) -> Any:
            self.turn += 1
            self._replace_quietly(user_id)
            return super()._get(op, user_id, ids)

    source = Restless()
    source.append(*messages(2))
    report = only(source, target)
    assert report.different == 1
    assert report.replaced == 2


def test_a_read_that_may_be_behind_deletes_nothing() -> None:
    class Behind(Weak):
        def _get(self, op: Any, user_id: str, ids: Any) -> Any:
            return {}

    source, target = Behind(), Store()
    source.append(*messages(2))
    assert only(source, target).same
    assert held(target) == messages(2)


def test_a_target_that_shows_writes_late_is_waited_for(source: Store) -> None:
    waits: list[float] = []
    source.append(*messages(2))
    assert copy(source, Weak(), sleep=waits.append).same
    assert waits == [1.0]


def test_others_that_copy_at_the_same_time_double_nothing(source: Store) -> None:
    target = Doing(Store())
    source.append(*messages(5))
    target.before_append = lambda: copy(source, target.inner)
    report = only(source, target)
    assert report.same
    assert report.stored == 0
    assert held(target) == messages(5)


@pytest.mark.parametrize("error", [ConflictError, PartialWriteError])
def test_what_got_another_content_meanwhile_is_replaced(source: Store, error: type) -> None:
    class InParts(Doing):
        def _append(self, op: Any, user_id: str, entries: Any) -> Any:
            try:
                return super()._append(op, user_id, entries)
            except ConflictError as conflict:
                if error is ConflictError:
                    raise
                raise PartialWriteError(conflicting=conflict.ids) from conflict

    target = InParts(Store())
    source.append(*messages(3))
    target.before_append = lambda: target.inner.append(message(1, content="other"))
    assert only(source, target).same
    assert held(target) == messages(3)


def test_a_failing_target_ends_the_copy_with_its_error(source: Store) -> None:
    class Failing(Doing):
        def _append(self, op: Any, user_id: str, entries: Any) -> Any:
            raise PartialWriteError(not_stored=[one.message.id for one in entries])

    source.append(*messages(1))
    with pytest.raises(PartialWriteError):
        copy(source, Failing(Store()))

    class Gone(Doing):
        def _history(self, op: Any, query: Any) -> Any:
            raise UnavailableError("gone")

    with pytest.raises(UnavailableError):
        copy(source, Gone(Store()))


def test_a_session_that_the_id_cant_tell_from_another_stays_and_is_named(
    source: Store, target: Store
) -> None:
    """S4: the two have the same first byte of their hashes."""
    from ialstore.ids import session_hash

    twin = next(f"t{n}" for n in range(10_000) if session_hash(f"t{n}") == session_hash("s1"))
    source.append(message(1))
    target.append(replace(message(1), session_id=twin))
    report = only(source, target)
    assert report.different == 1
    assert held(target)[0].session_id == twin


def test_progress_counts_what_is_looked_at(source: Store, target: Store) -> None:
    source.append(*messages(3))
    calls: list[tuple[int, int | None]] = []
    copy(source, target, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, None) for number in range(1, 7)]  # copied, then compared


# -- any two states ------------------------------------------------------------------------------

STATES = st.dictionaries(
    st.integers(0, 12), st.sampled_from(["a", "b"]), max_size=10
)  # content by number


def filled(state: dict[int, str]) -> Store:
    store = Store()
    store.bulk_load([message(number, content=text) for number, text in state.items()])
    return store


@settings(deadline=None)
@given(ours=STATES, theirs=STATES)
def test_from_any_state_a_copy_ends_with_what_the_source_holds(
    ours: dict[int, str], theirs: dict[int, str]
) -> None:
    source, target = filled(ours), filled(theirs)
    seen = verify(source, target)
    assert seen.total("missing") == len(ours.keys() - theirs.keys())
    assert seen.total("extra") == len(theirs.keys() - ours.keys())
    assert seen.total("different") == sum(ours[n] != theirs[n] for n in ours.keys() & theirs.keys())
    report = copy(source, target)
    assert report.total("extra") == seen.total("extra")
    both = {one.id: one for one in (*held(filled(theirs)), *held(source))}
    assert held(target) == [both[one] for one in sorted(both)]
    assert copy(source, target, EXACTLY).same
    assert held(target) == held(source)
