"""Connections whose time and size are bounded for any peer, and the pool of one server's.

redis-py's own timeout starts anew with every piece that comes, so a peer that drips bytes would
hold a call for ever, and a reply may be of any size. Here connecting, authenticating, one command
and its reply have one end in time and one limit in bytes. The protocol itself is redis-py's.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import redis
from redis._parsers import _RESP2Parser
from redis.exceptions import NoScriptError

if TYPE_CHECKING:

    class _RedisConnection:
        """What is used of redis-py's own, which has no types."""

        def __init__(self, **options: Any) -> None: ...
        def connect(self) -> None: ...
        def disconnect(self) -> None: ...
        def send_command(self, *args: Any) -> None: ...
        def read_response(self) -> Any: ...
        def can_read(self) -> bool: ...

else:
    _RedisConnection = redis.Connection

__all__ = ["Access", "Budget", "Node", "Request", "Server"]

T = TypeVar("T")

_LATE_READS: Final = 32
"""A reply of the greatest size is so many records of TLS, with some to spare."""
_DRAINED_BYTES: Final = 65_536
_MOST_DRAINED: Final = 16
_POST_SECONDS: Final = 0.001
"""To hand a request to the kernel; what does not fit into its buffer by then is given up."""
_KNOWN_SECONDS: Final = 30.0
"""What a name means is not asked again for so long."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to get into a server. The ``repr`` shows nothing of it.

    Attributes:
        username: or None.
        password: or None.
        database: its number.
        tls: or None for a plain connection.
    """

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = field(default=None, repr=False)


Node = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A command.

    Attributes:
        args: its words.
        check: returns what a reply says, or raises where that is nonsense.
        is_posted: whether ``post`` may send such a request later.
        in_full: sent where the server does not know the script that ``args`` names.
    """

    args: Sequence[Any] = field(repr=False)
    check: Callable[[Any], T]
    in_full: Sequence[Any] = field(default=(), repr=False)
    is_posted: bool = False


class Budget:
    """What one step may still take.

    Attributes:
        ends_at: a monotonic time.
        bytes_left: of what may be received.
        late_reads: how often what has already come may be taken after the end.
    """

    def __init__(self, ends_at: float, bytes_left: int) -> None:
        self.ends_at = ends_at
        self.bytes_left = bytes_left
        self.late_reads = _LATE_READS

    def is_spent(self) -> bool:
        """Return whether there is no time left."""
        return time.monotonic() >= self.ends_at

    def seconds(self) -> float:
        """Return the time that is left.

        Raises:
            TimeoutError: there is none.
        """
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time of the step is used up")
        return left


class _Handover(Budget):
    """What handing one request to the kernel may take, from the moment when it is handed over.

    Who comes late because the machine is busy has not waited for the server.
    """

    def __init__(self) -> None:
        super().__init__(0.0, 0)

    def seconds(self) -> float:
        """Return what each request may take."""
        return _POST_SECONDS


class _Socket:
    """A socket, plain or TLS, on which every wait ends with the step's budget."""

    def __init__(self, connected: socket.socket, budget: Budget) -> None:
        self._socket = connected
        self.budget = budget
        self.shutdown = connected.shutdown
        self.close = connected.close

    def settimeout(self, seconds: float | None) -> None:
        """Do nothing: the budget says it."""

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.settimeout(self.budget.seconds())
        self._socket.sendall(data)  # its timeout is for the whole

    def recv(self, size: int) -> bytes:
        """Return what comes next."""
        budget = self.budget
        if budget.bytes_left <= 0:
            raise redis.InvalidResponse("the reply is too large")
        size = min(size, budget.bytes_left)
        try:
            self._socket.settimeout(budget.seconds())
            data = self._socket.recv(size)
        except TimeoutError:
            # A thread that got no processor in time finds that its reply came long ago.
            data = self._late(size)
        budget.bytes_left -= len(data)
        return data

    def drain(self) -> None:
        """Forget the replies that nobody waited for.

        Raises:
            ConnectionError: the peer has closed the connection.
        """
        self._socket.settimeout(0)
        for _ in range(_MOST_DRAINED):  # pragma: no branch - what is left is for the next time
            try:
                if not self._socket.recv(_DRAINED_BYTES):
                    raise ConnectionError("the connection is closed")
            except (BlockingIOError, ssl.SSLWantReadError):
                return

    def _late(self, size: int) -> bytes:
        self.budget.late_reads -= 1
        if self.budget.late_reads < 0:  # pragma: no cover - a matter of the machine's pace
            raise TimeoutError("the reply does not end")
        self._socket.settimeout(0)
        try:
            return self._socket.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise TimeoutError("no reply in time") from None


class _Lookup:
    """What a host's name means; asked in a thread, because the resolver knows no deadline."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._done = threading.Event()
        self._found: list[Any] = []
        self._good_until = 0.0
        threading.Thread(target=self._run, name="ialstore-resolver", daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError, UnicodeError):
            self._found = _addresses(self._node)
            self._good_until = time.monotonic() + _KNOWN_SECONDS
        self._done.set()

    def is_over(self) -> bool:
        return self._done.is_set() and time.monotonic() >= self._good_until

    def get(self, seconds: float) -> list[Any]:
        if not self._done.wait(seconds):
            raise TimeoutError("the name of the host was not resolved in time")
        return self._found


def _addresses(node: Node, flags: int = 0) -> list[Any]:
    host, port = node
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)


class _Connection(_RedisConnection):
    """A connection that is made, used and authenticated within budgets."""

    def __init__(self, server: Server, access: Access) -> None:
        host, port = server.node
        super().__init__(
            host=host,
            port=port,
            db=access.database,
            username=access.username,
            password=access.password,
            protocol=2,
            # hiredis makes room for as many elements as a reply claims to have: for a claim of
            # 10^9 it held the interpreter for 1.3 s. For replies of two elements it gains 2 us.
            parser_class=_RESP2Parser,
        )
        # No CLIENT SETINFO: two round trips that an ACL may forbid. By the names of all releases.
        self.driver_info = self.lib_name = self.lib_version = None
        self.budget = Budget(0.0, 0)
        self._server = server
        self._bounded: _Socket | None = None
        self._is_dialled = False

    def begin(self, budget: Budget) -> None:
        """Let what follows have this budget; connect where there is no connection."""
        self.budget = budget
        if self._bounded is not None:
            self._bounded.budget = budget
            return
        try:
            self.connect()
        except Exception as error:
            if isinstance(error, redis.TimeoutError) or not self._is_dialled:
                raise
            # From None, and without its text: a peer may repeat what it was sent, a password too.
            raise redis.AuthenticationError(f"not let in: {type(error).__name__}") from None

    def is_in_step(self) -> bool:
        """Return whether the connection is open and nothing came that nobody asked for."""
        self.begin(Budget(0.0, 1))
        try:
            return not self.can_read()
        except Exception:  # noqa: BLE001 - closed, or worse
            return False

    def ask(self, request: Request[T]) -> T:
        """Return what the checked reply to a request says."""
        try:
            reply = self._answer(request.args)
        except NoScriptError:
            reply = self._answer(request.in_full)
        return request.check(reply)

    def post(self, request: Request[Any]) -> None:
        """Send a request and wait for nothing; the connection is good for nothing else then."""
        if self._bounded is None:  # pragma: no cover - only those that are open are kept
            raise ConnectionError("the connection is closed")
        self._bounded.drain()
        self.begin(_Handover())
        self.send_command(*request.in_full)  # what it knows of scripts, nobody would hear

    def _answer(self, args: Sequence[Any]) -> Any:
        self.send_command(*args)
        return self.read_response()

    def _connect(self) -> _Socket:
        """Return a connected socket; redis-py calls it."""
        self._bounded = _Socket(self._server.dial(self.budget), self.budget)
        self._is_dialled = True
        return self._bounded


class Server:
    """The connections to one server. Safe from many threads."""

    def __init__(self, node: Node, access: Access) -> None:
        self.node = node
        self._access = access
        self._lookup: _Lookup | None = None
        # Appending and popping need no lock, which a forked child could inherit locked.
        self._idle: deque[_Connection] = deque()
        self._spare: deque[_Connection] = deque()
        """Those to post on; they must be there before the server stops answering."""
        self._closed = False

    def ask(self, budget: Budget, request: Request[T]) -> T:
        """Return what the checked reply to a request says.

        Whatever it raises but an error reply, the connection is closed: it may be out of step.
        """
        connection = self._borrow()
        try:
            connection.begin(budget)
            answer = connection.ask(request)
        except redis.ResponseError:
            self._give_back(connection)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self._give_back(connection)
        if request.is_posted and not self._spare:
            with suppress(Exception):  # the answer is there; the next one tries again
                self._keep_spare(budget)
        return answer

    def post(self, request: Request[Any]) -> None:
        """Send a request on a connection that is there, and wait for nothing.

        A server that hangs reads it when it goes on, before what is sent later.

        Raises:
            ConnectionError: there is none, or it is closed.
        """
        connection = _pop(self._spare) or _pop(self._idle)
        if connection is None:
            raise ConnectionError("no connection is there")
        try:
            connection.post(request)
        except BaseException:
            connection.disconnect()
            raise
        self._spare.append(connection)
        if self._closed:  # pragma: no cover - closed by another thread meanwhile
            self._close_idle()

    def dial(self, budget: Budget) -> socket.socket:
        """Return a new connection, of TLS if it is asked for."""
        failure: OSError = ConnectionError(f"{self.node[0]} is no known host")
        for family, kind, protocol, _, address in self._resolve(budget):
            connected = socket.socket(family, kind, protocol)
            try:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                connected.settimeout(budget.seconds())
                connected.connect(address)
                if self._access.tls is None:
                    return connected
                connected.settimeout(budget.seconds())  # for the whole handshake
                return self._access.tls.wrap_socket(connected, server_hostname=self.node[0])
            except OSError as error:
                failure = error
                connected.close()
            except BaseException:
                connected.close()
                raise
        raise failure

    def close(self) -> None:
        """Close idle connections at once, and those in use when they come back."""
        self._closed = True
        self._close_idle()

    def after_fork(self) -> None:
        """Forget the parent's connections: redis-py shuts none down in another process."""
        self._idle = deque()
        self._spare = deque()
        self._lookup = None

    def _keep_spare(self, budget: Budget) -> None:
        connection = _Connection(self, self._access)
        connection.begin(budget)
        self._spare.append(connection)

    def _resolve(self, budget: Budget) -> list[Any]:
        with suppress(socket.gaierror):
            return _addresses(self.node, socket.AI_NUMERICHOST)
        lookup = self._lookup
        if lookup is None or lookup.is_over():
            lookup = self._lookup = _Lookup(self.node)
        return lookup.get(budget.seconds())

    def _borrow(self) -> _Connection:
        while connection := _pop(self._idle):
            if connection.is_in_step():
                return connection
            connection.disconnect()
        return _Connection(self, self._access)

    def _give_back(self, connection: _Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self._close_idle()

    def _close_idle(self) -> None:
        for connections in (self._idle, self._spare):
            while connection := _pop(connections):
                connection.disconnect()


def _pop(connections: deque[_Connection]) -> _Connection | None:
    """Return one that no other thread gets, or None."""
    try:
        return connections.pop()
    except IndexError:
        return None
