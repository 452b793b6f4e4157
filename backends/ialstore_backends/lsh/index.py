"""``LshDynamoIndex``: vectors in the table Conversation Embeddings of DynamoDB."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from ialstore.capabilities import VectorCapabilities
from ialstore.component import no_progress
from ialstore.model import OptimizeReport
from ialstore_backends._late import require
from ialstore_backends.dynamodb.access import RowAccess
from ialstore_backends.dynamodb.options import table_prefix
from ialstore_backends.dynamodb.parallel import SideBySide
from ialstore_backends.dynamodb.table import DRIVERS
from ialstore_backends.dynamodb_embeddings.index import EmbeddingTableIndex
from ialstore_backends.dynamodb_embeddings.table import Chunks, EmbeddingTable
from ialstore_backends.lsh.codec import ERRORS, VectorCodec
from ialstore_backends.lsh.gsi import MIN_RECALL
from ialstore_backends.lsh.gsi_layout import GsiLayout
from ialstore_backends.lsh.options import CHOICES, LshOptions
from ialstore_backends.lsh.packed.layout import PackedLayout
from ialstore_backends.lsh.packed.rows import RowKeys
from ialstore_backends.lsh.packed.table import PackedTable
from ialstore_backends.lsh.policy import policy
from ialstore_backends.lsh.rows import CodedRows
from ialstore_backends.lsh.table import TABLE

if TYPE_CHECKING:
    from botocore.session import Session

    from ialstore.component import Access, StoreSettings
    from ialstore.estimate import Choice, Estimate, Workload
    from ialstore.operation import Operation
    from ialstore.url import StoreURL
    from ialstore.vector_model import IndexSpec

__all__ = ["LshDynamoIndex"]


class LshDynamoIndex(EmbeddingTableIndex):
    """Vectors in a table of DynamoDB, for any number of threads, processes and hosts.

    Args:
        prefix: with which the names of the tables begin.
        spec: what the index is made for.
        options: as in the URL.
        session: of botocore, with its credentials, in place of one made from the options.
        settings: clock, timeout and retention.
    """

    SCHEME: ClassVar[str] = "lsh+dynamodb"
    CAPABILITIES: ClassVar[VectorCapabilities] = VectorCapabilities(
        durable=True,
        needs_setup=True,
        multi_process=True,
        users=True,
        min_recall=MIN_RECALL,
        vector_error=ERRORS["int8"],
    )
    OPTIONS: ClassVar[type[Any] | None] = LshOptions
    COST_CHOICES: ClassVar[tuple[Choice, ...]] = CHOICES

    def __init__(
        self,
        prefix: str,
        spec: IndexSpec,
        options: LshOptions | None = None,
        *,
        session: Session | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        options = options or LshOptions()
        codec = VectorCodec(options.codec, options.compression)
        self._capabilities = replace(
            self.CAPABILITIES, strong_reads=options.strong_reads, vector_error=codec.error
        )
        super().__init__(spec, **settings)
        for module in DRIVERS:
            require(module, extra="dynamodb", needed_by="lsh+dynamodb")
        # They import the drivers.
        from ialstore_backends.dynamodb.client import DynamoClient
        from ialstore_backends.dynamodb.definition import Schema
        from ialstore_backends.lsh.schema import embedding_model

        model = embedding_model(prefix, options.layout)
        name = f"{prefix}{TABLE}"
        client = DynamoClient(options, session)
        side_by_side = SideBySide(client)
        access = RowAccess(client, name, side_by_side)
        layout: dict[str, int | str] = {
            "layout": options.layout,
            "chunks": options.chunks,
            "codec": options.codec,
        }
        self._schema = Schema(client, model, options, layout)
        self._codes: PackedLayout | None = None
        if options.layout == "packed":
            self._table = packed = PackedTable(
                name=name,
                client=client,
                access=access,
                side_by_side=side_by_side,
                spec=spec,
                row_keys=RowKeys(options.chunks),
                codec=codec,
            )
            self._layout = self._codes = PackedLayout(packed, options.cache_bytes)
        else:
            chunks = Chunks(options.chunks)
            self._table = table = EmbeddingTable(
                name=name,
                client=client,
                access=access,
                side_by_side=side_by_side,
                spec=spec,
                chunks=chunks,
                rows=CodedRows(model, chunks, codec, spec),
            )
            self._layout = GsiLayout(table)

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do."""
        return self._capabilities

    @property
    def held_bytes(self) -> int:
        """Bytes of codes that this process holds."""
        return 0 if self._codes is None else self._codes.held_bytes

    @classmethod
    def from_url(cls, url: StoreURL, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Self:
        """Return the index of ``lsh+dynamodb://PREFIX?region=...``."""
        return cls(table_prefix(url), spec, url.options(LshOptions), **settings)

    @classmethod
    def iam_policy(
        cls, url: StoreURL, access: Access, *, user_id: str | None = None, account: str = "*"
    ) -> dict[str, Any]:
        """Return the least policy for the table of a URL."""
        options = url.options(LshOptions)
        table = f"{table_prefix(url)}{TABLE}"
        return policy(table, options, access, user_id=user_id, account=account)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return what a workload takes of the table of a URL."""
        require("pynamodb", extra="dynamodb", needed_by=cls.SCHEME)
        from ialstore_backends.lsh.estimate import estimate  # it imports the driver

        table_prefix(url)
        return estimate(url.options(LshOptions), workload, age_days)

    # -- looking ahead --------------------------------------------------------------------------

    def _is_prefetch_due(self, user_id: str) -> bool:
        return self._codes is not None and self._codes.is_prefetch_due(user_id)

    def _prefetch(self, op: Operation, user_id: str) -> None:
        if self._codes is not None:  # pragma: no branch - else it is never due
            self._codes.prefetch(op, user_id)

    # -- maintenance ----------------------------------------------------------------------------

    def _is_optimize_due(self, user_id: str) -> bool:
        return self._codes is not None and self._codes.is_optimize_due(user_id)

    def _optimize_due(self, op: Operation, user_id: str) -> OptimizeReport:
        if self._codes is None:
            return OptimizeReport()
        return self._codes.optimize(op, user_id, no_progress, only_due=True)
