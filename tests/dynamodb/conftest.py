"""Real servers, and tables of their own for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from ialstore.testing.servers import RunningServer, started
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions

_numbers = itertools.count()


@pytest.fixture(autouse=True, scope="session")
def _credentials() -> Iterator[None]:
    """Give the emulators some; they take any."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def dynoxide() -> Iterator[RunningServer]:
    with started("dynoxide") as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[RunningServer]:
    with started("dynamodb-local") as server:
        yield server


@pytest.fixture(params=["dynoxide", "dynamodb_local"])
def server(request: pytest.FixtureRequest) -> RunningServer:
    """Return each of the servers in turn."""
    running: RunningServer = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def prefix() -> str:
    """Return a prefix that no other test uses."""
    return f"test{os.getpid()}-{next(_numbers)}-"


@pytest.fixture
def table(dynoxide: RunningServer, prefix: str) -> str:
    """Return the prefix of a table that is there."""
    with DynamoConversationStore(prefix, DynamoOptions(endpoint=dynoxide.endpoint)) as store:
        store.setup()
    return prefix
