"""HTTP within a deadline: one request and its whole reply, whatever the peer does.

A socket's own timeout starts anew with every byte, so a peer that drips its headers would hold a
call for minutes: a watchdog shuts such a connection down. Signing, endpoints and credentials are
the drivers'; this is only their last step.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ialstore_backends._meanwhile import Meanwhile

__all__ = ["Reply", "Transport", "TransportError"]

_POOL: Final = 256
"""Connections kept for one endpoint; urllib3's own 1 would close and reopen them under load."""
_PIECE: Final = 256 * 1024
_LEAST_SECONDS: Final = 0.001
_KEEP_ALIVE: Final = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
_NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as urllib3 sets it by itself


class TransportError(Exception):
    """No whole reply came.

    Attributes:
        is_late: the time was used up.
        was_sent: the request may have reached the service.
    """

    def __init__(self, text: str, *, is_late: bool, was_sent: bool) -> None:
        super().__init__(text)
        self.is_late = is_late
        self.was_sent = was_sent


class _Exchange:
    """One request on its way."""

    def __init__(
        self, ends_at: float, watchdog: _Watchdog, meanwhile: Meanwhile[Any] | None
    ) -> None:
        self.ends_at = ends_at
        self.watchdog = watchdog
        self.meanwhile = meanwhile
        self.was_sent = False

    def left(self) -> float:
        return max(self.ends_at - time.monotonic(), _LEAST_SECONDS)

    def is_late(self) -> bool:
        return time.monotonic() >= self.ends_at


_exchange: ContextVar[_Exchange] = ContextVar("ialstore_exchange")


class _Watchdog:
    """Shuts sockets down at their time, from a thread of its own; forgotten ones are skipped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, socket.socket]] = []
        self._watched: dict[int, socket.socket] = {}
        self._number = itertools.count()
        self._thread: threading.Thread | None = None

    def watch(self, sock: socket.socket, ends_at: float) -> int:
        """Shut a socket down at a monotonic time, unless it is forgotten before."""
        with self._changed:
            number = next(self._number)
            self._watched[number] = sock
            is_first = not self._due or ends_at < self._due[0][0]
            heapq.heappush(self._due, (ends_at, number, sock))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="ialstore-watchdog", daemon=True
                )
                self._thread.start()
            elif is_first:
                self._changed.notify()
        return number

    def forget(self, number: int) -> None:
        """Leave a socket alone."""
        with self._changed:
            self._watched.pop(number, None)

    def _run(self) -> None:
        with self._changed:
            while self._due:
                ends_at, number, sock = self._due[0]
                if number in self._watched and (left := ends_at - time.monotonic()) > 0:
                    self._changed.wait(left)
                    continue
                heapq.heappop(self._due)
                if self._watched.pop(number, None) is not None:
                    _shut(sock)
            self._thread = None


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the peer was quicker
        # That of an SSL socket would also drop its state under the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Watched:
    """Mixed into urllib3's connections: the wait for a reply's head is watched."""

    sock: Any

    def getresponse(self) -> Any:
        """Make what is to be made meanwhile, then return the reply once its head has come."""
        exchange = _exchange.get()
        if exchange.meanwhile is not None:
            exchange.meanwhile.run()
        number = exchange.watchdog.watch(self.sock, exchange.ends_at)
        try:
            return super().getresponse()  # type: ignore[misc]  # of the class it is mixed into
        finally:
            exchange.watchdog.forget(number)

    def request(self, *args: Any, **options: Any) -> None:
        """Send the request; from its first byte on the service may have it."""
        _exchange.get().was_sent = True
        super().request(*args, **options)  # type: ignore[misc]  # as above


class _Connection(_Watched, HTTPConnection):
    pass


class _SecureConnection(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType] - a protocol of urllib3's


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # pyright: ignore[reportAssignmentType] - as above

    def _validate_conn(self, conn: Any) -> None:
        """Connect; whoever has a server not checked has said so, and needs no warning."""
        if conn.is_closed:
            conn.connect()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply.

    Attributes:
        status: of HTTP.
        headers: by name, whatever its case.
        body: as it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Transport:
    """A pool of connections; safe from many threads, and to be replaced in a forked child.

    Args:
        tls: what urllib3 takes of certificates, such as ``ca_certs`` or ``ssl_context``.
    """

    def __init__(self, **tls: Any) -> None:
        self._manager = urllib3.PoolManager(
            maxsize=_POOL, socket_options=[_NO_DELAY, _KEEP_ALIVE], **tls
        )
        pools: dict[str, type[HTTPConnectionPool]] = {"http": _Pool, "https": _SecurePool}
        self._manager.pool_classes_by_scheme = pools
        self._watchdog = _Watchdog()

    def send(
        self,
        method: str,
        url: str,
        body: Any,
        headers: Mapping[str, str],
        ends_at: float,
        *,
        meanwhile: Meanwhile[Any] | None = None,
    ) -> Reply:
        """Return the whole reply, or raise at a monotonic time.

        Args:
            method: of HTTP.
            url: with its query.
            body: as it is sent.
            headers: likewise.
            ends_at: by ``time.monotonic()``.
            meanwhile: is run once the request is sent, before its reply is awaited.

        Raises:
            TransportError: there is none.
        """
        exchange = _Exchange(ends_at, self._watchdog, meanwhile)
        token = _exchange.set(exchange)
        try:
            reply = self._manager.urlopen(
                method,
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=exchange.left(), read=exchange.left()),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            content = _read(reply, exchange)
        except (HTTPError, OSError, ValueError) as error:
            raise TransportError(
                type(error).__name__, is_late=exchange.is_late(), was_sent=exchange.was_sent
            ) from error
        finally:
            _exchange.reset(token)
        return Reply(reply.status, reply.headers, content)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._manager.clear()


def _read(reply: urllib3.BaseHTTPResponse, exchange: _Exchange) -> bytes:
    try:
        body = b"".join(iter(lambda: _read_piece(reply, exchange), b""))
    except BaseException:
        reply.close()  # in the middle of a reply the connection is of no more use
        raise
    reply.release_conn()
    return body


def _read_piece(reply: urllib3.BaseHTTPResponse, exchange: _Exchange) -> bytes:
    if exchange.is_late():  # pragma: no cover - or the socket's own timeout comes first
        raise TimeoutError
    sock = getattr(reply.connection, "sock", None)
    if sock is not None:
        sock.settimeout(exchange.left())
    return reply.read1(_PIECE)
