"""Runs a suite on a store that is already there, and erases what it wrote: for ``conformance``.

Each test gets users of its own: those of a ``namespace`` that nobody else has, around what the
configuration opens. Pytest runs in this process, without the plugins and settings around it.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pytest

from ialstore.capabilities import ConversationCapabilities, VectorCapabilities
from ialstore.component import Progress
from ialstore.config import Config, open_index, open_store
from ialstore.errors import InvalidInputError, StoreNotReadyError
from ialstore.limits import MAX_PAGE
from ialstore.testing.specs import spec_of
from ialstore.vector_model import IndexSpec
from ialstore.wrappers.namespace import (
    Names,
    NamespaceConversationStore,
    NamespaceOptions,
    NamespaceVectorIndex,
)

__all__ = ["Live", "Result", "Selection", "run_suite"]

_CITED: Final = re.compile(r"(?:[MSVCEWU]\d+, )*[MSVCEWU]\d+(?=:)")
"""What the docstring of a test begins with: the clauses of the contract."""
_SUITES: Final = {"conversation": "TestLiveStore", "vector": "TestLiveIndex"}
_REWRITTEN: Final = ("ialstore.testing.conversation", "ialstore.testing.vector")
_OPTIONS: Final = (
    "--capture=no",
    "--import-mode=append",
    "--noconftest",
    "-pno:cacheprovider",
    "-pno:faulthandler",
    "-p_hypothesis_pytestplugin",
)
_FIRST_USE: Final = (
    "test_a_store_that_needs_setup_says_so",
    "test_an_index_is_used_before_or_after_its_setup",
)
_ANY_SPEC: Final = frozenset({"test_a_look_stores_no_spec", "test_any_dimension_is_taken"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a test.

    Attributes:
        test: its name, with the case in brackets.
        clauses: of the contract, that it cites and that were asked for.
        outcome: ``passed``, ``failed`` or ``skipped``.
        reason: why it was skipped, or what failed.
        detail: of a failure, all that pytest says.
    """

    test: str
    clauses: tuple[str, ...]
    outcome: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tests are run, and how much each tries.

    Attributes:
        keyword: an expression as pytest's ``-k`` takes it; empty for all.
        clauses: tests that cite one of these; empty for all.
        profile: of ``ialstore.testing.profiles``.
    """

    keyword: str = ""
    clauses: tuple[str, ...] = ()
    profile: str = "default"


class Live:
    """A store or an index, tested where it is.

    Attributes:
        out_of_reach: what its ``erase`` says that it leaves.

    Args:
        kind: ``conversation`` or ``vector``.
        config: opens it.
        settle_seconds: how long it takes until every read sees a write; for a store without
            strong reads.
    """

    def __init__(
        self,
        kind: str,
        config: Config,
        metric: str = "cosine",
        *,
        settle_seconds: float | None = None,
    ) -> None:
        self.kind = kind
        self.spec = spec_of(metric)
        self.settle_seconds = settle_seconds
        self._config = config
        self._namespace = f"conformance-{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)
        self._named: dict[str, set[str]] = {}
        self.out_of_reach: set[str] = set()
        with self.open() as store:
            self.backend: str = store.backend
            self.capabilities: ConversationCapabilities | VectorCapabilities = store.capabilities

    def open(self, spec: IndexSpec | None = None, **settings: Any) -> Any:
        """Return the store or index, without a namespace."""
        if self.kind == "conversation":
            return open_store(self._config, **settings)
        return open_index(self._config, spec or self.spec, **settings)

    def users(self) -> Generator[str]:
        """Yield its users, where it can list them; none if it was never set up.

        Raises:
            ConfigurationError: the index is made for another spec.
        """
        cursor: str | None = None
        with self.open() as store:
            while store.capabilities.users:
                try:
                    page = store.users(limit=MAX_PAGE, cursor=cursor)
                except StoreNotReadyError:
                    return
                yield from page
                cursor = page.cursor
                if cursor is None:  # pragma: no branch - more users than a page holds
                    return

    def takes(self, spec: IndexSpec) -> bool:
        """Whether the index may be made for a spec: its own, and any where each handle is alone."""
        is_alone = not (self.capabilities.durable or self.capabilities.multi_process)
        return is_alone or spec == self.spec

    def lack(self, test: str) -> str:
        """Return why a test can't be run where others have been before; empty if it can."""
        if test in _FIRST_USE and self.capabilities.needs_setup:
            return "setup was called before: it needs a place of its own"
        if test in _ANY_SPEC and not self.takes(IndexSpec(1)):
            return "an index stays made for one spec"
        return ""

    @contextmanager
    def place(self) -> Generator[Callable[..., Any]]:
        """Yield what opens a place that is empty at first; what is in it is erased behind."""
        prefix = f"{self._namespace}-{next(self._numbers)}"
        with ExitStack() as stack:
            stack.callback(self._erase, prefix)

            def open_place(spec: IndexSpec | None = None, **settings: Any) -> Any:
                settings.setdefault("retention_days", None)  # as the suites expect it
                return stack.enter_context(self._open_named(prefix, spec, **settings))

            yield open_place

    def _open_named(self, prefix: str, spec: IndexSpec | None = None, **settings: Any) -> Any:
        wrap: Any = _NamedStore if self.kind == "conversation" else _NamedIndex
        named = self._named.setdefault(prefix, set())
        return wrap(self.open(spec, **settings), NamespaceOptions(prefix), named.add)

    def _erase(self, prefix: str) -> None:
        """Erase the users of a place; those who are left are tried again at the end."""
        left = self._named.get(prefix)
        if left and self.capabilities.writable:
            with self._open_named(prefix) as store:
                for user in sorted(left):
                    try:
                        report = store.erase(user)
                    except Exception:  # noqa: BLE001, S112 - of a faulty store: the user is left
                        continue
                    self.out_of_reach.update(report.out_of_reach)
                    if not report.remaining:
                        left.discard(user)
        if not (left and self.capabilities.writable):
            self._named.pop(prefix, None)

    def erase(self) -> list[str]:
        """Erase what the tests could not erase, or had no time to; return the users left."""
        for prefix, user in self._left():
            self._named.setdefault(prefix, set()).add(user)
        for prefix in list(self._named):
            self._erase(prefix)
        left = {(prefix, user) for prefix, users in self._named.items() for user in users}
        return sorted(f"{prefix}/{user}" for prefix, user in left.union(self._left()))

    def _left(self) -> Iterator[tuple[str, str]]:
        """Yield place and user of all that the store lists of this run."""
        time.sleep(self.settle_seconds or 0)
        for one in self.users():
            prefix, _, user = one.partition("/")
            if prefix.startswith(self._namespace):
                yield prefix, user


class _Names(Names):
    """Tells of every user whom a call names."""

    def __init__(self, options: NamespaceOptions, named: Callable[[str], None]) -> None:
        super().__init__(options)
        self._named = named

    def stored(self, user_id: str) -> str:
        """Return a caller's user as the store knows it."""
        self._named(user_id)
        return super().stored(user_id)


class _NamedStore(NamespaceConversationStore):
    def __init__(self, inner: Any, options: NamespaceOptions, named: Callable[[str], None]) -> None:
        super().__init__(inner, options)
        self._names = _Names(options, named)


class _NamedIndex(NamespaceVectorIndex):
    def __init__(self, inner: Any, options: NamespaceOptions, named: Callable[[str], None]) -> None:
        super().__init__(inner, options)
        self._names = _Names(options, named)


class _Plugin:
    """What pytest asks while it runs, and what it tells."""

    def __init__(self, live: Live, selection: Selection, progress: Progress) -> None:
        self.results: dict[str, Result] = {}
        self.is_interrupted = False
        self._live = live
        self._selection = selection
        self._progress = progress
        self._items: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._done = 0

    @pytest.fixture
    def live(self) -> Live:
        """Return what is tested."""
        return self._live

    def pytest_configure(self) -> None:
        # The package was imported before this run: what it asked for then came too early.
        pytest.register_assert_rewrite(*_REWRITTEN)

    @pytest.hookimpl(trylast=True)  # behind -k
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Function]
    ) -> None:
        wanted = self._selection.clauses
        for item in items:
            found = _CITED.match(cast("str | None", item.obj.__doc__) or "")
            cited = found[0].split(", ") if found else []
            clauses = tuple(one for one in cited if one in wanted or not wanted)
            if clauses or not wanted:
                self._items[item.nodeid] = item.name, clauses
            lack = self._live.lack(item.originalname)
            if lack:
                item.add_marker(pytest.mark.skip(lack))
        items[:] = [one for one in items if one.nodeid in self._items]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self.results.get(report.nodeid)
        if before is not None and (before.outcome == "failed" or report.passed):
            return
        if report.passed and report.when != "call":
            return
        test, clauses = self._items[report.nodeid]
        reason = detail = ""
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = getattr(crash, "message", report.longreprtext)
            sections = (f"{title}\n{text}" for title, text in report.sections)
            detail = "\n\n".join([report.longreprtext, *sections])
        self.results[report.nodeid] = Result(
            test=test, clauses=clauses, outcome=report.outcome, reason=reason, detail=detail
        )

    def pytest_runtest_logfinish(self) -> None:
        self._done += 1
        self._progress(self._done, len(self._items))

    def pytest_keyboard_interrupt(self) -> None:
        self.is_interrupted = True


def run_suite(live: Live, selection: Selection, progress: Progress) -> list[Result]:
    """Run the suite of a store or index, and return what became of each test.

    Raises:
        InvalidInputError: no test is selected, or the expression can't be read.
        KeyboardInterrupt: as it came; whatever ran is erased, but ``live.erase()`` is to follow.
    """
    plugin = _Plugin(live, selection, progress)
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="ialstore-") as folder:
        config = Path(folder, "pytest.ini")
        config.write_text("[pytest]\n", encoding="utf-8")
        suite = f"{Path(__file__).with_name('live_suites.py')}::{_SUITES[live.kind]}"
        options = [*_OPTIONS, f"-c{config}", f"--rootdir={folder}", "-k", selection.keyword]
        environment = {
            "HYPOTHESIS_STORAGE_DIRECTORY": folder,
            "IALSTORE_PROFILE": selection.profile,
            "PYTEST_ADDOPTS": None,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": None,
        }
        with _environ(environment), redirect_stdout(said), redirect_stderr(said):
            code = pytest.main([*options, suite], plugins=[plugin])
    if plugin.is_interrupted:
        raise KeyboardInterrupt
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise InvalidInputError("no test is selected; leave out -k and --clause for all of them")
    if code == pytest.ExitCode.USAGE_ERROR:
        raise InvalidInputError(said.getvalue().rpartition("ERROR: ")[2])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(said.getvalue())
    return list(plugin.results.values())


@contextmanager
def _environ(changed: Mapping[str, str | None]) -> Generator[None]:
    """Change variables of the environment while the block runs; None removes one."""
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
