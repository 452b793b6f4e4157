"""Each fault that is planted in ``dual`` and ``shadow`` is found by the test that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.outcomes import Failed

from ialstore import IalStoreError
from tests.wrappers.planted import FAULTS, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.broken.__name__)
def test_a_planted_fault_is_found(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict(fault.given)
    if "tmp_path" in given:
        given["tmp_path"] = tmp_path
    monkeypatch.setattr(fault.module, fault.sound, fault.broken)
    with pytest.raises((AssertionError, Failed, IalStoreError, ZeroDivisionError)):
        fault.found_by(**given)


def test_there_are_faults_of_every_wrapper() -> None:
    of_each = {fault.sound for fault in FAULTS}
    assert of_each == {
        "DualConversationStore",
        "DualVectorIndex",
        "ShadowConversationStore",
        "ShadowVectorIndex",
    }
    assert len({fault.broken.__doc__ for fault in FAULTS}) == len(FAULTS)
