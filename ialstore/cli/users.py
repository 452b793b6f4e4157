"""``ialstore users``: the users of a store, or of a vector index."""

from __future__ import annotations

from typing import Annotated

import typer

from ialstore.cli.common import Common
from ialstore.cli.exits import NothingFoundError
from ialstore.cli.lookup import following
from ialstore.cli.options import CursorOption, LimitOption

__all__ = ["users"]


VectorsOption = Annotated[
    bool, typer.Option("--vectors", help="Those who have vectors, with messages or without.")
]


def users(
    common: Common,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    *,
    vectors: VectorsOption = False,
) -> None:
    """List the users of a store, in no order, where it can list them."""
    with common.open_parts() as parts, following(cursor):
        listed = parts.searched[0] if vectors else parts.store
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
