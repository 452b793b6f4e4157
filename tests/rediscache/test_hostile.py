"""Peers that are no Redis: whatever they send, a step ends soon, and with no answer of theirs."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from ialstore.caching.protocol import MAX_VALUE_BYTES, Bucket, Found, Look
from ialstore.testing.redis_servers import certificates
from ialstore_backends.redis import RedisCache
from ialstore_backends.redis.connection import Access, Budget, Server
from tests.rediscache.hostile import Behave, HostileServer, answer, for_ever, hostile_server

TIMEOUT = 0.25
LONG = 60_000
BUCKET = Bucket("0", "p")
NOTHING = b"*1\r\n$7\r\nnothing\r\n"


@pytest.fixture
def hostile() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


STEPS: dict[str, Callable[[RedisCache], Any]] = {
    "look": lambda cache: cache.look(BUCKET, "n", "a", LONG),
    "fill": lambda cache: cache.fill(BUCKET, "n", "a", b"one", LONG),
    "release": lambda cache: cache.release(BUCKET, "n", "a"),
    "mark": lambda cache: cache.mark([BUCKET], "w", LONG),
    "settle": lambda cache: cache.settle([BUCKET], "w"),
}

REPLIES = {
    "garbage": bytes(range(256)) * 10,
    "zeros": b"\0" * 1000,
    "http": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
    "empty line": b"\r\n",
    "status": b"+OK\r\n",
    "text": b"$5\r\nvalue\r\n",
    "nothing": b"$-1\r\n",
    "no list": b"*-1\r\n",
    "empty list": b"*0\r\n",
    "a negative length": b"$-5\r\n\r\n\r\n",
    "a negative list": b"*-5\r\n",
    "a length that is none": b"$five\r\n",
    "a number that is none": b":\r\n",
    "a number of many digits": b":" + b"9" * 5000 + b"\r\n",
    "a negative number": b":-1\r\n",
    "a huge text promised": b"$1000000000\r\nx",
    "a huge list promised": b"*1000000000\r\n",
    "a larger list promised": b"*4294967295\r\n$1\r\n",
    "an error within a list": b"*2\r\n$5\r\nvalue\r\n-ERR\r\n",
    "a list too long": b"*3\r\n$5\r\nvalue\r\n$1\r\nx\r\n$1\r\nx\r\n",
    "a value that is a number": b"*2\r\n$5\r\nvalue\r\n:1\r\n",
    "a value that is a list": b"*2\r\n$5\r\nvalue\r\n*0\r\n",
    "a value that is missing": b"*1\r\n$5\r\nvalue\r\n",
    "an unknown answer": b"*1\r\n$5\r\nmaybe\r\n",
    "a numbered answer": b"*1\r\n:1\r\n",
    "not UTF-8": b"-\xff\xfe\r\n",
    "another version": b"%1\r\n+a\r\n+b\r\n",
    "moved": b"-MOVED 0 127.0.0.1:1\r\n",
    "moved to nowhere": b"-MOVED\r\n",
    "no script, for ever": b"-NOSCRIPT none\r\n",
    "a value too large": b"*2\r\n$5\r\nvalue\r\n$%d\r\n%s\r\n"
    % (MAX_VALUE_BYTES + 1, b"x" * (MAX_VALUE_BYTES + 1)),
    "a reply too large": b"*2\r\n$5\r\nvalue\r\n$1000000\r\n%s\r\n" % (b"x" * 1_000_000),
}


def raises_soon(cache: RedisCache, step: str) -> Exception:
    """Run a step that has to raise, and return what it raised; a busy machine has three tries."""
    took: list[float] = []
    while True:
        begun = time.monotonic()
        try:
            answered = STEPS[step](cache)
        except Exception as error:  # noqa: BLE001 - garbage may raise anything
            took.append(time.monotonic() - begun)
            if took[-1] < 3 * TIMEOUT:
                return error
            assert len(took) < 3, f"{step} took {took} seconds"
        else:
            pytest.fail(f"{step} answered {answered}")


@pytest.mark.parametrize("url", ["{}", "{}?cluster=true"], ids=["alone", "cluster"])
@pytest.mark.parametrize("step", ["look", "mark"])
@pytest.mark.parametrize("reply", REPLIES)
def test_nonsense_is_no_answer(
    opened: Any, hostile: HostileServer, reply: str, step: str, url: str
) -> None:
    hostile.behave = answer(REPLIES[reply])
    cache = opened(url.format(hostile.url), TIMEOUT)
    raises_soon(cache, step)
    # What stays of it on the connection is not taken for the answer to the next question.
    hostile.behave = answer(NOTHING)
    if "cluster" not in url:
        assert cache.look(BUCKET, "n", None, LONG) == Look(Found.NOTHING)


def test_no_more_is_received_than_a_reply_may_hold(opened: Any, hostile: HostileServer) -> None:
    hostile.behave = answer(REPLIES["a reply too large"])
    assert "too large" in str(raises_soon(opened(hostile.url, TIMEOUT), "look"))


@pytest.mark.parametrize("step", STEPS)
def test_the_reply_of_another_step_is_nonsense(
    opened: Any, hostile: HostileServer, step: str
) -> None:
    hostile.behave = answer(b":1\r\n" if step == "look" else NOTHING)
    raises_soon(opened(hostile.url, TIMEOUT), step)


ENDLESS = {
    "nested lists": b"*1\r\n",
    "nested lists, many at a time": b"*1\r\n" * 10_000,
    "a line": b"+" + b"x" * 10_000,
    "a number": b":" + b"1" * 10_000,
    "errors": b"-ERR no\r\n" * 1000,
    "a list": b"*1000000000\r\n" + b":1\r\n" * 10_000,
}


@pytest.mark.parametrize("piece", ENDLESS)
def test_a_flood_ends_soon(opened: Any, hostile: HostileServer, piece: str) -> None:
    hostile.behave = for_ever(ENDLESS[piece], hostile.stopped)
    raises_soon(opened(hostile.url, TIMEOUT), "look")


@pytest.mark.parametrize("pause_seconds", [0.001, TIMEOUT / 3])
@pytest.mark.parametrize("piece", [b"x", b"+", b"*1\r\n", b":1"], ids=["x", "line", "list", "int"])
def test_dripping_bytes_end_soon(
    opened: Any, hostile: HostileServer, piece: bytes, pause_seconds: float
) -> None:
    hostile.behave = for_ever(piece, hostile.stopped, pause_seconds)
    raises_soon(opened(hostile.url, TIMEOUT), "look")


def test_replies_that_nobody_waits_for_are_not_read_for_ever(
    opened: Any, hostile: HostileServer
) -> None:
    hostile.behave = answer(b":0\r\n")
    cache = opened(hostile.url, TIMEOUT)
    cache.mark([BUCKET], "w", LONG)
    hostile.behave = for_ever(b":0\r\n" * 100_000, hostile.stopped)
    begun = time.monotonic()
    for _ in range(20):
        with suppress(OSError, redis.RedisError):
            cache.mark([BUCKET], "w", LONG, wait=False)
    assert time.monotonic() - begun < 3 * TIMEOUT


def test_silence_ends_soon(opened: Any, hostile: HostileServer) -> None:
    hostile.behave = answer(b"")
    assert isinstance(raises_soon(opened(hostile.url, TIMEOUT), "look"), redis.TimeoutError)


def test_a_peer_that_does_not_read_ends_soon(opened: Any, hostile: HostileServer) -> None:
    def behave(*_: object) -> None:
        hostile.stopped.wait(30)

    hostile.behave = behave
    cache = opened(hostile.url, TIMEOUT)
    many = [Bucket("0", "x" * 100_000 + str(number)) for number in range(100)]
    begun = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        cache.mark(many, "w", LONG)
    assert time.monotonic() - begun < 3 * TIMEOUT


@pytest.mark.parametrize("part", [b"", b"*", b"*2\r\n$5\r\nvalue\r\n$100\r\nx"])
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_reply_that_breaks_off_is_no_answer(
    opened: Any, hostile: HostileServer, part: bytes, how: str
) -> None:
    def behave(connection: socket.socket, _: bytes) -> None:
        connection.sendall(part)
        if how == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        else:
            connection.shutdown(socket.SHUT_RDWR)

    hostile.behave = behave
    raises_soon(opened(hostile.url, TIMEOUT), "look")


def test_a_late_reply_is_never_taken_for_a_later_one(opened: Any, hostile: HostileServer) -> None:
    replied = threading.Event()

    def late(connection: socket.socket, _: bytes) -> None:
        time.sleep(2 * TIMEOUT)
        with suppress(OSError):
            connection.sendall(b"*2\r\n$5\r\nvalue\r\n$3\r\nold\r\n")
        replied.set()

    hostile.behave = late
    cache = opened(hostile.url, TIMEOUT)
    raises_soon(cache, "look")
    hostile.behave = answer(NOTHING)
    assert replied.wait(30)
    assert cache.look(BUCKET, "n", None, LONG) == Look(Found.NOTHING)


@pytest.mark.parametrize("when", ["with the first", "after it"])
def test_a_reply_that_nobody_asked_for_is_never_taken_for_one(
    opened: Any, hostile: HostileServer, when: str
) -> None:
    sent = threading.Event()
    unasked = b"*2\r\n$5\r\nvalue\r\n$3\r\nold\r\n"

    def behave(connection: socket.socket, _: bytes) -> None:
        if when == "with the first":
            connection.sendall(NOTHING + unasked)
        else:
            connection.sendall(NOTHING)
            time.sleep(0.02)
            connection.sendall(unasked)
        sent.set()

    hostile.behave = behave
    cache = opened(hostile.url, TIMEOUT)
    assert cache.look(BUCKET, "n", None, LONG) == Look(Found.NOTHING)
    assert sent.wait(30)
    assert cache.look(BUCKET, "n", None, LONG) == Look(Found.NOTHING)
    assert hostile.accepted == 2


def test_a_connection_in_step_is_used_again(opened: Any, hostile: HostileServer) -> None:
    hostile.behave = answer(NOTHING)
    cache = opened(hostile.url, TIMEOUT)
    for _ in range(3):
        assert cache.look(BUCKET, "n", None, LONG) == Look(Found.NOTHING)
    hostile.behave = answer(b"-ERR no\r\n")  # a whole reply
    raises_soon(cache, "look")
    hostile.behave = answer(NOTHING)
    assert cache.look(BUCKET, "n", None, LONG) == Look(Found.NOTHING)
    assert hostile.accepted == 1


@pytest.mark.parametrize(
    "echo",
    [b"-ERR you said %s\r\n", b"-LOADING %s\r\n", b"%s\r\n", b":%s\r\n", b"*%s\r\n", b"+%s\r\n"],
    ids=["error", "loading", "garbage", "number", "list", "status"],
)
def test_a_password_that_the_peer_repeats_is_in_no_error(
    opened: Any, hostile: HostileServer, echo: bytes
) -> None:
    hostile.behave = answer(echo % b"s3cret")
    cache = opened(hostile.url.replace("//", "//agent:s3cret@"), TIMEOUT)
    raised: BaseException | None = raises_soon(cache, "look")
    assert isinstance(raised, redis.AuthenticationError)
    assert raised.__suppress_context__
    assert "s3cret" not in f"{raised!r} {cache!r} {vars(cache)}"
    assert "s3cret" not in repr(Access("agent", "s3cret"))


MAP = b"*1\r\n*3\r\n:0\r\n:%d\r\n*2\r\n$%d\r\n%s\r\n:%d\r\n"


def map_of(last: int, host: bytes, port: int) -> bytes:
    return MAP % (last, len(host), host, port)


@pytest.mark.parametrize("host", [b"", b"?", b"127.0.0.1"])
def test_a_cluster_of_one_says_where_it_is(
    opened: Any, hostile: HostileServer, host: bytes
) -> None:
    reply = map_of(16_383, host, hostile.port)
    hostile.behave = lambda connection, sent: connection.sendall(
        reply if b"SLOTS" in sent else NOTHING
    )
    cache = opened(f"{hostile.url}?cluster=true", TIMEOUT)
    assert cache.look(BUCKET, "n", None, LONG) == Look(Found.NOTHING)


def test_a_map_of_other_slots_is_none(opened: Any, hostile: HostileServer) -> None:
    hostile.behave = answer(map_of(16_384, b"", hostile.port))
    cache = opened(f"{hostile.url}?cluster=true", TIMEOUT)
    assert isinstance(raises_soon(cache, "look"), redis.InvalidResponse)


def test_a_cluster_does_not_grow_for_ever(
    opened: Any, hostile: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ialstore_backends.redis.cluster._MAX_SERVERS", 2)
    reply = map_of(16_383, b"", hostile.port)
    port = iter(range(1, 100))
    hostile.behave = lambda connection, sent: connection.sendall(
        reply if b"SLOTS" in sent else b"-MOVED 0 127.0.0.1:%d\r\n" % next(port)
    )
    cache = opened(f"{hostile.url}?cluster=true", TIMEOUT)
    assert isinstance(raises_soon(cache, "look"), redis.ConnectionError)
    assert isinstance(raises_soon(cache, "look"), redis.InvalidResponse)


# -- TLS and names --------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["garbage", "http", "silence", "dripping"])
def test_a_handshake_ends_soon(opened: Any, hostile: HostileServer, reply: str) -> None:
    hostile.behave = {
        "silence": answer(b""),
        "dripping": for_ever(b"\x16\x03\x03\x40\x00", hostile.stopped, 0.01),
    }.get(reply) or answer(REPLIES[reply])
    cache = opened(hostile.url.replace("redis", "rediss", 1), TIMEOUT)
    assert isinstance(raises_soon(cache, "look"), redis.ConnectionError | redis.TimeoutError)


def test_replies_through_tls_end_soon(opened: Any, hostile: HostileServer, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificate, made.key)
    hostile.wrap = lambda plain: context.wrap_socket(plain, server_side=True)
    url = hostile.url.replace("redis://127.0.0.1", "rediss://localhost")
    cache = opened(f"{url}?ca_file={made.authority}", TIMEOUT)
    behaviours: list[Behave] = [
        answer(b""),
        answer(REPLIES["a reply too large"]),
        for_ever(b"x", hostile.stopped, 0.001),
        for_ever(b"x", hostile.stopped),
    ]
    for behave in behaviours:
        hostile.behave = behave
        raises_soon(cache, "look")
    hostile.behave = answer(NOTHING)
    assert cache.look(BUCKET, "n", None, LONG) == Look(Found.NOTHING)


# -- the last look at what has come ----------------------------------------------------------------


class Halted:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_reply_that_came_in_time_counts_though_its_thread_was_late(
    opened: Any, hostile: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Halted()
    for module in ("cache", "connection"):
        monkeypatch.setattr(f"ialstore_backends.redis.{module}.time", clock)
    value = b"x" * MAX_VALUE_BYTES
    reply = b"*2\r\n$5\r\nvalue\r\n$%d\r\n%s\r\n" % (len(value), value)
    hostile.behave = answer(reply)
    dial = Server.dial

    def starved(server: Server, budget: Budget) -> Any:
        return Starved(dial(server, budget), clock, len(reply))

    monkeypatch.setattr(Server, "dial", starved)
    cache = opened(hostile.url, TIMEOUT)
    assert cache.look(BUCKET, "n", None, LONG).value == value


class Starved:
    """A socket whose thread gets no processor from when it has sent until the reply has come."""

    def __init__(self, connected: socket.socket, clock: Halted, expected: int) -> None:
        self._connected = connected
        self._come = b""
        self._clock = clock
        self._expected = expected

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected, name)

    def sendall(self, data: bytes) -> None:
        self._connected.sendall(data)
        self._connected.settimeout(None)
        while len(self._come) < self._expected:
            self._come += self._connected.recv(self._expected)
        self._clock.now += 10

    def recv(self, size: int) -> bytes:
        """Return what has come, as a system with room for all of it does."""
        part, self._come = self._come[:size], self._come[size:]
        return part or self._connected.recv(size)
