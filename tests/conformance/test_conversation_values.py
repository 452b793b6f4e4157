"""The contract of conversation stores: texts, JSON, ids, limits, and who sees what."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ialstore import (
    ConflictError,
    ConversationStore,
    IalStoreError,
    InvalidInputError,
    LimitExceededError,
    Message,
    Role,
)
from ialstore.ids import HIGHEST_ID, LOWEST_ID

Say = Callable[..., Message]

TEXTS = {
    "empty": "",
    "space": " ",
    "1 MiB": "x" * 1024 * 1024,
    "1 MiB of astral characters": "😀" * (256 * 1024),
    "NUL": "\0",
    "NUL inside": "a\0b\0",
    "every control character": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "ZWJ": "👩\u200d👩\u200d👧",
    "right to left": "\u202eabc\u202c שלום",
    "BOM": "\ufeffabc\ufeff",
    "CRLF": "a\r\nb\rc\n",
    "non-NFC": "e\u0301 \u00e9 \u212b A\u030a",
    "astral": "\U0010ffff\U00010000𝄞",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0c",
    "noncharacters": "\ufffe\uffff\ufffd",
    "looks like JSON": '{"a": null}',
    "looks like a number": "0012.50",
    "quotes": "'\"`\\'); DROP TABLE messages; --",
    "wildcards": "%_*?[a-z]",
    "percent-escapes": "%00%25%23+",
    "trailing space": "a \t\n",
}

VALUES: dict[str, Any] = {
    "1 and 1.0": [1, 1.0, True],
    "0, 0.0, -0.0 and False": [0, 0.0, -0.0, False],
    "extreme floats": [1e308, -1e308, 5e-324, 0.1, 1e22, 1e-7],
    "integers past 64 bits": [2**53 + 1, 2**63, -(2**64), 10**99, 1 - 10**100],
    "key order": {"b": 1, "a": {"d": 2, "c": 3}, "": 4},
    "odd keys": {'."$[]': 1, "#": 2, "a\0b": 3, "é": 4, "e\u0301": 5, "__proto__": 6, "😀": 7},
    "empty containers": {"list": [], "object": {}, "text": "", "none": None},
    "texts": [text for name, text in TEXTS.items() if "MiB" not in name],
}

IDS = {
    "a letter": "u",
    "prefix": "u1",
    "longer": "u10",
    "longest": "u100",
    "other case": "U1",
    "hash sign": "a#b",
    "hash sign behind": "u1#",
    "hash sign before": "#u1",
    "escaped hash sign": "a%23b",
    "percent": "%",
    "escaped percent": "%25",
    "quote": "'",
    "double quote": '"',
    "injection": "'; DROP TABLE messages; --",
    "wildcard": "u_",
    "other wildcard": "*",
    "newline": "u1\n",
    "space": " ",
    "space behind": "u1 ",
    "path": "../../etc/passwd",
    "colon": "a:b",
    "braces": "{u1}",
    "at": "u#@",
    "equals": "u#=",
    "emoji": "😀",
    "composed": "\u00e9",
    "decomposed": "e\u0301",
    "line separator": "\u2028",
    "384 bytes": "x" * 384,
    "384 bytes when escaped": "#" * 128,
    "384 bytes of UTF-8": "😀" * 96,
    "highest character": "\U0010ffff",
    "a date": "2024-02-29",
    "a role": "user",
    "a number": "1",
}

SECRET = "zanzibar"  # noqa: S105 - stands for any content


def named(cases: Mapping[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("value", [pytest.param(v, id=k) for k, v in cases.items()])


def exactly(value: Any) -> str:
    """Return a text that differs wherever two JSON values differ, key order and types included."""
    return json.dumps(value)


@named(TEXTS)
def test_a_text_comes_back_code_point_for_code_point(
    store: ConversationStore, say: Say, value: str
) -> None:
    """M1: in contents, and in every short text."""
    short = value[:50]
    message = say(value, name=short, turn_id=short, source_id=short, summary=short)
    store.append(message)

    (found,) = store.get("u1", [message.id])
    assert found == message
    assert (found.content, found.name, found.turn_id) == (value, short, short)
    assert (found.source_id, found.summary) == (short, short)
    assert list(store.history("u1")) == [message]
    (brief,) = store.summaries("u1")
    assert brief.summary == short
    assert store.append(message).duplicates == (message.id,)


@named(TEXTS)
def test_a_summary_is_cut_between_characters(
    store: ConversationStore, say: Say, value: str
) -> None:
    """S7: the first 200 characters."""
    long = (value * 201)[: 250 if len(value) < 1000 else 1000]
    store.append(say(long))
    (brief,) = store.summaries("u1")
    assert brief.summary == long[:200]


@named(VALUES)
def test_json_comes_back_as_it_was_given(store: ConversationStore, say: Say, value: Any) -> None:
    """M1: 1 and 1.0 stay different; key order is kept in payloads."""
    message = say(payload=[value], metadata={"value": value})
    store.append(message)

    (found,) = store.get("u1", [message.id])
    assert exactly(found.payload) == exactly([value])
    assert exactly(found.metadata["value"]) == exactly(value)
    assert store.append(message).duplicates == (message.id,)
    assert list(store.history("u1")) == [found]


@pytest.mark.parametrize("payload", [None, {}, [], {"a": None}])
def test_an_empty_payload_is_not_none(store: ConversationStore, say: Say, payload: Any) -> None:
    """M1, M7: None, {} and [] are three payloads."""
    message = say(payload=payload, metadata={})
    store.append(message)
    assert exactly(store.get("u1", [message.id])[0].payload) == exactly(payload)
    others: list[Any] = [None, {}, []]
    for other in others:
        if exactly(other) != exactly(payload):
            with pytest.raises(ConflictError):
                store.append(replace(message, payload=other))


def test_short_texts_may_be_empty_or_none(store: ConversationStore, say: Say) -> None:
    """M1: an empty text is not None."""
    empty = say(name="", turn_id="", source_id="", summary="", tokens=0)
    none = say()
    store.append(empty, none)
    assert store.get("u1", [empty.id, none.id]) == [empty, none]


@pytest.mark.parametrize("role", list(Role))
def test_every_role_comes_back(store: ConversationStore, say: Say, role: Role) -> None:
    """M3: the role is in the id."""
    message = say(role=role)
    store.append(message)
    (found,) = store.history("u1")
    assert found.role is role
    (brief,) = store.summaries("u1")
    assert brief.role is role


@pytest.mark.parametrize(
    "created_at",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2000, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_times_are_exact_to_the_microsecond(
    store: ConversationStore, say: Say, created_at: datetime
) -> None:
    """M2, M3: from 1970 to 9999, in histories and sessions."""
    message = say(created_at=created_at)
    store.append(message)
    (found,) = store.history("u1")
    assert found.created_at == created_at
    assert found.created_at.tzinfo is UTC
    (session,) = store.sessions("u1")
    assert created_at - session.last_active <= store.capabilities.activity_precision
    assert session.last_active.tzinfo is UTC


@pytest.mark.parametrize("seconds", [1, 1.000001, 1e9, 2.5e11])
def test_expiries_come_back_in_whole_seconds(
    store: ConversationStore, say: Say, clock: Any, seconds: float
) -> None:
    """M2: `expires_at` is rounded up to whole seconds."""
    given = clock() + timedelta(seconds=min(seconds, 2.5e11))
    message = say()
    store.append(replace(message, expires_at=given))

    (found,) = store.get("u1", [message.id])
    assert found.expires_at is not None
    assert timedelta(0) <= found.expires_at - given < timedelta(seconds=1)
    assert found.expires_at.microsecond == 0
    assert found.expires_at.tzinfo is UTC


def test_ids_made_in_a_row_are_read_in_that_order(store: ConversationStore) -> None:
    """M4, M6: without `created_at` each id is later than the one before."""
    made = [
        Message.new(user_id="u1", session_id="s1", role=role, content=str(place))
        for place in range(20)
        for role in ("user", "assistant")
    ]
    store.append(*made[::-1])
    assert list(store.history("u1", newest_first=False)) == made


def test_order_is_the_order_of_ids(store: ConversationStore, say: Say, clock: Any) -> None:
    """M6: also at equal times, in every listing."""
    messages = [
        say(role=role, session_id=session, created_at=clock())
        for role in Role
        for session in ("s1", "s2", "s3")
    ]
    store.append(*messages)
    ids = sorted(one.id for one in messages)
    assert [one.id for one in store.history("u1", newest_first=False)] == ids
    assert [one.id for one in store.history("u1")] == ids[::-1]
    assert [one.id for one in store.summaries("u1")] == ids[::-1]


def test_one_id_may_belong_to_two_users(store: ConversationStore, say: Say) -> None:
    """M6: a message is identified by (`user_id`, `id`)."""
    mine = say("mine")
    theirs = replace(mine, user_id="u10", content="theirs")
    store.append(mine)
    store.append(theirs)

    assert store.get("u1", [mine.id]) == [mine]
    assert store.get("u10", [mine.id]) == [theirs]
    assert store.replace(replace(theirs, content="changed"))
    assert store.delete("u10", [mine.id]) == 1
    assert list(store.history("u1")) == [mine]


def test_a_store_keeps_a_copy_of_its_own(store: ConversationStore, say: Say) -> None:
    """M5: what is changed outside changes nothing inside."""
    payload: dict[str, Any] = {"calls": [1]}
    message = say(payload=payload, metadata={"tags": ["a"]})
    before = exactly([message.payload, message.metadata])
    store.append(message)

    payload["calls"].append(2)
    message.metadata["tags"].append("b")
    for _ in range(2):
        (found,) = store.get("u1", [message.id])
        (listed,) = store.history("u1")
        for one in (found, listed):
            assert exactly([one.payload, one.metadata]) == before
            assert isinstance(one.payload, dict)
            one.payload["calls"].append(3)
            one.metadata.clear()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"user_id": "\ud800"}, id="user"),
        pytest.param({"session_id": "\ud800"}, id="session"),
        pytest.param({"content": "a\udfff"}, id="content"),
        pytest.param({"content": "\ud83d\ude00"}, id="a pair of surrogates"),
        pytest.param({"payload": ["\ud800"]}, id="payload"),
        pytest.param({"payload": {"\ud800": 1}}, id="key of the payload"),
        pytest.param({"metadata": {"a": ["\ud800"]}}, id="metadata"),
        pytest.param({"metadata": {"\ud800": 1}}, id="key of the metadata"),
        pytest.param({"name": "\ud800"}, id="name"),
        pytest.param({"turn_id": "\ud800"}, id="turn"),
        pytest.param({"source_id": "\ud800"}, id="source"),
        pytest.param({"summary": "\ud800"}, id="summary"),
    ],
)
def test_lone_surrogates_are_refused_in_every_field(
    store: ConversationStore, say: Say, changed: dict[str, Any]
) -> None:
    """M1, M5, E2: by every write, before any I/O."""
    wrong = replace(say(), **changed)
    for write in (
        store.append,
        store.replace,
        lambda message: store.bulk_load([message]),
        lambda message: store.append(say(), message),
    ):
        with pytest.raises(InvalidInputError):
            write(wrong)
    assert list(store.history("u1")) == []


@pytest.mark.parametrize("text", ["\ud800", "", "a\0b", "x" * 385, "#" * 129, None, 1, b"u"])
def test_no_call_takes_another_id_of_a_user_or_session(
    store: ConversationStore, say: Say, text: Any
) -> None:
    """M1, E2: with the same error on every backend."""
    error = LimitExceededError if text in ("x" * 385, "#" * 129) else InvalidInputError
    message = say()
    for call in (
        lambda: store.append(replace(message, user_id=text)),
        lambda: store.append(replace(message, session_id=text)),
        lambda: store.replace(replace(message, user_id=text)),
        lambda: store.get(text, [message.id]),
        lambda: store.get(text, []),
        lambda: store.history(text),
        lambda: store.history("u1", session_id="" if text is None else text),
        lambda: store.summaries(text),
        lambda: store.sessions(text),
        lambda: store.delete(text, [message.id]),
        lambda: store.delete(text, []),
        lambda: store.delete_session(text, "s1"),
        lambda: store.delete_session("u1", text),
        lambda: store.erase(text),
        lambda: store.optimize(text),
    ):
        with pytest.raises(InvalidInputError) as caught:
            call()
        if text is not None:
            assert type(caught.value) is error


@pytest.mark.parametrize(
    "text",
    ["", "x", "\ud800", LOWEST_ID, HIGHEST_ID, "01A2049C-C6E3-774B-AF40-DCE0CD2BB0B6", None, 5],
)
def test_no_call_takes_another_id_of_a_message(
    store: ConversationStore, say: Say, text: Any
) -> None:
    """M3, E2: any other text is `InvalidInputError`."""
    message = say()
    for call in (
        lambda: store.append(replace(message, id=text)),
        lambda: store.replace(replace(message, id=text)),
        lambda: store.bulk_load([replace(message, id=text)]),
        lambda: store.get("u1", [message.id, text]),
        lambda: store.delete("u1", [text]),
        lambda: store.get("u1", text),
        lambda: store.delete("u1", text),
    ):
        with pytest.raises(InvalidInputError):
            call()


@pytest.mark.parametrize("changed", [{"role": Role.TOOL}, {"session_id": "s2"}, {"role": "x"}])
def test_a_message_agrees_with_its_id(
    store: ConversationStore, say: Say, changed: dict[str, Any]
) -> None:
    """M3: role and session hash must agree with the message."""
    with pytest.raises(InvalidInputError):
        store.append(replace(say(), **changed))
    with pytest.raises(InvalidInputError):
        store.replace(replace(say(), **changed))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda store: store.history("u1", limit=0), InvalidInputError),
        (lambda store: store.history("u1", limit=1001), LimitExceededError),
        (lambda store: store.history("u1", limit=10**9), LimitExceededError),
        (lambda store: store.summaries("u1", limit=-1), InvalidInputError),
        (lambda store: store.sessions("u1", limit=0), InvalidInputError),
        (lambda store: store.sessions("u1", limit=1001), LimitExceededError),
        (lambda store: store.sessions("u1", limit=1.0), InvalidInputError),
        (lambda store: store.history("u1", limit=True), InvalidInputError),
        (lambda store: store.history("u1", since="now"), InvalidInputError),
        (lambda store: store.history("u1", cursor=5), InvalidInputError),
        (lambda store: store.sessions("u1", cursor="x"), InvalidInputError),
        (lambda store: store.append("text"), InvalidInputError),
        (lambda store: store.append(None), InvalidInputError),
        (lambda store: store.replace({}), InvalidInputError),
    ],
)
def test_arguments_that_break_the_contract_are_refused(
    store: ConversationStore, call: Callable[[ConversationStore], object], error: type[Exception]
) -> None:
    """S6, E2: refused with the same error on every backend."""
    with pytest.raises(error) as caught:
        call(store)
    assert type(caught.value) is error


@named(IDS)
def test_hostile_ids_meet_only_themselves(store: ConversationStore, say: Say, value: str) -> None:
    """C6: for any bytes in the ids."""
    mine = [say("mine", user_id=value, session_id=value), say("mine", user_id=value)]
    other = say("other", user_id="u1", session_id=value)
    store.append(*mine)
    if value != "u1":
        store.append(other)

    assert list(store.history(value, newest_first=False))[: len(mine)] == mine
    assert mine[0] in list(store.history(value, session_id=value))
    assert {one.session_id for one in store.sessions(value)} >= {value}
    assert store.get(value, [mine[0].id]) == [mine[0]]
    assert store.delete_session(value, value) >= 1
    store.erase(value)
    assert list(store.history(value)) == []
    if value != "u1":
        assert list(store.history("u1")) == [other]


def test_no_call_of_one_user_meets_another(store: ConversationStore, say: Say) -> None:
    """C6: no call returns, counts, changes or erases another's."""
    messages = {
        user: [say(user, user_id=user, session_id=session) for session in ("s1", "s10", user)]
        for user in IDS.values()
    }
    for one in messages.values():
        store.append(*one)
    everybody = [one.id for of_user in messages.values() for one in of_user]

    for user, own in messages.items():
        foreign = [one for one in everybody if one not in {m.id for m in own}][:100]
        assert store.get(user, foreign) == []
        assert store.delete(user, foreign) == 0
        assert list(store.history(user, newest_first=False)) == own
        assert [one.id for one in store.summaries(user, newest_first=False)] == [
            one.id for one in own
        ]
        assert {one.session_id for one in store.sessions(user)} == {"s1", "s10", user}
        assert list(store.history(user, session_id="s1")) == [
            one for one in own if one.session_id == "s1"
        ]
    erased: list[str] = []
    for user, own in messages.items():
        assert store.delete_session(user, "s10") == sum(one.session_id == "s10" for one in own)
        assert store.erase(user).messages == sum(one.session_id != "s10" for one in own)
        erased.append(user)
        for other, theirs in messages.items():
            kept = 0 if other in erased else len(theirs)
            assert len(store.history(other)) == kept


def test_no_error_event_or_log_shows_content(
    store: ConversationStore, say: Say, caplog: pytest.LogCaptureFixture
) -> None:
    """E3: no secret and no content in any message, `repr` or log."""
    shown: list[str] = []
    text: Any = SECRET
    store.subscribe(lambda event: shown.append(repr(event)))
    message = say(
        SECRET,
        payload={SECRET: SECRET},
        name=SECRET,
        turn_id=SECRET,
        source_id=SECRET,
        summary=SECRET,
        metadata={SECRET: SECRET},
    )
    wrong: list[Callable[[], object]] = [
        lambda: store.append(replace(message, content=SECRET * 2)),
        lambda: store.append(message, replace(message, content=SECRET * 2)),
        lambda: store.append(replace(message, content=SECRET + "\ud800")),
        lambda: store.append(replace(message, payload=[SECRET, {1: SECRET}])),
        lambda: store.append(replace(message, payload=text)),
        lambda: store.append(replace(message, metadata=text)),
        lambda: store.append(replace(message, metadata={"a": (SECRET,)})),
        lambda: store.append(replace(message, name=SECRET * 50)),
        lambda: store.append(text),
    ]
    with caplog.at_level(logging.DEBUG):
        result = store.append(message)
        for call in wrong:
            with pytest.raises(IalStoreError) as caught:
                call()
            shown += [repr(caught.value), str(caught.value)]
            shown += traceback.format_exception(caught.value)
        page, brief = store.history("u1"), store.summaries("u1")
    shown += [repr(result), repr(page), repr(brief), repr(store), repr(store.sessions("u1"))]
    shown += [repr(store.capabilities), repr(store.settings), caplog.text]
    assert SECRET not in "\n".join(shown)
