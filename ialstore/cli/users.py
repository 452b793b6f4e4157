"""``ialstore users``: the users of a store, or of a vector index."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ialstore.cli.common import Common
from ialstore.cli.exits import NothingFoundError
from ialstore.cli.lookup import following
from ialstore.cli.options import CursorOption, LimitOption

if TYPE_CHECKING:
    from ialstore.conversation import ConversationStore
    from ialstore.vector import VectorIndex

__all__ = ["users"]


def users(
    common: Common,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    *,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Those who have vectors, with messages or without.")
    ] = False,
) -> None:
    """List the users of a store, in no order, where it can list them."""
    with _opened(common, vectors=vectors) as listed, following(cursor):
        page = listed.users(limit=limit, cursor=cursor)
    if not page.items and cursor is None:
        what = "nobody has vectors" if vectors else "the store is empty"
        raise NothingFoundError(f"{what}; try ialstore import, or another --url")
    if common.json:
        common.out.document({"items": page.items, "cursor": page.cursor})
        return
    for user_id in page:
        common.out.line(user_id)
    if page.cursor is not None:
        common.out.note(f"further ones: --cursor {page.cursor}")


@contextmanager
def _opened(common: Common, *, vectors: bool) -> Generator[ConversationStore | VectorIndex]:
    """Open what is listed, and nothing else: an index wants its embedder, which may be large."""
    if vectors:
        with common.open_parts() as parts:
            yield parts.searched[0]
    else:
        with common.open_store() as store:
            yield store
