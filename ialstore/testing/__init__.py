"""The kit: suites that hold any store or index to the contract, for whoever writes one.

Inherit from a suite in a test module, say how your store is opened, and run pytest::

    class TestMyStore(ConversationStoreSuite):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda **settings: MyStore(tmp_path / "db", **settings)

Examples, and state machines that compare every answer with a model of plain lists, cite the clauses
of ``docs/contract.md``. What the capabilities don't claim has to raise
``UnsupportedOperationError``. ``IALSTORE_PROFILE=thorough`` tries more (see ``profiles``).
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
    from ialstore.testing.vector import VectorIndexSuite
    from ialstore.testing.vector.differential import VectorDifferentialSuite

__all__ = [
    "ConversationStoreSuite",
    "ManualClock",
    "VectorDifferentialSuite",
    "VectorIndexSuite",
]

_LATER = {
    "ConversationStoreSuite": "ialstore.testing.conversation",
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
