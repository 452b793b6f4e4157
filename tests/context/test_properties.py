"""Promises that hold for every context, whatever was said."""

from __future__ import annotations

import json
import zlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ialstore.context import estimate_tokens
from ialstore.context.render import in_turns
from ialstore.context.tokens import MESSAGE_TOKENS

WORDS = st.lists(st.sampled_from(["cat", "dog", "tuna", "?", "\n", "中文", "x" * 30]), max_size=12)
PAYLOADS = st.sampled_from(
    [None, None, None, {"tool_calls": [{"name": "f"}]}, {"content": "cat"}, [{"text": "cat " * 9}]]
)
SAID = st.fixed_dictionaries(
    {
        "content": WORDS.map(" ".join),
        "role": st.sampled_from(["user", "assistant", "tool", "event", "system"]),
        "session_id": st.sampled_from(["s", "old"]),
        "name": st.sampled_from([None, "Ann"]),
        "turn_id": st.sampled_from([None, None, "1", "2"]),
        "payload": PAYLOADS,
        "tokens": st.sampled_from([None, None, 3]),
    }
)

OPTIONS = st.fixed_dictionaries(
    {
        "token_counter": st.deferred(lambda: st.sampled_from([len, estimate_tokens, erratic])),
        "recent_share": st.floats(0, 1),
        "recent_messages": st.integers(0, 8),
        "memories": st.integers(0, 5),
    }
)


def erratic(text: str) -> int:
    """Count unlike any tokenizer: neither longer texts nor joined ones take more."""
    return zlib.crc32(text.encode()) % 40


def sent(context: Any, counter: Any) -> int:
    """Return the tokens of what a context sends, counted from outside."""
    total = 0
    given = [None] * bool(context.memories) + [one.tokens for one in in_turns(context.recent)]
    for message, tokens in zip(context.as_messages(), given, strict=True):
        counted = MESSAGE_TOKENS
        for key, value in message.items():
            if key == "role":
                continue
            text = value
            if not isinstance(value, str):
                text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            counted += counter(text) + (counter(key) if key != "content" else 0)
        if tokens is not None:
            named = counter("name") + counter(message["name"]) if "name" in message else 0
            counted = max(counted, MESSAGE_TOKENS + tokens + named)
        total += counted
    return total


@settings(max_examples=200)
@given(
    said=st.lists(SAID, max_size=15),
    query=st.sampled_from(["cat", "dog and tuna", "中文", "?"]),
    session_id=st.sampled_from(["s", "old", "never", None]),
    max_tokens=st.integers(1, 600),
    options=OPTIONS,
)
def test_a_context_keeps_its_promises(
    new_rig: Any,
    said: list[dict[str, Any]],
    query: str,
    session_id: str | None,
    *,
    max_tokens: int,
    options: dict[str, Any],
) -> None:
    rig = new_rig(**options)
    for fields in said:
        rig.say(fields["content"], **{k: v for k, v in fields.items() if k != "content"})

    context = rig.build(query, session_id, max_tokens=max_tokens)

    assert context.tokens == sent(context, options["token_counter"]), (
        "tokens are those of what is sent"
    )
    assert context.tokens <= max_tokens, "the budget holds"
    recent = [message.id for message in context.recent]
    recalled = [memory.id for memory in context.memories]
    left_out = [one.id for one in context.left_out]
    assert len({*recent, *recalled, *left_out}) == len(recent + recalled + left_out), (
        "a message is recent, recalled or left out, and only once"
    )
    assert recent == sorted(recent)
    assert len(recalled) <= options["memories"]
    scores = [memory.score for memory in context.memories]
    assert scores == sorted(scores, reverse=True)
    assert all(message.role != "event" for message in context.recent)
    assert all(memory.role in {"user", "assistant"} for memory in context.memories)
    history = rig.store.history("u", session_id=session_id, newest_first=False)
    spoken = [message for message in history if message.role != "event"]
    assert list(context.recent) == spoken[len(spoken) - len(recent) :], "the run is contiguous"
    turns = {(m.session_id, m.turn_id) for m in context.recent if m.turn_id}
    whole = [m.id for m in spoken if (m.session_id, m.turn_id) in turns]
    if (
        len(history) <= options["recent_messages"] + 4
    ):  # a turn in pieces farther apart is not seen as one
        assert set(whole) <= set(recent), "turns are whole"
    again = rig.build(query, session_id, max_tokens=max_tokens)
    assert again.as_messages() == context.as_messages(), "the same question, the same context"
