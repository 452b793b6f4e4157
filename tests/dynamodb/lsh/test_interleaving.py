"""Processes that write, search, delete, erase and rebuild at once, in an order drawn from a seed.

Each process is an index of its own, in a thread that stops before every request; a scheduler lets
one of them go on at a time. Some are killed between two requests. What was acknowledged is compared
with what searches found: the planted faults below must be seen.

On further days what was deleted, or has expired, goes altogether, while ids share keys.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from botocore.session import Session

from ialstore import IalStoreError, VectorRecord
from ialstore.ids import message_id
from ialstore.testing.clock import START, ManualClock
from ialstore.testing.servers import RunningServer
from ialstore.testing.specs import spec_of
from ialstore_backends.lsh import LshDynamoIndex, LshOptions
from ialstore_backends.lsh.packed import cell_writing, entries, rebuilding, tail_items, tail_writing
from ialstore_backends.lsh.packed.entries import TOMBSTONE_BYTES

SPEC = spec_of("cosine")
USER = "u"
IDS = [message_id(USER, "s", START, "user", str(number)) for number in range(24)]
PROCESSES = 4
CALLS = 10
DAY = 86_400
SEEDS = range(4)
TAGS = 32
NEVER = 10**9
KILLS = 0.006
SEEDS_OF_A_PLANT = range(20, 50)
SHARE_THAT_GOES = 0.5
USUAL = {
    "upsert": 8,
    "delete": 3,
    "search": 4,
    "optimize": 3,
    "erase": 0.15,
    "brief": 0,
    "get": 0,
    "expire": 0,
}
"""How often each call is made."""
TWO_DAYS = (
    USUAL | {"upsert": 6, "delete": 6, "brief": 4, "get": 3},
    USUAL | {"delete": 4, "brief": 2, "get": 6, "expire": 3},
)

Rewrite = Callable[[str, dict[str, Any]], None]
pytestmark = pytest.mark.usefixtures("by_codes")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Call:
    """A call in the history; ``end`` is NEVER of one that was not acknowledged.

    Attributes:
        kind: ``upsert``, ``delete``, ``erase``, or ``brief``: to store what expires the next day.
        ids: what it is about.
        label: of the vectors that it stores.
        begin: step of the scheduler.
        end: likewise.
        day: when it was made.
    """

    kind: str
    ids: tuple[str, ...]
    label: str
    begin: int
    end: int = NEVER
    day: int = 0


class Scheduler:
    """Lets one thread at a time make one request."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.step = 0
        self.kills = 0.0
        self._guard = threading.Condition()
        self._waiting: set[str] = set()
        self._alive: set[str] = set()
        self._next: str | None = None

    def run(self, processes: dict[str, Callable[[], None]]) -> None:
        """Run processes until all have ended."""
        errors: list[BaseException] = []

        def body(name: str, process: Callable[[], None]) -> None:
            try:
                process()
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)
            with self._guard:
                self._alive.discard(name)
                self._guard.notify_all()

        self._alive = set(processes)
        threads = [threading.Thread(target=body, args=one) for one in processes.items()]
        for thread in threads:
            thread.start()
        with self._guard:
            while self._alive:
                self._guard.wait_for(
                    lambda: self._next is None and self._waiting == self._alive, timeout=60
                )
                if self._alive:
                    self._next = self.random.choice(sorted(self._alive))
                    self.step += 1
                    self._guard.notify_all()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def turn(self, name: str) -> None:
        """Wait until this process is let go on."""
        with self._guard:
            if name not in self._alive:  # after the run
                return
            self._waiting.add(name)
            self._guard.notify_all()
            self._guard.wait_for(lambda: self._next == name, timeout=60)
            self._waiting.discard(name)
            self._next = None
            if self.random.random() < self.kills:
                raise Killed


class World:
    """Several processes on one table, and what they were told."""

    def __init__(self, prefix: str, server: RunningServer, seed: int, rewrite: Rewrite) -> None:
        self._options = LshOptions(endpoint=server.endpoint, layout="packed", chunks=1)
        self._prefix = prefix
        self._rewrite = rewrite
        self._clock = ManualClock()
        self.day = 0
        self.scheduler = Scheduler(seed)
        self._client: Any = Session().create_client(
            "dynamodb", "us-east-1", endpoint_url=server.endpoint
        )
        self._seed = seed
        self.history: list[Call] = []
        self.rebuilds = self.displaced = self.expired = 0
        self.was_killed = self.was_erased = False
        with self.opened("setup") as index:
            index.setup()
            self._table = index.table

    def opened(self, name: str) -> LshDynamoIndex:
        """Return the index of a process."""
        index = LshDynamoIndex(
            self._prefix, SPEC, self._options, clock=self._clock, timeout_seconds=60
        )
        client: Any = index._table.client  # noqa: SLF001 - where requests go by
        send = client.call

        def call(op: Any, operation: str, params: dict[str, Any], **more: Any) -> Any:
            self.scheduler.turn(name)
            self._rewrite(operation, params)
            answer = send(op, operation, params, **more)
            self.displaced += "kept" in str(params.get("TransactItems"))
            return answer

        client.call = call
        client.pauses = lambda _: lambda: None
        threads: Any = index._table.side_by_side  # noqa: SLF001 - of which there are to be none
        threads._inside = SimpleNamespace(yes=True)  # noqa: SLF001 - as above
        choice = random.Random(f"{self._seed} {name}")

        def shuffled(together: Callable[..., list[Any]], calls: Sequence[Any]) -> list[Any]:
            order = choice.sample(range(len(calls)), len(calls))
            ended = together([calls[place] for place in order])
            return [ended[order.index(place)] for place in range(len(calls))]

        threads.reads = partial(shuffled, threads.reads)
        threads.outcomes = partial(shuffled, threads.outcomes)
        return index

    # -- processes ------------------------------------------------------------------------------

    def process(self, name: str, weights: Sequence[float]) -> None:
        """Make some calls; after it was killed, go on as another process."""
        index = self.opened(name)
        choice = random.Random(f"{self._seed} {name}")
        for number in range(CALLS):
            kind = choice.choices(list(USUAL), weights)[0]
            try:
                self._one(index, kind, f"{name}-{number}", choice)
            except Killed:
                self.was_killed = True
                index = self.opened(name)

    def _one(self, index: LshDynamoIndex, kind: str, label: str, choice: random.Random) -> None:
        if kind == "search":
            self.search(index)
        elif kind == "get":
            self.get(index, choice.sample(IDS, 8))
        elif kind == "expire":
            self.expire(choice)
        elif kind == "optimize":
            report = index.optimize(USER, only_due=choice.random() < 0.7)
            self.rebuilds += not report.notes
        else:
            some = tuple(choice.sample(IDS, choice.choice([1, 1, 2, 5])))
            self._write(index, kind, label, some)

    def _write(self, index: LshDynamoIndex, kind: str, label: str, some: tuple[str, ...]) -> None:
        about = tuple(IDS) if kind == "erase" else some
        call = Call(kind, about, label, self.scheduler.step, day=self.day)
        self.history.append(call)
        if kind in {"upsert", "brief"}:
            expires = self._clock.now + timedelta(seconds=DAY) if kind == "brief" else None
            index.upsert(USER, [vector_record(one, label, expires) for one in some])
        elif kind == "delete":
            index.delete(USER, some)
        else:
            self.was_erased = True
            if index.erase(USER).remaining:
                return
        call.end = self.scheduler.step

    def search(self, index: LshDynamoIndex) -> int:
        """Search for everything there is, and compare; return how many codes were looked at."""
        begin = self.scheduler.step
        try:
            found = index.search(USER, np.ones(SPEC.dimension), 100, effort=0.5)
        except IalStoreError:
            return -1  # it may give up, but not answer with less
        self.compare({hit.id: hit.text for hit in found}, begin, self.scheduler.step)
        assert len({hit.id for hit in found}) == len(found), "a vector was found twice"
        return found.examined

    def get(self, index: LshDynamoIndex, some: Sequence[str]) -> None:
        """Get some vectors, and compare."""
        begin = self.scheduler.step
        found = {one.id: one.text for one in index.get(USER, some)}
        self.compare(found, begin, self.scheduler.step, some)

    def next_day(self) -> None:
        """Let a day pass, and what is to expire be expired."""
        self.day += 1
        self._clock.advance(DAY)
        self.expire(self.scheduler.random)

    def expire(self, choice: random.Random) -> None:
        """Remove some expired rows, as DynamoDB does at a time that nobody knows."""
        for row in self.rows():
            is_due = "expires_at" in row and int(row["expires_at"]["N"]) <= self._now
            if is_due and choice.random() < SHARE_THAT_GOES:
                key = {name: row[name] for name in ("user_chunk", "embedding_id")}
                self._client.delete_item(TableName=self._table, Key=key)
                self.expired += 1

    @property
    def _now(self) -> int:
        return int(self._clock.now.timestamp())

    def rows(self) -> list[dict[str, Any]]:
        """Return all that the table holds of the user."""
        found = self._client.scan(TableName=self._table, ConsistentRead=True)["Items"]
        return [row for row in found if row["user_chunk"]["S"].startswith(f"{USER}#")]

    # -- what must hold -------------------------------------------------------------------------

    def compare(
        self, found: dict[str, str | None], begin: int, end: int, some: Sequence[str] = IDS
    ) -> None:
        """Compare what of some ids was found between two steps with the history."""
        for one in some:
            about = [call for call in self.history if one in call.ids and call.begin <= end]
            if one in found:
                (stored,) = [call for call in about if call.label == found[one]]
                later = [call for call in about if call.begin > stored.end and call.end < begin]
                assert not later, f"{found[one]} was found after {later[0].kind} {later[0].label}"
                assert stored.kind == "upsert" or stored.day == self.day, "it is expired"
            elif self._is_there(about, begin):
                raise AssertionError(f"{one} was acknowledged, and not found at {begin}")

    @staticmethod
    def _is_there(about: list[Call], begin: int) -> bool:
        """Return whether a vector must be there, in whatever order calls at once took effect."""
        removals = [call for call in about if call.kind != "upsert"]
        return any(
            call.kind == "upsert"
            and call.end < begin
            and all(removal.end < call.begin for removal in removals)
            for call in about
        )

    def end(self) -> None:
        """Compare once more, when nobody writes; rows and codes agree, at last after optimize."""
        self.scheduler.kills = 0
        with self.opened("end") as index:
            examined = self.search(index)
            count = index.count(USER)
            if not (self.was_killed or self.was_erased or self.day):
                assert examined == count, "codes stayed of vectors that were removed"
            for first in range(0, len(IDS), 4):
                self._write(index, "upsert", f"end-{first}", tuple(IDS[first : first + 4]))
                index.optimize(USER, only_due=True)
                self.search(index)
            count = index.count(USER)
            index.optimize(USER)
            index.optimize(USER)
            assert self.search(index) == count, "optimize left codes that no row has"
            assert index.count(USER) == count == len(IDS)
            assert list(index.ids(USER).items) == sorted(IDS)
            self.get(index, IDS)
            assert index.delete(USER, IDS) == len(IDS)
            assert index.erase(USER).remaining == 0
            assert not self.rows(), "erase left something"


def vector_record(one: str, label: str, expires: datetime | None = None) -> VectorRecord:
    """Return a record whose text says which call stored it."""
    number = int.from_bytes(f"{one}{label}".encode(), "big") % 2**32
    vector = np.random.default_rng(number).standard_normal(SPEC.dimension)
    return VectorRecord(one, vector, "s", "user", label, expires)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let segments take few entries, and rebuilds be due soon, in several cells."""
    monkeypatch.setattr(tail_items, "_UNIT_BYTES", 160)
    monkeypatch.setattr(tail_writing, "FIRST", 6)
    monkeypatch.setattr(rebuilding, "FIRST", 6)
    monkeypatch.setattr(rebuilding, "MIN_TAIL", 4)
    monkeypatch.setattr(rebuilding, "GROWTH", 2.5)
    monkeypatch.setattr(rebuilding, "FLAT_CELLS", 2)
    monkeypatch.setattr(rebuilding, "_UNIT_BYTES", 160)


def play(  # noqa: PLR0917 - what differs between tests
    prefix: str,
    server: RunningServer,
    seed: int,
    rewrite: Rewrite,
    kills: float = KILLS,
    days: Sequence[dict[str, float]] = (USUAL,),
) -> World:
    """Play one seed; return its world."""
    world = World(prefix, server, seed, rewrite)
    world.scheduler.kills = kills
    for day, weights in enumerate(days):
        if day:
            world.next_day()
        names = [f"p{PROCESSES * day + number}" for number in range(PROCESSES)]
        chances = list(weights.values())
        world.scheduler.run({name: partial(world.process, name, chances) for name in names})
    world.end()
    return world


def as_it_is(_: str, __: dict[str, Any]) -> None:
    """Change no request."""


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_acknowledged_is_found_and_what_is_removed_is_not(
    dynoxide: RunningServer, prefix: str, seed: int
) -> None:
    """S13, V2, V7: whoever writes, deletes, erases, rebuilds and dies meanwhile."""
    world = play(prefix, dynoxide, seed, as_it_is)
    assert world.rebuilds, "nothing was rebuilt: the test shows nothing"


@pytest.fixture
def few_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ids share keys."""
    plain = entries.tag_of
    monkeypatch.setattr(entries, "tag_of", lambda one, salt=0: plain(one, salt) % TAGS)


@pytest.mark.usefixtures("few_tags")
@pytest.mark.parametrize("seed", SEEDS)
def test_ids_that_share_keys_have_one_row_each_whatever_goes_altogether(
    dynoxide: RunningServer, prefix: str, seed: int
) -> None:
    """S13, V2, V7: rows are displaced, and expire, meanwhile."""
    world = play(prefix, dynoxide, seed, as_it_is, days=TWO_DAYS)
    assert world.displaced, "nothing was displaced: the test shows nothing"
    assert world.expired, "nothing was gone: the test shows nothing"


# -- planted faults -------------------------------------------------------------------------------


def without(what: str, value: str, *, only: str) -> Rewrite:
    """Return what takes a part out of the conditions in which ``only`` stands."""

    def rewrite(operation: str, params: dict[str, Any]) -> None:
        parts = [params] if operation == "UpdateItem" else []
        parts += [one["Update"] for one in params.get("TransactItems", ()) if "Update" in one]
        for part in parts:
            condition = part.get("ConditionExpression", "")
            if what in condition and only in condition:
                part["ConditionExpression"] = condition.replace(what, "")
                del part["ExpressionAttributeValues"][value]

    return rewrite


def no_tombstones(operation: str, params: dict[str, Any]) -> None:
    """Turn tombstones into those of other tags."""
    values = params.get("ExpressionAttributeValues", {}) if operation == "UpdateItem" else {}
    if ":e" in values:
        values[":e"]["BS"] = [
            bytes([one[0] ^ 1]) + one[1:] if len(one) == TOMBSTONE_BYTES else one
            for one in values[":e"]["BS"]
        ]


def nothing_is_kept(_: str, params: dict[str, Any]) -> None:
    """Let a transaction that displaces a row change nothing else."""
    for part in params.get("TransactItems", ()):
        if "kept" in part.get("Update", {}).get("UpdateExpression", ""):
            part["Update"]["UpdateExpression"] = "ADD unheard :one"


SLOW_PLANT = "tombstones are forgotten"
PLANTS: dict[str, tuple[Rewrite, float]] = {
    "a segment is closed whatever was added meanwhile": (
        without(" AND w = :w", ":w", only="n = :n"),
        2.5,
    ),
    "a switch forgets what came late": (without(" AND w = :w", ":w", only="f = :f"), 0.0),
    SLOW_PLANT: (no_tombstones, 2.5),
}
"""What is changed, and by how much vectors must grow until everything is encoded again."""


def is_seen(
    prefix: str,
    server: RunningServer,
    rewrite: Rewrite,
    days: Sequence[dict[str, float]] = (USUAL,),
) -> bool:
    """Return whether a fault is seen under some seed."""
    for seed in SEEDS_OF_A_PLANT:
        try:
            play(f"{prefix}{seed}-", server, seed, rewrite, kills=0, days=days)
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize(
    "plant",
    [pytest.param(one, marks=pytest.mark.no_cover if one == SLOW_PLANT else ()) for one in PLANTS],
)
def test_a_planted_fault_is_seen(
    dynoxide: RunningServer, prefix: str, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    rewrite, growth = PLANTS[plant]
    monkeypatch.setattr(rebuilding, "GROWTH", growth)
    assert is_seen(prefix, dynoxide, rewrite), f"nobody saw that {plant}"


@pytest.mark.no_cover
def test_merging_the_open_segment_is_seen(
    dynoxide: RunningServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is added to it afterwards would be lost."""
    monkeypatch.setattr(rebuilding, "_MANY", 2)  # nothing is of a new kind: there are merges
    merge = rebuilding.merge

    def one_more(*args: Any, segment: int, **given: Any) -> Any:
        return merge(*args, segment=segment + 1, **given)

    monkeypatch.setattr(cell_writing, "merge", one_more)
    assert is_seen(prefix, dynoxide, as_it_is)


@pytest.mark.usefixtures("few_tags")
def test_that_rows_are_not_kept_for_what_they_displace_is_seen(
    dynoxide: RunningServer, prefix: str
) -> None:
    """Lookups would end where a row was, and another be made."""
    assert is_seen(prefix, dynoxide, nothing_is_kept, TWO_DAYS)
