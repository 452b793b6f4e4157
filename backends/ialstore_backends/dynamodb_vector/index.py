"""``DynamoVectorIndex``: vectors in a table of DynamoDB that has a vector index of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

from ialstore._text import to_microseconds
from ialstore.capabilities import VectorCapabilities
from ialstore_backends._late import require
from ialstore_backends.dynamodb.access import RowAccess
from ialstore_backends.dynamodb.options import table_prefix
from ialstore_backends.dynamodb.parallel import SideBySide
from ialstore_backends.dynamodb.table import DRIVERS
from ialstore_backends.dynamodb_embeddings.index import EmbeddingTableIndex
from ialstore_backends.dynamodb_embeddings.table import Chunks, EmbeddingTable
from ialstore_backends.dynamodb_vector.options import CHOICES, VectorOptions
from ialstore_backends.dynamodb_vector.policy import policy
from ialstore_backends.dynamodb_vector.rows import VectorRows
from ialstore_backends.dynamodb_vector.table import MAX_K, TABLE, vector_index

if TYPE_CHECKING:
    from botocore.session import Session

    from ialstore.component import Access, StoreSettings
    from ialstore.estimate import Choice, Estimate, Workload
    from ialstore.url import StoreURL
    from ialstore.vector_model import IndexSpec

__all__ = ["DynamoVectorIndex"]

_SCHEME: Final = "dynamodb-vector"
_MIN_RECALL: Final = 0.95


class DynamoVectorIndex(EmbeddingTableIndex):
    """Vectors in a table of DynamoDB, for any number of threads, processes and hosts.

    Args:
        prefix: with which the names of the tables begin.
        spec: what the index is made for.
        options: as in the URL.
        session: of botocore, with its credentials, in place of one made from the options.
        settings: clock, timeout and retention.
    """

    SCHEME: ClassVar[str] = _SCHEME
    CAPABILITIES: ClassVar[VectorCapabilities] = VectorCapabilities(
        durable=True,
        needs_setup=True,
        multi_process=True,
        users=True,
        min_recall=_MIN_RECALL,
        max_k=MAX_K,
    )
    OPTIONS: ClassVar[type[Any] | None] = VectorOptions
    COST_CHOICES: ClassVar[tuple[Choice, ...]] = CHOICES

    def __init__(
        self,
        prefix: str,
        spec: IndexSpec,
        options: VectorOptions | None = None,
        *,
        session: Session | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        options = options or VectorOptions()
        self._capabilities = replace(
            self.CAPABILITIES,
            strong_reads=options.strong_reads,
            # The second in which it was written counts as a whole.
            settling_seconds=options.lag_seconds + 1 if options.strong_reads else 0,
        )
        super().__init__(spec, **settings)
        for module in DRIVERS:
            require(module, extra="dynamodb", needed_by=_SCHEME)
        # They import the drivers.
        from ialstore_backends.dynamodb.client import DynamoClient
        from ialstore_backends.dynamodb.definition import Schema
        from ialstore_backends.dynamodb_vector.layout import VectorLayout
        from ialstore_backends.dynamodb_vector.schema import vector_model

        client = DynamoClient(options, session)
        side_by_side = SideBySide(client)
        chunks = Chunks(options.chunks)
        self._table = table = EmbeddingTable(
            name=f"{prefix}{TABLE}",
            client=client,
            access=RowAccess(client, f"{prefix}{TABLE}", side_by_side),
            side_by_side=side_by_side,
            chunks=chunks,
            rows=VectorRows(chunks, spec, self._seconds if options.strong_reads else None),
            spec=spec,
        )
        layout: dict[str, int | str] = {
            "layout": "vector",
            "chunks": options.chunks,
            "strong_reads": int(options.strong_reads),
        }
        model = vector_model(prefix, strong_reads=options.strong_reads)
        self._schema = Schema(client, model, options, layout, vector_index(spec))
        self._layout = VectorLayout(table, options.lag_seconds)

    def _seconds(self) -> int:
        """Return seconds since 1970 by the index's clock, now and not when a call began."""
        return to_microseconds(self._clock(), "what the clock returns") // 1_000_000

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do."""
        return self._capabilities

    @classmethod
    def from_url(cls, url: StoreURL, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Self:
        """Return the index of ``dynamodb-vector://PREFIX?region=...``."""
        return cls(table_prefix(url), spec, url.options(VectorOptions), **settings)

    @classmethod
    def iam_policy(
        cls, url: StoreURL, access: Access, *, user_id: str | None = None, account: str = "*"
    ) -> dict[str, Any]:
        """Return the least policy for the table of a URL."""
        options = url.options(VectorOptions)
        table = f"{table_prefix(url)}{TABLE}"
        return policy(table, options, access, user_id=user_id, account=account)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return what a workload takes of the table of a URL."""
        require("pynamodb", extra="dynamodb", needed_by=_SCHEME)
        from ialstore_backends.dynamodb_vector.estimate import estimate  # it imports the driver

        table_prefix(url)
        return estimate(url.options(VectorOptions), workload, age_days)
