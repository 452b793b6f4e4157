"""Writing to both sides: the store holds what was said, the index a vector and a text of it.

The order is the same everywhere: the index never shows a text that the store does not hold. So a
message is stored before its vector, and deleted after it. A failure between the two leaves a
message without a vector, which costs a memory until ``repair``, but no vector without its message.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

from ialstore._text import ceil_seconds, from_seconds
from ialstore.context.listing import all_messages
from ialstore.context.model import DeleteReport
from ialstore.context.vectors import expiry, kept_text, make_records, needs_vector
from ialstore.embedding import embedded_text
from ialstore.errors import (
    IalStoreError,
    InvalidInputError,
    Outcome,
    UnsupportedOperationError,
)
from ialstore.ids import check_id_part
from ialstore.limits import MAX_GET
from ialstore.model import AppendResult, EraseReport, Message, encode_message

if TYPE_CHECKING:
    from datetime import datetime

    from ialstore.context.maintenance import Maintenance
    from ialstore.context.sessions import Sessions
    from ialstore.context.vectors import CheckedEmbedder
    from ialstore.conversation import ConversationStore
    from ialstore.vector import VectorIndex

__all__ = ["Writer"]

_NO_VECTORS: Final = (
    "the messages are stored, but not all of their vectors; "
    "append(*error.messages), repair(user_id) or ialstore repair completes it"
)
_NO_VECTOR: Final = (
    "the message may be replaced and lack its vector; "
    "replace(*error.messages), repair(user_id) or ialstore repair completes it"
)
_NOTHING_REMOVED: Final = (
    "no message is deleted, vectors may be; repeating the call is safe and completes it"
)
_VECTORS_REMOVED: Final = (
    "the vectors are deleted, the messages may not be; repeating the call is safe and completes it"
)
_REMAINS: Final = (
    "the messages are deleted, but vectors written meanwhile may remain; "
    "repeating the call or repair(user_id) removes them"
)


class Writer:
    """Writes messages and their vectors, and removes both."""

    def __init__(
        self,
        store: ConversationStore,
        index: VectorIndex,
        embedder: CheckedEmbedder,
        sessions: Sessions,
        maintenance: Maintenance,
    ) -> None:
        self._store = store
        self._index = index
        self._embedder = embedder
        self._sessions = sessions
        self._maintenance = maintenance

    # -- writing --------------------------------------------------------------------------------

    def append(self, messages: tuple[Message, ...]) -> AppendResult:
        """Store messages, then vectors: also of those that were stored already."""
        self.require_writable("append")
        for message in messages:
            if not isinstance(message, Message):
                raise InvalidInputError(f"expected a Message, not {type(message).__name__}")
        if not messages:
            return self._store.append()
        user_id = messages[0].user_id
        with _explained(messages):
            result = self._store.append(*messages)
        for message in messages:
            self._sessions.served(user_id, message.session_id, message.id)
        with _explained(messages, _NO_VECTORS):
            self.mend(user_id, list(filter(needs_vector, self._as_stored(messages, result))))
        return result

    def replace(self, message: Message) -> bool:
        """Replace a message; its vector is removed before, and the new one stored after.

        So a search never finds the old text once it is replaced, wherever this fails. The vector
        stays as it is where it would be the same.
        """
        self.require_writable("replace")
        encode_message(message)
        user_id = message.user_id
        with _explained((message,), _NO_VECTOR):
            stored = self._store.get(user_id, [message.id])
            if stored and stored[0].session_id != message.session_id:
                return self._store.replace(message)  # which refuses it
            same = bool(stored) and self._same_vector(stored[0], message)
            if not same:
                self._index.delete(user_id, [message.id])
            replaced = self._store.replace(message)
            if replaced and not (same and self._has_its_vector(message)):
                self.mend(user_id, [message])
        return replaced

    def mend(self, user_id: str, messages: Sequence[Message]) -> None:
        """Give up to 100 stored messages the vectors they need, and take those they don't.

        Reads them again after that, and follows what others changed meanwhile: of writers that
        replace a message at once, the last one leaves its vector as the store has its text, and
        no vector stays of a message that was removed.
        """
        pending = {message.id: message for message in messages}
        while pending:
            self._put(user_id, list(filter(needs_vector, pending.values())))
            now = {one.id: one for one in self._store.get(user_id, list(pending))}
            unneeded = [one for one in pending if one not in now or not needs_vector(now[one])]
            _, back = self._take(user_id, unneeded)
            pending = back | {
                one.id: one
                for one in now.values()
                if needs_vector(one) and not self._same_vector(one, pending[one.id])
            }

    def _take(self, user_id: str, ids: Sequence[str]) -> tuple[int, dict[str, Message]]:
        """Remove vectors; return how many, and the messages that came back and lack theirs."""
        taken = self._index.delete(user_id, ids) if ids else 0
        back = self._store.get(user_id, ids) if taken else []
        return taken, {one.id: one for one in back if needs_vector(one)}

    def _put(self, user_id: str, messages: Sequence[Message]) -> None:
        if messages:
            records = make_records(self._embedder, messages, self._store.retention_seconds)
            self._index.upsert(user_id, records)
            self._maintenance.after_write(user_id)

    def _as_stored(self, messages: Sequence[Message], result: AppendResult) -> list[Message]:
        """Return the messages as the store has them: a duplicate kept its first expiry."""
        own = {message.id: message for message in messages}
        if result.duplicates:
            for one in result.duplicates:
                del own[one]
            for message in self._store.get(messages[0].user_id, result.duplicates):
                own[message.id] = message
        return list(own.values())

    def _same_vector(self, one: Message, other: Message) -> bool:
        """Return whether the index would hold the same for both."""
        needed = needs_vector(one)
        if needed != needs_vector(other):
            return False
        return not needed or (
            embedded_text(one) == embedded_text(other) and self._expiry(one) == self._expiry(other)
        )

    def _has_its_vector(self, message: Message) -> bool:
        """Return whether the index holds what it should of a message, as far as it can be seen."""
        records = self._index.get(message.user_id, [message.id])
        if not (records and needs_vector(message)):
            return not records and not needs_vector(message)
        expected = self._expiry(message)
        if expected is None:  # then the index's own retention holds
            expected = expiry(message, self._index.retention_seconds)
        return records[0].text == kept_text(message.content) and records[0].expires_at == expected

    def _expiry(self, message: Message) -> datetime | None:
        """Return when the store lets a message expire, in whole seconds."""
        when = expiry(message, self._store.retention_seconds)
        return None if when is None else from_seconds(ceil_seconds(when, "expires_at"))

    # -- removing -------------------------------------------------------------------------------

    def delete(self, user_id: str, ids: Sequence[str]) -> DeleteReport:
        """Remove vectors, then messages, by id."""

        def survivors() -> Iterator[Message]:
            for start in range(0, len(ids), MAX_GET):
                yield from self._store.get(user_id, ids[start : start + MAX_GET])

        with self._removing("delete", user_id) as stage:
            vectors = self._index.delete(user_id, ids)
            stage.messages()
            messages = self._store.delete(user_id, ids)
            stage.vectors_again()
            more = self._index.delete(user_id, ids)
            if more:
                self._mend_all(user_id, survivors())
        return DeleteReport(messages, vectors + more)

    def delete_session(self, user_id: str, session_id: str) -> DeleteReport:
        """Remove the vectors, then the messages of a session."""
        with self._removing("delete_session", user_id) as stage:
            vectors = self._index.delete_session(user_id, session_id)
            stage.messages()
            messages = self._store.delete_session(user_id, session_id)
            stage.vectors_again()
            more = self._index.delete_session(user_id, session_id)
            if more:
                self._mend_all(user_id, all_messages(self._store, user_id, session_id))
        self._sessions.forget(user_id, session_id)
        return DeleteReport(messages, vectors + more)

    def erase(self, user_id: str) -> EraseReport:
        """Remove the vectors, then the messages of a user."""
        with self._removing("erase", user_id) as stage:
            report = self._index.erase(user_id)
            stage.messages()
            report += self._store.erase(user_id)
            stage.vectors_again()
            if self._index.count(user_id):
                report += self._index.erase(user_id)
                self._mend_all(user_id, all_messages(self._store, user_id))
        self._sessions.forget(user_id)
        return report

    def _mend_all(self, user_id: str, messages: Iterator[Message]) -> None:
        """Mend messages that came while others were removed; mostly there are none."""
        while batch := list(islice(messages, MAX_GET)):
            self.mend(user_id, batch)

    def remove_orphans(self, user_id: str, ids: Sequence[str]) -> int:
        """Remove the vectors among these whose message is gone or needs none; return how many.

        Each message is looked up again: a vector that was found beside no message may belong to
        one appended since.
        """
        removed = 0
        for start in range(0, len(ids), MAX_GET):
            some = ids[start : start + MAX_GET]
            live = {one.id for one in self._store.get(user_id, some) if needs_vector(one)}
            orphans = [one for one in some if one not in live]
            taken, back = self._take(user_id, orphans)
            self.mend(user_id, list(back.values()))
            removed += taken - len(back)
        return removed

    def require_writable(self, operation: str) -> None:
        """Refuse to begin what one of the two sides would refuse half-way."""
        for part in (self._store, self._index):
            if not part.capabilities.writable:
                raise UnsupportedOperationError(
                    f"{operation}: the {part.KIND} store of this engine is read-only",
                    backend=part.backend,
                    operation=operation,
                )

    @contextmanager
    def _removing(self, operation: str, user_id: str) -> Generator[_Stage]:
        """Check what every removal needs, and let an error say how far it came.

        Vectors are removed once more after the messages: a write that overlaps may have stored
        one in between. One that comes later finds its message gone when it reads it again.
        """
        self.require_writable(operation)
        check_id_part(user_id, "user_id")
        stage = _Stage()
        try:
            yield stage
        except IalStoreError as error:
            _explain(error, (), stage.reached)
            raise


class _Stage:
    """How far a removal came."""

    def __init__(self) -> None:
        self.reached = _NOTHING_REMOVED

    def messages(self) -> None:
        """The vectors are removed, the messages are next."""
        self.reached = _VECTORS_REMOVED

    def vectors_again(self) -> None:
        """The messages are removed, vectors that came meanwhile are next."""
        self.reached = _REMAINS


@contextmanager
def _explained(messages: tuple[Message, ...], state: str = "") -> Generator[None, None, None]:
    """Let an error carry the messages, and say what state it leaves behind."""
    try:
        yield
    except IalStoreError as error:
        _explain(error, messages, state)
        raise


def _explain(error: IalStoreError, messages: tuple[Message, ...], state: str) -> None:
    error.messages = messages
    if state and not isinstance(error, InvalidInputError):
        error.args = (f"{error}; {state}",)
        if error.outcome is Outcome.NOT_APPLIED:
            error.outcome = Outcome.PARTIAL
