"""What files add to the contract: locks, crashes, full disks, damage, and hostile ids."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ialstore import (
    AccessDeniedError,
    ConfigurationError,
    CorruptError,
    EraseReport,
    IalStoreError,
    IndexSpec,
    LoadReport,
    LockedError,
    Message,
    Outcome,
    StorageFullError,
    StoreNotReadyError,
    UnavailableError,
    VectorRecord,
    open_index,
    open_store,
)
from ialstore.events import OperationEvent

from ialstore_jsonlines import JsonLinesConversationStore, JsonLinesOptions, JsonLinesVectorIndex


def message(content: str = "hello", user_id: str = "u1", **fields: Any) -> Message:
    return Message.new(user_id=user_id, session_id="s1", role="user", content=content, **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "agent"


@pytest.fixture
def store(folder: Path) -> JsonLinesConversationStore:
    return JsonLinesConversationStore(folder)


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("*.jsonl")
    return file


def contents(store: JsonLinesConversationStore, user_id: str = "u1") -> list[str]:
    return [one.content for one in store.history(user_id, newest_first=False)]


# -- one process at a time ------------------------------------------------------------------------


def in_another_process(folder: Path) -> str:
    program = (
        "import sys; from ialstore_jsonlines import *\n"
        "try: print(len(JsonLinesConversationStore(sys.argv[1]).history('u1')))\n"
        "except Exception as error: print(type(error).__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_another_process_has_to_wait_until_the_store_is_closed(
    store: JsonLinesConversationStore, folder: Path
) -> None:
    store.append(message())
    assert in_another_process(folder) == "LockedError"
    store.close()
    assert in_another_process(folder) == "1"


def test_a_second_store_of_this_process_has_to_wait_too(
    store: JsonLinesConversationStore, folder: Path
) -> None:
    store.append(message())
    with JsonLinesConversationStore(folder) as second:
        with pytest.raises(LockedError, match="in use") as caught:
            second.history("u1")
        assert caught.value.retryable
        store.close()
        assert contents(second) == ["hello"]


def test_a_store_and_an_index_share_a_folder(
    store: JsonLinesConversationStore, folder: Path
) -> None:
    one = message()
    store.append(one)
    with JsonLinesVectorIndex(folder, IndexSpec(2)) as index:
        index.upsert("u1", [VectorRecord(one.id, [1.0, 2.0], "s1", "user")])
        assert index.count("u1") == 1
    assert contents(store) == ["hello"]


# -- what is in the files -------------------------------------------------------------------------


def test_ids_can_t_lead_out_of_the_folder(
    store: JsonLinesConversationStore, folder: Path, tmp_path: Path
) -> None:
    users = ["../up", "/etc/passwd", "..", "a/b", "\n", "x" * 384, "CON", "u1", "U1"]
    for user in users:
        store.append(message(user, user_id=user))
    assert [contents(store, user) for user in users] == [[user] for user in users]
    assert sorted(store.users(limit=1000)) == sorted(users)
    assert list(tmp_path.iterdir()) == [folder]
    assert len(list(folder.iterdir())) == len(users) + 1  # and the lock


def test_nobody_else_can_read_the_files(store: JsonLinesConversationStore, folder: Path) -> None:
    store.append(message())
    store.optimize("u1")
    assert folder.stat().st_mode & 0o77 == 0
    assert [one.name for one in folder.iterdir() if one.stat().st_mode & 0o77] == []


def test_erase_leaves_no_byte(store: JsonLinesConversationStore, folder: Path) -> None:
    store.append(message("zanzibar"), message("zanzibar"))
    leftover = only_file(folder).with_suffix(".tmp")
    leftover.write_text("zanzibar")  # as a crash would leave it
    assert store.erase("u1") == EraseReport(messages=2)
    assert not any(b"zanzibar" in one.read_bytes() for one in folder.iterdir())


def test_optimize_gives_room_back(store: JsonLinesConversationStore, folder: Path) -> None:
    messages = [message("x" * 1000) for _ in range(3)]
    store.append(*messages)
    store.delete("u1", [one.id for one in messages[1:]])
    before = only_file(folder).stat().st_size
    assert store.optimize("u1").reclaimed_bytes == before - only_file(folder).stat().st_size > 2000
    assert list(store.history("u1")) == messages[:1]


def test_users_out_of_memory_are_read_again(folder: Path) -> None:
    options = JsonLinesOptions(cached_users=2)
    with JsonLinesConversationStore(folder, options) as store:
        heard: list[OperationEvent] = []
        store.bulk_load(message(user, user_id=user) for user in "abc")
        store.subscribe(heard.append)
        assert [contents(store, user) for user in "abca"] == [["a"], ["b"], ["c"], ["a"]]
        assert contents(store, "a") == ["a"]
        assert [one.details["in_memory"] for one in heard] == [False] * 4 + [True]
        assert 0 < store.held_bytes < sum(one.stat().st_size for one in folder.glob("*.jsonl"))


# -- crashes and faults ---------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, -1])
def test_a_line_that_was_cut_off_was_never_acknowledged(
    store: JsonLinesConversationStore, folder: Path, kept: int
) -> None:
    store.append(message("first"))
    whole = only_file(folder).stat().st_size
    batch = [message("second"), message("third")]
    store.append(*batch)
    store.close()
    size = only_file(folder).stat().st_size
    os.truncate(only_file(folder), whole + kept if kept >= 0 else size + kept)

    with JsonLinesConversationStore(folder) as again:
        assert contents(again) == ["first"]
        assert len(again.append(*batch).stored) == 2
        assert contents(again) == ["first", "second", "third"]
        assert again.check() == []


Fail = Callable[..., None]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Return a function that lets a call of ``os`` fail once, after it did half of its work."""

    def fail(name: str, number: int, *, after: int = 0) -> None:
        real = getattr(os, name)
        calls = 0

        def once(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls <= after:
                return real(*args)
            monkeypatch.setattr(os, name, real)
            if name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, name, once)

    return fail


@pytest.mark.parametrize(
    ("fault", "error", "outcome"),
    [
        (("open", errno.EACCES), AccessDeniedError, Outcome.NOT_APPLIED),
        (("write", errno.ENOSPC), StorageFullError, Outcome.NOT_APPLIED),
        (("write", errno.EIO), UnavailableError, Outcome.NOT_APPLIED),
        (("fsync", errno.EIO), UnavailableError, Outcome.UNKNOWN),
    ],
)
def test_a_failed_write_says_what_became_of_it_and_may_be_repeated(
    store: JsonLinesConversationStore,
    fail: Fail,
    fault: tuple[str, int],
    error: type[IalStoreError],
    outcome: Outcome,
) -> None:
    """C4: not applied, or unknown."""
    store.append(message("first"))
    second = message("second")
    fail(*fault)
    with pytest.raises(error) as caught:
        store.append(second)
    assert caught.value.outcome is outcome
    assert isinstance(caught.value.__cause__, OSError)

    assert contents(store) == ["first"]
    assert store.append(second).stored == (second.id,)
    assert contents(store) == ["first", "second"]


def test_an_erase_whose_end_is_in_doubt_may_be_repeated(
    store: JsonLinesConversationStore, fail: Fail
) -> None:
    """C4: unknown."""
    store.append(message())
    fail("fsync", errno.EIO)
    with pytest.raises(UnavailableError) as caught:
        store.erase("u1")
    assert caught.value.outcome is Outcome.UNKNOWN
    assert store.erase("u1") == EraseReport()
    assert contents(store) == []


def test_a_load_that_fails_says_that_some_of_it_is_stored(
    store: JsonLinesConversationStore, fail: Fail
) -> None:
    """C4, S12: and repeating it completes it."""
    messages = [message(user_id=user) for user in "ab"]
    fail("write", errno.ENOSPC, after=1)
    with pytest.raises(StorageFullError) as caught:
        store.bulk_load(messages)
    assert caught.value.outcome is Outcome.PARTIAL
    assert [contents(store, user) for user in "ab"] == [["hello"], []]
    assert store.bulk_load(messages) == LoadReport(written=2)
    assert [contents(store, user) for user in "ab"] == [["hello"], ["hello"]]


def test_a_file_that_another_program_changed_is_read_again(
    store: JsonLinesConversationStore, folder: Path
) -> None:
    store.append(message("first"))
    only_file(folder).write_bytes(b"")
    with pytest.raises(UnavailableError, match="changed by another program"):
        store.append(message("second"))
    store.append(message("third"))
    assert contents(store) == ["third"]


# -- damage ---------------------------------------------------------------------------------------


def changed(line: str, **fields: Any) -> str:
    change = json.loads(line)
    return json.dumps(change | fields) + "\n"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda line: line.replace("hello", "hallo"), id="another text"),
        pytest.param(lambda line: line.replace("hello", "he\udcffo"), id="no UTF-8"),
        pytest.param(lambda line: line[:-5] + "\n", id="no JSON"),
        pytest.param(lambda line: changed(line, user="u2"), id="another user"),
        pytest.param(lambda line: changed(line, put=[{"id": "x"}]), id="no message"),
        pytest.param(lambda line: changed(line, delete=["x"]), id="a delete of nothing"),
        pytest.param(lambda _: "[]\n", id="no change"),
    ],
)
def test_damage_is_raised_named_and_can_be_erased(
    store: JsonLinesConversationStore, folder: Path, damage: Callable[[str], str]
) -> None:
    """C5: it never becomes an empty or partial answer."""
    store.append(message("hello"))
    store.close()
    file = only_file(folder)
    file.write_bytes(damage(file.read_text()).encode(errors="surrogateescape"))

    with JsonLinesConversationStore(folder) as again:
        with pytest.raises(CorruptError) as caught:
            again.history("u1")
        assert "line 1" in str(caught.value)
        assert "hello" not in repr(caught.value) + repr(caught.value.__cause__)
        assert len(again.check()) == 1
        assert again.erase("u1") == EraseReport()
        assert again.check() == []
        assert contents(again) == []


def test_a_newer_format_is_refused(store: JsonLinesConversationStore, folder: Path) -> None:
    """S15."""
    store.append(message())
    store.close()
    file = only_file(folder)
    file.write_text(changed(file.read_text(), format=2))
    with JsonLinesConversationStore(folder) as again:
        for call in (lambda: again.history("u1"), again.check):
            with pytest.raises(StoreNotReadyError, match="has format 2; upgrade"):
                call()


def test_a_file_under_another_name_is_a_fault(
    store: JsonLinesConversationStore, folder: Path
) -> None:
    store.append(message())
    file = only_file(folder)
    file.rename(file.with_name("0" * 64 + ".messages.jsonl"))
    (fault,) = store.check()
    assert "has not the name" in fault


def test_a_damaged_spec_is_corrupt(folder: Path) -> None:
    with JsonLinesVectorIndex(folder, IndexSpec(2)) as index:
        index.count("u1")
    (folder / "vectors.json").write_text("{")
    with (
        JsonLinesVectorIndex(folder, IndexSpec(2)) as index,
        pytest.raises(CorruptError, match=r"vectors\.json is damaged"),
    ):
        index.count("u1")


# -- URLs -----------------------------------------------------------------------------------------


def test_the_url_has_the_folder_and_the_options(folder: Path) -> None:
    with open_store(f"jsonlines:///{folder}?fsync=false&cached_users=1") as store:
        store.append(message())
        assert store.capabilities.durable is False
    with open_index(f"jsonlines:///{folder}", IndexSpec(2)) as index:
        assert index.count("u1") == 0
        assert index.capabilities.durable is True


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("jsonlines:///x?fsnc=true", "did you mean fsync"),
        ("jsonlines:///x?fsync=perhaps", "option fsync"),
        ("jsonlines:///x?cached_users=-1", "cached_users must not be negative"),
        ("jsonlines://x", "write jsonlines:///relative/path"),
    ],
)
def test_a_faulty_url_says_what_to_write(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_store(url)


def test_the_folder_above_has_to_be_there(tmp_path: Path) -> None:
    with (
        JsonLinesConversationStore(tmp_path / "a" / "b") as store,
        pytest.raises(UnavailableError, match="No such file"),
    ):
        store.append(message())
