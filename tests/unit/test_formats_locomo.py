"""LoCoMo conversations become messages, the same ones each time."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ialstore import InvalidInputError, Message, Role, open_store
from ialstore.embedding import embedded_text
from ialstore.formats import read_locomo

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "retrieval_locomo.py"
needs_data = pytest.mark.skipif(
    "IALSTORE_DATA" not in os.environ, reason="IALSTORE_DATA names no folder with the LoCoMo data"
)


def turn(speaker: str = "Ann", text: Any = "Hi!", **more: Any) -> dict[str, Any]:
    return {"speaker": speaker, "text": text, **more}


def conversation(**changes: Any) -> dict[str, Any]:
    """Return a conversation; a change to None takes a key away."""
    usual: dict[str, Any] = {
        "speaker_a": "Ann",
        "speaker_b": "Bob",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [turn(dia_id="D1:1"), turn("Bob", "Hello.", dia_id="D1:2")],
    }
    return {key: value for key, value in {**usual, **changes}.items() if value is not None}


def entry(sample_id: str = "conv-1", /, **changes: Any) -> dict[str, Any]:
    return {"sample_id": sample_id, "qa": [], "conversation": conversation(**changes)}


def read(data: Any, **options: str) -> list[Message]:
    return list(read_locomo(io.StringIO(json.dumps(data)), **options))


def test_users_sessions_speakers_and_turns_are_taken_over() -> None:
    first, second = read([entry()])
    assert (first.user_id, first.session_id, first.source_id) == ("conv-1", "session_1", "D1:1")
    assert (first.role, first.name, first.content) == (Role.USER, "Ann", "Hi!")
    assert (second.role, second.name, second.content) == (Role.ASSISTANT, "Bob", "Hello.")
    assert first.created_at == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert second.created_at == datetime(2023, 5, 8, 13, 56, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "content", "embedded"),
    [
        ("Look! ", "Look!  [shares a photo of a dog]", "Ann: Look!  [shares a photo of a dog]"),
        ("", " [shares a photo of a dog]", "Ann:  [shares a photo of a dog]"),
        (None, " [shares a photo of a dog]", "Ann:  [shares a photo of a dog]"),
    ],
)
def test_a_caption_stands_behind_the_unchanged_text(
    text: str | None, content: str, embedded: str
) -> None:
    shared = {"speaker": "Ann", "text": text, "blip_caption": "a photo of a dog"}
    (message,) = read(entry(session_1=[shared]))
    assert message.content == content
    assert embedded_text(message) == embedded


def test_what_is_known_of_a_picture_is_metadata() -> None:
    shared = turn(img_url=["https://example.org/a.jpg"], query="a dog")
    (message,) = read(entry(session_1=[{**shared, "re-download": True}]))
    assert message.metadata == {"img_url": ["https://example.org/a.jpg"], "query": "a dog"}


def test_importing_twice_changes_nothing() -> None:
    messages = read([entry()])
    with open_store("memory:") as store:
        assert len(store.append(*messages).stored) == 2
        assert store.append(*read([entry()])).stored == ()


def test_turns_keep_their_order_though_a_session_has_one_time() -> None:
    turns = [turn(text=str(i)) for i in range(12)]
    messages = read(entry(session_1=turns))
    assert [one.content for one in sorted(messages, key=lambda one: one.id)] == [
        str(i) for i in range(12)
    ]


def test_sessions_come_in_the_order_of_their_numbers() -> None:
    changes: dict[str, Any] = {}
    for number in (11, 2, 10):
        changes[f"session_{number}"] = [turn()]
        changes[f"session_{number}_date_time"] = "12:00 am on 1 June, 2023"
    assert [one.session_id for one in read(entry(**changes))] == [
        *["session_1"] * 2,
        "session_2",
        "session_10",
        "session_11",
    ]


def test_sessions_without_turns_and_other_keys_are_passed_over() -> None:
    changes: dict[str, Any] = {
        "session_2": [],
        "session_3_date_time": "nonsense",
        "session_4": None,
        "session_1_summary": "They greet each other.",
        "events_session_1": {},
    }
    assert read(entry(**changes)) == read(entry())


def test_turns_without_id_are_told_apart_by_their_place() -> None:
    turns = [turn(), turn()]
    first, second = read(entry(session_1=turns))
    assert (first.source_id, first.id < second.id) == (None, True)
    assert read(entry(session_1=turns)) == [first, second]


@pytest.mark.parametrize(
    "data",
    [
        entry(),
        [entry()],
        {**conversation(), "sample_id": "conv-1"},
        [{**conversation(), "sample_id": "conv-1"}],
    ],
    ids=["one", "a list", "one without questions", "a list without questions"],
)
def test_one_conversation_or_a_list_of_them_is_read(data: Any) -> None:
    assert read(data) == list(read_locomo(data)) == read([entry()])


def test_a_user_may_be_given_for_a_conversation_without_sample_id() -> None:
    assert read(conversation(), user_id="conv-1") == read(entry())
    assert read(entry(), user_id="other") == read(entry())


@pytest.mark.parametrize(
    ("text", "hour", "minute"),
    [
        ("12:05 am on 29 February, 2024", 0, 5),
        ("12:30 pm on 29 February, 2024", 12, 30),
        ("09:07 am on 29 February, 2024", 9, 7),
        ("11:59 pm on 29 February, 2024", 23, 59),
    ],
)
def test_times_are_read_as_utc(text: str, hour: int, minute: int) -> None:
    message = read(entry(session_1_date_time=text))[0]
    assert message.created_at == datetime(2024, 2, 29, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1:56 pm on 30 February, 2023",
        "13:56 pm on 8 May, 2023",
        "0:56 am on 8 May, 2023",
        "1:60 pm on 8 May, 2023",
        "1:56 pm on 8 Mai, 2023",
        "1:56 pm on 8 May 2023",
        " 1:56 pm on 8 May, 2023",
        "1:56 pm on ٨ May, 2023",
        "2023-05-08T13:56:00Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"session_1: the time is not written like 1:56 pm"):
        read(entry(session_1_date_time=text))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("secret", "expected an object, not a text"),
        ([["secret"]], "conversation 1: expected an object, not a list"),
        ([conversation()], "conversation 1: sample_id is missing; give a user id"),
        ([entry(), entry()], "conversation 2: an earlier conversation has the same user id"),
        ([entry(), {**entry("b"), "conversation": []}], "conversation 2: conversation must be an"),
        (entry(speaker_b=None), "the conversation: speaker_b is missing"),
        (entry(session_1={}), "the conversation, session_1: session_1 must be a list"),
        (entry(session_1_date_time=None), "session_1: session_1_date_time is missing"),
        (entry(session_1=["secret"]), "session_1, turn 1: expected an object, not a text"),
        (entry(session_1=[turn(), turn("secret")]), "turn 2: the speaker is neither speaker_a"),
        (entry(session_1=[{"text": "secret"}]), "turn 1: speaker is missing"),
        (entry(session_1=[turn(text=["secret"])]), "turn 1: text must be a text, not a list"),
        (entry(session_1=[turn(text="secret \ud800")]), "turn 1: content holds a lone surrogate"),
        (entry(session_1=[turn(query={"secret": "x" * 40_000})]), "turn 1: metadata"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "data",
)
def test_a_fault_names_its_place_and_shows_no_content(data: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read(data)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n  secret", "not JSON, at line 2, column 3"),
        ('{"a": 1, "a": 2}', "the same key twice"),
        ("[" * 100_000, "nested too deep"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "data",
)
def test_what_is_not_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        list(read_locomo(io.StringIO(text)))


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="the file is not utf-8"):
        list(read_locomo(io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8")))


def test_the_benchmark_says_what_data_it_needs(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(BENCHMARK), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "does not hold locomo6.json" in run.stderr


@needs_data
def test_the_six_conversations_read_as_they_were_embedded() -> None:
    data = json.loads(Path(os.environ["IALSTORE_DATA"], "locomo6.json").read_text(encoding="utf-8"))
    expected: dict[tuple[str, str], str] = {}
    for one in data:
        for key, turns in one["conversation"].items():
            if re.fullmatch(r"session_\d+", key):
                for said in turns:
                    caption = said.get("blip_caption")
                    shares = f" [shares {caption}]" if caption else ""
                    text = f"{said['speaker']}: {said['text']}{shares}"
                    expected[one["sample_id"], said["dia_id"]] = text
    messages = list(read_locomo(data))
    assert len(messages) == 3435
    assert {(one.user_id, one.source_id): embedded_text(one) for one in messages} == expected
    assert list(read_locomo(data)) == messages


@needs_data
@pytest.mark.parametrize("url", ["memory:", None], ids=["memory", "sqlite"])
def test_exact_search_finds_the_published_share_of_evidence(
    url: str | None, tmp_path: Path
) -> None:
    kept = tmp_path / "found.json"
    given = ["--vectors=minilm", f"--json={kept}", *(["--store", url] if url else [])]
    subprocess.run([sys.executable, str(BENCHMARK), *given], capture_output=True, check=True)
    figures = json.loads(kept.read_text(encoding="utf-8"))["figures"]
    assert (figures["evidence recall@10"], figures["questions"]) == (0.454, 1155)
