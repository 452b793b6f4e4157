"""The table of vectors as the layout ``packed`` uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ialstore.vector_model import IndexSpec
    from ialstore_backends.dynamodb.access import RowAccess
    from ialstore_backends.dynamodb.client import DynamoClient
    from ialstore_backends.dynamodb.parallel import SideBySide
    from ialstore_backends.lsh.codec import VectorCodec
    from ialstore_backends.lsh.packed.rows import RowKeys

__all__ = ["PackedTable"]


@dataclass(frozen=True, slots=True)
class PackedTable:
    """One table, as an index uses it."""

    name: str
    client: DynamoClient
    access: RowAccess
    side_by_side: SideBySide
    row_keys: RowKeys
    codec: VectorCodec
    spec: IndexSpec
