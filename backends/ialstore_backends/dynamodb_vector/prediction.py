"""What calls will cost, before they are made: the units that the service's meter will show."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore.cost import Units, read_units, write_units
from ialstore.ids import HIGHEST_ID, LOWEST_ID
from ialstore.model import Consistency
from ialstore.vector_model import Where, encode_record, encode_search
from ialstore_backends._exact import ExactMatrix
from ialstore_backends.dynamodb.sizes import item_bytes, query_units
from ialstore_backends.dynamodb_embeddings.prediction import RowPrediction
from ialstore_backends.dynamodb_embeddings.table import Chunks, key_of
from ialstore_backends.dynamodb_vector.rows import VectorRows
from ialstore_backends.dynamodb_vector.searching import VectorSearch, distance
from ialstore_backends.dynamodb_vector.table import MAX_K, entry_bytes, entry_of

if TYPE_CHECKING:
    from ialstore.ids import Role
    from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery, VectorRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb_vector.options import VectorOptions
    from ialstore_backends.dynamodb_vector.searching import Answer

__all__ = ["Prediction"]

_LEAST_BYTES: Final = 1024
"""Of a request to a vector index, as it is billed."""
_BATCH_KEYS: Final = 100
_EVERYTHING: Final = Where()


class Prediction(RowPrediction):
    """Predicts the units of an index with these options; makes no request.

    It agrees with the meter to the unit and byte, for calls that are made one at a time, where a
    search examines all vectors of a partition. DynamoDB itself examines a part of a large one:
    there the bytes of a search are no more than an upper bound.
    """

    def __init__(self, spec: IndexSpec, options: VectorOptions) -> None:
        super().__init__(options.chunks)
        self._spec = spec
        self._is_strong = options.strong_reads
        self._chunks = Chunks(options.chunks)
        seconds = (lambda: int(time.time())) if options.strong_reads else None
        self._rows = VectorRows(self._chunks, spec, seconds)

    def upsert(
        self, user_id: str, record: VectorRecord, *, there: VectorRecord | None = None
    ) -> Units:
        """Return what storing one vector costs.

        Args:
            user_id: whose it is.
            record: to be stored.
            there: what is stored under its id already, since another second.
        """
        (item,) = self._items(user_id, [record])
        if there is None:
            return self._put(item)
        (old,) = self._items(user_id, [there])
        written = write_units(max(item_bytes(item), item_bytes(old)))
        if self._is_strong:
            written += 2 * write_units(_written_bytes(item))  # it moves within the index
        size = 0
        if (entry_of(item), item["vector"]) != (entry_of(old), old["vector"]):
            size = max(_LEAST_BYTES, entry_bytes(item), entry_bytes(old))
        return Units(write=written, requests=1, vector_write_bytes=size)

    def count(
        self, user_id: str, records: Iterable[VectorRecord], *, consistency: Consistency | str
    ) -> Units:
        """Return what counting costs, given all vectors of the user."""
        stored = _Stored(self._spec, self._rows, user_id, records, set())
        strong = Consistency(consistency) is Consistency.STRONG
        stored.rows(user_id, LOWEST_ID, HIGHEST_ID, strong=strong)
        return stored.units

    def search(
        self,
        user_id: str,
        vector: Any,
        k: int = 10,
        *,
        records: Iterable[VectorRecord],
        recent: Iterable[VectorRecord] = (),
        where: Where = _EVERYTHING,
        effort: float | None = None,
        consistency: Consistency | str,
        now: int = 0,
    ) -> Units:
        """Return what a search costs, given all vectors of the user.

        Args:
            user_id: the tenant.
            vector: the query.
            k: hits.
            records: all vectors of the user.
            recent: those of them that were written within ``lag_seconds``.
            where: the filters.
            effort: as in ``VectorIndex.search``.
            consistency: of the search.
            now: seconds since 1970: what has expired is read, but is no hit.
        """
        query = encode_search(
            self._spec, user_id, vector, k=k, max_k=MAX_K, where=where, effort=effort
        )
        stored = _Stored(self._spec, self._rows, user_id, records, {one.id for one in recent})
        VectorSearch(self._spec).run(
            stored, query, now, strong=Consistency(consistency) is Consistency.STRONG
        )
        return stored.units

    def usual_search(
        self,
        user_id: str,
        record: VectorRecord,
        count: int,
        k: int,
        *,
        consistency: Consistency | str,
    ) -> Units:
        """Return what a search without filters costs where nothing was written lately.

        Args:
            user_id: the tenant.
            record: what each vector is like.
            count: vectors of the user.
            k: hits.
            consistency: of the search.
        """
        chunks = self._chunks.count
        size = -(-count // chunks) * self.entry_bytes(user_id, record)
        asked = Units(requests=chunks, vector_search_bytes=chunks * max(_LEAST_BYTES, size))
        if Consistency(consistency) is Consistency.EVENTUAL:
            return asked
        fetched = min(count, chunks * k)
        (item,) = self._items(user_id, [record])
        read = chunks + fetched * read_units(item_bytes(item), strong=True)
        return asked + Units(read=read, requests=chunks + -(-fetched // _BATCH_KEYS))

    def entry_bytes(self, user_id: str, record: VectorRecord) -> int:
        """Return the bytes of its entry in the vector index."""
        return sum(map(entry_bytes, self._items(user_id, [record])))

    def _items(self, user_id: str, records: Iterable[VectorRecord]) -> list[Item]:
        return self._rows.items([(user_id, encode_record(one, self._spec)) for one in records])

    def _put(self, item: Item) -> Units:
        written = write_units(item_bytes(item))
        if self._is_strong:
            written += write_units(_written_bytes(item))
        size = max(_LEAST_BYTES, entry_bytes(item))
        return Units(write=written, requests=1, vector_write_bytes=size)


class _Stored:
    """The rows of a user as a search finds them, and what it reads of them; see ``Source``.

    Attributes:
        units: what was read.
    """

    def __init__(
        self,
        spec: IndexSpec,
        rows: VectorRows,
        user_id: str,
        records: Iterable[VectorRecord],
        recent: set[str],
    ) -> None:
        self.units = Units()
        self._spec = spec
        self._recent = recent
        self._records = {one.id: encode_record(one, spec) for one in records}
        items = rows.items([(user_id, one) for one in self._records.values()])
        self._items = {item["embedding_id"]["S"]: item for item in items}
        self._chunks: dict[str, list[str]] = {one: [] for one in rows.chunks.all(user_id)}
        for one in sorted(self._records):
            self._chunks[rows.chunks.of(user_id, one)].append(one)

    def nearest(
        self, query: SearchQuery, roles: Sequence[Role | None], top: int, *, whole: bool
    ) -> list[Answer]:
        """Return the nearest entries, which the index finds by looking at all of a partition."""
        del whole  # projections are not billed by what they leave out
        return [
            self._answer(ids, query, role, top) for ids in self._chunks.values() for role in roles
        ]

    def _answer(
        self, ids: Sequence[str], query: SearchQuery, role: Role | None, top: int
    ) -> Answer:
        size = sum(entry_bytes(self._items[one]) for one in ids)
        self.units += Units(requests=1, vector_search_bytes=max(_LEAST_BYTES, size))
        matrix = ExactMatrix(self._spec)
        wanted = [self._records[one] for one in ids if self._passes(one, query, role)]
        if wanted:
            matrix.put(wanted, np.array([record.vector for record in wanted]))
        asked = encode_search(
            self._spec,
            query.user_id,
            query.vector,
            k=top,
            max_k=top,
            where=_EVERYTHING,
            effort=None,
        )
        return [
            (distance(score, self._spec.metric), entry_of(self._items[entry.id]))
            for score, entry in matrix.search(asked, -1).places
        ]

    def _passes(self, one: str, query: SearchQuery, role: Role | None) -> bool:
        """Whether a vector passes what the service filters by."""
        record = self._records[one]
        return query.session_id in (None, record.session_id) and role in (None, record.role)

    def written(self, user_id: str) -> list[str]:
        """Return the ids of what was written within the lag of the index."""
        del user_id
        found: list[str] = []
        for ids in self._chunks.values():
            mine = [one for one in ids if one in self._recent]
            sizes = [_written_bytes(self._items[one]) for one in mine]
            self.units += query_units(sizes, strong=True)
            found += mine
        return found

    def records(self, user_id: str, ids: Sequence[str]) -> list[EncodedRecord]:
        """Return the records of ids."""
        del user_id
        read = sum(read_units(item_bytes(self._items[one]), strong=True) for one in ids)
        self.units += Units(read=read, requests=-(-len(ids) // _BATCH_KEYS))
        return [self._records[one] for one in ids]

    def rows(self, user_id: str, lower: str, upper: str, *, strong: bool) -> list[EncodedRecord]:
        """Return the records of a range of ids."""
        del user_id
        found: list[str] = []
        for ids in self._chunks.values():
            mine = [one for one in ids if lower <= one < upper]
            sizes = [item_bytes(self._items[one]) for one in mine]
            self.units += query_units(sizes, strong=strong)
            found += mine
        return [self._records[one] for one in found]


def _written_bytes(item: Item) -> int:
    """Return the bytes of the entry of a row in the index of what was written last."""
    return item_bytes({**key_of(item), "written_at": item["written_at"]})
