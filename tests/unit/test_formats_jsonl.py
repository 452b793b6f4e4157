"""JSON lines lose nothing, and refuse what they can't keep."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ialstore import InvalidInputError, LimitExceededError, Message
from ialstore.formats import read_jsonl, write_jsonl

TIME = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SHORT_ID = TEXT.filter(lambda text: bool(text) and "\0" not in text)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**100) + 1, 10**100 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.builds(
    Message.new,
    user_id=SHORT_ID,
    session_id=SHORT_ID,
    role=st.sampled_from(["assistant", "developer", "event", "system", "tool", "user"]),
    content=TEXT,
    created_at=st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the strategy adds the zone
    payload=st.none() | st.lists(JSON, max_size=3) | st.dictionaries(TEXT, JSON, max_size=3),
    name=st.none() | TEXT,
    turn_id=st.none() | TEXT,
    source_id=st.none() | TEXT,
    summary=st.none() | TEXT,
    tokens=st.none() | st.integers(0, 2**31 - 1),
    metadata=st.dictionaries(TEXT, JSON, max_size=3),
    expires_at=st.none()
    | st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - as above
)


def written(*messages: Message) -> str:
    stream = io.StringIO()
    assert write_jsonl(messages, stream) == len(messages)
    return stream.getvalue()


def read(*lines: object, **defaults: Any) -> list[Message]:
    """Read lines given as texts or as objects."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    return list(read_jsonl(io.StringIO("\n".join(texts)), **defaults))


def line(**changes: Any) -> dict[str, Any]:
    """Return a line without id, as a person would write it."""
    usual = {
        "user_id": "u",
        "session_id": "s",
        "role": "user",
        "content": "hello",
        "created_at": "2026-03-02T09:30:00Z",
    }
    return {key: value for key, value in {**usual, **changes}.items() if value is not ...}


def test_lines_without_id_and_time_take_the_one_given_a_microsecond_apart() -> None:
    asked: list[datetime] = []

    def time() -> datetime:
        asked.append(TIME)
        return TIME

    later = line(created_at="2027-01-01T00:00:00Z")
    lines = [line(created_at=...), later, line(session_id="other", created_at=None)]
    messages = read(*lines, created_at=time)
    assert [one.created_at - TIME for one in (messages[0], messages[2])] == [
        timedelta(0),
        timedelta(microseconds=1),
    ]
    assert messages[1] == read(later)[0]
    assert len(asked) == 2
    assert read(*lines, created_at=TIME) == messages


@settings(deadline=None)
@given(st.lists(MESSAGES, max_size=3))
def test_what_was_written_reads_back_equal_to_the_last_character(messages: list[Message]) -> None:
    text = written(*messages)
    again = list(read_jsonl(text.splitlines(keepends=True)))
    assert again == messages
    assert written(*again) == text
    assert [one.content_hash for one in again] == [one.content_hash for one in messages]


@pytest.mark.parametrize(
    "payload",
    [
        {"z": 1, "a": {"y": 2, "b": 3}},
        [1, 1.0, -0.0, 1e300, 10**100 - 1],
        {"": None, "\0": "\u2028\x85\r\n\ufeff", "é": "e\u0301"},
        {},
        [],
    ],
)
def test_a_payload_keeps_key_order_types_and_every_character(payload: Any) -> None:
    message = Message.new(user_id="u", session_id="s", role="tool", content="", payload=payload)
    (again,) = read(written(message))
    assert repr(again.payload) == repr(payload)


def test_a_line_shows_the_time_and_leaves_out_what_is_not_there() -> None:
    message = Message.new(user_id="u", session_id="s", role="user", content="é", created_at=TIME)
    record = json.loads(written(message))
    assert list(record) == ["id", "created_at", "user_id", "session_id", "role", "content"]
    assert record["created_at"] == "2026-03-02T09:30:00Z"


def test_times_in_another_zone_are_the_same_times() -> None:
    zone = timezone(timedelta(hours=2))
    record = line(created_at="2026-03-02T11:30:00+02:00", expires_at="2026-03-03T00:00:00+02:00")
    (message,) = read(record)
    assert message.created_at == TIME
    assert message.expires_at == datetime(2026, 3, 3, tzinfo=zone)
    assert '"expires_at": "2026-03-02T22:00:00Z"' in written(message)


def test_null_is_the_same_as_left_out() -> None:
    keys = ("id", "payload", "name", "turn_id", "source_id", "summary", "tokens", "metadata")
    assert read(line(**dict.fromkeys((*keys, "expires_at")))) == read(line())


def test_blank_lines_and_a_byte_order_mark_are_passed_over() -> None:
    assert read("\ufeff" + json.dumps(line()), "", "  \t", line(content="b")) == read(
        line(), line(content="b")
    )


def test_an_invalid_message_is_not_written() -> None:
    broken = Message(id="x", user_id="u", session_id="s", role="user", content="")  # type: ignore[arg-type]  # that is the fault
    with pytest.raises(InvalidInputError, match="not a message id"):
        write_jsonl([broken], io.StringIO())


def test_lines_without_id_get_the_same_ids_each_time() -> None:
    lines = [line(), line(content="again"), line(user_id="v"), line(session_id="t", role="tool")]
    first = read(*lines)
    assert read(*lines) == first
    assert len({(one.user_id, one.id) for one in first}) == len(lines)


def test_adding_lines_at_the_end_changes_no_earlier_id() -> None:
    assert read(line(), line(), line(content="c"))[:2] == read(line(), line())


def test_equal_lines_at_one_time_are_two_messages_in_their_order() -> None:
    first, second = read(line(), line())
    assert first.id < second.id
    assert second.created_at - first.created_at == timedelta(microseconds=1)


def test_a_line_without_id_keeps_every_field() -> None:
    record = line(
        payload={"b": 1, "a": [2]},
        name="Ann",
        turn_id="t",
        source_id="x",
        summary="short",
        tokens=3,
        metadata={"k": 1.0},
        expires_at="2026-04-01T00:00:00Z",
    )
    (message,) = read(record)
    again = json.loads(written(message))
    assert {key: again[key] for key in record} == record


def test_user_and_session_may_be_given_for_lines_without() -> None:
    bare = line(user_id=..., session_id=...)
    (message,) = read(bare, user_id="u", session_id="s")
    assert [message] == read(line())


def test_a_line_s_own_user_and_session_win() -> None:
    assert read(line(), user_id="other", session_id="else") == read(line())


NESTED = '{"a":' * 100_000
VALID = Message.new(
    user_id="u", session_id="s", role="user", content="a secret", created_at=TIME, key="k"
)
RECORD: dict[str, Any] = json.loads(written(VALID))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON, at column 2"),
        ("secret", "not JSON, at column 1"),
        ("[]", "expected an object, not a list"),
        ("null", "expected an object, not null"),
        (json.dumps(line())[:-1] + ', "role": "user"}', "the same key twice"),
        (NESTED, "nested too deep"),
        (
            json.dumps(line(payload=...))[:-1] + ', "tokens": ' + "9" * 5000 + "}",
            "too long to read",
        ),
        (json.dumps(line())[:-1] + ', "payload": [NaN]}', "the JSON holds NaN"),
        (json.dumps(line())[:-1] + ', "payload": [1e999]}', "not finite"),
        (line(payload=[10**100]), "more than 100 digits"),
        (line(payload="text"), "payload must be a dict, a list or None"),
        (line(contents="secret"), "unknown key 'contents'; did you mean content?"),
        (line(**{"x" * 99: "secret"}), f"unknown key '{'x' * 40}'; known: content, created_at"),
        (line(content=...), "content is missing"),
        (line(content=["secret"]), "content must be a text, not a list"),
        (line(content="secret \ud800"), "lone surrogate"),
        (line(user_id=...), "user_id is missing"),
        (line(session_id=None), "session_id is missing"),
        (line(role="guest"), "role must be one of"),
        (line(role=...), "role is missing"),
        (line(tokens=1.0), "tokens must be an int, not float"),
        (line(metadata=[]), "metadata must be an object, not a list"),
        (line(name=7), "name must be a text, not a number"),
        (line(created_at=...), "a line without id needs created_at"),
        (line(created_at="2026-03-02T09:30:00"), "must be a time such as 2026-03-02T09:30:00Z"),
        (line(created_at="yesterday"), "created_at must be a time such as"),
        (line(created_at="1969-12-31T00:00:00Z"), "1970"),
        (line(expires_at="never"), "expires_at must be a time such as"),
        ({**RECORD, "id": "secret"}, "is not a message id"),
        ({**RECORD, "id": 5}, "a message id must be a str"),
        ({**RECORD, "session_id": "t"}, "session_id does not agree with the id"),
        ({**RECORD, "role": "tool"}, "role does not agree with the id"),
        ({**RECORD, "created_at": "2026-03-02T09:30:01Z"}, "created_at does not agree with the id"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "line",
)
def test_a_fault_names_its_line_and_shows_no_content(bad: object, message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read(RECORD, "", bad)
    text = str(raised.value)
    assert text.startswith("line 3: ")
    assert message in text
    assert "secret" not in text.replace("'secret' is not a message id", "")
    assert "\n" not in text


def test_a_limit_keeps_its_kind_of_error() -> None:
    with pytest.raises(LimitExceededError, match=r"line 1: summary has 1,025 bytes"):
        read(line(summary="x" * 1025))


def test_lines_before_a_fault_are_read() -> None:
    messages = read_jsonl([json.dumps(RECORD), "{"])
    assert next(messages) == VALID


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    stream = io.TextIOWrapper(io.BytesIO(b'{"a": 1}\n\xff\xfe'), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"^line 1 or a later one is not utf-8"):
        list(read_jsonl(stream))


def test_the_sample_conversation_reads_and_writes_back_the_same() -> None:
    text = (files("ialstore.cli") / "sample.jsonl").read_text(encoding="utf-8")
    messages = list(read_jsonl(io.StringIO(text)))
    assert written(*messages) == text
    assert {one.user_id for one in messages} == {"demo"}
    assert len({one.session_id for one in messages}) == 6
    calls = [one for one in messages if one.turn_id]
    assert all(one.payload for one in calls)
    assert {one.role for one in calls} == {"assistant", "tool"}
