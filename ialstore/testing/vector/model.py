"""The model that the state machines compare indexes with: records in plain dicts.

Written from the contract; shares no code with the indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from ialstore.vector_model import VectorRecord

__all__ = ["Model"]


@dataclass
class Model:
    """What an index must hold.

    Attributes:
        clock: the time.
        users: records by user and id; expired ones stay until something removes them.
        given: every record that a user was ever given, by user and id.
    """

    clock: Callable[[], datetime]
    users: dict[str, dict[str, VectorRecord]] = field(
        default_factory=dict[str, dict[str, VectorRecord]]
    )
    given: dict[str, dict[str, list[VectorRecord]]] = field(
        default_factory=dict[str, dict[str, list[VectorRecord]]]
    )

    def is_live(self, record: VectorRecord) -> bool:
        """Whether a record has not expired."""
        return record.expires_at is None or self.clock() < record.expires_at

    def live(self, user: str) -> dict[str, VectorRecord]:
        """Return what of a user has not expired, in the order of ids."""
        records = self.users.get(user, {})
        return {one: records[one] for one in sorted(records) if self.is_live(records[one])}

    def put(self, user: str, records: Iterable[VectorRecord]) -> None:
        """Store records, each in place of the one with its id."""
        for record in records:
            self.users.setdefault(user, {})[record.id] = record
            self.given.setdefault(user, {}).setdefault(record.id, []).append(record)

    def remove(self, user: str, ids: Iterable[str]) -> int:
        """Remove records; return how many of them were live."""
        unwanted = set(ids)
        count = len(unwanted & self.live(user).keys())
        for one in unwanted:
            self.users.get(user, {}).pop(one, None)
        return count

    def session(self, user: str, session_id: str) -> set[str]:
        """Return the ids of a session, expired ones included."""
        records = self.users.get(user, {}).values()
        return {one.id for one in records if one.session_id == session_id}

    def expired(self, user: str) -> set[str]:
        """Return the ids of what has expired and was not removed."""
        return self.users.get(user, {}).keys() - self.live(user).keys()
