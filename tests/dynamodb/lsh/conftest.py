"""Records, and indexes in tables of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ialstore.ids import message_id
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, X
from ialstore.vector_model import VectorRecord
from ialstore_backends.lsh import LshDynamoIndex, LshOptions


class Records:
    """Makes records of one session, a second apart."""

    def __init__(self) -> None:
        self._made = 0

    def __call__(self, vector: Any = X, **fields: Any) -> VectorRecord:
        """Return the next one."""
        self._made += 1
        session, role = fields.setdefault("session_id", "s1"), fields.setdefault("role", "user")
        made = message_id(USER, session, START, role, str(self._made))
        return VectorRecord(fields.pop("id", made), vector, **fields)


@pytest.fixture
def record() -> Records:
    return Records()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def options(dynoxide: RunningServer) -> LshOptions:
    return LshOptions(endpoint=dynoxide.endpoint, chunks=3)


@pytest.fixture
def index(prefix: str, options: LshOptions, clock: ManualClock) -> Iterator[LshDynamoIndex]:
    """Return an index that is set up and empty."""
    with LshDynamoIndex(prefix, spec_of("cosine"), options, clock=clock) as index:
        index.setup()
        yield index
