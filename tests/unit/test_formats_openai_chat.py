"""Chats in OpenAI's form become messages, the same ones each time."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore import InvalidInputError, LimitExceededError, Message, Role, open_store
from ialstore.formats import read_openai_chat
from ialstore.formats.openai_chat import UNKNOWN_TIME

TIME = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def said(role: str = "user", content: Any = "Hi!", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(call_id: str | None, name: str) -> dict[str, Any]:
    made = {"type": "function", "function": {"name": name, "arguments": "{}"}}
    return made if call_id is None else {"id": call_id, **made}


CHAT = [said("system", "Be kind."), said("user", "Hi!"), said("assistant", "Hello.")]


def read(data: Any, *, user_id: str = "u", **options: Any) -> list[Message]:
    """Read a value, or a text as it stands in a file."""
    text = data if isinstance(data, str) else json.dumps(data)
    return list(read_openai_chat(io.StringIO(text), user_id=user_id, **options))


def lines(*values: Any) -> str:
    return "\n".join(json.dumps(one) for one in values) + "\n"


@pytest.mark.parametrize(
    "data",
    [
        CHAT,
        {"messages": CHAT},
        [{"messages": CHAT}],
        [CHAT],
        json.dumps({"messages": CHAT}, indent=2),
        json.dumps(CHAT, indent=2),
        lines({"messages": CHAT}),
        lines(*CHAT),
        "\ufeff" + lines({"messages": CHAT, "tools": []}),
    ],
    ids=[
        "messages",
        "object",
        "list of objects",
        "list of lists",
        "object over many lines",
        "list over many lines",
        "line",
        "a message per line",
        "line with a byte order mark",
    ],
)
def test_every_form_of_one_chat_gives_the_same_messages(data: Any) -> None:
    messages = read(data)
    assert [(one.role, one.content) for one in messages] == [
        ("system", "Be kind."),
        ("user", "Hi!"),
        ("assistant", "Hello."),
    ]
    assert {(one.user_id, one.session_id) for one in messages} == {("u", "chat-1")}
    assert messages == read(CHAT)


def test_a_parsed_value_reads_like_its_text() -> None:
    assert list(read_openai_chat(CHAT, user_id="u")) == read(CHAT)
    assert list(read_openai_chat({"messages": CHAT}, user_id="u")) == read(CHAT)


@pytest.mark.parametrize("data", [[], "[]", {"messages": []}, [[]], [{"messages": None}]])
def test_no_messages_are_none(data: Any) -> None:
    assert read(data) == []


def test_conversations_become_sessions_by_id_or_place() -> None:
    chats = [{"id": "a", "messages": CHAT}, {"id": 7, "messages": CHAT}, {"messages": CHAT}, CHAT]
    for data in (chats, lines(*chats)):
        sessions = dict.fromkeys(one.session_id for one in read(data))
        assert list(sessions) == ["a", "7", "chat-3", "chat-4"]


def test_a_prefix_keeps_the_sessions_of_two_files_apart() -> None:
    assert {one.session_id for one in read([CHAT, CHAT], session_prefix="may")} == {
        "may-1",
        "may-2",
    }


def test_a_session_names_the_first_conversation_and_numbers_the_others() -> None:
    chats = [CHAT, CHAT, {"id": "own", "messages": CHAT}]
    sessions = dict.fromkeys(one.session_id for one in read(chats, session_id="work"))
    assert list(sessions) == ["work", "work-2", "own"]
    assert read([CHAT], session_id="work") == read(chats, session_id="work")[: len(CHAT)]


def test_a_time_is_asked_for_only_where_there_is_none() -> None:
    asked: list[datetime] = []

    def time() -> datetime:
        asked.append(UNKNOWN_TIME)
        return UNKNOWN_TIME

    read({"messages": CHAT, "created": 0}, created_at=time)
    assert asked == []
    assert read([CHAT, CHAT], created_at=time) == read([CHAT, CHAT])
    assert len(asked) == 2


def test_messages_without_times_keep_their_order() -> None:
    messages = read([CHAT, CHAT])
    ids = [one.id for one in messages]
    assert ids == sorted(ids)
    assert [one.created_at - UNKNOWN_TIME for one in messages[:4]] == [
        timedelta(0),
        timedelta(microseconds=1),
        timedelta(microseconds=2),
        timedelta(seconds=1),
    ]


def test_the_caller_may_know_the_time() -> None:
    assert read(CHAT, created_at=TIME)[0].created_at == TIME


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("created", 1772443800),
        ("create_time", 1772443800.0),
        ("created_at", "2026-03-02T10:30:00+01:00"),
    ],
)
def test_a_conversation_s_own_time_is_taken(key: str, value: object) -> None:
    messages = read([{"messages": CHAT, key: value}], created_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert messages[0].created_at == TIME


def test_importing_twice_changes_nothing() -> None:
    with open_store("memory:") as store:
        assert len(store.append(*read([CHAT, CHAT])).stored) == 6
        assert store.append(*read([CHAT, CHAT])).stored == ()


def test_what_is_added_at_the_end_adds_only_itself() -> None:
    longer = [*CHAT, said(content="And you?")]
    with open_store("memory:") as store:
        store.append(*read([longer]))
        assert len(store.append(*read([longer, CHAT])).stored) == 3
        assert len(store.append(*read([[*longer, said("assistant")], CHAT])).stored) == 1


def test_text_and_name_need_no_payload() -> None:
    (message,) = read([said(name="Ann", refusal=None, annotations=[], audio={})])
    assert (message.content, message.name, message.payload) == ("Hi!", "Ann", None)


@pytest.mark.parametrize(
    ("given", "content"),
    [
        (said(content="Hi!", audio={"id": "a"}), "Hi!"),
        (said(content=[]), ""),
        (
            said(
                content=[
                    {"type": "text", "text": "What is"},
                    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                    {"type": "input_text", "text": "this?"},
                ]
            ),
            "What is\nthis?",
        ),
        (said("assistant", [{"type": "refusal", "refusal": "I can't."}]), "I can't."),
        (said("assistant", None, refusal="I can't."), "I can't."),
        ({"role": "assistant", "tool_calls": [call("1", "find")]}, ""),
        (said("assistant", None, function_call={"name": "find", "arguments": "{}"}), ""),
        (said("function", "done", name="find"), "done"),
    ],
    ids=["more", "empty", "parts", "refusal part", "refusal", "calls", "old call", "old result"],
)
def test_a_message_with_more_than_text_is_kept_whole(given: dict[str, Any], content: str) -> None:
    (message,) = read([given])
    assert message.content == content
    assert json.dumps(message.payload) == json.dumps(given)


def test_no_content_at_all_is_an_empty_text() -> None:
    (message,) = read([{"role": "assistant", "content": None}])
    assert (message.content, message.payload) == ("", None)


def test_tool_calls_and_their_results_share_a_turn() -> None:
    messages = read(
        [
            said(),
            said("assistant", None, tool_calls=[call("a", "find"), call("b", "look")]),
            said("tool", "found", tool_call_id="b"),
            said("tool", "seen", tool_call_id="a"),
            said("assistant", "Here."),
            said("assistant", None, tool_calls=[call("c", "find")]),
            said("tool", "late", tool_call_id="a"),
            said("tool", "found", tool_call_id="c", name="finder"),
        ]
    )
    turns = [one.turn_id for one in messages]
    assert turns[0] is turns[4] is None
    assert turns[1] == turns[2] == turns[3] == turns[6]
    assert turns[5] == turns[7] != turns[1]
    assert [one.name for one in messages if one.role is Role.TOOL] == [
        "look",
        "find",
        "find",
        "finder",
    ]


def test_results_that_name_no_call_belong_to_the_calls_before_them() -> None:
    messages = read(
        [
            said("function", "early", name="find"),
            said("assistant", None, function_call={"name": "find", "arguments": "{}"}),
            said("function", "found", name="find"),
            said("assistant", "Here."),
            said("assistant", None, tool_calls=[call(None, "find")]),
            said("tool", "found", tool_call_id="unknown"),
        ]
    )
    turns = [one.turn_id for one in messages]
    assert turns[0] is turns[3] is None
    assert turns[1] == turns[2] is not None
    assert turns[4] == turns[5] is not None
    assert {one.role for one in messages} == {Role.ASSISTANT, Role.TOOL}


def test_turns_of_two_conversations_have_different_names() -> None:
    chat = [said("assistant", None, tool_calls=[call("a", "find")])]
    first, second = read([chat, chat])
    assert first.turn_id != second.turn_id


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('"secret"', "conversation 1: expected an object, not a text"),
        ("{\n  secret", "not JSON, at line 2, column 3"),
        (lines({"messages": CHAT}) + "{secret", "line 2: not JSON, at column 2"),
        (lines({"messages": CHAT}, ["secret"]), "conversation 2, message 1: expected an object"),
        ([{"messages": CHAT}, {"secret": 1}], "conversation 2: messages is missing"),
        ([{"messages": "secret"}], "conversation 1: messages must be a list, not a text"),
        ([{"id": "a", "messages": []}] * 2, "conversation 2: an earlier conversation has the same"),
        ([{"id": ["secret"], "messages": []}], "conversation 1: id must be a text, not a list"),
        ([{"id": "a\0", "messages": CHAT}], "message 1: session_id must not hold NUL"),
        ([{"created": "secret", "messages": []}], "created must be a time such as"),
        ([{"created": "2026-03-02T10:30:00", "messages": []}], "created must be a time such as"),
        (
            [{"created": ["secret"], "messages": []}],
            "created must be a number of seconds or a text",
        ),
        ([{"created": 1e300, "messages": []}], "created is not a time in seconds since 1970"),
        ([{"created": -1, "messages": CHAT}], "conversation 1, message 1: created_at"),
        ([said(), "secret"], "conversation 1, message 2: expected an object, not a text"),
        ([said("guest")], "role must be one of assistant, developer, function, system, tool, user"),
        ([said(), {"content": "secret"}], "message 2: role is missing"),
        ([said(content=7)], "message 1: content must be a text, not a number"),
        ([said(content=["secret"])], "message 1: part 1: expected an object, not a text"),
        ([said(content=[{"text": "secret"}])], "part 1: type is missing"),
        ([said(content=[{"type": "text"}])], "part 1: text is missing"),
        ([said(content="secret \ud800")], "content holds a lone surrogate"),
        ([said(name=["secret"])], "name must be a text, not a list"),
        ([said("assistant", tool_calls={"secret": 1})], "tool_calls must be a list, not an object"),
        ([said("assistant", tool_calls=["secret"])], "tool call 1: expected an object, not a text"),
        ([said("assistant", tool_calls=[{"id": 1}])], "tool call 1: id must be a text"),
        ([said("tool", tool_call_id=["secret"])], "tool_call_id must be a text, not a list"),
        ("[" * 100_000, "nested too deep"),
        ('[{"role": "user", "content": "secret", "x": NaN}]', "the JSON holds NaN"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "data",
)
def test_a_fault_names_its_place_and_shows_no_content(data: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read(data)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_payload_too_deep_is_refused_however_it_is_given() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(LimitExceededError, match="payload is nested more than 64 deep"):
        list(read_openai_chat([said(extra=deep)], user_id="u"))


def test_messages_before_a_fault_are_read() -> None:
    messages = read_openai_chat([said(), "broken"], user_id="u")
    assert next(messages).content == "Hi!"
