"""What a workload asks of a store, and what a store says it will take: no prices.

A backend answers ``estimate(url, workload)`` with an ``Estimate``. ``costing`` makes money of it.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ialstore.cost import Units
from ialstore.errors import InvalidInputError
from ialstore.ids import message_id
from ialstore.limits import MAX_DIMENSION, MAX_TEXT_BYTES
from ialstore.model import Message

if TYPE_CHECKING:
    from ialstore.vector_model import VectorRecord

__all__ = [
    "GRAPH_SHARE",
    "Call",
    "Choice",
    "Estimate",
    "Memory",
    "Partition",
    "Stored",
    "Workload",
    "graph_bytes",
    "sample_message",
    "sample_records",
]

GRAPH_SHARE: Final = 0.25
"""Of the memory of a node of OpenSearch: half is the JVM's, and half of the rest is for graphs.

docs.opensearch.org, vector search settings: ``knn.memory.circuit_breaker.limit``.
"""
WINDOW_LOOK_AHEAD: Final = 4
"""Messages that the context engine reads past those wanted."""
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_FAR: Final = 36_500
"""Days after which samples expire: only that they do is of interest."""
_MOST: Final = 10_000.0
_MINUTES_PER_DAY: Final = 1440
_NONE: Final[Mapping[str, float]] = {}
_LIMITS: Final = {
    "users": (1, 1e10),
    "turns_per_day": (0.001, _MOST),
    "sessions_per_day": (0.001, _MOST),
    "session_minutes": (1, 1440),
    "message_bytes": (1, 1 << 20),
    "dimension": (1, MAX_DIMENSION),
    "retention_days": (1, 36_500),
    "recent_messages": (0, 500),
    "memories": (0, 100),
    "contexts_per_turn": (0, 100),
    "listings_per_day": (0, _MOST),
    "summaries_per_day": (0, _MOST),
    "peak_factor": (1, 1000),
    "hot_user_factor": (1, 1_000_000),
}
"""Least and greatest value of each figure of a workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What an application does with its memory, through the context engine.

    A turn is a question and its answer: two messages, and two vectors.

    Attributes:
        users: who talk on a day.
        turns_per_day: of one user.
        sessions_per_day: of one user, one after another.
        session_minutes: that a session lasts.
        message_bytes: of one message.
        dimension: of a vector.
        retention_days: after which all expires; None keeps it for ever.
        recent_messages: in a context.
        memories: in a context; 0 never searches.
        contexts_per_turn: built.
        listings_per_day: lists of a user's sessions.
        summaries_per_day: pages of 20 summaries that may be a moment old, of a user, and as many
            of a session.
        peak_factor: how much busier the busiest hour is than the mean.
        hot_user_factor: how much busier the busiest user is than the mean.
    """

    users: int = 1000
    turns_per_day: float = 20.0
    sessions_per_day: float = 2.0
    session_minutes: float = 30.0
    message_bytes: int = 500
    dimension: int = 384
    retention_days: float | None = 365.0
    recent_messages: int = 20
    memories: int = 10
    contexts_per_turn: float = 1.0
    listings_per_day: float = 1.0
    summaries_per_day: float = 1.0
    peak_factor: float = 4.0
    hot_user_factor: float = 10.0

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            value: Any = getattr(self, name)
            if value is None and name == "retention_days":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidInputError(f"{name} must be a number")
            if not least <= value <= most:  # nan is not, either
                raise InvalidInputError(f"{name} must be from {least:,} to {most:,.0f}")
        if self.sessions_per_day > self.turns_per_day:
            raise InvalidInputError("sessions_per_day must be at most turns_per_day")

    @property
    def messages_per_day(self) -> float:
        """Of one user."""
        return 2 * self.turns_per_day

    @property
    def turns_of_session(self) -> int:
        """Turns of a session, whole."""
        return max(1, round(self.turns_per_day / self.sessions_per_day))

    @property
    def window(self) -> int:
        """Messages that the context engine asks for."""
        return self.recent_messages + WINDOW_LOOK_AHEAD if self.recent_messages else 0

    @property
    def hits(self) -> int:
        """Hits that the context engine asks for."""
        return self.memories + self.recent_messages if self.memories else 0

    @property
    def share_at_once(self) -> float:
        """Share of the users who are in a session at the same time, in the busiest hour."""
        minutes = self.sessions_per_day * self.session_minutes * self.peak_factor
        return min(1.0, minutes / _MINUTES_PER_DAY)

    def kept_days(self, age_days: float) -> float:
        """Return how many days of messages there are, so many days after the start."""
        return age_days if self.retention_days is None else min(age_days, self.retention_days)


@dataclass(frozen=True, slots=True)
class Call:
    """What one kind of call takes.

    Attributes:
        name: for people: what is done.
        times: for each user and day.
        units: of one such call on the mean, by table or index.
        is_cached: whether the ``cache`` wrapper can answer it.
    """

    name: str
    times: float
    units: Mapping[str, Units]
    is_cached: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies somewhere.

    Attributes:
        place: table, index or file.
        bytes_per_user: at the age that was asked for.
        price: of a GB and month, by its name in the table of prices.
    """

    place: str
    bytes_per_user: float
    price: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What machines have to hold in memory: the cheapest that do are paid by the hour.

    Attributes:
        section: of the table of prices, where the machines are.
        bytes_per_user: at the age that was asked for.
        usable: share of a machine's memory that is there for it, 0 to 1.
        machines: at least so many.
    """

    section: str
    bytes_per_user: float
    usable: float
    machines: int = 1


@dataclass(frozen=True, slots=True)
class Partition:
    """What one partition of the service has to bear, of all that one user does.

    Attributes:
        name: for people.
        place: table or index.
        share: of the user's units there, 0 to 1.
        help: how to lower the share; empty where nothing does.
    """

    name: str
    place: str
    share: float
    help: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """An option of a backend that changes what it costs.

    Attributes:
        option: its name in the URL.
        values: to be tried; the first promises most.
        gives_up: what is lost by choosing a later value than one has; empty for nothing.
    """

    option: str
    values: tuple[str, ...]
    gives_up: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a workload takes of one store or index.

    Attributes:
        calls: that the application makes.
        stored: what lies where.
        partitions: that may become hot.
        machines: how many of which, by their name in the table of prices.
        memory: that machines have to offer.
        held_bytes_per_user: that the application's own process has in memory, of a user who is in
            a session, at the age that was asked for.
        expired_per_day: items that time to live deletes, for each user.
        is_on_demand_only: whether capacity can't be provisioned.
        recovers: whether point-in-time recovery is on.
        notes: sentences for people, on what is not certain.
    """

    calls: tuple[Call, ...] = ()
    stored: tuple[Stored, ...] = ()
    partitions: tuple[Partition, ...] = ()
    machines: Mapping[str, float] = field(default_factory=lambda: _NONE)
    memory: tuple[Memory, ...] = ()
    held_bytes_per_user: float = 0.0
    expired_per_day: float = 0.0
    is_on_demand_only: bool = False
    recovers: bool = False
    notes: tuple[str, ...] = ()


def graph_bytes(dimension: int, links: int = 16, bits: int = 32) -> float:
    """Return the bytes of memory that a vector takes in a graph (HNSW) of OpenSearch.

    The formula is that of docs.opensearch.org, memory estimation for HNSW.

    Args:
        dimension: of the vector.
        links: option ``m``.
        bits: of each of its numbers.
    """
    return 1.1 * (dimension * bits / 8 + 8 * links)


def sample_message(workload: Workload, number: int = 0) -> Message:
    """Return a message like those of the workload; its ids are as long as UUIDs.

    Texts are random letters, which compress less well than prose: what is predicted for contents
    of 4 KiB and more is rather too much than too little.
    """
    rng = random.Random(number)  # noqa: S311 - no secret
    letters = rng.choices(string.ascii_lowercase + " ", k=workload.message_bytes - 1)
    created = _START + timedelta(minutes=number)
    return Message.new(
        user_id=_uuid(0),
        session_id=_uuid(number // 20),
        role="assistant" if number % 2 else "user",
        content="".join(["x", *letters]),
        created_at=created,
        key=str(number),
        turn_id=_uuid(number),
        expires_at=None if workload.retention_days is None else created + timedelta(days=_FAR),
    )


def sample_records(
    count: int, dimension: int, message_bytes: int, *, is_kept: bool
) -> list[VectorRecord]:
    """Return vectors of random directions, with texts like those of a workload.

    Args:
        count: how many.
        dimension: of each.
        message_bytes: of the messages; the index keeps the first 2 KiB.
        is_kept: for ever; otherwise they have an expiry.
    """
    import numpy as np  # slow to import; only vectors need it

    from ialstore.vector_model import VectorRecord

    vectors = np.random.default_rng(0).standard_normal((count, dimension))
    text = "x" * min(message_bytes, MAX_TEXT_BYTES)
    records: list[VectorRecord] = []
    for number, vector in enumerate(vectors):
        session, created = _uuid(number // 20), _START + timedelta(minutes=number)
        made = message_id(_uuid(0), session, created, "user", str(number))
        expires = None if is_kept else created + timedelta(days=_FAR)
        records.append(VectorRecord(made, vector, session, "user", text, expires))
    return records


def _uuid(number: int) -> str:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
