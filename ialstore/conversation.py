"""``ConversationStore``: the contract of a store of messages.

Each public method is a template: it checks its arguments, opens one operation, calls one private
hook and turns driver errors into ours. A backend writes hooks and never checks an argument again;
what a hook may rely on stands in its docstring. ``docs/contract.md`` has every promise in words,
``docs/writing-a-backend.md`` leads through all hooks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from ialstore._cursor import make_cursor, read_cursor
from ialstore._text import check_int, from_microseconds, to_microseconds
from ialstore.component import Component, Progress, StoreSettings
from ialstore.errors import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    LimitExceededError,
)
from ialstore.ids import check_id_part
from ialstore.limits import (
    LOAD_BATCH,
    MAX_APPEND,
    MAX_APPEND_BYTES,
    MAX_DELETE,
    MAX_GET,
    MAX_PAGE,
    MAX_PAGE_BYTES,
)
from ialstore.listing import (
    HistoryQuery,
    Rows,
    check_ids,
    history_query,
    id_page,
    text_listing_after,
    text_page,
)
from ialstore.loading import load_batches, load_in_parts, report_to
from ialstore.model import (
    AppendResult,
    Consistency,
    EncodedMessage,
    EraseReport,
    LoadReport,
    Message,
    MessageSummary,
    OptimizeReport,
    Page,
    SessionInfo,
    encode_message,
)

if TYPE_CHECKING:
    from datetime import datetime

    from ialstore.capabilities import ConversationCapabilities
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["ConversationStore"]

_USERS = ("users",)


class ConversationStore(Component):
    """Messages of an agent's conversations, by user and session.

    Open one with ``ialstore.open_store(url)``. All methods are safe from many threads; ``user_id``
    is the tenant boundary in every call.

    Note to implementers: a hook gets user ids of up to 384 bytes, as they count once ``%`` and
    ``#`` are escaped, and of up to 129 more for each ``namespace`` around the store. Messages come
    with the same id as their ``user_id``.
    """

    KIND: ClassVar[str] = "conversation"
    CAPABILITIES: ClassVar[ConversationCapabilities]
    """Of this kind of store with its default options."""
    OPTIONS: ClassVar[type[Any] | None] = None
    """Frozen dataclass of the options that the URL may carry."""

    @classmethod
    def from_url(cls, url: StoreURL, **settings: Unpack[StoreSettings]) -> Self:
        """Return the store that a URL names; creates nothing yet.

        Note to implementers: take what you need from ``url`` and read the options with
        ``url.options(cls.OPTIONS)``, which names a misspelt one.
        """
        raise ConfigurationError(f"{cls.__name__} has no URL form")

    @property
    def capabilities(self) -> ConversationCapabilities:
        """What this store can do."""
        return self.CAPABILITIES

    # -- hooks that every backend writes --------------------------------------------------------

    @abstractmethod
    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        """Store 1 to 100 messages with different ids, of 4 MiB at most; change none that is there.

        Return ids in the order given. Of concurrent calls with one id, exactly one stores it.
        A live message of the same id is a duplicate if the ``content_hash`` is equal, else a
        conflict: raise ``ConflictError(ids=...)`` when nothing was stored, else
        ``PartialWriteError``. An expired one counts as absent.
        """

    @abstractmethod
    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        """Replace the live message of this id as a whole, atomically for readers.

        The user is ``entry.message.user_id``. Return False when it is absent or expired. Raise
        ``ConflictError`` when the stored one belongs to another session.
        """

    @abstractmethod
    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        """Return the live messages among 1 to 100 different ids, by id."""

    @abstractmethod
    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        """Return live messages with ``lower <= id < upper`` in id order; the range is not empty.

        At most ``limit``, and at most 16 MiB (``take_rows`` counts), but at least one if any is
        left; no messages at all are the end.
        """

    @abstractmethod
    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        """Return sessions sorted by newest activity first, then session id.

        Only those that sort behind ``after``, the last one of the page before.
        """

    @abstractmethod
    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        """Delete 1 to 1,000 different ids; return how many live messages this call removed.

        What is expired goes too, uncounted.
        """

    @abstractmethod
    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        """Remove everything of the user, expired messages too, and every trace in files.

        Repeat until a strong read-back is empty, at most 3 rounds; count what is left in
        ``remaining``; name in ``out_of_reach`` what this can't remove.
        """

    # -- hooks with a correct, slower default ---------------------------------------------------

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        """As ``_history``, in short. Default: reads the messages whole."""
        rows = self._history(op, query)
        return Rows([MessageSummary.of(message) for message in rows.items], rows.more)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        """Delete all messages of a session; return how many. Default: page by page."""
        query = HistoryQuery(user_id, session_id, limit=MAX_DELETE)
        removed = 0
        while True:
            op.renew()
            rows = self._history(op, query)
            if not rows.items:
                return removed
            removed += self._delete(op, user_id, [message.id for message in rows.items])
            op.is_partly_applied = True

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        """Store messages of any users, replacing those that are there.

        1 to 1,000 messages of at most 16 MiB; the same id may come twice, then the last one stays.
        Raise ``PartialWriteError`` with every id when some could not be written; see
        ``load_in_parts``. Default: one by one.
        """

        def load(part: Sequence[EncodedMessage]) -> None:
            (entry,) = part
            if not self._replace(op, entry):
                self._append(op, entry.message.user_id, part)

        load_in_parts(op, ([entry] for entry in entries), load, lambda one: one.message.id)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        """Do maintenance that no call needs. Default: there is none."""
        return OptimizeReport()

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        """Return users behind ``after`` in any fixed order. Only called with the capability."""
        raise NotImplementedError

    # -- public methods: writing ----------------------------------------------------------------

    def append(self, *messages: Message) -> AppendResult:
        """Store up to 100 messages of one user; each once, however often it is appended.

        Returns:
            The ids that were stored and those that were already there, in the order given.

        Raises:
            ConflictError: an id is stored, or given, with other content; nothing was stored.
            PartialWriteError: some were stored; says which. Repeating the call is safe.
            InvalidInputError: a message breaks the contract, or they are of several users.
            LimitExceededError: more than 100 messages or 4 MiB.
        """
        self._require_writable("append")
        entries = self._encode_batch(messages)
        with self._operation("append") as op:
            result = AppendResult()
            if entries:
                result = self._append(op, entries[0].message.user_id, entries)
            op.items = len(result.stored)
        return result

    def replace(self, message: Message) -> bool:
        """Replace the stored message of the same id as a whole; False when there is none.

        Raises:
            ConflictError: the stored one belongs to another session.
            InvalidInputError: the message breaks the contract.
        """
        self._require_writable("replace")
        entry = encode_message(message, retention_seconds=self._retention_seconds)
        with self._operation("replace") as op:
            replaced = self._replace(op, entry)
            op.items = int(replaced)
        return replaced

    def delete(self, user_id: str, ids: Sequence[str]) -> int:
        """Delete messages by id; unknown ones are passed over.

        Returns:
            How many messages this call removed.

        Raises:
            InvalidInputError: an id is not a message id.
            LimitExceededError: more than 1,000 ids.
        """
        self._require_writable("delete")
        check_id_part(user_id, "user_id")
        wanted = check_ids(ids, at_most=MAX_DELETE)
        with self._operation("delete") as op:
            op.items = self._delete(op, user_id, wanted) if wanted else 0
        return op.items

    def delete_session(self, user_id: str, session_id: str) -> int:
        """Delete all messages of a session, which is then no longer listed.

        Returns:
            How many messages this call removed.

        Raises:
            InvalidInputError: an argument breaks the contract.
        """
        self._require_writable("delete_session")
        check_id_part(user_id, "user_id")
        check_id_part(session_id, "session_id")
        consistency = self._reading(None)
        with self._operation("delete_session", consistency=consistency, renewable=True) as op:
            op.items = self._delete_session(op, user_id, session_id)
        return op.items

    def erase(self, user_id: str) -> EraseReport:
        """Remove everything of a user that was acknowledged before this call began.

        Returns:
            What was removed, what others wrote meanwhile, and what is out of reach.

        Raises:
            InvalidInputError: the user id breaks the contract.
        """
        self._require_writable("erase")
        check_id_part(user_id, "user_id")
        consistency = self._reading(None)
        with self._operation("erase", consistency=consistency, renewable=True) as op:
            report = self._erase(op, user_id)
            op.items = report.messages
        return report

    def bulk_load(
        self, messages: Iterable[Message], *, progress: Progress | None = None
    ) -> LoadReport:
        """Restore messages of any users, replacing those that are there.

        Args:
            messages: any iterable; read as it is needed.
            progress: called with the number done so far and None.

        Returns:
            How many were written, and how many could not be.

        Raises:
            InvalidInputError: a message breaks the contract; those before it may be written.
            IalStoreError: the store failed; repeating the load is safe and completes it.
        """
        self._require_writable("bulk_load")
        with self._operation("bulk_load", consistency=self._reading(None), renewable=True) as op:
            batches = self._batches(messages)
            return load_batches(op, batches, self._load, lambda one: one.message.id, progress)

    def optimize(self, user_id: str, *, progress: Progress | None = None) -> OptimizeReport:
        """Do maintenance that changes cost, speed and listings only; safe at any time.

        Args:
            user_id: whose data to look at.
            progress: called with what is done and the total, in steps of the backend's choice.

        Raises:
            InvalidInputError: the user id breaks the contract.
        """
        self._require_writable("optimize")
        check_id_part(user_id, "user_id")
        with self._operation("optimize", consistency=self._reading(None), renewable=True) as op:
            report = self._optimize(op, user_id, report_to(op, progress))
            op.items = report.removed
        return report

    # -- public methods: reading ----------------------------------------------------------------

    def get(
        self, user_id: str, ids: Sequence[str], *, consistency: Consistency | None = None
    ) -> list[Message]:
        """Return the messages with these ids, in the order asked; unknown ones are left out.

        Raises:
            InvalidInputError: an id is not a message id.
            LimitExceededError: more than 100 ids.
            UnsupportedOperationError: strong consistency is not on offer.
        """
        check_id_part(user_id, "user_id")
        wanted = check_ids(ids, at_most=MAX_GET)
        with self._operation("get", consistency=self._reading(consistency)) as op:
            found: Mapping[str, Message] = self._get(op, user_id, wanted) if wanted else {}
            op.items = len(found)
        return [found[one] for one in ids if one in found]

    def history(
        self,
        user_id: str,
        *,
        session_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = True,
        limit: int = 50,
        cursor: str | None = None,
        consistency: Consistency | None = None,
    ) -> Page[Message]:
        """Return one page of a user's messages in the order of their ids, the newest first.

        To read on, give the cursor of a page to the same call::

            page = store.history("alice", limit=100)
            while page.cursor:
                page = store.history("alice", limit=100, cursor=page.cursor)

        Args:
            user_id: the tenant.
            session_id: only this session.
            since: only messages of this time or later; timezone-aware.
            until: only messages before this time; timezone-aware.
            newest_first: the newest first, or the oldest.
            limit: 1 to 1,000 messages; a page also ends at 16 MiB.
            cursor: ``cursor`` of the page before; None for the first page.
            consistency: the strongest on offer by default.

        Returns:
            The messages, and a cursor unless they are the last.

        Raises:
            InvalidInputError: an argument breaks the contract, since > until, or the cursor is
                damaged or of another query.
            UnsupportedOperationError: strong consistency is not on offer.
        """
        scope, query = history_query(
            "history",
            user_id,
            session_id=session_id,
            since=since,
            until=until,
            newest_first=newest_first,
            limit=limit,
            cursor=cursor,
        )
        with self._operation("history", consistency=self._reading(consistency)) as op:
            empty = query.lower >= query.upper
            rows: Rows[Message] = Rows(()) if empty else self._history(op, query)
            op.items = len(rows.items)
        return id_page(scope, rows)

    def summaries(
        self,
        user_id: str,
        *,
        session_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = True,
        limit: int = 50,
        cursor: str | None = None,
        consistency: Consistency | None = None,
    ) -> Page[MessageSummary]:
        """Return one page of a user's messages in short; arguments and errors of ``history``."""
        scope, query = history_query(
            "summaries",
            user_id,
            session_id=session_id,
            since=since,
            until=until,
            newest_first=newest_first,
            limit=limit,
            cursor=cursor,
        )
        with self._operation("summaries", consistency=self._reading(consistency)) as op:
            empty = query.lower >= query.upper
            rows: Rows[MessageSummary] = Rows(()) if empty else self._summaries(op, query)
            op.items = len(rows.items)
        return id_page(scope, rows)

    def sessions(
        self,
        user_id: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        consistency: Consistency | None = None,
    ) -> Page[SessionInfo]:
        """Return one page of a user's sessions, the latest active first.

        Args:
            user_id: the tenant.
            limit: 1 to 1,000 sessions.
            cursor: of the page before.
            consistency: the strongest on offer by default.

        Raises:
            InvalidInputError: an argument breaks the contract, or the cursor is damaged or of
                another query.
            UnsupportedOperationError: strong consistency is not on offer.
        """
        check_id_part(user_id, "user_id")
        check_int(limit, "limit", at_least=1, at_most=MAX_PAGE)
        scope = ("sessions", user_id)
        after: SessionInfo | None = None
        if cursor is not None:
            after = read_cursor(scope, cursor, _last_session)
        with self._operation("sessions", consistency=self._reading(consistency)) as op:
            rows = self._sessions(op, user_id, limit, after)
            op.items = len(rows.items)
        if not (rows.more and rows.items):
            return Page(tuple(rows.items))
        last = rows.items[-1]
        position = f"{to_microseconds(last.last_active, 'last_active')}:{last.session_id}"
        return Page(tuple(rows.items), make_cursor(scope, position))

    def users(self, *, limit: int = 100, cursor: str | None = None) -> Page[str]:
        """Return one page of all users, in no particular order; one may come twice.

        Raises:
            InvalidInputError: the limit is not 1 to 1,000, or the cursor is damaged.
            UnsupportedOperationError: ``capabilities.users`` is false.
        """
        self._require_users()
        after = text_listing_after(_USERS, limit, cursor)
        with self._operation("users", consistency=self._reading(None), renewable=True) as op:
            rows = self._users(op, limit, after)
            op.items = len(rows.items)
        return text_page(_USERS, rows)

    # -- encoding -------------------------------------------------------------------------------

    def _encode_batch(self, messages: Sequence[Message]) -> list[EncodedMessage]:
        if len(messages) > MAX_APPEND:
            raise LimitExceededError(
                f"{len(messages):,} messages in one append, more than {MAX_APPEND}; append them in "
                "batches, or restore them with bulk_load"
            )
        if len(messages) == 1:  # the common case needs no look at the others
            return [encode_message(messages[0], retention_seconds=self._retention_seconds)]
        entries: dict[str, EncodedMessage] = {}
        total = 0
        for message in messages:
            entry = encode_message(message, retention_seconds=self._retention_seconds)
            if message.user_id != messages[0].user_id:
                raise InvalidInputError("one append takes messages of one user")
            first = entries.setdefault(message.id, entry)
            if first.content_hash != entry.content_hash:
                raise ConflictError(
                    f"message {message.id} is given twice with different content",
                    ids=[message.id],
                    backend=self.backend,
                    operation="append",
                )
            if first is entry:
                total += entry.size
        if total > MAX_APPEND_BYTES:
            raise LimitExceededError(
                f"the messages of one append have {total:,} bytes, more than {MAX_APPEND_BYTES:,}"
            )
        return list(entries.values())

    def _batches(self, messages: Iterable[Message]) -> Iterator[list[EncodedMessage]]:
        batch: list[EncodedMessage] = []
        size = 0
        for message in messages:
            entry = encode_message(message, retention_seconds=self._retention_seconds)
            if batch and (len(batch) == LOAD_BATCH or size + entry.size > MAX_PAGE_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(entry)
            size += entry.size
        if batch:
            yield batch


def _last_session(position: str) -> SessionInfo:
    time, _, session_id = position.partition(":")
    check_id_part(session_id, "session_id")
    return SessionInfo(session_id, from_microseconds(int(time)))
