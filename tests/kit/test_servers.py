"""Servers for tests: fetched, started, ended, and missed with a reason."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from _pytest.outcomes import Failed, Skipped

from ialstore import ConfigurationError, UnavailableError
from ialstore.testing import servers
from ialstore.testing.servers import ServerKind, main, start, started

LISTENER = """
import signal, socket, sys
{first}
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()
"""

GREETER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    with listener.accept()[0] as connection:
        connection.sendall(sys.argv[2].encode())
"""


HOLDER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
held = []
while True:
    held.append(listener.accept())
"""

STARTER = """
import signal, sys
from ialstore.testing import servers

def command(folder, port):
    return [sys.executable, "-c", sys.argv[1], str(port)]

kind = servers.ServerKind("holder", (), (), lambda folder: None, lambda folder: "", command)
servers.SERVERS = (kind,)
with servers.start("holder") as server:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    print(server.port, flush=True)
    signal.pause()
"""


def program(first: str = "") -> Callable[[Path, int], list[str]]:
    """Return the command of a server that accepts connections."""
    return lambda _, port: [sys.executable, "-c", LISTENER.format(first=first), str(port)]


LISTENING = program()


def touch(folder: Path) -> None:
    (folder / "there").touch()


def lack(folder: Path) -> str:
    return "" if (folder / "there").exists() else "it is not fetched"


def fail(_: Path) -> None:
    raise OSError("no route to the registry")


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., ServerKind]:
    """Return a function that makes a kind of server the only one there is."""
    monkeypatch.setenv("IALSTORE_SERVICES", str(tmp_path))

    def offer(
        command: Callable[[Path, int], list[str]] = LISTENING,
        *,
        fetch: Callable[[Path], None] = touch,
        fetched_with: tuple[str, ...] = (),
        runs_on: tuple[str, ...] = (),
        is_there: bool = True,
    ) -> ServerKind:
        kind = ServerKind(
            "listener", fetched_with, runs_on, fetch, lack, command, "x://h:{port}", {"KEY": "test"}
        )
        monkeypatch.setattr(servers, "SERVERS", (kind,))
        kind.folder.mkdir()
        if is_there:
            touch(kind.folder)
        return kind

    return offer


def test_the_servers_are_sorted_by_name() -> None:
    names = [kind.name for kind in servers.SERVERS]
    assert names == sorted(names)


def test_a_server_answers_while_its_block_runs(offer: Callable[..., ServerKind]) -> None:
    offer()
    with start("listener") as server:
        assert server.endpoint == f"http://127.0.0.1:{server.port}"
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
        os.kill(server.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_server_that_does_not_want_to_end_is_killed(
    offer: Callable[..., ServerKind], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_STOP_SECONDS", 0.1)
    offer(program("signal.signal(signal.SIGTERM, signal.SIG_IGN)"))
    with start("listener") as server:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def greeting(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.settimeout(0.2)
        return connection.recv(10)


def test_a_server_is_paused_killed_and_started_again(offer: Callable[..., ServerKind]) -> None:
    offer(lambda _, port: [sys.executable, "-c", GREETER, str(port)])
    with start("listener", "hello", "at {port}") as server:
        assert greeting(server.port) == b"hello"
        server.pause()
        with pytest.raises(TimeoutError):
            greeting(server.port)
        server.resume()
        assert greeting(server.port) == b"hello"
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            greeting(server.port)
        server.restart()
        assert greeting(server.port) == b"hello"
        server.pause()
        server.restart("{port}")
        assert greeting(server.port) == str(server.port).encode()
        server.pause()  # it ends all the same


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_with_the_process_that_started_it(way: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, HOLDER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        port = int(starter.stdout.readline())
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                starter.send_signal(way)
                with suppress(ConnectionResetError):
                    assert connection.recv(1) == b""
        finally:
            starter.kill()


def test_a_server_that_does_not_start_shows_what_it_printed(
    offer: Callable[..., ServerKind],
) -> None:
    offer(program("sys.exit('out of paper')"))
    with pytest.raises(UnavailableError, match=r"did not start.*out of paper"), start("listener"):
        pass


def test_an_unknown_server_is_named(offer: Callable[..., ServerKind]) -> None:
    offer()
    with (
        pytest.raises(ConfigurationError, match="no server listner; did you mean listener"),
        start("listner"),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"is_there": False}, "listener: it is not fetched; run make services"),
        (
            {"is_there": False, "fetched_with": ("no-such-program",)},
            "listener: it is not fetched; install no-such-program, then run make services",
        ),
        (
            {"runs_on": ("no-such-program",)},
            "listener runs on no-such-program, which is not installed",
        ),
    ],
)
def test_a_missing_server_is_a_skip_or_a_failure_with_a_reason(
    offer: Callable[..., ServerKind],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, object],
    reason: str,
) -> None:
    offer(**given)
    monkeypatch.delenv("IALSTORE_REQUIRE_SERVICES", raising=False)
    with pytest.raises(Skipped, match=reason), started("listener"):
        pass
    monkeypatch.setenv("IALSTORE_REQUIRE_SERVICES", "1")
    with pytest.raises(Failed, match=reason), started("listener"):
        pass
    with pytest.raises(ConfigurationError, match=reason), start("listener"):
        pass


def test_a_server_that_is_there_is_started_for_a_fixture(offer: Callable[..., ServerKind]) -> None:
    offer()
    with started("listener") as server:
        os.kill(server.pid, 0)


def test_fetching_is_done_once(
    offer: Callable[..., ServerKind], capsys: pytest.CaptureFixture[str]
) -> None:
    offer(is_there=False)
    assert main(["list"]) == 1
    assert main(["fetch"]) == 0
    assert main(["fetch", "listener"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "listener: it is not fetched; run make services",
        "listener: fetching, once",
        "listener: ready",
        "listener: ready",
    ]


def test_a_server_runs_until_it_is_terminated(
    offer: Callable[..., ServerKind],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What to export and a URL to try are printed; SIGTERM does what Ctrl-C does."""
    offer()
    port = servers.free_port()
    pids: list[int] = []

    def wait(server: servers.RunningServer) -> None:
        pids.append(server.pid)
        assert main(["run", "listener", "--port", str(port)]) == 1
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(servers.RunningServer, "wait", wait)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["run", "listener", "--port", str(port)]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"listener listens on 127.0.0.1:{port}; Ctrl-C ends it",
        "export KEY=test",
        f"x://h:{port}",
    ]
    assert said.err == f"another program listens on port {port}; name another one\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_server_that_ends_by_itself_is_told_of(
    offer: Callable[..., ServerKind], capsys: pytest.CaptureFixture[str]
) -> None:
    offer(program("import threading, os; threading.Timer(1, os._exit, [0]).start()"))
    assert main(["run", "listener"]) == 1
    assert capsys.readouterr().err == "listener ended by itself\n"


@pytest.mark.parametrize(
    ("given", "last"),
    [
        ({"fetch": fail}, "listener: it is not fetched; run make services"),
        (
            {"fetched_with": ("no-such-program",)},
            "listener: it is not fetched; install no-such-program, then run make services",
        ),
    ],
)
def test_what_could_not_be_fetched_is_told(
    offer: Callable[..., ServerKind],
    capsys: pytest.CaptureFixture[str],
    given: dict[str, object],
    last: str,
) -> None:
    offer(is_there=False, **given)
    assert main(["fetch"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_what_packages_there_are_is_asked_for_where_nobody_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[list[str]] = []
    (tmp_path / "one.deb").touch()

    def run(command: list[str], **_: object) -> None:
        ran.append(command[:2])
        if len(ran) == 1:
            raise subprocess.CalledProcessError(100, command)

    monkeypatch.setattr(subprocess, "run", run)
    servers.find("redis").fetch(tmp_path)
    assert [command[-1] for command in ran[:4]] == ["download", "update", "download", "--extract"]
    assert servers.find("redis").lack(tmp_path) == ""


def test_servers_are_kept_in_the_cache_of_the_user(tmp_path: Path) -> None:
    assert servers.cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == (
        tmp_path / "ialstore" / "services"
    )
    assert servers.cache_folder({}) == Path.home() / ".cache" / "ialstore" / "services"


@pytest.mark.parametrize("name", [kind.name for kind in servers.SERVERS])
def test_a_real_server_starts(name: str) -> None:
    with started(name) as server:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()


@pytest.mark.parametrize("kind", servers.SERVERS, ids=lambda kind: kind.name)
def test_nothing_is_found_in_an_empty_folder(
    kind: ServerKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "is not fetched" in kind.lack(tmp_path)


def test_fetching_runs_the_tool_of_the_registry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command))
    for kind in servers.SERVERS:
        (tmp_path / kind.name).mkdir()
        kind.fetch(tmp_path / kind.name)
    assert [command[0] for command in ran] == ["mvn", "cargo", "mvn", "javac", "apt-get", "env"]
    for name, version in (("dynamodb-local", "3.1.0"), ("opensearch", "2.19.1.0")):
        assert f"<version>{version}</version>" in (tmp_path / name / "pom.xml").read_text()


def test_a_plugin_that_comes_as_an_archive_is_unpacked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)
    archive = tmp_path / "plugin.zip"
    with zipfile.ZipFile(archive, "w") as plugin:
        plugin.writestr("one.jar", b"jar")
    servers.find("opensearch").fetch(tmp_path)
    assert (tmp_path / "knn" / "one.jar").read_bytes() == b"jar"
    assert not archive.exists()
