"""``shadow``: asks a second store a share of what is asked, behind the caller's back, and compares.

The caller gets the answer of the first store, and waits for nothing else: questions wait for a
thread in a queue of bounded length, and are dropped when it is full. Conversations have to be
equal; of searches the recall is measured, against what the first index found, ties counted as hits.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import numpy as np

from ialstore.component import Component
from ialstore.conversation import ConversationStore
from ialstore.errors import IalStoreError, InvalidInputError
from ialstore.limits import MAX_GET
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import Message, MessageSummary, SessionInfo
from ialstore.vector import VectorIndex
from ialstore.vector_model import SearchQuery, SearchResult
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper, Wrapper

if TYPE_CHECKING:
    from ialstore.operation import Operation

__all__ = [
    "ShadowConversationStore",
    "ShadowOptions",
    "ShadowReport",
    "ShadowVectorIndex",
    "shadow_report",
]

C = TypeVar("C", bound=Component)
T = TypeVar("T")

_SCORE_TOLERANCE: Final = 1e-5
"""Of scores, relative to the lengths of the vectors, as the contract has it."""
_GRACE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class ShadowOptions:
    """Whom to ask, and how often.

    Attributes:
        url: of the shadow.
        share: of the reads that are compared, 0 to 1.
        queue: reads that may wait; what comes then is dropped.
        threads: reads that are compared at the same time.
    """

    url: str = field(repr=False)
    share: float = 0.1
    queue: int = 100
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InvalidInputError("share must be 0 to 1")
        for name in ("queue", "threads"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} must be 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowReport:
    """What was found so far.

    Attributes:
        compared: answers that were compared; each is equal, differing or changed.
        equal: those that were the same; of a search, those with a recall of 1.
        differing: those that were not, twice.
        changed: those that the first store itself answered otherwise when it was asked again.
        failed: reads that the shadow could not answer.
        dropped: reads that found the queue full.
        searches: searches among those compared, but for those that changed.
        recall: their mean recall; 1 without any.
        lowest_recall: the lowest of them; likewise.
        avg_ms: mean time of an answer of the shadow, in milliseconds.
    """

    compared: int = 0
    equal: int = 0
    differing: int = 0
    changed: int = 0
    failed: int = 0
    dropped: int = 0
    searches: int = 0
    recall: float = 1.0
    lowest_recall: float = 1.0
    avg_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class _Question(Generic[C, T]):
    """A read that was answered.

    Attributes:
        name: of the public method.
        ask: asks a store.
        answer: of the first store.
        likeness: how alike two answers are, from 0 to 1.
        is_search: whether the likeness is a recall.
    """

    name: str
    ask: Callable[[C, Operation], T]
    answer: T
    likeness: Callable[[T, T], float]
    is_search: bool = False


class _Shadow(Generic[C]):
    """The shadow, the queue in front of it, and what was found."""

    def __init__(
        self, inner: C, store: C, options: ShadowOptions, chance: Callable[[], float]
    ) -> None:
        self.store = store
        self._inner = inner
        self._options = options
        self._chance = chance
        self.begin()

    def begin(self) -> None:
        """Begin with nothing, as in a forked child, where no thread is left."""
        self._lock = threading.Lock()
        self._queue: queue.Queue[_Question[C, Any] | None] = queue.Queue(self._options.queue)
        self._threads: list[threading.Thread] = []
        self._counts: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._recalls = self._untold_recalls = self._seconds = 0.0
        self._lowest = 1.0

    def look(self, op: Operation, question: _Question[C, Any]) -> None:
        """Note in an event what was found since the last one, and ask, if it is its turn."""
        self._tell(op)
        if self._chance() >= self._options.share:
            return
        try:
            self._queue.put_nowait(question)
        except queue.Full:
            self._count("dropped")
        else:
            self._start()

    def wait(self) -> None:
        """Wait until everything that was asked is compared."""
        self._queue.join()

    def close(self) -> None:
        """Drop what waits, let what runs come to its end, and close the shadow."""
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
            self._queue.task_done()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(2 * self.store.settings.get("timeout_seconds", 5.0) + _GRACE_SECONDS)
        self.store.close()

    def report(self) -> ShadowReport:
        """Return what was found so far."""
        with self._lock:
            counts, searches = self._counts, self._counts["searches"]
            return ShadowReport(
                **counts,
                recall=self._recalls / searches if searches else 1.0,
                lowest_recall=self._lowest,
                avg_ms=1000 * self._seconds / counts["compared"] if counts["compared"] else 0.0,
            )

    def checked(self, op: Operation) -> list[str]:
        """Return what ``check`` of the shadow says."""
        try:
            with self.store._translating(op):
                found = self.store._check(op)
        except IalStoreError as error:
            found = [f"it can't be checked: {type(error).__name__}"]
        return [f"the shadow ({self.store.backend}): {one}" for one in found]

    def _start(self) -> None:
        with self._lock:
            if len(self._threads) < self._options.threads:
                thread = threading.Thread(target=self._work, name="ialstore-shadow", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        waiting = self._queue
        while True:
            question = waiting.get()
            try:
                if question is None:
                    return
                self._compare(question)
            except Exception:  # noqa: BLE001 - whatever a driver raises, it concerns no caller
                self._count("failed")
            finally:
                waiting.task_done()

    def _compare(self, question: _Question[C, Any]) -> None:
        began = time.perf_counter()
        theirs = _asked(self.store, question)
        seconds = time.perf_counter() - began
        likeness = question.likeness(question.answer, theirs)
        found = "equal"
        if likeness < 1:  # or what came in between
            again = _asked(self._inner, question)
            found = "differing" if question.likeness(question.answer, again) == 1 else "changed"
        self._count("compared", found)
        with self._lock:
            self._seconds += seconds
            if question.is_search and found != "changed":
                self._recalls += likeness
                self._untold_recalls += likeness
                self._lowest = min(self._lowest, likeness)
                self._counts["searches"] += 1
                self._untold["searches"] += 1

    def _count(self, *names: str) -> None:
        with self._lock:
            self._counts.update(names)
            self._untold.update(names)

    def _tell(self, op: Operation) -> None:
        with self._lock:
            untold, self._untold = self._untold, Counter()
            recalls, self._untold_recalls = self._untold_recalls, 0.0
        for name, amount in untold.items():
            op.count(f"shadow_{name}", amount)
        if untold["searches"]:
            op.note("shadow_recall", recalls)


def _asked(store: C, question: _Question[C, T]) -> T:
    """Return an answer; the question is no call of anybody, so that no event tells of it."""
    op = store._operation(question.name, consistency=store._reading(None))
    with store._translating(op):
        return question.ask(store, op)


class _Shadowed(Wrapper[C]):
    """What stores and indexes with a shadow have in common."""

    NAME: ClassVar[str] = "shadow"
    OPTIONS: ClassVar[type[Any] | None] = ShadowOptions

    _shadow: _Shadow[C]

    def report(self) -> ShadowReport:
        """Return what was found so far."""
        return self._shadow.report()

    def wait(self) -> None:
        """Wait until everything that was asked is compared."""
        self._shadow.wait()

    @property
    def held_bytes(self) -> int:
        """Bytes that both hold."""
        return self.inner.held_bytes + self._shadow.store.held_bytes

    def _check(self, op: Operation) -> list[str]:
        return super()._check(op) + self._shadow.checked(op)

    def _close(self) -> None:
        self._shadow.close()
        super()._close()

    def _after_fork(self) -> None:
        self._shadow.begin()


def shadow_report(store: Component) -> ShadowReport:
    """Return the report of the shadow among the wrappers of a store or an index.

    Raises:
        InvalidInputError: there is none.
    """
    layer: Any = store
    while layer is not None:
        if isinstance(layer, _Shadowed):
            return layer.report()
        layer = getattr(layer, "inner", None)
    raise InvalidInputError("the store has no wrapper shadow")


# -- conversations -------------------------------------------------------------------------------


class ShadowConversationStore(_Shadowed[ConversationStore], ConversationWrapper):
    """A conversation store of whose reads a share is compared with another store."""

    def __init__(
        self,
        inner: ConversationStore,
        options: ShadowOptions,
        *,
        shadow: ConversationStore | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Make a store with a shadow.

        Args:
            inner: answers.
            options: whom else to ask.
            shadow: instead of the store that the URL names.
            chance: a number from 0 to below 1 for each read.
        """
        from ialstore.config import open_store

        super().__init__(inner)
        store = shadow or open_store(options.url, **inner.settings)
        self._shadow = _Shadow(inner, store, options, chance)

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        answer = super()._get(op, user_id, ids)
        wanted = tuple(ids)
        self._shadow.look(
            op, _Question("get", lambda to, at: to._get(at, user_id, wanted), answer, _equal)
        )
        return answer

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        answer = super()._history(op, query)
        self._shadow.look(
            op, _Question("history", lambda to, at: to._history(at, query), answer, _same_rows)
        )
        return answer

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        answer = super()._summaries(op, query)
        self._shadow.look(
            op, _Question("summaries", lambda to, at: to._summaries(at, query), answer, _same_rows)
        )
        return answer

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        answer = super()._sessions(op, user_id, limit, after)

        def ask(store: ConversationStore, at: Operation) -> Rows[SessionInfo]:
            return store._sessions(at, user_id, limit, after)

        self._shadow.look(op, _Question("sessions", ask, answer, self._same_sessions))
        return answer

    def _same_sessions(self, ours: Rows[SessionInfo], theirs: Rows[SessionInfo]) -> float:
        """Compare sessions; when they were last active is known more or less exactly."""
        allowed = max(
            one.capabilities.activity_precision for one in (self.inner, self._shadow.store)
        )
        left, right = ({one.session_id: one for one in rows.items} for rows in (ours, theirs))
        return float(
            left.keys() == right.keys()
            and all(
                abs(one.last_active - right[name].last_active) <= allowed
                for name, one in left.items()
            )
        )


# -- vectors -------------------------------------------------------------------------------------


class ShadowVectorIndex(_Shadowed[VectorIndex], VectorWrapper):
    """A vector index of whose reads a share is compared with another index."""

    def __init__(
        self,
        inner: VectorIndex,
        options: ShadowOptions,
        *,
        shadow: VectorIndex | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Make an index with a shadow; see ``ShadowConversationStore``."""
        from ialstore.config import open_index

        super().__init__(inner)
        index = shadow or open_index(options.url, inner.spec, **inner.settings)
        self._shadow = _Shadow(inner, index, options, chance)

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        answer = super()._search(op, query)

        def ask(index: VectorIndex, at: Operation) -> SearchResult:
            return index._search(at, query)

        def recall(ours: SearchResult, theirs: SearchResult) -> float:
            return self._recall(query, ours, theirs)

        self._look(op, _Question("search", ask, answer, recall, is_search=True))
        return answer

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        answer = super()._ids(op, user_id, limit, after)

        def ask(index: VectorIndex, at: Operation) -> Rows[str]:
            return index._ids(at, user_id, limit, after)

        self._look(op, _Question("ids", ask, answer, _same_rows))
        return answer

    def _count(self, op: Operation, user_id: str) -> int:
        answer = super()._count(op, user_id)

        def ask(index: VectorIndex, at: Operation) -> int:
            return index._count(at, user_id)

        self._look(op, _Question("count", ask, answer, _equal))
        return answer

    def _look(self, op: Operation, question: _Question[VectorIndex, Any]) -> None:
        """Let the shadow be asked, once it is known to be made for the same vectors."""

        def ask(index: VectorIndex, at: Operation) -> Any:
            index._compare_spec(at)
            return question.ask(index, at)

        self._shadow.look(op, replace(question, ask=ask))

    def _recall(self, query: SearchQuery, ours: SearchResult, theirs: SearchResult) -> float:
        """Return the share of the first index's hits that the shadow found, or as good ones.

        What only the shadow found counts by its score to the vector that the first index keeps.
        """
        wanted = {hit.id for hit in ours}
        if not wanted:
            return 1.0
        others = [hit.id for hit in theirs if hit.id not in wanted]
        found = len(theirs.hits) - len(others)
        if found < len(wanted) and others:
            found += self._as_good(query, others, ours.hits[-1].score)
        return min(found / len(wanted), 1.0)

    def _as_good(self, query: SearchQuery, ids: Sequence[str], least: float) -> int:
        question: _Question[VectorIndex, Any] = _Question(
            "get", lambda to, at: to._get(at, query.user_id, ids[:MAX_GET]), None, _equal
        )
        asked = query.vector.astype(np.float64)
        length = float(np.linalg.norm(asked))
        good = 0
        for record in _asked(self.inner, question).values():
            vector = record.vector.astype(np.float64)
            lengths = length * float(np.linalg.norm(vector))
            score = _score(self.spec.metric, asked, vector)
            allowed = _SCORE_TOLERANCE * (1 if self.spec.metric == "cosine" else max(1, lengths))
            good += score >= least - allowed
        return good


def _score(metric: str, asked: Any, vector: Any) -> float:
    if metric == "euclidean":
        return -float(np.linalg.norm(asked - vector))
    product = float(asked @ vector)
    if metric == "dot":
        return product
    return product / float(np.linalg.norm(asked)) / float(np.linalg.norm(vector))


def _equal(ours: object, theirs: object) -> float:
    return float(ours == theirs)


def _same_rows(ours: Rows[Any], theirs: Rows[Any]) -> float:
    return float(list(ours.items) == list(theirs.items))
