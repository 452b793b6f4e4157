"""Forks: what SQLite knows of locks belongs to a process and would be wrong in its child.

A child inherits SQLite's table of open files. As long as one connection to a file is in that table,
a new connection of the child believes in locks that only the parent holds. So before a fork all
idle connections are closed, and connections in use are waited for; a child that inherits one all
the same refuses the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from typing import Final, Protocol

__all__ = ["Forkable", "bury", "take_part", "write_lock_of"]

PATIENCE_SECONDS: Final = 1.0
"""A fork waits so long for connections in use."""


class Forkable(Protocol):
    """Something with connections to a file."""

    path: str

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, in use or not."""
        ...

    def pause(self) -> None:
        """Lend nothing until ``resume``."""
        ...

    def drain(self, until: float) -> None:
        """Wait for what is lent, until a monotonic time, then close all connections."""
        ...

    def resume(self) -> None:
        """Lend again."""
        ...

    def begin_as_child(self, broken: frozenset[str]) -> None:
        """Start afresh, in the child, and refuse these files."""
        ...


_registry = threading.Lock()
_members: weakref.WeakSet[Forkable] = weakref.WeakSet()
_write_locks: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
_paused: dict[int, list[Forkable]] = {}
"""By the thread that forks."""
_graveyard: list[sqlite3.Connection] = []


def take_part(member: Forkable) -> None:
    """Look after this one's connections at every fork from now on, while it lives."""
    with _registry:
        _members.add(member)


def write_lock_of(path: str) -> threading.Lock:
    """Return the lock between the writers of this process to a file."""
    with _registry:
        return _write_locks.setdefault(path, threading.Lock())


def bury(connection: sqlite3.Connection) -> None:  # pragma: no cover - in forked children only
    """Keep an inherited connection: closing it in a child could drop or take the parent's locks."""
    _graveyard.append(connection)


def _before_fork() -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    with _registry:
        members = list(_members)
    paused = _paused[threading.get_ident()] = []
    for member in members:
        member.pause()
        paused.append(member)
    for member in members:
        member.drain(until)


def _after_fork_in_parent() -> None:
    for member in _paused.pop(threading.get_ident()):
        member.resume()


def _after_fork_in_child() -> None:  # pragma: no cover - runs in forked children only
    global _registry  # noqa: PLW0603 - another thread of the parent may have held it
    _registry = threading.Lock()
    _paused.clear()
    _write_locks.clear()
    members = list(_members)
    broken = frozenset(member.path for member in members if member.is_open)
    for member in members:
        member.begin_as_child(broken)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
