"""Records, and indexes in tables of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ialstore import deadline
from ialstore.testing.clock import ManualClock
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore_backends.dynamodb_vector import DynamoVectorIndex, VectorOptions
from tests.dynamodb.records import Records


@pytest.fixture
def record() -> Records:
    return Records()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def options(dynoxide: RunningServer) -> VectorOptions:
    return VectorOptions(endpoint=dynoxide.endpoint, chunks=2)


@pytest.fixture
def index(prefix: str, options: VectorOptions, clock: ManualClock) -> Iterator[DynamoVectorIndex]:
    """Return an index that is set up and empty."""
    with DynamoVectorIndex(prefix, spec_of("cosine"), options, clock=clock) as index:
        with deadline(30):  # on a busy machine
            index.setup()
        yield index
