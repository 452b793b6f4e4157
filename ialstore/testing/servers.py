"""Real servers for tests and benchmarks: fetched once, started as children, ended by their pid.

``make services`` fetches them into a cache outside the project; ``start(name)`` starts one on a
free port of 127.0.0.1, which can then be paused, killed and started again. A server that is not
there makes a test a skip with a reason, or a failure where ``IALSTORE_REQUIRE_SERVICES`` is set:
``started(name)`` does that for fixtures. A server ends with the process that started it, however
that one ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import pytest

from ialstore.errors import ConfigurationError, IalStoreError, UnavailableError
from ialstore.testing import opensearch_server
from ialstore.testing.fetching import copy_from_maven, run
from ialstore.url import closest

__all__ = [
    "SERVERS",
    "RunningServer",
    "ServerKind",
    "free_port",
    "is_required",
    "start",
    "started",
]

_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_WATCH: Final = 'read -r _; kill -9 "$1"'
"""Waits until whoever holds the other end of its input is gone, SIGKILL included."""


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A server that can be fetched and started.

    Attributes:
        name: what tests and the command line call it.
        fetched_with: programs that fetching it needs.
        runs_on: programs that running it needs.
        fetch: puts it into a folder; run once.
        lack: returns what that folder lacks, or an empty text.
        command: returns the command line for a folder and a port.
        url: to try it with; ``{port}`` in it is its port.
        environ: what that needs of the environment.
    """

    name: str
    fetched_with: tuple[str, ...]
    runs_on: tuple[str, ...]
    fetch: Callable[[Path], None]
    lack: Callable[[Path], str]
    command: Callable[[Path, int], list[str]]
    url: str = ""
    environ: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return cache_folder() / self.name

    def missing(self) -> str:
        """Return why it can't be started and what to do; empty where it can."""
        lack = self.lack(self.folder)
        if lack:
            absent = _absent(self.fetched_with)
            cure = f"install {absent}, then run make services" if absent else "run make services"
            return f"{self.name}: {lack}; {cure}"
        absent = _absent(self.runs_on)
        return f"{self.name} runs on {absent}, which is not installed" if absent else ""


class RunningServer:
    """A server that was started here.

    Attributes:
        name: of its kind.
        port: on 127.0.0.1; it stays when the server is started again.
        folder: in which it runs, and leaves what it writes.
    """

    def __init__(self, kind: ServerKind, port: int, folder: Path, args: Sequence[str]) -> None:
        self.name = kind.name
        self.port = port
        self.folder = folder
        self._kind = kind
        self._args = args
        self._process, self._watcher = self._started(args)

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def wait(self) -> None:
        """Wait until it ends by itself."""
        self._process.wait()

    def pause(self) -> None:
        """Let it hang: it accepts connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; what it holds in memory is lost."""
        _end(self._watcher)  # first: nobody else may have the number that it would kill
        _end(self._process)

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        _end(self._watcher)
        self._process.terminate()
        self.resume()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self, *args: str) -> None:
        """Stop it if it runs, and start it again: same port, same folder.

        Args:
            args: in place of those that it was started with; none keep them.
        """
        self.stop()
        self._process, self._watcher = self._started(args or self._args)

    def _started(
        self, args: Sequence[str]
    ) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        """Return its process, and the one that watches over it."""
        given = [one.replace("{port}", str(self.port)) for one in args]
        with (self.folder / "log").open("w+b") as log:
            process = subprocess.Popen(  # noqa: S603 - a program of our own choice
                [*self._kind.command(self._kind.folder, self.port), *given],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            watcher = _watch(process)
            try:
                _await_port(self._kind, process, self.port, log)
            except BaseException:
                _end(watcher)
                _end(process)
                raise
        return process, watcher


def _watch(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Return a process that kills another one when this process is gone.

    Linux could do it without one, but counts the thread that starts a child as its parent.
    """
    return subprocess.Popen(  # noqa: S603 - a program of our own choice
        ["sh", "-c", _WATCH, "sh", str(process.pid)],  # noqa: S607 - wherever it is installed
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to all processes of a terminal is not for it
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _absent(programs: Sequence[str]) -> str:
    return " and ".join(one for one in programs if shutil.which(one) is None)


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where servers are kept: ``IALSTORE_SERVICES``, else in the user's cache folder."""
    environ = os.environ if environ is None else environ
    if named := environ.get("IALSTORE_SERVICES"):
        return Path(named)
    cache = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ialstore" / "services"


def is_required(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a missing server is a failure."""
    environ = os.environ if environ is None else environ
    return environ.get("IALSTORE_REQUIRE_SERVICES", "") not in ("", "0")


def find(name: str) -> ServerKind:
    """Return the kind of this name.

    Raises:
        ConfigurationError: there is none; the closest is named.
    """
    for kind in SERVERS:
        if kind.name == name:
            return kind
    raise ConfigurationError(
        f"there is no server {name}{closest(name, [one.name for one in SERVERS])}"
    )


@contextmanager
def start(name: str, *args: str, port: int | None = None) -> Generator[RunningServer]:
    """Start a server on 127.0.0.1; it ends with the block.

    Args:
        name: of the kind.
        args: further ones of its command line; ``{port}`` in them is its port.
        port: a free one by default.

    Raises:
        ConfigurationError: there is no such server, it is not fetched, or another program listens
            on the port; says what to do.
        UnavailableError: it did not start; shows the end of what it printed.
    """
    kind = find(name)
    if lack := kind.missing():
        raise ConfigurationError(lack)
    if port is not None and _answers(port):
        raise ConfigurationError(f"another program listens on port {port}; name another one")
    with tempfile.TemporaryDirectory(prefix=f"ialstore-{name}-") as scratch:
        server = RunningServer(kind, port or free_port(), Path(scratch), args)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def started(name: str, *args: str) -> Generator[RunningServer]:
    """Start a server for a fixture: where it is missing the test is skipped, or fails.

    It fails where ``IALSTORE_REQUIRE_SERVICES`` is set. The arguments are those of ``start``.
    """
    if lack := find(name).missing():
        if is_required():
            pytest.fail(lack)
        pytest.skip(lack)
    with start(name, *args) as server:
        yield server


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _await_port(
    kind: ServerKind, process: subprocess.Popen[bytes], port: int, log: IO[bytes]
) -> None:
    ends_at = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < ends_at:
        if _answers(port):
            return
        time.sleep(_POLL_SECONDS)
    log.seek(0)
    printed = log.read()[-2000:].decode(errors="replace")
    raise UnavailableError(f"{kind.name} did not start on port {port}; it printed: {printed}")


# -- the servers there are ------------------------------------------------------------------------


def _fetch_dynamodb_local(folder: Path) -> None:
    copy_from_maven(folder, f"software.amazon.dynamodb:DynamoDBLocal:{_DYNAMODB_LOCAL}:jar")


def _lack_of_dynamodb_local(folder: Path) -> str:
    jar = folder / f"DynamoDBLocal-{_DYNAMODB_LOCAL}.jar"
    return "" if jar.is_file() else f"version {_DYNAMODB_LOCAL} is not fetched"


def _dynamodb_local(folder: Path, port: int) -> list[str]:
    return [
        "java",
        "-Xmx512m",
        "-cp",
        f"{folder}/*",
        f"-Dsqlite4java.library.path={folder}",
        "software.amazon.dynamodb.services.local.main.ServerRunner",
        "-inMemory",
        "-sharedDb",
        "-disableTelemetry",
        "-port",
        str(port),
    ]


def _fetch_dynoxide(folder: Path) -> None:
    run(
        ["cargo", "install", "dynoxide-rs", "--version", _DYNOXIDE, "--locked", "--root", "."],
        folder,
    )


def _lack_of_dynoxide(folder: Path) -> str:
    receipt = folder / ".crates.toml"  # cargo's list of what it installed
    there = receipt.is_file() and f"dynoxide-rs {_DYNOXIDE} " in receipt.read_text("utf-8")
    return "" if there else f"version {_DYNOXIDE} is not fetched"


def _dynoxide(folder: Path, port: int) -> list[str]:
    return [str(folder / "bin" / "dynoxide"), "serve", "--port", str(port)]


def _fetch_redis(folder: Path) -> None:
    """Unpack Debian's packages without installing them."""
    download = ["apt-get", "download", "-qq", *_REDIS_PACKAGES]
    try:
        run(download, folder)
    except subprocess.CalledProcessError:  # this machine never asked which packages there are
        run(["apt-get", "update", "-qq"], folder)
        run(download, folder)
    for package in sorted(folder.glob("*.deb")):
        run(["dpkg-deb", "--extract", package.name, "."], folder)
    run([*_unpacked_redis(folder), "--version"], folder)
    (folder / "ready").touch()


def _lack_of_redis(folder: Path) -> str:
    there = shutil.which("redis-server") or (folder / "ready").is_file()
    return "" if there else "it is not fetched"


def _redis(folder: Path, port: int) -> list[str]:
    installed = shutil.which("redis-server")
    program = [installed] if installed else _unpacked_redis(folder)
    settings = ["--bind", "127.0.0.1", "--appendonly", "no", "--save"]
    return [*program, "--port", str(port), *settings, ""]


def _unpacked_redis(folder: Path) -> list[str]:
    libraries = ":".join(sorted({str(one.parent) for one in folder.glob("usr/lib/**/*.so.*")}))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(folder / "usr" / "bin" / "redis-server")]


_DYNAMODB_LOCAL: Final = "3.1.0"
_DYNOXIDE: Final = "3.2.0"
_REDIS_PACKAGES: Final = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")

_DYNAMODB_URL: Final = "dynamodb://app-?region=us-east-1&endpoint=http://127.0.0.1:{port}"
_AWS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
"""The emulators take any credentials, and none is not enough."""

SERVERS: Final = (
    ServerKind(
        "dynamodb-local",
        ("mvn",),
        ("java",),
        _fetch_dynamodb_local,
        _lack_of_dynamodb_local,
        _dynamodb_local,
        _DYNAMODB_URL,
        _AWS,
    ),
    ServerKind(
        "dynoxide",
        ("cargo",),
        (),
        _fetch_dynoxide,
        _lack_of_dynoxide,
        _dynoxide,
        _DYNAMODB_URL,
        _AWS,
    ),
    ServerKind(
        "opensearch",
        ("mvn", "javac"),
        ("java",),
        opensearch_server.fetch,
        opensearch_server.lack,
        opensearch_server.command,
        "opensearch+http://127.0.0.1:{port}/memories?replicas=0",
    ),
    ServerKind(
        "redis",
        ("apt-get", "dpkg-deb"),
        (),
        _fetch_redis,
        _lack_of_redis,
        _redis,
        "redis://127.0.0.1:{port}/0",
    ),
)
"""Sorted by name."""


def main(args: Sequence[str] | None = None) -> int:
    """Fetch servers, list them, or run one; exits with 1 where one could not be had."""
    parser = argparse.ArgumentParser(
        prog="python -m ialstore.testing.servers", description="The servers that tests use."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("fetch", "list"):
        several = commands.add_parser(command)
        several.add_argument("names", nargs="*", help="all of them by default")
    one = commands.add_parser("run", help="start one, until Ctrl-C")
    one.add_argument("name")
    one.add_argument("--port", type=int, help="a free one by default")
    given = parser.parse_args(args)
    if given.command == "run":
        return _run(given.name, given.port)
    kinds = [find(name) for name in given.names] or list(SERVERS)
    failed = False
    for kind in kinds:
        if given.command == "fetch":
            _fetch(kind)
        lack = kind.missing()
        failed = failed or bool(lack)
        sys.stdout.write(f"{lack or f'{kind.name}: ready'}\n")
    return int(failed)


def _run(name: str, port: int | None) -> int:
    """Run a server until this process is interrupted or terminated, and say how to reach it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt), start(name, port=port) as server:
            kind = find(name)
            sys.stdout.write(f"{name} listens on 127.0.0.1:{server.port}; Ctrl-C ends it\n")
            for key, value in kind.environ.items():
                sys.stdout.write(f"export {key}={value}\n")
            sys.stdout.write(f"{kind.url.format(port=server.port)}\n")
            sys.stdout.flush()
            server.wait()
            sys.stderr.write(f"{name} ended by itself\n")
            return 1
    except IalStoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _fetch(kind: ServerKind) -> None:
    if not kind.lack(kind.folder) or _absent(kind.fetched_with):
        return
    sys.stdout.write(f"{kind.name}: fetching, once\n")
    sys.stdout.flush()
    kind.folder.mkdir(parents=True, exist_ok=True)
    try:
        kind.fetch(kind.folder)
    except (OSError, subprocess.SubprocessError) as error:
        sys.stdout.write(f"{kind.name}: {error}\n")


if __name__ == "__main__":  # pragma: no cover - as `make services` calls it
    sys.exit(main())
