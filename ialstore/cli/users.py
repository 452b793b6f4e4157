"""``ialstore users``: the users of a store."""

from __future__ import annotations

from ialstore.cli.common import Common
from ialstore.cli.exits import NothingFoundError
from ialstore.cli.lookup import following
from ialstore.cli.options import CursorOption, LimitOption

__all__ = ["users"]


def users(common: Common, limit: LimitOption = 100, cursor: CursorOption = None) -> None:
    """List the users of a store, in no order, where it can list them."""
    with common.open_store() as store, following(cursor):
        page = store.users(limit=limit, cursor=cursor)
    if not page.items and cursor is None:
        raise NothingFoundError("the store is empty; try ialstore import, or another --url")
    if common.json:
        common.out.document({"items": page.items, "cursor": page.cursor})
        return
    for user_id in page:
        common.out.line(user_id)
    if page.cursor is not None:
        common.out.note(f"further ones: --cursor {page.cursor}")
