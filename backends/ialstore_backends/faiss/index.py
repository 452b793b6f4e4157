"""``faiss:`` vector index: a directory with a SQLite file, and a FAISS index for each large user.

The SQLite file is the truth: what it acknowledges is durable, and every score is computed from its
vectors. FAISS only proposes which ones to score. Its indexes are made and improved by ``optimize``
and, a little at a time, by searches; ``optimize`` keeps them in files, which may be lost.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, Unpack

import numpy as np

from ialstore.capabilities import VectorCapabilities
from ialstore.errors import ConfigurationError, Outcome
from ialstore.model import EraseReport, OptimizeReport
from ialstore.vector_model import IndexSpec
from ialstore_backends._exact import ExactMatrix, bytes_per_vector
from ialstore_backends._late import require
from ialstore_backends.faiss.matrix import ON_DISK_FROM, FaissMatrix
from ialstore_backends.faiss.recipes import LEAST, Recipe
from ialstore_backends.faiss.snapshots import DamagedSnapshotError, Snapshots
from ialstore_backends.faiss.writers import WriterLock
from ialstore_backends.sqlite.connection import SqliteOptions
from ialstore_backends.sqlite.failures import translated
from ialstore_backends.sqlite.held import Held
from ialstore_backends.sqlite.vector_rows import read_entries
from ialstore_backends.sqlite.vectors import SqliteVectorIndex, read_user_state

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ialstore.component import Progress, StoreSettings
    from ialstore.errors import IalStoreError
    from ialstore.estimate import Estimate, Workload
    from ialstore.operation import Operation
    from ialstore.url import StoreURL
    from ialstore.vector_model import EncodedRecord
    from ialstore_backends.sqlite.connection import Connection
    from ialstore_backends.sqlite.held import State
    from ialstore_backends.sqlite.vector_rows import Row

__all__ = ["FaissOptions", "FaissVectorIndex"]

_DATABASE: Final = "vectors.db"
_LOCK: Final = "writer.lock"
_SLICE_SECONDS: Final = 0.5  # of building between two looks at the progress
_KEY: Final = "SELECT value FROM meta WHERE name = 'faiss_key'"
_MAKE_KEY: Final = "INSERT OR IGNORE INTO meta VALUES ('faiss_key', hex(randomblob(32)))"
_NUMBERS: Final = "SELECT 1 FROM vector_users WHERE user = ?"


@dataclass(frozen=True, slots=True)
class FaissOptions:
    """Options of ``faiss:`` URLs."""

    kind: Literal["flat", "hnsw", "ivf"] = "hnsw"
    """``flat`` looks at every vector, ``hnsw`` follows a graph, ``ivf`` probes clusters."""
    storage: Literal["float32", "float16", "int8", "rabitq"] | None = None
    """How FAISS keeps a vector in memory. None: as float32 for ``flat``, which is exact then, else
    as float16: to walk through less memory takes less time. With int8 and rabitq the vectors
    themselves are left on the disk."""
    synchronous: Literal["full", "normal"] = "full"
    """``normal`` is faster, but a loss of power may take back writes that were acknowledged."""
    cache_mb: float = 4096.0
    """Memory for the users searched last, at most; a larger user is read anew for every search."""

    def __post_init__(self) -> None:
        SqliteOptions(self.synchronous, self.cache_mb)

    def recipe(self, metric: str) -> Recipe:
        """Return the index that these options stand for."""
        usual = "float32" if self.kind == "flat" else "float16"
        return Recipe(self.kind, self.storage or usual, metric)


class FaissVectorIndex(SqliteVectorIndex):
    """Vectors of many users in one directory, searched with FAISS.

    One handle at a time may write; any number in any processes may read, and see each write at
    once.

    Args:
        path: of the directory, which is created on first use.
        spec: what the index is for.
        options: of the URL.
        settings: as every index takes them.
    """

    SCHEME: ClassVar[str] = "faiss"
    OPTIONS: ClassVar[type[Any] | None] = FaissOptions
    CAPABILITIES: ClassVar[VectorCapabilities] = replace(
        SqliteVectorIndex.CAPABILITIES, exact=False, min_recall=0.95, multi_process=False
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        spec: IndexSpec,
        *,
        options: FaissOptions | None = None,
        **settings: Unpack[StoreSettings],
    ) -> None:
        require("faiss", extra="faiss", needed_by="faiss")
        options = options or FaissOptions()
        self._folder = os.path.realpath(path)
        self._recipe = options.recipe(spec.metric)
        self._said = replace(
            self.CAPABILITIES,
            durable=options.synchronous == "full",
            exact=self._recipe.is_exact,
            min_recall=1.0 if self._recipe.is_exact else self.CAPABILITIES.min_recall,
            metrics=self._recipe.metrics,
        )
        super().__init__(
            os.path.join(self._folder, _DATABASE),  # noqa: PTH118 - a text, as realpath gave it
            spec,
            options=SqliteOptions(options.synchronous, options.cache_mb),
            **settings,
        )
        self._snapshots = Snapshots(self._folder, spec, self._recipe)
        self._writer = WriterLock(os.path.join(self._folder, _LOCK))  # noqa: PTH118 - as above
        self._written = object()
        self._files = threading.Lock()  # between an erase and who writes a snapshot

    @classmethod
    def from_url(cls, url: StoreURL, spec: IndexSpec, **settings: Unpack[StoreSettings]) -> Self:
        """Return the index in the directory that a URL names; creates nothing yet."""
        return cls(url.file_path(), spec, options=url.options(FaissOptions), **settings)

    @classmethod
    def estimate(cls, url: StoreURL, workload: Workload, *, age_days: float) -> Estimate:
        """Return the disk and the memory that a workload takes, as a scratch folder shows.

        What FAISS's own indexes take beside, of memory and disk, is reckoned: they begin with more
        vectors than that.
        """
        from ialstore.estimate import Stored
        from ialstore_backends._measured import estimate_vectors

        url.file_path()
        spec, options = IndexSpec(workload.dimension), url.options(FaissOptions)
        found = estimate_vectors(lambda path: cls(path, spec, options=options), workload, age_days)
        recipe = options.recipe(spec.metric)
        count = workload.messages_per_day * workload.kept_days(age_days)
        rows = count * 4 * spec.dimension
        if not recipe.keeps_rows and rows >= ON_DISK_FROM:
            held = found.held_bytes_per_user - rows
            found = replace(found, held_bytes_per_user=held)
        if recipe.is_exact or count < LEAST:
            return found
        held = found.held_bytes_per_user + count * recipe.bytes_per_vector(spec.dimension)
        file = count * recipe.file_bytes_per_vector(spec.dimension)
        indexes = Stored("disk, indexes", file, found.stored[0].price)
        return replace(found, stored=(*found.stored, indexes), held_bytes_per_user=held)

    @property
    def capabilities(self) -> VectorCapabilities:
        """What this index can do; its kind and storage say how well it finds."""
        return self._said

    # -- the directory --------------------------------------------------------------------------

    def _stored_spec(self, op: Operation) -> IndexSpec | None:
        self._make_folder()
        return super()._stored_spec(op)

    def _setup(self, op: Operation) -> None:
        self._make_folder()
        super()._setup(op)

    def _make_folder(self) -> None:
        folder = Path(self._folder)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"the folder {folder.parent} is missing; create it first"
            ) from error
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError(f"{folder} is no directory; name one for faiss") from error
        if Path(self._db.path).parent != folder or (folder / _DATABASE).is_symlink():
            raise ConfigurationError(
                f"{folder / _DATABASE} is a symbolic link: put the file itself there"
            )

    def _check(self, op: Operation) -> list[str]:
        faults = super()._check(op)
        folder = Path(self._folder)
        if mode := stat.S_IMODE(folder.stat().st_mode) & 0o022:
            faults.append(f"{folder} may be written by others (mode {mode:o}): chmod 700 it")
        keys = self._db.read(op, _KEY)
        for user in self._snapshots.users():
            op.renew()
            path = self._snapshots.path(user)
            try:
                self._snapshots.read(_key_of(keys[0]) if keys else b"none", user)
            except (DamagedSnapshotError, OSError) as error:
                faults.append(f"{path} is not used: {error}; run optimize, which makes it anew")
            if not self._db.read(op, _NUMBERS, (user,)):
                faults.append(f"{path} is of a user who has no vectors: remove it")
        return faults

    def _translate(self, op: Operation, error: Exception) -> IalStoreError | None:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            return translated(error, error.filename, Outcome.NOT_APPLIED)
        return super()._translate(op, error)

    def _close(self) -> None:
        super()._close()
        self._writer.give_back()

    def _after_fork(self) -> None:  # pragma: no cover - in forked children only
        super()._after_fork()
        self._files = threading.Lock()
        self._writer.after_fork()

    # -- writing: one handle at a time ----------------------------------------------------------

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Be the writer from now on; searches look for what was written inside."""
        if self._writer.take():
            self._snapshots.remove_unfinished()
        try:
            yield
        finally:
            self._written = object()

    @property
    def _last_write(self) -> object | None:
        return self._written if self._writer.is_held else None

    def _upsert(self, op: Operation, user_id: str, records: Sequence[EncodedRecord]) -> None:
        with self._writing():
            super()._upsert(op, user_id, records)

    def _load(self, op: Operation, records: Sequence[tuple[str, EncodedRecord]]) -> None:
        with self._writing():
            super()._load(op, records)

    def _delete(self, op: Operation, user_id: str, ids: Sequence[str]) -> int:
        with self._writing():
            return super()._delete(op, user_id, ids)

    def _delete_session(self, op: Operation, user_id: str, session_id: str) -> int:
        with self._writing():
            return super()._delete_session(op, user_id, session_id)

    def _erase(self, op: Operation, user_id: str) -> EraseReport:
        with self._writing():
            state = self._state(op, user_id)
            report = super()._erase(op, user_id)
            op.renew()
            # What an erase that was interrupted left, too.
            users = self._orphans(op) if state is None else [state.user, *self._orphans(op)]
            with self._files:
                for user in users:
                    self._snapshots.remove(user)
        return report

    def _optimize(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        with self._writing():
            report = super()._optimize(op, user_id, progress)
            op.renew()
            return replace(report, notes=report.notes + self._improve(op, user_id, progress))

    # -- making indexes -------------------------------------------------------------------------

    def _improve(self, op: Operation, user_id: str, progress: Progress) -> tuple[str, ...]:
        """Make or improve the index of a user, keep it in a file, and search with it."""
        for user in self._orphans(op):
            self._snapshots.remove(user)
        if self._recipe.is_exact:
            return ()
        with self._db.reading(op) as connection:
            connection.execute("BEGIN")
            state = read_user_state(connection, user_id)
            if state is None:
                return ()
            if state.total * self._bytes_per_vector() > self._held.most_bytes:
                return (
                    f"{state.total} vectors need more memory than cache_mb grants: not indexed",
                )
            matrix = self._read_matrix(op, connection, user_id, state)
        if matrix.is_worn:
            matrix.renew()
        while left := matrix.absorb(_SLICE_SECONDS):
            progress(len(matrix) - left, len(matrix))
            op.renew()
        op.renew()
        self._keep(op, user_id, matrix, state)
        with self._held.lend(op, user_id) as slot:
            slot.held, slot.last_write = Held(matrix, state), None
        return ()

    def _read_matrix(
        self, op: Operation, connection: Connection, user_id: str, state: State
    ) -> FaissMatrix:
        matrix = self._empty_matrix(connection, state, state.total)
        for rows in self._read(op, connection, state.user, 0):
            self._put(user_id, matrix, rows)
            op.renew()
        matrix.finish()
        return matrix

    def _keep(self, op: Operation, user_id: str, matrix: FaissMatrix, state: State) -> None:
        """Write the file of a user, unless vectors were removed since: none may outlive it."""
        key = self._key(op)
        with self._files:
            now = self._state(op, user_id)
            if now is not None and (now.user, now.removals) == (state.user, state.removals):
                self._snapshots.write(key, state.user, matrix)

    def _orphans(self, op: Operation) -> list[int]:
        users = self._snapshots.users()
        return [user for user in users if not self._db.read(op, _NUMBERS, (user,))]

    def _state(self, op: Operation, user_id: str) -> State | None:
        with self._db.reading(op) as connection:
            return self._db.until_free(op, lambda: read_user_state(connection, user_id))

    def _key(self, op: Operation) -> bytes:
        """Return the key of this directory's files, made once."""
        self._db.write(op, _MAKE_KEY, ())
        (row,) = self._db.read(op, _KEY)
        return _key_of(row)

    # -- matrices -------------------------------------------------------------------------------

    def _new_matrix(self, connection: Connection, state: State, capacity: int) -> ExactMatrix:
        most = self._held.most_bytes
        if self._recipe.is_exact or state.total * self._bytes_per_vector() > most:
            return ExactMatrix(self.spec, capacity)
        return self._empty_matrix(connection, state, capacity)

    def _empty_matrix(self, connection: Connection, state: State, capacity: int) -> FaissMatrix:
        """Return a matrix that takes up the index of a file, if there is a good one."""
        matrix = FaissMatrix(self.spec, self._recipe, self._folder, capacity)
        row = connection.execute(_KEY).fetchone()
        if row is not None:
            try:
                restored = self._snapshots.read(_key_of(row), state.user)
            except (DamagedSnapshotError, OSError):
                restored = None  # check says so; the index is made again
            if restored is not None:
                matrix.expect(restored)
        return matrix

    def _bytes_per_vector(self) -> int:
        each = bytes_per_vector(self.spec.dimension)
        if not self._recipe.keeps_rows:
            each -= 4 * self.spec.dimension
        return each + self._recipe.bytes_per_vector(self.spec.dimension)

    def _put(self, user_id: str, matrix: ExactMatrix, rows: Sequence[Row]) -> None:
        if not isinstance(matrix, FaissMatrix):
            super()._put(user_id, matrix, rows)
            return
        entries, vectors = read_entries(user_id, rows, self.spec.dimension)
        numbers = np.array([row[0] for row in rows], np.int64)
        checksums = np.array([row[5] for row in rows], np.int64)
        matrix.put_rows(entries, vectors, numbers, checksums)


def _key_of(row: Row) -> bytes:
    return str(row[0]).encode()
