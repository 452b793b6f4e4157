"""What calls will cost, before they are made: the units that the service's meter will show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ialstore.cost import Units, read_units, write_units
from ialstore.ids import id_microseconds
from ialstore.model import Consistency, Message, encode_message
from ialstore_backends.dynamodb.definition import table_definition
from ialstore_backends.dynamodb.directory import session_row
from ialstore_backends.dynamodb.keys import Layout
from ialstore_backends.dynamodb.reading import MOST_DAYS
from ialstore_backends.dynamodb.rows import Draft, draft_row
from ialstore_backends.dynamodb.schema import conversation_model
from ialstore_backends.dynamodb.sizes import OVERHEAD_BYTES, PAGE_BYTES, item_bytes, rows_of_pages
from ialstore_backends.dynamodb.table import TABLE

if TYPE_CHECKING:
    from ialstore_backends.dynamodb.options import DynamoOptions
    from ialstore_backends.dynamodb.table import Item

__all__ = ["Prediction"]

_ATTEMPT: Final = bytes(8)
_KEYS: Final = ("user_date", "timestamp_type")
_OF_DIRECTORY: Final = Units(write=1, requests=1)
"""A row of the directory: ids of any length, and the days of a year, are less than 1 KiB."""


class Prediction:
    """Predicts the units of a table with these options; makes no request.

    It agrees with the meter to the unit, for messages of any size whose calls are made one at a
    time.
    """

    def __init__(self, options: DynamoOptions) -> None:
        self._model = conversation_model("", options)
        self._layout = Layout(options.spread)
        self._last: tuple[Message | None, Draft | None] = (None, None)
        self._indexes: dict[str, set[str]] = {
            one["IndexName"]: {
                *_KEYS,
                *(key["AttributeName"] for key in one["KeySchema"]),
                *one["Projection"]["NonKeyAttributes"],
            }
            for one in table_definition(self._model).get("GlobalSecondaryIndexes", ())
        }

    def append(
        self,
        message: Message,
        *,
        there: Message | None = None,
        is_first_of_day: bool = False,
        is_first_of_session: bool = False,
    ) -> Units:
        """Return what appending one message costs.

        Args:
            message: to be stored.
            there: what is stored under its id already: it is a duplicate or conflict.
            is_first_of_day: this process has not written to the user's day within ten minutes.
            is_first_of_session: nor to the session on that day.
        """
        units = Units()
        for is_first in (is_first_of_day, is_first_of_session):
            if is_first:
                units += _OF_DIRECTORY
        draft = self._draft(message)
        old = None if there is None else self._draft(there).item
        if draft.parts:
            units += _read([] if old is None else [old], Consistency.STRONG)
            if old is not None:
                return units
            for part in draft.parts:
                units += _written(part)
        if old is not None:
            larger = max(item_bytes(draft.item), item_bytes(old))
            return units + Units(write=write_units(larger), requests=1)
        return units + self._put(draft.item)

    def by_place(self, message: Message) -> dict[str, Units]:
        """Return what appending one message costs in the table and in each index, by name."""
        indexes = {
            index: Units(write=write_units(self.entry_bytes(message, index)))
            for index in self._indexes
        }
        written = sum(one.write for one in indexes.values())
        whole = self.append(message)
        return {TABLE: replace(whole, write=whole.write - written), **indexes}

    def stored_bytes(self, message: Message) -> dict[str, int]:
        """Return the bytes that are billed for keeping one message, by table and index."""
        draft = self._draft(message)
        table = sum(item_bytes(one) + OVERHEAD_BYTES for one in (draft.item, *draft.parts))
        return {TABLE: table} | {
            index: self.entry_bytes(message, index) + OVERHEAD_BYTES for index in self._indexes
        }

    def get(self, message: Message | None, *, consistency: Consistency) -> Units:
        """Return what reading one message by its id costs; None is one that is not there."""
        if message is None:
            return _read([], consistency)
        draft = self._draft(message)
        units = _read([draft.item], consistency)
        if not draft.parts:
            return units
        read = sum(read_units(item_bytes(part), strong=True) for part in draft.parts)
        return units + Units(read=read, requests=1)

    def delete(self, message: Message | None) -> Units:
        """Return what deleting one message of one row costs; None is one that is not there."""
        if message is None:
            return Units(write=1, requests=1)
        return self._put(self._draft(message).item)

    def day(self, messages: Iterable[Message], *, consistency: Consistency) -> Units:
        """Return what reading rows of one partition in one request costs, without the directory."""
        return _read([self._draft(one).item for one in messages], consistency)

    def summaries(self, messages: Iterable[Message], index: str) -> Units:
        """Return what reading entries of an index in one request costs.

        Args:
            messages: that are read, in short.
            index: ``UserTimeIndex`` or ``SessionIndex``.
        """
        entries = [self._entry(self._draft(one).item, index) for one in messages]
        return _read(entries, Consistency.EVENTUAL)

    def newest(
        self,
        message: Message,
        limit: int,
        *,
        of_session: int,
        of_day: int,
        consistency: Consistency = Consistency.STRONG,
    ) -> Units:
        """Return what reading the newest messages of a session from the table costs.

        The session is of one day and the last one on it, and the process knows the day.

        Args:
            message: what each message of the day is like.
            limit: messages at most.
            of_session: messages that it has.
            of_day: messages of all sessions on that day, its own among them.
            consistency: of the read; an eventual one may go through an index instead.
        """
        units = _read([], consistency)  # of the directory
        if not of_session:
            return units
        there = of_session + (of_day - of_session) // self._layout.spread
        return units + self._scan(
            message, there, limit, own=of_session, need=limit, consistency=consistency
        )

    def newest_of_user(
        self,
        message: Message,
        limit: int,
        *,
        of_day: int,
        days: int,
        consistency: Consistency = Consistency.STRONG,
    ) -> Units:
        """Return what reading the newest messages of a user from the table costs.

        Args:
            message: what each message is like.
            limit: messages at most.
            of_day: messages of each day.
            days: on which there are messages; the process knows the newest one.
            consistency: of the read; an eventual one may go through an index instead.
        """
        units = _read([], consistency)  # of the directory
        there = -(-of_day // self._layout.spread)
        left, at_once = limit, 1
        while left > 0 and days > 0:
            group = min(at_once, days, left)
            asked = left
            for _ in range(group):
                need = -(-left // self._layout.spread)
                for _ in range(self._layout.spread):
                    units += self._scan(
                        message, there, asked, own=there, need=need, consistency=consistency
                    )
                left = max(0, left - of_day)
            days -= group
            at_once = min(2 * at_once, MOST_DAYS)
        return units

    def sessions(
        self, message: Message, count: int, *, consistency: Consistency = Consistency.STRONG
    ) -> Units:
        """Return what listing sessions costs, of which each is of one day and like a message's."""
        size = self.session_bytes(message)
        pages = rows_of_pages(count, size)
        return sum((_bytes_read(rows * size, consistency) for rows in pages), Units())

    def session_bytes(self, message: Message) -> int:
        """Return the bytes of the row that lists a message's session, on one day."""
        active = id_microseconds(message.id)
        return item_bytes(session_row(self._layout, message.user_id, message.session_id, active))

    def row_bytes(self, message: Message) -> int:
        """Return the bytes of a message's row, without its parts."""
        return item_bytes(self._draft(message).item)

    def entry_bytes(self, message: Message, index: str) -> int:
        """Return the bytes of a message's entry in an index."""
        return item_bytes(self._entry(self._draft(message).item, index))

    def _entry(self, item: Item, index: str) -> Item:
        names = self._indexes[index]
        return {name: value for name, value in item.items() if name in names}

    def _scan(
        self,
        message: Message,
        there: int,
        limit: int,
        *,
        own: int,
        need: int,
        consistency: Consistency,
    ) -> Units:
        """Return what reading the newest rows of a partition costs, and the parts of contents.

        Args:
            message: what its messages are like.
            there: how many it holds.
            limit: of the first request.
            own: how many are of the session that is read: the newest.
            need: after how many of them reading ends.
            consistency: of the read.
        """
        draft = self._draft(message)
        size = item_bytes(draft.item)
        most = max(1, PAGE_BYTES // size)
        read = min(limit, most, there)
        pages = [read]
        goes_on = read == limit or read < there  # a page that is full ends there, even the last
        while goes_on and min(read, own) < need:
            pages.append(min(most, there - read))
            read += pages[-1]
            goes_on = read < there
        units = sum((_bytes_read(rows * size, consistency) for rows in pages), Units())
        if draft.parts:
            body = Units(
                read=sum(read_units(item_bytes(one), strong=True) for one in draft.parts),
                requests=1,
            )
            units = sum([body] * min(own, need), units)
        return units

    def _draft(self, message: Message) -> Draft:
        known, draft = self._last
        if known is not message or draft is None:  # one message often stands for many
            encoded = encode_message(message)
            draft = draft_row(encoded, self._model, self._layout, _ATTEMPT, 0)
            self._last = message, draft
        return draft

    def _put(self, item: Item) -> Units:
        """Return what writing or deleting a row costs, its entries in the indexes included."""
        sizes = [item_bytes(item)]
        sizes += [item_bytes(self._entry(item, index)) for index in self._indexes]
        return Units(write=sum(map(write_units, sizes)), requests=1)


def _written(item: Item) -> Units:
    return Units(write=write_units(item_bytes(item)), requests=1)


def _read(items: list[Item], consistency: Consistency) -> Units:
    return _bytes_read(sum(map(item_bytes, items)), consistency)


def _bytes_read(size: int, consistency: Consistency) -> Units:
    return Units(read=read_units(size, strong=consistency is Consistency.STRONG), requests=1)
