"""Values that don't come back as they were given."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ialstore import AppendResult, MessageSummary
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
