"""The values of vector search: the spec of an index, records, filters, hits, and their checks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ialstore._text import ceil_seconds, check_int, check_text
from ialstore.errors import InvalidInputError
from ialstore.ids import Role, check_id_part, check_message_id, check_role
from ialstore.limits import MAX_DIMENSION, MAX_TEXT_BYTES
from ialstore.listing import id_bounds
from ialstore.model import check_agreement, default_expiry

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

__all__ = [
    "METRICS",
    "EncodedRecord",
    "Hit",
    "IndexSpec",
    "SearchQuery",
    "SearchResult",
    "VectorRecord",
    "Where",
    "check_vector",
    "check_where",
    "encode_record",
    "encode_search",
]

METRICS: Final = ("cosine", "dot", "euclidean")


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What an index is made for; stored with it and compared when it is opened again.

    Attributes:
        dimension: length of every vector, 1 to 4,096.
        metric: ``cosine``, ``dot`` or ``euclidean``.
        model: name of the embedding model; an empty one is not compared.
    """

    dimension: int
    metric: str = "cosine"
    model: str = ""

    def __post_init__(self) -> None:
        check_int(self.dimension, "dimension", at_least=1, at_most=MAX_DIMENSION)
        if self.metric not in METRICS:
            raise InvalidInputError(
                f"metric must be one of {', '.join(METRICS)}, not {self.metric!r}"
            )
        check_text(self.model, "model", at_most=256)


@dataclass(frozen=True, slots=True, eq=False)
class VectorRecord:
    """A vector and what is kept beside it; the id is that of its message.

    Attributes:
        id: a message id.
        vector: shape (dimension,), any real dtype; kept as float32.
        session_id: session of the message.
        role: role of the message.
        text: up to 2 KiB of its text, returned with a hit.
        expires_at: from then on no search finds it; rounded up to whole seconds.
    """

    id: str
    vector: Any = field(repr=False)
    session_id: str
    role: Role | str
    text: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Where:
    """Which vectors a search considers; applied before the top k. The default is all.

    Attributes:
        session_id: only this session.
        exclude_session_id: any session but this.
        roles: only these roles.
        since: only messages of this time or later.
        until: only messages before this time.
    """

    session_id: str | None = None
    exclude_session_id: str | None = None
    roles: Collection[Role | str] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One vector found. The ``repr`` shows no text."""

    id: str
    score: float
    """Cosine, dot product, or minus the Euclidean distance: higher is nearer."""
    session_id: str
    role: Role
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first; iterating and ``len`` go over them."""

    hits: tuple[Hit, ...]
    examined: int
    """Vectors or codes that the index looked at."""
    reranked: int
    """Vectors whose exact score it computed."""

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRecord:
    """A checked record as a hook gets it: the vector is the index's own float32 copy.

    Attributes:
        id: a message id.
        vector: shape (dimension,), float32, read-only.
        session_id: session of the message.
        role: role of the message.
        text: see ``VectorRecord``.
        expires: seconds since 1970, or None.
    """

    id: str
    vector: NDArray[np.float32] = field(repr=False)
    session_id: str
    role: Role
    text: str | None = field(repr=False)
    expires: int | None


@dataclass(frozen=True, slots=True, eq=False)
class SearchQuery:
    """A search as a hook gets it: times are in the bounds of the ids.

    Attributes:
        user_id: the tenant.
        vector: shape (dimension,), float32, read-only.
        k: hits at most.
        session_id: only this session, or None.
        exclude_session_id: any session but this, or None.
        roles: only these, or None for all.
        lower: the first id that belongs; a text of the form of an id, not always a valid one.
        upper: the first id after those that belong; likewise.
        effort: 0 < effort <= 1, or None for the index's default.
    """

    user_id: str
    vector: NDArray[np.float32] = field(repr=False)
    k: int
    session_id: str | None
    exclude_session_id: str | None
    roles: frozenset[Role] | None
    lower: str
    upper: str
    effort: float | None


def check_vector(value: Any, spec: IndexSpec, what: str) -> NDArray[np.float32]:
    """Return a read-only float32 copy of shape (dimension,).

    Raises:
        InvalidInputError: not real numbers, the wrong shape, not finite as float32, or zero under
            cosine.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidInputError(f"{what} must not be a masked array; fill it first")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise InvalidInputError(f"{what} must be a flat list of numbers") from None
    if array.dtype.kind not in "fiu":
        raise InvalidInputError(f"{what} must hold real numbers, not {array.dtype}")
    if array.shape != (spec.dimension,):
        raise InvalidInputError(f"{what} must have shape ({spec.dimension},), not {array.shape}")
    if array.dtype == np.float32:
        vector = array.astype(np.float32)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            vector = array.astype(np.float32)
    # One number answers both: squares of float32 neither overflow nor vanish in float64.
    wide = vector.astype(np.float64)
    square = float(wide.dot(wide))
    if not math.isfinite(square):
        raise InvalidInputError(f"{what} must be finite as float32")
    if spec.metric == "cosine" and square == 0:
        raise InvalidInputError(f"{what} must not be zero: cosine has no direction to compare")
    vector.flags.writeable = False
    return vector


def encode_record(
    record: VectorRecord, spec: IndexSpec, *, retention_seconds: int | None = None
) -> EncodedRecord:
    """Check a record against the contract and return it as hooks get it.

    Raises:
        InvalidInputError: a field breaks the contract.
        LimitExceededError: the text is too long.
    """
    if not isinstance(record, VectorRecord):
        raise InvalidInputError(f"expected a VectorRecord, not {type(record).__name__}")
    check_message_id(record.id)
    check_id_part(record.session_id, "session_id")
    check_agreement(record.id, record.session_id, record.role)
    vector = check_vector(record.vector, spec, "vector")
    if record.text is not None:
        check_text(record.text, "text", at_most=MAX_TEXT_BYTES)
    if record.expires_at is None:
        expires = default_expiry(record.id, retention_seconds)
    else:
        expires = ceil_seconds(record.expires_at, "expires_at")
    return EncodedRecord(
        record.id, vector, record.session_id, check_role(record.role), record.text, expires
    )


def encode_search(
    spec: IndexSpec,
    user_id: str,
    vector: Any,
    *,
    k: int,
    max_k: int,
    where: Where,
    effort: object,
) -> SearchQuery:
    """Check the arguments of a search and return them as hooks get them.

    Raises:
        InvalidInputError: an argument breaks the contract.
        LimitExceededError: ``k`` is above ``max_k``.
    """
    check_id_part(user_id, "user_id")
    array = check_vector(vector, spec, "the query vector")
    check_int(k, "k", at_least=1, at_most=max_k)
    checked_effort = _check_effort(effort)
    roles, lower, upper = check_where(where)
    return SearchQuery(
        user_id,
        array,
        k,
        where.session_id,
        where.exclude_session_id,
        roles,
        lower,
        upper,
        checked_effort,
    )


def check_where(where: object) -> tuple[frozenset[Role] | None, str, str]:
    """Return the roles of a filter, and the bounds of its ids.

    Raises:
        InvalidInputError: it breaks the contract.
    """
    if not isinstance(where, Where):
        raise InvalidInputError(f"where must be a Where, not {type(where).__name__}")
    if where.session_id is not None and where.exclude_session_id is not None:
        raise InvalidInputError("where takes session_id or exclude_session_id, not both")
    for name in ("session_id", "exclude_session_id"):
        if (value := getattr(where, name)) is not None:
            check_id_part(value, name)
    roles = None
    if where.roles is not None:
        if isinstance(where.roles, str):
            raise InvalidInputError("where.roles must be a collection of roles, not one text")
        roles = frozenset(check_role(role) for role in where.roles)
        if not roles:
            raise InvalidInputError("where.roles must not be empty; None means all")
    return roles, *id_bounds(where.since, where.until)


def _check_effort(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise InvalidInputError("effort must be above 0 and at most 1")
    return float(value)
