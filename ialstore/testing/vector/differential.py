"""Several indexes side by side: the same calls to each, and the same answers from all."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count, cycle
from operator import methodcaller
from statistics import fmean
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ialstore.errors import IalStoreError, UnsupportedOperationError
from ialstore.testing.clock import ManualClock
from ialstore.testing.profiles import profile
from ialstore.testing.vector.base import (
    UNKNOWN,
    USER,
    MakeIndex,
    OpenIndex,
    Settle,
    X,
    close_all,
    opener,
    spec_of,
    wide,
)
from ialstore.testing.vector.crowd import WHERES, crowd, queries
from ialstore.testing.vector.oracle import (
    Oracle,
    all_ids,
    all_records,
    all_users,
    assert_honest,
)
from ialstore.testing.vector.strategies import (
    BEGIN,
    PROBES,
    SESSIONS,
    USERS,
    Burst,
    Name,
    bursts,
    filters,
    names,
    records,
    users,
    vectors,
)
from ialstore.vector import VectorIndex
from ialstore.vector_model import METRICS, VectorRecord, Where

__all__ = ["VectorDifferentialSuite"]

T = TypeVar("T")

LIMITS: Final = (1, 3, 25, 1000)
STEPS: Final = [timedelta(seconds=1), timedelta(seconds=2), timedelta(microseconds=10)]

BAD_RECORD: Final = VectorRecord("x", X, "s1", "user")
BAD_CALLS: Final[dict[str, Callable[[VectorIndex], object]]] = {
    "no user": lambda index: index.count(""),
    "a user with NUL": lambda index: index.ids("\0"),
    "a vector too short": lambda index: index.search(USER, X[:-1]),
    "a vector of NaN": lambda index: index.search(USER, wide(math.nan)),
    "a k of none": lambda index: index.search(USER, X, 0),
    "a k beyond all": lambda index: index.search(USER, X, 10**9),
    "an effort of none": lambda index: index.search(USER, X, effort=0),
    "no roles": lambda index: index.search(USER, X, where=Where(roles=[])),
    "a limit of none": lambda index: index.ids(USER, limit=0),
    "a damaged cursor": lambda index: index.ids(USER, cursor="x"),
    "too many ids": lambda index: index.get(USER, [UNKNOWN] * 101),
    "no id": lambda index: index.delete(USER, ["x"]),
    "too many records": lambda index: index.upsert(USER, [BAD_RECORD] * 1001),
    "a bad record": lambda index: index.upsert(USER, [BAD_RECORD]),
    "a bad record to load": lambda index: index.bulk_load([(USER, BAD_RECORD)]),
    "no session": lambda index: index.delete_session(USER, ""),
}


@contextmanager
def told_by(name: str, other: str) -> Generator[None]:
    """Name the index that broke a promise."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{name}, beside {other}: {error}") from error


@dataclass
class SideBySide:
    """Indexes by name; the first exact one is what the others are compared with.

    Attributes:
        indexes: by name.
        settles: what waits for late reads, by name.
    """

    indexes: Mapping[str, VectorIndex]
    settles: Mapping[str, Settle]

    @property
    def first(self) -> str:
        """Return the name of the index that the others are compared with."""
        for name, index in self.indexes.items():
            if index.capabilities.exact:
                return name
        pytest.fail("capabilities.exact: one of the indexes must be exact")

    @property
    def offer_users(self) -> bool:
        """Whether all list their users."""
        return all(index.capabilities.users for index in self.indexes.values())

    def same(self, promise: str, call: Callable[[VectorIndex], T]) -> T:
        """Return the answer that all give, once reads see it."""
        answers = {name: call(index) for name, index in self.indexes.items()}
        self.settle()
        wanted = answers[self.first]
        for name, found in answers.items():
            assert found == wanted, f"{promise}: {self.first} says {wanted}, {name} {found}"
        return wanted

    def settle(self) -> None:
        """Wait until every read sees every write."""
        for name, index in self.indexes.items():
            if not index.capabilities.strong_reads:
                self.settles[name](index)

    def truth(self, user: str) -> Oracle:
        """Return what the first one holds of a user, once all hold the same."""
        ids = self.same(f"V7: ids of {user!r}", lambda index: all_ids(index, user))
        found = {
            name: Oracle.knowing(index, user, all_records(index, ids, user))
            for name, index in self.indexes.items()
        }
        wanted = found[self.first]
        error = wanted.index.capabilities.vector_error
        for name, oracle in found.items():
            with told_by(name, self.first):
                oracle.assert_holds(wanted.records, error)
        return wanted

    def search(self, truth: Oracle, query: Any, k: int, where: Where) -> dict[str, float]:
        """Hold every answer against what the first one holds, and return the recall of each."""
        recalls: dict[str, float] = {}
        for name, index in self.indexes.items():
            result = index.search(truth.user, query, k, where=where)
            with told_by(name, self.first):
                recalls[name] = truth.judge(result, query, k, where, answered_by=index)
        return recalls


def places_of(
    metric: str, make_indexes: Mapping[str, MakeIndex], settles: Mapping[str, Settle]
) -> Places:
    """Return where the indexes are; skip where one does not offer the metric."""
    openers: dict[str, OpenIndex] = {}
    opened: list[VectorIndex] = []
    for name, make in make_indexes.items():
        try:
            with make(spec_of(metric)) as index:
                writable = index.capabilities.writable
        except UnsupportedOperationError:
            pytest.skip(f"capabilities.metrics: {name} does not offer {metric}")
        if not writable:
            pytest.skip(f"capabilities.writable of {name} is false: this suite writes")
        openers[name] = opener(make, settles.get(name), spec_of(metric), ManualClock(), opened)
    return Places(openers, settles, opened)


@dataclass
class Places:
    """Where all examples of a machine happen."""

    openers: Mapping[str, OpenIndex]
    settles: Mapping[str, Settle]
    opened: list[VectorIndex]
    """What an example closes at its end."""
    examples: Iterator[int] = field(default_factory=lambda: count(1))
    """Numbers them."""

    def open(self, clock: ManualClock, *, settled: bool) -> SideBySide:
        """Return a handle of each index."""
        indexes = {
            name: open_index(clock=clock, settled=settled)
            for name, open_index in self.openers.items()
        }
        return SideBySide(indexes, self.settles)


class DifferentialMachine(RuleBasedStateMachine):
    """Compares the answers of indexes after every step; subclass it to say of which."""

    places: Places

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(BEGIN)
        self.prefix = f"{next(self.places.examples)}/"
        self.touched: set[str] = set()
        self.probes = cycle(PROBES)
        self.all = self.places.open(self.clock, settled=False)

    # -- writes ---------------------------------------------------------------------------------

    @rule(user=users, batch=st.lists(records(), min_size=1, max_size=4))
    def upsert(self, user: str, batch: list[VectorRecord]) -> None:
        self.write("V2: upsert", user, lambda index, user: index.upsert(user, batch))

    @rule(user=users, burst=bursts)
    def upsert_many(self, user: str, burst: Burst) -> None:
        records = burst.records()
        self.write("V2: upsert", user, lambda index, user: index.upsert(user, records))

    @rule(user=users, burst=bursts)
    def bulk_load(self, user: str, burst: Burst) -> None:
        records = burst.records()
        self.write(
            "S12: bulk_load",
            user,
            lambda index, user: index.bulk_load((user, one) for one in records),
        )

    @rule(user=users, unwanted=st.lists(names, min_size=1, max_size=9))
    def delete(self, user: str, unwanted: list[Name]) -> None:
        ids = [one.id for one in unwanted]
        self.write("S10: delete", user, lambda index, user: index.delete(user, ids))

    @rule(user=users, session=st.sampled_from(SESSIONS))
    def delete_session(self, user: str, session: str) -> None:
        self.write(
            "S10: delete_session", user, lambda index, user: index.delete_session(user, session)
        )

    @rule(user=users)
    def erase(self, user: str) -> None:
        def erase(index: VectorIndex, user: str) -> tuple[int, int]:
            report = index.erase(user)
            return report.vectors, report.remaining

        self.write("S11: erase", user, erase)

    @rule(user=users)
    def optimize(self, user: str) -> None:
        """Each reports what it has to; what is compared are the answers after it."""
        for index in self.all.indexes.values():
            index.optimize(self.prefix + user)
        self.all.settle()
        self.touched.add(self.prefix + user)

    def write(self, promise: str, user: str, call: Callable[[VectorIndex, str], object]) -> None:
        user = self.prefix + user
        self.touched.add(user)
        self.all.same(f"{promise} of {user!r}", lambda index: call(index, user))

    @rule(step=st.sampled_from(STEPS))
    def change_the_time(self, step: timedelta) -> None:
        """Forward only: who removed what is expired, and who did not, may differ."""
        self.clock.now += step
        self.touched.update(self.prefix + user for user in USERS)

    # -- reads ----------------------------------------------------------------------------------

    @rule(user=users, query=vectors, k=st.sampled_from([1, 2, 5, 30, 100]), where=filters())
    def search(self, user: str, query: Any, k: int, where: Where) -> None:
        self.all.search(self.all.truth(self.prefix + user), query, k, where)

    @rule(user=users, limit=st.sampled_from(LIMITS))
    def ids(self, user: str, limit: int) -> None:
        user = self.prefix + user
        self.all.same(f"V7: ids of {user!r}", lambda index: all_ids(index, user, limit))

    @precondition(lambda self: self.all.offer_users)
    @rule()
    def users(self) -> None:
        def own(index: VectorIndex) -> set[str]:
            return {one for one in all_users(index) if one.startswith(self.prefix)}

        self.all.same("S14: users", own)

    @invariant()
    def all_hold_the_same(self) -> None:
        """Of the users whom the last call touched."""
        for user in sorted(self.touched):
            self.all.same(f"V7: count of {user!r}", methodcaller("count", user))
            self.all.search(self.all.truth(user), [1.0] * len(X), *next(self.probes))
        self.touched = set()

    def teardown(self) -> None:
        close_all(self.places.opened)


class VectorDifferentialSuite:
    """Inherit from it and define the fixture ``make_indexes``."""

    MACHINE_SHARE: ClassVar[float] = 1 / 3
    """Of the profile's runs: each step asks several indexes."""

    @pytest.fixture
    def make_indexes(self) -> Mapping[str, MakeIndex]:
        """Return functions that open the indexes, by name; define it in your subclass.

        Each is like the ``make_index`` of a ``VectorIndexSuite``. One index at least is exact.
        """
        raise NotImplementedError(
            "define a fixture make_indexes that returns a dict: "
            "{'mine': lambda spec, **settings: MyIndex(...), 'memory': MemoryVectorIndex}"
        )

    @pytest.fixture
    def settles(self) -> Mapping[str, Settle]:
        """Return the ``settle`` of each index without strong reads, by name."""
        return {}

    @pytest.fixture(params=METRICS)
    def places(
        self,
        request: pytest.FixtureRequest,
        make_indexes: Mapping[str, MakeIndex],
        settles: Mapping[str, Settle],
    ) -> Iterator[Places]:
        """Return where the indexes are, for each metric that all offer."""
        places = places_of(request.param, make_indexes, settles)
        yield places
        close_all(places.opened)

    def test_all_answer_alike(self, places: Places) -> None:
        """V2, V3, V4, V5, V7, S10, S11, S12, S14, C2, C6: in any order of calls."""

        class Machine(DifferentialMachine):
            pass

        Machine.places = places
        run_state_machine_as_test(Machine, settings=profile().machine(self.MACHINE_SHARE))

    def test_all_find_the_same_in_a_crowd(self, places: Places) -> None:
        """V3, V4, V5, V6: exact ones up to ties, others with the recall that they stand for."""
        given = crowd(400, 16)
        all_ = places.open(ManualClock(), settled=True)
        for index in all_.indexes.values():
            index.bulk_load((USER, one) for one in given)
        recalls = {name: list[float]() for name in all_.indexes}
        truth = all_.truth(USER)
        for where in WHERES.values():
            for query in queries(given, 4):
                for name, recall in all_.search(truth, query, 10, where).items():
                    recalls[name].append(recall)
        for name, index in all_.indexes.items():
            assert_honest(index, fmean(recalls[name]), f"of {name}")

    def test_all_refuse_the_same(self, places: Places) -> None:
        """E2: invalid input is refused with the same error on every backend."""
        all_ = places.open(ManualClock(), settled=True)

        def refusal(call: Callable[[VectorIndex], object], index: VectorIndex) -> str:
            try:
                call(index)
            except IalStoreError as error:
                return type(error).__name__
            return "nothing"

        for name, call in BAD_CALLS.items():
            refused = all_.same(f"E2: {name}", partial(refusal, call))
            assert refused != "nothing", f"E2: {name} is refused"
