"""One SQLite file as the store and the index use it: a pool of connections, and transactions.

For ``conversations`` and ``vectors``, which share a file and each own some of its tables::

    self._db = Database(path, options, {"name": "CREATE TABLE name (...)", ...})

    rows = self._db.read(op, "SELECT ...", (...))      # one query
    with self._db.reading(op) as connection:           # more; for one snapshot BEGIN first
        self._db.until_free(op, lambda: connection.execute("SELECT ...", (...)))
    changed = self._db.write(op, "INSERT ...", (...))  # one statement, committed; rows changed
    with self._db.writing(op) as connection:           # BEGIN IMMEDIATE; COMMIT, or ROLLBACK
        connection.execute("INSERT ...", (...))        # if it raises

Other processes' locks make a statement outside ``writing`` fail until ``until_free`` repeats it.

From the hooks ``_translate`` and ``_close`` call ``translate`` and ``close``; ``_check``,
``_erase`` and ``_optimize`` find their part in ``maintenance``; forks are ``forks``' business. A
statement is cut off at the end of the call's time, which ``op.renew()`` sets anew.

The file is created on first use. A cursor that is not read to its end must be closed, or it keeps
its snapshot, and with it the log, alive.
"""

from __future__ import annotations

import math
import os
import platform
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from ialstore.errors import (
    ConfigurationError,
    CorruptError,
    DeadlineExceededError,
    IalStoreError,
    Outcome,
    StoreNotReadyError,
    UnavailableError,
)
from ialstore_backends.sqlite.failures import is_busy, is_in_doubt, translated
from ialstore_backends.sqlite.files import (
    create_file,
    file_uri,
    prepare,
    require_ours,
    sync_folder,
)
from ialstore_backends.sqlite.forks import bury, take_part, write_lock_of

if TYPE_CHECKING:
    from types import TracebackType

    from ialstore.operation import Operation

__all__ = ["Connection", "Database", "SqliteOptions"]

T = TypeVar("T")
Values: TypeAlias = Sequence[Any] | Mapping[str, Any]

META: Final = "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID"

_NAME: Final = "SELECT value FROM meta WHERE name = 'name'"
_GIVE_NAME: Final = "INSERT OR IGNORE INTO meta VALUES ('name', hex(randomblob(16)))"

_LOCK_SLICE_SECONDS: Final = 0.04
"""SQLite waits so long for a lock before the deadline is looked at again."""
_PAUSE_SECONDS: Final = 0.002
"""Between two tries where SQLite does not wait by itself."""
_STEPS_PER_LOOK: Final = 50_000
"""Steps of SQLite's machine between two looks at the deadline: about a millisecond."""
_MOST_IDLE: Final = 32


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """Options of ``sqlite:`` URLs, of stores and indexes alike."""

    synchronous: Literal["full", "normal"] = "full"
    """``normal`` is faster, but a loss of power may take back writes that were acknowledged."""
    cache_mb: float = 256.0
    """Vectors that an index keeps in memory, at most; a conversation store keeps nothing."""

    def __post_init__(self) -> None:
        if self.synchronous not in ("full", "normal"):
            raise ConfigurationError("sqlite: option synchronous must be full or normal")
        if not 0 <= self.cache_mb < math.inf:
            raise ConfigurationError("sqlite: option cache_mb must be a number, 0 or more")


class Connection(sqlite3.Connection):
    """A connection that knows which call uses it."""

    op: Operation | None = None
    """Its statements are cut off at the end of this one's time; with None they run on."""
    generation: int = 0
    """Of its ``Database``; a fork begins the next one."""
    path: str = ""
    """Of its file."""

    def is_late(self) -> bool:
        """Whether the time of the call is used up."""
        try:
            if self.op is not None:
                self.op.remaining()
        except DeadlineExceededError:
            return True
        return False


class Database:
    """One file, its pool of connections, and the lock between the writers of this process.

    Args:
        path: of the file; a relative one is resolved now.
        options: of the URL.
        tables: what to create and to expect: ``CREATE`` statements of tables and indexes by name.
    """

    def __init__(
        self, path: str | os.PathLike[str], options: SqliteOptions, tables: Mapping[str, str]
    ) -> None:
        self.path = os.path.realpath(path)
        self.tables = {"meta": META, **tables}
        self._synchronous = options.synchronous
        self._identity: tuple[int, int] | None = None
        self._name: str | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle: list[Connection] = []
        self._lent = 0
        self._forks = 0
        self._generation = 0
        self._refused = False
        weakref.finalize(self, _close_all, self._idle)
        self._write_lock = write_lock_of(self.path)
        take_part(self)

    # -- for hooks ------------------------------------------------------------------------------

    def address(self, op: Operation) -> tuple[str, ...]:
        """Return the host, the path, and a name that is in the file: a copy has another path."""
        name = self._name
        if name is None:
            found = self.read(op, _NAME)
            if not found:
                self.write(op, _GIVE_NAME, ())
                found = self.read(op, _NAME)
            name = self._name = str(found[0][0])
        return platform.node(), self.path, name

    def reading(self, op: Operation) -> AbstractContextManager[Connection]:
        """Lend a connection; a transaction still open at the end is rolled back."""
        return _Loan(self, op)

    def read(self, op: Operation, statement: str, values: Values = ()) -> list[Any]:
        """Return all rows of one query."""
        with self.reading(op) as connection:
            return self.until_free(op, lambda: connection.execute(statement, values)).fetchall()

    @contextmanager
    def writing(self, op: Operation) -> Generator[Connection]:
        """Lend a connection inside a transaction that no other writer can enter.

        Raises:
            DeadlineExceededError: another process kept the write lock.
        """
        with self.writers_turn(op), self.reading(op) as connection:
            self.until_free(op, lambda: connection.execute("BEGIN IMMEDIATE"))
            yield connection
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._commit_failed(error) from error

    def write(self, op: Operation, statement: str, values: Values) -> int:
        """Run one statement that writes, commit it, and return how many rows it changed."""
        with self.writers_turn(op):
            connection = self.lend(op)
            healthy = False
            try:
                try:
                    cursor = connection.execute(statement, values)
                except sqlite3.OperationalError as error:
                    self._pause(op, error)
                    cursor = self.until_free(op, lambda: connection.execute(statement, values))
                healthy = True
            except sqlite3.Error as error:
                raise self._commit_failed(error) from error
            finally:
                self.take_back(connection, healthy=healthy)
        return cursor.rowcount

    def verify(self, op: Operation) -> None:
        """Create what is missing, and look at the format even if a connection is open.

        Raises:
            ConfigurationError: the file belongs to another application.
            StoreNotReadyError: its format is not this library's.
        """
        with self.reading(op) as connection:
            self.until_free(op, lambda: require_ours(connection, self.path))

    def writers_turn(self, op: Operation) -> AbstractContextManager[None]:
        """Keep other writers of this process out, which queue better here than in SQLite."""
        return _Turn(self, self._write_lock, op)

    def until_free(self, op: Operation, action: Callable[[], T]) -> T:
        """Repeat what fails because another process holds a lock, until the deadline."""
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                self._pause(op, error)

    def _pause(self, op: Operation, error: sqlite3.OperationalError) -> None:
        """Wait before the next try; raise when there is none, for want of time or of sense."""
        if not is_busy(error):
            raise error
        try:
            op.remaining()
        except DeadlineExceededError:
            raise self.translate(error) or error from error
        time.sleep(_PAUSE_SECONDS)

    def translate(
        self, error: Exception, outcome: Outcome = Outcome.NOT_APPLIED
    ) -> IalStoreError | None:
        """Return the error of ialstore for one of SQLite, of the file system, or of a row."""
        return translated(error, self.path, outcome)

    def close(self) -> None:
        """Close every connection; called when none is lent."""
        _close_all(self._idle)

    # -- lending --------------------------------------------------------------------------------

    def lend(self, op: Operation) -> Connection:
        """Take a connection out of the pool, or open one."""
        with self._lock:
            while self._forks:
                self._changed.wait(op.remaining())
            self._lent += 1
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                connection = self._open(op)
            else:
                self._require_same_file()
        except BaseException:
            self.take_back(connection, healthy=False)
            raise
        connection.op = op
        return connection

    def take_back(self, connection: Connection | None, *, healthy: bool) -> None:
        """Put a connection back, or close it when it is in doubt."""
        if connection is not None:
            if connection.generation != self._generation:  # pragma: no cover - in a child only
                bury(connection)  # the fork was during its call
                return
            connection.op = None
            if healthy and connection.in_transaction:
                try:
                    connection.execute("ROLLBACK")
                except sqlite3.Error:
                    healthy = False
            with self._lock:
                if healthy and not self._forks and len(self._idle) < _MOST_IDLE:
                    self._lent -= 1
                    self._idle.append(connection)
                    return
            connection.close()
        with self._lock:
            self._lent -= 1
            self._changed.notify_all()

    def _require_same_file(self) -> None:
        """Refuse to go on when writes would go into a file that nobody finds again."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 - in every call, and twice as fast as a Path
            same = (found.st_dev, found.st_ino) == self._identity
        except FileNotFoundError:
            same = False
        if not same:
            raise UnavailableError(
                f"{self.path} was replaced or removed while open; close the store and open it again"
            )

    def _open(self, op: Operation) -> Connection:
        if self._refused:  # pragma: no cover - in a child only
            raise StoreNotReadyError(
                f"{self.path}: this process was forked while another thread used the file, and "
                "SQLite would corrupt it; fork before that, or start processes with spawn"
            )
        if self._identity is None:
            create_file(self.path)
        else:
            self._require_same_file()
        connection = sqlite3.connect(
            file_uri(self.path),
            uri=True,
            timeout=_LOCK_SLICE_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
        )
        connection.generation = self._generation
        connection.path = self.path
        try:
            connection.op = op
            connection.set_progress_handler(connection.is_late, _STEPS_PER_LOOK)
            self.until_free(
                op, lambda: prepare(connection, self.path, self._synchronous, self.tables)
            )
            sync_folder(self.path)
            if self._identity is None:
                found = Path(self.path).stat()
                self._identity = (found.st_dev, found.st_ino)
        except BaseException:
            connection.close()
            raise
        return connection

    def _commit_failed(self, error: sqlite3.Error) -> Exception:
        """Return the error to raise for a statement that was to commit."""
        outcome = Outcome.UNKNOWN if is_in_doubt(error) else Outcome.NOT_APPLIED
        return self.translate(error, outcome) or error

    # -- forks ----------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:  # pragma: no cover - asked in a child only
        """Whether there is a connection, in use or not."""
        return bool(self._lent or self._idle)

    def pause(self) -> None:
        """Lend nothing until ``resume``."""
        with self._lock:
            self._forks += 1

    def drain(self, until: float) -> None:
        """Wait for what is lent, until a monotonic time, then close all connections."""
        with self._lock:
            while self._lent and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        _close_all(self._idle)

    def resume(self) -> None:
        """Lend again."""
        with self._lock:
            self._forks -= 1
            self._changed.notify_all()

    def begin_as_child(self, broken: frozenset[str]) -> None:  # pragma: no cover - in a child only
        """Start afresh in a forked child; refuse files whose locks SQLite now misjudges."""
        self._refused = self._refused or self.path in broken
        for connection in self._idle:
            bury(connection)
        self._idle.clear()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._write_lock = write_lock_of(self.path)
        self._lent = self._forks = 0
        self._generation += 1


class _Loan(AbstractContextManager[Connection]):
    """A connection in use; a class, because a generator would cost every call 2 us more."""

    __slots__ = ("_connection", "_database", "_op")

    def __init__(self, database: Database, op: Operation) -> None:
        self._database = database
        self._op = op

    def __enter__(self) -> Connection:
        self._connection = self._database.lend(self._op)
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An error of ours that no error of SQLite caused leaves the connection as good as it was.
        ours = isinstance(error, IalStoreError) and error.__cause__ is None
        self._database.take_back(self._connection, healthy=error is None or ours)
        if isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode"):
            # Python's own error for a text that is not UTF-8 quotes the text: not chained.
            path = self._database.path
            raise CorruptError(f"{path} holds a text that is not UTF-8") from None


class _Turn(AbstractContextManager[None]):
    """The write lock of this process, held."""

    __slots__ = ("_database", "_lock", "_op")

    def __init__(self, database: Database, lock: threading.Lock, op: Operation) -> None:
        self._database = database
        self._lock = lock
        self._op = op

    def __enter__(self) -> None:
        lock = self._lock
        if not lock.acquire(blocking=False) and not lock.acquire(timeout=self._op.remaining()):
            raise DeadlineExceededError(
                f"{self._database.path}: other threads kept the write lock", retryable=True
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


def _close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()
