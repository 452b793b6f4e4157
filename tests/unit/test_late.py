"""What is made late: once, by one thread, and again in a child where it must be."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ialstore import MissingDriverError
from ialstore_backends._late import Late, require


def test_a_value_is_made_once_by_many_threads() -> None:
    barrier = threading.Barrier(8, timeout=30)
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    late = Late(make, inherited=True)

    def get() -> object:
        barrier.wait()
        return late.get()

    with ThreadPoolExecutor(8) as threads:
        got = [one.result() for one in [threads.submit(get) for _ in range(8)]]
    assert set(map(id, got)) == {id(made[0])}
    assert len(made) == 1


def test_after_an_error_it_is_made_again() -> None:
    outcomes = [OSError("no"), None]

    def make() -> str:
        error = outcomes.pop(0)
        if error is not None:
            raise error
        return "made"

    late = Late(make, inherited=True)
    with pytest.raises(OSError, match="no"):
        late.get()
    assert late.get() == "made"


def test_a_forgotten_value_is_made_anew() -> None:
    late = Late(object, inherited=True)
    first = late.get()
    late.forget()
    assert late.get() is not first


@pytest.mark.parametrize("inherited", [True, False])
def test_a_child_has_a_free_lock_and_the_value_it_may_inherit(*, inherited: bool) -> None:
    late = Late(object, inherited=inherited)
    first = late.get()
    holder = threading.Thread(target=late.lock.acquire)
    holder.start()
    holder.join()

    late.after_fork()

    assert late.lock.acquire(timeout=0)
    assert (late.get() is first) is inherited


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of Python 3.12
def test_every_fork_is_noticed() -> None:
    late = Late(object, inherited=False)
    first = late.get()
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child, which has no coverage
        os._exit(0 if late.get() is not first else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    require("ialstore", extra="none", needed_by="this")
    with pytest.raises(
        MissingDriverError,
        match=r"this needs the module ialstore_none: pip install 'ialstore\[none\]'",
    ):
        require("ialstore_none", extra="none", needed_by="this")
