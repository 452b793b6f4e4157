"""``SqliteConversationStore``: conversations in one SQLite file.

Its SQL, and with it the layout of the file, is in ``conversation_statements``.
"""

from __future__ import annotations

import codecs
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

from ialstore.capabilities import ConversationCapabilities
from ialstore.conversation import ConversationStore
from ialstore.decoding import DAMAGE, check_stored_tokens, decode_message, shown_id, stored_role
from ialstore.errors import ConflictError, CorruptError, IalStoreError
from ialstore.limits import SUMMARY_CHARACTERS
from ialstore.listing import HistoryQuery, Rows, session_rows, take_rows
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
from ialstore_backends.sqlite.maintenance import check_file, compact, mark_erased, scrub

if TYPE_CHECKING:
    from ialstore.component import Progress, StoreSettings
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["SqliteConversationStore"]

_ROUNDS: Final = 3
_Row = tuple[Any, ...]


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

    @property
    def capabilities(self) -> ConversationCapabilities:
        """What this store can do; it is durable unless the options say otherwise."""
        return self._capabilities

    # -- writing --------------------------------------------------------------------------------

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        if len(entries) == 1 and self._db.write(op, sql.INSERT_NEW, _values(entries[0])):
            return AppendResult((entries[0].message.id,))
        stored: list[str] = []
        duplicates: list[str] = []
        conflicts: list[str] = []
        with self._db.writing(op) as connection:
            for entry in entries:
                one = entry.message.id
                there = None
                if not connection.execute(sql.INSERT_NEW, _values(entry)).rowcount:
                    there = connection.execute(sql.HASH, (user_id, one, op.now)).fetchone()
                    if there is None:
                        connection.execute(sql.INSERT_OR_REPLACE, _values(entry))
                if there is None:
                    stored.append(one)
                elif there == (entry.content_hash,):
                    duplicates.append(one)
                else:
                    conflicts.append(one)
            if conflicts:
                raise ConflictError(f"{conflicts[0]} is stored with other content", ids=conflicts)
        return AppendResult(tuple(stored), tuple(duplicates))

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        message = entry.message
        key = (message.user_id, message.id)
        values = (*_values(entry)[len(key) :], *key, message.session_id, op.now)
        if self._db.write(op, sql.REPLACE, values):
            return True
        there = self._db.read(op, sql.SESSION_OF, (*key, op.now))
        if there and there != [(message.session_id,)]:
            raise ConflictError(f"{message.id} belongs to another session", ids=[message.id])
        return False

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        with self._db.writing(op) as connection:
            connection.executemany(sql.INSERT_OR_REPLACE, map(_values, entries))

    # -- reading --------------------------------------------------------------------------------

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        with self._db.reading(op) as connection:
            if len(ids) > 1:
                connection.execute("BEGIN")
            found: list[_Row] = []
            for one in ids:
                values = (user_id, one, op.now)
                found += self._db.until_free(op, partial(connection.execute, sql.GET, values))
        return {message.id: message for message in self._messages(user_id, found)}

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        with self._db.reading(op) as connection:
            cursor = self._range(connection, op, sql.HISTORY, query)
            rows = take_rows(cursor, query.limit, _row_bytes)
            cursor.close()
        return Rows(self._messages(query.user_id, rows.items), rows.more)

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        with self._db.reading(op) as connection:
            rows = self._range(connection, op, sql.SUMMARIES, query).fetchall()
        summaries = [self._summary(query.user_id, row) for row in rows[: query.limit]]
        return Rows(summaries, len(rows) > query.limit)

    def _messages(self, user_id: str, rows: Sequence[_Row]) -> list[Message]:
        try:
            return _decode(user_id, rows)
        except CorruptError as error:
            raise CorruptError(f"{self._db.path}: {error}") from error

    def _summary(self, user_id: str, row: _Row) -> MessageSummary:
        try:
            return _decode_summary(user_id, row)
        except UnicodeDecodeError:
            cause = None  # it holds the text
        except DAMAGE as error:
            cause = error
        raise self._damaged(f"the stored message {shown_id(row[0])}") from cause

    def _damaged(self, what: str) -> CorruptError:
        return CorruptError(f"{self._db.path}: {what} is damaged; run check, or restore a backup")

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
        try:
            newest = {one: last for one, last in rows if last is not None}
            for one, last in newest.items():
                stored_role(last, one)
            return session_rows(newest, limit, after)
        except DAMAGE as error:
            raise self._damaged("a session or the id of its newest message") from error

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        rows = self._db.read(op, sql.USERS, {"after": after or "", "limit": limit + 1})
        users = [user_id for (user_id,) in rows]
        if not all(type(user_id) is str for user_id in users):
            raise self._damaged("a user id")
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
        removed = 0
        for first in range(0, len(rows), sql.CHUNK):
            op.renew()
            with self._db.writing(op) as connection:
                removed += connection.executemany(
                    sql.DELETE_EXPIRED_ROW,
                    [(*row, user_id, op.now) for row in rows[first : first + sql.CHUNK]],
                ).rowcount
            op.is_partly_applied = removed > 0
            progress(removed, len(rows))
        reclaimed, notes = compact(self._db, op)
        return OptimizeReport(removed, reclaimed, notes)

    def _check(self, op: Operation) -> list[str]:
        faults = check_file(self._db, op)
        damaged: list[str] = []
        after = 0
        while True:
            op.renew()
            with self._db.reading(op) as connection:
                connection.text_factory = _text_or_bytes
                try:
                    read = partial(connection.execute, sql.CHECK, (after,))
                    rows = self._db.until_free(op, read).fetchall()
                finally:
                    connection.text_factory = str
            if not rows:
                break
            after = rows[-1][0]
            damaged += [
                f"row {row[0]} (message {shown_id(row[3])})" for row in rows if not _is_intact(row)
            ]
        if damaged:
            faults.append(
                f"{len(damaged)} messages in {self._db.path} do not agree with their hash, "
                f"the first is {damaged[0]}: restore them from a backup"
            )
        return faults

    # -- the frame ------------------------------------------------------------------------------

    def _setup(self, op: Operation) -> None:
        self._db.verify(op)

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return self._db.translate(error)

    def _close(self) -> None:
        self._db.close()


def _values(entry: EncodedMessage) -> _Row:
    message = entry.message
    return (
        message.user_id,
        message.id,
        entry.content_hash,
        message.session_id,
        entry.expires,
        message.tokens,
        message.name,
        message.turn_id,
        message.source_id,
        message.summary,
        entry.metadata_text,
        message.content,
        entry.payload_text,
    )


def _decode(user_id: str, rows: Sequence[_Row]) -> list[Message]:
    return [
        decode_message(
            id=one,
            user_id=user_id,
            session_id=session_id,
            content=content,
            payload_text=payload_text,
            name=name,
            turn_id=turn_id,
            source_id=source_id,
            summary=summary,
            tokens=tokens,
            metadata_text=metadata_text,
            expires=expires,
        )
        for (
            one,
            session_id,
            expires,
            tokens,
            name,
            turn_id,
            source_id,
            summary,
            metadata_text,
            content,
            payload_text,
        ) in rows
    ]


def _row_bytes(row: _Row) -> int:
    metadata_text, content, payload_text = row[-3:]
    # Most are ASCII: no call for them.
    plain = type(content) is str and content.isascii()
    size = len(content) if plain else _text_bytes(content)
    if payload_text is not None:
        size += _text_bytes(payload_text)
    if metadata_text is not None:
        size += _text_bytes(metadata_text)
    return size


def _text_bytes(text: object) -> int:
    """Return the bytes of a text; what is none is damage, which is found when it is decoded."""
    if type(text) is not str:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def _decode_summary(user_id: str, row: _Row) -> MessageSummary:
    one, session_id, tokens, summary, beginning = row
    if summary is None:
        # The last character may be cut in two: a decoder that waits for more drops it.
        summary = codecs.getincrementaldecoder("utf-8")().decode(beginning)[:SUMMARY_CHARACTERS]
    if type(summary) is not str:
        raise TypeError("a summary that is no text")
    if tokens is not None:
        check_stored_tokens(tokens)
    return MessageSummary(one, user_id, session_id, stored_role(one, session_id), summary, tokens)


def _remove(connection: Connection, op: Operation, rows_of: str, who: tuple[str, ...]) -> int:
    """Delete in the running transaction and return how many messages were live."""
    live = 0
    while rows := connection.execute(rows_of, (op.now, *who)).fetchall():
        live += sum(is_live for _, is_live in rows)
        connection.executemany(sql.DELETE_ROW, [(rowid,) for rowid, _ in rows])
        op.renew()
    return live


def _is_intact(row: _Row) -> bool:
    try:
        (message,) = _decode(row[1], [row[3:]])
        return type(row[1]) is str and message.content_hash == row[2]
    except IalStoreError:
        return False


def _text_or_bytes(stored: bytes) -> str | bytes:
    """Return a text, or what should be one as it is, so that one row does not end a check."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored
