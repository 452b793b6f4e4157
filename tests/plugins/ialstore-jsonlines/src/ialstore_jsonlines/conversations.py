"""``JsonLinesConversationStore``: conversations in files of JSON lines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from ialstore import (
    AppendResult,
    ConflictError,
    ConversationStore,
    CorruptError,
    EraseReport,
    IalStoreError,
    Message,
    OptimizeReport,
    SessionInfo,
    StoreSettings,
)
from ialstore.capabilities import ConversationCapabilities
from ialstore.decoding import decode_message
from ialstore.listing import HistoryQuery, Rows, session_rows, take_rows, text_bytes

from ialstore_jsonlines.files import Folder, JsonLinesOptions, Row, UserFile, failed, is_live

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.model import EncodedMessage
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["JsonLinesConversationStore"]


class JsonLinesConversationStore(ConversationStore):
    """Conversations in a folder, for any number of threads of one process.

    Args:
        path: of the folder, which is made on first use.
        options: as in the URL.
        settings: clock, timeout and retention.
    """

    SCHEME: ClassVar[str] = "jsonlines"
    CAPABILITIES: ClassVar[ConversationCapabilities] = ConversationCapabilities(
        durable=True, users=True, atomic_append=True, exact_sessions=True
    )
    OPTIONS: ClassVar[type[Any] | None] = JsonLinesOptions

    def __init__(
        self,
        path: str | os.PathLike[str],
        options: JsonLinesOptions | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        super().__init__(**settings)
        options = options or JsonLinesOptions()
        self._folder = Folder(path, "messages", _checked, options)
        self._capabilities = replace(self.CAPABILITIES, durable=options.fsync)

    @classmethod
    def from_url(cls, url: StoreURL, **settings: Unpack[StoreSettings]) -> Self:
        """Return the store of ``jsonlines:///relative`` or ``jsonlines:////absolute``."""
        return cls(url.file_path(), url.options(JsonLinesOptions), **settings)

    @property
    def capabilities(self) -> ConversationCapabilities:
        """What this store can do; it is durable unless the options say otherwise."""
        return self._capabilities

    @property
    def held_bytes(self) -> int:
        """Bytes of the users whose messages are in memory."""
        return self._folder.held_bytes

    # -- writing --------------------------------------------------------------------------------

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        fresh: list[EncodedMessage] = []
        duplicates: list[str] = []
        conflicts: list[str] = []
        with self._folder.user(op, user_id) as user:
            for entry in entries:
                there = _live(user, entry.message.id, op.now)
                if there is None:
                    fresh.append(entry)
                elif there["content_hash"] == entry.content_hash:
                    duplicates.append(entry.message.id)
                else:
                    conflicts.append(entry.message.id)
            if conflicts:
                raise ConflictError(f"{conflicts[0]} is stored with other content", ids=conflicts)
            user.put([_row(entry) for entry in fresh])
        return AppendResult(tuple(entry.message.id for entry in fresh), tuple(duplicates))

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        message = entry.message
        with self._folder.user(op, message.user_id) as user:
            there = _live(user, message.id, op.now)
            if there is None:
                return False
            if there["session_id"] != message.session_id:
                raise ConflictError(f"{message.id} belongs to another session", ids=[message.id])
            user.put([_row(entry)])
        return True

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        by_user: dict[str, dict[str, EncodedMessage]] = {}
        for entry in entries:
            by_user.setdefault(entry.message.user_id, {})[entry.message.id] = entry
        for user_id, own in by_user.items():
            with self._folder.user(op, user_id) as user:
                user.put([_row(entry) for entry in own.values()])
            op.is_partly_applied = True

    # -- reading --------------------------------------------------------------------------------

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        with self._folder.user(op, user_id) as user:
            found = {one: _live(user, one, op.now) for one in ids}
        return {one: _message(user_id, row) for one, row in found.items() if row is not None}

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        with self._folder.user(op, query.user_id) as user:
            rows = [
                row
                for one, row in user.rows.items()
                if query.lower <= one < query.upper
                and query.session_id in (None, row["session_id"])
                and is_live(row["expires"], op.now)
            ]
        rows.sort(key=_id, reverse=query.newest_first)
        page = take_rows(rows, query.limit, _size)
        return Rows([_message(query.user_id, row) for row in page.items], page.more)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        newest: dict[str, str] = {}
        with self._folder.user(op, user_id) as user:
            for one, row in user.rows.items():
                if is_live(row["expires"], op.now):
                    newest[row["session_id"]] = max(one, newest.get(row["session_id"], one))
        return session_rows(newest, limit, after)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        with self._folder.turn(op):
            return self._folder.users(limit, after)

    # -- removing and care ----------------------------------------------------------------------

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        with self._folder.user(op, user_id) as user:
            there = [one for one in ids if one in user.rows]
            live = [one for one in there if _live(user, one, op.now)]
            user.delete(there)  # what is expired too
        return len(live)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        with self._folder.user(op, user_id) as user:
            try:
                live = [one for one in user.rows if _live(user, one, op.now)]
            except CorruptError:
                live = []  # can't be counted, and goes all the same
            user.remove()
        return EraseReport(messages=len(live))

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        with self._folder.user(op, user_id) as user:
            before, size = len(user.rows), user.size
            user.compact([row for row in user.rows.values() if is_live(row["expires"], op.now)])
            removed, reclaimed = before - len(user.rows), size - user.size
        progress(removed, removed)
        return OptimizeReport(removed, reclaimed)

    # -- the frame ------------------------------------------------------------------------------

    def _check(self, op: Operation) -> list[str]:
        return self._folder.check(op)

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return failed(error) if isinstance(error, OSError) else None

    def _close(self) -> None:
        self._folder.close()

    def _after_fork(self) -> None:
        self._folder.forget_parent()


def _row(entry: EncodedMessage) -> Row:
    message = entry.message
    return {
        "id": message.id,
        "session_id": message.session_id,
        "content": message.content,
        "payload_text": entry.payload_text,
        "name": message.name,
        "turn_id": message.turn_id,
        "source_id": message.source_id,
        "summary": message.summary,
        "tokens": message.tokens,
        "metadata_text": entry.metadata_text,
        "expires": entry.expires,
        "content_hash": entry.content_hash,
    }


def _message(user_id: str, row: Row) -> Message:
    fields = {name: value for name, value in row.items() if name != "content_hash"}
    return decode_message(user_id=user_id, **fields)


def _checked(user_id: str, row: Row) -> Row:
    if _message(user_id, row).content_hash != row["content_hash"]:
        raise ValueError("not what was written")
    return row


def _live(user: UserFile[Row], message_id: str, now: int) -> Row | None:
    row = user.rows.get(message_id)
    return row if row is not None and is_live(row["expires"], now) else None


def _id(row: Row) -> str:
    return str(row["id"])


def _size(row: Row) -> int:
    return sum(text_bytes(row[name]) for name in ("content", "payload_text", "metadata_text"))
