"""What became faster and cheaper since the system that this library replaces.

Both on the same data and emulators. Before, as ``_original.py`` builds it: a table of conversations
that is read whole and filtered by the client, and embeddings as JSON lists of numbers that are
scanned and compared in Python. After: ``dynamodb:`` for conversations, and for vectors
``lsh+dynamodb:`` and ``faiss:``.

For each number of messages and vectors of one user, and each delay before every request:

1. context retrieval: the last 20 messages of the newest of the user's sessions;
2. embedding search: the 10 nearest, texts included, each time of another query;
3. units of both, and of writing a message with its vector;
4. memory of a session: how far the process grows at most, in a process of its own that opens the
   stores, has used them for another user, then retrieves a context and searches;
5. storage, as it is billed: items, entries of indexes, and 100 bytes for each;
6. what a month costs: 100 users of this size, and 100,000 turns, each of which retrieves a context,
   searches, and writes two messages with their vectors.

What is in whose favour:

- A scan reads the vectors of every user. Here the table has those of one: for the original.
- The original reads eventually consistent, as PynamoDB does by default; ``dynamodb:`` reads
  strongly, which costs twice as many units: for the original. ``lsh+dynamodb:`` searches
  eventually.
- The original is exact, ``lsh+dynamodb:`` is not; the recall stands beside it.
- ``faiss:`` is on the disk of one machine, and makes no requests; its storage is that of its
  folder, and is not in the price.
- The delay is slept before each request leaves, by the same hook of botocore; requests that are
  sent side by side wait side by side.

    python benchmarks/v1_vs_v2.py [--server dynamodb-local] [--layouts gsi] [--json]

With IALSTORE_DATA=FOLDER vectors are embeddings of real dialogue turns (all-MiniLM-L6-v2, 384
numbers), else random ones around 200 centres.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Self

import botocore.handlers
import botocore.session
import numpy as np
from _original import Original
from _report import Bars, Cell, Report, arguments, in_turn
from numpy.typing import NDArray

from ialstore import (
    Consistency,
    ConversationStore,
    IndexSpec,
    Message,
    VectorIndex,
    VectorRecord,
    meter,
    open_index,
    open_store,
)
from ialstore.prices import Prices, load_prices
from ialstore.testing.servers import start
from ialstore_backends.dynamodb.sizes import item_bytes

SIZES: Final = ((100, 100), (1_000, 1_000), (10_000, 1_000), (10_000, 5_000))
"""Messages and vectors of a user."""
GOAL_SIZE: Final = (10_000, 1_000)
GOAL_MS: Final = 5
DELAYS_MS: Final = (0, GOAL_MS)
LAST: Final = 20
K: Final = 10
QUERIES: Final = 50
SESSION: Final = 50
"""Messages of a session; two sessions a day."""
PERIOD: Final = timedelta(minutes=14)
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
DIMENSION: Final = 384
CENTRES: Final = 200
SPEC: Final = IndexSpec(DIMENSION, "cosine", "benchmark")
TEXT: Final = "The train to Graz leaves at ten past seven; we should book two seats by the window. "
USERS: Final = 100
TURNS: Final = 100_000
ENTRY_BYTES: Final = 100
"""That are billed for each item, and each entry of an index."""
GB: Final = 1e9
MB: Final = 1e6
SERVERS: Final = ("dynoxide", "dynamodb-local")
TIMEOUT_SECONDS: Final = 60.0
SMALL: Final = (100, 100)
"""Of whoever uses a process before its memory is measured."""

BEFORE: Final = "before"
NUMPY: Final = "before, with NumPy"
ORIGINALS: Final = (BEFORE, NUMPY)
FAISS: Final = "faiss"
CONTEXT: Final = "context retrieval"
SEARCH: Final = "embedding search"
GOALS: Final = {CONTEXT: 20, SEARCH: 50}
"""How many times as long the original takes, at least, at that size and delay."""

Vectors = NDArray[np.float32]


class Requests:
    """Delays and counts every request that botocore sends from here, and sums up its units."""

    def __init__(self) -> None:
        self.delay_ms = 0
        self._count = 0
        self._units = 0.0
        hooks = botocore.handlers.BUILTIN_HANDLERS
        hooks.append(("before-send.dynamodb", self._delay))
        hooks.append(("after-call.dynamodb", self._add))

    def _delay(self, **_: Any) -> None:
        time.sleep(self.delay_ms / 1000)

    def _add(self, parsed: dict[str, Any], **_: Any) -> None:
        self._count += 1
        # Replies to the library are not decoded by botocore: its own meter counts those.
        used: Any = parsed.get("ConsumedCapacity", {})
        if isinstance(used, dict):
            self._units += used.get("CapacityUnits", 0)

    def used(self, *calls: Callable[[], object]) -> tuple[float, int]:
        """Return the units and requests of calls of PynamoDB's."""
        units, number = self._units, self._count
        for call in calls:
            call()
        return self._units - units, self._count - number


def vectors_of(number: int) -> tuple[Vectors, Vectors, str]:
    """Return so many vectors, some queries, and what they are."""
    folder = os.environ.get("IALSTORE_DATA")
    if folder:
        held: Any = np.load(Path(folder) / "dialog20k_minilm.npz")
        base, query = (held[name].astype(np.float32) for name in ("base", "query"))
        return _unit(base[:number]), _unit(query[:QUERIES]), "of real dialogue turns"
    rng = np.random.default_rng(1)
    chosen = rng.standard_normal((CENTRES, DIMENSION))[rng.integers(CENTRES, size=number + QUERIES)]
    made = (chosen + rng.standard_normal(chosen.shape)).astype(np.float32)
    return _unit(made[QUERIES:]), _unit(made[:QUERIES]), f"random, around {CENTRES} centres"


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def session_of(place: int) -> str:
    """Return the session of a message."""
    return f"session-{place // SESSION}"


def user_of(size: tuple[int, int]) -> str:
    """Return the user with so many messages and vectors."""
    return f"user-{size[0]}-{size[1]}"


def message_of(user_id: str, place: int) -> Message:
    """Return a message of 90 to 500 bytes."""
    return Message.new(
        user_id=user_id,
        session_id=session_of(place),
        role="user" if place % 2 == 0 else "assistant",
        content=f"{place}: {TEXT * (1 + place % 6)}"[:500],
        created_at=START + place * PERIOD,
        key=str(place),
    )


def record_of(message: Message, vector: Vectors) -> VectorRecord:
    """Return the vector of a message."""
    return VectorRecord(message.id, vector, message.session_id, message.role, message.content)


# -- all systems, filled --------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where the stores are: what a process of its own needs to open them.

    Attributes:
        endpoint: of DynamoDB.
        prefix: of the tables.
        folder: of FAISS.
    """

    endpoint: str
    prefix: str
    folder: str

    def small(self) -> Place:
        """Return another place, for ``SMALL``."""
        return Place(self.endpoint, f"small-{self.prefix}", f"{self.folder}-small")

    def original(self) -> Original:
        """Return the original's tables."""
        return Original(f"before-{self.prefix}", self.endpoint)

    def store(self) -> ConversationStore:
        """Return the store."""
        url = f"dynamodb://{self.prefix}?endpoint={self.endpoint}"
        return open_store(url, timeout_seconds=TIMEOUT_SECONDS)

    def index(self, kind: str) -> VectorIndex:
        """Return an index: ``faiss``, or of a layout of ``lsh+dynamodb``."""
        url = f"faiss:///{self.folder}"
        if kind != FAISS:
            options = f"endpoint={self.endpoint}&layout={kind}&strong_reads=false"
            url = f"lsh+dynamodb://{self.prefix}{kind}-?{options}"
        return open_index(url, SPEC, timeout_seconds=TIMEOUT_SECONDS)

    def tables(self, kind: str) -> tuple[str, ...]:
        """Return the names of all tables of a system."""
        if kind in ORIGINALS:
            return self.original().tables
        conversations = f"{self.prefix}conversation-history-v2"
        if kind == FAISS:
            return (conversations,)
        return conversations, f"{self.prefix}{kind}-conversation-embeddings"


class Filled:
    """All systems, filled for one user and ready to be measured.

    Args:
        place: where.
        size: messages and vectors.
        kinds: of indexes.
    """

    def __init__(self, place: Place, size: tuple[int, int], kinds: Sequence[str]) -> None:
        self.place = place
        self.user, self.size = user_of(size), size
        self.base, self.queries, self.data = vectors_of(size[1])
        self._next_query = cycle(self.queries)
        self.messages = [message_of(self.user, number) for number in range(size[0])]
        self.original = place.original()
        with ExitStack() as stack:
            self.store = stack.enter_context(place.store())
            self.indexes = {kind: stack.enter_context(place.index(kind)) for kind in kinds}
            self._fill()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _fill(self) -> None:
        said = self.messages[-len(self.base) :]
        records = list(map(record_of, said, self.base))
        self.original.setup()
        self.original.load(self.messages, ((self.user, one) for one in records))
        self.store.setup()
        self.store.bulk_load(self.messages)
        for index in self.indexes.values():
            index.setup()
            index.bulk_load((self.user, one) for one in records)
            index.optimize(self.user)

    def retrieve_before(self) -> None:
        """Retrieve the context as the original does."""
        rows = self.original.recent(self.user, session_of(self.size[0] - 1), LAST)
        self._check(row.content for row in rows)

    def retrieve(self, consistency: Consistency = Consistency.STRONG) -> None:
        """Retrieve it from the store."""
        session = session_of(self.size[0] - 1)
        page = self.store.history(
            self.user, session_id=session, limit=LAST, consistency=consistency
        )
        self._check([one.content for one in page][::-1])

    def _check(self, contents: Iterable[str]) -> None:
        if list(contents) != [one.content for one in self.messages[-LAST:]]:
            raise AssertionError("these are not the last messages")

    def search(self, kind: str) -> list[float]:
        """Search for the next query, and return the scores of what is found."""
        query = next(self._next_query)
        if kind == BEFORE:
            return [one[0] for one in self.original.search(self.user, query.tolist(), K)]
        if kind == NUMPY:
            return [one[0] for one in self.original.search_numpy(self.user, query, K)]
        return [one.score for one in self.indexes[kind].search(self.user, query, K)]

    def recall(self, kind: str) -> float:
        """Return the share of the nearest that is found, by score."""
        self._next_query = cycle(self.queries)
        shares: list[float] = []
        for query in self.queries[: 2 if kind in ORIGINALS else QUERIES]:
            least = np.sort(self.base @ query)[-K]
            # Scores may be those of the vectors that are kept, in int8.
            shares.append(fmean(score >= least - 1e-3 for score in self.search(kind)))
        return fmean(shares)


# -- units, storage, memory -----------------------------------------------------------------------


@dataclass(frozen=True)
class Used:
    """What calls use: units and requests.

    Attributes:
        context: of a retrieval.
        eventual: of one that reads eventually, as the original does.
        search: of a search, the mean of some.
        write: of a message and its vector.
    """

    context: tuple[float, float]
    eventual: tuple[float, float]
    search: tuple[float, float]
    write: tuple[float, float]

    def month(self, stored: int, prices: Prices) -> float:
        """Return what a month costs with users of so many bytes."""
        reads = (self.context[0] + self.search[0]) * prices.of("dynamodb.read_request_million")
        writes = 2 * self.write[0] * prices.of("dynamodb.write_request_million")
        storage = USERS * stored / GB * prices.of("dynamodb.storage_gb_month")
        return TURNS / 1e6 * (reads + writes) + storage


def used_by(filled: Filled, kind: str, requests: Requests) -> Used:
    """Return what a system uses; the message is one of a day and a session that it knows."""
    first, second = (message_of(filled.user, filled.size[0] + one) for one in (0, 1))
    record = record_of(second, filled.queries[0])
    if kind in ORIGINALS:
        original = filled.original
        context = requests.used(filled.retrieve_before)
        return Used(
            context,
            context,
            requests.used(partial(filled.search, kind)),
            requests.used(
                lambda: original.append(second), lambda: original.add(filled.user, record)
            ),
        )
    store, index = filled.store, filled.indexes[kind]
    with meter() as strong:
        filled.retrieve()
    with meter() as eventual:
        filled.retrieve(Consistency.EVENTUAL)
    with meter() as search:
        for _ in range(QUERIES):
            filled.search(kind)
    store.append(first)
    with meter() as write:
        store.append(second)
        index.upsert(filled.user, [record])
    store.delete(filled.user, [first.id, second.id])
    index.delete(filled.user, [record.id])
    return Used(
        (strong.units.read, strong.units.requests),
        (eventual.units.read, eventual.units.requests),
        (search.units.read / QUERIES, search.units.requests / QUERIES),
        (write.units.write, write.units.requests),
    )


def stored_bytes(endpoint: str, table: str) -> int:
    """Return what is billed for a table and its indexes."""
    client: Any = botocore.session.get_session().create_client(
        "dynamodb", region_name="us-east-1", endpoint_url=endpoint
    )
    indexes = client.describe_table(TableName=table)["Table"].get("GlobalSecondaryIndexes", [])
    total = 0
    for which in ({}, *({"IndexName": one["IndexName"]} for one in indexes)):
        for page in client.get_paginator("scan").paginate(TableName=table, **which):
            total += sum(item_bytes(one) + ENTRY_BYTES for one in page["Items"])
    return total


def folder_bytes(folder: str) -> int:
    """Return how much the files of a folder take."""
    return sum(one.stat().st_size for one in Path(folder).rglob("*") if one.is_file())


def memory(place: Place, size: tuple[int, int], kind: str) -> float | None:
    """Return what ``grown_mb`` finds in a process of its own."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(grown_mb, place, size, kind).result()


def grown_mb(place: Place, size: tuple[int, int], kind: str) -> float | None:
    """Return by how much this process grows at most in a session; None where no system tells."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    query = vectors_of(1)[1][0]
    one_session(place.small(), SMALL, kind, query)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    began = _peak(status)
    one_session(place, size, kind, query)
    return (_peak(status) - began) / MB


def one_session(place: Place, size: tuple[int, int], kind: str, query: Vectors) -> None:
    """Open the stores, retrieve a context and search, and hold both."""
    user, session = user_of(size), session_of(size[0] - 1)
    if kind in ORIGINALS:
        original = place.original()
        rows = original.recent(user, session, LAST)
        search: Any = original.search if kind == BEFORE else original.search_numpy
        found = len(rows), len(search(user, query.tolist(), K))
    else:
        with place.store() as store, place.index(kind) as index:
            page = store.history(user, session_id=session, limit=LAST)
            found = len(page), len(index.search(user, query, K))
    if found != (LAST, K):
        raise AssertionError(f"{kind} found {found}")


def _peak(status: Path) -> int:
    """Return the most bytes that this process held since that was reset."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
    return int(peak) * 1024


# -- the report -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """What was measured of one system with one user.

    Attributes:
        kind: ``BEFORE``, or that of the index.
        used: units.
        recall: of its searches.
        grown_mb: memory of a session.
        stored_mb: storage of the user.
        month: what it costs.
        ms: of a retrieval and a search, by added delay.
    """

    kind: str
    used: Used
    recall: float
    grown_mb: float | None
    stored_mb: float
    month: float
    ms: dict[tuple[str, int], float]


class Comparison:
    """Measures all systems on one server.

    Args:
        endpoint: of the server.
        folder: for FAISS.
        kinds: of indexes.
        rounds: of each call that is timed.
        requests: delays and counts.
    """

    def __init__(
        self, endpoint: str, folder: str, kinds: Sequence[str], rounds: int, requests: Requests
    ) -> None:
        self.endpoint, self.folder = endpoint, folder
        self.kinds, self.rounds, self.requests = kinds, rounds, requests
        self.prices = load_prices()

    def systems(self, size: tuple[int, int]) -> list[System]:
        """Return what was measured with a user of this size, the original first."""
        name = "-".join(map(str, size))
        place = Place(self.endpoint, f"{name}-", f"{self.folder}/{name}")
        with Filled(place.small(), SMALL, self.kinds):
            pass
        with Filled(place, size, self.kinds) as filled:
            times = {delay: self._times(filled, delay) for delay in DELAYS_MS}
            return [self._system(filled, kind, times) for kind in (BEFORE, NUMPY, *self.kinds)]

    def _times(self, filled: Filled, delay: int) -> dict[str, float]:
        calls: dict[str, Callable[[], object]] = {
            CONTEXT + BEFORE: filled.retrieve_before,
            CONTEXT: filled.retrieve,
        }
        for kind in (BEFORE, NUMPY, *self.kinds):
            calls[SEARCH + kind] = partial(filled.search, kind)
        self.requests.delay_ms = delay
        found = in_turn(self.rounds, calls)
        self.requests.delay_ms = 0
        return found

    def _system(self, filled: Filled, kind: str, times: dict[int, dict[str, float]]) -> System:
        recall = filled.recall(kind)
        grown = memory(filled.place, filled.size, kind)
        billed = sum(stored_bytes(self.endpoint, table) for table in filled.place.tables(kind))
        kept = folder_bytes(filled.place.folder) if kind == FAISS else 0
        used = used_by(filled, kind, self.requests)
        context = CONTEXT + BEFORE if kind in ORIGINALS else CONTEXT
        ms = {(CONTEXT, delay): each[context] for delay, each in times.items()}
        ms |= {(SEARCH, delay): each[SEARCH + kind] for delay, each in times.items()}
        month = used.month(billed, self.prices)
        return System(kind, used, recall, grown, (billed + kept) / MB, month, ms)


def add_tables(report: Report, server: str, found: dict[tuple[int, int], list[System]]) -> None:
    """Add the tables of one server."""
    about = ("messages", "vectors")
    kinds = [one.kind for one in next(iter(found.values()))]
    contexts = report.table(
        f"context_{server}",
        f"{server}: milliseconds of a context retrieval",
        *about,
        "added",
        "before",
        "after",
        "times as fast",
    )
    searches = report.table(
        f"search_{server}",
        f"{server}: milliseconds of an embedding search",
        *about,
        "added",
        *kinds,
        *(f"{kind}, times as fast" for kind in kinds[len(ORIGINALS) :]),
    )
    units = report.table(
        f"units_{server}",
        f"{server}: units, and requests behind them",
        *about,
        "system",
        "context, read units",
        "requests",
        "search, read units",
        "requests",
        "message and vector, write units",
        "requests",
        f"recall@{K}",
    )
    sizes = report.table(
        f"sizes_{server}",
        f"{server}: memory of a session, storage of a user, and price of a month",
        *about,
        "system",
        "memory, MB",
        "storage, MB",
        "USD",
    )
    report.pictures += [
        Bars(f"context_{server}", (*about, "added"), ("before", "after")),
        Bars(f"search_{server}", (*about, "added"), kinds),
    ]
    for size, systems in found.items():
        for delay in DELAYS_MS:
            before, *_, after = (one.ms[CONTEXT, delay] for one in systems)
            contexts.add(*size, delay, before, after, before / after)
            spent = [one.ms[SEARCH, delay] for one in systems]
            searches.add(*size, delay, *spent, *(spent[0] / one for one in spent[len(ORIGINALS) :]))
        for one in systems:
            used = one.used
            if one.kind != NUMPY:
                units.add(*size, one.kind, *used.context, *used.search, *used.write, one.recall)
            sizes.add(*size, one.kind, one.grown_mb, one.stored_mb, one.month)


def add_summary(report: Report, systems: Sequence[System]) -> None:
    """Add the table that stands beside the one of the original's design."""
    table = report.table(
        "summary",
        f"{GOAL_SIZE[0]:,} messages, {GOAL_SIZE[1]:,} vectors, {GOAL_MS} ms added to each request",
        "",
        "said: before",
        "said: after",
        *(one.kind for one in systems),
    )
    said: dict[str, tuple[str, str, Callable[[System], Cell]]] = {
        f"{CONTEXT}, ms": ("200-500", "10-50", lambda one: one.ms[CONTEXT, GOAL_MS]),
        f"{SEARCH}, ms": ("1,000-3,000", "50-200", lambda one: one.ms[SEARCH, GOAL_MS]),
        f"recall@{K}": ("", "", lambda one: one.recall),
        "memory of a session, MB": ("50-100", "5-15", lambda one: one.grown_mb),
        "read units of a context": ("5-10", "1-2", lambda one: one.used.context[0]),
        "read units of a context, eventual": ("", "", lambda one: one.used.eventual[0]),
        "read units of a search": ("", "", lambda one: one.used.search[0]),
        "USD a month": ("20.5", "8", lambda one: one.month),
    }
    for name, (before, after, value) in said.items():
        table.add(name, before, after, *map(value, systems))
    original, _, *others = systems
    for what, goal in GOALS.items():
        for one in others if what == SEARCH else others[:1]:
            key = what if what == CONTEXT else f"{what}, {one.kind}"
            ratio = original.ms[what, GOAL_MS] / one.ms[what, GOAL_MS]
            report.figures[key] = ratio
            report.figures[f"{key}: goal of {goal}"] = "met" if ratio >= goal else "missed"


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--layouts", nargs="*", default=["gsi"], help="of lsh+dynamodb")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many, the small first")
    given = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")  # noqa: S106 - none
    report = Report("v1_vs_v2", __doc__, ["botocore", "faiss-cpu", "numpy", "pynamodb"])
    prices = load_prices()
    report.environment["prices"] = f"{prices.region}, {prices.date}"
    report.environment["vectors"] = vectors_of(1)[2]
    requests, kinds = Requests(), [*given.layouts, FAISS]
    for server in given.servers:
        with start(server) as running, tempfile.TemporaryDirectory() as folder:
            compared = Comparison(running.endpoint, folder, kinds, given.rounds, requests)
            found = {size: compared.systems(size) for size in SIZES[: given.sizes]}
        if GOAL_SIZE in found and server == given.servers[0]:
            add_summary(report, found[GOAL_SIZE])
        add_tables(report, server, found)
    report.finish(given)


if __name__ == "__main__":
    main()
