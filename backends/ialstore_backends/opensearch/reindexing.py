"""A new generation of an index: filled from the old one, then the alias moves to it at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ialstore.errors import ConfigurationError, IalStoreError, StoreNotReadyError
from ialstore.vector_model import check_vector
from ialstore_backends.opensearch.documents import FIELDS, record_of
from ialstore_backends.opensearch.failures import sensibly
from ialstore_backends.opensearch.layout import next_generation
from ialstore_backends.opensearch.reading import require_whole
from ialstore_backends.opensearch.writing import Bulk, puts

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.embedding import Embedder
    from ialstore.operation import Operation
    from ialstore.vector_model import EncodedRecord, IndexSpec
    from ialstore_backends.opensearch.client import OpenSearchClient
    from ialstore_backends.opensearch.failures import JSON
    from ialstore_backends.opensearch.layout import Layout

__all__ = ["Reindexing"]

_PAGE: Final = 500

Pairs = Sequence[tuple[str, "EncodedRecord"]]


class Reindexing:
    """Fills the next generation of an index; may be interrupted, and run again.

    Args:
        client: that sends the requests.
        layout: of the generation to come.
        name: of the alias.
        spec: of the generation to come.
    """

    def __init__(
        self, client: OpenSearchClient, layout: Layout, name: str, spec: IndexSpec
    ) -> None:
        self._client = client
        self._layout = layout
        self._name = name
        self._spec = spec

    def run(self, op: Operation, embedder: Embedder | None, progress: Progress) -> int:
        """Copy every vector, let the alias move, and return how many there are.

        Raises:
            ConfigurationError: vectors of the old spec are of no use in the new one, and no
                embedder is there to make others, or there is no text to make one from.
        """
        found = self._layout.find(op)
        if found is None:
            raise StoreNotReadyError(f"{self._name} is not set up; run ialstore setup")
        old, before = found.name, self._layout.made_for(found)
        if embedder is None and not self._fits(before):
            raise ConfigurationError(
                f"the index was made for {before}, not for {self._spec}: reindex it with an "
                "embedder, which makes vectors from the texts"
            )
        new = next_generation(old)
        try:
            # Returns when what is being written is written.
            self._client.call(op, "PUT", f"/{old}/_block/write")
            with suppress(StoreNotReadyError):  # of an interrupted run
                self._client.call(op, "DELETE", f"/{new}")
            self._layout.put_template(op)
            self._client.call(op, "PUT", f"/{new}", self._layout.definition)
            done = self._copy(op, (old, new), before, embedder, progress)
            moves: list[JSON] = [
                {"add": {"index": new, "alias": self._name}},
                {"remove_index": {"index": old}},
            ]
            self._client.call(op, "POST", f"/{new}/_refresh")
            self._client.call(op, "POST", "/_aliases", {"actions": moves}, writes=True)
        except BaseException:
            with suppress(IalStoreError):
                open_again: JSON = {"index.blocks.write": None}
                self._client.call(op, "PUT", f"/{old}/_settings", open_again)
            raise
        return done

    def _fits(self, before: IndexSpec) -> bool:
        """Whether vectors made for another spec are those of this one; metrics may differ."""
        models = {before.model, self._spec.model} - {""}
        return before.dimension == self._spec.dimension and len(models) < 2  # noqa: PLR2004 - one

    def _copy(
        self,
        op: Operation,
        generations: tuple[str, str],
        before: IndexSpec,
        embedder: Embedder | None,
        progress: Progress,
    ) -> int:
        old, new = generations
        bulk = Bulk(self._client, new, refreshes=False, is_alias=False)
        done = 0
        for pairs in self._pages(op, old, before):
            bulk.put(op, puts(self._embedded(pairs, embedder), self._spec))
            done += len(pairs)
            progress(done, None)
        return done

    def _pages(self, op: Operation, old: str, before: IndexSpec) -> Iterator[Pairs]:
        """Yield all records of a generation, with their users."""
        self._client.call(op, "POST", f"/{old}/_refresh")
        body: JSON = {
            "query": {"match_all": {}},
            "sort": [{"user": "asc"}, {"id": "asc"}],
            "size": _PAGE,
            "_source": ["user", *FIELDS],
            "track_total_hits": False,
        }
        while True:
            path = f"/{old}/_search?allow_partial_search_results=false"
            answer = self._client.call(op, "POST", path, body)
            with sensibly():
                require_whole(answer)
                hits: list[Any] = answer["hits"]["hits"]
                if not hits:
                    return
                sources = [(str(hit["_source"]["user"]), hit["_source"]) for hit in hits]
                body["search_after"] = hits[-1]["sort"]
            yield [(user, record_of(source, before)) for user, source in sources]

    def _embedded(self, pairs: Pairs, embedder: Embedder | None) -> Pairs:
        """Return records with the vectors of the new spec."""
        vectors: list[Any] = [record.vector for _, record in pairs]
        if embedder is not None:
            texts = [record.text for _, record in pairs if record.text is not None]
            if len(texts) < len(pairs):
                raise ConfigurationError(
                    f"{len(pairs) - len(texts)} vectors have no text to be made from again; "
                    "delete them, or load them into another index"
                )
            vectors = list(embedder.embed(texts))
        return [
            (user, replace(record, vector=check_vector(vector, self._spec, "a new vector")))
            for (user, record), vector in zip(pairs, vectors, strict=True)
        ]
