"""``at_once``: threads that meet in the middle of a call."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["THREADS", "at_once"]

T = TypeVar("T")

THREADS: Final = 6
PAUSES: Final = 0.05
"""Share of the calls of functions, Python's own included, at which a thread pauses."""
PAUSE_SECONDS: Final = 1e-6


def at_once(work: Callable[[int], T], threads: int = THREADS) -> list[T]:
    """Return what ``work`` returns for each of several threads that start together.

    Each stops for a moment now and then, wherever it is, so that others meet it in the middle of a
    call: left alone, a thread often runs to its end before the next one begins.
    """
    start = threading.Barrier(threads)

    def run(place: int) -> T:
        draw = random.Random(place).random

        def pause(*_: object) -> None:
            if draw() < PAUSES:  # pragma: no cover - what is profiled is not traced
                time.sleep(PAUSE_SECONDS)

        start.wait()
        sys.setprofile(pause)
        try:
            return work(place)
        finally:
            sys.setprofile(None)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
