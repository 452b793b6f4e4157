"""Reading vectors from the rows of the table, all chunks side by side."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from ialstore.ids import HIGHEST_ID, LOWEST_ID, next_id
from ialstore.listing import Rows
from ialstore_backends.dynamodb.keys import previous
from ialstore_backends.dynamodb.rows import is_live
from ialstore_backends.dynamodb_embeddings.table import user_of

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable

__all__ = ["EmbeddingReader"]

_KEYS: Final = "embedding_id, expires_at"
_SLACK: Final = 3
"""Standard deviations by which one chunk may hold more of a page than another."""


class EmbeddingReader:
    """Reads the rows of a table; safe from many threads."""

    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table
        self._client = table.client
        self._chunks = table.chunks
        self._side_by_side = table.side_by_side

    # -- by id ----------------------------------------------------------------------------------

    def records(
        self, op: Operation, user_id: str, ids: Sequence[str], *, strong: bool
    ) -> list[EncodedRecord]:
        """Return the records of ids in no order, expired ones too; unknown ids are left out."""
        wanted = [self._chunks.key(user_id, one) for one in ids]
        return self._table.rows.records(self._table.access.items(op, wanted, strong=strong))

    # -- all of a user --------------------------------------------------------------------------

    def all(
        self, op: Operation, user_id: str, lower: str, upper: str, *, strong: bool
    ) -> list[Item]:
        """Return the rows of the ids from ``lower`` to before ``upper``."""
        found = self._side_by_side.run(
            [
                partial(_read, self._rows(op, partition, lower, previous(upper), strong=strong))
                for partition in self._chunks.all(user_id)
            ]
        )
        return list(chain.from_iterable(found))

    def live_ids(
        self, op: Operation, user_id: str, limit: int, after: str | None, *, strong: bool
    ) -> Rows[str]:
        """Return ids of live vectors in ascending order, behind ``after``."""
        lower = LOWEST_ID if after is None else next_id(after)
        share = (limit + 1) / self._chunks.count
        at_once = math.ceil(share + _SLACK * math.sqrt(share))
        found = heapq.merge(*self._listed(op, user_id, lower, strong=strong, Limit=at_once))
        ids = list(islice(found, limit + 1))
        return Rows(ids[:limit], more=len(ids) > limit)

    def count(self, op: Operation, user_id: str, *, strong: bool) -> int:
        """Return the number of live vectors."""
        streams = self._listed(op, user_id, LOWEST_ID, strong=strong)
        return sum(self._side_by_side.run([partial(_length, one) for one in streams]))

    def _listed(
        self, op: Operation, user_id: str, lower: str, *, strong: bool, **more: Any
    ) -> list[Iterator[str]]:
        """Return the live ids of each chunk, ascending; their first pages are read at once."""

        def ids(partition: str) -> Iterator[str]:
            params = {"ProjectionExpression": _KEYS, **more}
            for row in self._rows(op, partition, lower, HIGHEST_ID, strong=strong, **params):
                if is_live(row, op.now):
                    yield row["embedding_id"]["S"]

        return self._side_by_side.run(
            [partial(_begun, ids(one)) for one in self._chunks.all(user_id)]
        )

    def rows_of_chunk(self, op: Operation, partition: str, *, whole: bool) -> Iterator[Item]:
        """Yield the rows of a partition, read strongly; else their keys, session and expiry."""
        more: dict[str, Any] = {}
        if not whole:
            more = {
                "ProjectionExpression": "user_chunk, embedding_id, #s, expires_at",
                "ExpressionAttributeNames": {"#s": self._table.rows.session_attribute},
            }
        return self._rows(op, partition, LOWEST_ID, HIGHEST_ID, strong=True, **more)

    def _rows(
        self, op: Operation, partition: str, first: str, last: str, *, strong: bool, **more: Any
    ) -> Iterator[Item]:
        params = {
            "TableName": self._table.name,
            "KeyConditionExpression": "user_chunk = :p AND embedding_id BETWEEN :a AND :b",
            "ExpressionAttributeValues": {
                ":p": {"S": partition},
                ":a": {"S": first},
                ":b": {"S": last},
            },
            "ConsistentRead": strong,
            **more,
        }
        for row in self._client.rows(op, params, place=partition.partition("#")[2]):
            op.renew()  # for the next page
            yield row

    # -- users ----------------------------------------------------------------------------------

    def users(self, op: Operation) -> set[str]:
        """Return all users: reads the whole table."""
        found: set[str] = set()
        params: dict[str, Any] = {
            "TableName": self._table.name,
            "ProjectionExpression": "user_chunk",
            "ConsistentRead": True,
        }
        while True:
            op.renew()
            answer = self._client.call(op, "Scan", params)
            found.update(user_of(row["user_chunk"]["S"]) for row in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return found - {""}
            params["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _begun(ids: Iterator[str]) -> Iterator[str]:
    """Return ids of which the first is read."""
    return chain(list(islice(ids, 1)), ids)


def _read(rows: Iterator[Item]) -> list[Item]:
    return list(rows)


def _length(ids: Iterator[str]) -> int:
    return sum(1 for _ in ids)
