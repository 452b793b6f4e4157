"""Capabilities are values: compared, hashed, changed by ``replace``."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta

import pytest

from ialstore.capabilities import Capabilities, ConversationCapabilities, VectorCapabilities

NAMED = {
    "strong_reads",
    "durable",
    "needs_setup",
    "writable",
    "users",
    "multi_process",
    "stale_after_crash_seconds",
}


def test_the_capabilities_are_those_of_the_design() -> None:
    assert {one.name for one in fields(Capabilities)} == NAMED
    assert {one.name for one in fields(ConversationCapabilities)} == NAMED | {
        "atomic_append",
        "exact_sessions",
        "activity_precision",
    }
    assert {one.name for one in fields(VectorCapabilities)} == NAMED | {
        "exact",
        "min_recall",
        "max_k",
        "vector_error",
        "settling_seconds",
        "metrics",
    }


@pytest.mark.parametrize("kind", [Capabilities, ConversationCapabilities, VectorCapabilities])
def test_a_wrapper_changes_a_copy(kind: type[Capabilities]) -> None:
    made = kind()
    changed = replace(made, writable=False)
    assert (made.writable, changed.writable) == (True, False)
    assert made == kind() != changed
    assert hash(made) == hash(kind())
    with pytest.raises(FrozenInstanceError):
        made.writable = False  # type: ignore[misc]  # the point of the test


def test_nothing_is_claimed_unless_said() -> None:
    made = ConversationCapabilities()
    assert not made.durable
    assert not made.users
    assert not made.multi_process
    assert not made.atomic_append
    assert not made.exact_sessions
    assert made.activity_precision == timedelta(0)
