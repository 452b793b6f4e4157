"""A server that answers whatever a test wants, to any number of clients."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

Behave = Callable[[socket.socket, bytes], None]
"""Takes a connection and what the client sent; what it sends is the reply."""


def answer(reply: bytes) -> Behave:
    """Return a behaviour: this reply to whatever is sent."""
    return lambda connection, _: connection.sendall(reply)


def for_ever(piece: bytes, stopped: threading.Event, pause_seconds: float = 0) -> Behave:
    """Return a behaviour: the same piece again and again."""

    def behave(connection: socket.socket, _: bytes) -> None:
        while not stopped.wait(pause_seconds):
            connection.sendall(piece)

    return behave


class HostileServer:
    """Listens on a port of 127.0.0.1.

    Attributes:
        port: of it.
        behave: what it does about each thing that is sent.
        wrap: what it makes of a connection first, such as one of TLS.
        accepted: how many connections there were.
        connections: those with which it talked.
    """

    def __init__(self, listener: socket.socket, stopped: threading.Event) -> None:
        self.port: int = listener.getsockname()[1]
        self.stopped = stopped
        self.behave: Behave = answer(b"+OK\r\n")
        self.wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain
        self.accepted = 0
        self.connections: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def talk(self, plain: socket.socket) -> None:
        with suppress(OSError), self.wrap(plain) as connection:
            self.connections.append(connection)
            connection.settimeout(30)
            while sent := connection.recv(1_000_000):
                self.behave(connection, sent)


@contextmanager
def hostile_server() -> Generator[HostileServer]:
    """Serve until the block ends; every thread has ended then."""
    stopped = threading.Event()
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HostileServer(listener, stopped)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    server.accepted += 1
                    thread = threading.Thread(target=server.talk, args=[connection])
                    thread.start()
                    threads.append(thread)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in server.connections:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)  # of TLS too
            for thread in threads:
                thread.join()
