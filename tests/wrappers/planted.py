"""Wrappers ``dual`` and ``shadow`` that are wrong in one way each, and the tests that find it.

A fault is a class whose docstring says what is wrong; ``found_by`` names the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Final, TypeVar

from ialstore import AppendResult, EraseReport, IalStoreError, Message
from ialstore.capabilities import ConversationCapabilities
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore.vector_model import EncodedRecord, SearchQuery, SearchResult
from ialstore.wrappers import shadow
from ialstore.wrappers.dual import DualConversationStore, DualVectorIndex
from ialstore.wrappers.shadow import ShadowConversationStore, ShadowVectorIndex
from tests.wrappers import test_dual, test_shadow

__all__ = ["FAULTS", "Fault"]

T = TypeVar("T")
Class = TypeVar("Class", bound=type[Any])


@dataclass(frozen=True)
class Fault:
    """A broken wrapper.

    Attributes:
        broken: the class; its docstring is the fault in words.
        found_by: a test of a sound one, which fails for this one.
        given: what the test is called with.
    """

    broken: type[Any]
    found_by: Callable[..., object]
    given: Mapping[str, Any]

    @property
    def module(self) -> ModuleType:
        """Where the tests are, which make the sound class by its name."""
        return test_dual if self.sound.startswith("Dual") else test_shadow

    @property
    def sound(self) -> str:
        """Name of the class that it stands in for."""
        return str(self.broken.__mro__[1].__name__)


FAULTS: Final[list[Fault]] = []


def found_by(test: Callable[..., object], **given: Any) -> Callable[[Class], Class]:
    """Return a decorator that registers a class as a fault."""

    def plant(broken: Class) -> Class:
        FAULTS.append(Fault(broken, test, given))
        return broken

    return plant


# -- dual ----------------------------------------------------------------------------------------


@found_by(test_dual.test_every_write_reaches_both)
class AppendsToTheFirst(DualConversationStore):
    """What is appended reaches the first store alone."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        return self.inner._append(op, user_id, entries)


@found_by(test_dual.test_every_write_reaches_both)
class ReplacesInTheFirst(DualConversationStore):
    """A message is replaced in the first store alone."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return self.inner._replace(op, entry)


@found_by(test_dual.test_every_write_reaches_both)
class DeletesFromTheFirst(DualConversationStore):
    """What is deleted stays in the second store."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self.inner._delete(op, user_id, ids)


@found_by(test_dual.test_every_write_reaches_both)
class DeletesSessionsFromTheFirst(DualConversationStore):
    """A session that is deleted stays in the second store."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self.inner._delete_session(op, user_id, session_id)


@found_by(test_dual.test_every_write_reaches_both)
class ErasesFromTheFirst(DualConversationStore):
    """A user who is erased stays in the second store."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        return self.inner._erase(op, user_id)


@found_by(test_dual.test_what_the_first_store_may_have_written_is_recorded)
class WritesTheSecondFirst(DualConversationStore):
    """The second store is written before the first one, which may refuse."""

    def _twice(self, op: Operation, users: Iterable[str], call: Callable[[Any], T]) -> T:
        self._too(op, users, call)
        return self._second.first(op, users, lambda: call(self.inner))


@found_by(test_dual.test_every_answer_is_that_of_the_first_store)
class AnswersWithTheSecond(DualConversationStore):
    """The answer of a write is that of the second store."""

    def _twice(self, op: Operation, users: Iterable[str], call: Callable[[Any], T]) -> Any:
        super()._twice(op, users, call)
        return self._too(op, users, call)


@found_by(test_dual.test_every_answer_is_that_of_the_first_store)
class ReadsTheSecond(DualConversationStore):
    """Histories are those of the second store."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        return self._second.store._history(op, query)


@found_by(test_dual.test_a_write_that_the_second_store_misses_can_be_repeated, name="append")
class SwallowsErrors(DualConversationStore):
    """An error of the second store is swallowed, although it is to be raised."""

    def _too(self, op: Operation, users: Iterable[str], call: Callable[[Any], T]) -> T | None:
        try:
            return super()._too(op, users, call)
        except IalStoreError:
            return None


@found_by(test_dual.test_a_write_that_the_second_store_misses_is_recorded_and_copied, name="append")
class RaisesErrors(DualConversationStore):
    """An error of the second store is raised, although it is to be recorded."""

    def _too(self, op: Operation, users: Iterable[str], call: Callable[[Any], T]) -> T | None:
        return call(self._second.store)


@found_by(test_dual.test_a_write_that_the_second_store_misses_can_be_repeated, name="delete")
class SaysNothingWasWritten(DualConversationStore):
    """An error of the second store is raised as if nothing had been written to the first."""

    def _too(self, op: Operation, users: Iterable[str], call: Callable[[Any], T]) -> T | None:
        try:
            return super()._too(op, users, call)
        except IalStoreError as error:
            raise error.__cause__ or error from None


@found_by(test_dual.test_a_write_that_the_second_store_misses_is_recorded_and_copied, name="erase")
class ForgetsWhomItMissed(DualConversationStore):
    """Users whose writes the second store missed are not remembered."""

    @property
    def missed(self) -> tuple[str, ...]:
        return ()


@found_by(test_dual.test_a_retry_in_front_brings_both_together)
class LeavesOutWhatIsStoredInPart(DualConversationStore):
    """What the first store took before it failed never reaches the second."""

    def _in_part(self, op: Operation, user_id: str, call: Callable[[Any], object]) -> None:
        pass


@found_by(test_dual.test_it_can_do_what_both_can, tmp_path=...)
class ClaimsToBeAtomic(DualConversationStore):
    """A batch is said to be stored whole or not at all, though the second store may fail."""

    @property
    def capabilities(self) -> ConversationCapabilities:
        return replace(super().capabilities, atomic_append=True)


@found_by(test_dual.test_every_write_reaches_both)
class UpsertsToTheFirst(DualVectorIndex):
    """Vectors reach the first index alone."""

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self.inner._upsert(op, user_id, records)


@found_by(test_dual.test_an_index_made_for_other_vectors_is_refused, tmp_path=...)
class WritesBeforeItCompares(DualVectorIndex):
    """The first index is written before the second is known to be made for the same vectors."""

    def _bind(self, op: Operation) -> None:
        self._compare_spec(op)


@found_by(
    test_dual.test_a_second_index_that_is_down_at_first_keeps_nobody_from_reading,
    options=test_dual.RAISE,
)
class ReadsNeedTheSecond(DualVectorIndex):
    """Nothing can be read while the second index is down."""

    def _compare_spec(self, op: Operation) -> None:
        super()._compare_spec(op)
        self._too(op, (), lambda _: None)


# -- shadow --------------------------------------------------------------------------------------


@found_by(test_shadow.test_writes_go_to_the_first_store_alone_and_every_answer_is_its)
class AnswersWithTheShadow(ShadowConversationStore):
    """The answer is that of the shadow."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        super()._history(op, query)
        return self._shadow.store._history(op, query)


@found_by(test_shadow.test_writes_go_to_the_first_store_alone_and_every_answer_is_its)
class WritesTheShadow(ShadowConversationStore):
    """What is appended is written to the shadow, too."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        self._shadow.store._append(op, user_id, entries)
        return super()._append(op, user_id, entries)


@found_by(test_shadow.test_a_shadow_that_fails_fails_nobody, error=ZeroDivisionError())
class FailsWithTheShadow(ShadowConversationStore):
    """An error of the shadow reaches the caller."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        self._shadow.store._history(op, query)
        return super()._history(op, query)


@found_by(test_shadow.test_only_a_share_is_compared)
class ComparesEverything(ShadowConversationStore):
    """All reads are compared, whatever the share."""

    def __init__(self, inner: Any, options: Any, **given: Any) -> None:
        super().__init__(inner, replace(options, share=1), **given)


@found_by(test_shadow.test_any_difference_of_conversations_is_found, difference="replaced")
class ComparesIds(ShadowConversationStore):
    """Messages of the same id count as equal."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        def ask(store: Any, at: Operation) -> list[str]:
            return [one.id for one in store._history(at, query).items]

        answer = self.inner._history(op, query)
        ids = [one.id for one in answer.items]
        self._shadow.look(op, shadow._Question("history", ask, ids, _alike))
        return answer


@found_by(test_shadow.test_what_changed_in_the_first_store_meanwhile_is_no_difference)
class BlamesTheShadowForChanges(ShadowConversationStore):
    """What was written between the two answers counts as a difference."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        answer = self.inner._history(op, query)

        def ask(store: Any, at: Operation) -> Rows[Message]:
            return answer if store is self.inner else store._history(at, query)

        self._shadow.look(op, shadow._Question("history", ask, answer, _alike))
        return answer


@found_by(test_shadow.test_a_forked_child_begins_with_nothing)
class ReportsWhatTheParentFound(ShadowConversationStore):
    """A forked child goes on with the threads and counts of its parent."""

    def _after_fork(self) -> None:
        pass


@found_by(test_shadow.test_checks_name_the_shadow_and_never_fail_for_it)
class ChecksTheFirst(ShadowConversationStore):
    """The shadow is not checked."""

    def _check(self, op: Operation) -> list[str]:
        return self.inner._check(op)


@found_by(
    test_shadow.test_the_recall_of_a_search_is_the_share_of_what_the_first_index_found,
    metric="cosine",
)
class MeasuresTheBestHit(ShadowVectorIndex):
    """The recall is that of the best hit, not of all k."""

    def _recall(self, query: SearchQuery, ours: SearchResult, theirs: SearchResult) -> float:
        return super()._recall(
            query, replace(ours, hits=ours.hits[:1]), replace(theirs, hits=theirs.hits[:1])
        )


@found_by(
    test_shadow.test_what_the_first_index_does_not_hold_is_no_hit_and_nothing_is_found_in_nothing
)
class MeasuresAgainstK(ShadowVectorIndex):
    """The recall is the share of k, although there are fewer vectors than that."""

    def _recall(self, query: SearchQuery, ours: SearchResult, theirs: SearchResult) -> float:
        return super()._recall(query, ours, theirs) * len(ours.hits) / query.k


@found_by(test_shadow.test_which_of_equals_is_found_costs_no_recall, metric="cosine")
class CountsTiesAsMissed(ShadowVectorIndex):
    """Another one of equally near vectors counts as not found."""

    def _as_good(self, query: SearchQuery, ids: Sequence[str], least: float) -> int:
        return 0


@found_by(test_shadow.test_which_of_equals_is_found_costs_no_recall, metric="dot")
class BelievesTheShadow(ShadowVectorIndex):
    """What only the shadow found counts as near, whatever the first index holds."""

    def _as_good(self, query: SearchQuery, ids: Sequence[str], least: float) -> int:
        return len(ids)


def _alike(ours: Any, theirs: Any) -> float:
    return float(
        list(getattr(ours, "items", ours) or ()) == list(getattr(theirs, "items", theirs) or ())
    )
