"""Reading: searches of whole answers, pages in the order of ids, documents by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ialstore.errors import DeadlineExceededError, UnavailableError
from ialstore.model import Consistency
from ialstore_backends.opensearch.documents import document_id, routing
from ialstore_backends.opensearch.failures import code_of, failure, sensibly
from ialstore_backends.opensearch.queries import in_order, is_of

if TYPE_CHECKING:
    from ialstore.operation import Operation
    from ialstore_backends.opensearch.client import OpenSearchClient
    from ialstore_backends.opensearch.failures import JSON

__all__ = ["Found", "Listed", "Reader", "require_whole"]

_PAGE: Final = 1000
_FAILED: Final = 500


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a search.

    Attributes:
        sources: what is stored of the documents found, in their order.
        scores: of these documents, the engine's own.
        total: documents that passed the filters, as far as they were looked at.
        is_whole: whether all that pass were looked at.
    """

    sources: Sequence[JSON] = field(repr=False)
    scores: Sequence[float]
    total: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A document of a page.

    Attributes:
        id: of the message.
        version: what a conditional write asks for.
        source: of its fields, those asked for.
    """

    id: str
    version: Mapping[str, int]
    source: Mapping[str, Any] = field(repr=False)


class Reader:
    """Reads from one alias.

    Args:
        client: that sends the requests.
        name: of the alias.
        refreshes: whether strong reads refresh it before.
    """

    def __init__(self, client: OpenSearchClient, name: str, *, refreshes: bool) -> None:
        self._client = client
        self._name = name
        self._refreshes = refreshes

    def refresh(self, op: Operation) -> None:
        """Let a strong read see all that was acknowledged."""
        if self._refreshes and op.consistency is Consistency.STRONG:
            answer = self._client.call(op, "POST", f"/{self._name}/_refresh")
            with sensibly():
                require_whole(answer)

    def search(self, op: Operation, user_id: str, body: JSON) -> Found:
        """Return the documents that a search finds."""
        hits, answer = self._hits(op, user_id, body)
        with sensibly():
            return Found(
                [hit["_source"] for hit in hits],
                [float(hit["_score"]) for hit in hits],
                int(answer["hits"]["total"]["value"]),
                answer.get("terminated_early") is not True,
            )

    def page(
        self,
        op: Operation,
        user_id: str,
        filters: Sequence[JSON],
        size: int,
        *,
        after: str | None,
        fields: Sequence[str] = (),
    ) -> list[Listed]:
        """Return a page of a user's documents in the order of ids, behind one."""
        body = in_order([is_of(user_id), *filters], size, after, list(fields))
        hits, _ = self._hits(op, user_id, body)
        with sensibly():
            return [
                Listed(
                    hit["sort"][0],
                    {"if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]},
                    hit.get("_source", {}),
                )
                for hit in hits
            ]

    def pages(
        self, op: Operation, user_id: str, filters: Sequence[JSON], fields: Sequence[str] = ()
    ) -> Iterator[list[Listed]]:
        """Yield all pages of a user's documents."""
        after: str | None = None
        while page := self.page(op, user_id, filters, _PAGE, after=after, fields=fields):
            yield page
            after = page[-1].id

    def count(self, op: Operation, user_id: str, filters: Sequence[JSON]) -> int:
        """Return how many of a user's documents pass."""
        query = {"bool": {"filter": [is_of(user_id), *filters]}}
        body = {"query": query, "size": 0, "track_total_hits": True}
        return self.search(op, user_id, body).total

    def get(
        self, op: Operation, user_id: str, ids: Sequence[str], fields: Sequence[str]
    ) -> dict[str, JSON]:
        """Return what is stored under message ids; sees every acknowledged write."""
        route = routing(user_id)
        asked = [
            {"_id": document_id(user_id, one), "routing": route, "_source": list(fields)}
            for one in ids
        ]
        answer = self._client.call(op, "POST", f"/{self._name}/_mget", {"docs": asked})
        with sensibly():
            found: dict[str, JSON] = {}
            for one, told in zip(ids, answer["docs"], strict=True):
                if "error" in told:
                    code = code_of(told["error"])
                    status = 404 if code == "index_not_found_exception" else _FAILED
                    raise failure(status, code, self._name, writes=False)
                if told["found"]:
                    found[one] = told["_source"]
            return found

    def users(self, op: Operation, limit: int, after: str | None) -> list[str]:
        """Return users in the order of their ids, behind one."""
        groups: JSON = {"size": limit, "sources": [{"user": {"terms": {"field": "user"}}}]}
        if after is not None:
            groups["after"] = {"user": after}
        body = {"size": 0, "aggs": {"users": {"composite": groups}}}
        answer = self._search(op, "", body)
        with sensibly():
            return [one["key"]["user"] for one in answer["aggregations"]["users"]["buckets"]]

    def _hits(self, op: Operation, user_id: str, body: JSON) -> tuple[list[JSON], JSON]:
        answer = self._search(op, f"&routing={routing(user_id)}", body)
        with sensibly():
            return list(answer["hits"]["hits"]), answer

    def _search(self, op: Operation, more: str, body: JSON) -> JSON:
        path = f"/{self._name}/_search?allow_partial_search_results=false{more}"
        answer = self._client.call(op, "POST", path, body)
        with sensibly():
            require_whole(answer)
            if answer["timed_out"]:
                raise DeadlineExceededError("OpenSearch gave up the search", retryable=True)
        return answer


def require_whole(answer: JSON) -> None:
    """Refuse an answer to which a shard did not contribute."""
    failed = int(answer["_shards"]["failed"])
    if failed:
        raise UnavailableError(f"{failed} shards of the index did not answer", retryable=True)
