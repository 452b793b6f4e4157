"""What no store could have written is a ``CorruptError``, and never an answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ialstore import CorruptError, Message
from ialstore.decoding import DAMAGE, decode_message, stored_role

ONE = Message.new(
    user_id="u",
    session_id="s",
    role="user",
    content="x",
    created_at=datetime(2024, 2, 29, 12, tzinfo=UTC),
    key="k",
)
SOUND: dict[str, Any] = {
    "id": ONE.id,
    "user_id": "u",
    "session_id": "s",
    "content": "x",
    "payload_text": None,
    "name": None,
    "turn_id": None,
    "source_id": None,
    "summary": None,
    "tokens": None,
    "metadata_text": None,
    "expires": None,
}


def test_what_was_written_is_read() -> None:
    assert decode_message(**SOUND) == ONE


@pytest.mark.parametrize(
    "damage",
    [
        {"payload_text": "[NaN]"},
        {"payload_text": "5"},
        {"payload_text": "{"},
        {"metadata_text": "[]"},
        {"expires": "tomorrow"},
        {"tokens": -1},
        {"tokens": 1.5},
        {"content": None},
        {"name": b"bytes"},
        {"session_id": "another"},
        {"id": ONE.id[:-1]},
    ],
    ids=repr,
)
def test_what_no_store_writes_is_corrupt(damage: dict[str, Any]) -> None:
    """C5: it raises; it never becomes another answer."""
    with pytest.raises(CorruptError):
        decode_message(**(SOUND | damage))


def test_the_role_of_an_id_is_that_of_its_session() -> None:
    """M3: time, role and session hash must agree."""
    assert stored_role(ONE.id, "s") == "user"
    for one, session in ((ONE.id[:-1], "s"), (ONE.id, "another")):
        with pytest.raises(DAMAGE):
            stored_role(one, session)
