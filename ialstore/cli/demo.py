"""``ialstore demo``: an agent's memory at work, on a small database in the working directory."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import typer

from ialstore.cli.common import Common
from ialstore.cli.context import context_document, show_memories, what_it_took
from ialstore.cli.documents import message_document
from ialstore.cli.history import show_conversation
from ialstore.cli.loading import Loaded, load
from ialstore.cli.text import counted, moment
from ialstore.url import redact_url

if TYPE_CHECKING:
    from ialstore.cli.output import Output
    from ialstore.context.engine import ContextEngine

__all__ = ["demo"]

USER: Final = "demo"
"""Whose conversations the sample holds."""
QUESTIONS: Final = (
    "What is Mira allergic to?",
    "Which box are the passports in?",
    "Under which name is the dinner booked?",
)
"""Their answers were given in sessions before the last."""
_MEMORIES: Final = 3
"""Shown for each question."""
_NEWEST: Final = 4
"""Messages shown."""


def demo(
    common: Common,
    *,
    db: Annotated[
        Path, typer.Option("--db", metavar="FILE", help="The database to make, or to use again.")
    ] = Path("ialstore-demo.db"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with an empty memory.")] = False,
) -> None:
    """Show an agent's memory at work on a sample conversation.

    The first start stores it, the next one finds everything again: in a SQLite database in the
    working directory, or where --url or --config says.
    """
    from ialstore.context.opening import open_engine

    url = common.url or _sqlite_url(db)
    with open_engine(url if common.config is None else common.load()) as engine:
        if fresh:
            engine.erase(USER)
        loaded = _store_sample(common.out, engine)
        sessions = engine.store.sessions(USER)
        newest = engine.store.history(USER, limit=_NEWEST).items[::-1]
        now = sessions.items[0].session_id
        answers = {one: engine.build_context(one, USER, now) for one in QUESTIONS}
    if common.json:
        common.out.document(
            {
                "stored": loaded.stored,
                "found": loaded.duplicates,
                "sessions": [one.session_id for one in sessions],
                "newest": [message_document(message) for message in newest],
                "questions": [
                    {"question": question, "context": context_document(built)}
                    for question, built in answers.items()
                ],
            }
        )
        return
    out = common.out
    where = redact_url(url) if common.config is None else str(common.config)
    out.line(_what_happened(loaded, where), style="bold")
    out.heading("Sessions")
    out.table(["session", "last active"], ([s.session_id, moment(s.last_active)] for s in sessions))
    out.heading("Newest messages")
    show_conversation(out, newest)
    for question, built in answers.items():
        out.heading(f"What is recalled for: {question}")
        show_memories(out, built.memories[:_MEMORIES])
        more = len(built.memories[_MEMORIES:])
        out.line(
            f"and {counted(more, 'weaker memory', 'weaker memories')}, beside "
            f"{counted(len(built.recent), 'recent message')}",
            style="dim",
        )
        out.line(what_it_took(built), style="dim")
    out.heading("Now you")
    again = shlex.join(
        ["--config", str(common.config)] if common.config is not None else ["--url", where]
    )
    out.command(f'  ialstore context {again} --user {USER} "Who keeps the piano?"')
    out.command(f"  ialstore history {again} --user {USER}")
    out.command("  ialstore demo   # again: it finds what it stored")


def _store_sample(out: Output, engine: ContextEngine) -> Loaded:
    from ialstore.formats import read_jsonl

    text = files("ialstore.cli").joinpath("sample.jsonl").read_text(encoding="utf-8")
    sample = list(read_jsonl(text.splitlines()))
    loaded = Loaded()
    with out.progress("storing", len(sample)) as progress:
        load(sample, engine.append, progress, loaded)
    return loaded


def _what_happened(loaded: Loaded, where: str) -> str:
    sessions = counted(len(loaded.sessions), "session")
    if loaded.stored:
        return f"Stored {counted(loaded.stored, 'message')} of {sessions} in {where}."
    return f"Found all {counted(loaded.duplicates, 'message')} of {sessions} again in {where}."


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"
