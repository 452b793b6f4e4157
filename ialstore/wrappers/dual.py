"""``dual``: writes go to a second store too, so that a team can move to it without a stop.

Reads are answered by the first store. A write goes to it first, then to the second one; users for
whom the second one failed are recorded, and ``ialstore copy`` brings it up to date.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from ialstore.conversation import ConversationStore
from ialstore.errors import (
    ConfigurationError,
    IalStoreError,
    InvalidInputError,
    Outcome,
    PartialWriteError,
    UnavailableError,
)
from ialstore.model import AppendResult, EncodedMessage, EraseReport, OptimizeReport
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper, Wrapper

if TYPE_CHECKING:
    from ialstore.capabilities import ConversationCapabilities, VectorCapabilities
    from ialstore.component import Progress
    from ialstore.operation import Operation

__all__ = ["DualConversationStore", "DualOptions", "DualVectorIndex"]

P = TypeVar("P", bound="ConversationStore | VectorIndex")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DualOptions:
    """Where else writes go.

    Attributes:
        url: of the second store.
        on_error: when the second store fails, ``raise`` its error to be retried, or only
            ``record`` whom it concerns.
        record: a file that gets the ids of users for whom it failed, one a line; without it they
            are only kept in this process.
    """

    url: str = field(repr=False)
    on_error: Literal["raise", "record"] = "raise"
    record: str = ""

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "record"):
            raise InvalidInputError(f"on_error must be raise or record, not {self.on_error!r}")


class _Second(Generic[P]):
    """The second store, and for whom it may differ from the first."""

    def __init__(self, store: P, options: DualOptions) -> None:
        self.store = store
        self._options = options
        self._missed: dict[str, None] = {}
        self.renew_lock()

    def renew_lock(self) -> None:
        """Forget a lock that another thread of the parent may have held at a fork."""
        self._lock = threading.Lock()

    @property
    def missed(self) -> tuple[str, ...]:
        """For whom a write may be missing."""
        with self._lock:
            return tuple(self._missed)

    @property
    def is_required(self) -> bool:
        """Whether a write fails when the second store does."""
        return self._options.on_error == "raise"

    def first(self, op: Operation, users: Iterable[str], call: Callable[[], T]) -> T:
        """Write the first store; what it may have written before an error is not in the second."""
        try:
            return call()
        except IalStoreError as error:
            if error.outcome is not Outcome.NOT_APPLIED:
                self.miss(op, users)
            raise

    def too(self, op: Operation, users: Iterable[str], call: Callable[[P], T]) -> T | None:
        """Write the second store as well; None if it failed and that is recorded.

        Raises:
            UnavailableError: it failed, and the write has to reach it.
            ConfigurationError: it was made for other vectors.
        """
        try:
            with self.store._translating(op):
                return call(self.store)
        except ConfigurationError:
            raise
        except IalStoreError as error:
            self.miss(op, users)
            if not self.is_required:
                return None
            raise UnavailableError(
                f"the write reached the first store and not the second ({self.store.backend}): "
                f"{type(error).__name__}; repeating it is safe",
                retryable=error.retryable,
                outcome=Outcome.UNKNOWN,
            ) from error

    def miss(self, op: Operation, users: Iterable[str]) -> None:
        """Record for whom the second store may differ from now on."""
        given = tuple(dict.fromkeys(users))
        op.count("dual_missed", len(given))
        with self._lock:
            path = self._options.record
            if path and not os.path.exists(path):  # noqa: PTH110 - moved away, to be worked through
                self._missed.clear()
            new = [one for one in given if one not in self._missed]
            self._missed.update(dict.fromkeys(new))
            if path and new:
                _note(path, new)

    def capabilities(self, first: Any) -> Any:
        """Return what both together can do."""
        second = self.store.capabilities
        return replace(
            first,
            writable=first.writable and second.writable,
            needs_setup=first.needs_setup or second.needs_setup,
            multi_process=first.multi_process and second.multi_process,
        )

    def checked(self, op: Operation) -> list[str]:
        """Return what ``check`` says of the second store."""
        try:
            with self.store._translating(op):
                found = self.store._check(op)
        except IalStoreError as error:
            found = [f"it can't be checked: {type(error).__name__}"]
        named = ["users may be missing writes: ialstore copy"] if self.missed else []
        return [f"the second store ({self.store.backend}): {one}" for one in (*found, *named)]

    def set_up(self, op: Operation) -> None:
        """Create what the second store needs."""
        with self.store._translating(op):
            self.store._setup(op)


def _note(path: str, users: Sequence[str]) -> None:
    """Append users to a file, each as JSON, since an id may hold a line break."""
    text = "".join(f"{json.dumps(one)}\n" for one in users)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise UnavailableError(
            f"dual: {path} can't take note of a missed write: {error.strerror}",
            outcome=Outcome.UNKNOWN,
        ) from error


class _Dual(Wrapper[P]):
    """What stores and indexes that write twice have in common."""

    OPTIONS: ClassVar[type[Any] | None] = DualOptions

    _second: _Second[P]

    @property
    def missed(self) -> tuple[str, ...]:
        """Users for whom the second one may differ."""
        return self._second.missed

    @property
    def held_bytes(self) -> int:
        """Bytes that both hold."""
        return self.inner.held_bytes + self._second.store.held_bytes

    def _before(self, op: Operation, to: P) -> None:
        """Prepare the second one for a call."""

    def _too(self, op: Operation, users: Iterable[str], call: Callable[[P], T]) -> T | None:
        """Write the second one as well."""

        def prepared(to: P) -> T:
            self._before(op, to)
            return call(to)

        return self._second.too(op, users, prepared)

    def _twice(self, op: Operation, users: Iterable[str], call: Callable[[P], T]) -> T:
        """Write both, and return the answer of the first."""
        answer = self._second.first(op, users, lambda: call(self.inner))
        self._too(op, users, call)
        return answer

    def _in_part(self, op: Operation, user_id: str, call: Callable[[P], object]) -> None:
        """Write to the second one what the first has, before its error is raised.

        Whoever repeats the call leaves that out. A failure is recorded.
        """
        with suppress(IalStoreError):
            self._too(op, (user_id,), call)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._twice(op, (user_id,), lambda to: to._delete(op, user_id, ids))

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._twice(op, (user_id,), lambda to: to._delete_session(op, user_id, session_id))

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        report = self._second.first(op, (user_id,), lambda: self.inner._erase(op, user_id))
        also = self._too(op, (user_id,), lambda to: to._erase(op, user_id))
        if also is None:
            name = self._second.store.backend
            sentence = f"the second store ({name}) failed: erase the user there"
            return report + EraseReport(out_of_reach=(sentence,))
        return report + replace(also, messages=0, vectors=0)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        report = self.inner._optimize(op, user_id, progress)
        also = self._too(op, (), lambda to: to._optimize(op, user_id, progress))
        if also is None:
            return report
        return OptimizeReport(
            report.removed + also.removed,
            report.reclaimed_bytes + also.reclaimed_bytes,
            report.notes + also.notes,
        )

    def _setup(self, op: Operation) -> None:
        super()._setup(op)
        self._second.set_up(op)

    def _check(self, op: Operation) -> list[str]:
        return super()._check(op) + self._second.checked(op)

    def _close(self) -> None:
        super()._close()
        self._second.store.close()

    def _after_fork(self) -> None:
        self._second.renew_lock()


class DualConversationStore(_Dual[ConversationStore], ConversationWrapper):
    """A conversation store whose writes go to a second one too."""

    NAME: ClassVar[str] = "dual"

    def __init__(
        self,
        inner: ConversationStore,
        options: DualOptions,
        *,
        second: ConversationStore | None = None,
    ) -> None:
        """Make a store that writes twice.

        Args:
            inner: the first store.
            options: where the second one is.
            second: instead of the one that the URL names.
        """
        from ialstore.config import open_store

        super().__init__(inner)
        self._second = _Second(second or open_store(options.url, **inner.settings), options)

    @property
    def capabilities(self) -> ConversationCapabilities:
        """Those of the first store, as far as the second one allows."""
        both: ConversationCapabilities = self._second.capabilities(self.inner.capabilities)
        return replace(both, atomic_append=both.atomic_append and not self._second.is_required)

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return self._twice(op, (user_id,), lambda to: to._append(op, user_id, entries))
        except PartialWriteError as error:
            there = {*error.stored, *error.duplicates}
            done = [one for one in entries if one.message.id in there]
            if done:
                self._in_part(op, user_id, lambda to: to._append(op, user_id, done))
            raise

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        users = (entry.message.user_id,)
        replaced = self._second.first(op, users, lambda: self.inner._replace(op, entry))
        if replaced:
            # Absent there, it was missed before: only a copy knows what else is.
            also = self._too(op, users, lambda to: to._replace(op, entry))
            if also is False:
                self._second.miss(op, users)
        return replaced

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        users = [one.message.user_id for one in entries]
        self._twice(op, users, lambda to: to._load(op, entries))


class DualVectorIndex(_Dual[VectorIndex], VectorWrapper):
    """A vector index whose writes go to a second one too."""

    NAME: ClassVar[str] = "dual"

    def __init__(
        self, inner: VectorIndex, options: DualOptions, *, second: VectorIndex | None = None
    ) -> None:
        """Make an index that writes twice.

        Args:
            inner: the first index.
            options: where the second one is.
            second: instead of the one that the URL names.
        """
        from ialstore.config import open_index

        made = second or open_index(options.url, inner.spec, **inner.settings)
        self._second = _Second(made, options)
        super().__init__(inner)

    @property
    def capabilities(self) -> VectorCapabilities:
        """Those of the first index, as far as the second one allows."""
        both: VectorCapabilities = self._second.capabilities(self.inner.capabilities)
        return replace(both, metrics=both.metrics & self._second.store.capabilities.metrics)

    def _bind(self, op: Operation) -> None:
        super()._bind(op)
        if self._second.is_required:
            self._too(op, (), lambda _: None)

    def _before(self, op: Operation, to: VectorIndex) -> None:
        to._bind(op)

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        try:
            self._twice(op, (user_id,), lambda to: to._upsert(op, user_id, records))
        except PartialWriteError as error:
            done = [one for one in records if one.id in error.stored]
            if done:
                self._in_part(op, user_id, lambda to: to._upsert(op, user_id, done))
            raise

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        users = [user_id for user_id, _ in records]
        self._twice(op, users, lambda to: to._load(op, records))
