"""Redis as tests need it beyond one plain server: certificates for TLS, and a cluster."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from ialstore.errors import UnavailableError
from ialstore.testing.servers import RunningServer, free_port, started

__all__ = ["Certificates", "certificates", "client_of", "started_cluster", "tls_args"]

_NODES: Final = 3
_SLOTS: Final = 16_384
_JOIN_SECONDS: Final = 30.0
_SIGNS: Final = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
"""What an authority may do; without it Python 3.13 believes nothing that it signs."""
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Certificates:
    """A throw-away authority and what it vouches for; each is a PEM file.

    Attributes:
        authority: its own certificate.
        certificate: of a server or client, made out to ``localhost``.
        key: of that certificate.
    """

    authority: Path
    certificate: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    """Make an authority and a certificate with the program openssl, good for a day."""
    made = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    authority = ["-x509", "-subj", "/CN=Test authority", "-keyout", str(folder / "ca.key")]
    leaf = ["-x509", "-subj", "/CN=localhost", "-keyout", str(made.key), "-out"]
    vouched = ["-CA", str(made.authority), "-CAkey", str(folder / "ca.key")]
    extensions = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    for args in (
        [*new, *authority, "-out", str(made.authority), *_SIGNS],
        [*new, *leaf, str(made.certificate), *vouched, *extensions],
    ):
        subprocess.run(  # noqa: S603 - a program of our own choice
            ["openssl", "req", *args],  # noqa: S607 - wherever it is installed
            check=True,
            capture_output=True,
        )
    return made


def tls_args(made: Certificates, *, asks_clients: bool = False) -> list[str]:
    """Return the arguments with which a Redis speaks TLS alone, on its one port."""
    return [
        *("--port", "0", "--tls-port", "{port}"),
        *("--tls-cert-file", str(made.certificate), "--tls-key-file", str(made.key)),
        *("--tls-ca-cert-file", str(made.authority)),
        *("--tls-auth-clients", "yes" if asks_clients else "no"),
    ]


@contextmanager
def started_cluster() -> Generator[list[RunningServer]]:
    """Start a cluster of three nodes for a fixture, each with a third of the slots.

    Raises:
        UnavailableError: they did not find together.
    """
    with ExitStack() as stack:
        buses = [free_port() for _ in range(_NODES)]
        nodes = [stack.enter_context(started("redis", *_cluster_args(bus))) for bus in buses]
        clients = [stack.enter_context(client_of(node)) for node in nodes]
        for number, client in enumerate(clients):
            first, after = (_SLOTS * one // _NODES for one in (number, number + 1))
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, buses[0])
        _await_ok(clients)
        yield nodes


def client_of(server: RunningServer, **options: Any) -> Any:
    """Return a plain client of a server, which redis-py gives no types."""
    return redis.Redis(port=server.port, protocol=2, decode_responses=True, **options)


def _cluster_args(bus: int) -> list[str]:
    return [
        *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
        *("--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"),
    ]


def _await_ok(clients: list[Any]) -> None:
    ends_at = time.monotonic() + _JOIN_SECONDS
    while not all(
        client.execute_command("CLUSTER INFO").get("cluster_state") == "ok"
        and len(client.execute_command("CLUSTER SLOTS")) == _NODES
        for client in clients
    ):
        if time.monotonic() > ends_at:  # pragma: no cover - on a broken machine
            raise UnavailableError("the nodes of the cluster did not find together")
        time.sleep(_POLL_SECONDS)
