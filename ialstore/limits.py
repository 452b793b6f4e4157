"""The limits of the contract: the same for every backend, checked before any I/O.

Sizes are bytes of UTF-8; JSON counts as its compact text.
"""

from __future__ import annotations

from typing import Final

MAX_ID_BYTES: Final = 384
"""User id or session id, after escaping."""
MAX_NAMESPACE_BYTES: Final = 128
"""Prefix of the ``namespace`` wrapper, after escaping: a backend within one gets user ids of up to
513 bytes, ``MAX_ID_BYTES`` and a separator included."""
MAX_STORED_USER_BYTES: Final = 1024
"""User id that a listing goes on from: room for namespaces within namespaces."""
MAX_NAME_BYTES: Final = 256
MAX_TURN_ID_BYTES: Final = 256
MAX_SOURCE_ID_BYTES: Final = 512
MAX_SUMMARY_BYTES: Final = 1024
MAX_TOKENS: Final = 2**31 - 1
MAX_METADATA_BYTES: Final = 32 * 1024
MAX_METADATA_DEPTH: Final = 16
MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Content and payload together."""
MAX_PAYLOAD_DEPTH: Final = 64
MAX_INTEGER_DIGITS: Final = 100
"""Of an integer inside JSON."""

MAX_APPEND: Final = 100
"""Messages of one ``append``."""
MAX_APPEND_BYTES: Final = 4 * 1024 * 1024
"""Content, payload and metadata of one ``append``."""
MAX_GET: Final = 100
"""Ids of one ``get``."""
MAX_DELETE: Final = 1000
"""Ids of one ``delete``."""
MAX_PAGE: Final = 1000
"""Items of one page."""
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
"""Content, payload and metadata of one page; a page holds at least one message all the same."""
LOAD_BATCH: Final = 1000
"""Messages or records that ``bulk_load`` hands to a backend at once."""
MAX_CURSOR_CHARACTERS: Final = 4096
SUMMARY_CHARACTERS: Final = 200
"""Of the content, where a message has no summary."""

MAX_DIMENSION: Final = 4096
MAX_UPSERT: Final = 1000
"""Records of one ``upsert``."""
MAX_TEXT_BYTES: Final = 2048
"""Text kept beside a vector."""
MIN_MAX_K: Final = 100
"""Least ``k`` that every index offers."""

DEFAULT_TIMEOUT_SECONDS: Final = 5.0
"""Time given to a call where neither the config nor ``deadline()`` says otherwise."""
MAX_AHEAD_SECONDS: Final = 300
"""How far the id given as ``after`` may lie ahead of the clock."""
