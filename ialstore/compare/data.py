"""The vectors that indexes are compared with, and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ialstore.errors import ConfigurationError, InvalidInputError
from ialstore.ids import Role, message_id
from ialstore.limits import MAX_PAGE
from ialstore.vector_model import VectorRecord

if TYPE_CHECKING:
    from ialstore.config import Config

__all__ = ["FILES", "Dataset", "read", "records"]

_VECTORS: Final = ("vectors", "base", "turn_vectors")
_QUERIES: Final = ("queries", "query", "question_vectors")
_BESIDE: Final = ("texts", "sessions")
FILES: Final = (".npz", ".jsonl")
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SESSION: Final = 20
"""Messages of a session, where the data has none."""
_LEAST: Final = 2

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Vectors of one user, and what is searched for among them.

    Attributes:
        name: where they come from, for people.
        vectors: shape (n, dimension), float32, in the order in which they are loaded.
        queries: shape (q, dimension), float32.
        texts: of the vectors; empty if there are none.
        sessions: of the vectors; empty if there are none.
        digest: of all of it, in hex.
    """

    name: str
    vectors: Vectors = field(repr=False)
    queries: Vectors = field(repr=False)
    texts: Sequence[str] = field(default=(), repr=False)
    sessions: Sequence[str] = field(default=(), repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        said = hashlib.sha256(json.dumps([list(self.texts), list(self.sessions)]).encode())
        for array in (self.vectors, self.queries):
            said.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        object.__setattr__(self, "digest", said.hexdigest()[:16])

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return int(self.vectors.shape[1])


def read(source: str, user_id: str | None, config: Config, *, queries: int, seed: int) -> Dataset:
    """Return what an ``.npz`` or ``.jsonl`` file holds, or a user's messages.

    An npz has ``vectors`` (or ``base``, ``turn_vectors``) and may have ``queries`` (or ``query``,
    ``question_vectors``), ``texts`` and ``sessions``. A line of JSONL is an object with ``vector``
    that may have ``text``, ``session`` and ``"query": true``. Messages are those that can be
    recalled, embedded as the configuration says.

    Args:
        source: path of the file, or the name of the store, for people.
        user_id: whose messages; None for a file.
        config: of the store and the embedder.
        queries: searches at most; where the file has none they are drawn from the vectors, at most
            a fifth, and taken out of them.
        seed: of the draw.

    Raises:
        ConfigurationError: it is a store, and there is no user.
        InvalidInputError: the file does not hold that, or the user has too few messages.
        OSError: the file can't be read.
    """
    path = Path(source)
    if path.suffix in FILES:
        found = _read_npz(path) if path.suffix == ".npz" else _read_jsonl(path)
        return _drawn(path.name, found, count=queries, seed=seed)
    if user_id is None:
        raise ConfigurationError(f"say whose {source} to take: --user USER")
    said = _read_store(config, user_id)
    if len(said.vectors) < _LEAST:
        raise InvalidInputError(
            f"too few {source} of {user_id} to compare with: {len(said.vectors)}"
        )
    return _drawn(source, said, count=queries, seed=seed)


def records(
    data: Dataset, user_id: str, first: int, last: int, *, text_bytes: int
) -> Iterator[VectorRecord]:
    """Yield the vectors from ``first`` up to ``last`` as records, a minute apart.

    Beyond the last vector come the queries. Where there are no texts each has ``text_bytes``.
    """
    filler = "x" * text_bytes
    count = len(data.vectors)
    for number in range(first, last):
        is_stored = number < count
        vector = data.vectors[number] if is_stored else data.queries[number - count]
        session = f"session-{number // _SESSION}"
        if is_stored and data.sessions:
            session = data.sessions[number]
        role = Role.ASSISTANT if number % 2 else Role.USER
        at = _START + timedelta(minutes=number)
        made = message_id(user_id, session, at, role, str(number))
        text = data.texts[number] if is_stored and data.texts else filler
        yield VectorRecord(made, vector, session, role, text or None)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a source holds; of ``texts`` and ``sessions`` all or none."""

    vectors: Vectors
    asked: Vectors | None
    texts: list[str]
    sessions: list[str]


def _drawn(name: str, found: _Found, *, count: int, seed: int) -> Dataset:
    """Return the data with as many queries as asked for, drawn by a seed."""
    vectors, asked, rng = found.vectors, found.asked, np.random.default_rng(seed)
    if len(vectors) < _LEAST:
        raise InvalidInputError(f"too few vectors to compare with in {name}: {len(vectors)}")
    if asked is not None:
        if asked.shape[1] != vectors.shape[1]:
            raise InvalidInputError(
                f"{name}: queries of {asked.shape[1]} numbers, vectors of {vectors.shape[1]}"
            )
        chosen = np.sort(rng.permutation(len(asked))[:count])
        return Dataset(name, vectors, asked[chosen], found.texts, found.sessions)
    out = np.sort(rng.permutation(len(vectors))[: min(count, max(1, len(vectors) // 5))])
    stays = np.setdiff1d(np.arange(len(vectors)), out)
    texts, sessions = (_at(stays, one) for one in (found.texts, found.sessions))
    return Dataset(name, vectors[stays], vectors[out], texts, sessions)


def _at(places: NDArray[np.intp], texts: Sequence[str]) -> list[str]:
    return [texts[int(one)] for one in places] if texts else []


def _read_store(config: Config, user_id: str) -> _Found:
    from ialstore.config import make_embedder, open_store
    from ialstore.context.vectors import CheckedEmbedder, kept_text, needs_vector
    from ialstore.vector_model import IndexSpec

    made = make_embedder(config)
    embedder = CheckedEmbedder(made, IndexSpec(made.dimension))
    vectors = [np.zeros((0, made.dimension), np.float32)]
    texts: list[str] = []
    sessions: list[str] = []
    cursor: str | None = None
    with open_store(config) as store:
        while True:
            page = store.history(user_id, newest_first=False, limit=MAX_PAGE, cursor=cursor)
            said = [one for one in page if needs_vector(one)]
            if said:
                vectors.append(embedder.embed(said))
            texts += [kept_text(one.content) for one in said]
            sessions += [one.session_id for one in said]
            cursor = page.cursor
            if cursor is None:
                return _Found(np.concatenate(vectors), None, texts, sessions)


def _read_npz(path: Path) -> _Found:
    try:
        with np.load(path) as held:
            arrays: dict[str, Any] = {name: held[name] for name in held.files}
    except (AttributeError, BadZipFile, EOFError, ValueError) as error:  # pickles are not loaded
        raise InvalidInputError(f"{path.name} is no npz of plain arrays") from error
    vectors, asked = (
        next((_matrix(arrays[one], f"{path.name}: {one}") for one in names if one in arrays), None)
        for names in (_VECTORS, _QUERIES)
    )
    if vectors is None:
        raise InvalidInputError(f"{path.name} has no array {' or '.join(_VECTORS)}")
    beside = {name: [str(one) for one in arrays.get(name, ())] for name in _BESIDE}
    for name, values in beside.items():
        if values and len(values) != len(vectors):
            raise InvalidInputError(
                f"{path.name}: {len(values):,} {name} for {len(vectors):,} vectors"
            )
    return _Found(vectors, asked, beside["texts"], beside["sessions"])


def _read_jsonl(path: Path) -> _Found:
    rows: list[Any] = []
    asked: list[Any] = []
    texts: list[str] = []
    sessions: list[str] = []
    lengths: dict[int, str] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path.name}, line {number}"
            record = _record(line, where)
            if isinstance(record["vector"], list):
                lengths.setdefault(len(record["vector"]), where)  # pyright: ignore[reportUnknownArgumentType] - any JSON
            if record.get("query") is True:
                asked.append(record["vector"])
                continue
            rows.append(record["vector"])
            texts.append(str(record.get("text", "")))
            sessions.append(str(record.get("session", "")))
    if not rows and not asked:
        raise InvalidInputError(f"{path.name} is empty")
    if len(lengths) > 1:
        (first, _), (other, where), *_ = lengths.items()
        raise InvalidInputError(f"{where} has {other} numbers, the lines before have {first}")
    return _Found(
        _matrix(rows, f"{path.name}: the vectors"),
        _matrix(asked, f"{path.name}: the queries") if asked else None,
        texts if any(texts) else [],
        sessions if all(sessions) else [],
    )


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or "vector" not in record:
        raise InvalidInputError(f'{where} is no JSON object with a "vector"')
    return dict(record)  # pyright: ignore[reportUnknownArgumentType] - any JSON


def _matrix(value: Any, what: str) -> Vectors:
    """Return rows of numbers as float32."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise InvalidInputError(f"{what} must be rows of the same length") from None
    if array.ndim != _LEAST or array.dtype.kind not in "fiu" or not array.size:
        raise InvalidInputError(f"{what} must be rows of numbers")
    with np.errstate(over="ignore"):
        rows: Vectors = array.astype(np.float32)
    if not np.isfinite(rows).all():
        raise InvalidInputError(f"{what} must be finite as float32")
    return rows
