"""D5, B1, B3: a writer that is killed, or whose calls fail, while it puts an index into its file.

strace kills an unmodified program at the n-th call on the files of the index, or lets the call
fail. What SQLite writes is disturbed in ``tests/faults``; here all vectors are acknowledged before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ialstore.testing.vector.base import USER
from ialstore.testing.vector.crowd import crowd
from ialstore.testing.vector.oracle import Oracle, all_ids
from tests.faiss.places import Place, built_of, placed
from tests.faults.conftest import unavailable
from tests.faults.strace import why_no_strace

pytestmark = pytest.mark.no_cover

CALLS = ("openat", "write", "fsync", "rename", "unlink")
ERRORS = {"openat": "EMFILE", "write": "ENOSPC", "fsync": "EIO", "rename": "EIO", "unlink": "EIO"}

PROGRAM = """
import sys
from ialstore import IalStoreError
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.crowd import crowd
from ialstore_backends.faiss import FaissOptions, FaissVectorIndex, matrix
matrix.LEAST = 100
if sys.argv[2:] == ["in place"]:
    from pathlib import Path
    Path.with_suffix = lambda path, _: path
given = crowd(1200)
with FaissVectorIndex(sys.argv[1], spec_of("cosine"), options=FaissOptions("ivf")) as index:
    index.upsert("u1", given[200:400])
    print("stored", flush=True)
    try:
        index.optimize("u1")
        print("optimized", flush=True)
    except IalStoreError as error:
        print(type(error).__name__, flush=True)
    index.count("u1")
    index.search("u1", [1.0] * 24)
    print("searched", flush=True)
"""


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """Return a directory with vectors, and their index in a file."""
    if problem := why_no_strace():
        unavailable(problem)
    with placed(tmp_path / "before") as place, place.open("ivf") as index:
        index.upsert(USER, crowd(1200)[:200])
        index.optimize(USER)
    return place.path


def disturb(before: Path, inject: str = "", *planted: str) -> tuple[Place, list[str], Counter[str]]:
    """Let the program go on in a copy; return it, what it said, and the calls on the index."""
    folder = before.with_name(inject or "whole")
    shutil.copytree(before, folder)
    trace = before.with_name(f"{folder.name}.trace")
    command = ["strace", "-f", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
    for name in ("user-1.faiss", "user-1.tmp"):
        command += ["-P", str(folder / name)]
    if inject:
        command += ["-e", f"inject={inject}"]
    environment = {name: value for name, value in os.environ.items() if "COV" not in name}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, sys.executable, "-c", PROGRAM, str(folder), *planted],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    calls = Counter(
        line.split()[1].partition("(")[0]
        for line in trace.read_text().splitlines()
        if "(" in line and "+++" not in line and "---" not in line
    )
    with placed(folder) as place:
        return place, done.stdout.split(), calls


def broken(place: Place) -> list[str]:
    """Return what is not as it must be after a disturbance."""
    found: list[str] = []
    with place.open("ivf") as index:
        if all_ids(index) != [one.id for one in crowd(1200)[:400]]:
            found.append("a vector that was acknowledged is lost")
        if Oracle.of(index).search(crowd(1200)[250].vector, effort=1) != 1:
            found.append("a search overlooks vectors")
        if faults := index.check():
            found.append(f"the old file or the new one is damaged: {faults}")
        built = built_of(index)
        if built is None:
            found.append("neither the old index nor the new one is there")
        index.optimize(USER)
        if (
            {one.suffix for one in place.path.iterdir()}
            - {".db", ".lock", ".faiss", ".db-wal"}
            - {".db-shm"}
        ):
            found.append("something is left")
    with place.open("ivf") as index:
        Oracle.of(index).search(crowd(1200)[250].vector)
        if built_of(index) is None or built_of(index).count != 400:  # type: ignore[union-attr]
            found.append("the next optimize did not complete it")
    return found


def test_a_kill_at_any_call_leaves_the_old_index_or_the_new_one(before: Path) -> None:
    """B1, D5: and every vector."""
    _, said, calls = disturb(before)
    assert said == ["stored", "optimized", "searched"]
    assert calls["fsync"] == calls["rename"] == 1
    faults: list[str] = []
    for call in CALLS:
        for number in range(1, calls[call] + 1):
            place, said, _ = disturb(before, f"{call}:signal=KILL:when={number}")
            if said != ["stored"]:
                faults.append(f"{call} {number} was not reached")
            faults += [f"killed at {call} {number}: {one}" for one in broken(place)]
    assert faults == []


def test_a_call_that_fails_leaves_the_old_index_or_the_new_one(before: Path) -> None:
    """B3, B4, B5, D5: the error is one of ours, and searches go on."""
    _, _, calls = disturb(before)
    faults: list[str] = []
    for call, error in ERRORS.items():
        for number in range(1, calls[call] + 1):
            place, said, _ = disturb(before, f"{call}:error={error}:when={number}")
            expected = {"StorageFullError"} if error == "ENOSPC" else {"UnavailableError"}
            if said[-1:] != ["searched"] or not set(said[1:2]) <= expected | {"optimized"}:
                faults.append(f"{call} {number}: {said}")
            faults += [f"{error} at {call} {number}: {one}" for one in broken(place)]
    assert faults == []


def test_a_writer_that_writes_in_place_is_caught(before: Path) -> None:
    place, said, _ = disturb(before, "write:signal=KILL:when=1", "in place")
    assert said == ["stored"]
    assert "neither the old index nor the new one is there" in broken(place)
