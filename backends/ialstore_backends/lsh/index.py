"""``LshDynamoIndex``: vectors in the table Conversation Embeddings of DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

from ialstore.capabilities import VectorCapabilities
from ialstore.component import no_progress
from ialstore.errors import ConfigurationError, StoreNotReadyError
from ialstore.listing import Rows
from ialstore.model import EraseReport, OptimizeReport
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery, SearchResult
from ialstore_backends._late import require
from ialstore_backends.dynamodb.access import RowAccess
from ialstore_backends.dynamodb.options import table_prefix
from ialstore_backends.dynamodb.parallel import SideBySide
from ialstore_backends.dynamodb.table import DRIVERS
from ialstore_backends.lsh.codec import ERRORS, VectorCodec
from ialstore_backends.lsh.gsi import MIN_RECALL
from ialstore_backends.lsh.gsi_layout import GsiLayout
from ialstore_backends.lsh.options import LshOptions
from ialstore_backends.lsh.packed.layout import PackedLayout
from ialstore_backends.lsh.packed.rows import RowKeys
from ialstore_backends.lsh.policy import policy
from ialstore_backends.lsh.table import TABLE, Chunks, EmbeddingTable

if TYPE_CHECKING:
    from botocore.session import Session

    from ialstore.component import Access, Progress, StoreSettings
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["LshDynamoIndex"]

_OUT_OF_REACH: Final = ("backups, point-in-time recovery, streams and exports of the table",)


class LshDynamoIndex(VectorIndex):
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
        self._client = DynamoClient(options, session)
        self._side_by_side = SideBySide()
        self._table = EmbeddingTable(
            model=model,
            client=self._client,
            access=RowAccess(self._client, f"{prefix}{TABLE}", self._side_by_side),
            side_by_side=self._side_by_side,
            chunks=Chunks(options.chunks),
            row_keys=RowKeys(options.chunks),
            codec=codec,
            spec=spec,
        )
        layout: dict[str, int | str] = {
            "layout": options.layout,
            "chunks": options.chunks,
            "codec": options.codec,
        }
        self._schema = Schema(self._client, model, options, layout)
        self._layout: GsiLayout | PackedLayout = (
            GsiLayout(self._table)
            if options.layout == "gsi"
            else PackedLayout(self._table, options.cache_bytes)
        )

    @property
    def table(self) -> str:
        """Name of the table."""
        return self._table.name

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do."""
        return self._capabilities

    @property
    def held_bytes(self) -> int:
        """Bytes of codes that this process holds."""
        return self._layout.held_bytes

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

    # -- the table and its spec -----------------------------------------------------------------

    def _bind_spec(self, op: Operation, spec: IndexSpec) -> IndexSpec:
        found = self._schema.layout(op)
        if found is None:
            raise StoreNotReadyError(f"{self.table} is not set up; run ialstore setup")
        for difference in self._schema.of_layout(found):
            raise ConfigurationError(f"{self.table}: {difference}")
        return IndexSpec(int(found["dimension"]), str(found["metric"]), str(found["model"]))

    def _setup(self, op: Operation) -> None:
        spec = self.spec
        beside: dict[str, int | str] = {
            "dimension": spec.dimension,
            "metric": spec.metric,
            "model": spec.model,
        }
        self._schema.create(op, beside)
        self._bind(op)

    def _check(self, op: Operation) -> list[str]:
        differences = self._schema.differences(op)
        try:
            of_spec = super()._check(op)
        except StoreNotReadyError:  # it is said already
            of_spec = []
        return list(dict.fromkeys([*differences, *of_spec]))

    def _close(self) -> None:
        self._side_by_side.close()
        self._client.close()

    def _after_fork(self) -> None:  # pragma: no cover - runs in forked children only
        self._side_by_side.forget()

    # -- calls ----------------------------------------------------------------------------------

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self._layout.upsert(op, user_id, records)

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        if isinstance(self._layout, GsiLayout):
            self._layout.load(op, records)
        else:
            super()._load(op, records)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._layout.delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._layout.delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        removed, remaining = self._layout.erase(op, user_id)
        return EraseReport(vectors=removed, remaining=remaining, out_of_reach=_OUT_OF_REACH)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self._layout.optimize(op, user_id, progress)

    def _is_optimize_due(self, user_id: str) -> bool:
        return isinstance(self._layout, PackedLayout) and self._layout.is_optimize_due(user_id)

    def _optimize_due(self, op: Operation, user_id: str) -> OptimizeReport:
        if isinstance(self._layout, PackedLayout):
            return self._layout.optimize(op, user_id, no_progress, only_due=True)
        return OptimizeReport()

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        return self._layout.search(op, query)

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        return self._layout.get(op, user_id, ids)

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return self._layout.ids(op, user_id, limit, after)

    def _count(self, op: Operation, user_id: str) -> int:
        return self._layout.count(op, user_id)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        users = sorted(user for user in self._layout.users(op) if user > (after or ""))
        return Rows(users[:limit], more=len(users) > limit)
