"""``ManualClock``: the time of a store, in the hands of a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["START", "ManualClock"]

START: Final = datetime(2096, 2, 29, 12, tzinfo=UTC)
"""Noon of a leap day: where a test's time begins unless it says otherwise.

It lies ahead: a service that removes expired rows by its own clock does not meddle then.
"""


class ManualClock:
    """Stands still until it is told; also goes back."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time now, in UTC."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the time, back with negative seconds."""
        self.now += timedelta(seconds=seconds)
