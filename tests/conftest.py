"""What holds for the whole run: the profile of Hypothesis, the order of tests, what is undone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Iterator
from functools import _lru_cache_wrapper, cache
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import pytest
from coverage import Coverage
from hypothesis import settings

import ialstore
import ialstore_backends
from ialstore import registry
from ialstore.testing.profiles import PROFILES, profile

# A busy machine is no failure. In CI the same examples run every time, so that a change is to
# blame when one fails; at a desk, new ones are tried.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default")

PACKAGES = (ialstore.__name__, ialstore_backends.__name__)
UNMEASURED = pytest.StashKey[bool]()
"""Whether the last test was not measured."""
LAST = (
    "caching",
    "rediscache",
    "dynamodb",
    "opensearch",
    "typing",
    "plugins",
    "faults",
    "conformance",  # thousands of short ones, with which all workers end at about the same time
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the nightly tests to ``make soak``, and put the slow folders last, in this order.

    A folder not named here counts as quick.
    """
    if profile() != PROFILES["thorough"]:
        nightly = {item for item in items if item.get_closest_marker("nightly")}
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in nightly]
    items.sort(key=lambda item: next((LAST.index(p) + 1 for p in item.path.parts if p in LAST), 0))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Don't measure what is marked ``no_cover``: traced line by line, it would take twice as long.

    Under a Python that lets coverage measure without tracing, all is measured.
    """
    if (
        os.environ.get("MEASURE_ALL")
        or Coverage.current() is None
        or item.get_closest_marker("no_cover") is None
    ):
        if item.config.stash.get(UNMEASURED, False):
            item.config.stash[UNMEASURED] = False
            for one in _caches():
                one.cache_clear()
        return (yield)
    item.config.stash[UNMEASURED] = True
    _import_all()
    of_this_thread, of_new_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # of processes that it starts
            return (yield)
    finally:
        threading.settrace(of_new_threads)
        sys.settrace(of_this_thread)


@cache
def _caches() -> list[Any]:
    """Return the cached functions: what they remember must have been computed while measured."""
    names = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
    held = [one for name in names for one in vars(sys.modules[name]).values()]
    return [one for one in held if isinstance(one, _lru_cache_wrapper)]


@cache
def _import_all() -> None:
    """Import every module where that is measured, not in the first test that needs it."""
    for package in (ialstore, ialstore_backends):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)


@pytest.fixture(autouse=True)
def _registrations() -> Iterator[None]:
    """Undo what a test registers: other tests must not see it."""
    before = registry._added.copy()  # noqa: SLF001 - the library has no way to unregister
    yield
    registry._added.clear()  # noqa: SLF001 - as above
    registry._added.update(before)  # noqa: SLF001 - as above
