"""``ialstore export``: messages as JSON lines, which lose nothing."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ialstore.cli.common import Common
from ialstore.cli.exits import NothingFoundError
from ialstore.cli.lookup import all_users, no_messages
from ialstore.cli.options import SessionOption
from ialstore.cli.text import counted, escape_json
from ialstore.errors import InvalidInputError
from ialstore.limits import MAX_PAGE
from ialstore.listing import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from ialstore.component import Progress
    from ialstore.conversation import ConversationStore
    from ialstore.model import Message, Page

__all__ = ["export"]


def export(
    common: Common,
    *,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", "-u", metavar="USER", help="Only this user; may come again."),
    ] = None,
    session: SessionOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Readable by you alone."),
    ] = None,
) -> None:
    """Write messages as JSON lines, oldest first; ialstore import reads them back equal.

    Without --user it writes those of all users, where the store can list them. A file appears
    when it is complete.
    """
    with common.open_store() as store, common.out.progress("exporting") as progress:
        messages = _messages(store, user, session, progress)
        if output is None:
            common.out.speak_utf8()
            count = _write(messages, lambda text: sys.stdout.write(escape_json(text)))
        else:
            with _complete_file(output) as write:
                count = _write(messages, write)
    if output is None:
        return
    if common.json:
        common.out.document({"messages": count, "file": str(output)})
    else:
        common.out.line(f"wrote {counted(count, 'message')} to {output}")


def _messages(
    store: ConversationStore, users: list[str] | None, session: str | None, progress: Progress
) -> Iterator[Message]:
    """Yield messages user by user, oldest first."""
    done = 0
    for user_id in dict.fromkeys(users) if users else all_users(store):
        before = done
        for message in _history(store, user_id, session):
            yield message
            done += 1
            progress(done, None)
        if users and session is None and done == before:
            raise no_messages(store, user_id)
    if not done and users:
        raise no_messages(store, users[0])
    if not done:
        raise NothingFoundError("the store holds no such messages; look with ialstore stats")


def _history(store: ConversationStore, user_id: str, session_id: str | None) -> Iterator[Message]:
    def page(cursor: str | None) -> Page[Message]:
        return store.history(
            user_id, session_id=session_id, newest_first=False, limit=MAX_PAGE, cursor=cursor
        )

    return walk(page)


def _write(messages: Iterable[Message], write: Callable[[str], object]) -> int:
    from ialstore.formats import write_jsonl

    return write_jsonl(messages, _Writer(write))


class _Writer:
    """A stream made of a function."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def write(self, text: str, /) -> object:
        return self._write(text)


@contextmanager
def _complete_file(path: Path) -> Generator[Callable[[str], object]]:
    """Open a file of mode 0600 that appears, or replaces another one, when the block ends well."""
    path = path.resolve()
    if path.exists() and not path.is_file():  # a pipe or a device, which nothing may replace
        with path.open("w", encoding="utf-8") as stream:
            yield stream.write
        return
    if not path.parent.is_dir():
        raise InvalidInputError(f"there is no folder {path.parent}; create it first")
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yield stream.write
            stream.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
