"""Faults E5, E7, E12, E13: rows that someone forged, and erasing while another process writes."""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ialstore import CorruptError, InvalidInputError, Where
from ialstore.model import EncodedMessage, encode_message
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from ialstore_backends.sqlite.conversation_statements import INSERT_NEW
from ialstore_backends.sqlite.message_rows import row_of
from tests.faults.workload import SPEC, message, record

pytestmark = pytest.mark.no_cover


def forge(path: Path, entry: EncodedMessage) -> None:
    """Write a row whose checksums agree with it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(INSERT_NEW, row_of(entry))


DEEP = 100_000
FORGED = {
    "deep lists": {"payload_text": "[" * DEEP + "]" * DEEP},
    "deep objects": {"metadata_text": '{"a":' * DEEP + "1" + "}" * DEEP},
    "an integer of 5,000 digits": {"payload_text": f"[{'9' * 5000}]"},
    "a text that is no JSON": {"metadata_text": "{'a': 1}"},
    "a list for an object": {"metadata_text": "[1]"},
    "a number for a list": {"payload_text": "1"},
    "an expiry after all times": {"expires": 2**62},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_row_that_no_store_writes_is_damage_even_if_its_checksums_agree(
    tmp_path: Path, name: str
) -> None:
    """C5: and no ``RecursionError``, no crash, no endless reading."""
    path = tmp_path / "agent.db"
    one = message(1)
    with SqliteConversationStore(path) as store:
        store.append(message(2, user="v"))
        forge(path, replace(encode_message(one), **FORGED[name]))  # type: ignore[arg-type]  # its fields
        for call in (
            lambda: store.get("u", [one.id]),
            lambda: store.history("u"),
            lambda: store.history("u", session_id="s"),
        ):
            with pytest.raises(CorruptError):
                call()
        assert store.history("v").items == (message(2, user="v"),)
        (fault,) = store.check()
        assert f"(message {one.id})" in fault
        assert store.erase("u").messages == 1
        assert store.check() == []


class Bomb:
    """What a pickle may do when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.path),)


@pytest.mark.parametrize("table", ["message", "vectors", "vector_users", "meta"])
def test_nothing_that_is_stored_is_ever_unpickled(tmp_path: Path, table: str) -> None:
    """In any column of any table, as blob or as text."""
    path, touched = tmp_path / "agent.db", tmp_path / "touched"
    bomb = pickle.dumps(Bomb(touched), protocol=0)
    with SqliteConversationStore(path) as store, SqliteVectorIndex(path, SPEC) as index:
        store.append(message(1))
        index.upsert("u", [record(1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        columns = [row[1:3] for row in connection.execute(f"PRAGMA table_info({table})")]
    original = path.read_bytes()
    for column, kind in columns:
        for value in (bomb, bomb.decode()):
            path.write_bytes(original)
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                try:
                    connection.execute(f"UPDATE {table} SET {column} = ?", (value,))  # noqa: S608 - names of the test
                except sqlite3.IntegrityError:
                    assert kind == "INTEGER"  # the row's own number: SQLite lets nothing else in
                    continue
            found = read_all(path)
            assert not touched.exists(), f"{table}.{column} was unpickled"
            assert found, f"{table}.{column} may hold anything"


def read_all(path: Path) -> list[str]:
    """Read in every way; return what was refused, or named by ``check``."""
    found: list[str] = []
    with SqliteConversationStore(path) as store, SqliteVectorIndex(path, SPEC) as index:
        for call in (
            lambda: store.history("u"),
            lambda: store.summaries("u"),
            lambda: store.sessions("u"),
            store.users,
            lambda: index.get("u", [record(1).id]),
            lambda: index.search("u", [1.0] * SPEC.dimension),
            index.users,
            lambda: found.extend(store.check()),
            lambda: found.extend(index.check()),
        ):
            try:
                call()
            except CorruptError as error:
                found.append(str(error))
    return found


WRITE_ON = """
import itertools, sys
from ialstore_backends.sqlite import SqliteConversationStore
from tests.faults.workload import message

store = SqliteConversationStore(sys.argv[1])
print("ready", flush=True)
for number in itertools.count(1000):
    store.append(message(number, text=f"meanwhile {number}"))
    if number == 1020:
        print("busy", flush=True)
"""


def test_an_erase_removes_what_was_there_while_another_process_writes_on(tmp_path: Path) -> None:
    """S11: whatever is appended meanwhile is whole and counted, or gone."""
    path = tmp_path / "agent.db"
    with SqliteConversationStore(path) as store:
        before = [message(number, text=f"a secret {number}") for number in range(90)]
        store.append(*before)
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_ON, str(path)], stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            try:
                assert other.stdout.readline() == b"ready\n"
                assert other.stdout.readline() == b"busy\n"
                report = store.erase("u")
            finally:
                other.kill()
        assert report.messages >= len(before) + 20
        assert store.get("u", [one.id for one in before]) == []
        left = store.history("u", limit=1000).items
        assert all(one.content.startswith("meanwhile") for one in left)
        store.append(before[0])  # S3: what was erased is forgotten, and may come again
        assert store.get("u", [before[0].id]) == [before[0]]
        assert store.erase("u").remaining == 0
        assert store.check() == []
    assert b"a secret" not in path.read_bytes()


def test_numbers_and_filters_without_measure_are_refused_or_answered_at_once(
    tmp_path: Path,
) -> None:
    """Nothing is allocated for what is asked, only for what is there."""
    path = tmp_path / "agent.db"
    with SqliteConversationStore(path) as store, SqliteVectorIndex(path, SPEC) as index:
        store.append(message(1))
        index.upsert("u", [record(1)])
        for call in (
            lambda: store.history("u", limit=10**9),
            lambda: store.sessions("u", limit=10**9),
            lambda: store.get("u", [message(1).id] * 10**4),
            lambda: index.search("u", [1.0] * SPEC.dimension, k=10**9),
            lambda: index.ids("u", limit=10**9),
            lambda: index.get("u", [message(1).id] * 10**4),
        ):
            with pytest.raises(InvalidInputError):
                call()
        many = Where(roles=["user", "tool"] * 5_000)
        assert len(index.search("u", [1.0] * SPEC.dimension, where=many).hits) == 1
