"""``LshDynamoIndex``: vectors in the table Conversation Embeddings of DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

from ialstore.capabilities import VectorCapabilities
from ialstore.errors import ConfigurationError, StoreNotReadyError
from ialstore.listing import Rows
from ialstore.model import EraseReport, OptimizeReport
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery, SearchResult
from ialstore_backends._late import require
from ialstore_backends.dynamodb.access import RowAccess
from ialstore_backends.dynamodb.options import table_prefix
from ialstore_backends.dynamodb.parallel import SideBySide
from ialstore_backends.dynamodb.table import DRIVERS, is_strong
from ialstore_backends.lsh.codec import ERRORS, VectorCodec
from ialstore_backends.lsh.gsi import MIN_RECALL, GsiSearch
from ialstore_backends.lsh.maintenance import Maintenance
from ialstore_backends.lsh.options import CHOICES, LshOptions
from ialstore_backends.lsh.policy import policy
from ialstore_backends.lsh.reading import EmbeddingReader
from ialstore_backends.lsh.table import TABLE, Chunks, EmbeddingTable
from ialstore_backends.lsh.writing import EmbeddingWriter

if TYPE_CHECKING:
    from botocore.session import Session

    from ialstore.component import Access, Progress, StoreSettings
    from ialstore.estimate import Choice, Estimate, Workload
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["LshDynamoIndex"]

_ROUNDS: Final = 3


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

        model = embedding_model(prefix)
        self._client = DynamoClient(options, session)
        self._side_by_side = SideBySide()
        self._table = EmbeddingTable(
            model=model,
            client=self._client,
            access=RowAccess(self._client, f"{prefix}{TABLE}", self._side_by_side),
            side_by_side=self._side_by_side,
            chunks=Chunks(options.chunks),
            codec=codec,
            spec=spec,
        )
        layout: dict[str, int | str] = {
            "layout": options.layout,
            "chunks": options.chunks,
            "codec": options.codec,
        }
        self._schema = Schema(self._client, model, options, layout)
        self._reader = EmbeddingReader(self._table)
        self._writer = EmbeddingWriter(self._table, self._reader)
        self._searcher = GsiSearch(spec, options.chunks)
        self._maintenance = Maintenance(self._table, self._reader)

    @property
    def table(self) -> str:
        """Name of the table."""
        return self._table.name

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do."""
        return self._capabilities

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

    # -- writing --------------------------------------------------------------------------------

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self._writer.put(op, [(user_id, record) for record in records])

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        last = {(user_id, record.id): (user_id, record) for user_id, record in records}
        self._writer.put(op, list(last.values()))

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        return self._writer.delete(op, [self._table.chunks.key(user_id, one) for one in ids])

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._writer.remove(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        removed = remaining = 0
        for _ in range(_ROUNDS):
            removed += self._writer.remove(op, user_id, None)
            op.renew()
            remaining = self._reader.count(op, user_id, strong=True)
            if not remaining:
                break
        return EraseReport(
            vectors=removed,
            remaining=remaining,
            out_of_reach=("backups, point-in-time recovery, streams and exports of the table",),
        )

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        return self._maintenance.run(op, user_id, progress)

    # -- reading --------------------------------------------------------------------------------

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        source = self._reader.source(op)
        found = self._searcher.run(source, query, op.now, strong=is_strong(op))
        op.note("plan", found.plan)
        if found.rounds:
            op.note("cells", found.cells)
            op.note("rounds", found.rounds)
        return found.ranking.result()

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        found = self._reader.records(op, user_id, ids, strong=is_strong(op))
        return {one.id: one for one in found if one.expires is None or one.expires > op.now}

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        return self._reader.live_ids(op, user_id, limit, after, strong=is_strong(op))

    def _count(self, op: Operation, user_id: str) -> int:
        return self._reader.count(op, user_id, strong=is_strong(op))

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        users = sorted(user for user in self._reader.users(op) if user > (after or ""))
        return Rows(users[:limit], more=len(users) > limit)
