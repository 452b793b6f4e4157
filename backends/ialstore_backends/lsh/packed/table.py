"""The table of vectors as the layout ``packed`` uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ialstore_backends.dynamodb_embeddings.table import VectorTable

if TYPE_CHECKING:
    from ialstore_backends.lsh.codec import VectorCodec
    from ialstore_backends.lsh.packed.rows import RowKeys

__all__ = ["PackedTable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTable(VectorTable):
    """One table, as an index uses it."""

    row_keys: RowKeys
    codec: VectorCodec
