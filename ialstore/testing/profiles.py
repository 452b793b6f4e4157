"""How much the kit tries: ``default`` for every commit, ``thorough`` for the night.

``IALSTORE_PROFILE`` names the profile. With ``CI`` set the default one tries the same examples in
every run, so that a change is to blame when one fails; elsewhere, and in the thorough one, new ones
are tried.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings

from ialstore.errors import ConfigurationError
from ialstore.url import closest

__all__ = ["PROFILES", "Profile", "profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How much the kit tries.

    Attributes:
        machine_examples: runs of each state machine.
        machine_steps: calls of a run at most.
        property_examples: examples of each other property.
        fault_points: calls at which a program is killed, or fails, of each kind; None for all.
        fault_cuts: moments at which the power is taken from each recorded program.
        fault_mutants: damaged copies of a file that are read.
        fixed: try the same examples in every run.
        shrink: look for the shortest example that fails, which takes up to a minute or two.
    """

    machine_examples: int
    machine_steps: int
    property_examples: int
    fault_points: int | None = 6
    fault_cuts: int = 100
    fault_mutants: int = 100
    fixed: bool = False
    shrink: bool = True

    def machine(self, share: float = 1.0, **changed: Any) -> settings:
        """Return the settings of a state machine that makes a share of the runs, at least one."""
        return self._settings(
            {
                "max_examples": max(1, round(self.machine_examples * share)),
                "stateful_step_count": self.machine_steps,
                **changed,
            }
        )

    def property(self, **changed: Any) -> settings:
        """Return the settings of any other property."""
        return self._settings({"max_examples": self.property_examples, **changed})

    def _settings(self, given: dict[str, Any]) -> settings:
        left_out = {Phase.explain} if self.shrink else {Phase.explain, Phase.shrink}
        chosen: dict[str, Any] = {
            "deadline": None,  # a busy machine is no failure
            "derandomize": self.fixed,
            "phases": [one for one in Phase if one not in left_out],
            "suppress_health_check": [
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
                HealthCheck.too_slow,
            ],
        }
        if self.fixed:
            chosen["database"] = None
        return settings(**(chosen | given))


PROFILES: Final = {
    "default": Profile(machine_examples=30, machine_steps=30, property_examples=50),
    "thorough": Profile(
        machine_examples=1000,
        machine_steps=60,
        property_examples=2000,
        fault_points=None,
        fault_cuts=2000,
        fault_mutants=3000,
    ),
}


def profile(environ: Mapping[str, str] | None = None) -> Profile:
    """Return the profile that the environment names.

    Raises:
        ConfigurationError: there is none of this name; the closest is named.
    """
    environ = os.environ if environ is None else environ
    name = environ.get("IALSTORE_PROFILE") or "default"
    if name not in PROFILES:
        raise ConfigurationError(
            f"environment variable IALSTORE_PROFILE: there is no profile {name}"
            f"{closest(name, PROFILES)}"
        )
    found = PROFILES[name]
    if name == "default" and environ.get("CI"):
        return replace(found, fixed=True)
    return found
