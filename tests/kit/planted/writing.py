"""Writes that are lost, made twice, or made over what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from ialstore import AppendResult, ConflictError, Consistency, Message, PartialWriteError
from ialstore.component import StoreSettings
from ialstore.ids import session_hash
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore
from tests.kit.planted.registry import at, breaks


@breaks("S2")
class ConflictOverwrites(MemoryConversationStore):
    """A conflict is reported, but what is there is overwritten."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except ConflictError:
            super()._load(op, entries)
            raise


@breaks("S2")
class ConflictIsADuplicate(MemoryConversationStore):
    """The same id with other content is taken for a duplicate."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except ConflictError as error:
            rest = [one for one in entries if one.message.id not in error.ids]
            result = super()._append(op, user_id, rest)
            return replace(result, duplicates=(*result.duplicates, *error.ids))


@breaks("S1")
class BatchIsCut(MemoryConversationStore):
    """Of a batch 25 messages are stored, and all are reported as stored."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries[:25])
        lost = tuple(one.message.id for one in entries[25:])
        return replace(result, stored=result.stored + lost)


@breaks("S1")
class ForgetsAfterRestart(SqliteConversationStore):
    """After a restart a duplicate is stored again and counted as new."""

    def __init__(self, path: Path, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(path, **settings)
        self.written: set[tuple[str, str]] = set()

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        again = [one for one in result.duplicates if (user_id, one) not in self.written]
        self.written |= {(user_id, one) for one in (*result.stored, *again)}
        self._load(op, [one for one in entries if one.message.id in again])
        duplicates = [one for one in result.duplicates if one not in again]
        return AppendResult((*result.stored, *again), tuple(duplicates))


@breaks("S2")
class HashesContentsOnly(MemoryConversationStore):
    """Only the content decides whether two messages are the same."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        short = [replace(one, content_hash=str(hash(one.message.content))) for one in entries]
        return super()._append(op, user_id, short)


@breaks("S1")
class DuplicatesAreWrittenAgain(MemoryConversationStore):
    """A duplicate is written over what is there, with its own summary and expiry."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        self._load(op, entries)
        return result


@breaks("S1")
class DuplicatesAreStored(MemoryConversationStore):
    """Duplicates are reported as stored."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        told = (*result.stored, *result.duplicates)
        return AppendResult(tuple(one.message.id for one in entries if one.message.id in told))


@breaks("S1")
class DuplicatesOfBatchesAreStored(MemoryConversationStore):
    """Duplicates are reported as stored when something else of the batch was."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        if result.stored:
            return AppendResult(tuple(one.message.id for one in entries))
        return result


@breaks("S1")
class ResultsInOrderOfIds(MemoryConversationStore):
    """Stored ids are returned in the order of ids, not as given."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        return AppendResult(tuple(sorted(result.stored)), tuple(sorted(result.duplicates)))


@breaks("S1")
class DuplicatesInOrderOfIds(MemoryConversationStore):
    """Duplicates are returned in the order of ids, not as given."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        return AppendResult(result.stored, tuple(sorted(result.duplicates)))


@breaks("S2")
class NamesOneConflict(MemoryConversationStore):
    """Of several conflicts only the first is named."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except ConflictError as error:
            raise ConflictError(str(error), ids=error.ids[:1]) from error


@breaks("S2")
class StoresHalfOfABatch(MemoryConversationStore):
    """A batch is stored up to its first conflict, though it is said to be atomic."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        stored: list[str] = []
        duplicates: list[str] = []
        for one in entries:
            result = super()._append(op, user_id, [one])
            stored += result.stored
            duplicates += result.duplicates
        return AppendResult(tuple(stored), tuple(duplicates))


@breaks("S2")
class StoresBatchesOverConflicts(MemoryConversationStore):
    """A batch with a conflict is reported as stored but for it, and partial at that."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except ConflictError as error:
            rest = [one for one in entries if one.message.id not in error.ids]
            result = super()._append(op, user_id, rest)
            if not result.stored:
                raise
            raise PartialWriteError(
                "stored in part",
                stored=result.stored,
                duplicates=result.duplicates,
                conflicting=error.ids,
            ) from error


@breaks("M7")
class IgnoresInHash(MemoryConversationStore):
    """Name, turn and source are not compared."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        def plain(entry: EncodedMessage) -> EncodedMessage:
            message = replace(entry.message, name=None, turn_id=None, source_id=None)
            return replace(entry, content_hash=message.content_hash)

        return super()._append(op, user_id, [plain(one) for one in entries])


@breaks("M7")
class ComparesSummaries(MemoryConversationStore):
    """A message with another summary or expiry is a conflict."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        def full(entry: EncodedMessage) -> EncodedMessage:
            more = f"{entry.content_hash} {entry.message.summary} {entry.expires}"
            return replace(entry, content_hash=more)

        return super()._append(op, user_id, [full(one) for one in entries])


@breaks("M7")
class IgnoresSessions(MemoryConversationStore):
    """The session is not compared, as the id is thought to tell it."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        def anywhere(entry: EncodedMessage) -> EncodedMessage:
            message = replace(entry.message, session_id=str(session_hash(entry.message.session_id)))
            number = next(
                one
                for one in map(str, range(100_000))
                if session_hash(one) == session_hash(entry.message.session_id)
            )
            return replace(entry, content_hash=replace(message, session_id=number).content_hash)

        return super()._append(op, user_id, [anywhere(one) for one in entries])


class Remembers(MemoryConversationStore):
    """Remembers ids that were stored."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.ever: dict[tuple[str, str], EncodedMessage] = {}

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        known = [one for one in entries if self.is_known(op, user_id, one)]
        result = super()._append(op, user_id, [one for one in entries if one not in known])
        self.ever |= {(user_id, one.message.id): one for one in entries}
        return replace(result, duplicates=(*result.duplicates, *(one.message.id for one in known)))

    def is_known(self, op: Operation, user_id: str, entry: EncodedMessage) -> bool:
        raise NotImplementedError


@breaks("S3")
class RemembersDeleted(Remembers):
    """A deleted message that is appended again is taken for a duplicate."""

    def is_known(self, op: Operation, user_id: str, entry: EncodedMessage) -> bool:
        there = self.ever.get((user_id, entry.message.id))
        return (
            there is not None
            and (there.expires is None or there.expires > op.now)
            and not self._get(op, user_id, [entry.message.id])
        )


@breaks("S3")
class RemembersExpired(Remembers):
    """An expired message that is appended again is taken for a duplicate."""

    def is_known(self, op: Operation, user_id: str, entry: EncodedMessage) -> bool:
        there = self.ever.get((user_id, entry.message.id))
        return there is not None and there.expires is not None and there.expires <= op.now


@breaks("S4")
class ReplaceStores(MemoryConversationStore):
    """Replacing what is absent stores it."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        if super()._replace(op, entry):
            return True
        self._load(op, [entry])
        return False


@breaks("S4")
class ReplaceRevives(MemoryConversationStore):
    """Replacing what has expired revives it."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        with at(-(10**11), op):
            return super()._replace(op, entry)


@breaks("S4")
class ReplaceMerges(MemoryConversationStore):
    """What is None in the new message stays as it was in the old one."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        message = entry.message
        there = self._get(op, message.user_id, [message.id]).get(message.id)
        if there is not None:
            summary = message.summary if message.summary is not None else there.summary
            tokens = message.tokens if message.tokens is not None else there.tokens
            entry = replace(entry, message=replace(message, summary=summary, tokens=tokens))
        return super()._replace(op, entry)


@breaks("S4")
class ReplaceKeepsExpiry(MemoryConversationStore):
    """A replaced message keeps the expiry it had."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        user = self._by_user.get(entry.message.user_id)
        there = user.messages.get(entry.message.id) if user else None
        return super()._replace(op, replace(entry, expires=there.expires) if there else entry)


@breaks("S4")
class ReplaceMovesSessions(MemoryConversationStore):
    """A replaced message may move to another session of the same hash."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        if not self._get(op, entry.message.user_id, [entry.message.id]):
            return False
        self._load(op, [entry])
        return True


@breaks("S12")
class LoadPassesOver(MemoryConversationStore):
    """What is there already is not replaced by a load."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        for one in entries:
            if not self._get(op, one.message.user_id, [one.message.id]):
                super()._load(op, [one])


@breaks("S12")
class LoadsFullBatches(MemoryConversationStore):
    """The last batch of a load, which is not full, is lost."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(op, entries[: len(entries) // 25 * 25] if len(entries) > 25 else entries)


@breaks("S12")
class LoadsTheFirst(MemoryConversationStore):
    """Of several contents of one id in a load the first one stays."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(op, entries[::-1])


@breaks("S12")
class LoadMissesSessions(MemoryConversationStore):
    """What is loaded is not listed under its session."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(op, entries)
        for one in entries:
            self._by_user[one.message.user_id].sessions[one.message.session_id].clear()


@breaks("C2")
class LoadsWithoutRetention(MemoryConversationStore):
    """What is loaded gets no default expiry."""

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(
            op,
            [one if one.message.expires_at else replace(one, expires=None) for one in entries],
        )


@breaks("S5")
class GetsFullBatches(MemoryConversationStore):
    """The last batch of a get, which is not full, is lost."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        whole = ids[: len(ids) // 25 * 25] if len(ids) > 25 else ids
        return super()._get(op, user_id, whole)


@breaks("S5")
class GetsTenthsOnly(MemoryConversationStore):
    """The last batch of a get of more than 10 ids is lost."""

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        whole = ids[: len(ids) // 10 * 10] if len(ids) > 10 else ids
        return super()._get(op, user_id, whole)


@breaks("S5")
class GetsEachOnce(MemoryConversationStore):
    """An id that is asked twice is answered once."""

    def get(
        self, user_id: str, ids: Sequence[str], *, consistency: Consistency | None = None
    ) -> list[Message]:
        found = super().get(user_id, ids, consistency=consistency)
        return list({one.id: one for one in found}.values())


@breaks("S5")
class GetsInOrderOfIds(MemoryConversationStore):
    """Messages are returned in the order of their ids, not as asked."""

    def get(
        self, user_id: str, ids: Sequence[str], *, consistency: Consistency | None = None
    ) -> list[Message]:
        found = super().get(user_id, ids, consistency=consistency)
        return sorted(found, key=lambda one: one.id)
