"""The kit finds what is planted: by the test that ``docs/kit.md`` names, which sound stores pass.

``python -m tests.kit.planted.run --write`` runs the whole kit and writes the table that is checked.
"""

from __future__ import annotations

from typing import Final

import pytest

from ialstore_backends.memory import MemoryConversationStore, MemoryVectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from tests.kit.planted.cached import Cached
from tests.kit.planted.registry import Fault, everything
from tests.kit.planted.run import PAGE, Finding, read_table, run_kit, table_of

pytestmark = pytest.mark.no_cover

FAULTS: Final = everything()
SOUND: Final = (
    Cached,
    MemoryConversationStore,
    SqliteConversationStore,
    MemoryVectorIndex,
    SqliteVectorIndex,
)


def base_of(fault: Fault) -> str:
    """Return the name of the sound class that a fault was planted in."""
    return next(one.__name__ for one in fault.broken.__mro__ if one in SOUND)


FOUND: Final = [one for one in read_table() if one.found_by]


def test_the_table_names_every_fault_once() -> None:
    assert len({one.words for one in FAULTS}) == len(FAULTS)
    assert [one.fault.name for one in read_table()] == [one.name for one in FAULTS], (
        "run python -m tests.kit.planted.run --write"
    )


def test_the_kit_finds_nearly_all() -> None:
    assert len(FOUND) >= 0.95 * len(FAULTS)
    assert PAGE.read_text(encoding="utf-8").endswith(table_of(read_table()))


@pytest.mark.parametrize("finding", FOUND, ids=lambda one: one.fault.name)
def test_the_kit_finds(finding: Finding) -> None:
    assert run_kit(finding.fault.name, [finding.found_by]).failed == [finding.found_by]


@pytest.mark.parametrize("base", sorted({base_of(one) for one in FAULTS}))
def test_sound_ones_pass_what_finds_the_faults(base: str) -> None:
    tests = sorted({one.found_by for one in FOUND if base_of(one.fault) == base})
    outcome = run_kit(base, tests)
    assert (outcome.failed, outcome.fine) == ([], len(tests))
