"""What calls on rows will cost, before they are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ialstore.cost import Units, read_units
from ialstore.model import Consistency
from ialstore_backends.dynamodb.sizes import item_bytes, rows_of_pages

if TYPE_CHECKING:
    from ialstore.vector_model import VectorRecord
    from ialstore_backends.dynamodb.table import Item

__all__ = ["RowPrediction"]


class RowPrediction(ABC):
    """Predicts the units of calls on rows of vectors; makes no request.

    Args:
        chunks: partitions that the rows of a user are spread over.
    """

    def __init__(self, chunks: int) -> None:
        self._chunk_count = chunks

    @abstractmethod
    def _items(self, user_id: str, records: Iterable[VectorRecord]) -> list[Item]:
        """Return the rows of vectors."""

    @abstractmethod
    def _put(self, item: Item) -> Units:
        """Return what writing or deleting a row costs, its entries in indexes included."""

    def delete(self, user_id: str, record: VectorRecord | None) -> Units:
        """Return what deleting one vector costs; None is one that is not there."""
        if record is None:
            return Units(write=1, requests=1)
        return self._put(*self._items(user_id, [record]))

    def get(
        self,
        user_id: str,
        records: Sequence[VectorRecord | None],
        *,
        consistency: Consistency | str,
    ) -> Units:
        """Return what reading up to 100 vectors costs; None is one that is not there."""
        there = self._items(user_id, [one for one in records if one is not None])
        sizes = [*map(item_bytes, there), *(0 for one in records if one is None)]
        strong = Consistency(consistency) is Consistency.STRONG
        return Units(read=sum(read_units(one, strong=strong) for one in sizes), requests=1)

    def all_rows(
        self, user_id: str, record: VectorRecord, count: int, *, consistency: Consistency | str
    ) -> Units:
        """Return what reading all rows of a user costs, as a count does, or an exact search.

        Args:
            user_id: the tenant.
            record: what each vector is like.
            count: how many there are, as many in each chunk as in another.
            consistency: of the read.
        """
        size, chunks = self.row_bytes(user_id, record), self._chunk_count
        strong = Consistency(consistency) is Consistency.STRONG
        units = Units()
        larger = count % chunks
        for rows, alike in ((count // chunks + 1, larger), (count // chunks, chunks - larger)):
            pages = rows_of_pages(rows, size)
            read = sum(read_units(one * size, strong=strong) for one in pages)
            units += Units(read=read * alike, requests=len(pages) * alike)
        return units

    def row_bytes(self, user_id: str, record: VectorRecord) -> int:
        """Return the bytes of the row of a vector."""
        return sum(map(item_bytes, self._items(user_id, [record])))
