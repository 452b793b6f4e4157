"""What the author of an index is told when a fixture of the suite is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Unpack

import pytest

from ialstore import IndexSpec, InvalidInputError, LockedError
from ialstore.capabilities import VectorCapabilities
from ialstore.component import StoreSettings
from ialstore.testing import ManualClock
from ialstore.testing.vector.base import assert_refused
from ialstore.testing.vector.machine import MachineChapter
from ialstore_backends.memory import MemoryVectorIndex

pytest_plugins = ["pytester"]

SUITES = """
    from dataclasses import replace

    import pytest

    from ialstore import UnsupportedOperationError
    from ialstore.testing import VectorIndexSuite
    from ialstore.testing.vector.differential import VectorDifferentialSuite
    from ialstore_backends.memory import MemoryVectorIndex


    class Late(MemoryVectorIndex):
        CAPABILITIES = replace(MemoryVectorIndex.CAPABILITIES, strong_reads=False)


    class ReadOnly(MemoryVectorIndex):
        CAPABILITIES = replace(MemoryVectorIndex.CAPABILITIES, writable=False)


    def refuse(spec, **settings):
        raise UnsupportedOperationError(f"no {spec.metric}")


    class TestNothing(VectorIndexSuite):
        pass


    class TestNothingBesideAnother(VectorDifferentialSuite):
        pass


    class TestNoMetric(VectorIndexSuite):
        @pytest.fixture
        def make_index(self):
            return refuse


    class TestLate(VectorIndexSuite):
        @pytest.fixture
        def make_index(self):
            return Late


    class TestReadOnly(VectorIndexSuite):
        @pytest.fixture
        def make_index(self):
            return ReadOnly
"""


@pytest.mark.parametrize(
    ("chosen", "outcome", "told"),
    [
        ("TestNothing and upserting_nothing", "errors", "define a fixture make_index that returns"),
        ("TestNothingBeside and alike", "errors", "define a fixture make_indexes that return"),
        ("TestNoMetric and upserting_nothing", "errors", "V1: the index opens for no metric: no "),
        ("TestLate and upserting_nothing", "errors", "capabilities.strong_reads is false: define "),
        ("TestReadOnly and order_asked", "skipped", "capabilities.writable is false: define a fi"),
        ("TestReadOnly and its_setup", "skipped", "capabilities.writable is false: nothing can b"),
    ],
)
def test_a_fixture_that_is_missing_is_named(
    pytester: pytest.Pytester, chosen: str, outcome: str, told: str
) -> None:
    pytester.makepyfile(SUITES)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rs", "-k", chosen)
    assert set(result.parseoutcomes()) == {outcome, "deselected"}
    result.stdout.fnmatch_lines([f"*{told}*"])


class Crowded(MemoryVectorIndex):
    """Says that several may use it, and lets in one."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES, multi_process=True
    )
    open_now: ClassVar[list[Crowded]] = []

    def __init__(self, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(spec, **settings)
        if self.open_now:
            raise LockedError("there is another")
        self.open_now.append(self)

    def _close(self) -> None:
        self.open_now.remove(self)


def test_a_machine_closes_what_it_opened_when_it_can_not_open_another() -> None:
    machine = MachineChapter().test_an_index_answers_like_a_dict_of_records
    with pytest.raises(LockedError, match="there is another"):
        machine(Crowded, None, "dot", Crowded.CAPABILITIES, ManualClock())
    assert Crowded.open_now == []


def test_what_should_have_been_refused_is_named() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"^S8: a cursor: not refused with Invalid"):
        assert_refused(InvalidInputError, lambda: None, "S8: a cursor")
