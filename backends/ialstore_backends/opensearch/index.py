"""``OpenSearchVectorIndex``: vectors in one index of OpenSearch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

import numpy as np

from ialstore._text import check_text
from ialstore.capabilities import VectorCapabilities
from ialstore.errors import ConfigurationError, StoreNotReadyError
from ialstore.limits import MAX_TEXT_BYTES
from ialstore.listing import Rows
from ialstore.loading import report_to
from ialstore.model import Consistency, EraseReport, LoadReport, OptimizeReport
from ialstore.vector import VectorIndex
from ialstore.vector_model import (
    EncodedRecord,
    IndexSpec,
    SearchQuery,
    SearchResult,
    Where,
    encode_search,
)
from ialstore_backends._exact import ExactMatrix
from ialstore_backends._late import require
from ialstore_backends.opensearch.documents import FIELDS, record_of
from ialstore_backends.opensearch.estimate import CHOICES, estimate
from ialstore_backends.opensearch.layout import Layout
from ialstore_backends.opensearch.options import OpenSearchOptions, Place
from ialstore_backends.opensearch.queries import (
    by_graph,
    by_score,
    by_words,
    is_expired,
    is_live,
)
from ialstore_backends.opensearch.reading import Reader
from ialstore_backends.opensearch.reindexing import Reindexing
from ialstore_backends.opensearch.words import depth_for, fused, hits_of
from ialstore_backends.opensearch.writing import Bulk, delete, puts

if TYPE_CHECKING:
    from ialstore.component import Progress, StoreSettings
    from ialstore.embedding import Embedder
    from ialstore.estimate import Choice, Estimate, Workload
    from ialstore.operation import Operation
    from ialstore.url import StoreURL
    from ialstore_backends.opensearch.failures import JSON
    from ialstore_backends.opensearch.reading import Found, Listed

__all__ = ["OpenSearchVectorIndex"]

_DRIVERS: Final = ("opensearchpy", "orjson", "botocore", "urllib3")
_ROUNDS: Final = 3
_EVERYTHING: Final = Where()
_MAX_K: Final = 1000
_MIN_RECALL: Final = 0.9
_EXPIRES: Final = ("expires",)
_OUT_OF_REACH: Final = ("snapshots of the index, and segments until OpenSearch merges them",)
_UNSEEN: Final = "vectors that the index was not refreshed for"


class OpenSearchVectorIndex(VectorIndex):
    """Vectors in an index of OpenSearch, for any number of threads, processes and hosts.

    Args:
        place: where the index is.
        spec: what the index is made for.
        options: as in the URL.
        settings: clock, timeout and retention.
    """

    SCHEME: ClassVar[str] = "opensearch"
    CAPABILITIES: ClassVar[VectorCapabilities] = VectorCapabilities(
        durable=True,
        needs_setup=True,
        multi_process=True,
        users=True,
        max_k=_MAX_K,
        min_recall=_MIN_RECALL,
    )
    OPTIONS: ClassVar[type[Any] | None] = OpenSearchOptions
    COST_CHOICES: ClassVar[tuple[Choice, ...]] = CHOICES

    def __init__(
        self,
        place: Place,
        spec: IndexSpec,
        options: OpenSearchOptions | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        self._options = options = options or OpenSearchOptions()
        self._capabilities = replace(
            self.CAPABILITIES,
            strong_reads=options.refresh != "never",
            min_recall=_MIN_RECALL if options.engine == "lucene" else 0.0,
        )
        super().__init__(spec, **settings)
        for module in _DRIVERS:
            require(module, extra="opensearch", needed_by="opensearch")
        # It imports the drivers.
        from ialstore_backends.opensearch.client import OpenSearchClient

        self._name = place.index
        self._client = OpenSearchClient(place, options)
        self._layout = Layout(self._client, place.index, spec, options)
        self._reader = Reader(self._client, place.index, refreshes=options.refresh == "read")
        self._bulk = Bulk(self._client, place.index, refreshes=options.refresh == "write")

    @property
    def name(self) -> str:
        """By which the index goes: an alias."""
        return self._name

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do."""
        return self._capabilities

    @classmethod
    def from_url(cls, url: StoreURL, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Self:
        """Return the index of ``opensearch://[USER:PASSWORD@]HOST[:PORT]/INDEX``."""
        options = url.options(OpenSearchOptions)
        return cls(Place.of(url, options), spec, options, **settings)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return the memory and the disk of the nodes that a workload takes."""
        options = url.options(OpenSearchOptions)
        Place.of(url, options)
        return estimate(options, workload, age_days)

    # -- the index and its spec -----------------------------------------------------------------

    def _stored_spec(self, op: Operation) -> IndexSpec:
        found = self._layout.find(op)
        if found is None:
            raise StoreNotReadyError(f"{self._name} is not set up; run ialstore setup")
        return self._layout.spec_of(found)

    def _setup(self, op: Operation) -> None:
        self._layout.create(op)
        self._bind(op)

    def _check(self, op: Operation) -> list[str]:
        try:
            found = self._layout.find(op)
            if found is None:
                return [f"{self._name} is not set up; run ialstore setup"]
            self._layout.spec_of(found)
        except ConfigurationError as error:
            return [str(error)]
        return super()._check(op) or list(self._layout.differences(op, found))

    def _close(self) -> None:
        self._client.close()

    # -- writing --------------------------------------------------------------------------------

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        self._put(op, [(user_id, record) for record in records])

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        last = {(user_id, record.id): (user_id, record) for user_id, record in records}
        self._put(op, list(last.values()))

    def _put(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        self._bulk.put(op, puts(records, self.spec))

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        there = self._reader.get(op, user_id, ids, _EXPIRES)
        return self._remove(op, user_id, there)

    def _remove(self, op: Operation, user_id: str, there: Mapping[str, Mapping[str, Any]]) -> int:
        """Delete documents by message id; return how many live ones went by this call."""
        removed = self._bulk.remove(op, [delete(user_id, one) for one in there])
        return sum(_is_live(there[one], op.now) for one in removed)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return self._sweep(op, user_id, [{"term": {"session": session_id}}])

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        removed = remaining = 0
        for _ in range(_ROUNDS):
            removed += self._sweep(op, user_id, [])
            self._reader.refresh(op)
            remaining = self._reader.count(op, user_id, [])
            if not remaining:
                break
        unseen = () if self._capabilities.strong_reads else (_UNSEEN,)
        return EraseReport(
            vectors=removed, remaining=remaining, out_of_reach=(*_OUT_OF_REACH, *unseen)
        )

    def _sweep(self, op: Operation, user_id: str, filters: Sequence[JSON]) -> int:
        """Delete what passes, expired or not; return how many live ones went by this call."""
        removed = 0
        self._reader.refresh(op)
        for page in self._reader.pages(op, user_id, filters, _EXPIRES):
            removed += self._remove(op, user_id, {one.id: one.source for one in page})
            op.is_partly_applied = True
        return removed

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        removed = 0
        self._reader.refresh(op)
        for page in self._reader.pages(op, user_id, [is_expired(op.now)]):
            # Only as it was seen: it may have been given a later end meanwhile.
            actions = [delete(user_id, one.id, **one.version) for one in page]
            removed += len(self._bulk.remove(op, actions))
            op.is_partly_applied = op.is_partly_applied or removed > 0
            progress(removed, None)
        return OptimizeReport(removed=removed)

    def reindex(
        self, *, embedder: Embedder | None = None, progress: Progress | None = None
    ) -> LoadReport:
        """Move every vector into an index of the layout and spec that this one was opened with.

        Meanwhile reads are answered, and writes refused with a retryable ``UnavailableError``. Its
        deadline holds for each request. Other handles of another spec are refused once they are
        opened anew.

        Args:
            embedder: makes the vectors anew from their texts; needed where dimension or model
                differ.
            progress: called with the number done so far and None.

        Raises:
            ConfigurationError: there is need of an embedder, or a vector has no text.
            IalStoreError: it failed; everything is as before, and it may be called again.
        """
        with self._operation("reindex", renewable=True) as op:
            moving = Reindexing(self._client, self._layout, self._name, self.spec)
            op.items = moving.run(op, embedder, report_to(op, progress))
        return LoadReport(op.items)

    # -- reading --------------------------------------------------------------------------------

    def search_words(
        self,
        user_id: str,
        text: str,
        k: int = 10,
        *,
        where: Where = _EVERYTHING,
        consistency: Consistency | None = None,
    ) -> SearchResult:
        """Return the vectors whose texts share words with a text, best first by BM25.

        Args and errors are those of ``search``; the scores are BM25's, by the shard's statistics.
        """
        query = self._of_words(user_id, text, k, where)
        with self._operation("search_words", consistency=self._reading(consistency)) as op:
            self._compare_spec(op)
            self._reader.refresh(op)
            result = self._by_words(op, query, text)
            op.items = len(result)
        return result

    def search_hybrid(
        self,
        user_id: str,
        vector: Any,
        text: str,
        k: int = 10,
        *,
        where: Where = _EVERYTHING,
        effort: float | None = None,
        consistency: Consistency | None = None,
    ) -> SearchResult:
        """Return what is near a vector or shares words with a text, best first by both ranks.

        Args and errors are those of ``search``; a score is the sum of 1 / (60 + rank).
        """
        words = self._of_words(user_id, text, k, where)
        near = encode_search(
            self.spec, user_id, vector, k=k, max_k=_MAX_K, where=where, effort=effort
        )
        depth = depth_for(k)
        with self._operation("search_hybrid", consistency=self._reading(consistency)) as op:
            self._compare_spec(op)
            result = fused(
                [
                    self._search(op, replace(near, k=depth)),
                    self._by_words(op, replace(words, k=depth), text),
                ],
                k,
            )
            op.items = len(result)
        return result

    def _of_words(self, user_id: str, text: str, k: int, where: Where) -> SearchQuery:
        check_text(text, "text", at_most=MAX_TEXT_BYTES)
        anything = np.ones(self.spec.dimension, np.float32)
        return encode_search(
            self.spec, user_id, anything, k=k, max_k=_MAX_K, where=where, effort=None
        )

    def _by_words(self, op: Operation, query: SearchQuery, text: str) -> SearchResult:
        found = self._reader.search(op, query.user_id, by_words(query, text, op.now))
        records = [record_of(source, self.spec) for source in found.sources]
        return SearchResult(hits_of(records, found.scores), found.total, 0)

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        self._reader.refresh(op)
        return self._ranked(self._nearest(op, query), query, op.now)

    def _nearest(self, op: Operation, query: SearchQuery) -> Found:
        """Return the documents of the candidates, by every vector or by the graph."""
        is_best = query.effort == 1
        if is_best or self._options.exact_below:
            at_most = 0 if is_best else self._options.exact_below
            body = by_score(query, self.spec, op.now, at_most)
            found = self._reader.search(op, query.user_id, body)
            if found.is_whole:
                op.note("plan", "exact")
                return found
        candidates = round(2 * self._options.ef_search * (query.effort or 0.5))
        parameters: JSON = {}
        if self._options.engine == "faiss":
            parameters = {"method_parameters": {"ef_search": max(candidates, query.k)}}
        op.note("plan", "graph")
        return self._reader.search(
            op, query.user_id, by_graph(query, self.spec, op.now, candidates, parameters)
        )

    def _ranked(self, found: Found, query: SearchQuery, now: int) -> SearchResult:
        """Return the best of the candidates by their true scores."""
        records = [record_of(source, self.spec) for source in found.sources]
        if not records:
            return SearchResult((), found.total, 0)
        matrix = ExactMatrix(self.spec, len(records))
        matrix.put(records, np.stack([record.vector for record in records]))
        ranked = matrix.search(query, now).result()
        return replace(ranked, examined=max(found.total, len(records)), reranked=len(records))

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        found = self._reader.get(op, user_id, ids, FIELDS)
        records = [record_of(source, self.spec) for source in found.values()]
        return {one.id: one for one in records if one.expires is None or one.expires > op.now}

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        self._reader.refresh(op)
        page: list[Listed] = self._reader.page(
            op, user_id, [is_live(op.now)], limit + 1, after=after
        )
        return Rows([one.id for one in page[:limit]], more=len(page) > limit)

    def _count(self, op: Operation, user_id: str) -> int:
        self._reader.refresh(op)
        return self._reader.count(op, user_id, [is_live(op.now)])

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        self._reader.refresh(op)
        found = self._reader.users(op, limit, after)
        return Rows(found, more=len(found) == limit)


def _is_live(source: Mapping[str, Any], now: int) -> bool:
    expires = source.get("expires")
    return expires is None or expires > now
