"""What the engine remembers of the sessions it serves: their newest ids, and when that was."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ialstore.errors import InvalidInputError
from ialstore.ids import after_microseconds

if TYPE_CHECKING:
    from ialstore.component import Clock

__all__ = ["Sessions"]

LIVE_SECONDS: Final = 30 * 60
"""A session that was not served for so long is no longer live."""

_Key = tuple[str, str | None]


@dataclass(slots=True)
class _Session:
    newest_id: str | None
    served_at: float


class Sessions:
    """The sessions served last, at most a fixed number; safe from many threads.

    A build without a session counts as one of its user: the session None.
    """

    def __init__(self, clock: Clock, *, capacity: int = 10_000) -> None:
        self._clock = clock
        self._capacity = capacity
        self._sessions: OrderedDict[_Key, _Session] = OrderedDict()
        self.after_fork()

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()

    def newest_id(self, user_id: str, session_id: str) -> str | None:
        """Return the newest id known of a session, to be given as ``after``."""
        with self._lock:
            session = self._sessions.get((user_id, session_id))
        if session is None or session.newest_id is None or _is_ahead(session.newest_id):
            return None  # it is ahead where the clock was set back
        return session.newest_id

    def served(self, user_id: str, session_id: str | None, newest_id: str | None = None) -> None:
        """Take note that a session was served, and of an id in it.

        An id more than 5 minutes ahead of the clock is passed over: given as ``after``, it would
        be refused, and nothing could be said in this session until its time has come.
        """
        if newest_id is not None and _is_ahead(newest_id):
            newest_id = None
        now = self._clock().timestamp()
        with self._lock:
            session = self._sessions.setdefault((user_id, session_id), _Session(None, now))
            session.served_at = now
            if newest_id is not None:
                session.newest_id = max(newest_id, session.newest_id or "")
            self._sessions.move_to_end((user_id, session_id))
            if len(self._sessions) > self._capacity:
                self._sessions.popitem(last=False)

    def forget(self, user_id: str, session_id: str | None = None) -> None:
        """Forget a session of a user, or all of them."""
        with self._lock:
            for key in list(self._sessions) if session_id is None else [(user_id, session_id)]:
                if key[0] == user_id:
                    self._sessions.pop(key, None)

    def live(self) -> int:
        """Return how many sessions were served within the last 30 minutes."""
        since = self._clock().timestamp() - LIVE_SECONDS
        with self._lock:
            return sum(1 for session in self._sessions.values() if session.served_at > since)

    @property
    def held_bytes(self) -> int:
        """Bytes that the sessions take here, about."""
        with self._lock:
            return sys.getsizeof(self._sessions) + sum(map(_size, self._sessions))


def _is_ahead(message_id: str) -> bool:
    try:
        after_microseconds(message_id)
    except InvalidInputError:
        return True
    return False


def _size(key: _Key) -> int:
    """Return the bytes of one entry: the key with its texts, the id and the time."""
    fixed = sys.getsizeof(key) + sys.getsizeof(_Session(None, 0.0)) + sys.getsizeof(0.0)
    return fixed + sum(map(sys.getsizeof, key)) + sys.getsizeof("0" * 36)
