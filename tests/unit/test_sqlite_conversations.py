"""Conversations in SQLite: what the tests for every store can't see from outside."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from ialstore import (
    ConfigurationError,
    ConflictError,
    CorruptError,
    Message,
    SessionInfo,
    deadline,
)
from ialstore.url import StoreURL
from ialstore_backends.sqlite import SqliteConversationStore, SqliteOptions
from ialstore_backends.sqlite import conversation_statements as sql

START = datetime(2024, 2, 29, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def new(
    content: str = "hello",
    *,
    user: str = "u",
    session: str = "s",
    seq: int = 0,
    expires_in: float | None = None,
) -> Message:
    expires_at = None if expires_in is None else START + timedelta(seconds=expires_in)
    return Message.new(
        user_id=user,
        session_id=session,
        role="user",
        content=content,
        created_at=START,
        seq=seq,
        expires_at=expires_at,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[SqliteConversationStore]:
    with SqliteConversationStore(path, clock=clock) as store:
        yield store


def run_sql(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


# -- opening


def test_the_url_names_a_relative_or_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///a%20b.db", f"sqlite:///{tmp_path}/a b.db"):
        with SqliteConversationStore.from_url(StoreURL.parse(url)) as store:
            store.append(new())
    assert (tmp_path / "a b.db").exists()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("synchronos=full", "did you mean synchronous"),
        ("synchronous=off", "synchronous"),
        ("cache_mb=-1", "cache_mb"),
        ("cache_mb=nan", "cache_mb"),
    ],
)
def test_options_of_the_url_are_checked(query: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SqliteConversationStore.from_url(StoreURL.parse(f"sqlite:///agent.db?{query}"))


@pytest.mark.parametrize("options", [{"synchronous": "off"}, {"cache_mb": -1.0}])
def test_options_given_in_python_are_checked_too(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        SqliteOptions(**options)  # type: ignore[arg-type]  # what a caller without mypy may do


def test_only_full_synchronisation_is_called_durable(tmp_path: Path) -> None:
    url = StoreURL.parse(f"sqlite:///{tmp_path}/agent.db?synchronous=normal")
    with (
        SqliteConversationStore.from_url(url) as fast,
        SqliteConversationStore(tmp_path / "agent.db") as safe,
    ):
        fast.append(new())
        assert (fast.capabilities.durable, safe.capabilities.durable) == (False, True)
        assert len(safe.history("u")) == 1


# -- durability and sharing


def test_what_was_acknowledged_survives_the_killing_of_its_writer(path: Path) -> None:
    program = """
import sys
from ialstore import Message
from ialstore_backends.sqlite import SqliteConversationStore
store = SqliteConversationStore(sys.argv[1])
while True:
    message = Message.new(user_id="u", session_id="s", role="user", content="x" * 3000)
    store.append(message)
    print(message.id, flush=True)
"""
    acknowledged = []
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged.append(line.strip())
            if len(acknowledged) == 50:
                process.send_signal(signal.SIGKILL)
    with SqliteConversationStore(path) as store:
        found = {message.id for message in store.history("u", limit=1000)}
        assert found >= {one for one in acknowledged if len(one) == 36}
        assert store.check() == []


def test_threads_may_append_and_read_at_once(store: SqliteConversationStore) -> None:
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for seq in range(10):
                store.append(new(session=f"s{n}", seq=seq))
                assert len(store.history("u", session_id=f"s{n}")) == seq + 1
        except BaseException as error:  # noqa: BLE001 - shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=[n]) for n in range(32)]
    with deadline(60):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(store.history("u", limit=1000)) == 320
    assert len(store.sessions("u", limit=1000)) == 32


# -- texts and ids are data


HOSTILE = [
    "'; DROP TABLE message; --",
    '" OR 1=1',
    "u1",
    "u10",
    "u_",
    "u%",
    "u*?[a-z]",
    "a#b/c:d{e}\n\t",
    "ü/ñ",
    "u\u0308",
    "\ufeff\u200d\U0001f469",
    "\U0010ffff",
]


def test_hostile_ids_are_data(store: SqliteConversationStore) -> None:
    for user in HOSTILE:
        store.append(*[new(user=user, session=session) for session in HOSTILE])
    for user in HOSTILE:
        assert [one.session_id for one in store.sessions(user)] == sorted(HOSTILE)
        for session in HOSTILE:
            (message,) = store.history(user, session_id=session)
            assert (message.user_id, message.session_id) == (user, session)
    first, *others = HOSTILE
    assert store.erase(first).messages == len(HOSTILE)
    assert sorted(store.users(limit=1000)) == sorted(others)


@pytest.mark.parametrize(
    "text",
    ["", "\0", "a\0b" * 200, "\r\n\t\x01\x1f", "e\u0301\ufeff\u202e", "\U0001f469\u200d" * 300],
    ids=ascii,
)
def test_texts_come_back_code_point_for_code_point(
    store: SqliteConversationStore, text: str
) -> None:
    message = Message.new(
        user_id="u",
        session_id="s",
        role="tool",
        content=text,
        payload=[{"text": text}],
        name=text[:50],
        metadata={text[:50]: text},
    )
    store.append(message)
    other = replace(new(seq=1), summary=text[:50])
    store.append(other)
    assert store.get("u", [message.id, other.id, new(seq=2).id]) == [message, other]
    assert [one.summary for one in store.summaries("u")] == [text[:200], text[:50]]


def test_a_damaged_text_raises_and_is_not_quoted(
    path: Path, store: SqliteConversationStore
) -> None:
    store.append(new())
    run_sql(path, "UPDATE message SET content = CAST(? AS TEXT)", b"secret \xff" + b"x" * 300)
    for call in (store.history, store.summaries):
        with pytest.raises(CorruptError) as caught:
            call("u")
        assert "secret" not in f"{caught.value}{caught.value.__cause__!r}"
        assert caught.value.backend == "sqlite"


DAMAGES: list[tuple[str, object]] = [
    ("expires", "secret"),
    ("expires", 1e300),
    ("expires", 2**62),
    ("expires", 2.0**40 + 0.5),
    ("content", b"secret \xff"),
    ("content", b"secret"),
    ("payload", b'["secret"]'),
    ("payload", '"secret"'),
    ("payload", "5"),
    ("payload", "["),
    ("metadata", b'{"secret": 1}'),
    ("metadata", "5"),
    ("metadata", '["secret"]'),
    ("tokens", -1),
    ("tokens", 2**31),
    ("tokens", "secret"),
    ("name", b"secret"),
    ("turn_id", b"secret"),
    ("source_id", b"secret"),
    ("summary", b"secret"),
    ("session_id", "secret"),
    ("session_id", b"s"),
]


def error_texts(error: BaseException) -> str:
    """Return what a log would show of an error and its causes."""
    shown = f"{error} {error!r}"
    return shown if error.__cause__ is None else shown + error_texts(error.__cause__)


@pytest.mark.parametrize(("column", "value"), DAMAGES)
def test_a_damaged_row_raises_in_reads_and_is_named_but_not_quoted(
    path: Path, store: SqliteConversationStore, column: str, value: object
) -> None:
    """C5: never an answer that lies; E1: never an error of Python."""
    message = new()
    store.append(message)
    run_sql(path, f"UPDATE message SET {column} = ?", value)  # noqa: S608 - names of the test
    calls: list[Callable[[], object]] = [
        lambda: store.get("u", [message.id]),
        lambda: store.history("u"),
    ]
    if column in {"tokens", "summary", "session_id", "content"}:
        calls.append(lambda: store.summaries("u"))
    for call in calls:
        with pytest.raises(CorruptError) as caught:
            call()
        assert str(path) in str(caught.value)
        assert message.id in str(caught.value)
        assert caught.value.__cause__ is not None
        assert "secret" not in error_texts(caught.value)


@pytest.mark.parametrize(
    "damaged",
    [
        "1 secret",
        "018df4da-9a00-7000-zzzz-000000000000",
        "018df4da-9a00-7000-8000-000000000000" + "0",
        None,
    ],
)
def test_a_damaged_id_raises_in_every_listing(
    path: Path, store: SqliteConversationStore, damaged: str | None
) -> None:
    message = new()
    store.append(message)
    damaged = damaged or message.id + "0"
    run_sql(path, "UPDATE message SET id = ?", damaged)
    for call in (store.history, store.summaries, store.sessions):
        with pytest.raises(CorruptError, match="damaged") as caught:
            call("u")
        assert str(path) in str(caught.value)
        assert "secret" not in str(caught.value)


def test_an_id_that_holds_no_time_raises_in_the_listing_of_sessions(
    path: Path, store: SqliteConversationStore
) -> None:
    message = new()
    store.append(message)
    run_sql(path, "UPDATE message SET id = ?", message.id[:4] + "zzzz" + message.id[8:])
    with pytest.raises(CorruptError):
        store.sessions("u")


def test_a_damaged_user_id_raises_in_the_listing_of_users(
    path: Path, store: SqliteConversationStore
) -> None:
    store.append(new())
    run_sql(path, "UPDATE message SET user_id = ?", b"secret")
    with pytest.raises(CorruptError, match="user id") as caught:
        list(store.users())
    assert "secret" not in str(caught.value)
    (fault,) = store.check()
    assert "secret" not in fault


PLAUSIBLE: dict[str, object] = {
    "id": "018df4bc-5600-701c-a825-8d9bbc78b380",  # of the same session and role, but later
    "session_id": "another",
    "expires": 2**33,
    "tokens": 8,
    "name": "another",
    "turn_id": "another",
    "source_id": "another",
    "summary": "another",
    "metadata": '{"a": 2}',
    "payload": "[2]",
    "content": "hellp",
    "checksum": 8,
    "short_checksum": 8,
}
LISTED = {"id", "session_id", "expires", "tokens", "summary"}
"""Columns that summaries and the listings of sessions and users look at."""


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("column", PLAUSIBLE)
def test_damage_that_looks_like_data_raises_in_every_read_of_it(
    path: Path, store: SqliteConversationStore, column: str, *, is_plain: bool
) -> None:
    """C5: a flipped bit is rarely as kind as to leave no text."""
    message = new("hello")
    if not is_plain:
        message = replace(
            message,
            payload=[1],
            name="name",
            turn_id="turn",
            source_id="source",
            summary="summary",
            tokens=7,
            metadata={"a": 1},
            expires_at=START + timedelta(days=1),
        )
    store.append(message)
    run_sql(path, f"UPDATE message SET {column} = ?", PLAUSIBLE[column])  # noqa: S608 - names of the test
    whole: list[Callable[[], object]] = [
        lambda: store.get("u", [message.id]),
        lambda: store.history("u"),
    ]
    listed: list[Callable[[], object]] = [
        lambda: store.summaries("u"),
        lambda: store.sessions("u"),
        store.users,
    ]
    shown = LISTED | {"short_checksum"} | ({"content"} if is_plain else set())
    for call in (whole if column != "short_checksum" else []) + (listed if column in shown else []):
        if column == "id" and call is whole[0]:
            continue  # nobody finds it under its id
        with pytest.raises(CorruptError) as caught:
            call()
        assert str(path) in str(caught.value)
    (fault,) = store.check()
    assert "row 1 (message " in fault


@pytest.mark.parametrize("column", ["user_id", "session_id"])
def test_rows_that_changed_places_raise(
    path: Path, store: SqliteConversationStore, column: str
) -> None:
    """C6: never another's message, whatever an index says."""
    store.append(new("one", user="a", session="a"))
    store.append(new("two", user="a" if column == "session_id" else "b", session="b"))
    run_sql(
        path,
        f"UPDATE message SET {column} = CASE {column} WHEN 'a' THEN 'b' ELSE 'a' END",  # noqa: S608 - names of the test
    )
    for call in (
        lambda: store.history("a"),
        lambda: store.summaries("a"),
        lambda: store.sessions("a"),
        store.users,
    ):
        with pytest.raises(CorruptError):
            call()


def test_a_row_that_a_disk_put_back_as_it_was_raises_in_its_session_and_check_tells(
    path: Path, store: SqliteConversationStore
) -> None:
    """C5: its checksum agrees with it, but not with the one in the index."""
    message = new("hello")
    store.append(message)
    store.close()
    before = path.read_bytes()
    with SqliteConversationStore(path) as reopened:
        assert reopened.replace(replace(message, content="another"))
    after = bytearray(path.read_bytes())
    (page,) = (start for start in range(0, len(after), 4096) if b"another" in after[start:][:4096])
    after[page : page + 4096] = before[page : page + 4096]
    path.write_bytes(after)
    with SqliteConversationStore(path) as reopened:
        with pytest.raises(CorruptError):
            reopened.history("u", session_id="s")
        assert "missing from index message_by_session" in reopened.check()[0]


WRONG_TURNS = {
    "another message": ("GET", "AND id = ?", "AND id <> ?"),
    "another session": ("HISTORY", "session_id = ?", "session_id <> ?"),
    "another session in short": ("SUMMARIES", "session_id = ?", "session_id <> ?"),
    "out of order": ("HISTORY", "ORDER BY id DESC", "ORDER BY id"),
    "out of order in short": ("SUMMARIES", "ORDER BY id DESC", "ORDER BY id"),
    "none": ("SESSIONS", "AND id = its_id", "AND id = its_id || 'x'"),
    "the message of another session": ("SESSIONS", "AND id = its_id", "AND session_id > 's'"),
    "no user": ("USERS", "SELECT its_user", "SELECT x'00'"),
}


@pytest.mark.parametrize("turn", WRONG_TURNS)
def test_an_index_that_leads_to_what_was_not_asked_for_raises(
    store: SqliteConversationStore, monkeypatch: pytest.MonkeyPatch, turn: str
) -> None:
    """C5, C6: sound rows in the wrong place, as pages of an index that were exchanged give them."""
    one, other = new("one", seq=1), new("two", seq=2)
    store.append(one, other, new("three", session="t"), new("four", session="t", seq=3))
    name, right, wrong = WRONG_TURNS[turn]
    statement = getattr(sql, name)
    if isinstance(statement, str):
        assert right in statement
        monkeypatch.setattr(sql, name, statement.replace(right, wrong))
    else:
        changed = {which: text.replace(right, wrong) for which, text in statement.items()}
        monkeypatch.setattr(sql, name, changed)
    calls: dict[str, Callable[[], object]] = {
        "GET": lambda: store.get("u", [one.id]),
        "HISTORY": lambda: store.history("u", session_id="s"),
        "SUMMARIES": lambda: store.summaries("u", session_id="s"),
        "SESSIONS": lambda: store.sessions("u"),
        "USERS": store.users,
    }
    with pytest.raises(CorruptError):
        calls[name]()


def test_a_damaged_message_is_no_duplicate_and_no_conflict_and_replace_mends_it(
    path: Path, store: SqliteConversationStore
) -> None:
    message = new("hello")
    store.append(message)
    for value in ("hellp", "hello"):
        run_sql(path, "UPDATE message SET content = ?, checksum = checksum + 1", value)
        with pytest.raises(CorruptError):
            store.append(message)
    assert store.replace(message)
    assert store.append(message).duplicates == (message.id,)


# -- expiry and conflicts


def test_an_expired_message_is_forgotten_by_an_append_of_its_id(
    store: SqliteConversationStore, clock: Clock
) -> None:
    old = new("old", expires_in=10)
    store.append(old)
    again = replace(old, content="again", expires_at=None)
    with pytest.raises(ConflictError):
        store.append(again)
    clock.now += timedelta(seconds=10)
    assert store.get("u", [old.id]) == []
    assert store.append(again).stored == (again.id,)
    assert store.get("u", [old.id]) == [again]


def test_a_conflict_in_a_batch_stores_nothing(store: SqliteConversationStore) -> None:
    first, second = new("1", seq=1), new("2", seq=2)
    store.append(first)
    with pytest.raises(ConflictError) as caught:
        store.append(second, replace(first, content="other"))
    assert caught.value.ids == (first.id,)
    assert store.history("u").items == (first,)
    result = store.append(first, second)
    assert (result.stored, result.duplicates) == ((second.id,), (first.id,))


def twin_sessions() -> tuple[str, str]:
    """Return two sessions whose hash an id can't tell apart."""
    by_hash: dict[int, str] = {}
    for n in range(1000):
        session = f"s{n}"
        other = by_hash.setdefault(sha256(session.encode()).digest()[0], session)
        if other != session:
            return other, session
    raise AssertionError


def test_a_message_of_another_session_with_the_same_id_is_not_replaced(
    store: SqliteConversationStore,
) -> None:
    one, other = twin_sessions()
    stored = new(session=one)
    store.append(stored)
    with pytest.raises(ConflictError, match="another session"):
        store.replace(replace(stored, session_id=other, content="changed"))
    assert store.get("u", [stored.id]) == [stored]
    assert store.replace(replace(stored, content="changed"))
    assert not store.replace(new(seq=1))


def test_a_long_run_of_expired_messages_hides_no_live_one(
    store: SqliteConversationStore, clock: Clock
) -> None:
    live = [new(seq=0), new(seq=5000)]
    store.append(*live)
    store.bulk_load(new(seq=seq, expires_in=1) for seq in range(1, 3000))
    clock.now += timedelta(seconds=1)
    for newest_first in (True, False):
        page = store.history("u", session_id="s", limit=1, newest_first=newest_first)
        again = store.history(
            "u", session_id="s", limit=1, newest_first=newest_first, cursor=page.cursor
        )
        assert {*page, *again} == set(live)
        assert again.cursor is None


def test_sessions_are_exact_and_tied_ones_are_sorted_by_name_over_all_pages(
    store: SqliteConversationStore, clock: Clock
) -> None:
    at_start = [new(session=session) for session in ("b", "a", "ü", "\U0001f469", "\uffff")]
    later = new(session="later", seq=1)
    expiring = [new(session="a", seq=2, expires_in=1), new(session="gone", expires_in=1)]
    store.append(*at_start, later, *expiring)
    clock.now += timedelta(seconds=1)
    listed: list[SessionInfo] = []
    cursor = None
    while True:
        page = store.sessions("u", limit=2, cursor=cursor)
        listed += page
        cursor = page.cursor
        if cursor is None:
            break
    assert [one.session_id for one in listed] == ["later", "a", "b", "ü", "\uffff", "\U0001f469"]
    assert [one.last_active - START for one in listed[:2]] == [
        timedelta(microseconds=1),
        timedelta(0),
    ]


def test_a_page_ends_at_16_mib(store: SqliteConversationStore) -> None:
    large = "x" * 1_000_000
    store.bulk_load(new(large, seq=seq) for seq in range(20))
    first = store.history("u", limit=1000)
    second = store.history("u", limit=1000, cursor=first.cursor)
    assert (len(first), len(second), second.cursor) == (16, 4, None)


def test_deleting_counts_live_messages_and_removes_expired_ones(
    path: Path, store: SqliteConversationStore, clock: Clock
) -> None:
    messages = [new(seq=0), new(seq=1, expires_in=1), new(session="t", expires_in=1)]
    store.append(*messages, new(session="t", seq=9))
    clock.now += timedelta(seconds=1)
    assert store.delete("u", [message.id for message in messages[:2]]) == 1
    assert store.delete_session("u", "t") == 1
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)
    connection.close()


def test_a_load_keeps_the_last_of_the_same_id(store: SqliteConversationStore) -> None:
    first = new("first")
    last = replace(first, content="last", summary="kept")
    assert store.bulk_load([first, new(user="other"), last]).written == 3
    assert store.get("u", [first.id]) == [last]
    assert store.users().items == ("other", "u")
    assert store.users(limit=1, cursor=store.users(limit=1).cursor).items == ("u",)
