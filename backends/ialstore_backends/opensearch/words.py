"""Search by words, and both searches as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ialstore.vector_model import Hit, SearchResult

if TYPE_CHECKING:
    from ialstore.vector_model import EncodedRecord

__all__ = ["depth_for", "fused", "hits_of"]

_RANK: Final = 60
"""Of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): the first ranks gain little."""
_LEAST_DEPTH: Final = 50


def depth_for(k: int) -> int:
    """Return how many hits of each search are fused."""
    return max(k, _LEAST_DEPTH)


def hits_of(records: Sequence[EncodedRecord], scores: Sequence[float]) -> tuple[Hit, ...]:
    """Return records as hits, best first."""
    hits = [
        Hit(one.id, score, one.session_id, one.role, one.text)
        for one, score in zip(records, scores, strict=True)
    ]
    return tuple(sorted(hits, key=_best_first))


def fused(results: Sequence[SearchResult], k: int) -> SearchResult:
    """Return the best of several results by the sum of their reciprocal ranks, the new scores."""
    scores: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for result in results:
        for rank, hit in enumerate(result, 1):
            scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (_RANK + rank)
            hits[hit.id] = hit
    best = sorted((replace(hit, score=scores[one]) for one, hit in hits.items()), key=_best_first)
    return SearchResult(
        tuple(best[:k]),
        sum(result.examined for result in results),
        sum(result.reranked for result in results),
    )


def _best_first(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.id
