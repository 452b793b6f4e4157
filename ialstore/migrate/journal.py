"""``Journal``: how far a copy has come, in a SQLite file that outlives any kill.

A run that was stopped goes on; after one that came to its end the next begins anew. Several
processes may share a journal: each user that one has done is done for all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, Self

from ialstore.errors import StoreNotReadyError, UnavailableError
from ialstore.migrate.verify import Tally, UserReport

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

__all__ = ["Journal", "journal_key"]

_FORMAT: Final = 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, finished INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS users (
    run INTEGER, kind TEXT, user_id TEXT, position TEXT NOT NULL, report TEXT,
    PRIMARY KEY (run, kind, user_id)
) WITHOUT ROWID;
"""
_BUSY_SECONDS: Final = 10


def journal_key(*parts: object) -> str:
    """Return what names the copies that go on from each other: a digest of source, target, options.

    Nothing of the parts, which may be secret, can be read off it.
    """
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


class Journal:
    """The state of a run: of one copy, or of several that belong together.

    Each change is on the disk when the method returns. A ``with`` block that ends well is the end
    of the run. ``kind`` is ``conversation`` or ``vector``.

    Attributes:
        is_resumed: whether a run was found that had not finished.
    """

    def __init__(
        self, path: str | os.PathLike[str] = ":memory:", key: str = "", *, restart: bool = False
    ) -> None:
        """Open a journal, and the run that is to go on, or a new one.

        Args:
            path: of the file, which is made, readable by its owner alone; by default nothing is
                kept.
            key: see ``journal_key``.
            restart: begin anew in any case.

        Raises:
            StoreNotReadyError: the file is another one, or that of a newer version.
            UnavailableError: it can't be opened, read or written.
        """
        self._path = os.fspath(path)
        with self._errors():
            if self._path != ":memory:":
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            with self._errors():
                self._db.execute("PRAGMA synchronous = EXTRA")
            with self._writing():
                self._check_format()
                self._run, self.is_resumed = self._begin(key, restart=restart)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()

    def close(self) -> None:
        """Give the file back; a run that is not finished can go on later."""
        self._db.close()

    def position(self, kind: str, user_id: str) -> str:
        """Return the id up to which a user is copied; empty at the beginning."""
        row = self._one("position", kind, user_id)
        return "" if row is None else str(row[0])

    def done(self, kind: str, user_id: str) -> UserReport | None:
        """Return the report of a user who is done, or None."""
        row = self._one("report", kind, user_id)
        return None if row is None or row[0] is None else _report(row[0])

    def move(self, kind: str, user_id: str, position: str) -> None:
        """Note that a user is copied up to this id."""
        self._write(
            "INSERT INTO users VALUES (?, ?, ?, ?, NULL) ON CONFLICT (run, kind, user_id) DO UPDATE"
            " SET position = max(position, excluded.position)",
            (self._run, kind, user_id, position),
        )

    def finish_user(self, kind: str, report: UserReport) -> None:
        """Note that a user is done."""
        text = json.dumps(asdict(report))
        self._write(
            "INSERT INTO users VALUES (?, ?, ?, '', ?) ON CONFLICT (run, kind, user_id) DO UPDATE"
            " SET report = excluded.report",
            (self._run, kind, report.user_id, text),
        )

    def finish(self) -> None:
        """Note the end of the run: the next one with this key begins anew."""
        self._write("UPDATE runs SET finished = 1 WHERE id = ?", (self._run,))

    def _begin(self, key: str, *, restart: bool) -> tuple[int, bool]:
        last = "SELECT id FROM runs WHERE key = ? AND NOT finished ORDER BY id DESC"
        row = None if restart else self._db.execute(last, (key,)).fetchone()
        if row is not None:
            return int(row[0]), True
        self._db.execute("DELETE FROM runs WHERE key = ?", (key,))
        self._db.execute("DELETE FROM users WHERE run NOT IN (SELECT id FROM runs)")
        made = self._db.execute("INSERT INTO runs (key) VALUES (?)", (key,))
        return int(made.lastrowid or 0), False

    def _check_format(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_FORMAT}")
        elif version != _FORMAT or "runs" not in self._tables():
            raise StoreNotReadyError(
                f"{self._path} is no journal of a copy that this version can read; name another"
            )

    def _tables(self) -> set[str]:
        return {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}

    def _one(self, column: str, kind: str, user_id: str) -> tuple[str | None, ...] | None:
        query = f"SELECT {column} FROM users WHERE run = ? AND kind = ? AND user_id = ?"  # noqa: S608 - ours
        with self._errors(), closing(self._db.execute(query, (self._run, kind, user_id))) as rows:
            row: tuple[str | None, ...] | None = rows.fetchone()
            return row

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._writing():
            self._db.execute(statement, values)

    @contextmanager
    def _writing(self) -> Generator[None]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise UnavailableError(f"the journal {self._path}: {error}") from error


def _report(text: str) -> UserReport:
    values = json.loads(text)
    values["examples"] = tuple(values["examples"])
    for side in ("source", "target"):
        values[side] = Tally(**values[side])
    return UserReport(**values)
