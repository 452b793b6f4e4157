"""When calls end, on machines that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ends_within"]

TRIES = 4


def ends_within(seconds: float, call: Callable[[], object]) -> bool:
    """Does it end in so many seconds? One of a few tries counts: a process may stand still."""
    return any(_seconds_of(call) < seconds for _ in range(TRIES))


def _seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
