"""What calls will cost, before they are made: the units that the service's meter will show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ialstore.cost import Units, read_units, write_units
from ialstore.model import Consistency, Message, encode_message
from ialstore_backends.dynamodb.definition import table_definition
from ialstore_backends.dynamodb.keys import Layout
from ialstore_backends.dynamodb.rows import Draft, draft_row
from ialstore_backends.dynamodb.schema import conversation_model
from ialstore_backends.dynamodb.sizes import item_bytes

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

    def row_bytes(self, message: Message) -> int:
        """Return the bytes of a message's row, without its parts."""
        return item_bytes(self._draft(message).item)

    def entry_bytes(self, message: Message, index: str) -> int:
        """Return the bytes of a message's entry in an index."""
        return item_bytes(self._entry(self._draft(message).item, index))

    def _entry(self, item: Item, index: str) -> Item:
        names = self._indexes[index]
        return {name: value for name, value in item.items() if name in names}

    def _draft(self, message: Message) -> Draft:
        return draft_row(encode_message(message), self._model, self._layout, _ATTEMPT, 0)

    def _put(self, item: Item) -> Units:
        """Return what writing or deleting a row costs, its entries in the indexes included."""
        sizes = [item_bytes(item)]
        sizes += [item_bytes(self._entry(item, index)) for index in self._indexes]
        return Units(write=sum(map(write_units, sizes)), requests=1)


def _written(item: Item) -> Units:
    return Units(write=write_units(item_bytes(item)), requests=1)


def _read(items: list[Item], consistency: Consistency) -> Units:
    size = sum(map(item_bytes, items))
    return Units(read=read_units(size, strong=consistency is Consistency.STRONG), requests=1)
