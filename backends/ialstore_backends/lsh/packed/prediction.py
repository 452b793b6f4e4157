"""What calls of the layout ``packed`` will cost, before they are made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore.cost import Units, read_units, write_units
from ialstore.model import Consistency
from ialstore.vector_model import Where, encode_record, encode_search
from ialstore_backends.dynamodb.sizes import OVERHEAD_BYTES, item_bytes, query_units
from ialstore_backends.dynamodb_embeddings.prediction import RowPrediction
from ialstore_backends.lsh.codec import VectorCodec
from ialstore_backends.lsh.packed.entries import EntryFormat, key_of
from ialstore_backends.lsh.packed.head import cell_record_bytes
from ialstore_backends.lsh.packed.plan import PackedSearch
from ialstore_backends.lsh.packed.rebuilding import FILL, FLAT_CELLS, capacity, tail_limit
from ialstore_backends.lsh.packed.reckoning import PreparedUser, ReckonedSource, Row
from ialstore_backends.lsh.packed.rows import RowKeys, first_generation, id_bytes
from ialstore_backends.lsh.packed.tail_items import entries_of_segment, key_bytes
from ialstore_backends.lsh.rows import metadata_of

if TYPE_CHECKING:
    from ialstore.vector_model import IndexSpec, VectorRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.options import LshOptions

__all__ = ["PackedPrediction"]

_EVERYTHING: Final = Where()
_BATCH_KEYS: Final = 100


class PackedPrediction(RowPrediction):
    """Predicts the units of an index with these options; makes no request.

    Of calls that are no searches it agrees with the meter to the unit, for a process that has
    written to the user, ids that share no key, and segments with room: one in about fourteen
    entries closes one, which takes a unit and a request more.

    What a search reads depends on its vectors, and on the history of their cells. It is played
    through on cells as they are when everything is encoded at once: within two percent of the meter
    where that was so, and within ten of what has grown since.

    Args:
        spec: of the index.
        options: with the layout ``packed``.
        now: seconds since 1970; counters of rows begin with it.
    """

    def __init__(self, spec: IndexSpec, options: LshOptions, now: int) -> None:
        super().__init__(options.chunks)
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

    def count(
        self, user_id: str, records: Iterable[VectorRecord], *, consistency: Consistency | str
    ) -> Units:
        """Return what counting costs, given all vectors of the user."""
        strong = Consistency(consistency) is Consistency.STRONG
        sizes: dict[str, list[int]] = {one: [] for one in self._keys.all(user_id)}
        items = sorted(self._items(user_id, records), key=_sort_key)
        for item in items:
            sizes[item["user_chunk"]["S"]].append(item_bytes(item))
        return sum((query_units(one, strong=strong) for one in sizes.values()), Units())

    def prepared(
        self,
        user_id: str,
        records: Iterable[VectorRecord],
        *,
        tail: int = 0,
        like: PreparedUser | None = None,
    ) -> PreparedUser:
        """Return all vectors of a user as they lie in the table.

        Args:
            user_id: the tenant.
            records: all, in the order in which they were stored.
            tail: how many of the last were stored since the last rebuild.
            like: the same, prepared for other options: its codes are taken, which spares the work.
        """
        rows = [Row(encode_record(one, self._spec), self._item(user_id, one)) for one in records]
        first = len(rows) - tail
        rows = [*sorted(rows[:first], key=lambda row: row.place), *rows[first:]]
        by_key = {key_of(one.record.id): one for one in rows}
        if like is not None:
            return like.with_rows(by_key)
        return PreparedUser(self._spec, user_id, by_key, tail)

    def search(
        self,
        user_id: str,
        vector: Any,
        k: int = 10,
        *,
        records: Iterable[VectorRecord] | PreparedUser,
        where: Where = _EVERYTHING,
        effort: float | None = None,
        consistency: Consistency | str,
        held: bool = False,
    ) -> Units:
        """Return what a search costs, given all vectors of the user.

        Args:
            user_id: the tenant.
            vector: the query.
            k: hits.
            records: all vectors of the user; for many searches, let them be ``prepared``.
            where: the filters.
            effort: as in ``VectorIndex.search``.
            consistency: of the search.
            held: whether the process holds the codes of all cells, and what was in the tail; else
                it knows nothing.
        """
        query = encode_search(self._spec, user_id, vector, k=k, max_k=k, where=where, effort=effort)
        user = records if isinstance(records, PreparedUser) else self.prepared(user_id, records)
        source = ReckonedSource(user, Consistency(consistency) is Consistency.STRONG, held)
        PackedSearch(self._spec, self._chunk_count).run(source, query, self._now)
        return source.units

    def merge(self, user_id: str, count: int) -> Units:
        """Return what moving a full tail into the cells of so many vectors costs.

        Where everything is encoded again, because so many came or because they are of a new kind,
        ``all_rows`` is to be added.
        """
        layout = EntryFormat(self._spec.dimension, self._spec.metric)
        limit, keys = tail_limit(layout, count), key_bytes(user_id)
        closed = -(-limit // entries_of_segment(layout, user_id))
        number = -(-count // int(capacity(layout, count, keys) * FILL))
        cell = math.ceil(count / number) * layout.nbytes + keys
        head = layout.dimension + number * cell_record_bytes(layout)
        cells = Units(
            read=number * read_units(cell, strong=False),
            write=number * write_units(cell),
            requests=number + -(-number // _BATCH_KEYS),
        )
        if number <= FLAT_CELLS:
            head, cells = head + number * cell, Units()
        tail = query_units([head, *([1024] * closed)], strong=True)
        # A fence, a transaction of head and open segment, segments that are deleted.
        switch = Units(write=1 + 2 * (write_units(head) + 1) + closed, requests=3)
        return tail + cells + switch

    def stored_bytes(self, user_id: str, record: VectorRecord) -> int:
        """Return the bytes that are billed for keeping one vector and its code.

        A code lies in cells of two epochs.
        """
        layout = EntryFormat(self._spec.dimension, self._spec.metric)
        return self.row_bytes(user_id, record) + OVERHEAD_BYTES + 2 * layout.nbytes

    def _items(self, user_id: str, records: Iterable[VectorRecord]) -> list[Item]:
        return [self._item(user_id, one) for one in records]

    def _put(self, item: Item) -> Units:
        return Units(write=write_units(item_bytes(item)) + 1, requests=2)

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
