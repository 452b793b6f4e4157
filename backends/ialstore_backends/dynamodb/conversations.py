"""``DynamoConversationStore``: conversations in the V2 table of DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

from ialstore.capabilities import ConversationCapabilities
from ialstore.conversation import ConversationStore
from ialstore.ids import id_microseconds
from ialstore.listing import HistoryQuery, Rows, activity_rows, take_rows
from ialstore.model import (
    AppendResult,
    EncodedMessage,
    EraseReport,
    Message,
    MessageSummary,
    OptimizeReport,
    SessionInfo,
)
from ialstore_backends._late import require
from ialstore_backends.dynamodb import keys
from ialstore_backends.dynamodb.directory import LEASE_SECONDS, Directory, Listed
from ialstore_backends.dynamodb.keys import Layout
from ialstore_backends.dynamodb.maintenance import Maintenance
from ialstore_backends.dynamodb.options import CHOICES, DynamoOptions, table_prefix
from ialstore_backends.dynamodb.parallel import SideBySide
from ialstore_backends.dynamodb.policy import policy
from ialstore_backends.dynamodb.reading import Range, Reader
from ialstore_backends.dynamodb.rows import row_bytes, summary_of
from ialstore_backends.dynamodb.table import DRIVERS, TABLE, Table, is_strong, key_of
from ialstore_backends.dynamodb.writing import Writer

if TYPE_CHECKING:
    from botocore.session import Session

    from ialstore.component import Access, Progress, StoreSettings
    from ialstore.estimate import Choice, Estimate, Workload
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["DynamoConversationStore"]

_ROUNDS: Final = 3
_PAGE: Final = 1000
_EVER: Final = -1
"""A second at which nothing has expired yet."""


class DynamoConversationStore(ConversationStore):
    """Conversations in a table of DynamoDB, for any number of threads, processes and hosts.

    Args:
        prefix: with which the names of the tables begin.
        options: as in the URL.
        session: of botocore, with its credentials, in place of one made from the options.
        settings: clock, timeout and retention.
    """

    SCHEME: ClassVar[str] = "dynamodb"
    CAPABILITIES: ClassVar[ConversationCapabilities] = ConversationCapabilities(
        durable=True,
        needs_setup=True,
        multi_process=True,
        activity_precision=timedelta(seconds=LEASE_SECONDS),
    )
    OPTIONS: ClassVar[type[Any] | None] = DynamoOptions
    COST_CHOICES: ClassVar[tuple[Choice, ...]] = CHOICES

    def __init__(
        self,
        prefix: str,
        options: DynamoOptions | None = None,
        *,
        session: Session | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        super().__init__(**settings)
        options = options or DynamoOptions()
        for module in DRIVERS:
            require(module, extra="dynamodb", needed_by="dynamodb")
        # They import the drivers.
        from ialstore_backends.dynamodb.client import DynamoClient
        from ialstore_backends.dynamodb.definition import Schema
        from ialstore_backends.dynamodb.schema import conversation_model

        model = conversation_model(prefix, options)
        self._client = DynamoClient(options, session)
        self._side_by_side = SideBySide(self._client)
        table = Table(model, self._client, Layout(options.spread), self._side_by_side)
        self._table = table.name
        self._schema = Schema(self._client, model, options, {"spread": options.spread})
        self._directory = Directory(table)
        self._reader = Reader(table, self._directory, options)
        self._writer = Writer(table, self._directory, self._reader)
        self._maintenance = Maintenance(self._directory, self._reader, self._writer)

    @property
    def table(self) -> str:
        """Name of the table."""
        return self._table

    @classmethod
    def from_url(cls, url: StoreURL, **settings: Unpack[StoreSettings]) -> Self:
        """Return the store of ``dynamodb://PREFIX?region=...``."""
        return cls(table_prefix(url), url.options(DynamoOptions), **settings)

    @classmethod
    def iam_policy(
        cls, url: StoreURL, access: Access, *, user_id: str | None = None, account: str = "*"
    ) -> dict[str, Any]:
        """Return the least policy for the table of a URL."""
        options = url.options(DynamoOptions)
        table = f"{table_prefix(url)}{TABLE}"
        return policy(table, options, access, user_id=user_id, account=account)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return what a workload takes of the table of a URL."""
        require("pynamodb", extra="dynamodb", needed_by=cls.SCHEME)
        from ialstore_backends.dynamodb.estimate import estimate  # it imports the driver

        table_prefix(url)
        return estimate(url.options(DynamoOptions), workload, age_days)

    def _address(self, op: Operation, user_id: str) -> tuple[str, ...]:
        return (self.SCHEME, self._client.endpoint, self._table, user_id)

    # -- writing --------------------------------------------------------------------------------

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        return self._writer.append(op, entries)

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return self._writer.replace(op, entry)

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        self._writer.load(op, entries)

    # -- reading --------------------------------------------------------------------------------

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        return self._reader.get(op, user_id, ids, strong=is_strong(op))

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        wanted = Range.of(query, op, strong=is_strong(op))
        page = take_rows(self._reader.rows(op, wanted, query.limit), query.limit, row_bytes)
        messages = self._reader.messages(op, query.user_id, page.items)
        return Rows(messages, more=page.more or len(page.items) == query.limit)

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        wanted = Range.of(query, op, strong=is_strong(op))
        if self._reader.has_index(wanted):
            rows = list(islice(self._reader.entries(op, wanted, query.limit), query.limit))
        else:
            rows = list(self._reader.rows(op, wanted, query.limit))
        summaries = [summary_of(query.user_id, row, query.session_id) for row in rows]
        return Rows(summaries, more=len(rows) == query.limit)

    def _sessions(
        self, op: Operation, user_id: str, limit: int, after: SessionInfo | None
    ) -> Rows[SessionInfo]:
        listed = self._directory.sessions(op, user_id, strong=is_strong(op))
        unsure = [one for one in listed if one.active is None]
        newest = self._side_by_side.run([partial(self._newest, op, user_id, one) for one in unsure])
        active = {one.session_id: one.active for one in listed if one.active is not None}
        active |= {
            one.session_id: at for one, at in zip(unsure, newest, strict=True) if at is not None
        }
        return activity_rows(active, limit, after)

    def _newest(self, op: Operation, user_id: str, listed: Listed) -> int | None:
        """Return the time of the newest message of a session that may have none."""
        wanted = Range(user_id=user_id, session_id=listed.session_id, now=op.now)
        row = next(self._reader.on_days(op, wanted, listed.days[::-1], 1), None)
        return None if row is None else id_microseconds(keys.id_of(row["timestamp_type"]["S"]))

    # -- removing and care ----------------------------------------------------------------------

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._writer.delete(op, [self._reader.key(user_id, one) for one in ids])

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        removed = self._remove(op, user_id, session_id)
        self._directory.mark_session(op, user_id, session_id)
        return removed

    def _remove(self, op: Operation, user_id: str, session_id: str | None) -> int:
        """Delete the messages of a session or user, expired ones too; return how many lived."""
        wanted = Range(user_id=user_id, session_id=session_id, now=_EVER)
        removed = 0
        rows = self._reader.rows(op, wanted)
        while True:
            op.renew()
            batch = list(islice(rows, _PAGE))
            if not batch:
                return removed
            op.renew()
            removed += self._writer.delete(op, [key_of(row) for row in batch])
            op.is_partly_applied = True

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        removed = 0
        marked = 0
        remaining = 0
        for _ in range(_ROUNDS):
            op.renew()
            removed += self._remove(op, user_id, None)
            marked = self._directory.mark_user(op, user_id)
            op.renew()
            remaining = self._count(op, user_id)
            if not remaining:
                break
        out_of_reach = ["backups, point-in-time recovery, streams and exports of the table"]
        if marked:
            out_of_reach.append(
                "which sessions and days there were: optimize removes it in ten minutes"
            )
        return EraseReport(messages=removed, remaining=remaining, out_of_reach=tuple(out_of_reach))

    def _count(self, op: Operation, user_id: str) -> int:
        wanted = Range(user_id=user_id, session_id=None, now=op.now)
        return sum(1 for _ in self._reader.rows(op, wanted))

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self._maintenance.run(op, user_id, progress)

    # -- the tables and the connection ----------------------------------------------------------

    def _setup(self, op: Operation) -> None:
        self._schema.create(op)

    def _check(self, op: Operation) -> list[str]:
        return self._schema.differences(op)

    def _close(self) -> None:
        self._side_by_side.close()
        self._client.close()

    def _after_fork(self) -> None:  # pragma: no cover - runs in forked children only
        self._side_by_side.forget()
        self._directory.forget()
