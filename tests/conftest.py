"""What holds for the whole run: the profile of Hypothesis, quick tests first, what is undone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from ialstore import registry

# A busy machine is no failure. In CI the same examples run every time, so that a change is to
# blame when one fails; at a desk, new ones are tried.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default")

LAST = (
    "caching",
    "rediscache",
    "dynamodb",
    "opensearch",
    "typing",
    "plugins",
    "conformance",
    "faults",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow folders last, in this order; a folder not named here counts as quick."""
    items.sort(key=lambda item: next((LAST.index(p) + 1 for p in item.path.parts if p in LAST), 0))


@pytest.fixture(autouse=True)
def _registrations() -> Iterator[None]:
    """Undo what a test registers: other tests must not see it."""
    before = registry._added.copy()  # noqa: SLF001 - the library has no way to unregister
    yield
    registry._added.clear()  # noqa: SLF001 - as above
    registry._added.update(before)  # noqa: SLF001 - as above
