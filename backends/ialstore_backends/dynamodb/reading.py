"""Reading messages: day by day along the directory, by key, and the parts of long contents."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ialstore.errors import CorruptError, UnavailableError
from ialstore.ids import HIGHEST_ID, LOWEST_ID, next_id, session_hash
from ialstore.model import Message
from ialstore_backends.dynamodb import keys
from ialstore_backends.dynamodb.access import RowAccess
from ialstore_backends.dynamodb.rows import is_live, message_of
from ialstore_backends.dynamodb.table import SESSION_INDEX, USER_TIME_INDEX, from_base64, key_of

if TYPE_CHECKING:
    from ialstore.listing import HistoryQuery
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.directory import Directory
    from ialstore_backends.dynamodb.options import DynamoOptions
    from ialstore_backends.dynamodb.table import Item, Table

__all__ = ["MOST_DAYS", "Range", "Reader"]

_BATCH_KEYS: Final = 100
_CROWD: Final = 4
"""A session with less than one in so many rows of its day is better read through its index."""
_MOST_CROWDED: Final = 10_000
MOST_DAYS: Final = 16
_PART_TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Rows of one user between two ids, of one session or of all.

    Attributes:
        user_id: the tenant.
        session_id: only this session, or None.
        lower: the first id that belongs, as in ``HistoryQuery``.
        upper: the first id behind.
        newest_first: descending.
        strong: read consistently.
        now: the second that decides on expiry.
    """

    user_id: str
    session_id: str | None
    lower: str = LOWEST_ID
    upper: str = HIGHEST_ID
    newest_first: bool = True
    strong: bool = True
    now: int

    @classmethod
    def of(cls, query: HistoryQuery, op: Operation, *, strong: bool) -> Range:
        """Return the range of a query."""
        return cls(
            user_id=query.user_id,
            session_id=query.session_id,
            lower=query.lower,
            upper=query.upper,
            newest_first=query.newest_first,
            strong=strong,
            now=op.now,
        )

    def behind(self, message_id: str) -> Range:
        """Return what of this range comes after a message."""
        if self.newest_first:
            return replace(self, upper=message_id)
        return replace(self, lower=next_id(message_id))


class Reader:
    """Reads the messages of a table; safe from many threads."""

    def __init__(
        self,
        table: Table,
        directory: Directory,
        options: DynamoOptions,
    ) -> None:
        self._client = table.client
        self._table = table.name
        self._layout = table.layout
        self._side_by_side = table.side_by_side
        self._access = RowAccess(table.client, table.name, table.side_by_side)
        self._directory = directory
        self._by_user_time = options.user_time_index
        self._by_session = options.session_index
        self._crowded: set[str] = set()

    # -- ranges ---------------------------------------------------------------------------------

    def rows(self, op: Operation, wanted: Range, limit: int | None = None) -> Iterator[Item]:
        """Yield the live rows of a range in order, up to a limit.

        The plan is chosen by cost. Days are read one after another, the newest first or last, each
        as far as it is needed. A session whose rows are few among those of others is read through
        the index by session, where a read may be eventual.
        """
        if self._is_crowded(wanted):
            yield from self._through_index(op, wanted, limit)
            return
        op.note("plan", "days")
        days, scans = self._begin(op, wanted, limit)
        yield from self.on_days(op, wanted, days, limit, scans)

    def on_days(
        self,
        op: Operation,
        wanted: Range,
        days: Sequence[int],
        limit: int | None = None,
        begun: Sequence[_DayScan] = (),
    ) -> Iterator[Item]:
        """Yield the live rows of a range on some days, in order, up to a limit.

        Args:
            op: the running call.
            wanted: the range.
            days: to look into, in the order of reading.
            limit: rows at most.
            begun: the scan of a day that comes before, which was begun already.
        """
        left = limit
        at_once = 1
        scans = list(begun)
        while scans or days:
            if not scans:
                # A listed day holds a message at least, unless it was deleted.
                at_once = at_once if left is None else min(at_once, left)
                group, days = days[:at_once], days[at_once:]
                scans = [_DayScan(self, op, wanted, day, left) for day in group]
                self._side_by_side.reads([first for scan in scans for first in scan.firsts()])
            at_once = min(2 * at_once, MOST_DAYS)
            for scan in scans:
                for row in scan.rows():
                    yield row
                    if left is not None:
                        left -= 1
                        if not left:
                            return
                if scan.crowded_at is not None:
                    rest = wanted.behind(scan.crowded_at)
                    yield from self._through_index(op, rest, left)
                    return
            scans = []

    def _begin(
        self, op: Operation, wanted: Range, limit: int | None
    ) -> tuple[Sequence[int], list[_DayScan]]:
        """Return the days to look into, in order, and the scan of the first if it is known.

        The newest day that this process knows is read beside the directory.
        """
        first, last = keys.day_of(wanted.lower), keys.day_of(keys.previous(wanted.upper))
        guess = self._directory.guess(wanted.user_id, wanted.session_id)
        if guess is None or not wanted.newest_first or not first <= guess <= last:
            return self._days(op, wanted, first, last), []
        scan = _DayScan(self, op, wanted, guess, limit)
        found: list[Sequence[int]] = []
        self._side_by_side.reads(
            [lambda: found.append(self._days(op, wanted, first, last)), *scan.firsts()]
        )
        (days,) = found
        if days and days[0] != guess:  # another process was here on a later day
            return days, []
        return days[1:], [scan]

    def _days(self, op: Operation, wanted: Range, first: int, last: int) -> Sequence[int]:
        """Return the days to look into, in the order of reading."""
        if wanted.session_id is None:
            days: Sequence[int] = self._directory.days(
                op, wanted.user_id, first, last, strong=wanted.strong
            )
        else:
            listed = self._directory.session(
                op, wanted.user_id, wanted.session_id, strong=wanted.strong
            )
            days = () if listed is None else listed.days
        found = sorted(day for day in days if first <= day <= last)
        if found:
            self._directory.saw(wanted.user_id, wanted.session_id, found[-1])
        return found[::-1] if wanted.newest_first else found

    # -- the indexes ----------------------------------------------------------------------------

    def has_index(self, wanted: Range) -> bool:
        """Return whether an index may answer for a range."""
        indexed = self._by_user_time if wanted.session_id is None else self._by_session
        return indexed and not wanted.strong

    def entries(self, op: Operation, wanted: Range, at_once: int | None) -> Iterator[Item]:
        """Yield the live entries of a range in the index by user or by session.

        Args:
            op: the running call.
            wanted: the range.
            at_once: entries to ask for in one request, or None for as many as it takes.
        """
        if wanted.session_id is None:
            name, attribute, value = USER_TIME_INDEX, "user_id", wanted.user_id
        else:
            name, attribute = SESSION_INDEX, "session_id"
            value = keys.session_key(wanted.user_id, wanted.session_id)
        op.note("plan", name)
        params: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": name,
            "KeyConditionExpression": f"{attribute} = :p AND #t BETWEEN :a AND :b",
            "ExpressionAttributeNames": {"#t": "timestamp"},
            "ExpressionAttributeValues": {
                ":p": {"S": value},
                ":a": {"S": keys.index_bound(wanted.lower)},
                ":b": {"S": keys.index_bound(keys.previous(wanted.upper))},
            },
            "ScanIndexForward": not wanted.newest_first,
        }
        if at_once is not None:  # pragma: no branch - what has no limit is read strongly
            params["Limit"] = at_once
        for entry in self._client.rows(op, params, place=name):
            if is_live(entry, wanted.now):
                yield entry

    def _through_index(self, op: Operation, wanted: Range, limit: int | None) -> Iterator[Item]:
        """Yield rows of a session by the keys that its index holds, up to a limit."""
        yield from islice(self._indexed(op, wanted, limit), limit)

    def _indexed(self, op: Operation, wanted: Range, at_once: int | None) -> Iterator[Item]:
        entries = self.entries(op, wanted, at_once)
        while batch := list(islice(entries, min(at_once or _BATCH_KEYS, _BATCH_KEYS))):
            found = self.items(op, [key_of(entry) for entry in batch], strong=False)
            by_key = {row["timestamp_type"]["S"]: row for row in found}
            for entry in batch:
                row = by_key.get(entry["timestamp_type"]["S"])
                if row is not None and is_live(row, wanted.now):  # the index may be behind
                    yield row

    def _is_crowded(self, wanted: Range) -> bool:
        return wanted.user_id in self._crowded and self._may_switch(wanted)

    def _may_switch(self, wanted: Range) -> bool:
        return wanted.session_id is not None and self.has_index(wanted)

    def note_crowd(self, wanted: Range, scanned: int, found: int) -> bool:
        """Return whether a session is better read through its index, after a look at its day."""
        if not self._may_switch(wanted) or scanned < _CROWD * max(found, 1):
            return False
        if len(self._crowded) >= _MOST_CROWDED:
            self._crowded.clear()
        self._crowded.add(wanted.user_id)
        return True

    def page(
        self, op: Operation, wanted: Range, partition: str, limit: int | None, start: Item | None
    ) -> _Page:
        """Return rows of a partition, expired and foreign ones left out, and where to go on."""
        values: Item = {
            ":p": {"S": partition},
            ":a": {"S": keys.bound(wanted.lower)},
            ":b": {"S": keys.bound(keys.previous(wanted.upper))},
        }
        params: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "user_date = :p AND timestamp_type BETWEEN :a AND :b",
            "ScanIndexForward": not wanted.newest_first,
            "ConsistentRead": wanted.strong,
            "ExpressionAttributeValues": values,
        }
        if limit is not None:
            params["Limit"] = limit
        if wanted.session_id is not None:
            values[":s"] = {"S": keys.session_key(wanted.user_id, wanted.session_id)}
            params["FilterExpression"] = "session_id = :s"
        if start is not None:
            params["ExclusiveStartKey"] = start
        answer = self._client.call(op, "Query", params, place=_place(partition))
        rows = [row for row in answer["Items"] if is_live(row, wanted.now)]
        return _Page(rows, answer.get("LastEvaluatedKey"), int(answer["ScannedCount"]))

    # -- by id ----------------------------------------------------------------------------------

    def get(
        self, op: Operation, user_id: str, ids: Sequence[str], *, strong: bool
    ) -> dict[str, Message]:
        """Return the live messages among ids."""
        rows = self.items(op, [self.key(user_id, one) for one in ids], strong=strong)
        live = [row for row in rows if is_live(row, op.now)]
        return {message.id: message for message in self.messages(op, user_id, live)}

    def key(self, user_id: str, message_id: str) -> Item:
        """Return the key of a message's row."""
        return {
            "user_date": {"S": self._layout.partition(user_id, message_id)},
            "timestamp_type": {"S": keys.sort_key(message_id)},
        }

    def items(self, op: Operation, wanted: Sequence[Item], *, strong: bool) -> list[Item]:
        """Return the rows of keys, in no order; those that are not there are left out."""
        return self._access.items(op, wanted, strong=strong)

    # -- messages -------------------------------------------------------------------------------

    def messages(self, op: Operation, user_id: str, rows: Sequence[Item]) -> list[Message]:
        """Return the messages of rows in their order; one that went meanwhile is left out.

        Raises:
            CorruptError: a row or a part is not what was written.
        """
        long = [row for row in rows if "parts" in row]
        if not long:
            return [message_of(user_id, row) for row in rows]
        bodies = self._side_by_side.run([partial(self._body, op, user_id, row) for row in long])
        by_key = {
            row["timestamp_type"]["S"]: found for row, found in zip(long, bodies, strict=True)
        }
        messages: list[Message] = []
        for row in rows:
            whole = by_key.get(row["timestamp_type"]["S"], (row, None))
            if whole is not None:
                messages.append(message_of(user_id, *whole))
        return messages

    def _body(self, op: Operation, user_id: str, row: Item) -> tuple[Item, bytes | None] | None:
        """Return a row as it is now and what its parts hold; None when it is gone."""
        head = row
        for _ in range(_PART_TRIES):
            if "parts" not in head:
                return head, None
            body = self._parts(op, head)
            if body is not None:
                return head, body
            # Replaced or deleted meanwhile: its head tells.
            found = self.items(op, [key_of(head)], strong=True)
            if not found or not is_live(found[0], op.now):
                return None
            again = found[0]
            if again.get("attempt") == head.get("attempt"):
                raise CorruptError(
                    f"a part of the stored message {keys.id_of(head['timestamp_type']['S'])} "
                    "is missing; restore a backup"
                )
            head = again
        raise UnavailableError("a message changes faster than it can be read", retryable=True)

    def _parts(self, op: Operation, head: Item) -> bytes | None:
        """Return what the parts of a row hold together; None when one is missing."""
        found = self.items(op, self.part_keys(head), strong=True)
        wanted = int(head["parts"]["N"])
        if len(found) != wanted:
            return None
        found.sort(key=lambda part: part["timestamp_type"]["S"])
        return b"".join(from_base64(part["body"]["B"]) for part in found)

    def parts_of_day(self, op: Operation, user_id: str, day: int) -> Iterator[Item]:
        """Yield the parts of long contents that lie on a day, whether they are used or not."""
        for partition in self._layout.partitions(user_id, day):
            params: dict[str, Any] = {
                "TableName": self._table,
                "KeyConditionExpression": "user_date = :p AND timestamp_type >= :a",
                "ExpressionAttributeValues": {
                    ":p": {"S": partition},
                    ":a": {"S": keys.FIRST_PART},
                },
                "ConsistentRead": True,
            }
            yield from self._client.rows(op, params, place=_place(partition))

    def part_keys(self, head: Item) -> list[Item]:
        """Return the keys of the parts of a row; none where it has none."""
        if "parts" not in head:
            return []
        attempt = from_base64(head["attempt"]["B"]).hex()
        message_id = keys.id_of(head["timestamp_type"]["S"])
        return [
            {
                "user_date": head["user_date"],
                "timestamp_type": {"S": self._layout.part(message_id, attempt, number)},
            }
            for number in range(int(head["parts"]["N"]))
        ]


def _place(partition: str) -> str:
    """Return a partition key without the user, for the event."""
    return partition.partition("#")[2]


class _DayScan:
    """The rows of one day, of one or several partitions, merged."""

    def __init__(
        self, reader: Reader, op: Operation, wanted: Range, day: int, limit: int | None
    ) -> None:
        self._reader = reader
        self._op = op
        self._wanted = wanted
        self._limit = limit
        hashed = None if wanted.session_id is None else session_hash(wanted.session_id)
        self._partitions = reader._layout.partitions(wanted.user_id, day, hashed)  # noqa: SLF001 - its other half
        self._pages: dict[str, _Page] = {}
        self.crowded_at: str | None = None
        """The id behind which the index by session is the better way."""

    def firsts(self) -> list[Callable[[], None]]:
        """Return what reads the first page of each partition, to be called before ``rows``."""
        return [partial(self._read_first, one) for one in self._partitions]

    def _read_first(self, partition: str) -> None:
        self._pages[partition] = self._page(partition, self._limit, None)

    def _page(self, partition: str, limit: int | None, start: Item | None) -> _Page:
        return self._reader.page(self._op, self._wanted, partition, limit, start)

    def rows(self) -> Iterator[Item]:
        """Yield rows in order; further pages are read as they are needed."""
        streams = [self._stream(one, self._pages[one]) for one in self._partitions]
        if len(streams) == 1:
            return streams[0]
        return heapq.merge(
            *streams,
            key=lambda row: row["timestamp_type"]["S"],
            reverse=self._wanted.newest_first,
        )

    def _stream(self, partition: str, page: _Page) -> Iterator[Item]:
        yield from page.rows
        if page.next is None:
            return
        if self._reader.note_crowd(self._wanted, page.scanned, len(page.rows)):
            self.crowded_at = keys.id_of(page.next["timestamp_type"]["S"])
            return
        while page.next is not None:
            # What was asked for was not enough: some rows are of others. The rest comes in pages
            # of 1 MB, each row once.
            page = self._page(partition, None, page.next)
            yield from page.rows


@dataclass(frozen=True, slots=True)
class _Page:
    """Live rows of a partition, where to go on, and how many rows were read for them."""

    rows: list[Item]
    next: Item | None
    scanned: int
