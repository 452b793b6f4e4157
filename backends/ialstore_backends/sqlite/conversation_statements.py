# ruff: noqa: S608 - only texts of this module are put together; every value is bound
"""The tables of conversations and every SQL statement on them.

``message`` holds messages in the order of arrival, so that an append writes at its end. Two
indexes, by user and id and by user, session and id, keep them in the order of time: every listing
is one range of an index.
"""

from __future__ import annotations

from typing import Final

from ialstore.limits import SUMMARY_CHARACTERS

TABLES: Final = {
    # Small columns stand before the texts, which may fill pages of their own.
    "message": (
        "CREATE TABLE message (user_id TEXT NOT NULL, id TEXT NOT NULL, session_id TEXT NOT NULL, "
        "short_checksum INTEGER NOT NULL, checksum INTEGER NOT NULL, expires INTEGER, "
        "tokens INTEGER, name TEXT, turn_id TEXT, source_id TEXT, summary TEXT, metadata TEXT, "
        "content TEXT NOT NULL, payload TEXT, UNIQUE (user_id, id))"
    ),
    # With expires in it, expired messages are passed over without a look at their rows. With the
    # checksum, a row that a disk put back as it was before a replace no longer agrees with it.
    "message_by_session": (
        "CREATE INDEX message_by_session ON message (user_id, session_id, id, expires, checksum)"
    ),
}
CHUNK: Final = 1000
"""Rows that one statement removes, before the time is looked at again."""
PER_CHECK: Final = 100
"""Rows that ``CHECK`` reads."""

_CHANGEABLE: Final = (
    "session_id",
    "short_checksum",
    "checksum",
    "expires",
    "tokens",
    "name",
    "turn_id",
    "source_id",
    "summary",
    "metadata",
    "content",
    "payload",
)
_WHOLE: Final = (
    "id, session_id, checksum, content, expires, tokens, "
    "name, turn_id, source_id, summary, metadata, payload"
)
# 200 characters are at most 800 bytes. substr of a text would end at a NUL, and that of an empty
# blob is NULL. What is no text, though it should be, becomes NULL and is noticed.
_SHORT: Final = (
    "id, session_id, short_checksum, expires, tokens, summary, "
    "CASE WHEN summary IS NULL AND typeof(content) = 'text' "
    f"THEN coalesce(substr(CAST(content AS BLOB), 1, {4 * SUMMARY_CHARACTERS}), x'') END"
)
_LIVE: Final = "(expires IS NULL OR expires > ?)"

# -- writing: bound are the columns in their order, then what WHERE names ---------------------

_INSERT: Final = (
    f"INSERT INTO message (user_id, id, {', '.join(_CHANGEABLE)}) "
    f"VALUES (?, ?{', ?' * len(_CHANGEABLE)}) ON CONFLICT (user_id, id) DO "
)
INSERT_NEW: Final = _INSERT + "NOTHING"
INSERT_OR_REPLACE: Final = (
    _INSERT + "UPDATE SET " + ", ".join(f"{column} = excluded.{column}" for column in _CHANGEABLE)
)
REPLACE: Final = (
    f"UPDATE message SET {' = ?, '.join(_CHANGEABLE)} = ? "
    f"WHERE user_id = ? AND id = ? AND session_id = ? AND {_LIVE}"
)
DELETE: Final = "DELETE FROM message WHERE user_id = ? AND id = ?"
DELETE_LIVE: Final = f"{DELETE} AND {_LIVE}"
DELETE_ROW: Final = "DELETE FROM message WHERE rowid = ?"

# -- reading one

GET: Final = f"SELECT {_WHOLE} FROM message WHERE user_id = ? AND id = ? AND {_LIVE}"

# -- listings


def _ranges(columns: str) -> dict[tuple[bool, bool], str]:
    """Return statements by whether they read one session and whether the newest comes first."""
    return {
        (one_session, newest_first): (
            f"SELECT {columns} FROM message WHERE user_id = ? "
            f"{'AND session_id = ? ' if one_session else ''}AND id >= ? AND id < ? AND {_LIVE} "
            f"ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?"
        )
        for one_session in (False, True)
        for newest_first in (False, True)
    }


HISTORY: Final = _ranges(_WHOLE)
SUMMARIES: Final = _ranges(_SHORT)

# Each session is one step to the next larger one in the index, however many messages it has. Its
# newest message is then looked up by its id, through the other index: they have to agree. With a
# limit, even none, SQLite finds it once and not once for each use.
SESSIONS: Final = f"""
    WITH RECURSIVE session (session_id) AS (
        SELECT min(session_id) FROM message WHERE user_id = :user
        UNION ALL
        SELECT (SELECT min(session_id) FROM message
                WHERE user_id = :user AND session_id > session.session_id)
        FROM session WHERE session_id IS NOT NULL
    ),
    newest (its_session, its_id) AS (
        SELECT session_id, (
            SELECT id FROM message
            WHERE user_id = :user AND session_id = session.session_id
                AND (expires IS NULL OR expires > :now)
            ORDER BY id DESC LIMIT 1
        ) FROM session WHERE session_id IS NOT NULL LIMIT -1
    )
    SELECT its_session, {_SHORT}
    FROM newest LEFT JOIN message ON user_id = :user AND id = its_id
    WHERE its_id IS NOT NULL
"""
# Each user with one message, which has to be its own.
USERS: Final = f"""
    WITH RECURSIVE one (its_user) AS (
        SELECT min(user_id) FROM message WHERE user_id > :after
        UNION ALL
        SELECT (SELECT min(user_id) FROM message WHERE user_id > one.its_user)
        FROM one WHERE its_user IS NOT NULL
        LIMIT :limit
    )
    SELECT its_user, {_SHORT}
    FROM one LEFT JOIN message ON message.rowid = (
        SELECT rowid FROM message WHERE user_id = its_user ORDER BY id LIMIT 1
    )
    WHERE its_user IS NOT NULL
"""

# -- removing and care

COUNT: Final = f"SELECT count(*) FROM message WHERE user_id = ? AND {_LIVE}"
ROWS_OF_USER: Final = f"SELECT rowid, {_LIVE} FROM message WHERE user_id = ? LIMIT {CHUNK}"
ROWS_OF_SESSION: Final = (
    f"SELECT rowid, {_LIVE} FROM message WHERE user_id = ? AND session_id = ? LIMIT {CHUNK}"
)
EXPIRED_ROWS: Final = "SELECT rowid FROM message WHERE user_id = ? AND expires <= ?"
EXPIRED_ROW: Final = (
    f"SELECT {_SHORT} FROM message WHERE rowid = ? AND user_id = ? AND expires <= ?"
)
CHECK: Final = (
    f"SELECT rowid, user_id, short_checksum, {_WHOLE} FROM message "
    f"WHERE rowid > ? ORDER BY rowid LIMIT {PER_CHECK}"
)
