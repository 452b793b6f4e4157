"""Going through listings, and what to say when there is nothing in them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ialstore.cli.exits import NothingFoundError
from ialstore.errors import InvalidInputError
from ialstore.limits import MAX_PAGE
from ialstore.listing import walk

if TYPE_CHECKING:
    from ialstore.conversation import ConversationStore
    from ialstore.vector import VectorIndex

__all__ = ["all_users", "following", "known_users", "no_messages"]

_NAMED: Final = 5
"""Users named in a hint."""


@contextmanager
def following(cursor: str | None) -> Generator[None]:
    """Say what to do about a cursor that is refused inside."""
    try:
        yield
    except InvalidInputError as error:
        if cursor is None or not str(error).startswith("the cursor "):
            raise
        what = str(error).partition(";")[0]
        raise InvalidInputError(f"{what}; start without --cursor") from error


def all_users(store: ConversationStore) -> Iterator[str]:
    """Yield every user of a store once."""
    seen: set[str] = set()
    for user_id in walk(lambda cursor: store.users(limit=MAX_PAGE, cursor=cursor)):
        if user_id not in seen:
            seen.add(user_id)
            yield user_id


def no_messages(
    store: ConversationStore, user_id: str, index: VectorIndex | None = None
) -> NothingFoundError:
    """Return the error for a listing of a user that is empty, with what to try instead.

    Args:
        store: where messages were looked for.
        user_id: whose.
        index: what was searched, if the listing is of a search.
    """
    if store.history(user_id, limit=1).items:
        if index is not None and not index.count(user_id):
            return NothingFoundError(
                f"user {user_id} has messages, and no vectors here; ialstore repair makes them"
            )
        return NothingFoundError(
            f"no message of user {user_id} matches; ask for less or see sessions"
        )
    if not store.capabilities.users:
        return NothingFoundError(f"no messages for user {user_id}; check the id and the store")
    named = known_users(store)
    if not named:
        return NothingFoundError(
            f"no messages for user {user_id}; the store is empty: try ialstore import, "
            "or another --url or --config"
        )
    return NothingFoundError(f"no messages for user {user_id}; known: {named}")


def known_users(part: ConversationStore | VectorIndex) -> str:
    """Return some users of a store or index; empty if it has none, or can't list them."""
    if not part.capabilities.users:
        return ""
    users = part.users(limit=_NAMED + 1).items
    return f"{', '.join(users[:_NAMED])}{', ...' if users[_NAMED:] else ''}"
