"""B5-B7, B9, B12: what surrounds a SQLite file fails: disk, modes, memory, descriptors, clock."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from ialstore import (
    AccessDeniedError,
    DeadlineExceededError,
    IalStoreError,
    Message,
    Outcome,
    deadline,
)
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from tests.faults.ledger import Ended, ledger_of, read_everything
from tests.faults.workload import (
    ACKNOWLEDGED,
    SPEC,
    START,
    Place,
    Step,
    appending,
    message,
    record,
    upserting,
)
from tests.timing import ends_within

pytestmark = pytest.mark.no_cover

POSIX = pytest.mark.skipif(os.name != "posix", reason="users, modes and limits are POSIX")
NOBODY = 65534
LATER = START + timedelta(days=365)


def take(place: Place, steps: Sequence[Step]) -> list[Ended]:
    """Take each step; return how it ended."""
    ended: list[Ended] = []
    for number, step in enumerate(steps):
        try:
            step.call(place)
        except IalStoreError as error:
            ended.append(Ended(number, str(error.outcome), type(error).__name__))
        else:
            ended.append(Ended(number, ACKNOWLEDGED))
    return ended


def broken(path: Path, steps: Sequence[Step], ended: Sequence[Ended]) -> list[str]:
    """Return which promises the file breaks after these steps."""
    return ledger_of(steps, ended).judge(read_everything(path))


def kinds(ended: Sequence[Ended]) -> set[str]:
    return {one.error for one in ended if one.error}


# -- B5: a full disk ---------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Generator[Path]:
    """Mount a small file system."""
    folder.mkdir()
    if sys.platform != "linux" or not mounts("-t", "tmpfs", "-o", f"size={megabytes}m", folder):
        pytest.skip("only root may mount a small file system, on Linux")
    try:
        yield folder
    finally:
        # What a failed test still holds open keeps its room, but not its place.
        subprocess.run([shutil.which("umount") or "umount", "--lazy", folder], check=True)


def mounts(*arguments: str | Path) -> bool:
    """Mount what the arguments say; return whether it was done."""
    command = [shutil.which("mount") or "mount", *arguments[:-1], "none", arguments[-1]]
    return not subprocess.run(command, check=False, capture_output=True).returncode


def fill(folder: Path) -> Path:
    """Take all the room that is left; removing the file gives it back."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk has no end")


def large(first: int, count: int = 40) -> list[Step]:
    """Return appends of one, two and five messages of 20 KB, and vectors between them."""
    steps: list[Step] = []
    for number in range(first, first + count, 10):
        some = [message(n, text=f"{n} " + "x" * 20_000) for n in range(number, number + 8)]
        steps += [appending(some[0]), appending(*some[1:3]), appending(*some[3:])]
        steps.append(upserting("u", record(number), record(number + 1)))
    return steps


def test_a_full_disk_refuses_writes_whole_and_reads_go_on(tmp_path: Path) -> None:
    """C4: what was acknowledged is there; when there is room again, writes succeed again."""
    with small_disk(tmp_path / "disk", megabytes=3) as disk:
        path = disk / "agent.db"
        place = Place(path)
        before = large(0)
        ended = take(place, before)
        assert kinds(ended) == set()
        ballast = fill(disk)
        on_full = large(100)
        ended += take(place, on_full)
        assert kinds(ended) == {"StorageFullError"}
        steps = before + on_full
        assert len(place.store.history("u", limit=1000)) >= 32
        (fault,) = place.store.check()
        assert "its log could not be checked" in fault
        ballast.unlink()
        assert broken(path, steps, ended) == []
        again = take(place, on_full)
        assert kinds(again) == set()
        place.close()
        assert broken(path, [*steps, *on_full], [*ended, *again]) == []


def test_a_disk_that_is_full_from_the_beginning_refuses_a_store(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        ballast = fill(disk)
        place = Place(disk / "agent.db")
        steps = [appending(message(1)), upserting("u", record(1))]
        assert kinds(take(place, steps)) == {"StorageFullError"}
        ballast.unlink()
        ended = take(place, steps)
        place.close()
        assert kinds(ended) == set()
        assert broken(disk / "agent.db", steps, ended) == []


@POSIX
@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("room", [1, 100, 4119, 4121, 30_000])
def test_a_write_that_is_cut_short_at_any_byte_stores_nothing_of_its_call(
    tmp_path: Path, room: int, *, sticky: bool
) -> None:
    """B3, C4: a write that the system takes in part; the next one finds no room."""
    import resource

    path = tmp_path / "agent.db"
    steps = large(0, 20)
    place = Place(path)
    ended = take(place, steps[:1])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    log_bytes = path.with_name("agent.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes + room, before[1]))
    try:
        for step in steps[1:]:
            ended += take(place, [step])
            if ended[-1].error and not sticky:
                break
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert kinds(ended) == {"UnavailableError"}
    again = take(place, steps)
    assert kinds(again) == set()
    place.close()
    assert broken(path, [*steps[: len(ended)], *steps], [*ended, *again]) == []


def test_an_erase_on_a_full_disk_deletes_and_says_what_is_left_to_do(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=3) as disk:
        path = disk / "agent.db"
        with SqliteConversationStore(path) as store:
            store.append(*(message(n, text=f"a secret {n} " + "x" * 20_000) for n in range(20)))
            store.append(*(message(n, user="v", text="y" * 20_000) for n in range(20)))
            store.optimize("u")
            ballast = fill(disk)
            with ballast.open("r+b") as file:
                file.truncate(ballast.stat().st_size - 500_000)  # enough to delete, not to rewrite
            report = store.erase("u")
            assert report.messages == 20
            assert "run optimize" in report.out_of_reach[0]
            assert "an erase was held up" in store.check()[0]
            ballast.unlink()
            assert store.optimize("u").notes == ()
            assert store.check() == []
        assert b"a secret" not in path.read_bytes()


# -- B6: modes and owners ----------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a folder that any user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "home").mkdir(mode=0o700)
        yield Path(folder) / "home"


@contextmanager
def as_nobody(*owned: Path) -> Generator[None]:
    """Give files to a user without privileges, and become that user, if this one has them."""
    if os.geteuid() != 0:
        yield
        return
    for path in owned:
        os.chown(path, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@POSIX
@pytest.mark.parametrize(
    ("folder_mode", "file_mode"),
    [(0o700, 0o000), (0o500, 0o600), (0o000, 0o600)],
    ids=["file closed", "folder read-only", "folder closed"],
)
def test_a_file_or_folder_whose_mode_forbids_it_is_refused_by_name(
    home: Path, folder_mode: int, file_mode: int
) -> None:
    """E1: reading needs to write beside the file, too; nothing is changed by trying."""
    path, before = stored(home)
    path.chmod(file_mode)
    home.chmod(folder_mode)
    with as_nobody(path, home), SqliteConversationStore(path) as store:
        for call in (lambda: store.append(message(2)), lambda: store.history("u"), store.check):
            with pytest.raises(AccessDeniedError) as caught:
                call()
            assert str(path) in str(caught.value)
            assert not caught.value.retryable
    home.chmod(0o700)
    path.chmod(0o600)
    assert path.read_bytes() == before


@POSIX
def test_a_file_that_may_only_be_read_is_read(home: Path) -> None:
    path, before = stored(home)
    path.chmod(0o400)
    with as_nobody(path, home), SqliteConversationStore(path) as store:
        assert store.history("u").items == (message(1),)
        with pytest.raises(AccessDeniedError) as caught:
            store.append(message(2))
        assert caught.value.outcome is Outcome.NOT_APPLIED
        assert store.history("u").items == (message(1),)
        (fault,) = store.check()
        assert "its log could not be checked" in fault
    assert path.read_bytes() == before


def stored(home: Path) -> tuple[Path, bytes]:
    """Store one message; return where, and the bytes of the file."""
    path = home / "agent.db"
    with SqliteConversationStore(path) as store:
        store.append(message(1))
    return path, path.read_bytes()


@POSIX
def test_a_file_of_another_owner_is_refused(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    path = home / "agent.db"
    with SqliteConversationStore(path) as store:
        store.append(message(1))
    with (
        as_nobody(home),
        SqliteConversationStore(path) as store,
        pytest.raises(AccessDeniedError),
    ):
        store.append(message(2))
    with SqliteConversationStore(path) as store:
        assert store.history("u").items == (message(1),)


def test_a_file_on_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=3) as disk:
        path = disk / "agent.db"
        with SqliteConversationStore(path) as store:
            store.append(message(1))
        assert mounts("-o", "remount,ro", disk)
        with SqliteConversationStore(path) as store:
            for call in (lambda: store.append(message(2)), lambda: store.history("u")):
                with pytest.raises(AccessDeniedError):
                    call()
        assert mounts("-o", "remount,rw", disk)
        with SqliteConversationStore(path) as store:
            assert store.history("u").items == (message(1),)


# -- B7: memory and descriptors ----------------------------------------------------------------

SHORT_OF_MEMORY = """
import json, sqlite3, sys
from ialstore import IalStoreError
from ialstore_backends.sqlite import SqliteConversationStore
from tests.faults.workload import message

path, limit = sys.argv[1:]
stored, raised = [], []
store = SqliteConversationStore(path)
store.append(message(0))
sqlite3.connect(":memory:").execute(f"PRAGMA hard_heap_limit = {limit}")
for number in range(1, 40):
    batch = [message(number * 10 + n, text="y" * 2000 * number) for n in range(3)]
    for call in (
        lambda: store.append(*batch),
        lambda: store.history("u", limit=1000),
        lambda: store.sessions("u"),
    ):
        try:
            answer = call()
        except Exception as error:
            raised.append(type(error).__name__)
        else:
            stored += getattr(answer, "stored", ())
print(json.dumps([stored, raised]))
"""


@pytest.mark.parametrize("limit", [250_000, 400_000, 1_000_000])
def test_a_want_of_memory_is_told_as_such_and_loses_nothing(tmp_path: Path, limit: int) -> None:
    """C4: ``MemoryError``, as everywhere in Python; a write that raised it may be repeated."""
    with closing(sqlite3.connect(":memory:")) as connection:
        options = connection.execute("PRAGMA compile_options").fetchall()
    if ("DEFAULT_MEMSTATUS=0",) in options:
        pytest.skip("this SQLite does not count its memory, and knows no limit")
    path = tmp_path / "agent.db"
    ran = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(path), str(limit)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    stored, raised = json.loads(ran.stdout)
    assert set(raised) == {"MemoryError"}
    with SqliteConversationStore(path) as store:
        found = [one.id for one in store.history("u", limit=1000, newest_first=False)]
        assert store.check() == []
        assert {*stored} <= {*found}
        for number in range(1, 40):
            batch = [message(number * 10 + n, text="y" * 2000 * number).id for n in range(3)]
            assert sum(one in found for one in batch) in (0, 3)


@POSIX
def test_a_want_of_descriptors_fails_calls_that_need_one_and_passes(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "agent.db"
    steps = [appending(message(1)), upserting("u", record(1))]
    other = Place(path.with_name("other.db"))
    assert kinds(take(other, steps)) == set()  # so that nothing is left to import
    other.close()
    place = Place(path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(path.parent, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        failed = take(place, steps)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert kinds(failed) == {"UnavailableError"}
    assert {one.outcome for one in failed} == {Outcome.NOT_APPLIED}
    ended = take(place, steps)
    assert kinds(ended) == set()
    place.close()
    assert broken(path, steps, ended) == []


# -- B9: locks ---------------------------------------------------------------------------------

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path, *statements: str) -> Generator[subprocess.Popen[bytes]]:
    """Run a process that holds a lock."""
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", HOLD, str(path), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_lock_of_a_killed_process_ends_with_it_and_so_does_its_transaction(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agent.db"
    with SqliteConversationStore(path) as store:
        store.append(message(1))
        with holder(path, "BEGIN IMMEDIATE", "DELETE FROM message") as process:
            with pytest.raises(DeadlineExceededError), deadline(0.1):
                store.append(message(2))
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert store.append(message(2)).stored
        assert store.history("u", newest_first=False).items == (message(1), message(2))
        assert store.check() == []


def test_a_process_that_keeps_the_whole_file_to_itself_is_waited_for_until_the_deadline(
    tmp_path: Path,
) -> None:
    """C3: reads as well as writes; nothing but SQLite's own lock stands in the way."""
    path = tmp_path / "agent.db"
    with SqliteConversationStore(path) as store:
        store.append(message(1))
    exclusive = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "SELECT * FROM message")

    def late(call: Callable[[], object]) -> None:
        with pytest.raises(DeadlineExceededError) as caught, deadline(0.2):
            call()
        assert caught.value.retryable
        assert caught.value.outcome is Outcome.NOT_APPLIED

    with SqliteConversationStore(path) as store:
        with holder(path, *exclusive):
            for call in (lambda: store.append(message(2)), lambda: store.history("u")):
                assert ends_within(0.3, partial(late, call))
        assert store.history("u").items == (message(1),)


def test_a_long_reader_delays_no_writer_and_only_the_emptying_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    log = path.with_name("agent.db-wal")
    steps = large(0, 200)
    place = Place(path)
    take(place, [appending(message(1000))])
    with holder(path, "BEGIN", "SELECT * FROM message"):
        ended = take(place, steps)
        assert kinds(ended) == set()
        with deadline(0.2):
            (note,) = place.store.optimize("u").notes
        assert "another process still uses an earlier state" in note
        assert log.stat().st_size > 4_000_000
    assert place.store.optimize("u").notes == ()
    assert log.stat().st_size == 0
    place.close()
    assert broken(path, [appending(message(1000)), *steps], [Ended(0, ACKNOWLEDGED), *ended]) == []


# -- B12: clocks -------------------------------------------------------------------------------


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.parametrize("year", [1, 1960, 1970, 2024, 2200, 9999])
def test_a_clock_anywhere_hides_what_is_expired_by_it_and_nothing_else(
    tmp_path: Path, year: int
) -> None:
    """C2: whatever the clock said when it was written."""
    path = tmp_path / "agent.db"
    live, mortal = message(1), replace(message(2), expires_at=LATER)
    vectors = [record(1), replace(record(2), expires_at=LATER)]
    clock = Clock(datetime(year, 6, 1, tzinfo=UTC))
    for now in (clock.now, datetime(1960, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)):
        with ExitStack() as stack:
            store = stack.enter_context(SqliteConversationStore(path, clock=clock))
            index = stack.enter_context(SqliteVectorIndex(path, SPEC, clock=clock))
            store.append(live, mortal)
            index.upsert("u", vectors)
            clock.now = now
            expected = [live.id] if now >= LATER else [live.id, mortal.id]
            assert [one.id for one in store.history("u", newest_first=False)] == expected
            assert [one.id for one in store.get("u", [live.id, mortal.id])] == expected
            assert len(index.ids("u").items) == index.count("u") == len(expected)
            assert len(index.search("u", [1.0] * SPEC.dimension).hits) == len(expected)
            assert store.sessions("u").items[0].session_id == "s"
            assert store.check() == index.check() == []


def test_a_clock_that_steps_back_shows_again_what_was_only_hidden(tmp_path: Path) -> None:
    """C2, S13: until an ``optimize`` took it for expired and removed it."""
    clock = Clock(START)
    mortal = replace(message(1), expires_at=LATER)
    with SqliteConversationStore(tmp_path / "agent.db", clock=clock) as store:
        store.append(mortal)
        for removing in (False, True):
            clock.now = LATER
            assert store.history("u").items == ()
            if removing:
                assert store.optimize("u").removed == 1
            clock.now = START
            assert store.history("u").items == (() if removing else (mortal,))
        assert store.append(mortal).stored


def test_messages_of_one_moment_stand_in_one_order_whatever_the_clock_does(
    tmp_path: Path,
) -> None:
    """M6: ids decide; the order of writing does not."""
    made = [
        Message.new(
            user_id="u", session_id="s", role="user", content="x", created_at=START, key=str(n)
        )
        for n in range(50)
    ]
    clock = Clock(LATER)
    with SqliteConversationStore(tmp_path / "agent.db", clock=clock) as store:
        for one in made:
            clock.now -= timedelta(days=10)
            store.append(one)
        expected = sorted(one.id for one in made)
        pages: list[str] = []
        cursor = None
        while True:
            page = store.history("u", newest_first=False, limit=7, cursor=cursor)
            pages += [one.id for one in page]
            cursor = page.cursor
            if cursor is None:
                break
        assert pages == expected
