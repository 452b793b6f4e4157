"""``SqliteConversationStore``: conversations in one SQLite file.

Its SQL, and with it the layout of the file, is in ``conversation_statements``.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

from ialstore.capabilities import ConversationCapabilities
from ialstore.conversation import ConversationStore
from ialstore.decoding import shown_id
from ialstore.errors import ConflictError, IalStoreError
from ialstore.listing import HistoryQuery, Rows, session_rows
from ialstore.model import (
    AppendResult,
    EncodedMessage,
    EraseReport,
    Message,
    MessageSummary,
    OptimizeReport,
    SessionInfo,
)
from ialstore_backends.sqlite import conversation_statements as sql
from ialstore_backends.sqlite.connection import Connection, Database, SqliteOptions
from ialstore_backends.sqlite.failures import DamagedRowError
from ialstore_backends.sqlite.maintenance import (
    check_file,
    compact,
    damaged_rows,
    every_row,
    mark_erased,
    scrub,
)
from ialstore_backends.sqlite.message_rows import (
    Row,
    is_intact,
    read_message,
    read_summary,
    row_of,
    take_messages,
    take_summaries,
)

if TYPE_CHECKING:
    from ialstore.component import Progress, StoreSettings
    from ialstore.estimate import Estimate, Workload
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["SqliteConversationStore"]

_ROUNDS: Final = 3
_BLOCK_ROWS: Final = 32
"""Read at once: not many, as each may have a megabyte."""


class SqliteConversationStore(ConversationStore):
    """Conversations in a SQLite file, for any number of threads and processes of one host.

    What was acknowledged is on the disk (write-ahead log, ``synchronous=FULL``). Deleted texts are
    overwritten; ``erase`` also removes every copy that SQLite left elsewhere in the file.

    Args:
        path: of the file, which is created on first use with mode 0600.
        options: as in the URL.
        settings: clock, timeout and retention.
    """

    SCHEME: ClassVar[str] = "sqlite"
    CAPABILITIES: ClassVar[ConversationCapabilities] = ConversationCapabilities(
        durable=True, users=True, multi_process=True, atomic_append=True, exact_sessions=True
    )
    OPTIONS: ClassVar[type[Any] | None] = SqliteOptions

    def __init__(
        self,
        path: str | os.PathLike[str],
        options: SqliteOptions | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        super().__init__(**settings)
        options = options or SqliteOptions()
        self._db = Database(path, options, sql.TABLES)
        self._capabilities = replace(self.CAPABILITIES, durable=options.synchronous == "full")

    @classmethod
    def from_url(cls, url: StoreURL, **settings: Unpack[StoreSettings]) -> Self:
        """Return the store of ``sqlite:///relative/path`` or ``sqlite:////absolute/path``."""
        return cls(url.file_path(), url.options(SqliteOptions), **settings)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return the disk that a workload takes, as a scratch file shows."""
        from ialstore_backends._measured import estimate_conversations

        url.file_path()
        options = url.options(SqliteOptions)
        return estimate_conversations(lambda path: cls(path, options), workload, age_days)

    @property
    def capabilities(self) -> ConversationCapabilities:
        """What this store can do; it is durable unless the options say otherwise."""
        return self._capabilities

    def _address(self, op: Operation, user_id: str) -> tuple[str, ...]:
        return (self.SCHEME, *self._db.address(op), user_id)

    # -- writing --------------------------------------------------------------------------------

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        if len(entries) == 1 and self._db.write(op, sql.INSERT_NEW, row_of(entries[0])):
            return AppendResult((entries[0].message.id,))
        stored: list[str] = []
        duplicates: list[str] = []
        conflicts: list[str] = []
        with self._db.writing(op) as connection:
            # Most batches are new as a whole.
            connection.execute("SAVEPOINT batch")
            added = connection.executemany(sql.INSERT_NEW, map(row_of, entries)).rowcount
            if added == len(entries):
                return AppendResult(tuple(entry.message.id for entry in entries))
            connection.execute("ROLLBACK TO batch")
            for entry in entries:
                one = entry.message.id
                there = None
                if not connection.execute(sql.INSERT_NEW, row_of(entry)).rowcount:
                    there = connection.execute(sql.GET, (user_id, one, op.now)).fetchone()
                    if there is None:
                        connection.execute(sql.INSERT_OR_REPLACE, row_of(entry))
                if there is None:
                    stored.append(one)
                elif read_message(user_id, there).content_hash == entry.content_hash:
                    duplicates.append(one)
                else:
                    conflicts.append(one)
            if conflicts:
                raise ConflictError(f"{conflicts[0]} is stored with other content", ids=conflicts)
        return AppendResult(tuple(stored), tuple(duplicates))

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        message = entry.message
        key = (message.user_id, message.id)
        values = (*row_of(entry)[len(key) :], *key, message.session_id, op.now)
        if self._db.write(op, sql.REPLACE, values):
            return True
        there = self._db.read(op, sql.GET, (*key, op.now))
        if there and read_message(message.user_id, there[0]).session_id != message.session_id:
            raise ConflictError(f"{message.id} belongs to another session", ids=[message.id])
        return False

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        with self._db.writing(op) as connection:
            connection.executemany(sql.INSERT_OR_REPLACE, map(row_of, entries))

    # -- reading --------------------------------------------------------------------------------

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        with self._db.reading(op) as connection:
            if len(ids) > 1:
                connection.execute("BEGIN")
            found: dict[str, Message] = {}
            for one in ids:
                values = (user_id, one, op.now)
                cursor = self._db.until_free(op, partial(connection.execute, sql.GET, values))
                for row in cursor.fetchall():
                    found[one] = read_message(user_id, row)
                    if found[one].id != one:
                        raise DamagedRowError(f"the index entry of {one} is damaged")
        return found

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        with self._db.reading(op) as connection:
            cursor = self._range(connection, op, sql.HISTORY, query)
            rows = take_messages(query, _in_blocks(cursor))
            cursor.close()
        return rows

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        with self._db.reading(op) as connection:
            found = self._range(connection, op, sql.SUMMARIES, query).fetchall()
        return take_summaries(query, found)

    def _range(
        self,
        connection: Connection,
        op: Operation,
        statements: Mapping[tuple[bool, bool], str],
        query: HistoryQuery,
    ) -> sqlite3.Cursor:
        """Return the rows of a range and, where there is one, the first behind it."""
        one_session = query.session_id is not None
        who = (query.user_id, query.session_id) if one_session else (query.user_id,)
        statement = statements[one_session, query.newest_first]
        values = (*who, query.lower, query.upper, op.now, query.limit + 1)
        return self._db.until_free(op, lambda: connection.execute(statement, values))

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        rows = self._db.read(op, sql.SESSIONS, {"user": user_id, "now": op.now})
        return session_rows(_newest_of_each(user_id, rows), limit, after)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        rows = self._db.read(op, sql.USERS, {"after": after or "", "limit": limit + 1})
        users: list[str] = []
        for row in rows:
            user_id = row[0]
            if type(user_id) is not str:
                raise DamagedRowError("a user id is damaged")
            read_summary(user_id, row[1:])
            users.append(user_id)
        return Rows(users[:limit], more=len(users) > limit)

    # -- removing and care ----------------------------------------------------------------------

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        with self._db.writing(op) as connection:
            live = connection.executemany(
                sql.DELETE_LIVE, [(user_id, one, op.now) for one in ids]
            ).rowcount
            connection.executemany(sql.DELETE, [(user_id, one) for one in ids])  # expired ones
        return live

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        with self._db.writing(op) as connection:
            return _remove(connection, op, sql.ROWS_OF_SESSION, (user_id, session_id))

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        removed = 0
        for _ in range(_ROUNDS):
            op.renew()
            with self._db.writing(op) as connection:
                removed += _remove(connection, op, sql.ROWS_OF_USER, (user_id,))
                mark_erased(connection)
            op.is_partly_applied = removed > 0
            if not self._count(op, user_id):
                break
        out_of_reach = scrub(self._db, op)
        op.renew()
        return EraseReport(
            messages=removed, remaining=self._count(op, user_id), out_of_reach=out_of_reach
        )

    def _count(self, op: Operation, user_id: str) -> int:
        ((count,),) = self._db.read(op, sql.COUNT, (user_id, op.now))
        return int(count)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        rows = self._db.read(op, sql.EXPIRED_ROWS, (user_id, op.now))
        removed = damaged = 0
        for first in range(0, len(rows), sql.CHUNK):
            op.renew()
            with self._db.writing(op) as connection:
                for (row,) in rows[first : first + sql.CHUNK]:
                    found = connection.execute(sql.EXPIRED_ROW, (row, user_id, op.now)).fetchone()
                    if found is not None and _is_expired(user_id, found):
                        removed += connection.execute(sql.DELETE_ROW, (row,)).rowcount
                    elif found is not None:
                        damaged += 1
            op.is_partly_applied = removed > 0
            progress(removed, len(rows))
        reclaimed, notes = compact(self._db, op)
        if damaged:
            notes += (f"{damaged} messages that seem to be expired are damaged: run check",)
        return OptimizeReport(removed, reclaimed, notes)

    def _check(self, op: Operation) -> list[str]:
        faults = check_file(self._db, op)
        damaged = [
            f"row {row[0]} (message {shown_id(row[3])})"
            for row in every_row(self._db, op, sql.CHECK)
            if not is_intact(row[1], row[3:], short_checksum=row[2])
        ]
        return faults + damaged_rows(self._db, "messages", damaged)

    # -- the frame ------------------------------------------------------------------------------

    def _setup(self, op: Operation) -> None:
        self._db.verify(op)

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return self._db.translate(error)

    def _close(self) -> None:
        self._db.close()


def _in_blocks(cursor: sqlite3.Cursor) -> Iterable[Row]:
    """Read some rows at once: going back and forth between SQLite and Python takes longer."""
    return chain.from_iterable(iter(partial(cursor.fetchmany, _BLOCK_ROWS), []))


def _newest_of_each(user_id: str, rows: Sequence[Row]) -> dict[str, str]:
    """Return the id of the newest live message of each session."""
    newest: dict[str, str] = {}
    for row in rows:
        session_id, message = row[0], read_summary(user_id, row[1:])
        if message.session_id != session_id:
            raise DamagedRowError("the name of a session is damaged")
        newest[session_id] = message.id
    return newest


def _is_expired(user_id: str, row: Row) -> bool:
    """Whether the expiry of a row is what was written."""
    try:
        read_summary(user_id, row)
    except DamagedRowError:
        return False
    return True


def _remove(connection: Connection, op: Operation, rows_of: str, who: tuple[str, ...]) -> int:
    """Delete in the running transaction and return how many messages were live."""
    live = 0
    while rows := connection.execute(rows_of, (op.now, *who)).fetchall():
        live += sum(is_live for _, is_live in rows)
        if not connection.executemany(sql.DELETE_ROW, [(rowid,) for rowid, _ in rows]).rowcount:
            raise DamagedRowError("an index of messages is damaged")
        op.renew()
    return live
