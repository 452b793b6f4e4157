"""Seeded, clustered vectors with twins, filters that cut them in every way, and queries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from ialstore.ids import Role, message_id
from ialstore.testing.clock import START
from ialstore.testing.vector.base import DIMENSION, USER
from ialstore.vector_model import VectorRecord, Where

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CROWD_SESSIONS", "WHERES", "crowd", "queries"]

CROWD_SESSIONS: Final = ("s1", "s2", "s10", "%#", "\n")
_ROLES: Final = ("user", "assistant", "tool")

WHERES: Final = {
    "everything": Where(),
    "one session": Where(session_id="s1"),
    "all but a session": Where(exclude_session_id="%#"),
    "an unknown session": Where(session_id="never"),
    "all but an unknown session": Where(exclude_session_id="never"),
    "one role": Where(roles=["tool"]),
    "two roles": Where(roles={Role.USER, Role.ASSISTANT}),
    "a role nobody has": Where(roles=[Role.EVENT]),
    "all roles": Where(roles=list(Role)),
    "since": Where(since=START + timedelta(seconds=40)),
    "until": Where(until=START + timedelta(seconds=40)),
    "a span": Where(since=START + timedelta(seconds=9), until=START + timedelta(seconds=99.5)),
    "a moment": Where(since=START, until=START),
    "one second": Where(since=START, until=START + timedelta(seconds=1)),
    "before everything": Where(until=datetime(1969, 1, 1, tzinfo=UTC)),
    "a session and a role": Where(session_id="s1", roles=["assistant"]),
    "all but a session, a role": Where(exclude_session_id="s1", roles=["assistant"]),
    "a session since": Where(session_id="s10", since=START + timedelta(seconds=100)),
    "all but a session, until": Where(exclude_session_id="\n", until=START + timedelta(seconds=60)),
    "a role and a span": Where(
        roles=["tool"], since=START + timedelta(seconds=50), until=START + timedelta(seconds=150)
    ),
    "all at once": Where(
        session_id="s2", roles=["user", "tool"], since=START, until=START + timedelta(seconds=200)
    ),
}
"""Filters by name, for a crowd of 200 or more."""


@cache
def crowd(count: int, seed: int = 1, user: str = USER) -> tuple[VectorRecord, ...]:
    """Return clustered records, a second apart, of all sessions and roles.

    A tenth are twins of others; lengths differ, so that each metric ranks them in its own way.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((8, DIMENSION))
    spread = rng.choice([1e-3, 0.1, 1.0], (count, 1))
    noise = rng.standard_normal((count, DIMENSION))
    vectors = centres[rng.integers(8, size=count)] + spread * noise
    vectors *= rng.choice([0.5, 1.0, 3.0], (count, 1))
    twins = rng.integers(count, size=(2, count // 10))
    vectors[twins[0]] = vectors[twins[1]]
    vectors.flags.writeable = False
    records: list[VectorRecord] = []
    for number, vector in enumerate(vectors):
        session = CROWD_SESSIONS[number % len(CROWD_SESSIONS)]
        role = _ROLES[number % len(_ROLES)]
        at = START + timedelta(seconds=number)
        made = message_id(user, session, at, role, f"{seed} {number}")
        records.append(VectorRecord(made, vector, session, role, f"text {number}"))
    return tuple(records)


def queries(
    records: Sequence[VectorRecord], count: int, seed: int = 2
) -> list[NDArray[np.float64]]:
    """Return queries: three of four lie near a record, the others anywhere."""
    rng = np.random.default_rng(seed)
    near = rng.choice(len(records), count - count // 4, replace=False)
    found = [records[int(one)].vector + 0.01 * rng.standard_normal(DIMENSION) for one in near]
    return [*found, *rng.standard_normal((count // 4, DIMENSION))]
