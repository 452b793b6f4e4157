"""Requests for rows of one table by their keys: read, put and deleted, alone or in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ialstore.cost import Units, write_units
from ialstore.errors import IalStoreError, Outcome
from ialstore_backends.dynamodb.sizes import item_bytes
from ialstore_backends.dynamodb.table import ConditionFailedError, from_base64

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.client import DynamoClient
    from ialstore_backends.dynamodb.parallel import SideBySide
    from ialstore_backends.dynamodb.table import Item

__all__ = ["RowAccess", "UnwrittenError", "put_request"]

_BATCH_KEYS: Final = 100
_BATCH_ITEMS: Final = 25


class UnwrittenError(Exception):
    """Requests of a batch that were not done, as far as is known."""

    def __init__(self, requests: Sequence[dict[str, Any]], cause: IalStoreError) -> None:
        super().__init__(f"{len(requests)} requests of a batch were not done")
        self.requests = list(requests)
        self.cause = cause


class RowAccess:
    """Reads and writes rows of a table; safe from many threads."""

    def __init__(self, client: DynamoClient, table: str, side_by_side: SideBySide) -> None:
        self._client = client
        self._table = table
        self._side_by_side = side_by_side

    def items(self, op: Operation, wanted: Sequence[Item], *, strong: bool) -> list[Item]:
        """Return the rows of keys, in no order; those that are not there are left out."""
        if len(wanted) == 1:
            params = {"TableName": self._table, "Key": wanted[0], "ConsistentRead": strong}
            answer = self._client.call(op, "GetItem", params)
            return [answer["Item"]] if "Item" in answer else []
        batches = [
            wanted[first : first + _BATCH_KEYS] for first in range(0, len(wanted), _BATCH_KEYS)
        ]
        found = self._side_by_side.run(
            [partial(self._read_batch, op, batch, strong=strong) for batch in batches]
        )
        return [row for rows in found for row in rows]

    def _read_batch(self, op: Operation, wanted: Sequence[Item], *, strong: bool) -> list[Item]:
        rows: list[Item] = []
        rest: Sequence[Item] = wanted
        pause = self._client.pauses(op)
        while rest:
            params = {"RequestItems": {self._table: {"Keys": list(rest), "ConsistentRead": strong}}}
            answer = self._client.call(op, "BatchGetItem", params)
            rows += answer.get("Responses", {}).get(self._table, [])
            rest = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if rest:
                pause()
        return rows

    def delete(
        self, op: Operation, key: Item, condition: str | None = None, values: Item | None = None
    ) -> Item | None:
        """Delete a row and return it; of concurrent deletes exactly one gets it, others None.

        Args:
            op: the running call.
            key: of the row.
            condition: under which it is deleted, in place of that it is there.
            values: of that condition.
        """
        params = {
            "TableName": self._table,
            "Key": key,
            # Without it DynamoDB Local gives the old item to several deletes at once.
            "ConditionExpression": condition or f"attribute_exists({next(iter(key))})",
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values is not None:
            params["ExpressionAttributeValues"] = values
        try:
            old: Item = self._client.call(op, "DeleteItem", params)["Attributes"]
        except ConditionFailedError as error:
            # The service bills it, but reports nothing.
            there = 0 if error.item is None else item_bytes(error.item, is_wire=True)
            op.add(Units(write=write_units(there)))
            return None
        return old

    def delete_each(self, op: Operation, deletes: Sequence[Callable[[], bool]]) -> int:
        """Make deletes side by side; return how many of them say that a live row went by them."""
        outcomes = self._side_by_side.outcomes(deletes)
        errors = [one for one in outcomes if isinstance(one, BaseException)]
        removed = sum(one is True for one in outcomes)
        if errors:
            op.is_partly_applied = op.is_partly_applied or removed > 0
            raise errors[0]
        return removed

    def delete_rows(self, op: Operation, wanted: Sequence[Item]) -> None:
        """Delete rows by key, whatever they are."""
        try:
            self.batch(op, [{"DeleteRequest": {"Key": key}} for key in wanted])
        except UnwrittenError as error:
            raise error.cause from error

    def batch(self, op: Operation, requests: Sequence[dict[str, Any]]) -> None:
        """Send put and delete requests, 25 at a time and several at once, until all are done.

        Raises:
            UnwrittenError: some were not done in time, or could not be sent; its cause is one that
                leaves open what was done, if there is any.
        """
        batches = [
            requests[first : first + _BATCH_ITEMS]
            for first in range(0, len(requests), _BATCH_ITEMS)
        ]
        lost: list[dict[str, Any]] = []
        causes: list[IalStoreError] = []
        outcomes = self._side_by_side.outcomes(
            [partial(self._send_batch, op, one) for one in batches]
        )
        for outcome in outcomes:
            if isinstance(outcome, UnwrittenError):
                lost += outcome.requests
                causes.append(outcome.cause)
            elif isinstance(outcome, BaseException):
                raise outcome
        if lost:
            raise UnwrittenError(lost, max(causes, key=lambda one: one.outcome is Outcome.UNKNOWN))

    def _send_batch(self, op: Operation, requests: Sequence[dict[str, Any]]) -> None:
        rest = list(requests)
        pause = self._client.pauses(op)
        try:
            while rest:
                answer = self._client.call(
                    op, "BatchWriteItem", {"RequestItems": {self._table: rest}}
                )
                rest = _as_sent(answer.get("UnprocessedItems", {}).get(self._table, []))
                if rest:
                    pause()
        except IalStoreError as error:
            raise UnwrittenError(rest, error) from error


def put_request(item: Item) -> dict[str, Any]:
    """Return the request of a batch that puts a row."""
    return {"PutRequest": {"Item": item}}


def _as_sent(unprocessed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return requests as botocore takes them: binary values are base64 in a reply."""
    for request in unprocessed:
        for item in request.get("PutRequest", {}).values():
            for value in item.values():
                if "B" in value:
                    value["B"] = from_base64(value["B"])
    return list(unprocessed)
