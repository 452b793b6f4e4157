"""Vectors as rows of the layout ``packed``, and back.

A row lies under the key of its code: hour and tag, which every entry holds. Its counter ``g`` gives
the generations of entries. A counter begins with the time, so that it goes on where a row was that
expiry has removed. A deleted vector leaves its counter behind for a day.

Where another id has the key already, a row lies under that of the next salt, and lookups go on from
the other's row. So that one is kept: ``kept`` counts what was displaced by it, and it has no
attribute by which DynamoDB would remove it. Only ``erase`` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore.decoding import DAMAGE
from ialstore.errors import CorruptError
from ialstore_backends.dynamodb import rows as dynamo_rows
from ialstore_backends.dynamodb.keys import escaped
from ialstore_backends.dynamodb.table import from_base64
from ialstore_backends.lsh.packed.entries import about, hour_of, session_code
from ialstore_backends.lsh.rows import EXPIRES, metadata_of, records_of

if TYPE_CHECKING:
    from ialstore.vector_model import EncodedRecord, IndexSpec
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.packed.entries import Entries, EntryFormat

__all__ = [
    "ABSENT",
    "KEYS_ONLY",
    "OWN",
    "OWN_KEPT",
    "STUB_SECONDS",
    "RowKeys",
    "first_generation",
    "generation_of",
    "hour_key",
    "id_bytes",
    "id_of",
    "is_live",
    "is_vector",
    "keep_update",
    "key_of_row",
    "known_entries",
    "packed_records",
    "strip_update",
    "write_update",
]

STUB_SECONDS: Final = 86_400
"""How long the counter of a deleted vector stays."""
ABSENT: Final = "attribute_not_exists(id)"
"""There is no row."""
OWN: Final = "id = :i AND attribute_not_exists(kept)"
"""The row is of this id, and nothing was displaced by it."""
OWN_KEPT: Final = "id = :i AND attribute_exists(kept)"
"""The row is of this id, and is kept for what was displaced by it."""
_GENERATION_SECONDS: Final = 8
_EPOCH: Final = 1_577_836_800  # 2020; generations have four bytes
_LAST_GENERATION: Final = 2**32 - 2**24
KEYS_ONLY: Final[dict[str, Any]] = {
    "ProjectionExpression": "user_chunk, embedding_id, id, #m, expires_at, g, kept",
    "ExpressionAttributeNames": {"#m": "metadata"},
}


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Where the rows of a user lie.

    Attributes:
        count: partitions that they are spread over.
    """

    count: int

    def all(self, user_id: str) -> list[str]:
        """Return all partition keys of rows of a user."""
        user = escaped(user_id)
        return [f"{user}#{chunk}" for chunk in range(self.count)]

    def row(self, user_id: str, key: int) -> Item:
        """Return the key of the row under the key of a code."""
        (row,) = self.rows(user_id, [key])
        return row

    def rows(self, user_id: str, keys: Iterable[int]) -> list[Item]:
        """Return the keys of the rows under keys of codes."""
        user = escaped(user_id)
        return [
            {
                "user_chunk": {"S": f"{user}#{(key & 0xFFFF_FFFF) % self.count}"},
                "embedding_id": {"S": f"{key:014x}"},
            }
            for key in keys
        ]


def key_of_row(row: Item) -> int:
    """Return the key of the code of a row."""
    return int(row["embedding_id"]["S"], 16)


def hour_key(id_bound: str) -> str:
    """Return how the sort keys of the hour of an id begin."""
    return f"{hour_of(id_bound):06x}"


def id_bytes(message_id: str) -> bytes:
    """Return an id as it is stored."""
    return bytes.fromhex(message_id.replace("-", ""))


def id_of(row: Item) -> str:
    """Return the id of a row that was read.

    Raises:
        CorruptError: it has none.
    """
    try:
        text = from_base64(row["id"]["B"]).hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"
    except DAMAGE as error:
        raise CorruptError(
            "a stored vector has no id; erase the user, and load it again"
        ) from error


def is_live(row: Item, now: int) -> bool:
    """Return whether a row is not expired; a kept one says that in its metadata alone."""
    if "kept" not in row or "metadata" not in row:
        return dynamo_rows.is_live(row, now)
    try:
        expires = json.loads(row["metadata"]["S"]).get(EXPIRES)
        return expires is None or int(expires) > now
    except DAMAGE:
        return True  # whoever reads it is told


def is_vector(row: Item, now: int) -> bool:
    """Return whether a row holds a vector that is not expired."""
    return "metadata" in row and is_live(row, now)


def first_generation(now: int) -> int:
    """Return the generation before the first one of a row that is made at this time."""
    return min(max(0, (now - _EPOCH) // _GENERATION_SECONDS), _LAST_GENERATION)


def generation_of(row: Item) -> int:
    """Return the generation of a row."""
    return int(row["g"]["N"])


def write_update(record: EncodedRecord, blob: bytes, now: int, condition: str) -> dict[str, Any]:
    """Return what ``UpdateItem`` is to do about a record, whose key and table are to be added.

    Args:
        record: to be written.
        blob: its vector, as it is stored.
        now: seconds since 1970.
        condition: ``ABSENT``, ``OWN``, either of these, or ``OWN_KEPT``.
    """
    sets = [
        "id = :i",
        "vector_compressed = :v",
        "#m = :m",
        "g = if_not_exists(g, :g) + :one",
    ]
    removes: list[str] = []
    values: dict[str, Any] = {
        ":i": {"B": id_bytes(record.id)},
        ":v": {"B": blob},
        ":m": {"S": metadata_of(record)},
        ":g": {"N": str(first_generation(now))},
        ":one": {"N": "1"},
    }
    names = {"#m": "metadata", "#t": "text"}
    if record.text is None:
        removes.append("#t")
    else:
        sets.append("#t = :t")
        values[":t"] = {"S": record.text}
    if record.expires is None or condition == OWN_KEPT:
        removes.append("expires_at")
    else:
        sets.append("expires_at = :x")
        values[":x"] = {"N": str(record.expires)}
    expression = f"SET {', '.join(sets)}"
    if removes:
        expression += f" REMOVE {', '.join(removes)}"
    return {
        "UpdateExpression": expression,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValues": "UPDATED_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def keep_update(stored_id: bytes) -> dict[str, Any]:
    """Return what ``Update`` is to do to keep the row of an id for one that it displaces."""
    return {
        "UpdateExpression": "ADD kept :one REMOVE expires_at",
        "ConditionExpression": "id = :i",
        "ExpressionAttributeValues": {":i": {"B": stored_id}, ":one": {"N": "1"}},
    }


def strip_update(
    stored_id: bytes, now: int, *, only_expired: bool = False, kept: Item | None = None
) -> dict[str, Any]:
    """Return what ``UpdateItem`` is to do to take the vector out of a row.

    Args:
        stored_id: of the vector.
        now: seconds since 1970.
        only_expired: leave a vector that lives.
        kept: the row as it was seen, if it is kept: nothing else is stripped.
    """
    sets, removes = ["g = g + :one"], ["vector_compressed", "#m", "#t"]
    values: dict[str, Any] = {":i": {"B": stored_id}, ":one": {"N": "1"}}
    if kept is None:
        condition = f"{OWN} AND attribute_exists(vector_compressed)"
        sets.append("expires_at = :x")
        values[":x"] = {"N": str(now + STUB_SECONDS)}
        if only_expired:
            condition += " AND expires_at <= :now"
            values[":now"] = {"N": str(now)}
    else:
        condition = f"{OWN_KEPT} AND #m = :m"
        values[":m"] = kept["metadata"]
    return {
        "UpdateExpression": f"SET {', '.join(sets)} REMOVE {', '.join(removes)}",
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {"#m": "metadata", "#t": "text"},
        "ExpressionAttributeValues": values,
        "ReturnValues": "ALL_OLD",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def packed_records(rows: Iterable[Item], spec: IndexSpec) -> list[EncodedRecord]:
    """Return the records of rows that hold a vector, expired ones too.

    Raises:
        CorruptError: one is not what was written.
    """
    there = [row for row in rows if "metadata" in row]
    return records_of(there, spec, id_of) if there else []


def known_entries(
    layout: EntryFormat, records: Sequence[tuple[EncodedRecord, int, int]]
) -> Entries:
    """Return entries without codes of records, with their keys and generations."""
    known = np.zeros(len(records), layout.dtype)
    for place, (record, key, generation) in enumerate(records):
        known[place]["tag"] = key & 0xFFFF_FFFF
        known[place]["generation"] = generation
        known[place]["session"] = session_code(record.session_id)
        known[place]["about"] = about(record.id, record.role, record.expires)
    return known
