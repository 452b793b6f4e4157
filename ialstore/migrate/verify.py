"""What is found when the source and the target of a copy are compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

__all__ = ["CopyReport", "Identified", "Tally", "UserReport", "joined"]

T = TypeVar("T", bound="Identified")

_MODULUS: Final = 2**128


class Identified(Protocol):
    """A message or a record."""

    @property
    def id(self) -> str:
        """A message id."""
        ...

    @property
    def expires_at(self) -> datetime | None:
        """From then on no read shows it."""
        ...


@dataclass(frozen=True, slots=True)
class Tally:
    """Count and hash of what a user has on one side.

    Attributes:
        count: messages or vectors.
        hash: 128 bits in hex: the sum of the hashes of each, so that no order matters.
    """

    count: int = 0
    hash: str = "0" * 32

    def with_one(self, form: str) -> Tally:
        """Return the tally with one more, of this form."""
        number = int.from_bytes(hashlib.sha256(form.encode()).digest()[:16], "big")
        return Tally(self.count + 1, f"{(int(self.hash, 16) + number) % _MODULUS:032x}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserReport:
    """What was done for a user, and how source and target compare at the end.

    Attributes:
        user_id: whose.
        source: what the source holds.
        target: what the target holds.
        missing: how many the target lacks.
        different: how many it holds with other content.
        extra: how many it holds that the source does not.
        expired: how many the target would not show, by the default expiry that it gives them.
        stored: how many were stored by the copy.
        replaced: how many were replaced by it.
        deleted: how many were deleted by it.
        examples: ids of some that differ.
    """

    user_id: str
    source: Tally = Tally()
    target: Tally = Tally()
    missing: int = 0
    different: int = 0
    extra: int = 0
    expired: int = 0
    stored: int = 0
    replaced: int = 0
    deleted: int = 0
    examples: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the target holds what the source holds, and nothing else."""
        return not (self.missing or self.different or self.extra)


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What became of all users, in the order in which they were looked at."""

    users: tuple[UserReport, ...] = field(repr=False)
    resumed: int = 0
    """Users that a run before this one, which was stopped, had done."""

    @property
    def same(self) -> bool:
        """Whether source and target are equal for every user."""
        return all(one.same for one in self.users)

    @property
    def differing(self) -> tuple[UserReport, ...]:
        """The users for whom they are not."""
        return tuple(one for one in self.users if not one.same)

    def total(self, name: str) -> int:
        """Return the sum of a number of ``UserReport`` over all users."""
        return sum(getattr(one, name) for one in self.users)


def joined(ours: Iterator[T], theirs: Iterator[T]) -> Iterator[tuple[T | None, T | None]]:
    """Yield what has the same id as a pair; None stands for what one side lacks.

    Args:
        ours: ascending by id.
        theirs: likewise.
    """
    left, right = next(ours, None), next(theirs, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.id < right.id):
            yield left, None
            left = next(ours, None)
        elif left is None or right.id < left.id:
            yield None, right
            right = next(theirs, None)
        else:
            yield left, right
            left, right = next(ours, None), next(theirs, None)
