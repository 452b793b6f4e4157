"""Maintenance of the index in the background: nobody who writes waits for it."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from ialstore.errors import IalStoreError

if TYPE_CHECKING:
    from ialstore.vector import VectorIndex

__all__ = ["Maintenance", "OptimizeWhen"]

OptimizeWhen = Literal["background", "manual"]
_AT_ONCE: Final = 2


class Maintenance:
    """Runs ``optimize`` for users of whom the index says that it pays.

    Args:
        index: whose maintenance it is.
        when: ``background``, in threads that end with the process; or ``manual``: never.
    """

    def __init__(self, index: VectorIndex, when: OptimizeWhen) -> None:
        self._index = index
        self._is_manual = when == "manual"
        self._guard = threading.Lock()
        self._running: dict[str, threading.Thread] = {}

    def after_write(self, user_id: str) -> None:
        """Begin what is due of a user, unless it is on its way."""
        if self._is_manual or not self._index.is_optimize_due(user_id):
            return
        thread = threading.Thread(
            target=self._run, args=(user_id,), name="ialstore-optimize", daemon=True
        )
        with self._guard:
            if user_id in self._running or len(self._running) >= _AT_ONCE:
                return
            self._running[user_id] = thread
        thread.start()

    def _run(self, user_id: str) -> None:
        try:
            with suppress(IalStoreError):  # the event tells; the next write begins it again
                self._index.optimize(user_id, only_due=True)
        finally:
            with self._guard:
                self._running.pop(user_id, None)

    def wait(self) -> None:
        """Wait for what runs."""
        with self._guard:
            threads = list(self._running.values())
        for thread in threads:
            thread.join()

    def after_fork(self) -> None:
        """Begin anew: the threads stayed in the parent."""
        self._guard = threading.Lock()
        self._running = {}
