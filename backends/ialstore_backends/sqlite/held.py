"""What ``vectors`` keeps in memory between searches: matrices of users, within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ialstore.errors import DeadlineExceededError

if TYPE_CHECKING:
    from types import TracebackType

    from ialstore.operation import Operation
    from ialstore_backends._exact import ExactMatrix

__all__ = ["Held", "HeldUsers", "Slot", "State"]

_BYTES_PER_USER: Final = 4096  # of a matrix without vectors, its lock and its dictionaries


class State(NamedTuple):
    """Which vectors a user has: two equal states of one file have the same.

    Attributes:
        user: number of the user, never given to another, nor again after an erase.
        written: vectors written so far, replaced and removed ones included.
        removals: how often vectors were removed.
        total: vectors there are, expired ones included.
    """

    user: int
    written: int
    removals: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A matrix and the state it stands for."""

    matrix: ExactMatrix
    state: State


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one user; who holds the lock may put another ``Held`` into it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    held: Held | None = None
    size: int = 0
    last_write: object | None = None
    """The index's last write when the state was last compared with the file."""


class HeldUsers:
    """Matrices of the users searched last, at most so many bytes; safe from many threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, Slot] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._bytes

    def lend(self, op: Operation, user_id: str) -> AbstractContextManager[Slot]:
        """Lend the slot of a user to one thread at a time.

        Raises:
            DeadlineExceededError: another thread had it all the time.
        """
        return _Loan(self, op, user_id)

    def find(self, user_id: str) -> Slot:
        """Return the slot of a user, a new one if need be; it is now the last to be dropped."""
        with self._lock:
            slot = self._slots.get(user_id)
            if slot is None:
                slot = self._slots[user_id] = Slot()
            else:
                self._slots.move_to_end(user_id)
            return slot

    def drop(self, user_id: str) -> None:
        """Forget a user."""
        with self._lock:
            slot = self._slots.pop(user_id, None)
            if slot is not None:
                self._bytes -= slot.size

    def settle(self, user_id: str, slot: Slot) -> None:
        """Count what the slot takes now, and drop those not searched for longest."""
        size = 0 if slot.held is None else slot.held.matrix.nbytes + _BYTES_PER_USER
        with self._lock:
            if self._slots.get(user_id) is not slot:
                return  # dropped while it was lent: nobody will find it again
            self._bytes += size - slot.size
            slot.size = size
            if not size:
                del self._slots[user_id]
            while self._bytes > self.most_bytes:
                _, oldest = self._slots.popitem(last=False)
                self._bytes -= oldest.size


class _Loan(AbstractContextManager[Slot]):
    """A class: a generator would take twice as long, in every search."""

    __slots__ = ("_before", "_held_users", "_op", "_slot", "_user_id")

    def __init__(self, held_users: HeldUsers, op: Operation, user_id: str) -> None:
        self._held_users = held_users
        self._op = op
        self._user_id = user_id
        self._slot = held_users.find(user_id)
        self._before: Held | None = None

    def __enter__(self) -> Slot:
        lock = self._slot.lock
        if not lock.acquire(blocking=False) and not lock.acquire(timeout=self._op.remaining()):
            raise DeadlineExceededError(
                f"{self._op.name}: other threads were searching the same vectors", retryable=True
            )
        self._before = self._slot.held
        return self._slot

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is None or self._slot.held is not self._before:
            self._held_users.settle(self._user_id, self._slot)
        self._slot.lock.release()
