"""``JsonLinesVectorIndex``: vectors in files of JSON lines, searched exactly."""

from __future__ import annotations

import base64
import heapq
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

import numpy as np
from ialstore import (
    CorruptError,
    EraseReport,
    Hit,
    IalStoreError,
    IndexSpec,
    OptimizeReport,
    SearchResult,
    StoreSettings,
    VectorIndex,
)
from ialstore.capabilities import VectorCapabilities
from ialstore.decoding import DAMAGE, stored_role
from ialstore.listing import Rows
from ialstore.vector_model import EncodedRecord, SearchQuery, check_vector

from ialstore_jsonlines.files import Folder, JsonLinesOptions, Row, failed, is_live

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.operation import Operation
    from ialstore.url import StoreURL
    from numpy.typing import NDArray

__all__ = ["JsonLinesVectorIndex"]


class JsonLinesVectorIndex(VectorIndex):
    """Vectors in a folder, for any number of threads of one process; every search is exact.

    Args:
        path: of the folder, which is made on first use; a conversation store may share it.
        spec: dimension, metric and model.
        options: as in the URL.
        settings: clock, timeout and retention.
    """

    SCHEME: ClassVar[str] = "jsonlines"
    CAPABILITIES: ClassVar[VectorCapabilities] = VectorCapabilities(
        durable=True, users=True, exact=True
    )
    OPTIONS: ClassVar[type[Any] | None] = JsonLinesOptions

    def __init__(
        self,
        path: str | os.PathLike[str],
        spec: IndexSpec,
        options: JsonLinesOptions | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        options = options or JsonLinesOptions()
        self._capabilities = replace(self.CAPABILITIES, durable=options.fsync)
        super().__init__(spec, **settings)
        self._folder = Folder(path, "vectors", self._record, options)

    @classmethod
    def from_url(cls, url: StoreURL, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Self:
        """Return the index of ``jsonlines:///relative`` or ``jsonlines:////absolute``."""
        return cls(url.file_path(), spec, url.options(JsonLinesOptions), **settings)

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do; it is durable unless the options say otherwise."""
        return self._capabilities

    @property
    def held_bytes(self) -> int:
        """Bytes of the users whose vectors are in memory."""
        return self._folder.held_bytes

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        path = self._folder.path / "vectors.json"
        with self._folder.turn(op):
            if not path.exists():
                return None
            try:
                return IndexSpec(**json.loads(path.read_text(encoding="utf-8")))
            except DAMAGE as error:
                raise CorruptError(f"{path} is damaged; restore a backup") from error

    def _store_spec(self, op: Operation, spec: IndexSpec) -> None:
        path = self._folder.path / "vectors.json"
        with self._folder.turn(op):
            if not path.exists():  # others may have been faster
                self._folder.replace_file(path, json.dumps(asdict(spec)).encode())

    # -- writing and removing -------------------------------------------------------------------

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        with self._folder.user(op, user_id) as user:
            user.put([_row(record) for record in records])

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        with self._folder.user(op, user_id) as user:
            there = [user.rows[one] for one in ids if one in user.rows]
            user.delete([record.id for record in there])
        return len(_live(there, op.now))

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        with self._folder.user(op, user_id) as user:
            there = [one for one in user.rows.values() if one.session_id == session_id]
            user.delete([record.id for record in there])
        return len(_live(there, op.now))

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        with self._folder.user(op, user_id) as user:
            try:
                live = _live(user.rows.values(), op.now)
            except CorruptError:
                live = []  # can't be counted, and goes all the same
            user.remove()
        return EraseReport(vectors=len(live))

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        with self._folder.user(op, user_id) as user:
            before, size = len(user.rows), user.size
            user.compact([_row(record) for record in _live(user.rows.values(), op.now)])
            removed, reclaimed = before - len(user.rows), size - user.size
        progress(removed, removed)
        return OptimizeReport(removed, reclaimed)

    # -- reading --------------------------------------------------------------------------------

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        with self._folder.user(op, query.user_id) as user:
            live = _live(user.rows.values(), op.now)
        found = [record for record in live if _passes(record, query)]
        if not found:
            return SearchResult((), 0, 0)
        scores = _scores(np.stack([record.vector for record in found]), query.vector, self.spec)
        best = heapq.nsmallest(query.k, zip(scores, found, strict=True), key=_best_first)
        hits = [Hit(one.id, score, one.session_id, one.role, one.text) for score, one in best]
        return SearchResult(tuple(hits), examined=len(found), reranked=len(found))

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        with self._folder.user(op, user_id) as user:
            there = [user.rows[one] for one in ids if one in user.rows]
        return {record.id: record for record in _live(there, op.now)}

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        with self._folder.user(op, user_id) as user:
            live = [record.id for record in _live(user.rows.values(), op.now)]
        behind = sorted(one for one in live if after is None or one > after)
        return Rows(behind[:limit], more=len(behind) > limit)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        with self._folder.turn(op):
            return self._folder.users(limit, after)

    # -- the frame ------------------------------------------------------------------------------

    def _check(self, op: Operation) -> list[str]:
        return super()._check(op) or self._folder.check(op)

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return failed(error) if isinstance(error, OSError) else None

    def _close(self) -> None:
        self._folder.close()

    def _after_fork(self) -> None:
        self._folder.forget_parent()

    def _record(self, user_id: str, row: Row) -> EncodedRecord:
        numbers = np.frombuffer(base64.b64decode(row["vector"], validate=True), "<f4")
        return EncodedRecord(
            row["id"],
            check_vector(numbers, self.spec, "a stored vector"),
            row["session_id"],
            stored_role(row["id"], row["session_id"]),
            row["text"],
            row["expires"],
        )


def _row(record: EncodedRecord) -> Row:
    return {
        "id": record.id,
        "session_id": record.session_id,
        "text": record.text,
        "expires": record.expires,
        "vector": base64.b64encode(record.vector.astype("<f4").tobytes()).decode(),
    }


def _live(records: Iterable[EncodedRecord], now: int) -> list[EncodedRecord]:
    return [record for record in records if is_live(record.expires, now)]


def _passes(record: EncodedRecord, query: SearchQuery) -> bool:
    return (
        query.lower <= record.id < query.upper
        and query.session_id in (None, record.session_id)
        and query.exclude_session_id != record.session_id
        and (query.roles is None or record.role in query.roles)
    )


def _scores(
    vectors: NDArray[np.float32], query: NDArray[np.float32], spec: IndexSpec
) -> list[float]:
    """Return the score of each row, in float64; equal rows have equal scores."""
    rows, wanted = vectors.astype(np.float64), query.astype(np.float64)
    scores: NDArray[np.float64]
    if spec.metric == "euclidean":
        scores = -np.sqrt(np.square(rows - wanted).sum(axis=1))
    else:
        scores = (rows * wanted).sum(axis=1)  # no BLAS, whose sums depend on the place of a row
    if spec.metric == "cosine":
        scores /= np.sqrt(np.square(rows).sum(axis=1) * np.square(wanted).sum())
        scores = np.clip(scores, -1, 1)
    found: list[float] = scores.tolist()
    return found


def _best_first(place: tuple[float, EncodedRecord]) -> tuple[float, str]:
    return -place[0], place[1].id
