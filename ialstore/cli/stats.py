"""``ialstore stats``: how much is stored, of whom and since when."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ialstore.cli.common import Common
from ialstore.cli.lookup import all_users, no_messages
from ialstore.cli.options import OptionalUserOption
from ialstore.cli.text import counted, iso, moment
from ialstore.compare.footprint import file_bytes
from ialstore.limits import MAX_PAGE
from ialstore.listing import walk

if TYPE_CHECKING:
    from typing import Any

    from ialstore.conversation import ConversationStore
    from ialstore.vector import VectorIndex

__all__ = ["Holdings", "holdings", "stats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What is stored of a user; ``vectors`` is None where no index is configured.

    ``searchable`` are the messages that should have a vector.
    """

    user_id: str
    messages: int
    searchable: int
    sessions: int
    vectors: int | None
    first: datetime | None
    last: datetime | None


def stats(common: Common, user: OptionalUserOption = None) -> None:
    """Count messages, sessions and vectors of one user, or of all; times are UTC.

    It reads every message once.
    """
    with common.open_parts() as parts:
        store, index = parts.store, parts.index
        wanted = sorted(all_users(store)) if user is None else [user]
        found: list[Holdings] = []
        with common.out.progress("counting users", len(wanted)) as progress:
            for one in wanted:
                found.append(holdings(store, index, one))
                progress(len(found), None)
        if user is not None and not (found[0].messages or found[0].vectors):
            raise no_messages(store, user)
    config = common.load()
    size = file_bytes(*filter(None, (config.conversation.url, config.vector.url)))
    if common.json:
        common.out.document({"items": [_document(one) for one in found], "bytes": size})
        return
    common.out.table(
        ["user", "#messages", "#sessions", "#vectors", "first", "last"],
        [_row(one) for one in [*found, *_sum(found)]],
    )
    if index is not None:
        common.out.line(_about_vectors(found))
    if size is not None:
        common.out.line(f"{size:,} bytes on disk")


def holdings(store: ConversationStore, index: VectorIndex | None, user_id: str) -> Holdings:
    """Count what is stored of a user."""
    from ialstore.context.vectors import needs_vector

    messages = searchable = 0
    sessions: set[str] = set()
    first = last = None
    for one in walk(
        lambda at: store.history(user_id, newest_first=False, limit=MAX_PAGE, cursor=at)
    ):
        messages += 1
        searchable += needs_vector(one)
        sessions.add(one.session_id)
        first, last = first or one, one
    return Holdings(
        user_id=user_id,
        messages=messages,
        searchable=searchable,
        sessions=len(sessions),
        vectors=None if index is None else index.count(user_id),
        first=None if first is None else first.created_at,
        last=None if last is None else last.created_at,
    )


def _sum(found: list[Holdings]) -> list[Holdings]:
    """Return the line below several users."""
    if len(found) < 2:  # noqa: PLR2004 - one user is its own sum
        return []
    return [
        Holdings(
            user_id=f"{len(found):,} users",
            messages=sum(one.messages for one in found),
            searchable=sum(one.searchable for one in found),
            sessions=sum(one.sessions for one in found),
            vectors=None if found[0].vectors is None else sum(one.vectors or 0 for one in found),
            first=min((one.first for one in found if one.first), default=None),
            last=max((one.last for one in found if one.last), default=None),
        )
    ]


def _about_vectors(found: list[Holdings]) -> str:
    """Return why there are fewer vectors than messages."""
    vectors = sum(one.vectors or 0 for one in found)
    searchable = sum(one.searchable for one in found)
    return (
        f"{vectors:,} of {counted(searchable, 'message')} that can have vectors: those of user "
        "and assistant, with words in them"
        + ("; ialstore repair mends the difference" if vectors != searchable else "")
    )


def _row(one: Holdings) -> list[str]:
    return [
        one.user_id,
        f"{one.messages:,}",
        f"{one.sessions:,}",
        "-" if one.vectors is None else f"{one.vectors:,}",
        "-" if one.first is None else moment(one.first),
        "-" if one.last is None else moment(one.last),
    ]


def _document(one: Holdings) -> dict[str, Any]:
    return {**asdict(one), "first": iso(one.first), "last": iso(one.last)}
