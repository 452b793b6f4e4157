"""Copies that are killed at one of their steps, in processes of their own.

Run as a program with a folder, it answers each line of JSON, a list of numbers, with another. For
each number it forks a child that copies from the folder's source to its target and kills itself at
that step, all at the same time; the answer is how each ended. Step 0 is none: such a child comes to
its end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ialstore.component import Component
from ialstore.migrate import Journal, copy, pairs
from ialstore_backends.sqlite import SqliteConversationStore, SqliteOptions, SqliteVectorIndex
from tests.migrate.stores import SPEC

__all__ = ["SOURCE", "TARGET", "open_both"]

SOURCE: Final = "source.db"
TARGET: Final = "target.db"
_HOOKS: Final = ("_append", "_replace", "_delete", "_upsert", "_get", "_history", "_ids")


def open_both(path: Path) -> tuple[SqliteConversationStore, SqliteVectorIndex]:
    """Return the store and the index of a file."""
    fast = SqliteOptions(synchronous="normal")  # a kill takes nothing that was written
    return SqliteConversationStore(path, fast), SqliteVectorIndex(path, SPEC, options=fast)


class Steps:
    """Counts steps, and ends the process at one of them as ``kill -9`` does."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._number = 0

    def step(self) -> None:
        self._number += 1
        if self._number == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, component: Component) -> None:
        """Make a step of the time before and after each hook."""
        for name in _HOOKS:
            hook = getattr(component, name, None)
            if hook is not None:
                setattr(component, name, self._watched(hook))

    def _watched(self, hook: Any) -> Any:
        def call(*args: Any) -> Any:
            self.step()
            answer = hook(*args)
            self.step()
            return answer

        return call


class KilledJournal(Journal):
    """A journal each of whose writes has a step before it, within it and after it."""

    steps: Steps

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self.steps.step()
        with self._writing():
            self._db.execute(statement, values)
            self.steps.step()
        self.steps.step()


def copy_all(folder: Path, last: int) -> None:
    """Copy conversations, then vectors."""
    import importlib

    vars(importlib.import_module("ialstore.migrate.copy"))["MOVE_EVERY"] = 4
    for pair in (pairs.ConversationPair, pairs.VectorPair):
        pair.MAX_ITEMS = 3
    steps = Steps(last)
    sources, targets = open_both(folder / SOURCE), open_both(folder / TARGET)
    with KilledJournal(folder / "journal") as journal:
        journal.steps = steps
        for one in (*sources, *targets):
            steps.watch(one)
        assert copy(sources[0], targets[0], journal=journal).same
        assert copy(sources[1], targets[1], journal=journal).same
        for one in (*sources, *targets):
            one.close()


def _fork(folder: Path, last: int) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        copy_all(folder, last)
        code = 0
    finally:
        os._exit(code)


def _how(child: int) -> str:
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return {0: "done", -signal.SIGKILL: "killed"}.get(code, f"code {code}")


def main(folder: Path) -> None:
    for line in sys.stdin:
        numbers: Sequence[int] = json.loads(line)
        children = [_fork(folder, number) for number in numbers]
        print(json.dumps([_how(child) for child in children]), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
