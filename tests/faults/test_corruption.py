"""B8: damaged files: the right answer or an error, and nothing that ``check`` does not see."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from ialstore import CorruptError
from ialstore.testing.profiles import profile
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from tests.faults.damage import Files, Sound, judge, make, put
from tests.faults.ledger import points
from tests.faults.mutants import LOG_MUTATIONS, MUTATIONS, PAGE, Mutation, older_pages

pytestmark = pytest.mark.no_cover


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Return a database that was closed."""
    return make(tmp_path_factory.mktemp("damage") / "closed", with_log=False)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Return a database whose last writes stand in its log."""
    return make(tmp_path_factory.mktemp("damage") / "logged", with_log=True)


def judge_mutants(
    sound: Sound, folder: Path, name: str, mutation: Mutation, count: int
) -> tuple[Counter[str], list[str]]:
    """Return how often the reading of a mutant ended how, and which promises are broken."""
    ends: Counter[str] = Counter()
    broken: list[str] = []
    for number in range(max(2, count)):
        place = folder / str(number)
        end, found = judge(sound, place, mutation(sound, random.Random(f"{name} {number}")))
        ends[end] += 1
        broken += [f"{name} {number}: {one}" for one in found]
        shutil.rmtree(place)
    return ends, broken


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_damaged_file_gives_right_answers_or_errors_and_else_check_tells(
    closed: Sound, tmp_path: Path, name: str
) -> None:
    """C5, C6: never what nobody wrote, nor what is another's, nor an endless wait."""
    count = profile().fault_mutants // len(MUTATIONS)
    ends, broken = judge_mutants(closed, tmp_path, name, MUTATIONS[name], count)
    assert broken == []
    assert not ends["earlier"] + ends["last"]


def test_a_page_that_a_disk_put_back_as_it_was_is_never_silent(
    closed: Sound, tmp_path: Path
) -> None:
    """C5: each single page, as after a write that the disk acknowledged and lost."""
    older = older_pages(closed)
    broken: list[str] = []
    for number in points(len(older), profile().fault_points):
        start = older[number - 1]
        data = bytearray(closed.files[""])
        data[start : start + PAGE] = closed.earlier[start : start + PAGE]
        end, found = judge(closed, tmp_path / str(start), {"": bytes(data)})
        broken += [f"page {start // PAGE + 1}: {one}" for one in found]
        if end in ("earlier", "last"):
            broken.append(f"page {start // PAGE + 1} is as it was, and check says nothing")
    assert broken == []


@pytest.mark.parametrize("name", LOG_MUTATIONS)
def test_a_damaged_log_loses_whole_writes_at_its_end_and_check_tells(
    logged: Sound, tmp_path: Path, name: str
) -> None:
    """C5: SQLite can't tell damage from a commit that was not finished; ``check`` can, by the rest.

    Behind the last commit there is no rest. A log that ends early, or is gone, is the state of an
    earlier moment: no file says otherwise.
    """
    count = profile().fault_mutants // len(LOG_MUTATIONS)
    ends, broken = judge_mutants(logged, tmp_path, name, LOG_MUTATIONS[name], count)
    assert broken == []
    assert not ends["earlier"] or name in ("cut", "lose")


def test_memory_left_by_a_killed_process_is_not_believed(logged: Sound, tmp_path: Path) -> None:
    files = {**logged.files, "-shm": random.Random(0).randbytes(32768)}
    assert judge(logged, tmp_path / "left", files) == ("right", [])


def hot_journal(folder: Path) -> bytes:
    """Return the journal of a program that was killed in a transaction."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "other.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 2")
        connection.execute("CREATE TABLE other (a)")
        connection.execute("INSERT INTO other VALUES (randomblob(90000))")
        connection.execute("BEGIN")
        connection.execute("UPDATE other SET a = randomblob(90000)")
        return (folder / "other.db-journal").read_bytes()


def test_a_journal_of_another_program_ends_in_errors_and_no_answer(
    closed: Sound, logged: Sound, tmp_path: Path
) -> None:
    """C5: SQLite takes what has the name of its journal for its own, and puts it into the file."""
    journal = hot_journal(tmp_path / "other")
    for number, sound in enumerate((closed, logged)):
        mutant = {**sound.files, "-journal": journal}
        assert judge(sound, tmp_path / str(number), mutant) == ("refused", [])


def test_a_log_that_is_none_is_passed_over(closed: Sound, tmp_path: Path) -> None:
    mutant = {**closed.files, "-wal": random.Random(0).randbytes(50_000)}
    assert judge(closed, tmp_path / "home", mutant) == ("right", [])


@pytest.mark.parametrize("left", [{}, {"": b""}], ids=["missing", "empty"])
def test_a_log_without_its_file_is_not_taken_for_a_new_store(
    logged: Sound, tmp_path: Path, left: Files
) -> None:
    """C5: SQLite would remove the log, and with it what was written last."""
    path = put(tmp_path / "home", {"-wal": logged.files["-wal"], **left})
    with SqliteConversationStore(path) as store:
        for call in (lambda: store.history("u"), store.users, store.check):
            with pytest.raises(CorruptError, match="missing or empty, but"):
                call()
    path.write_bytes(logged.files[""])
    assert judge(logged, tmp_path / "whole", logged.files) == ("right", [])


def test_a_log_of_another_store_is_taken_for_its_own(logged: Sound, tmp_path: Path) -> None:
    """A limit that docs/durability.md states: nothing binds the two files to each other."""
    path = put(tmp_path / "home", {**logged.files, "-wal": logged.others["-wal"]})
    with SqliteConversationStore(path) as store:
        assert list(store.users()) == ["w"]


# -- planted faults ----------------------------------------------------------------------------


def test_a_store_without_checksums_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("message_rows", "vector_rows"):
        monkeypatch.setattr(f"ialstore_backends.sqlite.{module}.crc32", lambda *_: 0)
    sound = make(tmp_path / "sound", with_log=False)
    for number in range(30):
        mutant = MUTATIONS["overwrite"](sound, random.Random(number))
        _, broken = judge(sound, tmp_path / str(number), mutant)
        if any("never acknowledged" in one for one in broken):
            return
    pytest.fail("no damage showed the planted fault")


def test_a_store_whose_check_sees_nothing_is_caught(
    closed: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteConversationStore, "check", lambda _: [])
    monkeypatch.setattr(SqliteVectorIndex, "check", lambda _: [])
    for number in range(30):
        mutant = MUTATIONS["put-back"](closed, random.Random(number))
        _, broken = judge(closed, tmp_path / str(number), mutant)
        if any("check says nothing" in one for one in broken):
            return
    pytest.fail("no damage showed the planted fault")
