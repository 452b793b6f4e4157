"""``ialstore copy`` into real servers and out of them: all arrives, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from ialstore import VectorRecord, open_index, open_store
from ialstore.cli import main
from ialstore.cli.common import kinds_of
from ialstore.cli.exits import ExitCode
from ialstore.testing.proxy import Decision, FaultProxy, ProxiedRequest, ResetAfter
from ialstore.testing.servers import RunningServer
from ialstore.url import StoreURL
from tests.migrate.stores import everything, held, messages, record, vectors_held

DIMENSION: Final = 64
USERS: Final = ("u#1", "\u00fc/2")
SECTIONS: Final = """
[conversation]
url = "{conversation}"
timeout_seconds = 30
[vector]
url = "{vector}"
timeout_seconds = 30
[embedder]
use = "hashing"
dimension = 64
"""
"""Of a file that says where something is, with patience for a busy machine."""
WRITES: Final = ("BatchWrite", "Put", "TransactWrite", "Update")
VECTORS: Final = ("--only", "vectors")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def place(name: str, url: str) -> str:
    """Return the configuration file of what keeps vectors, conversations, or both."""
    kinds = kinds_of(StoreURL.parse(url).scheme)
    urls = {kind: url if kind in kinds else "memory:" for kind in ("conversation", "vector")}
    Path(f"{name}.toml").write_text(SECTIONS.format(**urls), encoding="utf-8")
    return f"{name}.toml"


def vectors(count: int, user: str) -> list[VectorRecord]:
    """Return records of random vectors."""
    chance = np.random.default_rng(count)
    return [
        record(number, user, vector=chance.standard_normal(DIMENSION, np.float32))
        for number in range(count)
    ]


def run(*args: str) -> None:
    assert main(list(args)) == ExitCode.OK, args


def test_conversations_go_to_dynamodb_and_back(dynoxide: RunningServer, prefix: str) -> None:
    old, new = "sqlite:///old.db", "sqlite:///new.db"
    there = f"dynamodb://{prefix}?endpoint={dynoxide.endpoint}"
    with open_store(old) as store:
        for user in USERS:
            store.append(*everything(user))
        store.bulk_load(messages(120, USERS[0]))
    run("setup", "--url", there)
    run("copy", old, there)
    run("copy", there, new, *(one for user in USERS for one in ("--user", user)))
    with open_store(old) as ours, open_store(new) as theirs:
        for user in USERS:
            assert held(theirs, user) == held(ours, user)
            assert list(theirs.sessions(user)) == list(ours.sessions(user))


@pytest.mark.parametrize("layout", ["gsi", "packed"])
def test_vectors_go_to_opensearch_and_on_to_dynamodb(
    dynoxide: RunningServer, port: int, prefix: str, index_name: str, layout: str
) -> None:
    codec = "layout=packed" if layout == "packed" else "codec=float32"
    places = (
        place("old", "sqlite:///old.db"),
        place("between", f"opensearch+http://127.0.0.1:{port}/{index_name}?replicas=0"),
        place("new", f"lsh+dynamodb://{prefix}?endpoint={dynoxide.endpoint}&{codec}"),
    )
    with open_index(places[0]) as index:
        index.upsert(USERS[0], vectors(20, USERS[0]))
        index.upsert(USERS[1], [*vectors(2, USERS[1]), record(9, text=None, vector=[1.0] * 64)])
    for source, target in pairwise(places):
        run("setup", "--config", target)
        run("copy", source, target, *VECTORS)
    run("copy", places[0], places[2], *VECTORS, "--verify-only")
    with open_index(places[0]) as ours, open_index(places[2]) as theirs:
        for user in USERS:
            wanted, found = vectors_held(ours, user), vectors_held(theirs, user)
            if theirs.capabilities.vector_error:
                wanted, found = ([row[:1] + row[2:] for row in one] for one in (wanted, found))
            assert found == wanted


class Copies:
    """Copies of the same, each in a process of its own."""

    def __init__(self, *args: str) -> None:
        self._command = (sys.executable, "-m", "ialstore", "copy", *args)

    def start(self) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        path = os.pathsep.join(filter(None, sys.path))
        return subprocess.Popen(
            self._command, env=kept | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL
        )

    def killed_at_a_write(self, proxy: FaultProxy) -> None:
        """Kill one when the server has carried out its first write."""
        is_started = threading.Event()

        def decide(request: ProxiedRequest) -> Decision:
            if "_bulk" not in request.path and not request.operation.startswith(WRITES):
                return None
            assert is_started.wait(10)
            process.kill()
            return ResetAfter()

        proxy.decide = decide
        process = self.start()
        is_started.set()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["conversations", "vectors"])
def test_a_copy_that_is_killed_goes_on_beside_another(
    request: pytest.FixtureRequest, prefix: str, index_name: str, kind: str
) -> None:
    """Killed after the first write of one user, then of another."""
    old, users = place("old", "sqlite:///old.db"), ("a", "b", "c")
    with open_store(old) as store, open_index(old) as index:
        for user in users:
            store.append(*messages(40, user))
            index.upsert(user, vectors(40, user))
    if kind == "conversations":
        server: RunningServer = request.getfixturevalue("dynoxide")
        proxy = FaultProxy(server.port)
        url = f"dynamodb://{prefix}?endpoint={proxy.endpoint}"
    else:
        proxy = FaultProxy(request.getfixturevalue("port"))
        url = f"opensearch+{proxy.endpoint}/{index_name}?replicas=0"
    new = place("new", url)
    copies = Copies(old, new, "--only", kind)
    with proxy:
        run("setup", "--config", new)
        for _ in range(2):
            copies.killed_at_a_write(proxy)
        proxy.decide = lambda _: None
        both = [copies.start() for _ in range(2)]
        assert [one.wait() for one in both] == [ExitCode.OK, ExitCode.OK]
        for user in users:
            if kind == "conversations":
                with open_store(old) as ours, open_store(new) as theirs:
                    assert held(theirs, user) == held(ours, user)
            else:
                with open_index(old) as index, open_index(new) as other:
                    assert vectors_held(other, user) == vectors_held(index, user)
