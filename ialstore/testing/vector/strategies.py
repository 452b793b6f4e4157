"""What the state machines draw: few users, ids and vectors, so that they meet often."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from hypothesis import strategies as st

from ialstore.ids import message_id
from ialstore.testing.vector.base import DIMENSION
from ialstore.vector_model import VectorRecord, Where

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BEGIN",
    "PROBES",
    "SESSIONS",
    "USERS",
    "Burst",
    "Name",
    "bursts",
    "filters",
    "names",
    "records",
    "vectors",
]

BEGIN: Final = datetime(2096, 2, 29, 23, 59, 59, 999_990, tzinfo=UTC)
"""When the messages of the machines begin: a few ticks before midnight, on a leap day."""
MIDNIGHT: Final = datetime(2096, 3, 1, tzinfo=UTC)
TICK: Final = timedelta(microseconds=5)
SECOND: Final = timedelta(seconds=1)

USERS: Final = ("u1", "u10", "é#%'\n/*")
"""Two of which one begins with the other, and one of hostile characters."""
SESSIONS: Final = ("s1", "s10", "é")
ROLES: Final = ("user", "assistant")
TEXTS: Final = (None, "", "text", "\0é", "text\n")
FEW: Final = 16
"""Ids that single calls draw from; bursts reach further."""
MANY: Final = 300


@dataclass(frozen=True, slots=True)
class Name:
    """An id, and what it fixes."""

    id: str
    session_id: str
    role: str


@cache
def name_of(number: int) -> Name:
    """Return the message with this number: the first few share times, not all sort by number."""
    session = SESSIONS[number % 3]
    role = ROLES[number // 3 % 2]
    at = BEGIN + (number * 7 % FEW // 4 if number < FEW else number) * TICK
    return Name(message_id("u", session, at, role, str(number)), session, role)


@cache
def pool() -> NDArray[np.float32]:
    """Return the vectors that are drawn: small whole numbers, twins, and multiples of others."""
    rng = np.random.default_rng(2024)
    some = rng.integers(-3, 4, (16, DIMENSION))
    some[:, 0] = rng.choice([-1, 1, 2], 16)  # none is zero
    found = np.concatenate([some, some[:4], 2 * some[:4], some[4:8] / 2, -some[:4], some + some[0]])
    found[(found == 0).all(axis=1)] = 1
    found = found.astype(np.float32)
    found.flags.writeable = False
    return found


PROBES: Final = (
    (100, Where()),
    (3, Where(session_id="s10")),
    (100, Where(roles=["user"])),
    (5, Where(exclude_session_id="s1")),
    (3, Where()),
    (5, Where(since=BEGIN + 30 * TICK)),
    (3, Where(exclude_session_id="s10", roles=["assistant"])),
    (5, Where(until=BEGIN + 60 * TICK)),
    (3, Where(session_id="é", roles=["user"], since=BEGIN, until=BEGIN + 99 * TICK)),
)
"""Searches of which the machines try one after each step."""

users = st.sampled_from(USERS)
names = st.integers(0, FEW - 1).map(name_of)
vectors = st.integers(0, len(pool()) - 1).map(lambda number: pool()[number])
expiries = st.one_of(st.none(), st.integers(0, 3).map(lambda seconds: MIDNIGHT + seconds * SECOND))
moments = st.one_of(st.none(), st.integers(-1, 5).map(lambda ticks: BEGIN + ticks * TICK))


@st.composite
def records(draw: st.DrawFn) -> VectorRecord:
    """Return a record with one of few ids."""
    name = draw(names)
    return VectorRecord(
        name.id,
        draw(vectors),
        name.session_id,
        name.role,
        draw(st.sampled_from(TEXTS)),
        draw(expiries),
    )


@dataclass(frozen=True, slots=True)
class Burst:
    """26 to 150 records at once: more than pages and batches of backends hold.

    Attributes:
        first: number of the first id; the others follow.
        count: how many.
        seed: of the choice of vectors.
        expires_at: of two in three.
    """

    first: int
    count: int
    seed: int
    expires_at: datetime | None

    def records(self) -> list[VectorRecord]:
        """Return the records."""
        found: list[VectorRecord] = []
        places = np.random.default_rng(self.seed).integers(len(pool()), size=self.count)
        for number, place in enumerate(places):
            name = name_of(self.first + number)
            end = self.expires_at if number % 3 else None
            vector = pool()[place]
            found.append(VectorRecord(name.id, vector, name.session_id, name.role, f"{place}", end))
        return found


bursts = st.builds(
    Burst, st.integers(0, MANY - 150), st.integers(26, 150), st.integers(0, 99), expiries
)


@st.composite
def filters(draw: st.DrawFn) -> Where:
    """Return filters of every combination."""
    session = draw(st.one_of(st.none(), st.sampled_from(SESSIONS)))
    other = None if session else draw(st.one_of(st.none(), st.sampled_from(SESSIONS)))
    since, until = draw(moments), draw(moments)
    if since is not None and until is not None and since > until:
        since, until = until, since
    roles = draw(st.one_of(st.none(), st.lists(st.sampled_from(ROLES), min_size=1, max_size=2)))
    return Where(session, other, roles, since, until)
