"""``VectorIndex``: the contract of an index of vectors, one per message.

Built like ``ConversationStore``: public methods are templates over private hooks, and hooks never
check an argument again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from ialstore._text import from_seconds
from ialstore.component import Component, Progress, StoreSettings
from ialstore.errors import (
    ConfigurationError,
    LimitExceededError,
    UnsupportedOperationError,
)
from ialstore.ids import check_id_part
from ialstore.limits import LOAD_BATCH, MAX_DELETE, MAX_GET, MAX_UPSERT
from ialstore.listing import Rows, check_ids, text_listing_after, text_page
from ialstore.loading import load_batches, load_in_parts, report_to
from ialstore.model import Consistency, EraseReport, LoadReport, OptimizeReport, Page
from ialstore.vector_model import (
    EncodedRecord,
    IndexSpec,
    SearchQuery,
    SearchResult,
    VectorRecord,
    Where,
    encode_record,
    encode_search,
)

if TYPE_CHECKING:
    from ialstore.capabilities import VectorCapabilities
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["VectorIndex"]

_EVERYTHING = Where()
_USERS = ("vector users",)


class VectorIndex(Component):
    """Vectors of an agent's messages, searched by similarity within one user.

    Open one with ``ialstore.open_index(url, spec)``. All methods are safe from many threads;
    ``user_id`` is the tenant boundary in every call.

    Note to implementers: a hook gets user ids of up to 384 bytes, as they count once ``%`` and
    ``#`` are escaped, and of up to 129 more for each ``namespace`` around the index.
    """

    KIND: ClassVar[str] = "vector"
    CAPABILITIES: ClassVar[VectorCapabilities]
    """Of this kind of index with its default options."""
    OPTIONS: ClassVar[type[Any] | None] = None
    """Frozen dataclass of the options that the URL may carry."""

    def __init__(self, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self._spec = spec
        self._spec_bound = False
        if spec.metric not in self.capabilities.metrics:
            raise UnsupportedOperationError(
                f"{self.backend} offers {', '.join(sorted(self.capabilities.metrics))}, "
                f"not {spec.metric}",
                backend=self.backend,
            )

    @classmethod
    def from_url(cls, url: StoreURL, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Self:
        """Return the index that a URL names; creates nothing yet.

        Note to implementers: take what you need from ``url`` and read the options with
        ``url.options(cls.OPTIONS)``, which names a misspelt one.
        """
        raise ConfigurationError(f"{cls.__name__} has no URL form")

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do."""
        return self.CAPABILITIES

    @property
    def spec(self) -> IndexSpec:
        """What the index was made for."""
        return self._spec

    # -- hooks that every backend writes --------------------------------------------------------

    @abstractmethod
    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        """Return the stored spec; None where there is none yet. Stores nothing.

        Called by each operation until there is one. With ``needs_setup`` only ``_setup`` stores
        it, and this raises ``StoreNotReadyError`` where there is none.
        """

    @abstractmethod
    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        """Store 1 to 1,000 records with different ids, replacing those that are there.

        Raise ``PartialWriteError`` when some are stored and others not.
        """

    @abstractmethod
    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        """Return the nearest live vectors that pass the filters, sorted by (-score, id).

        Filters apply before the top k. A part that fails makes the whole search fail.
        """

    @abstractmethod
    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        """Return the live records among 1 to 100 different ids, by id."""

    @abstractmethod
    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        """Delete 1 to 1,000 different ids; return how many live vectors this call removed.

        What is expired goes too, uncounted.
        """

    @abstractmethod
    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        """Return ids of live vectors in ascending order, behind ``after``."""

    @abstractmethod
    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        """Delete all vectors of a session; return how many live ones this call removed."""

    @abstractmethod
    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        """Remove everything of the user and every trace in files; see the conversation store."""

    # -- hooks with a correct, slower default ---------------------------------------------------

    def _count(self, op: Operation, user_id: str) -> int:
        """Return the number of live vectors. Default: pages through the ids."""
        total = 0
        after: str | None = None
        while True:
            rows = self._ids(op, user_id, LOAD_BATCH, after)
            total += len(rows.items)
            if not rows.items or not rows.more:
                return total
            after = rows.items[-1]

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        """Store 1 to 1,000 records of any users. Default: one ``_upsert`` per user.

        The same id may come twice, then the last one stays. Raise ``PartialWriteError`` with every
        id when some could not be written; see ``load_in_parts``.
        """
        by_user: dict[str, dict[str, tuple[str, EncodedRecord]]] = {}
        for pair in records:
            by_user.setdefault(pair[0], {})[pair[1].id] = pair

        def load(part: Sequence[tuple[str, EncodedRecord]]) -> None:
            self._upsert(op, part[0][0], [record for _, record in part])

        parts = (list(own.values()) for own in by_user.values())
        load_in_parts(op, parts, load, lambda pair: pair[1].id)

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        """Do maintenance that no call needs. Default: there is none."""
        return OptimizeReport()

    def _is_optimize_due(self, user_id: str) -> bool:
        """Return whether ``_optimize_due`` pays, as far as this process knows. Default: never.

        Makes no request, and never waits.
        """
        return False

    def _optimize_due(self, op: Operation, user_id: str) -> OptimizeReport:
        """Do the part of the maintenance that pays by now. Default: there is none."""
        return OptimizeReport()

    def _is_prefetch_due(self, user_id: str) -> bool:
        """Return whether ``_prefetch`` would spare the next search a look; makes no request."""
        del user_id
        return False

    def _prefetch(self, op: Operation, user_id: str) -> None:
        """Read, and hold, what every search of a user begins with."""

    def _store_spec(self, op: Operation, spec: IndexSpec) -> None:
        """Store the spec, unless another process was faster. Default: nothing.

        Called by the first operation that writes, where ``_stored_spec`` found none.
        """

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        """Return users behind ``after`` in any fixed order. Only called with the capability."""
        raise NotImplementedError

    # -- public methods: writing ----------------------------------------------------------------

    def upsert(self, user_id: str, records: Sequence[VectorRecord]) -> None:
        """Store up to 1,000 records, replacing those with the same id; the last one given stays.

        Raises:
            InvalidInputError: a record breaks the contract.
            LimitExceededError: more than 1,000 records, or a text above 2 KiB.
            PartialWriteError: some were stored; says which. Repeating the call is safe.
            ConfigurationError: the stored spec is another one.
        """
        self._require_writable("upsert")
        check_id_part(user_id, "user_id")
        if len(records) > MAX_UPSERT:
            raise LimitExceededError(
                f"{len(records):,} records in one upsert, more than {MAX_UPSERT:,}"
            )
        encoded = {one.id: one for one in map(self._encode, records)}
        with self._operation("upsert") as op:
            self._bind(op)
            if encoded:
                self._upsert(op, user_id, list(encoded.values()))
            op.items = len(encoded)

    def delete(self, user_id: str, ids: Sequence[str]) -> int:
        """Delete vectors by id; unknown ones are passed over.

        Returns:
            How many vectors this call removed.

        Raises:
            InvalidInputError: an id is not a message id.
            LimitExceededError: more than 1,000 ids.
        """
        self._require_writable("delete")
        check_id_part(user_id, "user_id")
        wanted = check_ids(ids, at_most=MAX_DELETE)
        with self._operation("delete") as op:
            self._bind(op)
            op.items = self._delete(op, user_id, wanted) if wanted else 0
        return op.items

    def delete_session(self, user_id: str, session_id: str) -> int:
        """Delete all vectors of a session.

        Returns:
            How many vectors this call removed.

        Raises:
            InvalidInputError: an argument breaks the contract.
        """
        self._require_writable("delete_session")
        check_id_part(user_id, "user_id")
        check_id_part(session_id, "session_id")
        with self._operation(
            "delete_session", consistency=self._reading(None), renewable=True
        ) as op:
            self._bind(op)
            op.items = self._delete_session(op, user_id, session_id)
        return op.items

    def erase(self, user_id: str) -> EraseReport:
        """Remove everything of a user that was acknowledged before this call began.

        Returns:
            What was removed, what others wrote meanwhile, and what is out of reach.

        Raises:
            InvalidInputError: the user id breaks the contract.
        """
        self._require_writable("erase")
        check_id_part(user_id, "user_id")
        with self._operation("erase", consistency=self._reading(None), renewable=True) as op:
            self._bind(op)
            report = self._erase(op, user_id)
            op.items = report.vectors
        return report

    def bulk_load(
        self, records: Iterable[tuple[str, VectorRecord]], *, progress: Progress | None = None
    ) -> LoadReport:
        """Restore pairs of user id and record, replacing those that are there.

        Args:
            records: any iterable; read as it is needed.
            progress: called with the number done so far and None.

        Returns:
            How many were written, and how many could not be.

        Raises:
            InvalidInputError: a record breaks the contract; those before it may be written.
            IalStoreError: the index failed; repeating the load is safe and completes it.
        """
        self._require_writable("bulk_load")
        with self._operation("bulk_load", consistency=self._reading(None), renewable=True) as op:
            self._bind(op)
            batches = self._batches(records)
            return load_batches(op, batches, self._load, lambda pair: pair[1].id, progress)

    def is_optimize_due(self, user_id: str) -> bool:
        """Return whether ``optimize`` pays for a user whom this process has written to.

        Makes no request: what other processes wrote is not known.

        Raises:
            InvalidInputError: the user id breaks the contract.
        """
        check_id_part(user_id, "user_id")
        return self._is_optimize_due(user_id)

    def optimize(
        self, user_id: str, *, progress: Progress | None = None, only_due: bool = False
    ) -> OptimizeReport:
        """Do maintenance that changes cost and speed only; safe at any time.

        Args:
            user_id: whose vectors to look at.
            progress: called with what is done and the total, in steps of the backend's choice.
            only_due: do only what pays by now, and look at nothing else.

        Raises:
            InvalidInputError: the user id breaks the contract.
        """
        self._require_writable("optimize")
        check_id_part(user_id, "user_id")
        with self._operation("optimize", consistency=self._reading(None), renewable=True) as op:
            self._bind(op)
            if only_due:
                report = self._optimize_due(op, user_id)
            else:
                report = self._optimize(op, user_id, report_to(op, progress))
            op.items = report.removed
        return report

    # -- public methods: reading ----------------------------------------------------------------

    def is_prefetch_due(self, user_id: str) -> bool:
        """Return whether ``prefetch`` would make the next search of a user quicker.

        Makes no request.

        Raises:
            InvalidInputError: the user id breaks the contract.
        """
        check_id_part(user_id, "user_id")
        return self._is_prefetch_due(user_id)

    def prefetch(self, user_id: str, *, consistency: Consistency | None = None) -> None:
        """Read beforehand what each search of a user begins with, as while a query is embedded.

        Changes no answer: a search looks for what was written since. Where nothing is due, as with
        most indexes ever, nothing is read.

        Args:
            user_id: whose vectors will be searched.
            consistency: as in ``search``.

        Raises:
            InvalidInputError: an argument breaks the contract.
        """
        check_id_part(user_id, "user_id")
        with self._operation("prefetch", consistency=self._reading(consistency)) as op:
            if self._is_prefetch_due(user_id):
                self._bind(op)
                self._prefetch(op, user_id)

    def search(
        self,
        user_id: str,
        vector: Any,
        k: int = 10,
        *,
        where: Where = _EVERYTHING,
        effort: float | None = None,
        consistency: Consistency | None = None,
    ) -> SearchResult:
        """Return the nearest vectors of a user, best first.

        Args:
            user_id: the tenant.
            vector: shape (dimension,), real numbers.
            k: 1 to ``capabilities.max_k`` hits.
            where: which vectors to consider.
            effort: above 0 to 1, the best the index can do; None for its default.
            consistency: the strongest on offer by default.

        Raises:
            InvalidInputError: an argument breaks the contract.
            LimitExceededError: ``k`` is above ``capabilities.max_k``.
            UnsupportedOperationError: strong consistency is not on offer.
            ConfigurationError: the stored spec is another one.
        """
        query = encode_search(
            self._spec,
            user_id,
            vector,
            k=k,
            max_k=self.capabilities.max_k,
            where=where,
            effort=effort,
        )
        with self._operation("search", consistency=self._reading(consistency)) as op:
            self._compare_spec(op)
            if query.lower >= query.upper:
                return SearchResult((), 0, 0)
            result = self._search(op, query)
            op.items = len(result.hits)
        return result

    def get(
        self, user_id: str, ids: Sequence[str], *, consistency: Consistency | None = None
    ) -> list[VectorRecord]:
        """Return the records with these ids, in the order asked; unknown ones are left out.

        Vectors are float32 and read-only.

        Raises:
            InvalidInputError: an id is not a message id.
            LimitExceededError: more than 100 ids.
            UnsupportedOperationError: strong consistency is not on offer.
        """
        check_id_part(user_id, "user_id")
        wanted = check_ids(ids, at_most=MAX_GET)
        with self._operation("get", consistency=self._reading(consistency)) as op:
            self._compare_spec(op)
            found: Mapping[str, EncodedRecord] = self._get(op, user_id, wanted) if wanted else {}
            op.items = len(found)
        return [_record(found[one]) for one in ids if one in found]

    def count(self, user_id: str, *, consistency: Consistency | None = None) -> int:
        """Return the number of a user's vectors.

        Raises:
            InvalidInputError: the user id breaks the contract.
            UnsupportedOperationError: strong consistency is not on offer.
        """
        check_id_part(user_id, "user_id")
        with self._operation("count", consistency=self._reading(consistency)) as op:
            self._compare_spec(op)
            op.items = self._count(op, user_id)
        return op.items

    def ids(
        self,
        user_id: str,
        *,
        limit: int = 1000,
        cursor: str | None = None,
        consistency: Consistency | None = None,
    ) -> Page[str]:
        """Return one page of the ids of a user's vectors, ascending.

        Raises:
            InvalidInputError: the limit is not 1 to 1,000, or the cursor is damaged.
            UnsupportedOperationError: strong consistency is not on offer.
        """
        check_id_part(user_id, "user_id")
        scope = ("vector ids", user_id)
        after = text_listing_after(scope, limit, cursor)
        with self._operation("ids", consistency=self._reading(consistency)) as op:
            self._compare_spec(op)
            rows = self._ids(op, user_id, limit, after)
            op.items = len(rows.items)
        return text_page(scope, rows)

    def users(self, *, limit: int = 100, cursor: str | None = None) -> Page[str]:
        """Return one page of all users, in no particular order; one may come twice.

        Raises:
            InvalidInputError: the limit is not 1 to 1,000, or the cursor is damaged.
            UnsupportedOperationError: ``capabilities.users`` is false.
        """
        self._require_users()
        after = text_listing_after(_USERS, limit, cursor)
        with self._operation("users", consistency=self._reading(None), renewable=True) as op:
            self._compare_spec(op)
            rows = self._users(op, limit, after)
            op.items = len(rows.items)
        return text_page(_USERS, rows)

    # -- the spec and encoding ------------------------------------------------------------------

    def _setup(self, op: Operation) -> None:
        """Create what is missing; idempotent. Default: stores the spec."""
        self._bind(op)

    def _check(self, op: Operation) -> list[str]:
        """Return one sentence per difference. Default: compares the spec."""
        try:
            self._compare_spec(op)
        except ConfigurationError as error:
            return [str(error)]
        return []

    def _bind(self, op: Operation) -> None:
        """Compare the stored spec before the first write, which stores it where there is none."""
        self._compare_spec(op)
        if not self._spec_bound:
            self._store_spec(op, self._spec)
            self._compare_spec(op)

    def _compare_spec(self, op: Operation) -> None:
        """Compare the stored spec once, as soon as there is one."""
        if self._spec_bound:
            return
        stored = self._stored_spec(op)
        if stored is None:
            return
        if (
            stored.dimension != self._spec.dimension
            or stored.metric != self._spec.metric
            or (stored.model and self._spec.model and stored.model != self._spec.model)
        ):
            raise ConfigurationError(
                f"the index was made for {stored}, not for {self._spec}; "
                "use the same embedder, or another index",
                backend=self.backend,
            )
        self._spec_bound = True

    def _encode(self, record: VectorRecord) -> EncodedRecord:
        return encode_record(record, self._spec, retention_seconds=self._retention_seconds)

    def _batches(
        self, records: Iterable[tuple[str, VectorRecord]]
    ) -> Iterator[list[tuple[str, EncodedRecord]]]:
        batch: list[tuple[str, EncodedRecord]] = []
        for user_id, record in records:
            check_id_part(user_id, "user_id")
            batch.append((user_id, self._encode(record)))
            if len(batch) == LOAD_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _record(encoded: EncodedRecord) -> VectorRecord:
    return VectorRecord(
        encoded.id,
        encoded.vector,
        encoded.session_id,
        encoded.role,
        encoded.text,
        None if encoded.expires is None else from_seconds(encoded.expires),
    )
