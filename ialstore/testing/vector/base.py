"""Fixtures that all tests of vector indexes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Unpack

import pytest

from ialstore.component import StoreSettings
from ialstore.ids import message_id
from ialstore.testing.clock import START, ManualClock
from ialstore.vector import VectorIndex
from ialstore.vector_model import IndexSpec, VectorRecord

__all__ = ["MakeIndex", "MakeRecord", "VectorSuiteBase"]

MakeIndex = Callable[..., VectorIndex]
MakeRecord = Callable[..., VectorRecord]


class VectorSuiteBase:
    """What the tests of every chapter of the suite start from."""

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
    def open_index(self, make_index: MakeIndex) -> Iterator[MakeIndex]:
        """Return ``make_index`` with ``setup()`` done where it is needed; closes what it opened."""
        opened: list[VectorIndex] = []

        def open_index(spec: IndexSpec, **settings: Unpack[StoreSettings]) -> VectorIndex:
            index = make_index(spec, **settings)
            opened.append(index)
            if index.capabilities.needs_setup:
                index.setup()
            return index

        yield open_index
        for index in opened:
            index.close()

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the time of the index."""
        return ManualClock()

    @pytest.fixture
    def index(self, open_index: MakeIndex, clock: ManualClock) -> VectorIndex:
        """Return an empty index of three dimensions under cosine."""
        return open_index(IndexSpec(3), clock=clock)

    @pytest.fixture
    def record(self) -> MakeRecord:
        """Return a function that makes records, each a second later than the one before."""
        made = 0

        def record(vector: Any = (1.0, 2.0, 3.0), **fields: Any) -> VectorRecord:
            nonlocal made
            made += 1
            session = fields.setdefault("session_id", "s1")
            role = fields.setdefault("role", "user")
            at = fields.pop("at", START + timedelta(seconds=made))
            one = fields.pop("id", None) or message_id("u1", session, at, role, str(made))
            return VectorRecord(one, vector, **fields)

        return record
