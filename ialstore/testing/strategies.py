"""Hypothesis strategies for what the contract lets through: texts, JSON, messages, ranges."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from ialstore.model import Message

__all__ = [
    "EXPIRES",
    "MACHINE_START",
    "SECOND",
    "SESSIONS",
    "TICK",
    "TWINS",
    "addresses",
    "contents",
    "json_values",
    "moments",
    "texts",
]

MACHINE_START: Final = datetime(2096, 2, 29, 23, 59, 59, 999_990, tzinfo=UTC)
"""A moment before midnight at the end of a leap day's month."""
TICK: Final = timedelta(microseconds=5)
SECOND: Final = timedelta(seconds=1)
EXPIRES: Final = MACHINE_START.replace(microsecond=0) + SECOND
"""The second after ``MACHINE_START``."""
SESSIONS: Final = ("s1", "s10", "#", "é", "261")
"""With a prefix pair, and ``s1`` and ``261``, which have the same hash: no id tells them apart."""
TWINS: Final = {"s1": "261", "261": "s1"}

_OFFSETS: Final = (
    timedelta(0),
    TICK,
    2 * TICK,
    timedelta(days=1),
    timedelta(days=-40),
    timedelta(days=400),
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
"""Texts of any characters that UTF-8 can hold."""

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**99), 10**99)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
"""JSON values as the contract takes them."""

moments = st.one_of(
    st.none(),
    st.integers(-1, 3).map(lambda ticks: MACHINE_START + ticks * TICK),
    st.sampled_from([MACHINE_START + offset for offset in _OFFSETS]),
)
"""Borders of ranges near the messages of ``addresses``, or None."""


@st.composite
def addresses(draw: st.DrawFn, users: tuple[str, ...]) -> Message:
    """Return a message for its user, id and session; few of them, so that they are met often."""
    session = draw(st.sampled_from(SESSIONS))
    message = Message.new(
        user_id=draw(st.sampled_from([*users[:1] * 4, *users])),
        session_id=session,
        role=draw(st.sampled_from(["user", "assistant"])),
        content="",
        created_at=MACHINE_START + draw(st.sampled_from(_OFFSETS)),
        key=draw(st.sampled_from(["1", "2"])),
    )
    if session in TWINS and draw(st.booleans()):
        return replace(message, session_id=TWINS[session])
    return message


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Return the fields that are not in an id; few of each, so that they are often equal."""
    return {
        "content": draw(st.sampled_from(["", "a", "a"])),
        "payload": draw(st.sampled_from([None, None, {"a": 1}, {"a": 1.0}, {"b": 1, "a": 2}])),
        "metadata": draw(st.sampled_from([{}, {}, {"b": 1, "a": [2]}])),
        "summary": draw(st.sampled_from([None, "short"])),
        "tokens": draw(st.sampled_from([None, 1])),
        "expires_at": draw(
            st.sampled_from([None, None, *(EXPIRES + place * SECOND for place in range(3))])
        ),
    }
