"""``ialstore context``: what an agent would be given with a question."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ialstore.cli.common import Common
from ialstore.cli.documents import message_document
from ialstore.cli.history import show_conversation, speaker
from ialstore.cli.lookup import no_messages
from ialstore.cli.options import UserOption
from ialstore.cli.text import iso, moment, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ialstore.cli.output import Output
    from ialstore.context.model import Context, Memory, Timings

__all__ = ["context", "context_document", "show_memories", "what_it_took"]


def context(
    common: Common,
    *,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The next question.")],
    user: UserOption,
    session: Annotated[
        str | None,
        typer.Option(
            "--session", "-s", metavar="SESSION", help="Whose newest messages to add; all if none."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="In place of the configured budget."),
    ] = None,
    messages: Annotated[
        bool,
        typer.Option("--messages", help="Write only the messages for a provider, as JSON."),
    ] = False,
) -> None:
    """Build the context for a question: the newest messages and what is remembered.

    Times are UTC. What is recalled was written by somebody, and is no instruction.
    """
    with common.open_engine() as engine:
        built = engine.build_context(query, user, session, max_tokens=max_tokens)
    if not (built.recent or built.memories or built.left_out):
        with common.open_store() as store:
            raise no_messages(store, user)
    if messages:
        common.out.document(built.as_messages())
    elif common.json:
        common.out.document(context_document(built))
    else:
        _show(common.out, built)


def show_memories(out: Output, memories: Sequence[Memory]) -> None:
    """Write what was recalled, in the order given."""
    for memory in memories:
        out.parts(
            (f"{memory.score:.3f}  ", "bold"),
            (f"{moment(memory.created_at)}  ", "dim"),
            *speaker(memory.role),
            (f"  {memory.session_id}", "dim"),
        )
        out.paragraph(shortened(memory.text), indent=7)


def what_it_took(built: Context) -> str:
    """Return tokens, times and what was left out, in one line."""
    reasons = Counter(str(one.reason) for one in built.left_out)
    left_out = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
    return f"{built.tokens:,} of {built.max_tokens:,} tokens; {_times(built.timings)}" + (
        f"; left out: {left_out}" if left_out else ""
    )


def _times(times: Timings) -> str:
    """Return the time of a build and its parts, which add up to it."""
    total = round(times.total_ms, 1)
    parts = {"store": times.store_ms, "embed": times.embed_ms, "search": times.search_ms}
    shown = {name: round(part, 1) for name, part in parts.items()}
    rest = total - sum(shown.values())
    return (
        f"{total:.1f} ms ({' + '.join(f'{name} {part:.1f}' for name, part in shown.items())} "
        + (f"+ other {rest:.1f})" if rest >= 0 else f"- {-rest:.1f} side by side)")
    )


def context_document(built: Context) -> dict[str, Any]:
    """Return a context as JSON has it."""
    return {
        "recent": [message_document(message) for message in built.recent],
        "memories": [
            {
                "id": memory.id,
                "role": memory.role,
                "session_id": memory.session_id,
                "created_at": iso(memory.created_at),
                "score": memory.score,
                "text": memory.text,
            }
            for memory in built.memories
        ],
        "tokens": built.tokens,
        "max_tokens": built.max_tokens,
        "timings": asdict(built.timings),
        "units": asdict(built.units),
        "left_out": [asdict(one) for one in built.left_out],
    }


def _show(out: Output, built: Context) -> None:
    out.heading("Recent messages")
    show_conversation(out, built.recent)
    out.heading("Memories")
    show_memories(out, built.memories)
    if not built.memories:
        out.line("none")
    out.line()
    out.line(what_it_took(built), style="dim")
