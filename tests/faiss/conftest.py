"""Small users have an index, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ialstore_backends.faiss import matrix
from tests.faiss.places import Place, placed


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "LEAST", 100)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "faiss") as made:
        yield made
