"""Records, and indexes in tables of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ialstore.testing.clock import ManualClock
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.packed import plan
from tests.dynamodb.records import Records


@pytest.fixture
def record() -> Records:
    return Records()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def by_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let users of few vectors be searched by codes, too, though to read all rows is cheaper."""
    monkeypatch.setattr(plan._Run, "_compare", lambda *_: None)  # noqa: SLF001 - as said


@pytest.fixture
def options(dynoxide: RunningServer) -> LshOptions:
    return LshOptions(endpoint=dynoxide.endpoint, chunks=3)


@pytest.fixture
def index(prefix: str, options: LshOptions, clock: ManualClock) -> Iterator[LshDynamoIndex]:
    """Return an index that is set up and empty."""
    with LshDynamoIndex(prefix, spec_of("cosine"), options, clock=clock) as index:
        index.setup()
        yield index
