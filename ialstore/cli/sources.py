"""Files to import: which format one has, and the messages in it."""

from __future__ import annotations

import io
import itertools
import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from ialstore.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from datetime import datetime
    from typing import TextIO

    from ialstore.model import Message

__all__ = ["AssumedTime", "Format", "Naming", "Source", "open_source"]

_BOM: Final = "\ufeff"
_LINES: Final = (".jsonl", ".ndjson")
_OURS: Final = {"created_at", "session_id", "user_id"}
"""Keys of our lines that messages of a chat don't have."""


class Format(StrEnum):
    """What ``ialstore import`` reads."""

    JSONL = "jsonl"
    LOCOMO = "locomo"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What a file may leave out.

    Attributes:
        user_id: for what names no user.
        session_id: for lines that name no session; of chats, the name of the first, and what those
            of the others begin with.
        created_at: for lines and chats without a time.
    """

    user_id: str | None
    session_id: str | None
    created_at: datetime | None


@dataclass(slots=True)
class AssumedTime:
    """The time of what has none in its file; it knows whether there was anything like that."""

    time: datetime
    used: bool = False

    def __call__(self) -> datetime:
        """Return the time, because it is needed."""
        self.used = True
        return self.time


@dataclass(frozen=True, slots=True)
class Source:
    """The messages of an open file.

    Attributes:
        format: as given, or as recognized.
        messages: read as they are needed.
        total: how many, at most, where that is known before.
        assumed: the time of messages that have none, where the format allows that.
    """

    format: Format
    messages: Iterable[Message]
    total: int | None
    assumed: AssumedTime | None


@contextmanager
def open_source(file: str, format: Format | None, naming: Naming) -> Generator[Source]:  # noqa: A002 - the option's name
    """Open a file, or standard input for ``-``.

    Args:
        file: its path.
        format: None to recognize it.
        naming: what the file may leave out.

    Raises:
        InvalidInputError: there is no such file, its format is not recognized, or an option that
            the format needs is missing.
    """
    with _opened(file) as stream:
        try:
            head, kind = _recognized(stream, file) if format is None else ("", format)
            if kind is Format.JSONL:
                yield _lines(head, stream, file, naming)
            else:
                yield _whole(kind, io.StringIO(head + stream.read()), file, naming)
        except UnicodeDecodeError:
            raise InvalidInputError(f"{file} is not UTF-8; convert it first") from None


def _lines(head: str, stream: TextIO, file: str, naming: Naming) -> Source:
    from ialstore.formats import read_jsonl

    assumed = None if naming.created_at is None else AssumedTime(naming.created_at)
    messages = read_jsonl(
        itertools.chain(io.StringIO(head), stream),
        user_id=naming.user_id,
        session_id=naming.session_id,
        created_at=assumed,
    )
    return Source(Format.JSONL, messages, _number_of_lines(file), assumed)


def _whole(kind: Format, text: io.StringIO, file: str, naming: Naming) -> Source:
    from ialstore.formats import read_locomo, read_openai_chat
    from ialstore.formats.openai_chat import UNKNOWN_TIME

    if kind is Format.LOCOMO:
        if naming.created_at is not None:
            raise InvalidInputError("LoCoMo has the times of its sessions; leave out --at")
        messages = list(read_locomo(text, user_id=naming.user_id))
        return Source(kind, messages, len(messages), None)
    if naming.user_id is None:
        raise InvalidInputError("chats in OpenAI's form name no user: add --user USER")
    assumed = AssumedTime(naming.created_at or UNKNOWN_TIME)
    messages = list(
        read_openai_chat(
            text,
            user_id=naming.user_id,
            created_at=assumed,
            session_prefix="chat" if file == "-" else Path(file).stem,
            session_id=naming.session_id,
        )
    )
    if naming.created_at is not None and messages and not assumed.used:
        raise InvalidInputError("every chat in the file has its time; leave out --at")
    return Source(kind, messages, len(messages), assumed)


@contextmanager
def _opened(file: str) -> Generator[TextIO]:
    if file == "-":
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8")
        return
    if not Path(file).exists():
        raise InvalidInputError(f"there is no file {file}; - reads standard input")
    with Path(file).open(encoding="utf-8") as stream:
        yield stream


def _number_of_lines(file: str) -> int | None:
    """Return how many lines a file has; None for what can't be read twice."""
    path = Path(file)
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


def _recognized(stream: TextIO, file: str) -> tuple[str, Format]:
    """Return what had to be read to recognize the format, and the format."""
    head = ""
    for line in stream:
        head += line
        if line.removeprefix(_BOM).strip():
            break
    kind = _format_of(head)
    if kind is None:  # not a whole value: a document over many lines, or a broken line
        if Path(file).suffix in _LINES:
            return head, Format.JSONL
        head += stream.read()
        kind = _format_of(head)
    if kind is None:
        raise InvalidInputError(
            f"the format of {'standard input' if file == '-' else file} is not recognized; "
            f"say which it is: --format {', '.join(Format)}"
        )
    return head, kind


def _format_of(text: str) -> Format | None:
    try:
        value: Any = json.loads(text.removeprefix(_BOM))
    except (ValueError, RecursionError):
        return None
    listed = isinstance(value, list)
    while isinstance(value, list) and value:
        value = cast("Any", value[0])
    keys = set(cast("dict[str, Any]", value)) if isinstance(value, dict) else set[str]()
    if not listed and keys & _OURS and "role" in keys:
        return Format.JSONL
    if keys & {"messages", "role"}:
        return Format.OPENAI
    return Format.LOCOMO if keys & {"conversation", "speaker_a"} else None
