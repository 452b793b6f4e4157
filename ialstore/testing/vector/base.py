"""Fixtures and values that all tests of vector indexes share.

Indexes are opened for few specs, so that the suite may run on a live index, which is made for one:
``spec_of(metric)`` is the only one outside the tests of V1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, Final, Protocol, Unpack

import pytest

from ialstore.capabilities import VectorCapabilities
from ialstore.component import StoreSettings
from ialstore.errors import UnsupportedOperationError
from ialstore.events import OperationEvent
from ialstore.ids import message_id
from ialstore.limits import MAX_UPSERT
from ialstore.model import LoadReport
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.specs import DIMENSION, MODEL, spec_of
from ialstore.vector import VectorIndex
from ialstore.vector_model import METRICS, IndexSpec, VectorRecord

__all__ = [
    "DIMENSION",
    "MODEL",
    "UNKNOWN",
    "USER",
    "Fill",
    "MakeIndex",
    "MakeRecord",
    "OpenIndex",
    "Settle",
    "VectorSuiteBase",
    "X",
    "Y",
    "Z",
    "assert_refused",
    "close_all",
    "let_others_in",
    "opener",
    "spec_of",
    "wide",
]

USER: Final = "u1"
UNKNOWN: Final = "01a2049c-c6e3-774b-af40-dce0cd2bb0b6"
"""A message id that no test stores."""

_ONE_BY_ONE: Final = 100  # more records than that are loaded in two ways
_WRITES: Final = frozenset(
    {"bulk_load", "delete", "delete_session", "erase", "optimize", "setup", "upsert"}
)

MakeIndex = Callable[..., VectorIndex]
MakeRecord = Callable[..., VectorRecord]
Settle = Callable[[VectorIndex], object]


class OpenIndex(Protocol):
    """Opens the index of a test, again if called again."""

    def __call__(
        self,
        spec: IndexSpec | None = None,
        *,
        set_up: bool = True,
        settled: bool = True,
        **settings: Unpack[StoreSettings],
    ) -> VectorIndex:
        """Return the index.

        Args:
            spec: the suite's own by default.
            set_up: call ``setup()`` where it is needed.
            settled: without strong reads, end no write before every read sees it.
            **settings: as every index takes them; the test's clock is the default.
        """
        ...


class Fill(Protocol):
    """Gives a user records, whether the index may be written to or not."""

    def __call__(
        self, index: VectorIndex, records: Sequence[VectorRecord], user: str = USER
    ) -> None:
        """Store the records, so that ``index`` has them."""
        ...


def wide(*numbers: float) -> tuple[float, ...]:
    """Return a vector that begins with these numbers; the others are zero."""
    return (*numbers, *(0.0,) * (DIMENSION - len(numbers)))


X: Final = wide(1)
Y: Final = wide(0, 1)
Z: Final = wide(0, 0, 1)
_USUAL: Final = wide(1, 2, 3)


def assert_refused(
    error: type[Exception], call: Callable[[], object], promise: str
) -> BaseException:
    """Return the error that a call raises; the promise is named if it raises none."""
    try:
        call()
    except error as raised:
        return raised
    pytest.fail(f"{promise}: not refused with {error.__name__}")


def close_all(opened: list[VectorIndex]) -> None:
    """Close the indexes, the last one first, and forget them."""
    while opened:
        opened.pop().close()


def let_others_in(index: VectorIndex) -> None:
    """Make room for a second handle: close this one, where only one may be open at a time."""
    if index.capabilities.multi_process:
        return
    if not index.capabilities.durable:
        pytest.skip("capabilities.durable and .multi_process are false: each handle is alone")
    index.close()


class VectorSuiteBase:
    """What the tests of every chapter of the suite start from.

    A subclass defines ``make_index``, and of the others those that its index needs.
    """

    @pytest.fixture
    def make_index(self) -> MakeIndex:
        """Return a function that opens your index; define it in your subclass.

        It takes an ``IndexSpec`` and the keyword arguments that every index takes
        (``StoreSettings``), and hands them on. Each test begins in a new, empty place; called again
        within a test, it opens the same place again, also with another spec.
        """
        raise NotImplementedError(
            "define a fixture make_index that returns a function: "
            "lambda spec, **settings: MyIndex(tmp_path / 'vectors', spec, **settings)"
        )

    @pytest.fixture
    def make_writer(self, make_index: MakeIndex) -> MakeIndex:
        """Return a function like ``make_index`` whose indexes may be written to.

        Define it for an index that is read-only, so that there is something to read: both open the
        same place.
        """
        return make_index

    @pytest.fixture
    def settle(self) -> Settle | None:
        """Return a function that waits until all reads of an index see all writes before it.

        Define it for an index without strong reads; it is called after each write, with the index.
        Use your driver (a refresh, say): calls of the index itself would be counted.
        """
        return None

    @pytest.fixture
    def capabilities(self, make_index: MakeIndex) -> VectorCapabilities:
        """Return what the index says of itself."""
        refusals: list[str] = []
        for metric in METRICS:
            try:
                with make_index(spec_of(metric)) as index:
                    return index.capabilities
            except UnsupportedOperationError as error:
                refusals.append(str(error))
        pytest.fail(f"V1: the index opens for no metric: {'; '.join(refusals)}")

    @pytest.fixture
    def spec(self, capabilities: VectorCapabilities) -> IndexSpec:
        """Return the spec of tests for which one metric is as good as another."""
        return spec_of(next(one for one in METRICS if one in capabilities.metrics))

    @pytest.fixture(params=METRICS)
    def metric(self, request: pytest.FixtureRequest, capabilities: VectorCapabilities) -> str:
        """Return each metric that is offered."""
        metric: str = request.param
        if metric not in capabilities.metrics:
            pytest.skip(f"capabilities.metrics: {metric} is not offered")
        return metric

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the time of the index."""
        return ManualClock()

    @pytest.fixture
    def opened(self) -> Iterator[list[VectorIndex]]:
        """Return the list of what is closed at the end."""
        opened: list[VectorIndex] = []
        yield opened
        close_all(opened)

    @pytest.fixture
    def open_index(
        self,
        make_index: MakeIndex,
        settle: Settle | None,
        spec: IndexSpec,
        clock: ManualClock,
        opened: list[VectorIndex],
    ) -> OpenIndex:
        """Return a function that opens the index."""
        return opener(make_index, settle, spec, clock, opened)

    @pytest.fixture
    def open_writer(
        self,
        make_writer: MakeIndex,
        settle: Settle | None,
        spec: IndexSpec,
        clock: ManualClock,
        opened: list[VectorIndex],
    ) -> OpenIndex:
        """Return a function that opens the same place to be written to."""
        return opener(make_writer, settle, spec, clock, opened)

    @pytest.fixture
    def reader(self, open_index: OpenIndex) -> VectorIndex:
        """Return an empty index; use ``fill`` to give it records."""
        return open_index()

    @pytest.fixture
    def index(self, reader: VectorIndex) -> VectorIndex:
        """Return an empty index that may be written to."""
        if not reader.capabilities.writable:
            pytest.skip("capabilities.writable is false: this test writes")
        return reader

    @pytest.fixture
    def searched(self, open_index: OpenIndex, metric: str) -> VectorIndex:
        """Return an empty index of each metric; use ``fill`` to give it records."""
        return open_index(spec_of(metric))

    @pytest.fixture
    def fill(self, open_writer: OpenIndex, settle: Settle | None) -> Fill:
        """Return a function that gives a user records."""

        def fill(index: VectorIndex, records: Sequence[VectorRecord], user: str = USER) -> None:
            writer = index
            if not index.capabilities.writable:
                writer = open_writer(index.spec)
                if not writer.capabilities.writable:
                    pytest.skip("capabilities.writable is false: define a fixture make_writer")
            _store(writer, user, records)
            if writer is not index and settle is not None:
                settle(index)

        return fill

    @pytest.fixture
    def record(self) -> MakeRecord:
        """Return a function that makes records, each a second later than the one before."""
        made = 0

        def record(vector: Any = _USUAL, **fields: Any) -> VectorRecord:
            nonlocal made
            made += 1
            session = fields.setdefault("session_id", "s1")
            role = fields.setdefault("role", "user")
            at = fields.pop("at", START + timedelta(seconds=made))
            one = fields.pop("id", None) or message_id(USER, session, at, role, str(made))
            return VectorRecord(one, vector, **fields)

        return record


def opener(
    make: MakeIndex,
    settle: Settle | None,
    spec: IndexSpec,
    clock: ManualClock,
    opened: list[VectorIndex],
) -> OpenIndex:
    """Return the function that opens indexes with ``make``, and puts them on a list."""
    default = spec

    def open_index(
        spec: IndexSpec | None = None,
        *,
        set_up: bool = True,
        settled: bool = True,
        **settings: Unpack[StoreSettings],
    ) -> VectorIndex:
        settings.setdefault("clock", clock)
        index = make(spec or default, **settings)
        opened.append(index)
        if not index.capabilities.strong_reads:
            if settle is None:
                pytest.fail("capabilities.strong_reads is false: define a fixture settle")
            if settled:
                _settle_after_writes(index, settle)
        if set_up and index.capabilities.needs_setup and index.capabilities.writable:
            index.setup()
        return index

    return open_index


def _settle_after_writes(index: VectorIndex, settle: Settle) -> None:
    def wrote(event: OperationEvent) -> None:
        if event.operation in _WRITES:
            settle(index)

    index.subscribe(wrote)


def _store(index: VectorIndex, user: str, records: Iterable[VectorRecord]) -> None:
    """Store records, large crowds half by ``bulk_load`` and half by ``upsert``."""
    left = list(records)
    if len(left) > _ONE_BY_ONE:
        half = len(left) // 2
        report = index.bulk_load((user, one) for one in left[:half])
        assert report == LoadReport(written=half), "S12: bulk_load says what it wrote"
        left = left[half:]
    rest = iter(left)
    while batch := list(islice(rest, MAX_UPSERT)):
        index.upsert(user, batch)
