"""A directory to open indexes in, with users small enough for a test, and what is in its files."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ialstore.testing.clock import ManualClock
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER
from ialstore_backends.faiss import FaissOptions, FaissVectorIndex
from ialstore_backends.faiss.matrix import FaissMatrix
from ialstore_backends.faiss.parts import Built

__all__ = ["Place", "built_of", "matrix_of"]


class Place:
    """One directory."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.path = path
        self.clock = clock
        self._opened: list[FaissVectorIndex] = []

    def open(
        self, kind: Any = "hnsw", storage: Any = None, metric: str = "cosine", **options: Any
    ) -> FaissVectorIndex:
        """Return an index in the directory, closed at the end of the test."""
        made = FaissVectorIndex(
            self.path,
            spec_of(metric),
            options=FaissOptions(kind, storage, **options),
            clock=self.clock,
        )
        self._opened.append(made)
        return made

    def close(self) -> None:
        """Close them all."""
        while self._opened:
            self._opened.pop().close()

    @property
    def snapshot(self) -> Path:
        """The file of the first user."""
        return self.path / "user-1.faiss"

    def holds(self, wanted: bytes) -> list[str]:
        """Return the names of the files that hold some bytes."""
        return sorted(one.name for one in self.path.iterdir() if wanted in one.read_bytes())


def matrix_of(index: FaissVectorIndex, user: str = USER) -> FaissMatrix:
    """Return what an index holds of a user after a search."""
    held = index._held.find(user).held  # noqa: SLF001 - nothing public tells
    assert held is not None
    assert isinstance(held.matrix, FaissMatrix)
    return held.matrix


def built_of(index: FaissVectorIndex, user: str = USER) -> Built | None:
    """Return the FAISS index of a user after a search."""
    return matrix_of(index, user).built


@contextmanager
def placed(path: Path) -> Generator[Place]:
    """Give a directory."""
    place = Place(path, ManualClock())
    try:
        yield place
    finally:
        place.close()
