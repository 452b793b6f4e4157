"""``sqlite:`` vector index: exact search over rows of the same file as the conversations.

The file is the truth. A user's vectors are held as a matrix in memory; each search compares its
state with the file, in the snapshot it reads from, and loads what is new. A user with more vectors
than memory was granted for is searched block by block.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack, cast
from zlib import crc32

from ialstore.capabilities import VectorCapabilities
from ialstore.decoding import shown_id
from ialstore.errors import CorruptError, IalStoreError
from ialstore.listing import Rows
from ialstore.model import EraseReport, OptimizeReport
from ialstore.vector import VectorIndex
from ialstore.vector_model import EncodedRecord, IndexSpec, SearchQuery, SearchResult
from ialstore_backends._exact import ExactMatrix, Ranking, bytes_per_vector, merge
from ialstore_backends.sqlite import vector_statements as sql
from ialstore_backends.sqlite.connection import Connection, Database, SqliteOptions
from ialstore_backends.sqlite.failures import DamagedRowError
from ialstore_backends.sqlite.held import Held, HeldUsers, Slot, State
from ialstore_backends.sqlite.maintenance import (
    check_file,
    compact,
    damaged_rows,
    every_row,
    mark_erased,
    scrub,
)
from ialstore_backends.sqlite.vector_rows import (
    Row,
    changed_state,
    is_id_intact,
    is_intact,
    read_entries,
    read_id,
    read_record,
    read_state,
    row_of,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from ialstore.component import Progress, StoreSettings
    from ialstore.estimate import Estimate, Workload
    from ialstore.operation import Operation
    from ialstore.url import StoreURL

__all__ = ["SqliteVectorIndex", "read_user_state"]

_BLOCK_BYTES: Final = 4 * 2**20  # of vectors read at once
_ROOM_SHARE: Final = 8  # a matrix has room for an eighth more vectors before it must grow
_ERASE_ROUNDS: Final = 3


class SqliteVectorIndex(VectorIndex):
    """Vectors in one SQLite file, searched exactly; many processes may use it at once."""

    SCHEME: ClassVar[str] = "sqlite"
    OPTIONS: ClassVar[type[Any] | None] = SqliteOptions
    CAPABILITIES: ClassVar[VectorCapabilities] = VectorCapabilities(
        exact=True,
        min_recall=1.0,
        max_k=1000,
        vector_error=0.0,
        durable=True,
        multi_process=True,
        users=True,
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        spec: IndexSpec,
        *,
        options: SqliteOptions | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        options = options or SqliteOptions()
        self._capabilities = replace(self.CAPABILITIES, durable=options.synchronous == "full")
        super().__init__(spec, **settings)
        self._db = Database(path, options, sql.TABLES)
        self._held = HeldUsers(int(options.cache_mb * 2**20))

    @classmethod
    def from_url(cls, url: StoreURL, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Self:
        """Return the index in the file that a URL names; creates nothing yet."""
        return cls(url.file_path(), spec, options=url.options(SqliteOptions), **settings)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return the disk that a workload takes, as a scratch file shows."""
        from ialstore_backends._measured import estimate_vectors

        url.file_path()
        spec, options = IndexSpec(workload.dimension), url.options(SqliteOptions)
        return estimate_vectors(lambda path: cls(path, spec, options=options), workload, age_days)

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do."""
        return self._capabilities

    @property
    def held_bytes(self) -> int:
        """Bytes of the vectors kept in memory."""
        return self._held.nbytes

    # -- the spec and the file ------------------------------------------------------------------

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        ((stored, has_users),) = self._db.read(op, sql.SPEC)
        if stored is None:
            if has_users:
                raise DamagedRowError("the spec of the vectors is missing")
            return None
        try:
            return IndexSpec(**json.loads(stored))
        except (TypeError, ValueError) as error:
            raise CorruptError(f"{self._db.path}: the stored spec can't be read") from error

    def _store_spec(self, op: Operation, spec: IndexSpec) -> None:
        with self._db.writing(op) as connection:
            connection.execute(sql.STORE_SPEC, (json.dumps(asdict(spec)),))

    def _check(self, op: Operation) -> list[str]:
        of_spec = super()._check(op)
        faults = of_spec + check_file(self._db, op)
        # Vectors of another embedder may be sound, too.
        spec = (self._stored_spec(op) if of_spec else None) or self.spec
        users: dict[int, str] = {}
        counted: dict[int, int] = {}
        found: Counter[int] = Counter()
        damaged: list[str] = []
        for row in every_row(self._db, op, sql.CHECK_USERS):
            users[row[0]] = row[1]
            try:
                counted[row[0]] = read_state(row[1:])[1].total
            except DamagedRowError:
                damaged.append(f"row {row[0]}")
        faults += damaged_rows(self._db, "users of vectors", damaged)
        damaged = []
        for row in every_row(self._db, op, sql.CHECK):
            found[row[1]] += 1
            if not is_intact(users.get(row[1], ""), row[3:], row[2], spec):
                damaged.append(f"row {row[0]} (vector of {shown_id(row[4])})")
        faults += damaged_rows(self._db, "vectors", damaged)
        faults += [
            f"user {user} in vector_users of {self._db.path} counts {count} vectors where there "
            f"are {found[user]}: erase and repair them, or restore a backup"
            for user, count in counted.items()
            if count != found[user]
        ]
        return faults

    def _setup(self, op: Operation) -> None:
        self._db.verify(op)
        super()._setup(op)

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        return self._db.translate(error)

    def _close(self) -> None:
        self._db.close()

    def _after_fork(self) -> None:
        self._held = HeldUsers(self._held.most_bytes)

    # -- writing --------------------------------------------------------------------------------

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        with self._db.writing(op) as connection:
            _store(connection, user_id, records)

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        by_user: dict[str, dict[str, EncodedRecord]] = {}
        for user_id, record in records:
            by_user.setdefault(user_id, {})[record.id] = record
        with self._db.writing(op) as connection:
            for user_id, own in by_user.items():
                _store(connection, user_id, list(own.values()))

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        with self._db.writing(op) as connection:
            _, live = _delete_rows(connection, user_id, sql.ROWS_OF_IDS, json.dumps(ids), op.now)
        return live

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        return sum(
            live for _, live in self._batches_removed(op, user_id, sql.ROWS_OF_SESSION, session_id)
        )

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        rows = self._db.read(op, sql.EXPIRED_ROWS, (user_id, op.now))
        numbers = [row[0] for row in rows if is_id_intact(user_id, row[1:])]
        removed = 0
        for first in range(0, len(numbers), sql.CHUNK):
            chunk = json.dumps(numbers[first : first + sql.CHUNK])
            for count, _ in self._batches_removed(op, user_id, sql.ROWS_OF_NUMBERS, chunk):
                removed += count
            progress(removed, len(numbers))
        reclaimed, notes = compact(self._db, op)
        if len(rows) > len(numbers):
            damaged = len(rows) - len(numbers)
            notes += (f"{damaged} vectors that seem to be expired are damaged: run check",)
        return OptimizeReport(removed, reclaimed, notes)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        vectors = remaining = 0
        out_of_reach: tuple[str, ...] = ()
        for _ in range(_ERASE_ROUNDS):
            batches = self._batches_removed(op, user_id, sql.ROWS_ALL, 0, erasing=True)
            vectors += sum(live for _, live in batches)
            self._held.drop(user_id)
            out_of_reach = scrub(self._db, op)
            op.renew()
            remaining = self._count(op, user_id)
            if not remaining:
                break
        return EraseReport(vectors=vectors, remaining=remaining, out_of_reach=out_of_reach)

    def _batches_removed(
        self, op: Operation, user_id: str, which: str, value: str | int, *, erasing: bool = False
    ) -> Iterator[tuple[int, int]]:
        """Delete rows of a user in several transactions; yield rows and live ones of each."""
        rows = sql.CHUNK
        while rows == sql.CHUNK:
            op.renew()
            with self._db.writing(op) as connection:
                rows, live = _delete_rows(connection, user_id, which, value, op.now)
                if erasing:
                    connection.execute(sql.DROP_EMPTY_USER, (user_id,))
                    mark_erased(connection)  # earlier deletes may have left copies, too
            op.is_partly_applied |= rows > 0
            yield rows, live

    # -- reading --------------------------------------------------------------------------------

    def _search(self, op: Operation, query: SearchQuery) -> SearchResult:
        # The slot comes first, then the snapshot: so what is held is never newer than what is read.
        with self._held.lend(op, query.user_id) as slot:
            last = self._last_write
            held = slot.held
            if held is None or last is None or slot.last_write is not last:
                with self._db.reading(op) as connection:
                    state = self._db.until_free(
                        op, lambda: read_user_state(connection, query.user_id)
                    )
                    slot.last_write = last
                    if held is None or held.state != state:
                        connection.execute("BEGIN")
                        return self._search_file(op, connection, slot, query).result()
            op.note("matrix", "held")
            ranking = held.matrix.search(query, op.now)
        return ranking.result()

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, EncodedRecord]:
        with self._db.reading(op) as connection:
            rows = connection.execute(sql.GET, (user_id, json.dumps(ids), op.now)).fetchall()
        found = [read_record(user_id, row, self.spec) for row in rows]
        if not {record.id for record in found} <= set(ids):
            raise DamagedRowError("the index of vectors by id is damaged")
        return {record.id: record for record in found}

    def _ids(self, op: Operation, user_id: str, limit: int, after: str | None) -> Rows[str]:
        with self._db.reading(op) as connection:
            rows = connection.execute(sql.IDS, (user_id, after or "", op.now, limit + 1)).fetchall()
        listed = [read_id(user_id, row) for row in rows]
        if listed != sorted({*listed}) or (listed and listed[0] <= (after or "")):
            raise DamagedRowError("the index of vectors by id is damaged")
        return Rows(listed[:limit], more=len(rows) > limit)

    def _count(self, op: Operation, user_id: str) -> int:
        with self._db.reading(op) as connection:
            connection.execute("BEGIN")
            state = read_user_state(connection, user_id)
            if state is None:
                return 0
            ((expired,),) = connection.execute(sql.EXPIRED, (state.user, op.now))
        return state.total - int(expired)

    def _users(self, op: Operation, limit: int, after: str | None) -> Rows[str]:
        with self._db.reading(op) as connection:
            rows = connection.execute(sql.USERS, (after or "", limit + 1)).fetchall()
        users = [read_state(row)[0] for row in rows]
        return Rows(users[:limit], more=len(users) > limit)

    @property
    def _last_write(self) -> object | None:
        """Something that was made after the last write, where nobody else can write; or None."""
        return None

    # -- bringing what is held up to the file ---------------------------------------------------

    def _search_file(
        self, op: Operation, connection: Connection, slot: Slot, query: SearchQuery
    ) -> Ranking:
        """Search a user whose matrix is not held as the file has it; hold it from now on."""
        state = read_user_state(connection, query.user_id)
        held, slot.held = slot.held, None
        if state is None:
            return Ranking()
        if held is None or not self._can_follow(held, state):
            return self._load_and_search(op, connection, slot, state, query)
        op.note("matrix", "updated")
        for rows in self._read(op, connection, state.user, held.state.written):
            self._put(query.user_id, held.matrix, rows)
        if held.state.removals != state.removals:
            left = connection.execute(sql.ALL_IDS, (state.user,))
            held.matrix.discard(held.matrix.ids - {one for (one,) in left})
        _require_all(len(held.matrix.ids), state)
        slot.held = Held(held.matrix, state)
        return held.matrix.search(query, op.now)

    def _can_follow(self, held: Held, state: State) -> bool:
        most = len(held.matrix) + state.written - held.state.written
        size = most * self._bytes_per_vector()
        return held.state.user == state.user and size <= self._held.most_bytes

    def _load_and_search(
        self, op: Operation, connection: Connection, slot: Slot, state: State, query: SearchQuery
    ) -> Ranking:
        """Search all rows of a user; hold them, unless they are more than may be held."""
        op.note("matrix", "loaded")
        count, room = state.total, self._held.most_bytes // self._bytes_per_vector()
        matrix = self._new_matrix(connection, state, min(count + count // _ROOM_SHARE, room))
        found = 0
        whole = True
        ranking = Ranking()
        for rows in self._read(op, connection, state.user, 0):
            found += len(rows)
            self._put(query.user_id, matrix, rows)
            if matrix.nbytes > self._held.most_bytes:  # go on with a new one: search it in parts
                ranking = merge(ranking, matrix.search(query, op.now), query.k)
                matrix = ExactMatrix(self.spec)
                whole = False
        _require_all(found, state)
        if whole:
            slot.held = Held(matrix, state)
        else:
            op.note("matrix", "streamed")
        return merge(ranking, matrix.search(query, op.now), query.k)

    def _new_matrix(self, connection: Connection, state: State, capacity: int) -> ExactMatrix:
        """Return the matrix that a user's vectors are put into."""
        return ExactMatrix(self.spec, capacity)

    def _bytes_per_vector(self) -> int:
        """Return what a matrix holds for each vector, without its text."""
        return bytes_per_vector(self.spec.dimension)

    def _read(
        self, op: Operation, connection: Connection, user: int, written: int
    ) -> Iterator[list[Row]]:
        """Yield the rows of a user that were written behind this point, in blocks."""
        last, end = user << sql.NUMBER_BITS | written, (user + 1) << sql.NUMBER_BITS
        block = max(1, _BLOCK_BYTES // (4 * self.spec.dimension))
        with closing(connection.execute(sql.READ, (last, end))) as cursor:
            while rows := cursor.fetchmany(block):
                op.remaining()
                numbers = [last, *(row[0] for row in rows)]
                if numbers != sorted({*numbers}):
                    raise DamagedRowError("vectors are out of order")
                last = numbers[-1]
                yield rows

    def _put(self, user_id: str, matrix: ExactMatrix, rows: Sequence[Row]) -> None:
        matrix.put(*read_entries(user_id, rows, self.spec.dimension))


def _require_all(found: int, state: State) -> None:
    if found != state.total:
        raise DamagedRowError(f"one of the {state.total} vectors of user {state.user} is missing")


def read_user_state(connection: Connection, user_id: str) -> State | None:
    """Return what a user has, None for one without vectors."""
    row = connection.execute(sql.STATE, (user_id,)).fetchone()
    return None if row is None else read_state(row)[1]


def _store(connection: Connection, user_id: str, records: Sequence[EncodedRecord]) -> None:
    state = read_user_state(connection, user_id)
    if state is None:
        user = connection.execute(sql.NEW_USER, (user_id,)).lastrowid
        state = State(cast("int", user), written=0, removals=0, total=0)
    ids = json.dumps([record.id for record in records])
    ((replaced,),) = connection.execute(sql.COUNT_GIVEN, (state.user, ids))
    seed = crc32(user_id.encode())
    first = (state.user << sql.NUMBER_BITS) + state.written + 1
    connection.executemany(
        sql.UPSERT,
        (row_of(seed, first + offset, state.user, record) for offset, record in enumerate(records)),
    )
    state = state._replace(
        written=state.written + len(records), total=state.total + len(records) - replaced
    )
    connection.execute(sql.CHANGE_STATE, changed_state(user_id, state))


def _delete_rows(
    connection: Connection, user_id: str, which: str, value: str | int, now: int
) -> tuple[int, int]:
    """Delete up to a batch of rows that a statement names; return how many, and how many live."""
    state = read_user_state(connection, user_id)
    if state is None:
        return 0, 0
    rows = connection.execute(which, (state.user, value)).fetchall()
    if rows:
        numbers = json.dumps([number for number, _ in rows])
        if connection.execute(sql.DELETE, (numbers,)).rowcount != len(rows):
            raise DamagedRowError("an index of vectors is damaged")
        state = state._replace(removals=state.removals + 1, total=state.total - len(rows))
        connection.execute(sql.CHANGE_STATE, changed_state(user_id, state))
        if not state.total:
            connection.execute(sql.DROP_EMPTY_USER, (user_id,))
    # A damaged time comes as None: the vector is live to the statements that read.
    live = sum(expires is None or expires > now for _, expires in rows)
    return len(rows), live
