"""What a message costs here and in other libraries' stores, on the same engine and durability.

What is compared, from a text to its acknowledgement and from a call to a list of messages:

1. appends, one a call, and 100 a call;
2. the last 20 messages of a conversation of 1,000 and of 10,000;
3. 100 messages of a range of times in one of 10,000, where the other can be asked for it;
4. the 10 nearest of 1,000 messages by vectors of 384 numbers, where the other has vectors.

With whom: on SQLite LangGraph's ``SqliteStore`` and ``SqliteSaver``, LangChain's
``SQLChatMessageHistory``, mem0's history, and, awaited on both sides, ``SQLiteSession`` of the
OpenAI Agents SDK; on DynamoDB and Redis, LangChain's and the Agents SDK's; and the files of
Strands. All take turns in slices of a round, so that they meet the same disturbances; a ratio is
that of one round, and the table has the lowest, the median and the highest of all rounds.

What is the same: the texts, the disk or server, the interpreter, and that an acknowledged append is
on the disk. SQLite's modes are asked of every connection and reported. LangGraph's store, LangChain
and mem0 leave the rollback journal on, which is as durable as the write-ahead log and costs more;
they are measured a second time with the log switched on for them, as their users can do. Strands
forces nothing onto the disk: beside it stands ours with ``synchronous=normal``.

What is not, and for whom that counts:

- Of ours a row has an id that says its time and role, the session, a hash of the content and a
  checksum of the row, and is validated; appending it again stores it once. Theirs is the text in
  JSON beside the session's name: less to do, for them.
- Ours overwrites with zeros what is deleted (``secure_delete``), they do not: for them.
- LangGraph's store lists by the second of the last change, in any order within it; ours in the
  order of the messages: for them. It is asked for 20, as ours is.
- LangChain's and mem0's have no limit and return all, of which the last 20 are taken; so does a
  checkpoint, which holds all. That is their only way, and for us the more, the longer the
  conversation is. The saver appends a tenth as many, because each writes all that was said before.
- LangChain's history in DynamoDB is one item, of at most 400 KB: it is not asked for 10,000, and
  appends a fifth as many, at most 500, because each writes all that was said before.
- Ours in Redis is a cache, which holds the newest messages of each session; so only reads of the
  last 20 are compared there, each with one request.
- Each reads its rows into the objects that its users get: messages, items, dicts.

``make peers`` installs them, and runs this.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import _peers as peers
from _peers import Store
from _report import Bars, Report, Table, arguments

from ialstore.testing.servers import start

BATCH: Final = 100
HELD: Final = (1_000, 10_000)
"""Messages in the conversations that are read."""
SEARCHED: Final = 1_000
SLICES: Final = 10
"""Parts of a round: whoever is measured changes with each."""
SYNCHRONOUS: Final = ("off", "normal", "full", "extra")


@dataclass(frozen=True)
class Match:
    """Whom to measure together; the first one is ours.

    Attributes:
        name: of its table.
        title: above it.
        stores: who.
        server: on which they are; none are in a folder.
        log: whether the write-ahead log is switched on for all.
        goal: how many times as long the others should take, at least.
    """

    name: str
    title: str
    stores: tuple[type[Store], ...]
    server: str = ""
    log: bool = False
    goal: float = 2


ON_SQLITE: Final = (peers.Ours, peers.LangGraph, peers.Checkpointer, peers.LangChain, peers.Mem0)
MATCHES: Final = (
    Match("sqlite", "SQLite, as they come", ON_SQLITE),
    Match("wal", "SQLite, all with a write-ahead log", ON_SQLITE, log=True),
    Match("awaited", "SQLite, awaited", (peers.OursAwaited, peers.OpenAIAgents), goal=1),
    Match("files", "Nothing forced onto the disk", (peers.OursOff, peers.Strands)),
    Match("dynamodb", "DynamoDB", (peers.OursDynamo, peers.LangChainDynamo), server="dynoxide"),
    Match(
        "redis",
        "Redis",
        (peers.OursCached, peers.LangChainRedis, peers.OpenAIAgentsRedis),
        server="redis",
    ),
)


Act = Callable[[Store, int], int]
"""Takes a store and the number of the slice, and returns how much was done."""


class Connections:
    """All connections to SQLite that are opened in this process, and whose they are."""

    def __init__(self) -> None:
        self.owner = ""
        self._opened: dict[str, list[sqlite3.Connection]] = {}
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "sqlite3.connect/handle":
            self._opened.setdefault(self.owner, []).append(arguments[0])

    def modes(self, owner: str) -> str:
        """Return the modes of an owner's open connections, such as ``wal, full``."""
        found = set[str]()
        for one in self._opened.get(owner, ()):
            try:
                journal = one.execute("PRAGMA journal_mode").fetchone()[0]
                synchronous = one.execute("PRAGMA synchronous").fetchone()[0]
            except sqlite3.ProgrammingError:  # it is closed
                continue
            found.add(f"{journal}, {SYNCHRONOUS[synchronous]}")
        return " and ".join(sorted(found))

    def forget(self) -> None:
        """Let go of them."""
        self._opened.clear()


def texts_of(count: int, seed: int) -> list[str]:
    """Return texts of 40 to 600 characters."""
    rng = random.Random(seed)
    return [
        "".join(rng.choices("abcdefghij klmno", k=rng.randrange(40, 600))) for _ in range(count)
    ]


class Turns:
    """Measures stores that take turns, in slices of a round.

    Args:
        match: who.
        place: the folder of their files, or the URL of their server.
        rounds: how often each question is asked.
        connections: tells their modes.
        table: takes the rows.
    """

    def __init__(
        self, match: Match, place: str, rounds: int, connections: Connections, table: Table
    ) -> None:
        self.match = match
        self.place = place
        self.rounds = rounds
        self.connections = connections
        self.table = table

    def ask(
        self, question: str, need: str, prepare: Callable[[Store], object], act: Act, least: int = 0
    ) -> None:
        """Add a row for each store that can be asked, if there is another than ours.

        Args:
            question: of the table.
            need: what a store must be able to do.
            prepare: is called with each store, once.
            act: what is measured.
            least: messages that a conversation must be able to hold.
        """
        kinds = [one for one in self.match.stores if need in one.CAN and least <= one.MOST]
        if kinds[:1] != [self.match.stores[0]] or len(kinds) == 1:
            return
        stores: dict[str, Store] = {}
        with ExitStack() as stack:
            for kind in kinds:
                self.connections.owner = kind.NAME
                place = self.place if self.match.server else f"{self.place}/{uuid.uuid4()}"
                stores[kind.NAME] = store = kind(place, log=self.match.log)
                stack.callback(store.close)
                prepare(store)
            spent = self._spent(stores, act)
            modes = {name: self.connections.modes(name) for name in stores}
        self.connections.forget()
        ours = next(iter(spent.values()))
        for number, (name, each) in enumerate(spent.items()):
            ratios = [one / our for one, our in zip(each, ours, strict=True)]
            ratio = statistics.median(ratios)
            verdict = "" if not number else "met" if ratio >= self.match.goal else "missed"
            us = statistics.median(each), min(each), max(each)
            rest = (ratio, min(ratios), max(ratios), verdict, modes[name])
            self.table.add(question, name, *us, *rest)

    def _spent(self, stores: dict[str, Store], act: Act) -> dict[str, list[float]]:
        """Return the microseconds of one in each round, by store; slice -1 is not counted."""
        names = list(stores)
        seconds = {name: [0.0] * self.rounds for name in names}
        done = {name: [0] * self.rounds for name in names}
        for number in range(-1, self.rounds * SLICES):
            for turn in range(len(names)):
                name = names[(turn + number) % len(names)]
                self.connections.owner = name
                started = time.perf_counter()
                count = act(stores[name], number)
                if number >= 0:
                    seconds[name][number // SLICES] += time.perf_counter() - started
                    done[name][number // SLICES] += count
        return {
            name: [s / n * 1e6 for s, n in zip(seconds[name], done[name], strict=True)]
            for name in names
        }


def measure(turns: Turns, appends: int) -> None:
    """Ask all questions of a match.

    Args:
        turns: who, where and how often.
        appends: messages of each store, one a call and again in batches.
    """
    count = max(BATCH, appends // turns.rounds // SLICES)
    slices = turns.rounds * SLICES + 1
    texts = texts_of(count * slices, seed=1)

    def append_each(store: Store, number: int) -> int:
        # Texts differ in length: some room is left in what is full with so many.
        most = max(1, min(int(count * store.APPENDS), store.MOST // 2 // slices))
        some = texts[(number + 1) * count :][:most]
        store.append_each(some)
        return len(some)

    def append_batches(store: Store, number: int) -> int:
        return fill(texts[(number + 1) * count :][:count], store)

    turns.ask("append, one a call", "append", partial(fill, ()), append_each)
    turns.ask(f"append, {BATCH} a call", "append", partial(fill, ()), append_batches, len(texts))
    for held in HELD:
        given = texts_of(held, seed=2)
        turns.ask(
            f"last {peers.LAST} of {held:,}",
            "last",
            partial(fill, given),
            partial(read, given[-peers.LAST :]),
            held,
        )
    given = texts_of(HELD[-1], seed=2)
    turns.ask(
        f"range of {peers.RANGE} of {len(given):,}",
        "range",
        partial(fill, given),
        partial(read_range, given),
        len(given),
    )
    given = texts_of(SEARCHED, seed=3)
    turns.ask(f"search of {len(given):,}", "search", partial(add, given), partial(search, given))


def fill(texts: Sequence[str], store: Store) -> int:
    """Append texts in batches, and return how many."""
    for first in range(0, len(texts), BATCH):
        store.append_all(texts[first : first + BATCH])
    return len(texts)


def add(texts: Sequence[str], store: Store) -> None:
    """Add texts and vectors in batches."""
    for first in range(0, len(texts), BATCH):
        store.add(texts[first : first + BATCH])


def read(expected: Sequence[str], store: Store, number: int) -> int:
    """Read the last messages, look whether they are, and return how often."""
    found = store.times(store.READS, store.read)
    _check(store, number, found == expected if store.IN_ORDER else len(found) == len(expected))
    return store.READS


def read_range(texts: Sequence[str], store: Store, number: int) -> int:
    """Read a range in the middle, look whether it is, and return how often."""
    first = len(texts) // 2
    found = store.times(store.READS, partial(store.read_range, first))
    expected = texts[first : first + peers.RANGE]
    _check(store, number, sorted(found) == sorted(expected))
    return store.READS


def search(texts: Sequence[str], store: Store, number: int) -> int:
    """Search for a text that is there, look whether it is first, and return how often."""
    text = texts[number % len(texts)]
    found = store.times(store.READS, partial(store.search, text))
    _check(store, number, found[0] == text and len(found) == peers.HITS)
    return store.READS


def _check(store: Store, number: int, is_right: bool) -> None:  # noqa: FBT001 - what it is about
    if not is_right:
        raise AssertionError(f"{store.NAME} found other messages in slice {number}")


def disk_us(folder: Path) -> float:
    """Return the median microseconds of writing 4 KiB and forcing them onto the disk."""
    found: list[float] = []
    with (folder / "disk").open("wb", buffering=0) as file:
        for _ in range(200):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            found.append((time.perf_counter() - started) * 1e6)
    return statistics.median(found)


@contextmanager
def place_of(match: Match, folder: str) -> Generator[str]:
    """Yield the folder, or the URL of a server that runs for the time."""
    if not match.server:
        yield folder
        return
    with start(match.server) as server:
        redis = f"redis://127.0.0.1:{server.port}"
        yield redis if match.server == "redis" else server.endpoint


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--appends", type=int, default=10_000, help="messages of each store")
    parser.add_argument("--rounds", type=int, default=5, help="of each question")
    parser.add_argument("--folder", help="on the disk to measure; the temporary folder by default")
    names = [one.name for one in MATCHES]
    parser.add_argument("--matches", nargs="+", choices=names, default=names)
    given = parser.parse_args()
    os.environ.update(
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - none
        MEM0_TELEMETRY="false",
    )
    chosen = [one for one in MATCHES if one.name in given.matches]
    packages = [package for one in chosen for store in one.stores for package in store.PACKAGES]
    report = Report("peers", __doc__, list(dict.fromkeys(packages)))
    report.environment["SQLite"] = sqlite3.sqlite_version
    connections = Connections()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        report.figures["disk, us"] = disk_us(Path(folder))
        for match in chosen:
            table = report.table(
                match.name,
                f"{match.title}; goal: the others take {match.goal:g} times as long, or more",
                "question",
                "store",
                "us: median",
                "lowest",
                "highest",
                "ratio",
                "lowest",
                "highest",
                "goal",
                "modes",
            )
            report.pictures.append(Bars(match.name, ["question", "store"], ["us: median"]))
            with place_of(match, folder) as place:
                measure(Turns(match, place, given.rounds, connections, table), given.appends)
            report.keep(given)
    report.finish(given)


if __name__ == "__main__":
    main()
