"""What calls will cost, before they are made: the units that the service's meter will show."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ialstore.cost import Units, read_units, write_units
from ialstore.errors import ConfigurationError
from ialstore.ids import HIGHEST_ID, LOWEST_ID
from ialstore.model import Consistency
from ialstore.vector_model import Where, encode_record, encode_search
from ialstore_backends.dynamodb.definition import table_definition
from ialstore_backends.dynamodb.sizes import OVERHEAD_BYTES, item_bytes, query_units
from ialstore_backends.dynamodb_embeddings.prediction import RowPrediction
from ialstore_backends.dynamodb_embeddings.table import Chunks
from ialstore_backends.lsh.codec import VectorCodec
from ialstore_backends.lsh.gsi import GsiSearch
from ialstore_backends.lsh.hyperplanes import hash_range
from ialstore_backends.lsh.rows import items_of, records_of
from ialstore_backends.lsh.schema import embedding_model
from ialstore_backends.lsh.table import SIMILARITY_INDEX, TABLE

if TYPE_CHECKING:
    from ialstore.vector_model import EncodedRecord, IndexSpec, VectorRecord
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.lsh.hyperplanes import Cells
    from ialstore_backends.lsh.options import LshOptions

__all__ = ["Prediction", "Prepared"]

_BATCH_KEYS: Final = 100
_EVERYTHING: Final = Where()


class Prediction(RowPrediction):
    """Predicts the units of an index with these options; makes no request.

    It agrees with the meter to the unit, for calls that are made one at a time.

    Raises:
        ConfigurationError: the options ask for the layout ``packed``; see ``PackedPrediction``.
    """

    def __init__(self, spec: IndexSpec, options: LshOptions) -> None:
        if options.layout != "gsi":
            raise ConfigurationError("PackedPrediction predicts the layout packed")
        super().__init__(options.chunks)
        self._spec = spec
        self._model = embedding_model("", "gsi")
        self._chunks = Chunks(options.chunks)
        self._codec = VectorCodec(options.codec, options.compression)
        (index,) = table_definition(self._model)["GlobalSecondaryIndexes"]
        self._projected: set[str] = {
            "user_chunk",
            "embedding_id",
            *(key["AttributeName"] for key in index["KeySchema"]),
            *index["Projection"]["NonKeyAttributes"],
        }

    def upsert(
        self, user_id: str, record: VectorRecord, *, there: VectorRecord | None = None
    ) -> Units:
        """Return what storing one vector costs.

        Args:
            user_id: whose it is.
            record: to be stored.
            there: what is stored under its id already.
        """
        (item,) = self._items(user_id, [record])
        if there is None:
            return self._put(item)
        (old,) = self._items(user_id, [there])
        written = write_units(max(item_bytes(item), item_bytes(old)))
        entry, former = self._entry(item), self._entry(old)
        if entry["similarity_hash"] != former["similarity_hash"]:  # it moves within the index
            written += write_units(item_bytes(entry)) + write_units(item_bytes(former))
        elif entry != former:
            written += write_units(max(item_bytes(entry), item_bytes(former)))
        return Units(write=written, requests=1)

    def count(
        self, user_id: str, records: Iterable[VectorRecord], *, consistency: Consistency | str
    ) -> Units:
        """Return what counting costs, given all vectors of the user."""
        stored = _Stored(self, self.prepared(user_id, records))
        stored.rows(
            user_id, LOWEST_ID, HIGHEST_ID, strong=Consistency(consistency) is Consistency.STRONG
        )
        return stored.by_place[TABLE]

    def search(
        self,
        user_id: str,
        vector: Any,
        k: int = 10,
        *,
        records: Iterable[VectorRecord],
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
            where: the filters.
            effort: as in ``VectorIndex.search``.
            consistency: of the search.
            now: seconds since 1970: what has expired is read, but is no hit.
        """
        found = self.search_by_place(
            user_id,
            vector,
            k,
            records=records,
            where=where,
            effort=effort,
            consistency=consistency,
            now=now,
        )
        return sum(found.values(), Units())

    def search_by_place(
        self,
        user_id: str,
        vector: Any,
        k: int = 10,
        *,
        records: Iterable[VectorRecord] | Prepared,
        where: Where = _EVERYTHING,
        effort: float | None = None,
        consistency: Consistency | str,
        now: int = 0,
    ) -> dict[str, Units]:
        """Return what a search costs in the table and in its index, by name; see ``search``.

        For many searches, let ``records`` be ``prepared``.
        """
        query = encode_search(self._spec, user_id, vector, k=k, max_k=k, where=where, effort=effort)
        there = records if isinstance(records, Prepared) else self.prepared(user_id, records)
        stored = _Stored(self, there)
        GsiSearch(self._spec, self._chunks.count).run(
            stored, query, now, strong=Consistency(consistency) is Consistency.STRONG
        )
        return stored.by_place

    def prepared(self, user_id: str, records: Iterable[VectorRecord]) -> Prepared:
        """Return all vectors of a user as they lie in the table."""
        return Prepared(self._items(user_id, records), self._chunks.all(user_id))

    def by_place(self, user_id: str, record: VectorRecord) -> dict[str, Units]:
        """Return what storing one new vector costs in the table and in its index, by name."""
        return {
            TABLE: Units(write=write_units(self.row_bytes(user_id, record)), requests=1),
            SIMILARITY_INDEX: Units(write=write_units(self.entry_bytes(user_id, record))),
        }

    def stored_bytes(self, user_id: str, record: VectorRecord) -> dict[str, int]:
        """Return the bytes that are billed for keeping one vector, by table and index."""
        return {
            TABLE: self.row_bytes(user_id, record) + OVERHEAD_BYTES,
            SIMILARITY_INDEX: self.entry_bytes(user_id, record) + OVERHEAD_BYTES,
        }

    def entry_bytes(self, user_id: str, record: VectorRecord) -> int:
        """Return the bytes of its entry in the index."""
        return sum(item_bytes(self._entry(one)) for one in self._items(user_id, [record]))

    def _items(self, user_id: str, records: Iterable[VectorRecord]) -> list[Item]:
        pairs = [(user_id, encode_record(one, self._spec)) for one in records]
        return items_of(pairs, self._model, self._chunks, self._codec) if pairs else []

    def _entry(self, item: Item) -> Item:
        return {name: value for name, value in item.items() if name in self._projected}

    def _put(self, item: Item) -> Units:
        sizes = item_bytes(item), item_bytes(self._entry(item))
        return Units(write=sum(map(write_units, sizes)), requests=1)


class Prepared:
    """The rows of a user.

    Attributes:
        by_id: by the id of the vector.
        by_chunk: in the order of their ids.
    """

    def __init__(self, items: Iterable[Item], chunks: Iterable[str]) -> None:
        self.by_id = {item["embedding_id"]["S"]: item for item in items}
        self.by_chunk: dict[str, list[Item]] = {one: [] for one in chunks}
        for item in sorted(self.by_id.values(), key=lambda one: one["embedding_id"]["S"]):
            self.by_chunk[item["user_chunk"]["S"]].append(item)


class _Stored:
    """The rows of a user as a search finds them, and what it reads of them.

    Attributes:
        by_place: what was read, by table and index.
    """

    def __init__(self, prediction: Prediction, prepared: Prepared) -> None:
        self._prediction = prediction
        self._prepared = prepared
        self.by_place: dict[str, Units] = {TABLE: Units(), SIMILARITY_INDEX: Units()}

    def rows(self, user_id: str, lower: str, upper: str, *, strong: bool) -> list[Item]:
        found: list[Item] = []
        for chunk in self._prepared.by_chunk.values():
            mine = [one for one in chunk if lower <= one["embedding_id"]["S"] < upper]
            self._query(TABLE, mine, strong=strong)
            found += mine
        return list(map(_as_read, found))

    def entries(self, user_id: str, cells: Cells) -> list[Item]:
        found: list[Item] = []
        for chunk in self._prepared.by_chunk.values():
            for run in cells:
                first, last = hash_range(run)
                mine = [
                    self._prediction._entry(one)  # noqa: SLF001 - its other half
                    for one in chunk
                    if first <= one["similarity_hash"]["S"] <= last
                ]
                self._query(SIMILARITY_INDEX, mine, strong=False)
                found += mine
        return list(map(_as_read, found))

    def records(self, user_id: str, ids: Sequence[str]) -> list[EncodedRecord]:
        found = [self._prepared.by_id[one] for one in ids]
        read = sum(read_units(item_bytes(one), strong=False) for one in found)
        self.by_place[TABLE] += Units(read=read, requests=-(-len(ids) // _BATCH_KEYS))
        return records_of(list(map(_as_read, found)), self._prediction._spec)  # noqa: SLF001 - its other half

    def _query(self, place: str, items: Sequence[Item], *, strong: bool) -> None:
        self.by_place[place] += query_units(map(item_bytes, items), strong=strong)


def _as_read(item: Item) -> Item:
    """Return an item as a reply has it: binary values are base64 texts."""
    blob = base64.b64encode(item["vector_compressed"]["B"]).decode()
    return {**item, "vector_compressed": {"B": blob}}
