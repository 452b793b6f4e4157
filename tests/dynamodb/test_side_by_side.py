"""Requests that are on their way at once, from one thread or from several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self

import pytest
from botocore.session import Session

from ialstore import (
    ConfigurationError,
    DeadlineExceededError,
    Message,
    ThrottledError,
)
from ialstore.events import OperationEvent
from ialstore.testing.proxy import BlackHole, Decision, FaultProxy, Instead, ProxiedRequest
from ialstore.testing.servers import RunningServer
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions
from ialstore_backends.dynamodb.client import DynamoClient
from ialstore_backends.dynamodb.parallel import SideBySide
from ialstore_backends.dynamodb.table import TABLE
from tests.unit.test_operation import operation

SOON = 30.0


class Setting:
    """A table and what reads from it."""

    def __init__(
        self,
        endpoint: str,
        table: str,
        *,
        seconds: float = SOON,
        session: Session | None = None,
    ) -> None:
        self.client = DynamoClient(DynamoOptions(endpoint=endpoint), session)
        self.side_by_side = SideBySide(self.client)
        self.threads: set[str] = set()
        self.op = operation(timeout_seconds=seconds)
        self._table = f"{table}{TABLE}"

    def reads(self, count: int) -> list[Callable[[], str]]:
        """Return what asks for rows that are not there, named by number."""
        return [partial(self._read, str(number)) for number in range(count)]

    def _read(self, name: str) -> str:
        self.threads.add(threading.current_thread().name)
        key = {"user_date": {"S": name}, "timestamp_type": {"S": name}}
        assert not self.client.call(self.op, "GetItem", {"TableName": self._table, "Key": key}).get(
            "Item"
        )
        return name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.side_by_side.close()
        self.client.close()


def name_of(request: ProxiedRequest) -> str:
    """Return the name of a request that ``Setting.reads`` makes."""
    name: str = request.json()["Key"]["user_date"]["S"]
    return name


@pytest.fixture
def proxy(dynoxide: RunningServer) -> Iterator[FaultProxy]:
    with FaultProxy(dynoxide.port) as proxy:
        yield proxy


def together(count: int) -> Callable[[ProxiedRequest], Decision]:
    """Return what lets requests pass once there are so many of them."""
    barrier = threading.Barrier(count)

    def decide(_: ProxiedRequest) -> Decision:
        barrier.wait(SOON / 2)
        return None

    return decide


@pytest.mark.parametrize(("count", "threads"), [(0, 0), (1, 1), (2, 1), (4, 1), (5, 2), (12, 3)])
def test_requests_are_on_their_way_at_once_and_share_threads(
    proxy: FaultProxy, table: str, count: int, threads: int
) -> None:
    proxy.decide = together(max(1, count))
    with Setting(proxy.endpoint, table) as setting:
        assert setting.side_by_side.reads(setting.reads(count)) == [
            str(number) for number in range(count)
        ]
    assert len(setting.threads) == threads
    assert setting.op.units.requests == count
    assert setting.op.round_trips == min(count, 1)


def test_a_share_of_a_thread_of_the_pool_is_on_its_way_at_once_as_well(
    proxy: FaultProxy, table: str
) -> None:
    proxy.decide = together(6)
    with Setting(proxy.endpoint, table) as setting:
        shares = [partial(setting.side_by_side.reads, setting.reads(3)) for _ in range(2)]
        assert setting.side_by_side.run(shares) == [["0", "1", "2"]] * 2
    assert setting.op.round_trips == 1


def test_the_first_error_is_raised_once_what_was_sent_is_answered(
    proxy: FaultProxy, table: str
) -> None:
    throttled = Instead.error("ThrottlingException")
    with Setting(proxy.endpoint, table) as setting:
        proxy.decide = lambda request: throttled if name_of(request) in "12" else None
        with pytest.raises(ThrottledError):
            setting.side_by_side.reads(setting.reads(4))
        assert setting.op.units.requests == 4
        # All connections were left in a state in which they serve again.
        proxy.decide = together(4)
        assert setting.side_by_side.reads(setting.reads(4)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("lost", ["0", "1", "2"])
def test_a_reply_that_does_not_come_ends_the_call_in_time(
    proxy: FaultProxy, table: str, lost: str
) -> None:
    proxy.decide = lambda request: BlackHole() if name_of(request) == lost else None
    with (
        Setting(proxy.endpoint, table, seconds=0.5) as setting,
        pytest.raises(DeadlineExceededError),
    ):
        setting.side_by_side.reads(setting.reads(3))


def test_behind_a_call_that_could_not_be_sent_none_is_made(proxy: FaultProxy, table: str) -> None:
    def fails() -> str:
        raise ConfigurationError("as planned")

    with Setting(proxy.endpoint, table) as setting:
        with pytest.raises(ConfigurationError):
            setting.side_by_side.reads([fails, *setting.reads(2)])
        assert not setting.threads
        # One that needs no request leaves the others to follow it.
        assert setting.side_by_side.reads([lambda: "held", *setting.reads(2)]) == [
            "held",
            "0",
            "1",
        ]


def test_an_interruption_meanwhile_goes_before_everything(proxy: FaultProxy, table: str) -> None:
    """Also where the request that is on its way would fail."""

    def interrupted() -> str:
        raise KeyboardInterrupt

    proxy.decide = lambda _: Instead.error("ThrottlingException")
    with Setting(proxy.endpoint, table) as setting:
        with pytest.raises(KeyboardInterrupt):
            setting.side_by_side.reads([*setting.reads(1), interrupted])
        proxy.decide = lambda _: None
        assert setting.side_by_side.reads(setting.reads(2)) == ["0", "1"]


def test_further_requests_of_a_read_are_round_trips(proxy: FaultProxy, table: str) -> None:
    with Setting(proxy.endpoint, table) as setting:

        def longer(number: int) -> str:
            return "".join(read() for read in setting.reads(number))

        calls = [partial(longer, number) for number in (3, 2, 4)]
        assert setting.side_by_side.reads(calls) == ["012", "01", "0123"]
    assert setting.op.units.requests == 9
    assert setting.op.round_trips == 1 + 3 + 1 + 2


def test_calls_of_a_call_leave_to_its_caller_what_is_made_meanwhile(
    proxy: FaultProxy, table: str
) -> None:
    with Setting(proxy.endpoint, table) as setting:
        made: list[str] = []

        def once() -> str:
            made.append("once")
            return "once"

        def several() -> str:
            return "".join(setting.side_by_side.run(setting.reads(3)))

        assert setting.side_by_side.reads([several, once]) == ["012", "once"]
    assert made == ["once"]


def test_a_hook_that_sends_a_request_of_its_own_makes_nothing_twice(
    proxy: FaultProxy, table: str
) -> None:
    with Setting(proxy.endpoint, table) as setting:
        driver: Any = setting.client._driver.get()  # noqa: SLF001 - its hooks
        asked: list[str] = []

        def ask(model: Any, **_: Any) -> None:
            if model.name == "GetItem" and len(asked) < 3:
                asked.append(model.name)
                driver.list_tables()

        driver.meta.events.register("before-call.dynamodb", ask)
        assert setting.side_by_side.reads(setting.reads(3)) == ["0", "1", "2"]
    assert len(asked) == 3
    assert setting.op.units.requests == 3


def test_hooks_of_a_callers_session_may_let_one_request_at_a_time_pass(
    proxy: FaultProxy, table: str
) -> None:
    session = Session()
    one_at_a_time = threading.Lock()

    def begin(**_: Any) -> None:
        one_at_a_time.acquire()

    session.register("before-call.dynamodb", begin)
    session.register("after-call.dynamodb", lambda **_: one_at_a_time.release())
    with Setting(proxy.endpoint, table, session=session) as setting:
        assert setting.side_by_side.reads(setting.reads(3)) == ["0", "1", "2"]
    assert setting.op.units.requests == 3


def test_by_a_proxy_each_request_has_a_thread(
    dynoxide: RunningServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(dynoxide.port) as forward:
        monkeypatch.setenv("http_proxy", forward.endpoint)
        answer = Instead(200, b"{}")
        pass_together = together(3)

        def decide(request: ProxiedRequest) -> Decision:
            pass_together(request)
            return answer

        forward.decide = decide
        with Setting(dynoxide.endpoint, table) as setting:
            assert setting.side_by_side.reads(setting.reads(3)) == ["0", "1", "2"]
    assert len(setting.threads) == 3
    assert setting.op.round_trips == 1


def test_the_newest_day_is_read_beside_the_directory_without_a_thread(
    proxy: FaultProxy, table: str
) -> None:
    """The call that every turn of an agent makes."""
    told: list[OperationEvent] = []
    with DynamoConversationStore(table, DynamoOptions(endpoint=proxy.endpoint)) as store:
        store.append(Message.new(user_id="u", session_id="s", role="user", content="x"))
        before = set(threading.enumerate())
        proxy.decide = together(2)
        store.subscribe(told.append)
        assert len(store.history("u", session_id="s")) == 1
        late = {one.name for one in set(threading.enumerate()) - before}
    assert not any(name.startswith("ialstore-dynamodb") for name in late)
    (event,) = told
    assert (event.units.requests, event.round_trips) == (2, 1)
