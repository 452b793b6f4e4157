"""What ``optimize`` does: unlists sessions without messages, removes marks and orphaned parts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ialstore.model import OptimizeReport
from ialstore_backends.dynamodb import keys
from ialstore_backends.dynamodb.directory import days_of, listed
from ialstore_backends.dynamodb.reading import Range
from ialstore_backends.dynamodb.table import key_of

if TYPE_CHECKING:
    from ialstore.component import Progress
    from ialstore.operation import Operation
    from ialstore_backends.dynamodb.directory import Directory
    from ialstore_backends.dynamodb.reading import Reader
    from ialstore_backends.dynamodb.table import Item
    from ialstore_backends.dynamodb.writing import Writer

__all__ = ["Maintenance"]

_ORPHAN_SECONDS: Final = 3600
"""Age of a part from which on no append that is to write its head can still be running."""


class Maintenance:
    """Looks at everything of one user; resumable, and safe beside readers and writers."""

    def __init__(self, directory: Directory, reader: Reader, writer: Writer) -> None:
        self._directory = directory
        self._reader = reader
        self._writer = writer

    def run(self, op: Operation, user_id: str, progress: Progress) -> OptimizeReport:
        """Do what there is to do; see ``ConversationStore._optimize``."""
        rows = self._directory.rows(op, user_id)
        removed = reclaimed = 0
        days: set[int] = set()
        for done, row in enumerate(rows, 1):
            op.renew()
            days.update(days_of(row))
            removed += self._look_at(op, user_id, row)
            progress(done, len(rows) + len(days))
        for done, day in enumerate(sorted(days), 1):
            op.renew()
            parts = self._orphans(op, user_id, day)
            self._writer.delete_rows(op, [key_of(part) for part in parts])
            removed += len(parts)
            reclaimed += sum(len(part["body"]["B"]) // 4 * 3 for part in parts)
            progress(len(rows) + done, len(rows) + len(days))
        return OptimizeReport(removed=removed, reclaimed_bytes=reclaimed)

    def _look_at(self, op: Operation, user_id: str, row: Item) -> int:
        """Mark or drop a row of the directory of which nothing is left; return how many that is."""
        session = listed(row)
        if session is None:
            if "removed" not in row or self._any(op, user_id, None, days_of(row)):
                return 0
            return int(self._directory.drop(op, user_id, row))
        if self._any(op, user_id, session.session_id, session.days):
            return 0
        if session.removed is not None:
            return int(self._directory.drop(op, user_id, row))
        self._directory.mark_session(op, user_id, session.session_id)
        return 1

    def _any(
        self, op: Operation, user_id: str, session_id: str | None, days: tuple[int, ...]
    ) -> bool:
        """Return whether a live message lies on one of the days."""
        wanted = Range(user_id=user_id, session_id=session_id, now=op.now)
        return next(self._reader.on_days(op, wanted, days[::-1], 1), None) is not None

    def _orphans(self, op: Operation, user_id: str, day: int) -> list[Item]:
        """Return parts of a day whose head is gone or has others, and which are old enough."""
        old = time.time() - _ORPHAN_SECONDS
        parts = [
            part
            for part in self._reader.parts_of_day(op, user_id, day)
            if int(part["written"]["N"]) < old
        ]
        ids = sorted({_id_of(part) for part in parts})
        heads = self._reader.items(op, [self._reader.key(user_id, one) for one in ids], strong=True)
        used = {
            key["timestamp_type"]["S"] for head in heads for key in self._reader.part_keys(head)
        }
        return [part for part in parts if part["timestamp_type"]["S"] not in used]


def _id_of(part: Item) -> str:
    sort_key: str = part["timestamp_type"]["S"]
    return sort_key[len(keys.FIRST_PART) :].partition("#")[0]
