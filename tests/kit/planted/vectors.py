"""Indexes that find the wrong vectors, or keep others than they were given."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Unpack

import numpy as np

from ialstore import EraseReport, Hit, IndexSpec, OptimizeReport, SearchResult
from ialstore.capabilities import VectorCapabilities
from ialstore.component import Progress, StoreSettings
from ialstore.ids import HIGHEST_ID, LOWEST_ID
from ialstore.listing import Rows
from ialstore.operation import Operation
from ialstore.vector_model import EncodedRecord, SearchQuery
from ialstore_backends.memory import MemoryVectorIndex
from ialstore_backends.sqlite import SqliteVectorIndex
from tests.kit.planted.registry import at, breaks

_ASKED: Final = [one.name for one in fields(SearchQuery) if one.name != "vector"]


class Searches(MemoryVectorIndex):
    """Changes what a search asks for, or what it found."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return query

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return hits

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        result = super()._search(op, self.asked(query))
        return replace(result, hits=tuple(self.found(query, list(result.hits))))


class SearchesAll(Searches):
    """Looks at every vector of a user, and filters and cuts afterwards."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return replace(query, k=100_000)


class Stores(MemoryVectorIndex):
    """Stores what ``changed`` makes of a record."""

    def changed(self, record: EncodedRecord) -> EncodedRecord:
        raise NotImplementedError

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        super()._upsert(op, user_id, [self.changed(one) for one in records])


# -- searching ------------------------------------------------------------------------------------


@breaks("V5")
class FiltersLate(Searches):
    """Sessions are filtered after the top k were found."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return replace(query, session_id=None)

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return [one for one in hits if query.session_id in (None, one.session_id)]


@breaks("V5")
class FiltersRolesLate(Searches):
    """Roles are filtered after the top ten times k were found."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return replace(query, roles=None, k=10 * query.k)

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return [one for one in hits if query.roles is None or one.role in query.roles][: query.k]


@breaks("V5")
class IgnoresExcluded(Searches):
    """The session that is left out is ignored when a role is asked for."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return replace(query, exclude_session_id=None) if query.roles else query


@breaks("V5")
class IncludesUntilInSearch(Searches):
    """The range of times ends behind until."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        if query.upper == HIGHEST_ID:
            return query
        return replace(query, upper=query.upper[:18] + "-ffff-ffffffffffff")


@breaks("V5")
class IgnoresSince(Searches):
    """The beginning of a range of times is ignored when a session is asked for."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return replace(query, lower=LOWEST_ID) if query.session_id else query


@breaks("V5")
class SessionsByPrefix(SearchesAll):
    """A session is searched with every other whose name begins with its own."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return replace(query, session_id=None, k=100_000)

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return [one for one in hits if one.session_id.startswith(query.session_id or "")][: query.k]


@breaks("V5")
class SessionsOfAnyCase(SearchesAll):
    """A session is searched with every other that differs only by case."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return replace(query, session_id=None, k=100_000)

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        name = query.session_id and query.session_id.casefold()
        return [one for one in hits if name in (None, one.session_id.casefold())][: query.k]


@breaks("V4")
class UnsortedTies(Searches):
    """Hits of equal score are not sorted by id."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return sorted(hits, key=lambda one: (one.score, one.id), reverse=True)


@breaks("V4")
class WorstFirst(Searches):
    """The nearest hit comes last."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return hits[::-1]


@breaks("V4")
class CosineForDot(Searches):
    """Under dot the scores are cosines."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        if self.spec.metric != "dot":
            return hits
        records = self._user(query.user_id).records
        lengths = {one.id: float(np.linalg.norm(records[one.id].vector)) or 1.0 for one in hits}
        length = float(np.linalg.norm(query.vector)) or 1.0
        scored = [replace(one, score=one.score / length / lengths[one.id]) for one in hits]
        return sorted(scored, key=lambda one: (-one.score, one.id))


@breaks("V4")
class SquaredDistances(Searches):
    """Under euclidean the scores are squared distances."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        if self.spec.metric != "euclidean":
            return hits
        return [replace(one, score=-one.score * one.score) for one in hits]


@breaks("V4")
class PositiveDistances(Searches):
    """Under euclidean the scores are distances, not their negatives."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        if self.spec.metric != "euclidean":
            return hits
        return [replace(one, score=-one.score) for one in hits]


@breaks("V4")
class CosineFromZeroToOne(Searches):
    """Cosines are mapped to numbers from 0 to 1."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        if self.spec.metric != "cosine":
            return hits
        return [replace(one, score=(1 + one.score) / 2) for one in hits]


@breaks("V4")
class RoundedScores(Searches):
    """Scores are rounded to four digits."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return sorted(
            (replace(one, score=round(one.score, 4)) for one in hits),
            key=lambda one: (-one.score, one.id),
        )


@breaks("V3")
class OneTooMany(Searches):
    """A search returns one hit more than it was asked for."""

    def asked(self, query: SearchQuery) -> SearchQuery:
        return replace(query, k=query.k + 1)


@breaks("V3")
class NeverMoreThanFifty(Searches):
    """A search returns no more than 50 hits."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return hits[:50]


@breaks("V3")
class HitsTwice(Searches):
    """The last hit of a full search is returned twice, once for each partition."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return [*hits[:-1], hits[-2]] if len(hits) > 5 else hits


@breaks("V3")
class HitsWithoutText(Searches):
    """The text of a hit is cut after 1,000 characters."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return [replace(one, text=one.text and one.text[:1000]) for one in hits]


@breaks("V3")
class FindsDeleted(Searches):
    """A deleted vector is still found by a search."""

    def __init__(self, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(spec, **settings)
        self.gone: dict[tuple[str, str], EncodedRecord] = {}

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        self.gone |= {(user_id, one): there for one, there in self._get(op, user_id, ids).items()}
        return super()._delete(op, user_id, ids)

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        known = {one.id for one in hits}
        ghosts = [
            Hit(one.id, hits[-1].score if hits else 0.0, one.session_id, one.role, one.text)
            for (user, _), one in self.gone.items()
            if user == query.user_id and one.id not in known
        ]
        return sorted([*hits, *ghosts], key=lambda one: (-one.score, one.id))[: query.k]


@breaks("C2")
class FindsExpired(Searches):
    """A vector that has expired is still found by a search."""

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        with at(-(10**11), op):
            return super()._search(op, query)


@breaks("V6")
class ExpiredTakePlaces(Searches):
    """Expired vectors take places among the top k."""

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        live = {one.id for one in super()._search(op, replace(query, k=100_000)).hits}
        with at(-(10**11), op):
            result = super()._search(op, query)
        return replace(result, hits=tuple(one for one in result.hits if one.id in live))


@breaks("V6")
class OthersTakePlaces(Searches):
    """The top k are those of all users, and then those of others are left out."""

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        result = super()._search(op, query)
        found = [
            (-one.score, user, one.id)
            for user in self._by_user
            for one in super(OthersTakePlaces, self)._search(op, replace(query, user_id=user)).hits
        ]
        best = {one for _, user, one in sorted(found)[: 4 * query.k] if user == query.user_id}
        return replace(result, hits=tuple(one for one in result.hits if one.id in best))


class Approximate(SearchesAll):
    """Finds not all, and says so."""

    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        MemoryVectorIndex.CAPABILITIES, exact=False, min_recall=0.8
    )


@breaks("V6")
class RecallFalls(Approximate):
    """The harder it tries, the less it finds."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        left = 21 - round(20 * (query.effort or 0))
        return [one for place, one in enumerate(hits) if place % 21 < left][: query.k]


@breaks("V6")
class RecallFallsAtTheEnd(Approximate):
    """With effort 1 one of twenty is missed."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return [one for place, one in enumerate(hits) if query.effort != 1 or place % 20 != 3][
            : query.k
        ]


@breaks("V6")
class RecallIsLess(Approximate):
    """Half of the best are missed, though 0.8 are promised."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return [one for place, one in enumerate(hits) if place % 2][: query.k]


@breaks("V6")
class RecallIsLessWithFilters(Approximate):
    """With a filter half of the best are missed."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        filtered = query.session_id is not None or query.roles is not None
        return [one for place, one in enumerate(hits) if not filtered or place % 2][: query.k]


@breaks("V6")
class LongOnesAreTheSame(Approximate):
    """Long vectors are all the same to it, as infinities of float16 are."""

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        if max((abs(one.score) for one in hits), default=0.0) > 65_504:
            hits = sorted(hits, key=lambda one: one.id)[: query.k]
        return sorted(hits, key=lambda one: (-one.score, one.id))[: query.k]


@breaks("V6")
class ReplacedAreNotFound(Approximate):
    """A vector that was replaced is found no more."""

    def __init__(self, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(spec, **settings)
        self.replaced: set[tuple[str, str]] = set()

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        there = self._get(op, user_id, [one.id for one in records])
        self.replaced |= {(user_id, one) for one in there}
        super()._upsert(op, user_id, records)

    def found(self, query: SearchQuery, hits: list[Hit]) -> list[Hit]:
        return [one for one in hits if (query.user_id, one.id) not in self.replaced][: query.k]


@breaks("V3")
class StaleSearches(Searches):
    """What was asked before is answered as before."""

    def __init__(self, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(spec, **settings)
        self.cache: dict[object, SearchResult] = {}

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        key = (*(getattr(query, one) for one in _ASKED), query.vector.tobytes())
        if key not in self.cache:
            self.cache[key] = super()._search(op, query)
        return self.cache[key]


# -- storing --------------------------------------------------------------------------------------


@breaks("V4")
class KeepsUnitVectors(Stores):
    """Vectors are kept at length 1, whatever the metric."""

    def changed(self, record: EncodedRecord) -> EncodedRecord:
        length = float(np.linalg.norm(record.vector.astype(np.float64))) or 1.0
        vector = (record.vector.astype(np.float64) / length).astype(np.float32)
        vector.flags.writeable = False
        return replace(record, vector=vector)


@breaks("V4")
class KeepsHalfPrecision(Stores):
    """Vectors are kept in 16 bits, though the error is said to be 0."""

    def changed(self, record: EncodedRecord) -> EncodedRecord:
        with np.errstate(over="ignore"):
            vector = record.vector.astype(np.float16).astype(np.float32)
        vector = np.where(np.isfinite(vector), vector, record.vector)
        vector = vector if vector.any() else record.vector.copy()
        vector.flags.writeable = False
        return replace(record, vector=vector)


@breaks("V2")
class TextsOfAThousand(Stores):
    """A text ends after 1,024 characters."""

    def changed(self, record: EncodedRecord) -> EncodedRecord:
        return replace(record, text=record.text and record.text[:1024])


@breaks("V2")
class EmptyTextsAreNoneInVectors(Stores):
    """An empty text of a vector becomes None."""

    def changed(self, record: EncodedRecord) -> EncodedRecord:
        return replace(record, text=record.text or None)


@breaks("V2")
class UpsertKeepsTheFirst(MemoryVectorIndex):
    """A record that is there already is not replaced."""

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        there = self._get(op, user_id, [one.id for one in records])
        new = [one for one in records if one.id not in there]
        if new:
            super()._upsert(op, user_id, new)


@breaks("V2")
class UpsertMerges(MemoryVectorIndex):
    """A replaced record keeps its text where the new one has none."""

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        there = self._get(op, user_id, [one.id for one in records])
        merged = [
            replace(one, text=there[one.id].text) if one.text is None and one.id in there else one
            for one in records
        ]
        super()._upsert(op, user_id, merged)


@breaks("V2")
class UpsertKeepsExpiry(MemoryVectorIndex):
    """A replaced record keeps the expiry it had."""

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        there = self._user(user_id).records
        kept = [
            replace(one, expires=there[one.id].expires) if one.id in there else one
            for one in records
        ]
        super()._upsert(op, user_id, kept)


@breaks("V2")
class UpsertsFullBatches(MemoryVectorIndex):
    """The last batch of an upsert, which is not full, is lost."""

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        whole = records[: len(records) // 25 * 25] if len(records) > 25 else records
        super()._upsert(op, user_id, whole)


@breaks("V7")
class LoadsFullBatchesOfVectors(MemoryVectorIndex):
    """The last batch of a load of vectors, which is not full, is lost."""

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        whole = records[: len(records) // 100 * 100] if len(records) > 100 else records
        super()._load(op, whole)


@breaks("V7")
class LoadsOfTheFirstUser(MemoryVectorIndex):
    """All records of a load go to the first one's user."""

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        super()._load(op, [(records[0][0], one) for _, one in records])


# -- reading and removing -------------------------------------------------------------------------


@breaks("V7")
class CountsExpiredVectors(MemoryVectorIndex):
    """The count has what is expired in it."""

    def _count(self, op: Operation, user_id: str) -> int:
        return len(self._user(user_id).ids)


@breaks("V7")
class GetsExpiredVectors(MemoryVectorIndex):
    """A vector that has expired is found by its id."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        with at(-(10**11), op):
            return super()._get(op, user_id, ids)


@breaks("V7")
class GetsFullBatchesOfVectors(MemoryVectorIndex):
    """The last batch of a get of vectors, which is not full, is lost."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        whole = ids[: len(ids) // 16 * 16] if len(ids) > 16 else ids
        return super()._get(op, user_id, whole)


@breaks("V7")
class DropsIdsAtAPageBorder(MemoryVectorIndex):
    """The first id behind a page border is not listed."""

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        rows = super()._ids(op, user_id, limit + 1, after)
        if after is None:
            return Rows(rows.items[:limit], len(rows.items) > limit)
        return Rows(rows.items[1:], rows.more)


@breaks("V7")
class DeletesFullBatchesOfVectors(MemoryVectorIndex):
    """The last batch of a delete of vectors, which is not full, stays."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        whole = ids[: len(ids) // 25 * 25] if len(ids) > 25 else ids
        return super()._delete(op, user_id, whole)


@breaks("V7")
class DeletesAPageOfVectors(MemoryVectorIndex):
    """Of a session no more than 100 vectors are deleted."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        records = self._user(user_id).records.values()
        ids = [one.id for one in records if one.session_id == session_id]
        return self._delete(op, user_id, ids[:100])


@breaks("V7")
class DeletesSessionsByPrefix(MemoryVectorIndex):
    """Vectors of sessions whose name begins with the one given are deleted, too."""

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        records = self._user(user_id).records.values()
        return self._delete(
            op, user_id, [one.id for one in records if one.session_id.startswith(session_id)]
        )


@breaks("V7")
class DeletesRaceInVectors(MemoryVectorIndex):
    """Two threads that delete one vector at once both count it."""

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        there = len(self._get(op, user_id, ids))
        time.sleep(0.001)
        super()._delete(op, user_id, ids)
        return there


@breaks("C6")
class VectorsOfUsersByPrefix(MemoryVectorIndex):
    """A search finds also the vectors of users whose name begins with the one given."""

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        hits = {
            one.id: one
            for user in sorted({query.user_id, *self._by_user}, reverse=True)
            if user.startswith(query.user_id)
            for one in super(VectorsOfUsersByPrefix, self)
            ._search(op, replace(query, user_id=user))
            .hits
        }
        best = sorted(hits.values(), key=lambda one: (-one.score, one.id))[: query.k]
        return SearchResult(tuple(best), len(best), 0)


@breaks("C6")
class VectorsOfAnyUser(MemoryVectorIndex):
    """A vector is found by its id, whoever asks."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        found: dict[str, EncodedRecord] = {}
        for user in sorted(self._by_user, key=lambda one: one == user_id):
            found |= super()._get(op, user, ids)
        return found


@breaks("V7")
class ErasesLiveVectorsOnly(MemoryVectorIndex):
    """Erase leaves vectors that have expired."""

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        live = list(super()._ids(op, user_id, 100_000, None).items)
        return EraseReport(vectors=super()._delete(op, user_id, live))


@breaks("V7")
class OptimizeForgets(MemoryVectorIndex):
    """Optimize keeps the newest 256 vectors."""

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        self._delete(op, user_id, self._user(user_id).ids[:-256])
        return super()._optimize(op, user_id, progress)


@breaks("V8")
class SearchesWhatWasPrefetched(MemoryVectorIndex):
    """A search after a prefetch does not find what was written in between."""

    held: Mapping[str, Any] = MappingProxyType({})

    def _is_prefetch_due(self, user_id: str) -> bool:
        return True

    def _prefetch(self, op: Operation, user_id: str) -> None:
        self.held = {user_id: deepcopy(self._user(user_id))}

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        now, held = self._by_user, self.held
        self.held = {}
        self._by_user = {**now, **held}
        try:
            return super()._search(op, query)
        finally:
            self._by_user = now


@breaks("V1")
class TakesAnySpec(SqliteVectorIndex):
    """The spec that an index was made for is not compared when it is opened again."""

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        stored = super()._stored_spec(op)
        return None if stored is None else self.spec


@breaks("V1")
class IgnoresTheModel(SqliteVectorIndex):
    """An index made for one embedding model is opened for another."""

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        stored = super()._stored_spec(op)
        return None if stored is None else replace(stored, model=self.spec.model)


@breaks("V1")
class StoresItsSpecForALook(SqliteVectorIndex):
    """A look at an index that was never used decides what it is for."""

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        self._store_spec(op, self.spec)
        return super()._stored_spec(op)


@breaks("C1")
class SearchesWhatItHolds(SqliteVectorIndex):
    """What another handle wrote is not found by one that searched before."""

    def __init__(self, path: Path, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(path, spec, **settings)
        self.held: dict[object, SearchResult] = {}

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        key = (op.now, *(getattr(query, one) for one in _ASKED), query.vector.tobytes())
        if key not in self.held:
            self.held[key] = super()._search(op, query)
        return self.held[key]

    def _wrote(self) -> None:
        self.held.clear()

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        super()._upsert(op, user_id, records)
        self._wrote()

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        super()._load(op, records)
        self._wrote()

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        self._wrote()
        return super()._delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        self._wrote()
        return super()._delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        self._wrote()
        return super()._erase(op, user_id)
