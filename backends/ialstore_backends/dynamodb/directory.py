"""The directory of a user: which sessions there are, and on which days something was said.

It lies in a partition of its own, ``{user}#@``, and is written before the message that it
announces. A process remembers what it announced for ten minutes; so a row that is to go is only
marked as removed, and goes once no process can remember it and nothing of it is left. What is
marked is still looked into: no message of another process is missed meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ialstore.cost import Units
from ialstore.errors import ConfigurationError, IalStoreError, Outcome
from ialstore.ids import id_microseconds
from ialstore_backends.dynamodb import keys
from ialstore_backends.dynamodb.table import ConditionFailedError, from_base64

if TYPE_CHECKING:
    from ialstore.model import EncodedMessage
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.keys import Layout
    from ialstore_backends.dynamodb.table import Item, Table

__all__ = ["LEASE_SECONDS", "Directory", "Listed", "days_of", "listed", "session_row"]

LEASE_SECONDS: Final = 600
"""How long a process remembers what it announced, and how exact activity is."""
SAFE_SECONDS: Final = LEASE_SECONDS + 60
"""After which nobody remembers a row that was marked; a minute for clocks and running calls."""
_LEASES: Final = 20_000
_MARKS: Final = 500
"""Rows that are marked within one deadline."""
_DAY_BYTES: Final = 3
_SPREAD: Final = "spread = if_not_exists(spread, :n)"
_PLACE: Final = "directory"
_SESSIONS: Final = "s#"
_YEARS: Final = "d#"
_BETWEEN: Final = " AND timestamp_type BETWEEN :a AND :b"
_BEGINS: Final = " AND begins_with(timestamp_type, :a)"
_EPOCH: Final = date(1970, 1, 1)
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Listed:
    """A session in the directory.

    Attributes:
        session_id: its id.
        days: on which it was announced, counted from 1970, ascending.
        active: microseconds of its newest message, to ten minutes; None where nobody knows.
        removed: the second at which it was marked as removed, or None.
    """

    session_id: str
    days: tuple[int, ...]
    active: int | None
    removed: int | None


@dataclass(slots=True)
class _Lease:
    ends_at: float
    active: int


class Directory:
    """Reads and writes the directories of a table; safe from many threads."""

    def __init__(self, table: Table) -> None:
        self._client = table.client
        self._table = table.name
        self._layout = table.layout
        self._side_by_side = table.side_by_side
        self._lock = threading.Lock()
        self._leases: OrderedDict[tuple[str, str, int], _Lease] = OrderedDict()
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()

    # -- announcing -----------------------------------------------------------------------------

    def announce(self, op: Operation, entries: Iterable[EncodedMessage]) -> None:
        """List sessions and days of messages that are about to be written.

        Raises:
            IalStoreError: they could not be listed; of the messages nothing is written.
        """
        newest: dict[tuple[str, str, int], int] = {}
        for entry in entries:
            message = entry.message
            at = id_microseconds(message.id)
            key = (message.user_id, message.session_id, keys.day_of(message.id))
            newest[key] = max(at, newest.get(key, 0))
        unknown_days, unknown_sessions = self._unknown_days(newest), self._unknown_sessions(newest)
        calls: list[Callable[[], None]] = []
        for user_id, year, days in _by_year(unknown_days):
            calls.append(partial(self._add_days, op, user_id, year, days))
        for (user_id, session_id), days, active in unknown_sessions:
            calls.append(partial(self._add_session, op, user_id, session_id, days, active))
        try:
            self._side_by_side.run(calls)
        except IalStoreError as error:
            error.outcome = Outcome.NOT_APPLIED  # of the messages
            raise
        self._remember(unknown_days, unknown_sessions)
        for user_id, session_id, day in newest:
            self.saw(user_id, session_id, day)
            self.saw(user_id, None, day)

    def _unknown_days(self, newest: Iterable[tuple[str, str, int]]) -> list[tuple[str, int]]:
        with self._lock:
            days = {(user_id, day) for user_id, _, day in newest}
            return sorted(one for one in days if self._lease(one[0], "", one[1]) is None)

    def _unknown_sessions(
        self, newest: dict[tuple[str, str, int], int]
    ) -> list[tuple[tuple[str, str], list[int], int]]:
        """Return sessions to announce, with the days and the activity to add."""
        found: dict[tuple[str, str], tuple[list[int], int]] = {}
        with self._lock:
            for (user_id, session_id, day), at in newest.items():
                lease = self._lease(user_id, session_id, day)
                if lease is None or at > lease.active + LEASE_SECONDS * _MICROSECONDS:
                    days, active = found.get((user_id, session_id), ([], 0))
                    found[user_id, session_id] = ([*days, day], max(active, at))
        return [(key, days, active) for key, (days, active) in found.items()]

    def _lease(self, user_id: str, session_id: str, day: int) -> _Lease | None:
        lease = self._leases.get((user_id, session_id, day))
        return lease if lease is not None and lease.ends_at > time.monotonic() else None

    def _remember(
        self,
        days: Iterable[tuple[str, int]],
        sessions: Iterable[tuple[tuple[str, str], list[int], int]],
    ) -> None:
        """Take note of what was announced just now; what was not keeps the lease that it has."""
        ends_at = time.monotonic() + LEASE_SECONDS
        found = {(user_id, "", day): 0 for user_id, day in days}
        for (user_id, session_id), listed_days, active in sessions:
            found |= {(user_id, session_id, day): active for day in listed_days}
        with self._lock:
            for key, active in found.items():
                self._leases.pop(key, None)
                self._leases[key] = _Lease(ends_at, active)
            while len(self._leases) > _LEASES:
                self._leases.popitem(last=False)

    def _add_days(self, op: Operation, user_id: str, year: int, days: Sequence[int]) -> None:
        try:
            self._set_days(op, user_id, year, days)
        except ConditionFailedError as error:
            raise self._other_spread() from error

    def _set_days(self, op: Operation, user_id: str, year: int, days: Sequence[int]) -> None:
        self._update(
            op,
            self._key(user_id, f"{_YEARS}{year:04d}"),
            "ADD days :d SET spread = :n REMOVE removed",
            {":d": _day_set(days), ":n": {"N": str(self._layout.spread)}},
            condition="attribute_not_exists(spread) OR spread = :n",
        )

    def _add_session(
        self, op: Operation, user_id: str, session_id: str, days: Sequence[int], active: int
    ) -> None:
        key = self._key(user_id, f"{_SESSIONS}{keys.escaped(session_id)}")
        values: Item = {":d": _day_set(days), ":n": {"N": str(self._layout.spread)}}
        try:
            self._update(
                op,
                key,
                f"ADD days :d SET active = :a, {_SPREAD} REMOVE removed",
                {**values, ":a": {"N": str(active)}},
                condition="attribute_not_exists(active) OR active < :a",
            )
        except ConditionFailedError:
            # A newer message is there already: an import of old ones.
            self._update(op, key, f"ADD days :d SET {_SPREAD} REMOVE removed", values)

    def _update(
        self, op: Operation, key: Item, change: str, values: Item, condition: str | None = None
    ) -> None:
        params: dict[str, Any] = {
            "TableName": self._table,
            "Key": key,
            "UpdateExpression": change,
            "ExpressionAttributeValues": values,
        }
        if condition is not None:
            params["ConditionExpression"] = condition
        try:
            self._client.call(op, "UpdateItem", params, place=_PLACE)
        except ConditionFailedError:
            op.add(Units(write=1))  # the service bills it, but reports nothing
            raise

    # -- reading --------------------------------------------------------------------------------

    def days(
        self, op: Operation, user_id: str, first: int, last: int, *, strong: bool
    ) -> list[int]:
        """Return the days from ``first`` to ``last`` that may hold messages, ascending."""
        low, high = (f"{_YEARS}{_year(day):04d}" for day in (first, last))
        rows = self._query(op, user_id, _BETWEEN, {":a": low, ":b": high}, strong=strong)
        found = {day for row in rows for day in days_of(row)}
        return sorted(day for day in found if first <= day <= last)

    def session(
        self, op: Operation, user_id: str, session_id: str, *, strong: bool
    ) -> Listed | None:
        """Return what is listed of a session, marked or not."""
        params = {
            "TableName": self._table,
            "Key": self._key(user_id, f"{_SESSIONS}{keys.escaped(session_id)}"),
            "ConsistentRead": strong,
        }
        row = self._client.call(op, "GetItem", params, place=_PLACE).get("Item")
        if row is None:
            return None
        self._compare(row)
        return listed(row)

    def sessions(self, op: Operation, user_id: str, *, strong: bool) -> list[Listed]:
        """Return all sessions of a user, those that are marked too."""
        rows = self._query(op, user_id, _BEGINS, {":a": _SESSIONS}, strong=strong)
        return [one for one in map(listed, rows) if one is not None]

    def _query(
        self, op: Operation, user_id: str, which: str, texts: dict[str, str], *, strong: bool
    ) -> list[Item]:
        values = {":p": self._layout.directory(user_id), **texts}
        params: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": f"user_date = :p{which}",
            "ExpressionAttributeValues": {name: {"S": text} for name, text in values.items()},
            "ConsistentRead": strong,
        }
        rows = list(self._client.rows(op, params, place=_PLACE))
        for row in rows:
            self._compare(row)
        return rows

    def _compare(self, row: Item) -> None:
        if "spread" in row and row["spread"]["N"] != str(self._layout.spread):
            raise self._other_spread()

    def _other_spread(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._table} was written with another spread than {self._layout.spread}; "
            "run ialstore check"
        )

    # -- where to look first --------------------------------------------------------------------

    def guess(self, user_id: str, session_id: str | None) -> int | None:
        """Return the newest day that this process knows of a session, or of a user; or None."""
        with self._lock:
            return self._newest.get((user_id, session_id or ""))

    def saw(self, user_id: str, session_id: str | None, day: int) -> None:
        """Remember the newest day of a session or user."""
        key = (user_id, session_id or "")
        with self._lock:
            newest = max(day, self._newest.pop(key, day))
            self._newest[key] = newest
            while len(self._newest) > _LEASES:
                self._newest.popitem(last=False)

    # -- removing -------------------------------------------------------------------------------

    def mark_session(self, op: Operation, user_id: str, session_id: str) -> None:
        """Mark a session as removed, if it is listed."""
        self._mark(op, user_id, f"{_SESSIONS}{keys.escaped(session_id)}")
        self._forget(user_id, session_id)

    def mark_user(self, op: Operation, user_id: str) -> int:
        """Mark everything of a user as removed; return how many rows there are."""
        rows = self.rows(op, user_id)
        for first in range(0, len(rows), _MARKS):
            op.renew()
            self._side_by_side.run(
                [
                    partial(self._mark, op, user_id, row["timestamp_type"]["S"])
                    for row in rows[first : first + _MARKS]
                ]
            )
        self._forget(user_id, None)
        return len(rows)

    def _mark(self, op: Operation, user_id: str, sort_key: str) -> None:
        with contextlib.suppress(ConditionFailedError):  # it is not listed
            self._update(
                op,
                self._key(user_id, sort_key),
                "SET removed = :n REMOVE active",
                {":n": {"N": str(int(time.time()))}},
                condition="attribute_exists(user_date)",
            )

    def drop(self, op: Operation, user_id: str, row: Item) -> bool:
        """Delete a marked row of which nothing is left, if nobody can remember it any more."""
        removed = row.get("removed", {}).get("N")
        if removed is None or int(removed) + SAFE_SECONDS > time.time():
            return False
        try:
            self._client.call(
                op,
                "DeleteItem",
                {
                    "TableName": self._table,
                    "Key": self._key(user_id, row["timestamp_type"]["S"]),
                    "ConditionExpression": "removed = :r",
                    "ExpressionAttributeValues": {":r": {"N": removed}},
                },
                place=_PLACE,
            )
        except ConditionFailedError:
            return False  # announced again
        return True

    def rows(self, op: Operation, user_id: str) -> list[Item]:
        """Return all rows of a user, as they are."""
        return self._query(op, user_id, "", {}, strong=True)

    def forget(self) -> None:  # pragma: no cover - runs in forked children only
        """Remember nothing, in a forked child."""
        self._lock = threading.Lock()
        self._leases = OrderedDict()
        self._newest = OrderedDict()

    def _forget(self, user_id: str, session_id: str | None) -> None:
        with self._lock:
            for key in list(self._leases):
                if key[0] == user_id and session_id in (None, key[1]):
                    del self._leases[key]

    def _key(self, user_id: str, sort_key: str) -> Item:
        return {
            "user_date": {"S": self._layout.directory(user_id)},
            "timestamp_type": {"S": sort_key},
        }


def _by_year(days: Iterable[tuple[str, int]]) -> list[tuple[str, int, list[int]]]:
    found: dict[tuple[str, int], list[int]] = {}
    for user_id, day in days:
        found.setdefault((user_id, _year(day)), []).append(day)
    return [(user_id, year, listed) for (user_id, year), listed in found.items()]


def _year(day: int) -> int:
    return (_EPOCH + timedelta(days=day)).year


def _day_set(days: Iterable[int]) -> dict[str, Any]:
    return {"BS": [day.to_bytes(_DAY_BYTES, "big") for day in days]}


def session_row(layout: Layout, user_id: str, session_id: str, active: int) -> Item:
    """Return the row that lists a session of one day; its binary values are bytes."""
    return {
        "user_date": {"S": layout.directory(user_id)},
        "timestamp_type": {"S": f"{_SESSIONS}{keys.escaped(session_id)}"},
        "days": _day_set([0]),
        "active": {"N": str(active)},
        "spread": {"N": str(layout.spread)},
    }


def days_of(row: Item) -> tuple[int, ...]:
    """Return the days of a row, ascending."""
    days: list[str] = row["days"]["BS"] if "days" in row else []
    return tuple(sorted(int.from_bytes(from_base64(one), "big") for one in days))


def listed(row: Item) -> Listed | None:
    """Return what a row says of a session; None of another row."""
    if not row["timestamp_type"]["S"].startswith(_SESSIONS):
        return None
    return Listed(
        keys.unescaped(row["timestamp_type"]["S"][len(_SESSIONS) :]),
        days_of(row),
        int(row["active"]["N"]) if "active" in row else None,
        int(row["removed"]["N"]) if "removed" in row else None,
    )
