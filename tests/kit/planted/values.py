"""Values that don't come back as they were given."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from ialstore import AppendResult, Message, MessageSummary
from ialstore.component import StoreSettings
from ialstore.listing import HistoryQuery, Rows
from ialstore.model import EncodedMessage
from ialstore.operation import Operation
from ialstore_backends.memory import MemoryConversationStore
from tests.kit.planted.registry import breaks


class StoresOtherwise(MemoryConversationStore):
    """Stores what ``changed`` makes of a message."""

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        raise NotImplementedError

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        return super()._append(op, user_id, [self.changed(one) for one in entries])

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        return super()._replace(op, self.changed(entry))

    def _load(self, op: Operation, entries: Sequence[EncodedMessage]) -> None:
        super()._load(op, [self.changed(one) for one in entries])


class WritesTextsOtherwise(StoresOtherwise):
    """Stores what ``written`` makes of a content."""

    def written(self, text: str) -> str:
        raise NotImplementedError

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        text = self.written(entry.message.content)
        return replace(entry, message=replace(entry.message, content=text))


@breaks("M1")
class NormalisesTexts(WritesTextsOtherwise):
    """Contents are normalised to NFC."""

    def written(self, text: str) -> str:
        return unicodedata.normalize("NFC", text)


@breaks("M1")
class StripsTexts(WritesTextsOtherwise):
    """White space at the end of a content is lost."""

    def written(self, text: str) -> str:
        return text.rstrip()


@breaks("M1")
class TranslatesLineEnds(WritesTextsOtherwise):
    """CRLF becomes LF, as in a file opened as text."""

    def written(self, text: str) -> str:
        return text.replace("\r\n", "\n")


@breaks("M1")
class EndsAtNul(WritesTextsOtherwise):
    """A content ends at its first NUL."""

    def written(self, text: str) -> str:
        return text.split("\0", maxsplit=1)[0]


@breaks("M1")
class LosesAstralCharacters(WritesTextsOtherwise):
    """Characters beyond 16 bits become question marks."""

    def written(self, text: str) -> str:
        return "".join(one if one <= "\uffff" else "?" for one in text)


@breaks("M1")
class LosesZeroWidthCharacters(WritesTextsOtherwise):
    """Characters without a width are removed as noise."""

    def written(self, text: str) -> str:
        return "".join(one for one in text if unicodedata.category(one) != "Cf")


@breaks("M1")
class CutsLongTexts(WritesTextsOtherwise):
    """A content ends after 65,535 characters."""

    def written(self, text: str) -> str:
        return text[:65_535]


class WritesJsonOtherwise(StoresOtherwise):
    """Stores what ``written`` makes of the JSON text of payload and metadata."""

    def written(self, text: str) -> str:
        raise NotImplementedError

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        payload, metadata = entry.payload_text, entry.metadata_text
        return replace(
            entry,
            payload_text=None if payload is None else self.written(payload),
            metadata_text=None if metadata is None else self.written(metadata),
        )


def numbers_through(kind: type[Any], change: Callable[[Any], Any]) -> Callable[[str], str]:
    """Return what changes every number of a JSON text, ``int`` or ``float``."""

    def written(text: str) -> str:
        if kind is int:
            return json.dumps(json.loads(text, parse_int=lambda digits: change(int(digits))))
        return json.dumps(json.loads(text, parse_float=lambda digits: change(float(digits))))

    return written


@breaks("M1")
class SortsKeys(WritesJsonOtherwise):
    """The order of the keys of a payload is lost."""

    def written(self, text: str) -> str:
        return json.dumps(json.loads(text), sort_keys=True)


@breaks("M1")
class MakesFloatsOfIntegers(WritesJsonOtherwise):
    """1 becomes 1.0 as all numbers are floats."""

    def written(self, text: str) -> str:
        return numbers_through(int, lambda one: float(one) if abs(one) < 2**53 else one)(text)


@breaks("M1")
class MakesIntegersOfFloats(WritesJsonOtherwise):
    """1.0 becomes 1, as in JavaScript."""

    def written(self, text: str) -> str:
        return numbers_through(float, lambda one: int(one) if one.is_integer() else one)(text)


@breaks("M1")
class LosesMinusZero(WritesJsonOtherwise):
    """-0.0 becomes 0.0."""

    def written(self, text: str) -> str:
        return numbers_through(float, lambda one: one + 0.0)(text)


@breaks("M1")
class CutsFloats(WritesJsonOtherwise):
    """Floats are kept to 15 digits."""

    def written(self, text: str) -> str:
        return numbers_through(float, lambda one: float(f"{one:.15g}"))(text)


@breaks("M1")
class CutsLargeIntegers(WritesJsonOtherwise):
    """Integers beyond 64 bits become the largest that fit."""

    def written(self, text: str) -> str:
        return numbers_through(int, lambda one: min(one, 2**63 - 1))(text)


@breaks("M1")
class CutsSmallIntegers(WritesJsonOtherwise):
    """Integers below -2^63 become the least that fit."""

    def written(self, text: str) -> str:
        return numbers_through(int, lambda one: max(one, -(2**63)))(text)


@breaks("M1")
class LosesEmptyPayloads(StoresOtherwise):
    """An empty payload becomes None."""

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        empty = entry.payload_text in ("{}", "[]")
        return replace(entry, payload_text=None if empty else entry.payload_text)


@breaks("S7")
class CutsSummariesInBytes(MemoryConversationStore):
    """A content is cut in short after 200 bytes, not characters."""

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        rows = super()._summaries(op, query)
        brief = [
            replace(one, summary=one.summary.encode()[:200].decode(errors="ignore"))
            for one in rows.items
        ]
        return Rows(brief, rows.more)


class WritesMessagesOtherwise(StoresOtherwise):
    """Stores what ``written`` makes of the fields beside content and JSON."""

    def written(self, message: Message) -> Message:
        raise NotImplementedError

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        return replace(entry, message=self.written(entry.message))


@breaks("M1")
class CutsNames(WritesMessagesOtherwise):
    """A name ends after 64 characters."""

    def written(self, message: Message) -> Message:
        return replace(message, name=message.name and message.name[:64])


@breaks("M1")
class CutsSummaries(WritesMessagesOtherwise):
    """A summary ends after 255 characters."""

    def written(self, message: Message) -> Message:
        return replace(message, summary=message.summary and message.summary[:255])


@breaks("M1")
class CutsSourceIds(WritesMessagesOtherwise):
    """The id from elsewhere ends after 255 characters."""

    def written(self, message: Message) -> Message:
        return replace(message, source_id=message.source_id and message.source_id[:255])


@breaks("M1")
class CutsTurnIds(WritesMessagesOtherwise):
    """The id of a turn ends after 128 bytes."""

    def written(self, message: Message) -> Message:
        turn = message.turn_id
        return replace(message, turn_id=turn and turn.encode()[:128].decode(errors="ignore"))


@breaks("M1")
class EmptyTextsAreNone(WritesMessagesOtherwise):
    """An empty name, turn or summary becomes None."""

    def written(self, message: Message) -> Message:
        name, turn, summary = (
            one or None for one in (message.name, message.turn_id, message.summary)
        )
        return replace(message, name=name, turn_id=turn, summary=summary)


@breaks("M1")
class WrapsTokens(WritesMessagesOtherwise):
    """A number of tokens is kept in 24 bits."""

    def written(self, message: Message) -> Message:
        return replace(message, tokens=message.tokens and message.tokens % 2**24)


@breaks("S7")
class LosesZeroTokens(MemoryConversationStore):
    """A message in short with no tokens says that their number is not known."""

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        rows = super()._summaries(op, query)
        return Rows([replace(one, tokens=one.tokens or None) for one in rows.items], rows.more)


@breaks("S7")
class LosesManyTokens(MemoryConversationStore):
    """A message in short keeps its number of tokens in 16 bits."""

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        rows = super()._summaries(op, query)
        brief = [replace(one, tokens=one.tokens and one.tokens % 2**16) for one in rows.items]
        return Rows(brief, rows.more)


@breaks("S7")
class EmptySummariesAreNone(MemoryConversationStore):
    """An empty summary is taken for none, and the content is shown."""

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        rows = self._history(op, query)
        brief = [MessageSummary.of(replace(one, summary=one.summary or None)) for one in rows.items]
        return Rows(brief, rows.more)


@breaks("S7")
class SummariesOfAllSessions(MemoryConversationStore):
    """Messages in short are those of all sessions, whichever is asked for."""

    def _summaries(self, op: Operation, query: HistoryQuery) -> Rows[MessageSummary]:
        return super()._summaries(op, replace(query, session_id=None))


@breaks("M1")
class DeepPayloadsAreLost(WritesJsonOtherwise):
    """What lies deeper than 32 levels in a payload becomes None."""

    def written(self, text: str) -> str:
        def cut(value: Any, left: int) -> Any:
            if not left:
                return None
            if isinstance(value, dict):
                return {key: cut(one, left - 1) for key, one in value.items()}
            return [cut(one, left - 1) for one in value] if isinstance(value, list) else value

        return json.dumps(cut(json.loads(text), 32))


@breaks("M1")
class KeysWithoutCase(WritesJsonOtherwise):
    """Of keys that differ only by case the last one stays."""

    def written(self, text: str) -> str:
        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            names = {key.casefold(): key for key, _ in pairs}
            return {names[key.casefold()]: value for key, value in pairs}

        return json.dumps(json.loads(text, object_pairs_hook=once))


@breaks("M1")
class KeysNormalised(WritesJsonOtherwise):
    """Keys of JSON are normalised to NFC."""

    def written(self, text: str) -> str:
        def normal(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            return {unicodedata.normalize("NFC", key): value for key, value in pairs}

        return json.dumps(json.loads(text, object_pairs_hook=normal))


@breaks("M1")
class NoneIsDropped(WritesJsonOtherwise):
    """A key of JSON whose value is None is dropped."""

    def written(self, text: str) -> str:
        def dense(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            return {key: value for key, value in pairs if value is not None}

        return json.dumps(json.loads(text, object_pairs_hook=dense))


@breaks("M1")
class FloatsOf32Bits(WritesJsonOtherwise):
    """Floats are kept in 32 bits."""

    def written(self, text: str) -> str:
        def narrow(one: float) -> float:
            return one if abs(one) > 3e38 else float(f"{np.float32(one)!s}")

        return numbers_through(float, narrow)(text)


@breaks("M1")
class LargeIntegersAreFloats(WritesJsonOtherwise):
    """Integers beyond 53 bits are rounded as floats are."""

    def written(self, text: str) -> str:
        return numbers_through(int, lambda one: int(float(one)) if abs(one) < 2**63 else one)(text)


@breaks("M1")
class BooleansAreNumbers(WritesJsonOtherwise):
    """True and False in JSON become 1 and 0."""

    def written(self, text: str) -> str:
        return text.replace("true", "1").replace("false", "0")


@breaks("S4")
class KeepsMetadataInReplace(MemoryConversationStore):
    """A replaced message keeps the metadata that it had."""

    def _replace(self, op: Operation, entry: EncodedMessage) -> bool:
        there = self._get(op, entry.message.user_id, [entry.message.id]).get(entry.message.id)
        if there is not None:
            text = json.dumps(there.metadata) if there.metadata else None
            entry = replace(entry, metadata_text=text)
        return super()._replace(op, entry)


@breaks("M2")
class ExpiryRoundedDown(StoresOtherwise):
    """An expiry is rounded down to whole seconds."""

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        at = entry.message.expires_at
        return entry if at is None else replace(entry, expires=math.floor(at.timestamp()))


@breaks("C2")
class ExpiryOf32Bits(StoresOtherwise):
    """An expiry past January 2038 is kept in 32 bits."""

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        if entry.expires is None or entry.expires < 2**31:
            return entry
        return replace(entry, expires=entry.expires % 2**31)


@breaks("C2")
class OldExpiriesAreNone(StoresOtherwise):
    """An expiry at or before 1970 is taken for none."""

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        return replace(entry, expires=entry.expires if (entry.expires or 0) > 0 else None)


@breaks("C2")
class ExpiriesBefore1970AreNone(StoresOtherwise):
    """An expiry before 1970 is taken for none."""

    def changed(self, entry: EncodedMessage) -> EncodedMessage:
        return replace(entry, expires=None if (entry.expires or 0) < 0 else entry.expires)


@breaks("M5")
class KeepsTheCallersObjects(MemoryConversationStore):
    """The payload that was given is kept, and changes when the caller changes it."""

    def __init__(self, **settings: Unpack[StoreSettings]) -> None:
        super().__init__(**settings)
        self.payloads: dict[str, Any] = {}

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        result = super()._append(op, user_id, entries)
        given = {one.message.id: one.message.payload for one in entries}
        self.payloads |= {one: given[one] for one in result.stored}
        return result

    def _get(self, op: Operation, user_id: str, ids: Sequence[str]) -> Mapping[str, Message]:
        found = super()._get(op, user_id, ids)
        return {
            one: replace(message, payload=self.payloads.get(one, message.payload))
            for one, message in found.items()
        }


@breaks("S6")
class HidesEvents(MemoryConversationStore):
    """Events, which no model sees, are not listed."""

    def _history(self, op: Operation, query: HistoryQuery) -> Rows[Message]:
        rows = super()._history(op, query)
        return Rows([one for one in rows.items if one.role != "event"], rows.more)
