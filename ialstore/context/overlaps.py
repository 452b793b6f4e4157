"""Writes and removals of one engine that overlap: each learns of the other.

A message is stored before its vector is; a removal deletes vectors before messages. Where the two
overlap, a vector may be written after the removal has deleted vectors, for a message that it
deletes next. Whoever ends last looks: the removal at the messages of the writes it met, the write
at its own.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Overlaps", "Removal", "Write"]


@dataclass(slots=True, eq=False)
class Write:
    """A running write of messages and their vectors."""

    user_id: str
    ids: tuple[str, ...]
    met_removal: bool = False
    """Messages of the user were removed from the store meanwhile."""


@dataclass(slots=True, eq=False)
class Removal:
    """A running removal of vectors and messages."""

    user_id: str
    met_ids: list[str]
    """Messages of the user that were written meanwhile."""


class Overlaps:
    """The writes and removals that run now, of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writes: set[Write] = set()
        self._removals: set[Removal] = set()

    @contextmanager
    def writing(self, user_id: str, ids: Sequence[str]) -> Generator[Write, None, None]:
        """Announce a write while the block runs."""
        write = Write(user_id, tuple(ids))
        with self._lock:
            self._writes.add(write)
            for removal in self._removals:
                if removal.user_id == user_id:
                    removal.met_ids += write.ids
        try:
            yield write
        finally:
            with self._lock:
                self._writes.discard(write)

    @contextmanager
    def removing(self, user_id: str) -> Generator[Removal, None, None]:
        """Announce a removal while the block runs."""
        removal = Removal(user_id, [])
        with self._lock:
            self._removals.add(removal)
            for write in self._writes:
                if write.user_id == user_id:
                    removal.met_ids += write.ids
        try:
            yield removal
        finally:
            with self._lock:
                self._removals.discard(removal)

    def removed(self, removal: Removal) -> tuple[str, ...]:
        """Tell running writes that the store has removed; return the messages of those it met."""
        with self._lock:
            for write in self._writes:
                if write.user_id == removal.user_id:
                    write.met_removal = True
            return tuple(dict.fromkeys(removal.met_ids))
