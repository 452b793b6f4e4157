"""One node of OpenSearch for all workers, and an index of its own for each test."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ialstore.testing.servers import started
from ialstore.testing.vector.base import MakeIndex
from ialstore.url import StoreURL
from ialstore.vector_model import IndexSpec
from ialstore_backends.opensearch import OpenSearchVectorIndex

_numbers = itertools.count()

PATIENCE_SECONDS = 30
"""On a busy machine a node that has just started takes seconds for what it does first."""


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of a node that all workers share: whoever comes first starts it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    told = folder / "opensearch-port"
    with (
        (folder / "opensearch-lock").open("w") as lock,
        (folder / "opensearch-users").open("w") as users,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if told.exists():
            fcntl.flock(lock, fcntl.LOCK_UN)
            yield int(told.read_text())
            return
        with started("opensearch") as server:
            told.write_text(str(server.port))
            fcntl.flock(lock, fcntl.LOCK_UN)
            yield server.port
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes now starts another
            told.unlink()
            fcntl.flock(lock, fcntl.LOCK_UN)
            fcntl.flock(users, fcntl.LOCK_EX)  # until the others have done


@pytest.fixture
def index_name() -> str:
    """Return the name of an index that no other test uses."""
    return f"test{os.getpid()}-{next(_numbers)}"


def opened(
    port: int, name: str, spec: IndexSpec, options: str = "", **settings: Any
) -> OpenSearchVectorIndex:
    """Return an index on the node."""
    url = StoreURL.parse(f"opensearch+http://127.0.0.1:{port}/{name}?replicas=0{options}")
    settings.setdefault("timeout_seconds", PATIENCE_SECONDS)
    return OpenSearchVectorIndex.from_url(url, spec, **settings)


@pytest.fixture
def shared(port: int) -> Iterator[MakeIndex]:
    """Return what opens the index of a spec; it is empty, but a test before may have set it up.

    Setting one up takes longer than most tests do.
    """
    used: set[str] = set()
    owner = os.getpid()  # a test's child opens the same

    def make(spec: IndexSpec, options: str = "", **settings: Any) -> OpenSearchVectorIndex:
        layout = re.sub("[^a-z0-9]+", "-", f"{spec.metric}-{spec.dimension}{options}")
        name = f"shared{owner}-{layout}"
        used.add(name)
        return opened(port, name, spec, options, **settings)

    yield make
    for name in used:
        with suppress(HTTPError):  # nobody has set it up
            tell(port, "POST", f"/{name}/_refresh")
            everything: dict[str, Any] = {"query": {"match_all": {}}}
            tell(port, "POST", f"/{name}/_delete_by_query?refresh=true", everything)


def tell(port: int, method: str, path: str, body: Any = None) -> Any:
    """Return what the node itself says to a request."""
    request = Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    with urlopen(request, timeout=PATIENCE_SECONDS) as reply:  # noqa: S310 - as above
        return json.load(reply)
