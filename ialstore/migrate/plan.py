"""What a copy is to do, and whether it can: options, users, specs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ialstore._text import to_microseconds
from ialstore.conversation import ConversationStore
from ialstore.errors import ConfigurationError, InvalidInputError
from ialstore.ids import LOWEST_ID, check_id_part, lowest_id_at
from ialstore.limits import MAX_PAGE
from ialstore.listing import walk
from ialstore.vector import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

__all__ = ["CopyOptions", "Part", "check_plan", "planned_users"]

Part: TypeAlias = ConversationStore | VectorIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """Which part of a source is copied, and what becomes of the rest of the target.

    Attributes:
        users: only these; None for all that the source lists, and, to be compared, the target's.
        since: only messages, or vectors of messages, of this time or later; timezone-aware.
        delete_extra: remove from the target what the source does not hold.
    """

    users: tuple[str, ...] | None = None
    since: datetime | None = None
    delete_extra: bool = False

    def __post_init__(self) -> None:
        for user_id in self.users or ():
            check_id_part(user_id, "users")
        if self.since is not None:
            to_microseconds(self.since, "since")

    @property
    def lowest(self) -> str:
        """A text that sorts before every id that is copied."""
        if self.since is None:
            return LOWEST_ID
        return lowest_id_at(to_microseconds(self.since, "since"))


def check_plan(source: Part, target: Part, options: CopyOptions) -> None:
    """Refuse what can't be copied, before anything is written.

    Raises:
        InvalidInputError: one is a store and the other an index, or both are the same object.
        ConfigurationError: the indexes were made for different vectors, or ``delete_extra`` asks a
            source that can't say for sure what it holds.
    """
    if source.KIND != target.KIND:
        raise InvalidInputError(f"a {source.KIND} store can't be copied to a {target.KIND} store")
    if source is target:
        raise InvalidInputError("source and target are the same store")
    if options.delete_extra and not source.capabilities.strong_reads:
        raise ConfigurationError(
            f"{source.backend} offers no strongly consistent reads: what it seems to lack may not "
            "be deleted elsewhere"
        )
    if isinstance(source, VectorIndex) and isinstance(target, VectorIndex):
        ours, theirs = source.spec, target.spec
        if (ours.dimension, ours.metric) != (theirs.dimension, theirs.metric) or (
            ours.model and theirs.model and ours.model != theirs.model
        ):
            raise ConfigurationError(f"the source holds {ours}, the target {theirs}")
        for index in (source, target):
            index.get("ialstore", [])  # compares the stored spec, the source's first


def planned_users(source: Part, target: Part, options: CopyOptions) -> Iterator[str]:
    """Yield each user to look at once: those named, or all of the source, then of the target.

    Raises:
        UnsupportedOperationError: none are named and the source can't list them.
    """
    seen: set[str] = set()
    if options.users is not None:
        yield from dict.fromkeys(options.users)
        return
    for part in (source, target):
        if part is target and not target.capabilities.users:
            return
        for user_id in _listed(part):
            if user_id not in seen:
                seen.add(user_id)
                yield user_id


def _listed(part: Part) -> Iterator[str]:
    return walk(lambda cursor: part.users(limit=MAX_PAGE, cursor=cursor))
