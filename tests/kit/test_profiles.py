"""How much the kit tries."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase

from ialstore import ConfigurationError
from ialstore.testing.profiles import PROFILES, Profile, profile


def test_the_default_profile_is_for_every_commit() -> None:
    chosen = profile({})
    assert chosen == PROFILES["default"] == profile({"IALSTORE_PROFILE": ""})
    assert not chosen.fixed


def test_ci_tries_the_same_examples_in_every_run() -> None:
    chosen = profile({"CI": "1"})
    assert chosen.fixed
    assert chosen.machine_examples == PROFILES["default"].machine_examples
    assert chosen.machine().derandomize
    assert chosen.machine().database is None
    assert not profile({"CI": ""}).fixed


def test_the_thorough_profile_tries_new_examples_in_ci_too() -> None:
    chosen = profile({"IALSTORE_PROFILE": "thorough", "CI": "1"})
    assert chosen == PROFILES["thorough"]
    assert not chosen.machine().derandomize
    assert chosen.machine_examples > PROFILES["default"].machine_examples
    assert chosen.property_examples > PROFILES["default"].property_examples


def test_a_misspelt_profile_is_refused_and_the_closest_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"IALSTORE_PROFILE.*thorogh.*thorough"):
        profile({"IALSTORE_PROFILE": "thorogh"})


def test_the_environment_is_read_unless_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IALSTORE_PROFILE", "thorough")
    assert profile() == PROFILES["thorough"]


def test_settings_follow_the_profile_and_may_be_changed() -> None:
    chosen = PROFILES["default"]
    machine = chosen.machine()
    assert machine.max_examples == chosen.machine_examples
    assert machine.stateful_step_count == chosen.machine_steps
    assert chosen.property().max_examples == chosen.property_examples
    assert chosen.property(max_examples=3).max_examples == 3
    assert chosen.machine(stateful_step_count=7).stateful_step_count == 7
    for settings in (machine, chosen.property()):
        assert settings.deadline is None
        assert Phase.explain not in settings.phases
        assert Phase.shrink in settings.phases
        assert HealthCheck.too_slow in settings.suppress_health_check
    assert Phase.shrink not in Profile(1, 1, 1, shrink=False).property().phases
