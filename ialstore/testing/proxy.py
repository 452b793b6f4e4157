"""``FaultProxy``: stands in front of a real HTTP service and harms single requests or replies.

It speaks as much HTTP/1.1 as clients of JSON services do: requests and replies with a
``Content-Length``, connections that are kept open. Each request is handed to ``decide``, which says
what becomes of it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Self

__all__ = [
    "BlackHole",
    "Corrupt",
    "Decision",
    "Drip",
    "FaultProxy",
    "Instead",
    "ProxiedRequest",
    "ResetAfter",
    "ResetBefore",
    "Rewrite",
    "Truncate",
]

_TIMEOUT_SECONDS: Final = 30.0
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class ProxiedRequest:
    """A request that a client sent.

    Attributes:
        number: how many the proxy has seen, this one included.
        method: such as ``POST``.
        path: with its query.
        headers: by lower-case name.
        body: as sent.
    """

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def operation(self) -> str:
        """The operation of an AWS JSON protocol, such as ``PutItem``; else empty."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the service."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResetBefore:
    """The connection is reset; the service never hears of the request."""


@dataclass(frozen=True, slots=True)
class ResetAfter:
    """The service acts on the request; the connection is reset in place of its reply."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """The service acts; only a part of the reply arrives.

    Attributes:
        keep: the part of the body that arrives, 0 to 1.
    """

    keep: float = 0.5


@dataclass(frozen=True, slots=True)
class Corrupt:
    """The service acts; one bit of the reply's body is another."""


@dataclass(frozen=True, slots=True)
class Drip:
    """The service acts; its reply, head and body, arrives byte by byte.

    Attributes:
        seconds: between two bytes.
    """

    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Nothing ever comes back; the service never hears of the request."""


@dataclass(frozen=True, slots=True)
class Instead:
    """Another answer than the service's, which never hears of the request.

    Attributes:
        status: of HTTP.
        body: as it is sent.
        content_type: of the body.
    """

    status: int
    body: bytes
    content_type: str = "application/x-amz-json-1.0"

    @classmethod
    def error(cls, code: str, status: int = 400) -> Instead:
        """Return an error of an AWS JSON protocol."""
        told = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "as planned"}
        return cls(status, json.dumps(told).encode())


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Request and reply pass, changed.

    Attributes:
        request: takes and returns the body of the request.
        reply: takes and returns the body of the reply.
    """

    request: Callable[[bytes], bytes] = lambda body: body
    reply: Callable[[bytes], bytes] = lambda body: body


Decision = (
    ResetBefore | ResetAfter | Truncate | Corrupt | Drip | BlackHole | Instead | Rewrite | None
)
"""What becomes of a request; None lets it pass."""


def _pass(_: ProxiedRequest) -> Decision:
    return None


class FaultProxy:
    """Listens on a free port of 127.0.0.1 while its block runs.

    Attributes:
        decide: called with each request, from many threads; may be replaced at any time.
        requests: all that came, in order.
    """

    def __init__(self, port: int, decide: Callable[[ProxiedRequest], Decision] = _pass) -> None:
        """Make a proxy of the service on a port of 127.0.0.1."""
        self._upstream = port
        self.decide = decide
        self.requests: list[ProxiedRequest] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, name="fault-proxy", daemon=True)

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                _reset(one)
        self._thread.join()

    # -- connections ----------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upstream = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=_TIMEOUT_SECONDS)
        try:
            with connection.makefile("rb") as reading:
                while (request := self._read(reading)) is not None:
                    if not self._answer(connection, upstream, request):
                        return
        except (OSError, http.client.HTTPException, ValueError):
            pass  # one side went away: that is what this is for
        finally:
            upstream.close()
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _read(self, reading: BinaryIO) -> ProxiedRequest | None:
        first = reading.readline().decode("latin-1").split()
        if not first:
            return None
        headers: dict[str, str] = {}
        while line := reading.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = reading.read(int(headers.get("content-length", "0")))
        with self._lock:
            request = ProxiedRequest(len(self.requests) + 1, first[0], first[1], headers, body)
            self.requests.append(request)
        return request

    # -- what becomes of a request --------------------------------------------------------------

    def _answer(
        self,
        connection: socket.socket,
        upstream: http.client.HTTPConnection,
        request: ProxiedRequest,
    ) -> bool:
        """Answer a request; return whether the connection goes on."""
        decision = self.decide(request)
        if isinstance(decision, ResetBefore):
            _reset(connection)
            return False
        if isinstance(decision, BlackHole):
            self._closed.wait()
            return False
        if isinstance(decision, Instead):
            headers = (("Content-Type", decision.content_type),)
            connection.sendall(_head(Reply(decision.status, headers, decision.body)))
            connection.sendall(decision.body)
            return True
        sent = decision.request(request.body) if isinstance(decision, Rewrite) else request.body
        reply = _forward(upstream, request, sent)
        if isinstance(decision, Rewrite):
            changed = decision.reply(reply.body)
            kept = tuple(pair for pair in reply.headers if pair[0].lower() != "x-amz-crc32")
            reply = Reply(reply.status, kept, changed)
        return self._send(connection, reply, decision)

    def _send(self, connection: socket.socket, reply: Reply, decision: Decision) -> bool:
        head, body = _head(reply), reply.body
        if isinstance(decision, ResetAfter):
            _reset(connection)
            return False
        if isinstance(decision, Truncate):
            connection.sendall(head + body[: int(len(body) * decision.keep)])
            return False
        if isinstance(decision, Corrupt):
            body = body[:-1] + bytes([body[-1] ^ 1])
        if isinstance(decision, Drip):
            for byte in head + body:
                connection.sendall(bytes([byte]))
                if self._closed.wait(decision.seconds):
                    return False
            return True
        connection.sendall(head + body)
        return True


def _forward(upstream: http.client.HTTPConnection, request: ProxiedRequest, body: bytes) -> Reply:
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in ("connection", "content-length", "expect")
    }
    upstream.request(request.method, request.path, body, headers)
    reply = upstream.getresponse()
    return Reply(reply.status, tuple(reply.getheaders()), reply.read())


def _head(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, '')}"]
    lines += [
        f"{name}: {value}"
        for name, value in reply.headers
        if name.lower() not in ("connection", "content-length", "transfer-encoding")
    ]
    lines.append(f"Content-Length: {len(reply.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _reset(connection: socket.socket) -> None:
    """Close a connection with a reset, as a peer that crashes does."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.close()
