# ruff: noqa: S608 - only texts of this module are put together; every value is bound
"""The tables of vectors and every SQL statement on them.

``vectors`` holds one row for each vector, which never changes: every write takes a new ``number``,
the user's number in the upper bits and the count of the user's writes in the lower ones. So the
rows of a user lie together, and those that are new to a reader are one range of numbers.
"""

from __future__ import annotations

from typing import Final

NUMBER_BITS: Final = 32
"""Lower bits of a row's number: the count of the user's writes."""
CHUNK: Final = 1000
"""Rows that one transaction removes, so that other writers get their turn."""

TABLES: Final = {
    # AUTOINCREMENT: a number is never given twice, so that no process takes what it holds of an
    # erased user for another's.
    "vector_users": (
        "CREATE TABLE vector_users (user INTEGER PRIMARY KEY AUTOINCREMENT, "
        "user_id TEXT NOT NULL UNIQUE, written INTEGER NOT NULL, removals INTEGER NOT NULL)"
    ),
    "vectors": (
        f"CREATE TABLE vectors (number INTEGER PRIMARY KEY CHECK (number >> {NUMBER_BITS} = user), "
        "user INTEGER NOT NULL, id TEXT NOT NULL, session_id TEXT NOT NULL, expires INTEGER, "
        "text TEXT, vector BLOB NOT NULL)"
    ),
    "vectors_by_id": "CREATE UNIQUE INDEX vectors_by_id ON vectors (user, id)",
    "vectors_by_session": "CREATE INDEX vectors_by_session ON vectors (user, session_id)",
    "vectors_by_expiry": (
        "CREATE INDEX vectors_by_expiry ON vectors (user, expires) WHERE expires IS NOT NULL"
    ),
}

_OWN: Final = "user = (SELECT user FROM vector_users WHERE user_id = ?)"
_LIVE: Final = "(expires IS NULL OR expires > ?)"
_GIVEN: Final = "(SELECT value FROM json_each(?))"

# -- the spec and the state of a user ----------------------------------------------------------

SPEC: Final = "SELECT value FROM meta WHERE name = 'vector_spec'"
STORE_SPEC: Final = "INSERT OR IGNORE INTO meta VALUES ('vector_spec', ?)"
STATE: Final = "SELECT user, written, removals FROM vector_users WHERE user_id = ?"
USERS: Final = "SELECT user_id FROM vector_users WHERE user_id > ? ORDER BY user_id LIMIT ?"

# -- writing -----------------------------------------------------------------------------------

NEW_USER: Final = (
    "INSERT INTO vector_users (user_id, written, removals) VALUES (?, 0, 0) ON CONFLICT DO NOTHING"
)
WRITTEN: Final = "UPDATE vector_users SET written = ? WHERE user = ?"
UPSERT: Final = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?, ?, ?)"

# -- reading -----------------------------------------------------------------------------------

READ: Final = (
    "SELECT id, session_id, text, expires, vector FROM vectors WHERE number > ? AND number < ?"
)
ALL_IDS: Final = "SELECT id FROM vectors WHERE user = ?"
COUNT_ALL: Final = "SELECT count(*) FROM vectors WHERE user = ?"
GET: Final = (
    "SELECT id, session_id, text, expires, vector FROM vectors "
    f"WHERE {_OWN} AND id IN {_GIVEN} AND {_LIVE}"
)
IDS: Final = f"SELECT id FROM vectors WHERE {_OWN} AND id > ? AND {_LIVE} ORDER BY id LIMIT ?"
COUNT: Final = (
    "SELECT (SELECT count(*) FROM vectors WHERE vectors.user = vector_users.user) - "
    "(SELECT count(*) FROM vectors WHERE vectors.user = vector_users.user AND expires <= ?) "
    "FROM vector_users WHERE user_id = ?"
)
MALFORMED: Final = (
    "SELECT count(*) FROM vectors WHERE typeof(vector) <> 'blob' OR length(vector) <> ? "
    "OR typeof(id) <> 'text' OR length(id) <> 36 OR typeof(session_id) <> 'text' "
    "OR typeof(expires) NOT IN ('integer', 'null') OR typeof(text) NOT IN ('text', 'null')"
)
MISCOUNTED: Final = (
    "SELECT count(*) FROM vector_users WHERE typeof(user_id) <> 'text' "
    "OR typeof(written) <> 'integer' OR typeof(removals) <> 'integer'"
)

# -- removing: what of a user, a chunk at a time -----------------------------------------------

# What is removed is not read: a damaged time must not keep a user from being erased.
_ROWS: Final = (
    "SELECT number, CASE typeof(expires) WHEN 'integer' THEN expires END "
    "FROM vectors WHERE user = ? AND"
)
ROWS_OF_IDS: Final = f"{_ROWS} id IN {_GIVEN} LIMIT {CHUNK}"
ROWS_OF_SESSION: Final = f"{_ROWS} session_id = ? LIMIT {CHUNK}"
ROWS_EXPIRED: Final = f"{_ROWS} expires <= ? LIMIT {CHUNK}"
ROWS_ALL: Final = f"{_ROWS} number > ? LIMIT {CHUNK}"
DELETE: Final = f"DELETE FROM vectors WHERE number IN {_GIVEN}"
REMOVED: Final = "UPDATE vector_users SET removals = removals + 1 WHERE user = ?"
DROP_EMPTY_USER: Final = (
    "DELETE FROM vector_users WHERE user = ?1 "
    "AND NOT EXISTS (SELECT 1 FROM vectors WHERE user = ?1)"
)
