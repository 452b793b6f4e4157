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
PER_CHECK: Final = 100
"""Rows that ``CHECK`` reads."""

TABLES: Final = {
    # AUTOINCREMENT: a number is never given twice, so that no process takes what it holds of an
    # erased user for another's.
    "vector_users": (
        "CREATE TABLE vector_users (user INTEGER PRIMARY KEY AUTOINCREMENT, "
        "user_id TEXT NOT NULL UNIQUE, written INTEGER NOT NULL, removals INTEGER NOT NULL, "
        "total INTEGER NOT NULL, checksum INTEGER NOT NULL)"
    ),
    "vectors": (
        f"CREATE TABLE vectors (number INTEGER PRIMARY KEY CHECK (number >> {NUMBER_BITS} = user), "
        "user INTEGER NOT NULL, id TEXT NOT NULL, session_id TEXT NOT NULL, expires INTEGER, "
        "short_checksum INTEGER NOT NULL, checksum INTEGER NOT NULL, text TEXT, "
        "vector BLOB NOT NULL)"
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

# One statement sees the file at one moment: there are no users before there is a spec.
_HAS_USERS: Final = "EXISTS (SELECT 1 FROM vector_users)"
_STORED: Final = "(SELECT coalesce(value, '') FROM meta WHERE name = 'vector_spec')"
SPEC: Final = f"SELECT {_STORED}, {_HAS_USERS}"
STORE_SPEC: Final = "INSERT OR IGNORE INTO meta VALUES ('vector_spec', ?)"
_STATE: Final = "user_id, user, written, removals, total, checksum"
STATE: Final = f"SELECT {_STATE} FROM vector_users WHERE user_id = ?"
USERS: Final = f"SELECT {_STATE} FROM vector_users WHERE user_id > ? ORDER BY user_id LIMIT ?"

# -- writing -----------------------------------------------------------------------------------

NEW_USER: Final = "INSERT INTO vector_users VALUES (NULL, ?, 0, 0, 0, 0)"
CHANGE_STATE: Final = (
    "UPDATE vector_users SET written = ?, removals = ?, total = ?, checksum = ? WHERE user = ?"
)
COUNT_GIVEN: Final = f"SELECT count(*) FROM vectors WHERE user = ? AND id IN {_GIVEN}"
UPSERT: Final = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

# -- reading -----------------------------------------------------------------------------------

_WHOLE: Final = "number, id, session_id, text, expires, checksum, vector"
READ: Final = f"SELECT {_WHOLE} FROM vectors WHERE number > ? AND number < ? ORDER BY number"
ALL_IDS: Final = "SELECT id FROM vectors WHERE user = ?"
GET: Final = f"SELECT {_WHOLE} FROM vectors WHERE {_OWN} AND id IN {_GIVEN} AND {_LIVE}"
IDS: Final = (
    f"SELECT id, session_id, expires, short_checksum FROM vectors "
    f"WHERE {_OWN} AND id > ? AND {_LIVE} ORDER BY id LIMIT ?"
)
EXPIRED_ROWS: Final = (
    "SELECT number, id, session_id, expires, short_checksum FROM vectors "
    f"WHERE {_OWN} AND expires <= ?"
)
EXPIRED: Final = "SELECT count(*) FROM vectors WHERE user = ? AND expires <= ?"
CHECK: Final = (
    f"SELECT number, user, short_checksum, {_WHOLE} FROM vectors "
    f"WHERE number > ? ORDER BY number LIMIT {PER_CHECK}"
)
CHECK_USERS: Final = (
    f"SELECT user, {_STATE} FROM vector_users WHERE user > ? ORDER BY user LIMIT {PER_CHECK}"
)

# -- removing: what of a user, a chunk at a time -----------------------------------------------

# What is removed is not read: a damaged time must not keep a user from being erased.
_ROWS: Final = (
    "SELECT number, CASE typeof(expires) WHEN 'integer' THEN expires END "
    "FROM vectors WHERE user = ? AND"
)
ROWS_OF_IDS: Final = f"{_ROWS} id IN {_GIVEN} LIMIT {CHUNK}"
ROWS_OF_SESSION: Final = f"{_ROWS} session_id = ? LIMIT {CHUNK}"
ROWS_OF_NUMBERS: Final = f"{_ROWS} number IN {_GIVEN} LIMIT {CHUNK}"
ROWS_ALL: Final = f"{_ROWS} number > ? LIMIT {CHUNK}"
DELETE: Final = f"DELETE FROM vectors WHERE number IN {_GIVEN}"
DROP_EMPTY_USER: Final = (
    "DELETE FROM vector_users WHERE user_id = ? "
    "AND NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.user = vector_users.user)"
)
