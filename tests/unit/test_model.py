"""Messages and the other values that cross every border."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest

from ialstore import (
    CorruptError,
    EraseReport,
    InvalidInputError,
    LimitExceededError,
    LoadReport,
    Message,
    MessageSummary,
    OptimizeReport,
    Page,
    Role,
    SessionInfo,
)
from ialstore.decoding import decode_message
from ialstore.limits import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, MAX_TOKENS
from ialstore.model import EncodedMessage, default_expiry, encode_message

START = datetime(2024, 2, 29, 12, 0, 0, 500_000, tzinfo=UTC)
SECRET = "zanzibar"  # noqa: S105 - stands for any content


def new(**fields: Any) -> Message:
    given: dict[str, Any] = {
        "user_id": "u",
        "session_id": "s",
        "role": "user",
        "content": "hello",
        "created_at": START,
        "key": "k",
    }
    return Message.new(**(given | fields))


def stored(message: Message) -> Message:
    """Return the message as a store gives it back."""
    entry = encode_message(message)
    return decode_message(
        id=message.id,
        user_id=message.user_id,
        session_id=message.session_id,
        content=message.content,
        payload_text=entry.payload_text,
        name=message.name,
        turn_id=message.turn_id,
        source_id=message.source_id,
        summary=message.summary,
        tokens=message.tokens,
        metadata_text=entry.metadata_text,
        expires=entry.expires,
    )


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"": value}
    return value


def list_of_bytes(size: int) -> list[str]:
    return ["x" * (size - 4)]


def test_only_what_identifies_a_message_is_needed() -> None:
    made = Message.new(user_id="u", session_id="s", role="user", content="")

    assert made.role is Role.USER
    assert (made.payload, made.name, made.turn_id, made.source_id) == (None, None, None, None)
    assert (made.summary, made.tokens, made.metadata, made.expires_at) == (None, None, {}, None)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="plain"),
        pytest.param({"content": ""}, id="empty content"),
        pytest.param({"payload": {}}, id="empty object"),
        pytest.param({"payload": []}, id="empty list"),
        pytest.param({"payload": {"b": [1, 1.0, -0.0], "a": None}}, id="payload"),
        pytest.param({"name": "", "turn_id": "", "source_id": "", "summary": ""}, id="empty texts"),
        pytest.param({"tokens": 0}, id="no tokens"),
        pytest.param({"metadata": {"z": 1, "a": {"é": [True]}}}, id="metadata"),
        pytest.param({"expires_at": START + timedelta(days=1, seconds=0.5)}, id="expiry"),
        pytest.param({"role": Role.EVENT}, id="role"),
    ],
)
def test_a_message_comes_back_from_its_stored_forms(fields: dict[str, Any]) -> None:
    """M1, M5: what goes in comes out."""
    message = new(**fields)
    assert stored(message) == message
    assert repr(stored(message).payload) == repr(message.payload)
    assert list(stored(message).metadata) == list(message.metadata)


def test_a_message_is_frozen_and_keyword_only() -> None:
    message = new()
    with pytest.raises(FrozenInstanceError):
        message.content = "other"  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError):
        Message("id", "u", "s", Role.USER, "text")  # type: ignore[call-arg]  # the point of the test
    assert not hasattr(message, "__dict__")


def test_a_message_can_be_pickled_copied_and_hashed() -> None:
    message = new(payload={"a": [1]}, metadata={"b": 2}, expires_at=START + timedelta(days=1))

    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - made right here
    assert copy.deepcopy(message) == message
    assert {message, stored(message)} == {message}


def test_metadata_may_be_any_mapping_and_is_copied() -> None:
    given = {"a": 1}
    made = new(metadata=MappingProxyType(given))

    given["a"] = 2
    assert made.metadata == {"a": 1}


def test_an_expiry_is_rounded_up_and_kept_in_utc() -> None:
    """M2: times are kept in UTC; `expires_at` is rounded up to whole seconds."""
    made = new(expires_at=datetime(2030, 1, 1, 2, 0, 0, 1, tzinfo=timezone(timedelta(hours=2))))

    assert made.expires_at == datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert made.expires_at is not None
    assert made.expires_at.tzinfo is UTC


LIMITS: Mapping[str, Callable[[int], Any]] = {
    "name": "x".__mul__,
    "turn_id": "x".__mul__,
    "source_id": "x".__mul__,
    "summary": "x".__mul__,
    "content": "x".__mul__,
    "payload": list_of_bytes,
    "metadata": lambda size: {"k": "x" * (size - 8)},
    "tokens": int,
}


@pytest.mark.parametrize(
    ("field", "limit", "named"),
    [
        ("name", 256, "256"),
        ("turn_id", 256, "256"),
        ("source_id", 512, "512"),
        ("summary", 1024, "1,024"),
        ("content", MAX_MESSAGE_BYTES - 5, "1,048,576"),
        ("payload", MAX_MESSAGE_BYTES - 5, "1,048,576"),
        ("metadata", MAX_METADATA_BYTES, "32,768"),
        ("tokens", MAX_TOKENS, "2,147,483,647"),
    ],
)
def test_each_field_has_its_limit(field: str, limit: int, named: str) -> None:
    """E2: sizes are checked before anything is stored; content and payload share one."""
    others = {"content": "12345", "payload": [123]}  # 5 bytes each
    for size in (limit - 1, limit):
        new(**(others | {field: LIMITS[field](size)}))
    with pytest.raises(LimitExceededError, match=f"{named}$"):
        new(**(others | {field: LIMITS[field](limit + 1)}))


@pytest.mark.parametrize("field", ["content", "payload"])
def test_content_and_payload_alone_have_the_limit_of_both(field: str) -> None:
    new(**{"content": "", field: LIMITS[field](MAX_MESSAGE_BYTES)})
    with pytest.raises(LimitExceededError, match=f"{field} .*more than 1,048,576"):
        new(**{"content": "", field: LIMITS[field](MAX_MESSAGE_BYTES + 1)})


@pytest.mark.parametrize(("field", "depth"), [("payload", 64), ("metadata", 16)])
def test_json_has_a_limit_of_depth(field: str, depth: int) -> None:
    assert stored(new(**{field: nested(depth)})) == new(**{field: nested(depth)})
    with pytest.raises(LimitExceededError, match=f"{field} is nested more than {depth} deep"):
        new(**{field: nested(depth + 1)})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        pytest.param({"user_id": ""}, "user_id", id="empty user"),
        pytest.param({"session_id": "a\0"}, "session_id", id="NUL in the session"),
        pytest.param({"role": "human"}, "role", id="role"),
        pytest.param({"content": None}, "content", id="no content"),
        pytest.param({"content": b"bytes"}, "content", id="bytes"),
        pytest.param({"content": "\ud800"}, "content", id="surrogate in the content"),
        pytest.param({"payload": "text"}, "payload", id="payload that is a text"),
        pytest.param({"payload": ({},)}, "payload", id="payload that is a tuple"),
        pytest.param({"payload": {"a": "\ud800"}}, "payload", id="surrogate in the payload"),
        pytest.param({"payload": {"\ud800": 1}}, "payload", id="surrogate in a key"),
        pytest.param({"payload": {"a": float("nan")}}, "payload", id="nan"),
        pytest.param({"metadata": "text"}, "metadata", id="metadata that is a text"),
        pytest.param({"metadata": 5}, "metadata", id="metadata that is a number"),
        pytest.param({"metadata": [("a", 1)]}, "metadata", id="metadata that is a list"),
        pytest.param({"metadata": {"a": "\ud800"}}, "metadata", id="surrogate in the metadata"),
        pytest.param({"metadata": {1: 1}}, "metadata", id="int as a key"),
        pytest.param({"name": 5}, "name", id="name"),
        pytest.param({"name": "\ud800"}, "name", id="surrogate in the name"),
        pytest.param({"turn_id": "\ud800"}, "turn_id", id="surrogate in the turn"),
        pytest.param({"source_id": "\ud800"}, "source_id", id="surrogate in the source"),
        pytest.param({"summary": "\ud800"}, "summary", id="surrogate in the summary"),
        pytest.param({"tokens": -1}, "tokens", id="negative tokens"),
        pytest.param({"tokens": 1.0}, "tokens", id="tokens that are a float"),
        pytest.param({"tokens": True}, "tokens", id="tokens that are a bool"),
        pytest.param({"expires_at": datetime(2030, 1, 1)}, "expires_at", id="naive expiry"),  # noqa: DTZ001 - the point
        pytest.param({"expires_at": 5}, "expires_at", id="expiry that is a number"),
        pytest.param(
            {"expires_at": datetime.max.replace(tzinfo=UTC)}, "expires_at", id="expiry too late"
        ),
        pytest.param(
            {"expires_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))},
            "expires_at",
            id="expiry too early",
        ),
    ],
)
def test_a_field_that_breaks_the_contract_is_refused_by_name(
    fields: dict[str, Any], named: str
) -> None:
    """M1, M2, M5: `Message.new` validates."""
    with pytest.raises(InvalidInputError, match=f"^{named} "):
        new(**fields)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"id": "x"}, id="no id"),
        pytest.param({"role": Role.TOOL}, id="another role"),
        pytest.param({"session_id": "t"}, id="another session"),
        pytest.param({"user_id": ""}, id="no user"),
        pytest.param({"content": "\ud800"}, id="surrogate"),
        pytest.param({"metadata": None}, id="no metadata"),
        pytest.param({"metadata": MappingProxyType({})}, id="metadata that is no dict"),
        pytest.param({"expires_at": datetime(2030, 1, 1)}, id="naive expiry"),  # noqa: DTZ001 - the point
    ],
)
def test_a_message_changed_against_its_contract_is_refused(changed: dict[str, Any]) -> None:
    """M3, M5: every write validates; role and session agree with the id."""
    with pytest.raises(InvalidInputError):
        encode_message(replace(new(), **changed))


@pytest.mark.parametrize("value", [None, {}, "hello", MessageSummary.of(new())])
def test_only_a_message_is_a_message(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"expected a Message, not {type(value).__name__}"):
        encode_message(value)


def test_a_message_made_by_hand_may_name_its_role() -> None:
    by_hand = replace(new(), role="user")  # type: ignore[arg-type]  # what callers without types do
    assert stored(by_hand).role is Role.USER


@pytest.mark.parametrize(
    "changed",
    [
        {"content": "other"},
        {"content": "hello\r\n"},
        {"payload": {}},
        {"payload": {"a": 1, "b": 1.0}},
        {"payload": {"b": 1, "a": 1}},
        {"name": ""},
        {"turn_id": ""},
        {"source_id": ""},
        {"name": "hello", "content": ""},
        {"turn_id": "t"},
        {"metadata": {"a": 1}},
        {"metadata": {"a": 1.0}},
        {"metadata": {"a": -0.0}},
        {"metadata": {"a": 0.0}},
    ],
)
def test_messages_that_differ_have_another_hash(changed: dict[str, Any]) -> None:
    """M7: content, payload as text, name, turn, source and metadata are compared."""
    others = [
        new(),
        new(payload={"a": 1, "b": 1}),
        new(metadata={"a": 0}),
        new(metadata={"a": True}),
    ]
    assert new(**changed).content_hash not in {one.content_hash for one in others}


def test_every_difference_gives_a_hash_of_its_own() -> None:
    """M7: None is not the empty text, and no field runs into the next."""
    made = [
        new(content="a", name="b"),
        new(content="ab"),
        new(content="ab", name=""),
        new(content="ab", turn_id=""),
        new(content="a", turn_id="b"),
        new(content="a", source_id="b"),
        new(session_id="t", content="ab"),
    ]
    assert len({one.content_hash for one in made}) == len(made)


def test_the_hash_of_a_message_that_was_read_asks_nothing_of_its_user() -> None:
    """M5, W3: a store within a namespace knows users by ids longer than those of a caller."""
    message = new()
    assert (
        replace(message, user_id="n" * 128 + "/" + "u" * 384).content_hash == message.content_hash
    )
    with pytest.raises(InvalidInputError, match="user_id"):
        encode_message(replace(message, user_id="n" * 513))


def test_what_may_change_is_not_in_the_hash() -> None:
    """M7: summary, tokens and expiry are not compared; metadata keys are sorted."""
    one = new(metadata={"a": {"c": 1, "b": 2}, "d": 3})
    other = new(
        metadata={"d": 3, "a": {"b": 2, "c": 1}},
        summary="short",
        tokens=5,
        expires_at=START + timedelta(days=1),
    )

    assert one.content_hash == other.content_hash
    assert len(one.content_hash) == 32
    assert int(one.content_hash, 16) >= 0


def test_the_hash_never_changes() -> None:
    """M7: stored messages are compared with it."""
    message = new(payload={"b": [1, 1.0], "a": "é"}, name="n", metadata={"z": None, "a": 1})
    assert message.content_hash == "30573c28aafbf5755545df863388bde8"


@pytest.mark.parametrize(
    ("message", "seconds", "expires"),
    [
        pytest.param(new(), None, None, id="none"),
        pytest.param(
            new(), 10, datetime(2024, 2, 29, 12, 0, 11, tzinfo=UTC), id="from its creation"
        ),
        pytest.param(
            new(created_at=datetime(9999, 12, 31, tzinfo=UTC)),
            10**9,
            datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
            id="no later than a datetime can be",
        ),
    ],
)
def test_retention_sets_a_default_expiry(
    message: Message, seconds: int | None, expires: datetime | None
) -> None:
    """C2: `retention_days` sets a default expiry, counted from the creation."""
    made = default_expiry(message.id, seconds)
    assert made == (None if expires is None else int(expires.timestamp()))
    assert encode_message(message, retention_seconds=seconds).expires == made


def test_an_expiry_of_its_own_goes_before_the_default() -> None:
    """C2: the default is for messages that have none."""
    message = new(expires_at=START + timedelta(days=1))
    assert encode_message(message, retention_seconds=1) == encode_message(message)


def test_the_size_counts_content_payload_and_metadata() -> None:
    entry = encode_message(new(content="é", payload=["é"], metadata={"é": 1}, name="not counted"))
    assert entry.size == 2 + len('["é"]'.encode()) + len('{"é":1}'.encode())


@pytest.mark.parametrize(
    "text", ['{"a":', "", "nonsense", "[" * 100_000, '{"a":NaN}', '{"a":[-Infinity]}']
)
@pytest.mark.parametrize("field", ["payload_text", "metadata_text"])
def test_stored_json_that_cannot_be_read_is_corrupt(field: str, text: str) -> None:
    """C5: corruption raises; it never becomes a partial answer."""
    forms: dict[str, Any] = dict.fromkeys(
        ("payload_text", "name", "turn_id", "source_id", "summary", "tokens", "metadata_text")
    )
    forms[field] = text
    with pytest.raises(CorruptError, match=new().id):
        decode_message(id=new().id, user_id="u", session_id="s", content="", expires=None, **forms)


def test_a_summary_is_the_given_one_or_the_beginning_of_the_content() -> None:
    """S7: the first 200 characters, where there is no summary."""
    long = "😀" * 300
    assert MessageSummary.of(new(content=long)).summary == "😀" * 200
    assert MessageSummary.of(new(content=long, summary="short")).summary == "short"
    assert MessageSummary.of(new(content=long, summary="")).summary == ""

    made = MessageSummary.of(new(tokens=7))
    assert (made.id, made.user_id, made.session_id, made.role, made.tokens) == (
        new().id,
        "u",
        "s",
        Role.USER,
        7,
    )
    assert made.created_at == START


def test_no_repr_shows_content() -> None:
    """E3: no content in any `repr`."""
    message = new(
        content=SECRET,
        payload={SECRET: SECRET},
        name=SECRET,
        turn_id=SECRET,
        source_id=SECRET,
        summary=SECRET,
        metadata={SECRET: SECRET},
    )
    entry = encode_message(message)
    values: list[object] = [message, entry, MessageSummary.of(message), Page((message,), None)]

    for value in values:
        assert SECRET not in repr(value)
        assert SECRET not in str(value)
    assert message.id in repr(message)


def test_a_page_is_a_sequence_of_its_items() -> None:
    page = Page((1, 2, 3), "cursor")
    assert (list(page), len(page), page.cursor) == ([1, 2, 3], 3, "cursor")
    assert not Page(())


def test_reports_of_an_erase_add_up() -> None:
    """S11: the engine adds those of store, index and cache."""
    one = EraseReport(messages=1, vectors=2, cached=3, remaining=4, out_of_reach=("a", "b"))
    other = EraseReport(messages=10, vectors=20, cached=30, remaining=40, out_of_reach=("b", "c"))

    assert one + other == EraseReport(11, 22, 33, 44, ("a", "b", "c"))
    assert EraseReport() + one == one


def test_other_reports_begin_at_nothing() -> None:
    assert (LoadReport().written, LoadReport().failed) == (0, 0)
    assert OptimizeReport() == OptimizeReport(removed=0, reclaimed_bytes=0, notes=())
    assert SessionInfo("s", START) == SessionInfo("s", START)


def test_an_encoded_message_keeps_the_json_it_was_made_with() -> None:
    """M5: what the caller changes later changes nothing that is stored."""
    payload = {"a": [1]}
    entry: EncodedMessage = encode_message(new(payload=payload))

    payload["a"].append(2)

    assert entry.payload_text is not None
    assert json.loads(entry.payload_text) == {"a": [1]}


def test_a_message_that_passed_once_is_checked_again_where_it_can_have_changed() -> None:
    message = Message.new(user_id="u", session_id="s", role="user", content="x")
    before = encode_message(message)
    assert encode_message(message) == before
    message.metadata["a"] = {1: "no text"}
    with pytest.raises(InvalidInputError, match="metadata has a key"):
        encode_message(message)
    message.metadata["a"] = 1
    assert encode_message(message).content_hash != before.content_hash


def test_what_was_found_out_about_a_message_is_no_part_of_it() -> None:
    message = Message.new(user_id="u", session_id="s", role="user", content="x")
    copies = (copy.copy(message), pickle.loads(pickle.dumps(message)), replace(message))  # noqa: S301 - our own bytes
    for other in copies:
        assert other == message
        assert encode_message(other) == encode_message(message)
    assert "_checked" not in asdict(message)
    assert encode_message(replace(message, content="y")).content_hash != message.content_hash
