"""One SQLite file: its creation and refusals, waiting for locks, errors, threads and forks."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from ialstore import (
    AccessDeniedError,
    ConfigurationError,
    CorruptError,
    DeadlineExceededError,
    IalStoreError,
    IndexSpec,
    Message,
    Outcome,
    StorageFullError,
    StoreNotReadyError,
    UnavailableError,
    deadline,
)
from ialstore.component import utc_now
from ialstore.operation import Operation
from ialstore_backends.sqlite import (
    SqliteConversationStore,
    SqliteOptions,
    SqliteVectorIndex,
    files,
    forks,
)
from ialstore_backends.sqlite.connection import Database
from ialstore_backends.sqlite.files import APPLICATION_ID, FORMAT, prepare

HOLD_WRITE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
sys.stdin.read()
"""
POSIX = pytest.mark.skipif(os.name != "posix", reason="file modes and forks are POSIX")


class _Owner:
    backend = "sqlite"

    def _begin(self, op: Operation) -> None: ...

    def _end(self, op: Operation, error: BaseException | None) -> None: ...


def operation(seconds: float = 5.0) -> Operation:
    return Operation(
        _Owner(),
        "test",
        consistency=None,
        clock=utc_now,
        timeout_seconds=seconds,
        renewable=True,
    )


def new(content: str = "hello", session: str = "s") -> Message:
    return Message.new(user_id="u", session_id=session, role="user", content=content)


@contextmanager
def other_process(program: str, path: Path) -> Generator[Callable[[], None]]:
    """Run a program that says when it is ready; yield what ends it."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def end() -> None:
            process.communicate()

        assert process.stdout.readline().strip() == b"ready"
        try:
            yield end
        finally:
            if process.poll() is None:
                end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteConversationStore]:
    with SqliteConversationStore(path) as store:
        yield store


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path, SqliteOptions(), {"note": "CREATE TABLE note (text TEXT)"})
    yield database
    database.close()


# -- the file


@POSIX
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_file_and_its_log_are_for_the_owner_alone(
    path: Path, store: SqliteConversationStore, umask: int
) -> None:
    before = os.umask(umask)
    try:
        store.append(new())
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"agent.db": 0o600, "agent.db-wal": 0o600, "agent.db-shm": 0o600}


def test_every_connection_runs_in_the_modes_that_durability_and_erasure_need(
    database: Database,
) -> None:
    for _ in range(2):
        with database.reading(operation()) as connection:
            modes = {
                name: connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "secure_delete", "user_version")
            }
        assert modes == {
            "journal_mode": "wal",
            "synchronous": 2,
            "secure_delete": 1,
            "user_version": FORMAT,
        }
        database.close()


def test_a_connection_without_a_write_ahead_log_is_refused() -> None:
    # In memory SQLite keeps its own journal mode and raises nothing, as it does on network drives.
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(UnavailableError, match="journal_mode=WAL; keep the file on a local disk"):
        prepare(connection, "agent.db", "full", {})
    connection.close()


def test_a_relative_path_stays_where_it_was_when_the_process_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with SqliteConversationStore("agent.db") as store:
        monkeypatch.chdir(tmp_path / "other")
        store.append(new())
    assert (tmp_path / "agent.db").exists()


def test_a_symbolic_link_leads_to_the_file(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    with SqliteConversationStore(link) as store:
        store.append(new())
    with SqliteConversationStore(path) as store:
        assert len(store.history("u")) == 1


def test_a_name_may_hold_what_a_uri_reserves(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20d e&mode=memory.db"
    with SqliteConversationStore(path) as store:
        store.append(new())
    assert path.stat().st_size


def test_an_empty_file_becomes_a_store(path: Path, store: SqliteConversationStore) -> None:
    path.touch()
    assert store.append(new()).stored


def test_a_log_without_its_file_is_left_alone(path: Path) -> None:
    """C5: SQLite would remove it, and with it what was written last."""
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(b"committed")
    with (
        pytest.raises(CorruptError, match="put the file back"),
        SqliteConversationStore(path) as it,
    ):
        it.setup()
    assert log.read_bytes() == b"committed"


def test_who_opens_a_file_while_another_makes_it_finds_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C5: whether there is a log, and whether there is a file, are seen at two moments."""
    look, seen = files.status_of, list[str]()

    def come_in_behind(looked_at: str) -> os.stat_result | None:
        found = look(looked_at)
        seen.append(looked_at)
        if len(seen) == 1:
            writer.append(new())
        return found

    with SqliteConversationStore(path) as writer, SqliteConversationStore(path) as reader:
        monkeypatch.setattr(files, "status_of", come_in_behind)
        assert [one.content for one in reader.history("u")] == ["hello"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        SqliteConversationStore(tmp_path / "no" / "agent.db") as store,
        pytest.raises(ConfigurationError, match=r"the folder .*no is missing"),
    ):
        store.users()


@POSIX
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "FIFO"])
def test_what_is_no_regular_file_is_refused(
    path: Path, store: SqliteConversationStore, make: Callable[[Path], None]
) -> None:
    make(path)
    with pytest.raises(ConfigurationError, match="no regular file"):
        store.users()


def test_a_file_that_is_no_database_is_refused_and_left_alone(
    path: Path, store: SqliteConversationStore
) -> None:
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(CorruptError, match="not a SQLite database"):
        store.append(new())
    assert path.read_text() == "Dear diary, " * 1000


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE theirs (a)", "PRAGMA application_id = 252006673", "PRAGMA user_version = 1"],
)
def test_a_database_of_another_application_is_refused_and_left_alone(
    path: Path, store: SqliteConversationStore, statement: str
) -> None:
    theirs = sqlite3.connect(path)
    theirs.execute(statement)
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another application"):
        store.append(new())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_format_newer_than_the_library_is_refused(
    path: Path, store: SqliteConversationStore
) -> None:
    store.append(new())
    store.close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {FORMAT + 1}")
    newer.close()
    with (
        SqliteConversationStore(path) as reopened,
        pytest.raises(StoreNotReadyError, match="upgrade ialstore"),
    ):
        reopened.check()


def test_a_format_older_than_the_library_is_refused_and_left_alone(
    path: Path, store: SqliteConversationStore
) -> None:
    store.append(new())
    store.close()
    older = sqlite3.connect(path)
    older.execute("PRAGMA user_version = 1")
    older.close()
    before = path.read_bytes()
    with (
        SqliteConversationStore(path) as reopened,
        pytest.raises(
            StoreNotReadyError, match=f"format 1, this library reads {FORMAT}: export it"
        ),
    ):
        reopened.append(new())
    assert path.read_bytes() == before


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("call", ["setup", "check"])
def test_setup_and_check_refuse_a_newer_format_of_a_store_and_of_an_index(
    path: Path, call: str, *, is_open: bool
) -> None:
    with (
        SqliteConversationStore(path) as store,
        SqliteVectorIndex(path, IndexSpec(2)) as index,
    ):
        store.setup()
        if is_open:
            index.setup()
        newer = sqlite3.connect(path)
        newer.execute("PRAGMA user_version = 9")
        newer.close()
        for each in (store, index):
            with pytest.raises(StoreNotReadyError, match="upgrade ialstore"):
                getattr(each, call)()


def test_setup_creates_the_file_and_its_tables(path: Path) -> None:
    with SqliteConversationStore(path) as store:
        store.setup()
        store.setup()
    outside = sqlite3.connect(path)
    assert outside.execute("SELECT count(*) FROM message").fetchone() == (0,)
    outside.close()


def test_tables_that_another_kind_made_before_are_kept(path: Path, database: Database) -> None:
    write_one(database, "kept")
    with SqliteConversationStore(path) as store:
        store.append(new())
    assert database.read(operation(), "SELECT text FROM note") == [("kept",)]


def test_creating_the_tables_fails_as_a_whole(path: Path) -> None:
    broken = Database(path, SqliteOptions(), {"a": "CREATE TABLE a (b)", "c": "CREATE NONSENSE"})
    with pytest.raises(sqlite3.OperationalError):
        broken.read(operation(), "SELECT 1")
    outside = sqlite3.connect(path)
    assert outside.execute("SELECT * FROM sqlite_master").fetchall() == []
    assert outside.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,)
    outside.close()


def test_two_processes_may_create_the_same_file_at_once(path: Path) -> None:
    program = """
import sys
from ialstore import Message
from ialstore_backends.sqlite import SqliteConversationStore
sys.stdin.readline()
with SqliteConversationStore(sys.argv[1]) as store:
    for n in range(50):
        store.append(Message.new(user_id="u", session_id="s", role="user", content=str(n)))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        process.communicate(b"go\n")
    assert [process.returncode for process in processes] == [0, 0, 0]
    with SqliteConversationStore(path) as store:
        assert len(store.history("u", limit=1000)) == 150
        assert store.check() == []


@pytest.mark.parametrize("put_another", [True, False])
def test_a_file_that_was_replaced_or_removed_while_open_is_noticed(
    path: Path, store: SqliteConversationStore, *, put_another: bool
) -> None:
    store.append(new())
    path.rename(path.with_name("elsewhere.db"))
    if put_another:
        path.touch()
    for _ in range(2):  # with the connection that was open, and with a new one
        with pytest.raises(UnavailableError, match="close the store and open it again"):
            store.append(new())
    assert path.exists() == put_another


# -- waiting


def test_a_write_lock_of_another_process_is_waited_for_until_the_deadline(
    path: Path, store: SqliteConversationStore
) -> None:
    stored = new()
    store.append(stored)
    with other_process(HOLD_WRITE_LOCK, path) as end:
        for messages in ([new()], [new(), new()]):
            started = time.monotonic()
            with (
                pytest.raises(DeadlineExceededError, match="holds the write lock") as caught,
                deadline(0.2),
            ):
                store.append(*messages)
            assert 0.1 < time.monotonic() - started < 0.3
            assert caught.value.retryable
            assert caught.value.outcome is Outcome.NOT_APPLIED
        assert store.get("u", [stored.id]) == [stored]  # readers need no lock
        end()
    assert store.append(new()).stored


def test_a_write_lock_that_is_given_back_in_time_harms_nobody(
    path: Path, store: SqliteConversationStore
) -> None:
    store.append(new())
    with other_process(HOLD_WRITE_LOCK, path) as end:
        ending = threading.Timer(0.1, end)
        ending.start()
        assert store.append(new()).stored
        ending.join()


def test_the_threads_of_a_process_wait_for_each_other_until_the_deadline(
    store: SqliteConversationStore, database: Database
) -> None:
    with database.writing(operation()):
        with (
            pytest.raises(DeadlineExceededError, match="other threads"),
            deadline(0.05),
        ):
            store.append(new())
        waiting = threading.Thread(target=store.append, args=[new()])
        waiting.start()
    waiting.join()
    assert len(store.history("u")) == 1


def test_a_long_query_is_cut_off_at_the_deadline(database: Database) -> None:
    endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT count(*) FROM n"
    started = time.monotonic()
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.read(operation(0.1), endless)
    assert time.monotonic() - started < 0.2
    error = database.translate(caught.value)
    assert isinstance(error, DeadlineExceededError)
    assert error.retryable


def test_a_statement_of_maintenance_may_take_as_long_as_the_file_demands(
    database: Database,
) -> None:
    count = (
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 200000) "
        "SELECT count(*) FROM n"
    )
    with database.reading(operation(0.01)) as connection:
        connection.op = None
        assert connection.execute(count).fetchone() == (200_000,)


# -- errors


def of_sqlite(code: int, name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("quotes content")
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("error", "expected", "retryable"),
    [
        (
            of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT, "SQLITE_BUSY_SNAPSHOT"),
            DeadlineExceededError,
            True,
        ),
        (of_sqlite(sqlite3.SQLITE_FULL, "SQLITE_FULL"), StorageFullError, False),
        (of_sqlite(sqlite3.SQLITE_CORRUPT_INDEX, "SQLITE_CORRUPT_INDEX"), CorruptError, False),
        (of_sqlite(sqlite3.SQLITE_NOTADB, "SQLITE_NOTADB"), CorruptError, False),
        (of_sqlite(sqlite3.SQLITE_ERROR, "SQLITE_ERROR"), CorruptError, False),
        (of_sqlite(sqlite3.SQLITE_READONLY, "SQLITE_READONLY"), AccessDeniedError, False),
        (of_sqlite(sqlite3.SQLITE_IOERR_READ, "SQLITE_IOERR_READ"), UnavailableError, True),
        (PermissionError(13, "Permission denied"), AccessDeniedError, False),
        (OSError(errno.EIO, "Input/output error"), UnavailableError, True),
        (OSError(errno.EMFILE, "Too many open files"), UnavailableError, True),
        (OSError(errno.EROFS, "Read-only file system"), AccessDeniedError, False),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFullError, False),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), StorageFullError, False),
    ],
    ids=lambda value: getattr(value, "sqlite_errorname", None),
)
def test_errors_of_the_driver_become_ours(
    database: Database, error: Exception, expected: type[IalStoreError], *, retryable: bool
) -> None:
    translated = database.translate(error)
    assert isinstance(translated, expected)
    assert translated.retryable == retryable
    assert "quotes content" not in str(translated)
    assert database.path in str(translated)


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), sqlite3.ProgrammingError("a bug"), MemoryError()]
)
def test_errors_that_are_bugs_or_out_of_memory_pass_unchanged(
    database: Database, error: Exception
) -> None:
    assert database.translate(error) is None


@pytest.mark.parametrize(
    ("accessible", "expected"), [(True, UnavailableError), (False, AccessDeniedError)]
)
def test_a_file_that_cant_be_opened_says_whether_modes_are_to_blame(
    path: Path, database: Database, *, accessible: bool, expected: type[IalStoreError]
) -> None:
    if accessible:  # else there is no file, which is as inaccessible as one of another owner
        path.touch()
    error = database.translate(of_sqlite(sqlite3.SQLITE_CANTOPEN, "SQLITE_CANTOPEN"))
    assert type(error) is expected


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ({"f_bavail": 0, "f_favail": 9}, StorageFullError),
        ({"f_bavail": 9, "f_favail": 0}, StorageFullError),
        ({"f_bavail": 9, "f_favail": 9}, UnavailableError),
    ],
    ids=str,
)
def test_an_error_that_a_full_disk_may_cause_says_whether_the_disk_is_full(
    path: Path,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    left: dict[str, int],
    expected: type[IalStoreError],
) -> None:
    path.touch()
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=99, **left))
    for name in ("SQLITE_IOERR_SHMSIZE", "SQLITE_CANTOPEN", "SQLITE_READONLY"):
        error = database.translate(of_sqlite(getattr(sqlite3, name), name))
        assert type(error) is expected


def test_an_error_in_a_folder_that_is_gone_is_no_full_disk(tmp_path: Path) -> None:
    gone = Database(tmp_path / "gone" / "agent.db", SqliteOptions(), {})
    error = gone.translate(of_sqlite(sqlite3.SQLITE_IOERR_READ, "SQLITE_IOERR_READ"))
    assert type(error) is UnavailableError


@POSIX
def test_a_folder_that_cant_be_synced_lets_nothing_be_acknowledged(
    store: SqliteConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(UnavailableError) as caught:
            store.append(new())
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert store.append(new()).stored
    assert len(store.history("u")) == 1


def test_a_full_disk_stores_nothing_and_harms_nothing(database: Database) -> None:
    write_one(database, "before")
    with database.reading(operation()) as connection:
        connection.execute("PRAGMA max_page_count = 10")
    with pytest.raises(StorageFullError):
        write_one(database, "x" * 1_000_000)
    assert database.read(operation(), "SELECT text FROM note") == [("before",)]


def write_one(database: Database, text: str) -> None:
    database.write(operation(), "INSERT INTO note VALUES (?)", (text,))


def write_in_transaction(database: Database, text: str) -> None:
    with database.writing(operation()) as connection:
        connection.execute("INSERT INTO note VALUES (?)", (text,))


@POSIX
@pytest.mark.parametrize("write", [write_one, write_in_transaction])
def test_a_commit_that_meets_an_io_error_has_an_unknown_outcome(
    path: Path, database: Database, write: Callable[[Database, str], None]
) -> None:
    import resource

    write(database, "before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    log_bytes = path.with_name("agent.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes, before[1]))
    try:
        with pytest.raises(UnavailableError) as caught:
            write(database, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert caught.value.retryable
    write(database, "after")
    assert database.read(operation(), "SELECT text FROM note") == [("before",), ("after",)]


def test_a_commit_that_a_bug_makes_fail_passes_the_bug(database: Database) -> None:
    with pytest.raises(sqlite3.ProgrammingError):
        database.write(operation(), "INSERT INTO note VALUES (?)", ("one", "too many"))


def test_an_error_inside_a_transaction_takes_it_back(database: Database) -> None:
    def work() -> None:
        with database.writing(operation()) as connection:
            connection.execute("INSERT INTO note VALUES ('gone')")
            raise ConfigurationError

    with pytest.raises(ConfigurationError):
        work()
    assert database.read(operation(), "SELECT count(*) FROM note") == [(0,)]


def test_a_transaction_that_cant_be_taken_back_costs_its_connection(database: Database) -> None:
    with database.reading(operation()) as connection:
        connection.execute("BEGIN")
        connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    assert database.read(operation(), "SELECT 1") == [(1,)]


def test_a_text_that_is_not_utf8_is_corruption_and_not_quoted(database: Database) -> None:
    database.write(operation(), "INSERT INTO note VALUES (CAST(? AS TEXT))", (b"secret \xff",))
    with pytest.raises(CorruptError) as caught:
        database.read(operation(), "SELECT text FROM note")
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


# -- the pool


def test_more_connections_than_the_pool_keeps_may_be_lent_at_once(database: Database) -> None:
    with ExitStack() as loans:
        lent = [loans.enter_context(database.reading(operation())) for _ in range(40)]
        assert len(set(map(id, lent))) == 40
    closed = 0
    for connection in lent:
        with suppress(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")
            continue
        closed += 1
    assert closed == 8


def test_a_store_that_nobody_closed_warns_nobody(path: Path) -> None:
    program = """
import sys
from ialstore import Message
from ialstore_backends.sqlite import SqliteConversationStore
store = SqliteConversationStore(sys.argv[1])
store.append(Message.new(user_id="u", session_id="s", role="user", content=""))
del store
SqliteConversationStore(sys.argv[1]).users()
"""
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, str(path)],
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert list(path.parent.iterdir()) == [path]  # the last connection took the log with it


# -- forks


def in_child(work: Callable[[], object]) -> str:
    """Return what the work returns, or its error, from a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            answer = str(work())
        except BaseException as error:  # noqa: BLE001 - told to the parent, which must go on alone
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer_of_child:
        answer = answer_of_child.read()
    os.waitpid(child, 0)
    return answer


@POSIX
def test_a_forked_child_and_its_parent_both_go_on(store: SqliteConversationStore) -> None:
    store.append(new("before"))

    def work() -> object:
        store.append(*[new(f"child {n}") for n in range(3)])
        store.append(new("child again"))
        return len(store.history("u"))

    assert in_child(work) == "5"
    store.append(new("after"))
    assert len(store.history("u")) == 6
    assert store.check() == []


@POSIX
def test_a_child_and_its_parent_may_write_at_the_same_time(
    store: SqliteConversationStore,
) -> None:
    store.append(new("before"))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        with suppress(BaseException):
            for n in range(100):
                store.append(new(f"child {n}"))
            os.write(writing, b"done")
        os._exit(0)
    os.close(writing)
    for n in range(100):
        store.append(new(f"parent {n}"))
    assert os.read(reading, 10) == b"done"
    os.close(reading)
    os.waitpid(child, 0)
    assert len(store.history("u", limit=1000)) == 201
    assert store.check() == []


@POSIX
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_waits_for_running_calls(store: SqliteConversationStore, database: Database) -> None:
    entered, leave = threading.Event(), threading.Event()

    def read() -> None:
        with database.reading(operation()):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=read)
    thread.start()
    entered.wait()
    threading.Timer(0.05, leave.set).start()
    assert in_child(lambda: store.append(new()).duplicates) == "()"
    thread.join()
    assert database.read(operation(), "SELECT count(*) FROM message") == [(1,)]


@POSIX
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_forked_during_a_call_refuses_the_file(
    store: SqliteConversationStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "PATIENCE_SECONDS", 0.05)
    store.append(new())
    with database.reading(operation()) as connection:
        connection.execute("BEGIN")
        answer = in_child(store.users)
        assert answer.startswith("StoreNotReadyError")
        assert "fork before that" in answer
    assert len(store.users()) == 1


@POSIX
def test_a_child_that_was_forked_during_its_own_call_does_not_close_the_parents_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "PATIENCE_SECONDS", 0.05)
    write_in_transaction(database, "before")
    loan = database.reading(operation())
    connection = loan.__enter__()
    connection.execute("BEGIN IMMEDIATE")

    assert in_child(lambda: loan.__exit__(None, None, None)) == "None"
    connection.execute("INSERT INTO note VALUES ('after')")
    connection.execute("COMMIT")
    loan.__exit__(None, None, None)
    assert len(database.read(operation(), "SELECT * FROM note")) == 2


def test_calls_wait_while_a_fork_is_under_way_until_their_deadline(database: Database) -> None:
    database.pause()
    with pytest.raises(DeadlineExceededError):
        database.read(operation(0.05), "SELECT 1")
    waiting = threading.Thread(target=database.read, args=[operation(), "SELECT 1"])
    waiting.start()
    database.resume()
    waiting.join()
    assert database.read(operation(), "SELECT 1") == [(1,)]
