"""What the tests of the async face share: a loop in debug mode, and a store that can be held."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from ialstore import Message, Units
from ialstore.model import AppendResult, EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore

T = TypeVar("T")
Main = Callable[[], Coroutine[Any, Any, T]]

PATIENCE_SECONDS = 30
"""A test that waits so long has failed."""


class HeldStore(MemoryConversationStore):
    """A store whose appends and reads wait until the test lets them go.

    Attributes:
        go: lets all calls go on.
        began: the ids of each call, in the order in which they began.
        ended: the same, when they ended.
        most: how many calls ran at a time, at most.
        remaining: the seconds that each call had when it began.
        instead: what each call does before it does anything else.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.go = threading.Event()
        self.began: list[tuple[str, ...]] = []
        self.ended: list[tuple[str, ...]] = []
        self.most = 0
        self.remaining: list[float] = []
        self.instead: Callable[[], object] = bool
        self._calls = threading.Condition()

    async def calls_begin(self, count: int = 1) -> None:
        """Wait until so many calls have begun; the loop goes on."""

        def wait() -> bool:
            with self._calls:
                return self._calls.wait_for(lambda: len(self.began) >= count, PATIENCE_SECONDS)

        assert await asyncio.to_thread(wait)

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        ids = tuple(entry.message.id for entry in entries)
        self._begin_call(op, ids)
        result = super()._append(op, user_id, entries)
        self._end_call(op, ids)
        return result

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        self._begin_call(op, tuple(ids))
        result = super()._get(op, user_id, ids)
        self._end_call(op, tuple(ids))
        return result

    def _begin_call(self, op: Operation, ids: tuple[str, ...]) -> None:
        with self._calls:
            self.began.append(ids)
            self.most = max(self.most, len(self.began) - len(self.ended))
            self.remaining.append(op.remaining())
            self._calls.notify_all()
        assert self.go.wait(PATIENCE_SECONDS)
        self.instead()

    def _end_call(self, op: Operation, ids: tuple[str, ...]) -> None:
        op.add(Units(read=1))
        with self._calls:
            self.ended.append(ids)


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture) -> Callable[[Main[T]], T]:
    """Run a coroutine function in a new loop in debug mode, which has nothing to complain of."""

    async def patiently(main: Main[T]) -> T:
        asyncio.get_running_loop().slow_callback_duration = PATIENCE_SECONDS  # a busy machine
        return await main()

    def run(main: Main[T]) -> T:
        with caplog.at_level(logging.WARNING):
            result = asyncio.run(patiently(main), debug=True)
        assert [one.getMessage() for one in caplog.records] == []
        return result

    return run


@pytest.fixture(scope="session")
def held_store() -> type[HeldStore]:
    """Return the class of a store that can be held."""
    return HeldStore


@pytest.fixture
def held() -> HeldStore:
    """Return a store that can be held; one call after the other, unless it is let go."""
    return HeldStore()


@pytest.fixture(scope="session")
def say() -> Callable[..., Message]:
    """Return a function that makes messages of user u in session s."""

    def say(content: str = "hello", **fields: Any) -> Message:
        given: dict[str, Any] = {"user_id": "u", "session_id": "s", "role": "user"}
        return Message.new(content=content, **(given | fields))

    return say
