"""What the author of a store is told when a fixture of the suite is missing."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SUITES = """
    from dataclasses import replace

    import pytest

    from ialstore.testing import ConversationStoreSuite, DifferentialSuite
    from ialstore_backends.memory import MemoryConversationStore


    class Late(MemoryConversationStore):
        CAPABILITIES = replace(MemoryConversationStore.CAPABILITIES, strong_reads=False)


    class ReadOnly(MemoryConversationStore):
        CAPABILITIES = replace(MemoryConversationStore.CAPABILITIES, writable=False)


    class TestNothing(ConversationStoreSuite):
        pass


    class TestNothingBesideAnother(DifferentialSuite):
        pass


    class TestLate(ConversationStoreSuite):
        @pytest.fixture
        def make_store(self):
            return Late


    class TestReadOnly(ConversationStoreSuite):
        @pytest.fixture
        def make_store(self):
            return ReadOnly


    class TestNoFaults(ConversationStoreSuite):
        @pytest.fixture
        def make_store(self):
            return MemoryConversationStore
"""


@pytest.mark.parametrize(
    ("chosen", "outcome", "told"),
    [
        ("TestNothing and appending_nothing", "errors", "define a fixture make_store that returns"),
        ("TestNothingBeside and alike", "errors", "define a fixture make_stores that returns"),
        ("TestLate and appending_nothing", "errors", "capabilities.strong_reads is false: define"),
        ("TestReadOnly and order_asked", "skipped", "capabilities.writable is false: define a fi"),
        ("TestReadOnly and appending_nothing", "skipped", "capabilities.writable is false: this t"),
        ("TestNoFaults and an_outage_ends", "skipped", "define a fixture faults that makes your"),
    ],
)
def test_a_fixture_that_is_missing_is_named(
    pytester: pytest.Pytester, chosen: str, outcome: str, told: str
) -> None:
    pytester.makepyfile(SUITES)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rs", "-k", chosen)
    assert set(result.parseoutcomes()) == {outcome, "deselected"}
    result.stdout.fnmatch_lines([f"*{told}*"])
