"""What calls of the layout ``packed`` will cost, before they are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ialstore.cost import Units, read_units, write_units
from ialstore.model import Consistency
from ialstore.vector_model import encode_record
from ialstore_backends.dynamodb.sizes import item_bytes, query_units
from ialstore_backends.lsh.codec import VectorCodec
from ialstore_backends.lsh.packed.entries import key_of
from ialstore_backends.lsh.packed.rows import RowKeys, first_generation, id_bytes
from ialstore_backends.lsh.rows import metadata_of

if TYPE_CHECKING:
    from ialstore.vector_model import IndexSpec, VectorRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.options import LshOptions

__all__ = ["PackedPrediction"]


class PackedPrediction:
    """Predicts the units of an index with these options; makes no request.

    It agrees with the meter to the unit, for a process that has written to the user, and segments
    with room: one in about fourteen entries closes one, which takes a unit and a request more.

    Args:
        spec: of the index.
        options: with the layout ``packed``.
        now: seconds since 1970; counters of rows begin with it.
    """

    def __init__(self, spec: IndexSpec, options: LshOptions, now: int) -> None:
        self._spec = spec
        self._keys = RowKeys(options.chunks)
        self._codec = VectorCodec(options.codec, options.compression)
        self._now = now

    def upsert(
        self, user_id: str, record: VectorRecord, *, there: VectorRecord | None = None
    ) -> Units:
        """Return what storing one vector costs: its row, and its entry.

        Args:
            user_id: whose it is.
            record: to be stored.
            there: what is stored under its id already.
        """
        sizes = [self.row_bytes(user_id, one) for one in (record, there) if one is not None]
        return Units(write=write_units(max(sizes)) + 1, requests=2)

    def delete(self, user_id: str, record: VectorRecord | None) -> Units:
        """Return what deleting one vector costs; None is one that is not there."""
        if record is None:
            return Units(write=1, requests=1)
        return Units(write=write_units(self.row_bytes(user_id, record)) + 1, requests=2)

    def get(
        self,
        user_id: str,
        records: Sequence[VectorRecord | None],
        *,
        consistency: Consistency | str,
    ) -> Units:
        """Return what reading up to 100 vectors costs; None is one that is not there."""
        strong = Consistency(consistency) is Consistency.STRONG
        sizes = [0 if one is None else self.row_bytes(user_id, one) for one in records]
        return Units(read=sum(read_units(one, strong=strong) for one in sizes), requests=1)

    def count(
        self, user_id: str, records: Iterable[VectorRecord], *, consistency: Consistency | str
    ) -> Units:
        """Return what counting costs, given all vectors of the user."""
        strong = Consistency(consistency) is Consistency.STRONG
        sizes: dict[str, list[int]] = {one: [] for one in self._keys.all(user_id)}
        items = sorted((self._item(user_id, one) for one in records), key=_sort_key)
        for item in items:
            sizes[item["user_chunk"]["S"]].append(item_bytes(item))
        return sum((query_units(one, strong=strong) for one in sizes.values()), Units())

    def row_bytes(self, user_id: str, record: VectorRecord) -> int:
        """Return the bytes of the row of a vector."""
        return item_bytes(self._item(user_id, record))

    def _item(self, user_id: str, record: VectorRecord) -> Item:
        encoded = encode_record(record, self._spec)
        (blob,) = self._codec.encode(np.array([encoded.vector]))
        item: dict[str, dict[str, Any]] = {
            **self._keys.row(user_id, key_of(record.id)),
            "id": {"B": id_bytes(record.id)},
            "vector_compressed": {"B": blob},
            "metadata": {"S": metadata_of(encoded)},
            "g": {"N": str(first_generation(self._now) + 1)},
        }
        if encoded.text is not None:
            item["text"] = {"S": encoded.text}
        if encoded.expires is not None:
            item["expires_at"] = {"N": str(encoded.expires)}
        return item


def _sort_key(item: Item) -> str:
    key: str = item["embedding_id"]["S"]
    return key
