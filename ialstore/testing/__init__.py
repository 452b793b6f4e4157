"""The kit: suites that hold any store or index to the contract, for whoever writes one.

Inherit from a suite in a test module, say how your store is opened, and run pytest::

    class TestMyStore(ConversationStoreSuite):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda **settings: MyStore(tmp_path / "db", **settings)

What there is:

- ``ConversationStoreSuite`` and ``VectorIndexSuite``: examples, and a state machine that compares
  every answer with a model of plain lists. Each test cites clauses of ``docs/contract.md``. What
  the capabilities don't claim has to raise ``UnsupportedOperationError``; what can't be tested is
  skipped with a reason that says why, or which fixture to define.
- ``DifferentialSuite`` and ``VectorDifferentialSuite``: the same calls to several stores or
  indexes, side by side; the one and the call that disagree are named.
- Fixtures of the suites: ``make_store`` (``make_index``), which you define; ``make_writer`` for a
  read-only store, ``settle`` for one without strong reads, and ``faults``, which makes your driver
  refuse calls or lose a reply, so that the tests of failures run too.
- ``ManualClock``: the time, in the hands of a test.
- ``profiles``: how much is tried; ``IALSTORE_PROFILE=thorough`` tries more.
- ``strategies`` and ``cases``: what the contract lets through, for Hypothesis, and by name what
  stores get wrong.
"""

from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from ialstore.errors import MissingDriverError

try:
    import pytest
except ModuleNotFoundError as error:  # pragma: no cover - the tests run under pytest
    raise MissingDriverError("the kit needs pytest: pip install 'ialstore[testing]'") from error

# Before its modules are imported: their asserts say what was expected, as those of tests do.
pytest.register_assert_rewrite(*(f"{__name__}.{one.name}" for one in iter_modules(__path__)))

if TYPE_CHECKING:
    from ialstore.testing.clock import ManualClock
    from ialstore.testing.conversation import ConversationStoreSuite
    from ialstore.testing.differential import DifferentialSuite
    from ialstore.testing.vector import VectorIndexSuite
    from ialstore.testing.vector.differential import VectorDifferentialSuite

__all__ = [
    "ConversationStoreSuite",
    "DifferentialSuite",
    "ManualClock",
    "VectorDifferentialSuite",
    "VectorIndexSuite",
]

_LATER = {
    "ConversationStoreSuite": "ialstore.testing.conversation",
    "DifferentialSuite": "ialstore.testing.differential",
    "ManualClock": "ialstore.testing.clock",
    "VectorDifferentialSuite": "ialstore.testing.vector.differential",
    "VectorIndexSuite": "ialstore.testing.vector",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
