"""What is made late: looked for when it is configured, made at first use, safe in a fork."""

from __future__ import annotations

import os
import threading
import weakref
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ialstore.errors import MissingDriverError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Late", "require"]

T = TypeVar("T")


def require(module: str, *, extra: str, needed_by: str) -> None:
    """Refuse to go on without a package, which is looked for and not imported.

    Raises:
        MissingDriverError: it is not installed; the text names the extra.
    """
    if find_spec(module) is None:
        raise MissingDriverError(
            f"{needed_by} needs the module {module}: pip install 'ialstore[{extra}]'"
        )


class Late(Generic[T]):
    """A value that is made at first use, by one thread.

    Attributes:
        lock: held while it is made; re-entrant. A forked child has a new one: a thread of the
            parent may have held the old one.
    """

    def __init__(self, make: Callable[[], T], *, inherited: bool) -> None:
        """Take what makes the value.

        Args:
            make: makes it; after an error it is called again at the next use.
            inherited: whether a forked child goes on with the parent's value, or makes its own.
        """
        self.lock = threading.RLock()
        self._make = make
        self._inherited = inherited
        self._value: T | None = None
        _living.add(self)

    def get(self) -> T:
        """Return the value."""
        value = self._value
        if value is None:
            with self.lock:
                value = self._value
                if value is None:
                    value = self._value = self._make()
        return value

    def forget(self) -> None:
        """Let the next use make a new one."""
        self._value = None

    def after_fork(self) -> None:
        """Begin as a child."""
        self.lock = threading.RLock()
        if not self._inherited:
            self.forget()


_living: weakref.WeakSet[Late[Any]] = weakref.WeakSet()


def _forget_parent() -> None:  # pragma: no cover - runs in forked children only
    for late in list(_living):
        late.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_forget_parent)
