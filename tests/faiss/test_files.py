"""The files of a directory: who may write them, what is believed of them, what an erase leaves."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ialstore import (
    ConfigurationError,
    CorruptError,
    LockedError,
    MissingDriverError,
    UnavailableError,
    VectorRecord,
    open_index,
)
from ialstore.testing.clock import ManualClock
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.base import USER, X
from ialstore.testing.vector.crowd import crowd
from ialstore.testing.vector.life import in_a_child, writes_of
from ialstore.testing.vector.oracle import Oracle
from ialstore_backends import _late
from ialstore_backends.faiss import FaissOptions, FaissVectorIndex
from ialstore_backends.faiss.recipes import Recipe
from tests.faiss.places import Place, built_of, matrix_of

GIVEN = crowd(1200)[:300]


def filled(place: Place, kind: str = "hnsw", storage: str | None = None) -> None:
    """Fill a directory, let its index be kept in a file, and close it."""
    with place.open(kind, storage) as index:
        index.upsert(USER, GIVEN)
        index.optimize(USER)


# -- one writer, many readers ------------------------------------------------------------------


def test_a_second_writer_is_refused_and_may_read(place: Place) -> None:
    """D6: whatever it would write; it sees each write of the first at once."""
    first, second = place.open(), place.open()
    first.upsert(USER, GIVEN[:10])
    for name, call in writes_of(second, GIVEN[10]).items():
        if name != "setup":
            with pytest.raises(LockedError, match="has a writer already"):
                call()
    assert second.count(USER) == 10
    for number in range(10, 13):
        first.upsert(USER, [GIVEN[number]])
        assert second.search(USER, X, 100).examined == number + 1
        Oracle.of(second).search(X, 100)
    first.close()
    second.upsert(USER, [GIVEN[20]])
    with pytest.raises(LockedError):
        place.open().delete(USER, [GIVEN[20].id])


def test_readers_see_what_an_optimize_of_the_writer_made(place: Place) -> None:
    """Each generation: the one that is read from the file, and those that follow it."""
    writer, reader = place.open("ivf"), place.open("ivf")
    writer.upsert(USER, GIVEN)
    assert Oracle.of(reader).search(X, 100) == 1
    writer.optimize(USER)
    late = place.open("ivf")
    Oracle.of(late).search(X, 100)
    assert built_of(late) is not None
    writer.delete(USER, [one.id for one in GIVEN[:50]])
    writer.upsert(USER, crowd(1200)[300:400])
    for one in (reader, late, writer):
        assert one.search(USER, X, 100, effort=1).examined == 350
        Oracle.of(one).search(X, 100)


def test_a_writer_that_is_forgotten_makes_room(place: Place) -> None:
    index = FaissVectorIndex(place.path, spec_of("cosine"), clock=place.clock)
    index.upsert(USER, GIVEN[:3])
    del index
    gc.collect()
    place.open().upsert(USER, GIVEN[3:4])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_the_writer_does_not_write_and_takes_no_lock_away(place: Place) -> None:
    """A16."""
    writer = place.open()
    writer.upsert(USER, GIVEN[:3])

    def child() -> None:  # pragma: no cover - a child, which ends without a word
        with pytest.raises(LockedError):
            writer.upsert(USER, GIVEN[3:4])
        assert writer.count(USER) == 3
        writer.close()

    assert in_a_child(child)
    with pytest.raises(LockedError):
        place.open().upsert(USER, GIVEN[3:4])
    writer.upsert(USER, GIVEN[3:4])


HOLD = """
import sys
from ialstore.testing.specs import spec_of
from ialstore.testing.vector.crowd import crowd
from ialstore_backends.faiss import FaissVectorIndex
index = FaissVectorIndex(sys.argv[1], spec_of("cosine"))
index.upsert("u1", crowd(1200)[:5])
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_a_killed_writer_ends_with_it(place: Place) -> None:
    """D6, B9: in another process; what it acknowledged is there."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(LockedError):
            place.open().upsert(USER, GIVEN[5:6])
        process.send_signal(signal.SIGKILL)
        process.wait()
    index = place.open()
    index.upsert(USER, GIVEN[5:6])
    assert index.count(USER) == 6


# -- D5, D7: files that are not as they were written -------------------------------------------


def flip(place: Place) -> None:
    data = bytearray(place.snapshot.read_bytes())
    data[len(data) // 2] ^= 1
    place.snapshot.write_bytes(data)


def cut(place: Place) -> None:
    os.truncate(place.snapshot, 1000)


def empty(place: Place) -> None:
    os.truncate(place.snapshot, 0)


def of_faiss(place: Place) -> None:
    import faiss

    index = faiss.IndexFlatL2(24)
    index.add(np.ones((300, 24), np.float32))
    faiss.write_index(index, str(place.snapshot))


def of_another_directory(place: Place) -> None:
    other = Place(place.path.with_name("other"), ManualClock())
    filled(other)
    other.close()
    shutil.copy(other.snapshot, place.snapshot)


def a_link(place: Place) -> None:
    moved = place.snapshot.rename(place.path.with_name("elsewhere"))
    place.snapshot.symlink_to(moved)


def a_pipe(place: Place) -> None:
    place.snapshot.unlink()
    os.mkfifo(place.snapshot)


@pytest.mark.parametrize(
    "damage", [flip, cut, empty, of_faiss, of_another_directory, a_link, a_pipe]
)
def test_a_file_that_this_writer_did_not_write_so_is_never_read_by_faiss(
    place: Place, damage: Callable[[Place], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """D5, D7, E11, C5: answers are right all the same, check tells, and optimize mends it."""
    filled(place)
    damage(place)
    read: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "read", lambda *given: read.append(given))
        index = place.open()
        oracle = Oracle.of(index)
        assert {oracle.search(one.vector) for one in GIVEN[::50]} == {1}
        (fault,) = index.check()
        assert f"{place.snapshot} is not used" in fault
        assert read == []
    place.close()
    place.snapshot.unlink(missing_ok=True)
    with place.open() as index:
        index.optimize(USER)
        assert index.check() == []


def test_a_file_of_another_kind_is_passed_over(place: Place) -> None:
    """It is another index of the same vectors, and no damage."""
    filled(place)
    with place.open("ivf", "int8") as index:
        assert index.check() == []
        Oracle.of(index).search(X)
        assert built_of(index) is None
        index.optimize(USER)
        assert built_of(index) is not None
    with place.open("ivf", "int8") as index:
        Oracle.of(index).search(X)
        assert built_of(index) is not None


def test_an_older_file_is_used_as_far_as_its_rows_are_there(place: Place) -> None:
    """D5."""
    filled(place)
    older = place.snapshot.read_bytes()
    with place.open() as index:
        index.delete(USER, [one.id for one in GIVEN[100:120]])
        index.upsert(USER, crowd(1200)[300:400])
        index.optimize(USER)
    place.snapshot.write_bytes(older)
    with place.open() as index:
        assert Oracle.of(index).search(X, 300) == 1
        built = built_of(index)
        assert built is not None
        assert index.check() == []
        assert len(matrix_of(index).ids) == 380


def test_the_file_of_a_database_that_was_put_back_is_not_taken_for_its_own(place: Place) -> None:
    """D5: the same numbers stand for other vectors then."""
    with place.open() as index:
        index.upsert(USER, GIVEN[:200])
        index.optimize(USER)
    backup = (place.path / "vectors.db").read_bytes()
    with place.open() as index:
        index.upsert(USER, GIVEN[200:])
        index.optimize(USER)
    (place.path / "vectors.db").write_bytes(backup)
    with place.open() as index:
        index.upsert(USER, crowd(1200)[600:700])
        oracle = Oracle.of(index)
        assert {oracle.search(one.vector) for one in crowd(1200)[600:620]} == {1}
        assert built_of(index) is None or built_of(index).count <= 300  # type: ignore[union-attr]


def test_faiss_may_allocate_no_more_than_a_file_can_need_and_others_may(place: Place) -> None:
    """D7: its limits are put back."""
    import faiss

    filled(place, "ivf")
    before = faiss.get_deserialization_vector_byte_limit()
    index = place.open("ivf")
    Oracle.of(index).search(X)
    assert built_of(index) is not None
    assert faiss.get_deserialization_vector_byte_limit() == before


@pytest.mark.parametrize("what", ["class", "garbage"])
def test_bytes_that_are_another_index_are_refused(what: str) -> None:
    """D7: only what this recipe makes is allowed."""
    recipe = Recipe("ivf", "float32", "cosine")
    rows = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    index = recipe.make(8, rows)
    index.add(rows)
    data = recipe.write(index)
    assert recipe.read(data, 8, 500).ntotal == 500
    for other in (Recipe("hnsw", "int8", "cosine"), Recipe("ivf", "float32", "dot")):
        with pytest.raises(ValueError, match="another index"):
            other.read(data, 8, 500)
    with pytest.raises(ValueError, match="another index"):
        recipe.read(data, 8, 501)
    if what == "garbage":
        with pytest.raises(ValueError, match="can't read"):
            recipe.read(b"IwFl" + bytes(range(256)), 8, 500)


def test_what_a_killed_writer_left_is_removed_by_the_next(place: Place) -> None:
    """D5."""
    filled(place)
    left = place.path / "user-7.tmp"
    left.write_bytes(b"half")
    with place.open() as index:
        index.search(USER, X)
        assert left.exists(), "a reader removes nothing"
        index.delete(USER, [GIVEN[0].id])
        assert not left.exists()


def test_the_file_of_a_user_without_vectors_is_told_and_removed(place: Place) -> None:
    filled(place)
    left = place.path / "user-99.faiss"
    shutil.copy(place.snapshot, left)
    (place.path / "user-x.faiss").write_bytes(b"")
    with place.open() as index:
        faults = index.check()
        assert any("user-99.faiss is of a user who has no vectors" in one for one in faults)
        index.optimize("nobody")
        assert not left.exists()
        assert index.check() == []


def test_a_file_that_this_faiss_can_not_read_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S15: as after a change of FAISS's version."""
    filled(place)

    def refuse(*_: object) -> None:
        raise ValueError("FAISS can't read it")

    monkeypatch.setattr(Recipe, "read", refuse)
    with place.open() as index:
        (fault,) = index.check()
        assert "FAISS can't read it; run optimize" in fault
        assert Oracle.of(index).search(X) == 1


def test_a_file_whose_rows_are_all_gone_is_passed_over(place: Place) -> None:
    """D5."""
    filled(place)
    older = place.snapshot.read_bytes()
    with place.open() as index:
        index.upsert(USER, crowd(1200)[400:600])
        index.delete(USER, [one.id for one in GIVEN])
    place.snapshot.write_bytes(older)
    with place.open() as index:
        oracle = Oracle.of(index)
        assert len(oracle.records) == 200
        assert oracle.search(X, 100) == 1


def test_a_file_that_can_not_be_put_in_place_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B3, E1: nothing else is left behind, and the next optimize completes it."""
    index = place.open()
    index.upsert(USER, GIVEN)

    def fail(path: Path, _: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(UnavailableError, match=r"user-1\.tmp: Input/output error"):
            index.optimize(USER)
    assert list(place.path.glob("user-*")) == []
    index.optimize(USER)
    assert place.snapshot.exists()


# -- erase -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "storage"), [("ivf", "float32"), ("hnsw", "float16")])
def test_erase_leaves_no_byte_of_a_user_in_any_file(place: Place, kind: str, storage: str) -> None:
    """S11: ids, texts, sessions, vectors and the codes of vectors."""
    mine = [
        VectorRecord(one.id, one.vector, one.session_id, one.role, f"zanzibar {n}")
        for n, one in enumerate(GIVEN)
    ]
    with place.open(kind, storage) as index:
        index.upsert("mallory", mine)
        index.upsert("w", crowd(1200, 5, "w")[:200])
        index.optimize("mallory")
        index.optimize("w")
        index.search("mallory", X)
        vector = np.asarray(mine[7].vector).astype(np.float32)
        unit = vector * np.float32(1 / np.linalg.norm(vector.astype(np.float64)))
        code = unit.astype(np.float16 if storage == "float16" else np.float32).tobytes()[:20]
        traces = [b"mallory", b"zanzibar", mine[5].id.encode(), code]
        traces.append(np.asarray(mine[5].vector).astype(np.float32).tobytes()[:20])
        for trace in traces:
            assert place.holds(trace), "the search for traces finds some before"
        report = index.erase("mallory")
        assert (report.vectors, report.remaining, report.out_of_reach) == (300, 0, ())
        for trace in traces:
            assert place.holds(trace) == []
        assert (place.path / "user-2.faiss").exists()
        Oracle.of(index, "w").search(X)
    for trace in traces:
        assert place.holds(trace) == []


def test_what_is_removed_during_an_optimize_is_not_kept_in_its_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: an erase beside it finds nothing to remove yet."""
    index = place.open()
    index.upsert(USER, GIVEN)
    original = FaissVectorIndex._keep  # noqa: SLF001 - the moment between making and writing

    def keep(self: FaissVectorIndex, *given: object) -> None:
        monkeypatch.setattr(FaissVectorIndex, "_keep", original)
        self.erase(USER)
        original(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(FaissVectorIndex, "_keep", keep)
    index.optimize(USER)
    assert not place.snapshot.exists()
    assert index.search(USER, X).hits == ()


def test_an_erase_removes_what_an_interrupted_one_left(place: Place) -> None:
    """S11: the file of a user whose vectors are gone already."""
    filled(place)
    kept = place.snapshot.read_bytes()
    with place.open() as index:
        index.erase(USER)
        assert not place.snapshot.exists()
        place.snapshot.write_bytes(kept)
        index.erase(USER)
        assert not place.snapshot.exists()


# -- places ------------------------------------------------------------------------------------


def test_a_directory_is_made_for_its_owner_alone(place: Place) -> None:
    """B6: its parent must be there."""
    index = place.open()
    index.setup()
    index.upsert(USER, GIVEN[:1])
    assert place.path.stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o077 for one in place.path.iterdir()} == {0}
    place.path.chmod(0o777)
    assert any("may be written by others" in one for one in index.check())


@pytest.mark.parametrize("where", ["missing/faiss", "a-file", "a-file/faiss"])
def test_a_place_that_is_none_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "a-file").write_bytes(b"")
    with (
        FaissVectorIndex(tmp_path / where, spec_of("cosine")) as index,
        pytest.raises(ConfigurationError, match=r"missing; create it|no directory"),
    ):
        index.setup()


def test_a_linked_database_or_lock_is_refused(place: Place, tmp_path: Path) -> None:
    """Fault E11: what is in the directory stays in it; a link to it is followed."""
    filled(place)
    link = tmp_path / "link"
    link.symlink_to(place.path)
    with FaissVectorIndex(tmp_path / "x" / ".." / "link", spec_of("cosine")) as index:
        assert index.count(USER) == 300
    lock = place.path / "writer.lock"
    lock.unlink()
    lock.symlink_to(tmp_path / "victim")
    with place.open() as index, pytest.raises(ConfigurationError, match="symbolic link"):
        index.upsert(USER, GIVEN[:1])
    assert not (tmp_path / "victim").exists()
    lock.unlink()
    os.mkfifo(lock)
    with place.open() as index, pytest.raises(ConfigurationError, match="no regular file"):
        index.upsert(USER, GIVEN[:1])
    lock.unlink()
    database = place.path / "vectors.db"
    database.rename(tmp_path / "moved.db")
    database.symlink_to(tmp_path / "moved.db")
    with place.open() as index, pytest.raises(ConfigurationError, match="symbolic link"):
        index.count(USER)


def test_a_damaged_database_raises_whatever_the_index_file_says(place: Place) -> None:
    """C5: the truth is not replaced by its copy."""
    filled(place)
    (place.path / "vectors.db").write_bytes(b"SQLite format 3\0" + bytes(8000))
    with place.open() as index, pytest.raises((CorruptError, ConfigurationError)):
        index.search(USER, X)


def test_urls_say_kind_and_storage(tmp_path: Path) -> None:
    """U1."""
    url = f"faiss:///{tmp_path}/f?kind=ivf&storage=rabitq&synchronous=normal"
    with open_index(url, spec_of("cosine")) as index:
        assert not index.capabilities.durable
        assert (index.capabilities.exact, index.capabilities.min_recall) == (False, 0.95)
    with open_index(f"faiss:///{tmp_path}/f?kind=flat", spec_of("cosine")) as index:
        assert (index.capabilities.exact, index.capabilities.min_recall) == (True, 1.0)
    for wrong in ("kind=hnws", "storage=int4", "cache_mb=-1", "efsearch=3"):
        with pytest.raises(ConfigurationError):
            open_index(f"faiss:///{tmp_path}/f?{wrong}", spec_of("cosine"))


def test_without_the_driver_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E1."""
    monkeypatch.setattr(_late, "find_spec", lambda _: None)
    with pytest.raises(MissingDriverError, match=r"ialstore\[faiss\]"):
        FaissVectorIndex(tmp_path / "f", spec_of("cosine"), options=FaissOptions())
