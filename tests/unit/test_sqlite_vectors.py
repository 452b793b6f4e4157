"""The vector index in a SQLite file: what it holds in memory, several handles, damage, traces."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ialstore import (
    ConfigurationError,
    ConversationStore,
    CorruptError,
    DeadlineExceededError,
    IalStoreError,
    IndexSpec,
    Message,
    Outcome,
    UnavailableError,
    VectorRecord,
    deadline,
    message_id,
)
from ialstore.url import StoreURL
from ialstore_backends._exact import bytes_per_vector
from ialstore_backends.sqlite import (
    SqliteConversationStore,
    SqliteOptions,
    SqliteVectorIndex,
    maintenance,
)
from ialstore_backends.sqlite import vector_statements as sql
from ialstore_backends.sqlite.held import HeldUsers, State
from ialstore_backends.sqlite.vector_rows import changed_state
from ialstore_backends.sqlite.vector_statements import NUMBER_BITS

START = datetime(2024, 2, 29, 12, tzinfo=UTC)
SPEC = IndexSpec(8)
SEED = np.random.default_rng(0)
QUERY = np.arange(1, 9)


def record(number: int, spec: IndexSpec = SPEC, **fields: Any) -> VectorRecord:
    made = message_id("u", "s", START + timedelta(seconds=number), "user", "")
    vector = SEED.standard_normal(spec.dimension)
    given: dict[str, Any] = {"text": f"text {number}"} | fields
    return VectorRecord(made, vector, "s", "user", **given)


class Handle:
    """An index that remembers what its last search did."""

    def __init__(self, path: Path, spec: IndexSpec = SPEC, **options: Any) -> None:
        self.index = SqliteVectorIndex(path, spec, options=SqliteOptions(**options))
        self.did = ""
        self.index.subscribe(lambda event: self._note(event.details))

    def _note(self, details: Any) -> None:
        self.did = details.get("matrix", self.did)

    def search(self, user: str = "u", k: int = 1000) -> list[str | None]:
        self.did = ""
        query = np.arange(1, self.index.spec.dimension + 1)
        return [hit.text for hit in self.index.search(user, query, k)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


@pytest.fixture
def one(path: Path) -> Iterator[Handle]:
    handle = Handle(path)
    yield handle
    handle.index.close()


@pytest.fixture
def other(path: Path) -> Iterator[Handle]:
    handle = Handle(path)
    yield handle
    handle.index.close()


def run(path: Path, statement: str, *values: Any) -> None:
    """Change the file behind the library's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


# -- what is held in memory -----------------------------------------------------------------------


def test_a_second_search_reads_no_vectors(one: Handle) -> None:
    one.index.upsert("u", [record(1), record(2)])
    assert len(one.search()) == 2
    assert one.did == "loaded"
    assert len(one.search()) == 2
    assert one.did == "held"
    assert one.index.held_bytes >= 2 * bytes_per_vector(8)


def test_a_search_reads_only_what_is_new(one: Handle, other: Handle) -> None:
    one.index.upsert("u", [record(n) for n in range(5)])
    assert len(one.search()) == len(other.search()) == 5
    for writer in (one.index, other.index):
        writer.upsert("u", [record(3, text=writer.backend), record(9)])
        writer.upsert("someone else", [record(1)])
        for reader in (one, other):
            assert sorted(map(str, reader.search())) == sorted(
                ["text 0", "text 1", "text 2", "sqlite", "text 4", "text 9"]
            )
            assert reader.did == "updated"
            reader.search()
            assert reader.did == "held"
        writer.delete("u", [record(9).id])
        for reader in (one, other):
            assert len(reader.search()) == 5
            assert reader.did == "updated"


def test_what_another_handle_erased_and_wrote_anew_is_not_mixed(one: Handle, other: Handle) -> None:
    one.index.upsert("u", [record(1, text="old"), record(2, text="old")])
    assert one.search() == ["old", "old"]
    other.index.erase("u")
    other.index.upsert("u", [record(1, text="new"), record(3, text="new")])
    assert one.search() == ["new", "new"]
    assert one.did == "loaded"


def test_an_erased_user_is_held_no_longer(one: Handle, other: Handle) -> None:
    one.index.upsert("u", [record(1)])
    one.search()
    other.search()
    one.index.erase("u")
    assert one.index.held_bytes == 0
    assert other.search() == []
    assert other.index.held_bytes == 0
    assert one.search("nobody") == []
    assert one.index.held_bytes == 0


def test_users_searched_last_are_held_within_the_bound(path: Path) -> None:
    spec = IndexSpec(1000)
    handle = Handle(path, spec, cache_mb=0.1)
    for user in "abc":
        handle.index.upsert(user, [record(n, spec) for n in range(8)])
    done: list[str] = []
    for user in "abaacab":
        assert len(handle.search(user)) == 8
        assert handle.index.held_bytes <= 0.1 * 2**20
        done.append(handle.did)
    assert done == ["loaded", "loaded", "held", "held", "loaded", "held", "loaded"]


@pytest.mark.parametrize("cache_mb", [0, 0.01, 1, 5])
def test_more_vectors_than_may_be_held_are_searched_in_parts(path: Path, cache_mb: float) -> None:
    spec = IndexSpec(2000)
    small = Handle(path, spec, cache_mb=cache_mb)
    large = Handle(path, spec)
    records = [record(n, spec, text="x" * 2000) for n in range(1200)]
    records += [
        VectorRecord(record(n).id, records[n % 7].vector, "s", "user", f"twin {n}")
        for n in range(1200, 1300)
    ]
    small.index.bulk_load(("u", each) for each in records)
    small.index.upsert("else", [record(1, spec)])

    query = records[3].vector + SEED.standard_normal(2000) * 0.1
    for k in (1, 20, 1000):
        found = small.index.search("u", query, k)
        expected = large.index.search("u", query, k)
        assert found.hits == expected.hits
        assert found.examined == expected.examined == 1300
        assert (small.did, small.index.held_bytes) == ("streamed", 0)
    assert large.did == "held"


def test_who_outgrows_the_bound_is_held_no_longer(path: Path) -> None:
    spec = IndexSpec(1000)
    handle = Handle(path, spec, cache_mb=0.1)
    handle.index.upsert("u", [record(n, spec) for n in range(15)])
    assert len(handle.search()) == 15
    assert handle.index.held_bytes > 0
    handle.index.upsert("u", [record(n, spec, text="x" * 2000) for n in range(15, 22)])
    assert len(handle.search()) == 22
    assert (handle.did, handle.index.held_bytes) == ("updated", 0)
    assert len(handle.search()) == 22
    assert handle.did == "streamed"
    handle.index.delete("u", [record(n).id for n in range(15, 22)])
    assert len(handle.search()) == 15
    handle.index.upsert("u", [record(n, spec) for n in range(100, 200)])
    assert len(handle.search()) == 115
    assert handle.did == "streamed"


def test_one_search_at_a_time_holds_a_user() -> None:
    class Call:
        name = "search"

        def remaining(self) -> float:
            return 0.01

    held = HeldUsers(1000)
    call: Any = Call()
    with held.lend(call, "u"):
        with pytest.raises(DeadlineExceededError), held.lend(call, "u"):
            pass
        with held.lend(call, "else"):
            pass
        held.drop("u")
        with held.lend(call, "u"):
            pass
    assert held.nbytes == 0


def test_a_forked_child_holds_nothing(one: Handle) -> None:
    one.index.upsert("u", [record(1)])
    one.search()
    one.index._after_fork()  # noqa: SLF001 - what a fork calls in the child
    assert one.index.held_bytes == 0
    assert one.search() == ["text 1"]


def test_who_looks_for_the_spec_while_the_first_vector_is_written_finds_no_damage(
    path: Path,
) -> None:
    """V1: the spec comes before any user."""
    reader, writer = Handle(path), Handle(path)
    assert reader.index.count("u") == 0
    (connection,) = reader.index._db._idle  # noqa: SLF001 - to come in between
    statements: list[str] = []

    def come_in_between(statement: str) -> None:
        statements.append(statement)
        if len(statements) == 2:
            writer.index.upsert("u", [record(1)])

    connection.set_trace_callback(come_in_between)
    assert reader.index.count("u") == 1
    reader.index.close()
    writer.index.close()


def test_threads_find_what_was_acknowledged_before(path: Path) -> None:
    handle = Handle(path)
    failures: list[str] = []
    written = 0

    def write() -> None:
        nonlocal written
        for number in range(60):
            handle.index.upsert("u", [record(number), record(number + 1000)])
            if number % 3 == 0:
                handle.index.delete("u", [record(number + 1000).id])
            written = number + 1

    def read() -> None:
        while written < 60 and not failures:
            before = written
            found = {hit.text for hit in handle.index.search("u", QUERY, 1000)}
            missing = {f"text {number}" for number in range(before)} - found
            if missing:
                failures.append(f"{missing} after {before}")

    threads = [threading.Thread(target=job) for job in (write, read, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(handle.search()) == 100
    handle.index.close()


def test_loading_ends_with_the_time_of_the_call(path: Path) -> None:
    spec = IndexSpec(64)
    handle = Handle(path, spec)
    handle.index.bulk_load(("u", record(n, spec)) for n in range(3000))
    query = [1.0] * 64
    with pytest.raises(DeadlineExceededError), deadline(0.001):
        handle.index.search("u", query)
    assert handle.index.held_bytes == 0
    assert len(handle.index.search("u", query, 1000)) == 1000


# -- the spec -------------------------------------------------------------------------------------


def test_of_two_specs_at_first_use_one_is_stored(path: Path) -> None:
    starting = threading.Barrier(8)
    outcomes: list[str] = []

    def use(metric: str) -> None:
        with SqliteVectorIndex(path, IndexSpec(3, metric)) as index:
            starting.wait()
            try:
                index.upsert("u", [VectorRecord(record(1).id, [1.0, 0.0, 0.0], "s", "user")])
                outcomes.append(metric)
            except ConfigurationError:
                outcomes.append("refused")

    metrics = ["cosine", "dot", "euclidean", "dot"] * 2
    threads = [threading.Thread(target=use, args=[metric]) for metric in metrics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = set(outcomes) - {"refused"}
    assert sorted(outcomes) == sorted(each if each == winner else "refused" for each in metrics)


def test_a_spec_that_is_missing_is_not_made_anew_for_vectors_that_are_there(
    path: Path, one: Handle
) -> None:
    """C5: by another metric or model they would give other answers."""
    one.index.upsert("u", [record(1)])
    run(path, "DELETE FROM meta WHERE name = 'vector_spec'")
    with closing(Handle(path).index) as index, pytest.raises(CorruptError, match="spec"):
        index.count("u")


def test_a_spec_that_is_nothing_is_damaged_even_without_vectors(path: Path, one: Handle) -> None:
    one.index.setup()
    run(path, "UPDATE meta SET value = NULL WHERE name = 'vector_spec'")
    with closing(Handle(path).index) as index, pytest.raises(CorruptError, match="spec"):
        index.upsert("u", [record(1)])


@pytest.mark.parametrize("stored", ["", "[]", '{"dimension": 0}', '{"size": 8}', "8", None])
def test_a_spec_that_can_not_be_read_is_corrupt(path: Path, one: Handle, stored: Any) -> None:
    one.index.upsert("u", [record(1)])
    run(path, "UPDATE meta SET value = ? WHERE name = 'vector_spec'", stored)
    with closing(Handle(path).index) as index, pytest.raises(CorruptError, match="spec"):
        index.count("u")


def test_an_index_is_opened_by_its_url(tmp_path: Path) -> None:
    url = StoreURL.parse(f"sqlite:///{tmp_path}/v.db?synchronous=normal&cache_mb=0")
    with SqliteVectorIndex.from_url(url, SPEC, timeout_seconds=3) as index:
        index.upsert("u", [record(1)])
        assert not index.capabilities.durable
        assert len(index.search("u", QUERY)) == 1
        assert index.held_bytes == 0
    assert (tmp_path / "v.db").exists()
    with pytest.raises(ConfigurationError, match="did you mean cache_mb"):
        SqliteVectorIndex.from_url(StoreURL.parse("sqlite:///v.db?cache_mib=1"), SPEC)


# -- damage ---------------------------------------------------------------------------------------


def as_blob(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


DAMAGES: dict[str, tuple[str, Any]] = {
    "a vector cut short": ("vector", as_blob(1, 2, 3, 4, 5, 6, 7)),
    "a vector too long": ("vector", as_blob(1, 2, 3, 4, 5, 6, 7, 8, 9)),
    "a vector of another length in bytes": ("vector", as_blob(1, 2, 3, 4, 5, 6, 7) + b"123"),
    "an empty vector": ("vector", b""),
    "a vector with NaN": ("vector", as_blob(1, 2, 3, np.nan, 5, 6, 7, 8)),
    "a vector with infinity": ("vector", as_blob(1, 2, 3, np.inf, 5, 6, 7, 8)),
    "a vector of zeros": ("vector", as_blob(0, 0, 0, 0, 0, 0, 0, 0)),
    "a text for a vector": ("vector", "x" * 32),
    "a number for a vector": ("vector", 8),
    "an id cut short": ("id", record(2).id[:30]),
    "an id of no role": ("id", record(2).id[:19] + "bf" + record(2).id[21:]),
    "an id that is none": ("id", "é" * 36),
    "a blob for an id": ("id", record(2).id.encode()),
    "a blob for a session": ("session_id", b"s"),
    "a text for an expiry": ("expires", "soon"),
    "an expiry out of bounds": ("expires", 1e300),
    "an expiry between two seconds": ("expires", 2.0**40 + 0.5),
    "a blob for a text": ("text", b"text 2"),
    "a session that the id contradicts": ("session_id", "other"),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("cache_mb", [0, 1])
def test_damage_is_never_a_shorter_answer(path: Path, name: str, cache_mb: float) -> None:
    column, value = DAMAGES[name]
    handle = Handle(path, cache_mb=cache_mb)
    handle.index.upsert("u", [record(1), record(2), record(3)])
    handle.index.upsert("v", [record(1)])
    damage = f"UPDATE vectors SET {column} = ? WHERE number = ?"  # noqa: S608 - names of the test
    run(path, damage, value, (1 << NUMBER_BITS) + 2)

    for _ in range(2):
        with pytest.raises(CorruptError):
            handle.search()
    assert handle.index.held_bytes == 0
    if column != "id":
        with pytest.raises(CorruptError, match=record(2).id):
            handle.index.get("u", [record(2).id])
    assert len(handle.search("v")) == 1

    if column == "id":  # not to be found by its id, but by its user
        assert handle.index.erase("u").vectors == 3
        assert handle.search() == []
    else:
        assert handle.index.delete("u", [record(2).id]) == 1
        assert len(handle.search()) == 2
    handle.index.close()


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_a_vector_that_is_missing_is_noticed_and_can_be_put_back(
    path: Path, cache_mb: float
) -> None:
    """C5: the row of a user counts its vectors."""
    handle = Handle(path, cache_mb=cache_mb)
    handle.index.upsert("u", [record(1), record(2), record(3)])
    run(path, "DELETE FROM vectors WHERE number = ?", (1 << NUMBER_BITS) + 2)
    for _ in range(2):
        with pytest.raises(CorruptError, match="one of the 3 vectors of user 1 is missing"):
            handle.search()
    assert "user 1 in vector_users" in handle.index.check()[0]
    assert handle.index.erase("u").vectors == 2
    assert handle.search() == []
    assert handle.index.check() == []
    handle.index.close()


def test_a_vector_that_goes_missing_from_what_is_held_is_noticed(path: Path, one: Handle) -> None:
    one.index.upsert("u", [record(1), record(2)])
    one.search()
    one.index.upsert("u", [record(3)])
    run(path, "DELETE FROM vectors WHERE number = ?", (1 << NUMBER_BITS) + 3)
    with pytest.raises(CorruptError, match="missing"):
        one.search()


def test_a_user_whose_vectors_are_all_missing_can_be_erased(path: Path, one: Handle) -> None:
    one.index.upsert("u", [record(1)])
    run(path, "DELETE FROM vectors")
    assert one.index.delete("u", [record(1).id]) == 0
    assert one.index.count("u") == 1
    report = one.index.erase("u")
    assert (report.vectors, report.remaining) == (0, 0)
    assert one.index.check() == []


def test_vectors_out_of_order_are_noticed(one: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that stands in the place of another may hold sound rows."""
    one.index.upsert("u", [record(1), record(2)])
    backwards = sql.READ.replace("ORDER BY number", "ORDER BY number DESC")
    monkeypatch.setattr(sql, "READ", backwards)
    with pytest.raises(CorruptError, match="out of order"):
        one.search()


def test_deleting_what_an_index_leads_to_in_vain_is_noticed(
    one: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.index.upsert("u", [record(1)])
    monkeypatch.setattr(sql, "DELETE", sql.DELETE.replace("number IN", "number NOT IN"))
    with pytest.raises(CorruptError, match="an index of vectors is damaged"):
        one.index.delete("u", [record(1).id])
    assert one.index.count("u") == 1


def test_an_index_that_leads_to_another_vector_is_noticed(
    one: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.index.upsert("u", [record(1), record(2)])
    monkeypatch.setattr(sql, "GET", sql.GET.replace("id IN", "id NOT IN"))
    with pytest.raises(CorruptError, match="by id is damaged"):
        one.index.get("u", [record(1).id])
    monkeypatch.setattr(sql, "IDS", sql.IDS.replace("ORDER BY id", "ORDER BY id DESC"))
    with pytest.raises(CorruptError, match="by id is damaged"):
        one.index.ids("u")


def test_damage_in_what_is_new_is_noticed_too(path: Path, one: Handle) -> None:
    one.index.upsert("u", [record(1), record(2)])
    one.search()
    one.index.upsert("u", [record(3)])
    run(path, "UPDATE vectors SET vector = x'00' WHERE number = ?", (1 << NUMBER_BITS) + 3)
    for _ in range(2):
        with pytest.raises(CorruptError):
            one.search()


def test_an_expiry_after_all_times_raises_when_its_vector_is_read(path: Path, one: Handle) -> None:
    one.index.upsert("u", [record(1)])
    run(path, "UPDATE vectors SET expires = ?", 2**62)
    with pytest.raises(CorruptError, match=record(1).id):
        one.index.get("u", [record(1).id])


@pytest.mark.parametrize("damaged", ["zz", b"zz"])
def test_a_damaged_id_raises_in_the_listing_of_ids(path: Path, one: Handle, damaged: Any) -> None:
    one.index.upsert("u", [record(1), record(2)])
    run(path, "UPDATE vectors SET id = ? WHERE number = ?", damaged, (1 << NUMBER_BITS) + 2)
    with pytest.raises(CorruptError, match="the stored vector with a damaged id is damaged"):
        one.index.ids("u")


def test_a_damaged_user_id_raises_in_the_listing_of_users(path: Path, one: Handle) -> None:
    one.index.upsert("u", [record(1)])
    run(path, "UPDATE vector_users SET user_id = x'00'")
    with pytest.raises(CorruptError, match="user 1 in vector_users is damaged"):
        one.index.users()


@pytest.mark.parametrize("damage", ["'soon'", "CAST(x'54ff' AS TEXT)", "x'00'", "1e300"])
def test_a_vector_with_a_damaged_expiry_may_be_deleted_and_erased(
    path: Path, one: Handle, damage: str
) -> None:
    removals: list[Callable[[], int]] = [
        lambda: one.index.delete("u", [record(1).id]),
        lambda: one.index.delete_session("u", record(1).session_id),
        lambda: one.index.erase("u").vectors,
    ]
    for remove in removals:
        one.index.upsert("u", [record(1)])
        run(path, f"UPDATE vectors SET expires = {damage}")  # noqa: S608 - values of the test
        assert remove() == 1
        assert one.index.check() == []


@pytest.mark.parametrize("column", ["written", "removals"])
def test_a_damaged_state_of_a_user_raises(path: Path, one: Handle, column: str) -> None:
    one.index.upsert("u", [record(1)])
    run(path, f"UPDATE vector_users SET {column} = 'x'")  # noqa: S608 - names of the test
    for call in (
        lambda: one.index.upsert("u", [record(2)]),
        lambda: one.index.delete("u", [record(1).id]),
        one.search,
    ):
        with pytest.raises(CorruptError, match="vector_users is damaged") as caught:
            call()
        assert str(path) in str(caught.value)
    assert [line[:7] for line in one.index.check()] == ["1 users"]


def test_check_names_a_state_of_a_user_that_a_disk_put_back_as_it_was(
    path: Path, one: Handle
) -> None:
    one.index.upsert("u", [record(1)])
    run(path, "CREATE TABLE kept AS SELECT * FROM vector_users")
    one.index.upsert("u", [record(2)])
    run(path, "REPLACE INTO vector_users SELECT * FROM kept")
    with pytest.raises(CorruptError, match="missing"):
        one.search()
    (fault,) = one.index.check()
    assert "counts 1 vectors where there are 2" in fault


@pytest.mark.parametrize(
    ("column", "value"),
    [("id", "zz"), ("session_id", b"s"), ("expires", "soon"), ("text", b"t"), ("vector", "x" * 32)],
)
def test_check_counts_damaged_rows(path: Path, one: Handle, column: str, value: Any) -> None:
    one.index.upsert("u", [record(1), record(2)])
    damage = f"UPDATE vectors SET {column} = ? WHERE number = ?"  # noqa: S608 - names of the test
    run(path, damage, value, (1 << NUMBER_BITS) + 2)
    assert [line[:9] for line in one.index.check()] == ["1 vectors"]


def test_check_counts_vectors_of_another_length(path: Path, one: Handle) -> None:
    one.index.upsert("u", [record(1), record(2)])
    assert one.index.check() == []
    run(path, "UPDATE vectors SET vector = x'00'")
    assert [line[:9] for line in one.index.check()] == ["2 vectors"]


def test_vectors_that_the_stored_spec_does_not_fit_are_damaged(path: Path, one: Handle) -> None:
    """A disk put the spec of an older index back, whose rows were right then."""
    one.index.upsert("u", [record(1), record(2)])
    one.index.close()
    run(path, "UPDATE meta SET value = ? WHERE name = 'vector_spec'", '{"dimension": 4}')
    with SqliteVectorIndex(path, IndexSpec(4)) as index:
        for call in (
            lambda: index.search("u", [1.0] * 4),
            lambda: index.get("u", [record(1).id]),
        ):
            with pytest.raises(CorruptError, match=r"another length|is damaged"):
                call()
        assert [line[:9] for line in index.check()] == ["2 vectors"]


@pytest.mark.parametrize("other", [IndexSpec(4), IndexSpec(8, model="other"), IndexSpec(8, "dot")])
def test_check_finds_no_fault_in_vectors_of_another_embedder(path: Path, other: IndexSpec) -> None:
    with SqliteVectorIndex(path, IndexSpec(8, model="one")) as index:
        index.upsert("u", [record(1), record(2)])
    with SqliteVectorIndex(path, other) as index:
        (fault,) = index.check()
    assert "made for" in fault


def test_a_user_whose_numbers_are_used_up_takes_none_of_anothers(path: Path, one: Handle) -> None:
    one.index.upsert("u", [record(1)])
    one.index.upsert("v", [record(1)])
    state = State(user=1, written=2**NUMBER_BITS - 2, removals=0, total=1)
    run(path, sql.CHANGE_STATE, *changed_state("u", state))
    one.index.upsert("u", [record(2)])
    with pytest.raises(IalStoreError):
        one.index.upsert("u", [record(3)])
    assert len(one.search("u")) == 2
    assert len(one.search("v")) == 1


# -- erase ----------------------------------------------------------------------------------------


def traces(folder: Path, wanted: dict[str, bytes]) -> set[str]:
    """Return which of some bytes stand in any file."""
    everything = b"".join(file.read_bytes() for file in sorted(folder.iterdir()))
    return {name for name, data in wanted.items() if data in everything}


def test_erase_leaves_no_byte_in_the_files(tmp_path: Path, one: Handle) -> None:
    made = [record(n, text=f"secret words {n}") for n in range(50)]
    one.index.upsert("a private user", made)
    one.index.upsert("u", [record(100, text="mine")])
    replaced = record(7, text="other words")
    one.index.upsert("a private user", [replaced])
    one.index.delete("a private user", [made[3].id])
    wanted = {
        "user": b"a private user",
        "text": b"secret words",
        "new text": b"other words",
        "id": made[9].id.encode(),
        "deleted id": made[3].id.encode(),
        "vector": made[9].vector.astype("<f4").tobytes(),
        "replaced vector": made[7].vector.astype("<f4").tobytes(),
    }
    assert {"user", "text", "new text", "id", "vector"} <= traces(tmp_path, wanted)

    report = one.index.erase("a private user")

    assert (report.vectors, report.remaining, report.out_of_reach) == (49, 0, ())
    assert traces(tmp_path, wanted) == set()
    assert one.search() == ["mine"]
    assert one.index.check() == []


def test_erase_counts_what_others_write_meanwhile(
    one: Handle, other: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.index.upsert("u", [record(1), record(2)])

    def write_and_scrub(*arguments: Any) -> tuple[str, ...]:
        other.index.upsert("u", [record(3)])
        return maintenance.scrub(*arguments)

    monkeypatch.setattr("ialstore_backends.sqlite.vectors.scrub", write_and_scrub)
    report = one.index.erase("u")
    assert (report.vectors, report.remaining) == (4, 1)


@pytest.mark.parametrize("remove", ["erase", "optimize"])
def test_a_removal_that_fails_behind_its_deletes_says_that_it_was_done_in_part(
    one: Handle, monkeypatch: pytest.MonkeyPatch, remove: str
) -> None:
    """C4: what was deleted is deleted, whatever fails then."""

    def fail(*_: object) -> tuple[str, ...]:
        raise UnavailableError("the log can't be emptied")

    for name in ("scrub", "compact"):
        monkeypatch.setattr(f"ialstore_backends.sqlite.vectors.{name}", fail)
    one.index.upsert("u", [record(1, expires_at=START + timedelta(days=1))])
    with pytest.raises(UnavailableError) as caught:
        getattr(one.index, remove)("u")
    assert caught.value.outcome is Outcome.PARTIAL
    assert one.index.count("u") == 0


def test_a_file_may_hold_conversations_and_vectors(path: Path, one: Handle) -> None:
    with SqliteConversationStore(path) as store:
        said: ConversationStore = store
        message = Message.new(user_id="u", session_id="s", role="user", content="hello")
        said.append(message)
        one.index.upsert("u", [record(1)])
        assert one.index.erase("u").vectors == 1
        assert said.get("u", [message.id]) == [message]
        one.index.upsert("u", [record(1)])
        said.erase("u")
        assert one.search() == ["text 1"]
        assert one.index.check() == []
        assert said.check() == []


def test_optimize_removes_what_is_expired_in_batches(path: Path) -> None:
    now = START
    with SqliteVectorIndex(path, SPEC, clock=lambda: now) as index:
        soon = START + timedelta(seconds=1)
        index.bulk_load(("u", record(n, expires_at=soon)) for n in range(1500))
        index.upsert("u", [record(2000)])
        index.upsert("v", [record(1, expires_at=soon)])
        now = soon
        done: list[int] = []
        report = index.optimize("u", progress=lambda count, _: done.append(count))
        assert report.removed == 1500
        assert done == [1000, 1500]
        now = START
        assert index.count("u") == 1
        assert index.count("v") == 1


def test_optimize_leaves_what_only_seems_to_be_expired(path: Path, one: Handle) -> None:
    """C5: a damaged expiry hides a vector; what check can name is still there."""
    one.index.upsert("u", [record(n, expires_at=START) for n in (1, 2)] + [record(3)])
    run(path, "UPDATE vectors SET expires = 1 WHERE number = ?", (1 << NUMBER_BITS) + 3)
    report = one.index.optimize("u")
    assert report.removed == 2
    assert report.notes == ("1 vectors that seem to be expired are damaged: run check",)
    assert "(vector of " in one.index.check()[0]
    with pytest.raises(CorruptError):
        one.search()
