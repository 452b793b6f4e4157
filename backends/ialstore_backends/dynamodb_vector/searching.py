"""How a search goes: through the vector index as long as that can answer, else over the rows.

The service filters by equality and returns the hundred nearest at most. What it can't filter by -
a range of time, any session but one, expiry - is filtered here, among more results than are
wanted. Where too few of them remain, the rows are read, which answers exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from ialstore.errors import CorruptError
from ialstore.ids import HIGHEST_ID, LOWEST_ID, Role
from ialstore_backends._exact import ExactMatrix, Ranking
from ialstore_backends.dynamodb_vector.rows import beside_of
from ialstore_backends.dynamodb_vector.table import MAX_K, VECTOR_INDEX

if TYPE_CHECKING:
    from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb_vector.rows import Beside

__all__ = ["Answer", "Found", "Source", "VectorSearch", "distance"]

_ROWS: Final = "rows"
_ROLES: Final = frozenset(Role)
_TOLERANCE: Final = 1e-5
"""By which the service's score of a vector may differ from that of its row."""

_LARGEST: Final = float(np.finfo(np.float32).max)
"""What the service tells in place of any larger number."""

Answer = Sequence[tuple[float, "Item"]]
"""Distances, or dot products, and entries of the index, the nearest first."""


class Source(Protocol):
    """Where answers and rows of one call come from."""

    def nearest(
        self, query: SearchQuery, roles: Sequence[Role | None], top: int, *, whole: bool
    ) -> list[Answer]:
        """Return what the index answers, for each partition and each role.

        Args:
            query: its vector and its session.
            roles: None stands for all.
            top: results of each at most.
            whole: return what is beside the vectors, and not ids alone.
        """
        ...

    def written(self, user_id: str) -> list[str]:
        """Return the ids of what was written within the lag of the index."""
        ...

    def records(self, user_id: str, ids: Sequence[str]) -> list[EncodedRecord]:
        """Return the records of ids as they are now, read strongly."""
        ...

    def rows(self, user_id: str, lower: str, upper: str, *, strong: bool) -> list[EncodedRecord]:
        """Return the records of a range of ids."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and how.

    Attributes:
        ranking: the best.
        plan: ``rows``, or the name of the index.
        rounds: in which the index was asked.
    """

    ranking: Ranking
    plan: str
    rounds: int


class VectorSearch:
    """Searches the vectors of a user.

    Args:
        spec: of the index.
    """

    def __init__(self, spec: IndexSpec) -> None:
        self._spec = spec

    def run(self, source: Source, query: SearchQuery, now: int, *, strong: bool) -> Found:
        """Return the nearest; see ``VectorIndex._search``.

        Args:
            source: of answers and rows.
            query: what is asked.
            now: the second that decides on expiry.
            strong: see every vector that was written, and none that was deleted.
        """
        rounds = 0
        if query.effort != 1:
            roles = _roles(query)
            written = source.written(query.user_id) if strong else []
            for top in (query.k, MAX_K) if _passes_all(query) else (MAX_K,):
                answers = source.nearest(query, roles, top, whole=not strong)
                rounds += 1
                ranking = (
                    self._by_rows(source, query, now, answers, written)
                    if strong or _is_saturated(answers)
                    else self._by_entries(query, now, answers)
                )
                if _suffices(ranking, query.k, self._bound(answers, top)):
                    return Found(ranking, VECTOR_INDEX, rounds)
        records = source.rows(query.user_id, query.lower, query.upper, strong=strong)
        return Found(self._ranking(records, query, now), _ROWS, rounds)

    def _by_entries(self, query: SearchQuery, now: int, answers: Sequence[Answer]) -> Ranking:
        """Return the best of what the index says."""
        places: dict[str, tuple[float, Beside]] = {}
        for value, entry in chain.from_iterable(answers):
            beside = beside_of(entry)
            if _passes(beside, query, now):
                places[beside.id] = (self._score(value), beside)
        best = sorted(places.values(), key=lambda place: (-place[0], place[1].id))
        return Ranking(best[: query.k], sum(map(len, answers)))

    def _by_rows(
        self,
        source: Source,
        query: SearchQuery,
        now: int,
        answers: Sequence[Answer],
        written: Sequence[str],
    ) -> Ranking:
        """Return the best of what the index says and of what it may not know yet, by the rows."""
        ids = {_id(entry) for _, entry in chain.from_iterable(answers)}
        ids.update(written)
        wanted = sorted(one for one in ids if query.lower <= one < query.upper)
        records = source.records(query.user_id, wanted) if wanted else []
        return self._ranking(records, query, now)

    def _ranking(self, records: Sequence[EncodedRecord], query: SearchQuery, now: int) -> Ranking:
        if not records:
            return Ranking()
        matrix = ExactMatrix(self._spec, len(records))
        matrix.put(records, np.array([record.vector for record in records]))
        return matrix.search(query, now)

    def _bound(self, answers: Sequence[Answer], top: int) -> float:
        """Return the score that nothing exceeds which the index did not tell."""
        last = [answer[-1][0] for answer in answers if len(answer) >= top]
        if self._spec.metric == "dot" and max(last, default=0.0) >= _LARGEST:
            return math.inf
        return max(map(self._score, last), default=-math.inf)

    def _score(self, value: float) -> float:
        """Return the score of what the service calls one."""
        if self._spec.metric == "cosine":
            return min(1.0, max(-1.0, 1.0 - value))
        return value if self._spec.metric == "dot" else 0.0 - value


def distance(score: float, metric: str) -> float:
    """Return what the service tells for a score."""
    value = {"cosine": 1.0 - score, "dot": score, "euclidean": 0.0 - score}[metric]
    return max(-_LARGEST, min(value, _LARGEST))


def _roles(query: SearchQuery) -> Sequence[Role | None]:
    """Return the roles to ask for one by one: the service has no other way for several."""
    if query.roles is None or query.roles == _ROLES:
        return [None]
    return sorted(query.roles)


def _passes_all(query: SearchQuery) -> bool:
    """Whether the service applies all filters but expiry."""
    return (
        query.exclude_session_id is None and query.lower == LOWEST_ID and query.upper == HIGHEST_ID
    )


def _passes(beside: Beside, query: SearchQuery, now: int) -> bool:
    """Whether an entry passes what the service can't filter by."""
    return (
        query.lower <= beside.id < query.upper
        and beside.session_id != query.exclude_session_id
        and (beside.expires is None or beside.expires > now)
    )


def _is_saturated(answers: Sequence[Answer]) -> bool:
    """Whether scores are told that are beyond what the service can tell."""
    return any(abs(value) >= _LARGEST for value, _ in chain.from_iterable(answers))


def _suffices(ranking: Ranking, k: int, bound: float) -> bool:
    """Whether nothing that the index did not tell can be among the best k."""
    if bound == -math.inf:
        return True
    if len(ranking.places) < k or bound == math.inf:
        return False
    last, _ = ranking.places[-1]
    return last >= bound - _TOLERANCE * max(1.0, abs(bound))


def _id(entry: Item) -> str:
    try:
        one: str = entry["embedding_id"]["S"]
    except (KeyError, TypeError) as error:
        raise CorruptError("a vector index told no id") from error
    return one
