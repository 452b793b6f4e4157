"""What conversation stores and vector indexes share: opening, running and closing calls.

The contracts themselves are in ``conversation`` and ``vector``.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict, TypeVar, Unpack

from ialstore import cost, events
from ialstore.errors import (
    IalStoreError,
    InvalidInputError,
    Outcome,
    StoreNotReadyError,
    UnsupportedOperationError,
)
from ialstore.estimate import Choice, Estimate, Workload
from ialstore.limits import DEFAULT_TIMEOUT_SECONDS
from ialstore.model import Consistency
from ialstore.operation import Operation, check_span
from ialstore.url import closest

if TYPE_CHECKING:
    from types import TracebackType

    from ialstore.capabilities import Capabilities
    from ialstore.url import StoreURL

__all__ = [
    "Access",
    "Clock",
    "Component",
    "Progress",
    "StoreSettings",
    "no_progress",
    "utc_now",
]

T = TypeVar("T")

Clock = Callable[[], datetime]
"""Returns the time now, timezone-aware."""

Progress = Callable[[int, int | None], None]
"""Called with what is done and, where it is known, the total."""


def no_progress(done: int, total: int | None) -> None:
    """Show nothing."""


def utc_now() -> datetime:
    """Return the time now, in UTC: the default clock."""
    return datetime.now(UTC)


class Access(StrEnum):
    """What a caller may do."""

    READ = "read"
    """Read messages or vectors."""
    WRITE = "write"
    """Read and write them, and do maintenance."""
    MANAGE = "manage"
    """Set tables up and check them."""


class StoreSettings(TypedDict, total=False):
    """Keyword arguments that every store and index takes, whatever its backend."""

    clock: Clock
    """Tells what is expired; UTC now by default."""
    timeout_seconds: float
    """Time given to a call outside any ``deadline()``; 5 by default."""
    retention_days: float | None
    """Expiry of what has none of its own, counted from the message's creation."""


class Component(ABC):
    """Base of ``ConversationStore`` and ``VectorIndex``; not for other use.

    A hook of a backend may raise what its driver raises: ``_translate`` turns it into an error of
    ialstore at the border of the layer. Safe from many threads.
    """

    COST_CHOICES: ClassVar[tuple[Choice, ...]] = ()
    """Options that change what ``estimate`` returns."""
    KIND: ClassVar[str]
    """``conversation`` or ``vector``; the name of the kind in the registry and in events."""
    SCHEME: ClassVar[str] = ""
    """URL scheme of the backend."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        known = StoreSettings.__optional_keys__
        for name in settings:
            if name not in known:
                raise TypeError(f"unexpected keyword argument {name}{closest(name, known)}")
        self._settings = settings
        self._clock = settings.get("clock", utc_now)
        self._timeout_seconds = settings.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS)
        days = settings.get("retention_days")
        check_span(self._timeout_seconds, "timeout_seconds")
        if days is not None:
            check_span(days, "retention_days")
        self._retention_seconds = None if days is None else int(days * 86_400)
        self._subscribers = events.Subscribers()
        self._closed = False
        self._torn_down = False
        self._close_is_due = False
        self._running: list[int] = []  # the thread of each call
        self._guard = threading.RLock()
        self._idle = threading.Condition(self._guard)
        _living.add(self)

    # -- what backends and wrappers say of themselves ------------------------------------------

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this store can do."""

    @property
    def backend(self) -> str:
        """URL scheme of the backend, for events and errors."""
        return self.SCHEME

    @property
    def settings(self) -> StoreSettings:
        """The keyword arguments it was made with."""
        return self._settings

    @property
    def retention_seconds(self) -> int | None:
        """Expiry of what has none of its own, counted from the message's creation; or None."""
        return self._retention_seconds

    @property
    def held_bytes(self) -> int:
        """Bytes that this process holds to answer faster: cached rows, vectors, codes."""
        return 0

    @classmethod
    def iam_policy(
        cls, url: StoreURL, access: Access, *, user_id: str | None = None, account: str = "*"
    ) -> dict[str, Any]:
        """Return the least AWS policy for what is at a URL, as IAM takes it; makes no request.

        Args:
            url: as ``from_url`` takes it.
            access: what the caller may do.
            user_id: only with what belongs to this user.
            account: only in this AWS account.

        Raises:
            UnsupportedOperationError: the backend does not ask AWS who may do what.
        """
        raise UnsupportedOperationError(f"{url.scheme} is no service of AWS: it needs no policy")

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return what a workload takes of what is at a URL; makes no request.

        Args:
            url: as ``from_url`` takes it.
            workload: what the application does.
            age_days: days since it began.

        Raises:
            UnsupportedOperationError: the backend does not say.
        """
        raise UnsupportedOperationError(
            f"{url.scheme} does not say what a workload takes of it; "
            "ialstore compare measures and prices vector indexes"
        )

    # -- hooks ----------------------------------------------------------------------------------

    def _setup(self, op: Operation) -> None:
        """Create what is missing; idempotent. Default: nothing to create."""

    def _check(self, op: Operation) -> list[str]:
        """Return one sentence per difference from what is expected. Default: none."""
        return []

    def _close(self) -> None:
        """Give everything back; called once, when no call runs. Default: nothing."""

    def _address(self, op: Operation, user_id: str) -> tuple[str, ...] | None:
        """Return texts that tell this store and user from any other, on any machine, for caches.

        The last one is the user. They stay the same as long as the data does. Default: None, it
        can't be told.
        """
        return None

    def _after_fork(self) -> None:
        """Forget connections inherited from the parent, without closing them. Default: nothing.

        Called in the child, before any of its calls.
        """

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        """Return the error of ialstore for one of the driver, or None to let it pass unchanged.

        Default: None.
        """
        return None

    # -- public methods -------------------------------------------------------------------------

    def setup(self) -> None:
        """Create what the store needs (tables, indexes, files); changes nothing that is there.

        Only needed with ``capabilities.needs_setup``.
        """
        self._require_writable("setup")
        with self._operation("setup", renewable=True) as op:
            self._setup(op)

    def check(self) -> list[str]:
        """Return one sentence for each difference between what is there and what is expected.

        Raises:
            StoreNotReadyError: the stored format is newer than this library.
        """
        with self._operation("check", renewable=True) as op:
            return self._check(op)

    def close(self) -> None:
        """Wait for running calls and give everything back; later calls raise. Idempotent.

        From within a call of this store, as a signal handler may be, it does not wait: the last
        call to end gives everything back.
        """
        with self._idle:
            self._closed = True
            if threading.get_ident() in self._running:
                self._close_is_due = True
                return
            while self._running:
                self._idle.wait()
            if self._torn_down:
                return
            self._torn_down = True
        self._close()

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        """Call ``listener`` with the event of every call; returns the function that ends it."""
        return self._subscribers.subscribe(listener)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- the frame around every call ------------------------------------------------------------

    def _operation(
        self,
        name: str,
        *,
        consistency: Consistency | None = None,
        renewable: bool = False,
    ) -> Operation:
        return Operation(
            self,
            name,
            consistency=consistency,
            clock=self._clock,
            timeout_seconds=self._timeout_seconds,
            renewable=renewable,
        )

    def _begin(self, op: Operation) -> None:
        try:
            with self._guard:
                if self._closed:
                    raise StoreNotReadyError(
                        f"{op.name}: this {self.backend} store is closed; open it again"
                    )
                op.remaining()  # a call that begins after its deadline could not keep to it
                self._running.append(threading.get_ident())
        except IalStoreError as error:
            self._named(op, error)
            raise

    def _end(self, op: Operation, error: BaseException | None) -> None:
        with self._guard:
            self._running.remove(threading.get_ident())
            if self._closed:
                self._idle.notify_all()
            is_last = self._close_is_due and not self._running
        raised = error
        if isinstance(error, Exception):
            raised = self._named(op, error)
            if op.is_partly_applied and isinstance(raised, IalStoreError):
                raised.outcome = _partly(raised.outcome)
        cost.record(op.units)
        if self._is_heard() or events.everyone.listeners:
            self._emit(op, raised)
        if is_last:
            self.close()
        if raised is not error and raised is not None:
            raise raised from error

    def _emit(self, op: Operation, error: BaseException | None) -> None:
        event = events.OperationEvent(
            kind=self.KIND,
            backend=self.backend,
            operation=op.name,
            seconds=time.perf_counter() - op.started,
            units=op.units,
            consistency=None if op.consistency is None else str(op.consistency),
            items=op.items,
            error=None if error is None else type(error).__name__,
            details=dict(op.details),
            round_trips=op.round_trips,
        )
        self._tell(event)
        events.everyone.emit(event)

    def _is_heard(self) -> bool:
        """Return whether anybody listens to this store, or to one inside it."""
        return bool(self._subscribers.listeners)

    def _tell(self, event: events.OperationEvent) -> None:
        """Hand an event to those who listen to this store, and to those inside it."""
        self._subscribers.emit(event)

    def _named(self, op: Operation, error: Exception) -> Exception:
        """Return the error to raise in place of one that came out of a hook."""
        raised = error if isinstance(error, IalStoreError) else None
        if raised is None and error is not op.callers_error:
            raised = self._translate(op, error)
        if raised is None:
            return error
        raised.backend = raised.backend or self.backend
        raised.operation = raised.operation or op.name
        return raised

    def _translating(self, op: Operation) -> AbstractContextManager[None]:
        """Return the border of this layer: a wrapper enters it around every hook it calls."""
        return _Border(self, op)

    def _reading(self, consistency: Consistency | str | None) -> Consistency:
        """Return the consistency of a read: as asked, or the strongest on offer."""
        strong = self.capabilities.strong_reads
        if consistency is None:
            return Consistency.STRONG if strong else Consistency.EVENTUAL
        try:
            wanted = Consistency(consistency)
        except ValueError:
            raise InvalidInputError(
                f"consistency must be strong, eventual or None, not {consistency!r}"
            ) from None
        if wanted is Consistency.STRONG and not strong:
            raise UnsupportedOperationError(
                f"{self.backend} offers no strongly consistent reads; leave consistency out",
                backend=self.backend,
            )
        return wanted

    def _require_writable(self, operation: str) -> None:
        if not self.capabilities.writable:
            raise UnsupportedOperationError(
                f"{operation}: this {self.backend} store is read-only",
                backend=self.backend,
                operation=operation,
            )

    def _require_users(self) -> None:
        if not self.capabilities.users:
            raise UnsupportedOperationError(
                f"users: {self.backend} can't list its users",
                backend=self.backend,
                operation="users",
            )

    def _forked(self) -> None:
        self._guard = threading.RLock()
        self._idle = threading.Condition(self._guard)
        # Only the thread that forked goes on in the child, perhaps in the middle of calls.
        self._running = [one for one in self._running if one == threading.get_ident()]
        self._after_fork()


def _partly(outcome: Outcome) -> Outcome:
    return Outcome.PARTIAL if outcome is Outcome.NOT_APPLIED else outcome


class _Border(AbstractContextManager[None]):
    __slots__ = ("_component", "_op")

    def __init__(self, component: Component, op: Operation) -> None:
        self._component = component
        self._op = op

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            raised = self._component._named(self._op, error)  # noqa: SLF001 - one mechanism
            if raised is not error:
                raise raised from error


_living: weakref.WeakSet[Component] = weakref.WeakSet()


def _forget_parent() -> None:
    for component in list(_living):
        component._forked()  # noqa: SLF001 - one mechanism


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_forget_parent)
