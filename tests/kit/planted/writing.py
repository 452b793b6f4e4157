"""Writes that are lost, made twice, or made over what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from ialstore import AppendResult, ConflictError
from ialstore.component import StoreSettings
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore
from tests.kit.planted.registry import breaks


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
