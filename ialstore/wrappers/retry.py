"""``retry``: sends again what failed for a reason that may pass, within the call's deadline.

Waits grow exponentially with full jitter. A budget shared by all calls of the store keeps a steady
outage from being made worse: every call earns a tenth of a retry, every retry costs one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ialstore.conversation import ConversationStore
from ialstore.errors import (
    ConflictError,
    DeadlineExceededError,
    IalStoreError,
    InvalidInputError,
    Outcome,
    PartialWriteError,
)
from ialstore.model import AppendResult, EncodedMessage
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord
from ialstore.wrappers.base import ConversationWrapper, VectorWrapper

if TYPE_CHECKING:
    from ialstore.operation import Operation

__all__ = ["RetryConversationStore", "RetryOptions", "RetryVectorIndex"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How often and how soon.

    Attributes:
        attempts: calls at most, the first one included; 1 never retries.
        first_wait_seconds: upper bound of the first wait; doubles from there.
        longest_wait_seconds: upper bound of any wait.
        budget: retries that each call earns: 0.1 adds at most a tenth to the calls of an outage.
        burst: retries that a store may make before it has earned any.
    """

    attempts: int = 5
    first_wait_seconds: float = 0.05
    longest_wait_seconds: float = 2.0
    budget: float = 0.1
    burst: int = 10

    def __post_init__(self) -> None:
        for name in ("attempts", "first_wait_seconds", "longest_wait_seconds"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name} must be above 0")
        for name in ("budget", "burst"):
            if getattr(self, name) < 0:
                raise InvalidInputError(f"{name} must not be negative")


class _Policy:
    """Decides on retries for all calls of one store; thread-safe."""

    def __init__(self, options: RetryOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._earned = float(options.burst)

    def call(self, op: Operation, attempt: Callable[[], T]) -> T:
        """Return what ``attempt`` returns, calling it again after errors that may pass."""
        with self._lock:
            self._earned = min(self._earned + self._options.budget, float(self._options.burst))
        in_doubt = False

        def watched() -> T:
            nonlocal in_doubt
            try:
                return attempt()
            except IalStoreError as error:
                in_doubt = in_doubt or error.outcome is Outcome.UNKNOWN
                if in_doubt and _says_nothing_was_applied(error):
                    error.outcome = Outcome.UNKNOWN  # an attempt before may have been
                raise

        try:
            return watched()
        except IalStoreError as error:
            if not error.retryable:
                raise
            return self._call_again(op, watched, error)

    def _call_again(self, op: Operation, attempt: Callable[[], T], failed: IalStoreError) -> T:
        import tenacity  # not needed until something fails, and slow to import

        made = 0

        def resend() -> T:
            nonlocal made
            made += 1
            if made == 1:  # the call that failed already
                raise failed
            op.renew()
            return attempt()

        try:
            retrying = tenacity.Retrying(
                retry=tenacity.retry_if_exception(self._is_worth_it),
                stop=tenacity.stop_after_attempt(self._options.attempts)
                | tenacity.stop_before_delay(op.remaining()),
                wait=tenacity.wait_random_exponential(
                    multiplier=self._options.first_wait_seconds,
                    max=self._options.longest_wait_seconds,
                ),
                reraise=True,
            )
            return retrying(resend)
        except DeadlineExceededError as error:
            # What failed says more than that no time was left to repeat it.
            failed.retryable = error.retryable = False
            raise (error if made > 1 else failed) from error.__cause__
        except IalStoreError as error:
            error.retryable = False  # given up: a caller's own retries would multiply these
            raise
        finally:
            op.note("retries", max(made - 1, 0))

    def _is_worth_it(self, error: BaseException) -> bool:
        if not (isinstance(error, IalStoreError) and error.retryable):
            return False
        with self._lock:
            if self._earned < 1:
                return False
            self._earned -= 1
        return True

    def renew_lock(self) -> None:
        """Forget a lock that another thread of the parent may have held at a fork."""
        self._lock = threading.Lock()


def _says_nothing_was_applied(error: IalStoreError) -> bool:
    # A conflict says what is stored.
    return error.outcome is Outcome.NOT_APPLIED and not isinstance(error, ConflictError)


class RetryConversationStore(ConversationWrapper):
    """A conversation store that repeats what may pass; of a batch only what is not stored."""

    NAME: ClassVar[str] = "retry"
    OPTIONS: ClassVar[type[Any] | None] = RetryOptions

    def __init__(self, inner: ConversationStore, options: RetryOptions | None = None) -> None:
        super().__init__(inner)
        self._policy = _Policy(options or RetryOptions())

    def _around(self, op: Operation, call: Callable[[], T]) -> T:
        attempt = super()._around
        return self._policy.call(op, lambda: attempt(op, call))

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        tally = _Tally(entries)

        def attempt() -> None:
            with self.inner._translating(op):
                tally.took(self.inner._append(op, user_id, tally.rest))

        def watched() -> None:
            try:
                attempt()
            except IalStoreError as error:
                tally.failed(error)
                raise

        try:
            self._policy.call(op, watched)
        except IalStoreError as error:
            raised = tally.error(error)
            if raised is error:
                raise
            raise raised from error
        return tally.result()

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        def send(rest: Sequence[EncodedMessage]) -> None:
            with self.inner._translating(op):
                self.inner._load(op, rest)

        _send_rest(self._policy, op, [(one.message.id, one) for one in entries], send)

    def _after_fork(self) -> None:
        self._policy.renew_lock()


class RetryVectorIndex(VectorWrapper):
    """A vector index that repeats what may pass; of a batch only what is not stored."""

    NAME: ClassVar[str] = "retry"
    OPTIONS: ClassVar[type[Any] | None] = RetryOptions

    def __init__(self, inner: VectorIndex, options: RetryOptions | None = None) -> None:
        super().__init__(inner)
        self._policy = _Policy(options or RetryOptions())

    def _around(self, op: Operation, call: Callable[[], T]) -> T:
        attempt = super()._around
        return self._policy.call(op, lambda: attempt(op, call))

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        def send(rest: Sequence[EncodedRecord]) -> None:
            with self.inner._translating(op):
                self.inner._upsert(op, user_id, rest)

        _send_rest(self._policy, op, [(one.id, one) for one in records], send)

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        def send(rest: Sequence[tuple[str, EncodedRecord]]) -> None:
            with self.inner._translating(op):
                self.inner._load(op, rest)

        _send_rest(self._policy, op, [(one[1].id, one) for one in records], send)

    def _after_fork(self) -> None:
        self._policy.renew_lock()


class _Tally:
    """What became of each message of one append, over all attempts."""

    def __init__(self, entries: Sequence[EncodedMessage]) -> None:
        self.rest: Sequence[EncodedMessage] = entries
        self._order = [entry.message.id for entry in entries]
        self._stored: set[str] = set()
        self._duplicates: set[str] = set()
        self._conflicting: set[str] = set()
        self._doubtful: set[str] = set()
        """Sent with an unknown outcome: found there later, they were most likely ours."""

    def took(self, result: AppendResult) -> None:
        """Note what an attempt stored and found."""
        self._settle(result.stored, result.duplicates)

    def failed(self, error: IalStoreError) -> None:
        """Note what a failed attempt stored all the same."""
        if isinstance(error, PartialWriteError):
            self._conflicting.update(error.conflicting)
            self._doubtful.update(error.unknown)
            self._settle(error.stored, error.duplicates)
            if not self.rest:
                error.retryable = False
        elif isinstance(error, ConflictError):
            self._conflicting.update(error.ids)
        elif error.outcome is Outcome.UNKNOWN:
            self._doubtful.update(entry.message.id for entry in self.rest)

    def error(self, last: IalStoreError) -> IalStoreError:
        """Return the error that tells of all attempts together."""
        if not (self._stored or self._duplicates) and not isinstance(last, PartialWriteError):
            return last
        rest = {entry.message.id for entry in self.rest} - self._conflicting
        return PartialWriteError(
            f"{len(self._stored)} of {len(self._order)} messages were stored; "
            "repeating the call is safe",
            stored=self._those(self._stored),
            duplicates=self._those(self._duplicates),
            conflicting=self._those(self._conflicting),
            not_stored=self._those(rest - self._doubtful),
            unknown=self._those(rest & self._doubtful),
            backend=last.backend,
            operation=last.operation,
        )

    def result(self) -> AppendResult:
        """Return the ids in the order given."""
        return AppendResult(self._those(self._stored), self._those(self._duplicates))

    def _settle(self, stored: Sequence[str], duplicates: Sequence[str]) -> None:
        self._stored.update(stored)
        self._stored.update(one for one in duplicates if one in self._doubtful)
        self._duplicates.update(one for one in duplicates if one not in self._doubtful)
        settled = self._stored | self._duplicates | self._conflicting
        self.rest = [entry for entry in self.rest if entry.message.id not in settled]

    def _those(self, ids: set[str]) -> tuple[str, ...]:
        return tuple(one for one in self._order if one in ids)


def _send_rest(
    policy: _Policy,
    op: Operation,
    items: Sequence[tuple[str, T]],
    send: Callable[[Sequence[T]], None],
) -> None:
    """Send items by id, after a partial write only those that are not stored or unknown."""
    rest = list(items)
    unknown: set[str] = set()

    def attempt() -> None:
        nonlocal rest
        try:
            send([item for _, item in rest])
        except PartialWriteError as error:
            missing = {*error.not_stored, *error.unknown}
            unknown.update(error.unknown)
            rest = [one for one in rest if one[0] in missing]
            raise
        except IalStoreError as error:
            if error.outcome is Outcome.UNKNOWN:
                unknown.update(one[0] for one in rest)
            raise

    try:
        policy.call(op, attempt)
    except IalStoreError as error:
        if len(rest) == len(items) and not isinstance(error, PartialWriteError):
            raise
        left = {one[0] for one in rest}
        raise PartialWriteError(
            f"{len(items) - len(rest)} of {len(items)} were stored; repeating the call is safe",
            stored=[one[0] for one in items if one[0] not in left],
            not_stored=[one[0] for one in rest if one[0] not in unknown],
            unknown=[one[0] for one in rest if one[0] in unknown],
            backend=error.backend,
            operation=error.operation,
        ) from error
