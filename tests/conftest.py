"""What holds for the whole run: the folders with quick tests go first."""

from __future__ import annotations

import pytest

LAST = ("typing", "conformance", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow folders last, in this order; a folder not named here counts as quick."""
    items.sort(key=lambda item: next((LAST.index(p) + 1 for p in item.path.parts if p in LAST), 0))
