"""What the tests of faults share: programs to disturb, and what is needed to disturb them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.strace import Programs, why_no_strace


def unavailable(reason: str) -> None:
    """Skip a test for want of something, or let it fail where everything has to be there."""
    if os.environ.get("IALSTORE_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def runner() -> Iterator[Programs]:
    """Return what runs workloads in processes of their own."""
    programs = Programs()
    yield programs
    programs.close()


@pytest.fixture
def programs(runner: Programs) -> Programs:
    """Return what runs workloads under strace."""
    if problem := why_no_strace():
        unavailable(problem)
    return runner
