"""The bodies of searches. Every one of them has the user among its filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.ids import HIGHEST_ID, LOWEST_ID
from ialstore_backends.opensearch.documents import FIELDS, searched, unit
from ialstore_backends.opensearch.layout import space_of

if TYPE_CHECKING:
    from ialstore.vector_model import IndexSpec, SearchQuery
    from ialstore_backends.opensearch.failures import JSON

__all__ = [
    "by_graph",
    "by_score",
    "by_words",
    "in_order",
    "is_expired",
    "is_live",
    "is_of",
    "passes",
    "size_for",
]

_MORE: Final = 8
"""Candidates beyond k, as the engine's float32 may order the last ones otherwise."""


def is_of(user_id: str) -> JSON:
    """Return the filter of a user's documents."""
    return {"term": {"user": user_id}}


def is_expired(now: int) -> JSON:
    """Return the filter of what is expired."""
    return {"range": {"expires": {"lte": now}}}


def is_live(now: int) -> JSON:
    """Return the filter of what is not expired."""
    return {"bool": {"must_not": [is_expired(now)]}}


def passes(query: SearchQuery, now: int) -> JSON:
    """Return the filter of what a search considers."""
    wanted: list[JSON] = [is_of(query.user_id)]
    unwanted: list[JSON] = [is_expired(now)]
    bounds: dict[str, str] = {}
    if query.lower != LOWEST_ID:
        bounds["gte"] = query.lower
    if query.upper != HIGHEST_ID:
        bounds["lt"] = query.upper
    if bounds:
        wanted.append({"range": {"id": bounds}})
    if query.session_id is not None:
        wanted.append({"term": {"session": query.session_id}})
    if query.exclude_session_id is not None:
        unwanted.append({"term": {"session": query.exclude_session_id}})
    if query.roles is not None:
        wanted.append({"terms": {"role": sorted(map(str, query.roles))}})
    return {"bool": {"filter": wanted, "must_not": unwanted}}


def size_for(k: int) -> int:
    """Return how many candidates are fetched to be scored again."""
    return k + max(_MORE, k // _MORE)


def by_score(query: SearchQuery, spec: IndexSpec, now: int, at_most: int) -> JSON:
    """Return the search of every vector that passes.

    Args:
        query: what is asked for.
        spec: of the index.
        now: seconds since 1970.
        at_most: vectors that are scored before the search is given up; 0 for all.
    """
    script = {
        "lang": "knn",
        "source": "knn_score",
        "params": {
            "field": "vector",
            "query_value": _asked(query, spec),
            "space_type": space_of(spec),
        },
    }
    body = _hits({"script_score": {"query": passes(query, now), "script": script}}, query.k)
    if at_most:
        body["terminate_after"] = at_most
    return body


def by_graph(
    query: SearchQuery, spec: IndexSpec, now: int, candidates: int, parameters: JSON
) -> JSON:
    """Return the search of the graph.

    Args:
        query: what is asked for.
        spec: of the index.
        now: seconds since 1970.
        candidates: that the graph is searched for.
        parameters: of the engine.
    """
    asked = {
        "vector": _asked(query, spec),
        "k": max(candidates, size_for(query.k)),
        "filter": passes(query, now),
        **parameters,
    }
    return _hits({"knn": {"vector": asked}}, query.k)


def by_words(query: SearchQuery, text: str, now: int) -> JSON:
    """Return the search by words: BM25 of the texts."""
    passing = passes(query, now)
    passing["bool"]["must"] = [{"match": {"text": {"query": text}}}]
    return {**_hits(passing, query.k), "size": query.k}


def in_order(filters: list[JSON], size: int, after: str | None, fields: list[str]) -> JSON:
    """Return a page of documents in the order of ids, behind one."""
    body: JSON = {
        "query": {"bool": {"filter": filters}},
        "sort": [{"id": "asc"}],
        "size": size,
        "_source": fields or False,
        "seq_no_primary_term": True,
        "track_total_hits": False,
    }
    if after is not None:
        body["search_after"] = [after]
    return body


def _hits(query: JSON, k: int) -> JSON:
    return {"query": query, "size": size_for(k), "_source": FIELDS, "track_total_hits": True}


def _asked(query: SearchQuery, spec: IndexSpec) -> list[float]:
    vector = query.vector[np.newaxis]
    # Of products the order is that of the direction; of unit length they keep their digits.
    asked = unit(vector) if spec.metric == "dot" else searched(vector, spec)
    numbers: list[float] = asked[0].tolist()
    return numbers
