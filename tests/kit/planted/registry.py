"""The planted faults: stores and indexes that keep the contract but for one promise each.

A fault is a class whose docstring says what is wrong with it; ``breaks`` names the clause. They
stand in the modules that ``everything`` imports.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Final, TypeVar

import pytest

from ialstore import ConversationStore, VectorIndex
from ialstore.operation import Operation

__all__ = ["BreaksOthers", "Fault", "at", "breaks", "everything"]

Component = TypeVar("Component", bound=type[ConversationStore] | type[VectorIndex])

_MODULES: Final = (
    "values",
    "writing",
    "listings",
    "removing",
    "tenants",
    "life",
    "caches",
    "vectors",
)
_faults: list[Fault] = []


@dataclass(frozen=True)
class Fault:
    """A broken store or index.

    Attributes:
        broken: the class; its docstring is the fault in words.
        clause: of the contract, which it breaks.
    """

    broken: type[ConversationStore | VectorIndex]
    clause: str

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.broken.__name__

    @property
    def words(self) -> str:
        """What is wrong, in one sentence."""
        return str(self.broken.__doc__).removesuffix(".")


class BreaksOthers:
    """A fault that is not in the store itself."""

    @classmethod
    def plant(cls, monkeypatch: pytest.MonkeyPatch) -> None:
        """Break what the fault is in."""
        raise NotImplementedError


def breaks(clause: str) -> Callable[[Component], Component]:
    """Return a decorator that registers a class as a fault."""

    def plant(broken: Component) -> Component:
        _faults.append(Fault(broken, clause))
        return broken

    return plant


@contextmanager
def at(seconds: int, op: Operation) -> Generator[None]:
    """Let a call run at another time, seconds since 1970."""
    now, op._now = op.now, seconds  # noqa: SLF001 - no sound store needs it
    try:
        yield
    finally:
        op._now = now  # noqa: SLF001 - as above


def everything() -> list[Fault]:
    """Return all faults, in the order of the contract's chapters."""
    for name in _MODULES:
        import_module(f"tests.kit.planted.{name}")
    return list(_faults)
