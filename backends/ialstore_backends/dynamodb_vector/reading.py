"""Asking the vector index and the index of what was written last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from ialstore.decoding import DAMAGE
from ialstore.errors import CorruptError
from ialstore_backends.dynamodb_vector.rows import numbers
from ialstore_backends.dynamodb_vector.table import VECTOR_INDEX, WRITTEN_INDEX

if TYPE_CHECKING:
    from ialstore.ids import Role
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord, SearchQuery
    from ialstore_backends.dynamodb_embeddings.reading import EmbeddingReader
    from ialstore_backends.dynamodb_embeddings.table import EmbeddingTable
    from ialstore_backends.dynamodb_vector.searching import Answer

__all__ = ["VectorSource"]


class VectorSource:
    """A table within one call; see ``Source``.

    Args:
        op: the running call.
        table: of the vectors.
        reader: of its rows.
        lag_seconds: how far the vector index may be behind.
    """

    def __init__(
        self, op: Operation, table: EmbeddingTable, reader: EmbeddingReader, lag_seconds: int
    ) -> None:
        self._op = op
        self._table = table
        self._reader = reader
        self._lag_seconds = lag_seconds

    def nearest(
        self, query: SearchQuery, roles: Sequence[Role | None], top: int, *, whole: bool
    ) -> list[Answer]:
        """Return what the index answers, for each partition and each role."""
        common: dict[str, Any] = {
            "TableName": self._table.name,
            "IndexName": VECTOR_INDEX,
            "SearchVector": numbers(query.vector),
            "TopK": top,
        }
        if not whole:
            common["ProjectionExpression"] = "embedding_id"
        return self._table.side_by_side.reads(
            [
                partial(self._answer, {**common, **_condition(partition, query.session_id, role)})
                for partition in self._table.chunks.all(query.user_id)
                for role in roles
            ]
        )

    def _answer(self, params: dict[str, Any]) -> Answer:
        told = self._table.client.call(self._op, "SearchVectors", params, place=VECTOR_INDEX)
        try:
            return [(float(one["Score"]), one["Item"]) for one in told["SearchResults"]]
        except DAMAGE as error:
            raise CorruptError("a vector index told no score") from error

    def written(self, user_id: str) -> list[str]:
        """Return the ids of what was written within the lag of the index."""
        since = self._op.now - self._lag_seconds
        found = self._table.side_by_side.run(
            [
                partial(self._written, partition, since)
                for partition in self._table.chunks.all(user_id)
            ]
        )
        return list(chain.from_iterable(found))

    def _written(self, partition: str, since: int) -> list[str]:
        params = {
            "TableName": self._table.name,
            "IndexName": WRITTEN_INDEX,
            "KeyConditionExpression": "user_chunk = :p AND written_at >= :s",
            "ExpressionAttributeValues": {":p": {"S": partition}, ":s": {"N": str(since)}},
            "ConsistentRead": True,
        }
        rows = self._table.client.rows(self._op, params, place=WRITTEN_INDEX)
        return [row["embedding_id"]["S"] for row in rows]

    def records(self, user_id: str, ids: Sequence[str]) -> list[EncodedRecord]:
        """Return the records of ids as they are now, read strongly."""
        return self._reader.records(self._op, user_id, ids, strong=True)

    def rows(self, user_id: str, lower: str, upper: str, *, strong: bool) -> list[EncodedRecord]:
        """Return the records of a range of ids."""
        found = self._reader.all(self._op, user_id, lower, upper, strong=strong)
        return self._table.rows.records(found)


def _condition(partition: str, session_id: str | None, role: Role | None) -> dict[str, Any]:
    """Return the filters of a search; the service knows equality only."""
    wanted = {"user_chunk": partition, "session_id": session_id, "role": role}
    given = {name: str(value) for name, value in wanted.items() if value is not None}
    return {
        "SearchConditionExpression": " AND ".join(f"#{name} = :{name}" for name in given),
        "ExpressionAttributeNames": {f"#{name}": name for name in given},
        "ExpressionAttributeValues": {f":{name}": {"S": value} for name, value in given.items()},
    }
