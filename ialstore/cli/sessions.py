"""``ialstore sessions``: the sessions of a user."""

from __future__ import annotations

from ialstore.cli.common import Common
from ialstore.cli.lookup import following, no_messages
from ialstore.cli.options import CursorOption, LimitOption, UserOption
from ialstore.cli.text import iso, moment

__all__ = ["sessions"]


def sessions(
    common: Common, user: UserOption, limit: LimitOption = 50, cursor: CursorOption = None
) -> None:
    """List the sessions of a user, the latest active first; times are UTC."""
    with common.open_store() as store, following(cursor):
        page = store.sessions(user, limit=limit, cursor=cursor)
        if not page.items and cursor is None:
            raise no_messages(store, user)
    if common.json:
        items = [
            {"session_id": one.session_id, "last_active": iso(one.last_active)} for one in page
        ]
        common.out.document({"items": items, "cursor": page.cursor})
        return
    rows = ([one.session_id, moment(one.last_active)] for one in page)
    common.out.table(["session", "last active"], rows)
    if page.cursor is not None:
        common.out.note(f"earlier ones: --cursor {page.cursor}")
