"""A source and a target of one kind, and how what a user has there is read, compared and written.

``ConversationPair`` is for messages, ``VectorPair`` for the records of indexes; what is done with
them is in ``copy``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

import numpy as np

from ialstore._text import ceil_seconds, to_microseconds
from ialstore.component import utc_now
from ialstore.conversation import ConversationStore
from ialstore.errors import ConflictError, PartialWriteError
from ialstore.ids import id_time
from ialstore.limits import MAX_APPEND, MAX_APPEND_BYTES, MAX_DELETE, MAX_GET, MAX_PAGE, MAX_UPSERT
from ialstore.listing import walk
from ialstore.migrate.plan import Part
from ialstore.migrate.verify import Identified
from ialstore.model import Message, default_expiry, encode_message
from ialstore.vector import VectorIndex
from ialstore.vector_model import VectorRecord

__all__ = ["ConversationPair", "Pair", "VectorPair"]

T = TypeVar("T", bound=Identified)
P = TypeVar("P", bound=Part)

_ROUNDING: Final = 1e-6
"""Of float32, relative to the length of a vector."""


class Pair(ABC, Generic[P, T]):
    """What copying asks of the two sides, whatever is copied."""

    MAX_ITEMS: ClassVar[int]
    """Of one ``add`` or ``put``."""
    MAX_BYTES: ClassVar[int]
    """Likewise, as ``size`` counts."""

    def __init__(self, source: P, target: P) -> None:
        self.source = source
        self.target = target
        self._clock = target.settings.get("clock", utc_now)

    @abstractmethod
    def read(self, part: P, user_id: str, after: str) -> Iterator[T]:
        """Yield what a user has, ascending by id, behind an id or a text of that form."""

    @abstractmethod
    def _get(self, part: P, user_id: str, ids: Sequence[str]) -> Sequence[T]:
        """Return those of up to 100 ids that are there."""

    @abstractmethod
    def form(self, item: T, *, moved: bool) -> str:
        """Return all that has to be equal, and nothing that may be rounded.

        Args:
            item: of the source or of the target.
            moved: as the target would keep it, with the expiry that it gives by default.
        """

    @abstractmethod
    def near(self, ours: T, theirs: T, *, exactly: bool = False) -> bool:
        """Whether what may be rounded is as near as the two sides promise, or the same."""

    @abstractmethod
    def size(self, item: T) -> int:
        """Return the bytes that count for ``MAX_BYTES``."""

    @abstractmethod
    def add(self, user_id: str, items: Sequence[T]) -> int:
        """Store in the target what it lacked; return how many it did not get meanwhile."""

    @abstractmethod
    def put(self, user_id: str, items: Sequence[T]) -> None:
        """Store in the target, in place of what it may have."""

    def equal(self, one: T, other: T) -> bool:
        """Whether the source gave the same twice."""
        alike = self.form(one, moved=True) == self.form(other, moved=True)
        return alike and self.near(one, other, exactly=True)

    def same(self, ours: T, theirs: T) -> bool:
        """Whether the target holds what the source holds."""
        alike = self.form(ours, moved=True) == self.form(theirs, moved=False)
        return alike and self.near(ours, theirs)

    def get(self, part: P, user_id: str, ids: Sequence[str]) -> Mapping[str, T]:
        """Return those of any number of ids that are there, by id."""
        found: dict[str, T] = {}
        for start in range(0, len(ids), MAX_GET):
            found.update(
                (one.id, one) for one in self._get(part, user_id, ids[start : start + MAX_GET])
            )
        return found

    def remove(self, user_id: str, ids: Sequence[str]) -> int:
        """Delete from the target; return how many it had."""
        return sum(
            self.target.delete(user_id, ids[start : start + MAX_DELETE])
            for start in range(0, len(ids), MAX_DELETE)
        )

    def expires(self, item: T, *, moved: bool) -> int | None:
        """Return when it expires, seconds since 1970; see ``form``."""
        if item.expires_at is not None:
            return ceil_seconds(item.expires_at, "expires_at")
        return default_expiry(item.id, self.target.retention_seconds) if moved else None

    def now(self) -> int:
        """Return seconds since 1970 by the clock of the target."""
        return to_microseconds(self._clock(), "what the clock returns") // 1_000_000


class ConversationPair(Pair[ConversationStore, Message]):
    """Two conversation stores."""

    MAX_ITEMS: ClassVar[int] = MAX_APPEND
    MAX_BYTES: ClassVar[int] = MAX_APPEND_BYTES

    def read(self, part: ConversationStore, user_id: str, after: str) -> Iterator[Message]:
        """Yield messages, oldest first."""
        since = id_time(after)
        messages = walk(
            lambda cursor: part.history(
                user_id, since=since, newest_first=False, limit=MAX_PAGE, cursor=cursor
            )
        )
        return (one for one in messages if one.id > after)

    def _get(self, part: ConversationStore, user_id: str, ids: Sequence[str]) -> Sequence[Message]:
        return part.get(user_id, ids)

    def form(self, item: Message, *, moved: bool) -> str:
        """Return the hash of the content, and what that leaves out."""
        expires = self.expires(item, moved=moved)
        return repr((item.id, item.content_hash, item.summary, item.tokens, expires))

    def near(self, ours: Message, theirs: Message, *, exactly: bool = False) -> bool:
        """Nothing of a message is rounded."""
        return True

    def size(self, item: Message) -> int:
        """Return bytes as ``append`` counts them."""
        return encode_message(item).size

    def add(self, user_id: str, items: Sequence[Message]) -> int:
        """Append: of several that copy at once, one stores each message."""
        try:
            return len(self.target.append(*items).stored)
        except ConflictError:
            self.put(user_id, items)
        except PartialWriteError as error:
            if not error.conflicting:
                raise
            self.put(user_id, items)
        return len(items)

    def put(self, user_id: str, items: Sequence[Message]) -> None:
        """Replace or append; a session that the id can't tell from this one stays in the way."""
        for message in items:
            try:
                if not self.target.replace(message):
                    self.target.append(message)
            except ConflictError:
                continue  # compared again, it is different


class VectorPair(Pair[VectorIndex, VectorRecord]):
    """Two vector indexes."""

    MAX_ITEMS: ClassVar[int] = MAX_UPSERT
    MAX_BYTES: ClassVar[int] = 16 * 1024 * 1024

    def __init__(self, source: VectorIndex, target: VectorIndex) -> None:
        super().__init__(source, target)
        ours, theirs = source.capabilities.vector_error, target.capabilities.vector_error
        # Both may be roundings of a third one, relative to whose length the errors are.
        self._tolerance = (ours + theirs) / (1 - ours) + _ROUNDING

    def read(self, part: VectorIndex, user_id: str, after: str) -> Iterator[VectorRecord]:
        """Yield records by id."""
        wanted: list[str] = []
        for one in walk(lambda cursor: part.ids(user_id, limit=MAX_PAGE, cursor=cursor)):
            if one > after:
                wanted.append(one)
            if len(wanted) == MAX_GET:
                yield from part.get(user_id, wanted)
                wanted = []
        if wanted:
            yield from part.get(user_id, wanted)

    def _get(self, part: VectorIndex, user_id: str, ids: Sequence[str]) -> Sequence[VectorRecord]:
        return part.get(user_id, ids)

    def form(self, item: VectorRecord, *, moved: bool) -> str:
        """Return all but the vector."""
        expires = self.expires(item, moved=moved)
        return repr((item.id, item.session_id, str(item.role), item.text, expires))

    def near(self, ours: VectorRecord, theirs: VectorRecord, *, exactly: bool = False) -> bool:
        """Whether the vectors are no further apart than ``vector_error`` of both sides allows."""
        if exactly:
            return bool(np.array_equal(ours.vector, theirs.vector))
        left, right = (np.asarray(one.vector, np.float64) for one in (ours, theirs))
        away = float(np.linalg.norm(left - right))
        return away <= self._tolerance * float(np.linalg.norm(left))

    def size(self, item: VectorRecord) -> int:
        """Return the bytes of the vector."""
        vector: Any = item.vector
        return int(vector.nbytes)

    def add(self, user_id: str, items: Sequence[VectorRecord]) -> int:
        """Upsert: whoever does the same leaves the same."""
        self.target.upsert(user_id, items)
        return len(items)

    def put(self, user_id: str, items: Sequence[VectorRecord]) -> None:
        """Upsert, which replaces."""
        self.target.upsert(user_id, items)
