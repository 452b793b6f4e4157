"""How the kit is opened: its names, and how much it tries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import Phase

from ialstore import ConfigurationError, testing
from ialstore.testing.profiles import PROFILES, profile


def test_every_name_of_the_kit_is_imported_when_it_is_asked_for() -> None:
    assert dir(testing) == sorted(testing.__all__)
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'VectorSuite'"):
        _ = testing.VectorSuite


def test_the_environment_names_the_profile() -> None:
    assert profile({}) == profile({"IALSTORE_PROFILE": "default"}) == PROFILES["default"]
    thorough = profile({"IALSTORE_PROFILE": "thorough", "CI": "1"})
    assert thorough == PROFILES["thorough"]
    assert thorough.machine_examples > PROFILES["default"].machine_examples
    with pytest.raises(ConfigurationError, match=r"IALSTORE_PROFILE.*thorow.*thorough"):
        profile({"IALSTORE_PROFILE": "thorow"})


def test_in_ci_the_same_examples_are_tried_in_every_run() -> None:
    fixed = profile({"CI": "true"})
    assert fixed == replace(PROFILES["default"], fixed=True)
    for settings in (fixed.machine(), fixed.property()):
        assert settings.derandomize
        assert settings.database is None


def test_a_profile_says_how_much_is_tried() -> None:
    found = profile({})
    machine = found.machine(stateful_step_count=7)
    assert machine.max_examples == found.machine_examples
    assert machine.stateful_step_count == 7
    assert found.property().max_examples == found.property_examples
    assert Phase.explain not in machine.phases
    assert machine.deadline is None
