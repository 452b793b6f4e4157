"""Files of JSON lines in a folder: one for each user, one process at a time.

A line is one change, so that a change is there as a whole or not at all::

    {"format": 1, "user": "alice", "put": [{"id": "...", ...}, ...], "delete": ["...", ...]}

What a row holds besides its id is the business of the store and of the index.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from ialstore import (
    AccessDeniedError,
    ConfigurationError,
    CorruptError,
    IalStoreError,
    LockedError,
    Outcome,
    StorageFullError,
    StoreNotReadyError,
    UnavailableError,
)
from ialstore.decoding import DAMAGE
from ialstore.listing import Rows

if TYPE_CHECKING:
    from ialstore.operation import Operation

__all__ = ["Folder", "JsonLinesOptions", "Row", "UserFile", "failed", "is_live"]

T = TypeVar("T")

Row: TypeAlias = dict[str, Any]
"""A JSON object with an ``id``."""

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class JsonLinesOptions:
    """Options of ``jsonlines:`` URLs, of stores and indexes alike."""

    fsync: bool = True
    """Without it writes are faster, but a loss of power may take back what was acknowledged."""
    cached_users: int = 1000
    """Users whose rows are kept in memory; those of others are read again when needed."""

    def __post_init__(self) -> None:
        if self.cached_users < 0:
            raise ConfigurationError("jsonlines: option cached_users must not be negative")


def is_live(expires: int | None, now: int) -> bool:
    """Whether what expires then is still there now, both in seconds since 1970."""
    return expires is None or expires > now


def failed(error: OSError, outcome: Outcome = Outcome.NOT_APPLIED) -> IalStoreError:
    """Return the error of ialstore for one of the file system."""
    text = f"{error.filename or 'jsonlines'}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFullError(text, outcome=outcome)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessDeniedError(text, outcome=outcome)
    return UnavailableError(text, retryable=True, outcome=outcome)


class Folder(Generic[T]):
    """The files of one kind in a folder, whose parent has to be there.

    Args:
        path: of the folder; made on first use, with mode 0700.
        kind: part of each file's name, so that a store and an index can share the folder.
        decode: from user id and row to what is kept in memory; raises one of ``DAMAGE`` for a
            row that was never written.
        options: of the URL.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kind: str,
        decode: Callable[[str, Row], T],
        options: JsonLinesOptions,
    ) -> None:
        self.path = Path(path).absolute()
        self.fsync = options.fsync
        self._kind = kind
        self._decode = decode
        self._cached_users = options.cached_users
        self._users: OrderedDict[str, UserFile[T]] = OrderedDict()
        self._turn = threading.Lock()
        self._lock_file: int | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that the cached users have on disk, and about as many in memory."""
        return sum(user.size for user in list(self._users.values()))

    @contextmanager
    def turn(self, op: Operation) -> Generator[None]:
        """Keep out other threads and, from the first call on, other processes."""
        while not self._turn.acquire(timeout=op.remaining()):
            pass  # remaining() raises once the time is up
        try:
            if self._lock_file is None:
                self._lock_file = self._locked()
            yield
        finally:
            self._turn.release()

    @contextmanager
    def user(self, op: Operation, user_id: str) -> Generator[UserFile[T]]:
        """Lend the file of a user, to which no other thread has access meanwhile."""
        with self.turn(op):
            user = self._users.pop(user_id, None)
            if user is None:
                user = UserFile(self, user_id, self._decode)
            self._users[user_id] = user  # used last, dropped last
            if len(self._users) > self._cached_users:
                self._users.popitem(last=False)
            op.note("in_memory", user.is_loaded)
            yield user

    def files(self) -> list[Path]:
        """Return the files of all users in a fixed order."""
        return sorted(self.path.glob(f"*.{self._kind}.jsonl"))

    def file_of(self, user_id: str) -> Path:
        """Return the path of a user's file: of a hash, because an id may hold any character."""
        name = hashlib.sha256(user_id.encode()).hexdigest()
        return self.path / f"{name}.{self._kind}.jsonl"

    def users(self, limit: int, after: str | None) -> Rows[str]:
        """Return users in the order of their files, behind one."""
        paths = self.files()
        if after is not None:
            paths = [path for path in paths if path > self.file_of(after)]
        owners = (owner for path in paths if (owner := owner_of(path)) is not None)
        found = list(islice(owners, limit + 1))
        return Rows(found[:limit], more=len(found) > limit)

    def check(self, op: Operation) -> list[str]:
        """Return one sentence for each file that can't be read."""
        faults: list[str] = []
        for path in self.files():
            op.renew()
            try:
                with self.turn(op):
                    owner = owner_of(path)
                    if owner is not None and path != self.file_of(owner):
                        faults.append(f"{path} has not the name that its user's file should have")
                    elif owner is not None:
                        len(UserFile(self, owner, self._decode).rows)
            except CorruptError as error:
                faults.append(str(error))
        return faults

    def replace_file(self, path: Path, data: bytes) -> None:
        """Give a file a new content: after a crash it has the old or the new one."""
        fresh = path.with_suffix(".tmp")
        with open(fresh, "wb", opener=open_private) as file:
            file.write(data)
            file.flush()
            if self.fsync:
                os.fsync(file.fileno())
        fresh.replace(path)
        self.sync(self.path)

    def sync(self, folder: Path) -> None:
        """Let the names in a folder survive a loss of power."""
        if self.fsync:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Let another process have the folder."""
        self._users.clear()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def forget_parent(self) -> None:
        """Start afresh in a forked child, which must wait for the folder like any other process."""
        self._turn = threading.Lock()
        self.close()  # of the child's copy of the descriptor: the parent keeps its lock

    def _locked(self) -> int:
        """Return a descriptor that holds the lock as long as it is open."""
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
            self.sync(self.path.parent)
        lock = self.path / f"{self._kind}.lock"
        descriptor = open_private(str(lock), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise LockedError(
                    f"{lock}: in use, perhaps by another process", retryable=True
                ) from error
            raise
        return descriptor


class UserFile(Generic[T]):
    """The rows of one user; only for whoever has the turn."""

    def __init__(self, folder: Folder[T], user_id: str, decode: Callable[[str, Row], T]) -> None:
        self.path = folder.file_of(user_id)
        self.size = 0
        self._folder = folder
        self._user_id = user_id
        self._decode = decode
        self._rows: dict[str, T] | None = None  # None: the file has to be read

    @property
    def is_loaded(self) -> bool:
        """Whether the rows are in memory."""
        return self._rows is not None

    @property
    def rows(self) -> dict[str, T]:
        """What ``decode`` made of each row, by id; not to be changed.

        Raises:
            CorruptError: a line was never written like this.
            StoreNotReadyError: a line was written by a newer version.
        """
        if self._rows is None:
            self._rows = self._read()
        return self._rows

    def put(self, rows: Sequence[Row]) -> None:
        """Add rows, and replace those with the same ids: all of them or, if it raises, none."""
        if rows:
            self._write({"put": rows})

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows; what they held stays in the file until it is compacted or removed."""
        if ids and len(ids) == len(self.rows):
            self.remove()
        elif ids:
            self._write({"delete": ids})

    def compact(self, rows: Sequence[Row]) -> None:
        """Replace everything by these rows; the old file is gone."""
        if not rows:
            self.remove()
            return
        self._rows = None
        self._folder.replace_file(self.path, self._line({"put": rows}))

    def remove(self) -> None:
        """Remove the file, and what an interrupted ``compact`` left."""
        self._rows = None
        try:
            for path in (self.path, self.path.with_suffix(".tmp")):
                path.unlink(missing_ok=True)
            self._folder.sync(self.path.parent)
        except OSError as error:
            raise failed(error, Outcome.UNKNOWN) from error

    def _read(self) -> dict[str, T]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            data = b""
        self.size = data.rfind(b"\n") + 1
        if self.size < len(data):  # the process ended while it wrote: never acknowledged
            os.truncate(self.path, self.size)
        rows: dict[str, T] = {}
        for number, line in enumerate(data[: self.size].split(b"\n")[:-1], 1):
            try:
                self._apply(json.loads(line), rows)
            except DAMAGE:
                # Not from the error, which may hold what is stored.
                raise CorruptError(
                    f"{self.path}: line {number} is damaged; run check, or restore a backup"
                ) from None
        return rows

    def _apply(self, change: dict[str, Any], rows: dict[str, T]) -> None:
        if change["format"] > FORMAT:
            raise StoreNotReadyError(
                f"{self.path} has format {change['format']}; upgrade ialstore-jsonlines"
            )
        if change["user"] != self._user_id:
            raise ValueError("of another user")
        rows.update((row["id"], self._decode(self._user_id, row)) for row in change.get("put", ()))
        for one in change.get("delete", ()):
            del rows[one]

    def _line(self, change: dict[str, Any]) -> bytes:
        change = {"format": FORMAT, "user": self._user_id, **change}
        return (json.dumps(change, ensure_ascii=False, separators=(",", ":")) + "\n").encode()

    def _write(self, change: dict[str, Any]) -> None:
        line = self._line(change)
        rows, self._rows = self.rows, None  # read again, unless all of this succeeds
        file = open_private(str(self.path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            if os.fstat(file).st_size != self.size:
                raise UnavailableError(f"{self.path} was changed by another program; try again")
            self._append(file, line)
        finally:
            os.close(file)
        self._apply(json.loads(line), rows)  # what the file holds, not what the caller may change
        self._rows = rows
        self.size += len(line)

    def _append(self, file: int, line: bytes) -> None:
        sent = 0
        try:
            while sent < len(line):
                sent += os.write(file, line[sent:])
            if self._folder.fsync:
                os.fsync(file)
            if not self.size:
                self._folder.sync(self.path.parent)
        except OSError as error:
            # A part of a line is no line. A whole one may be on the disk, now or after a crash.
            outcome = Outcome.UNKNOWN if sent == len(line) else Outcome.NOT_APPLIED
            with suppress(OSError):
                os.ftruncate(file, self.size)
            raise failed(error, outcome) from error


def open_private(path: str, flags: int) -> int:
    """Return a descriptor; a file that is made is readable to nobody else."""
    return os.open(path, flags, 0o600)


def owner_of(path: Path) -> str | None:
    """Return whose file it is; None if nothing was stored in it.

    Raises:
        CorruptError: its first line was never written like this.
    """
    with path.open("rb") as file:
        line = file.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        return str(json.loads(line)["user"])
    except DAMAGE:
        raise CorruptError(f"{path}: the first line is damaged; restore a backup") from None
