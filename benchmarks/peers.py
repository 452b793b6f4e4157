"""What a message costs in SQLite: this library, and other libraries' stores of conversations.

What is compared, from a text to its acknowledgement and from a call to a list of messages:

1. appends, one a call, and 100 a call;
2. the last 20 messages of a conversation of 1,000 and of 10,000.

With whom: LangGraph's ``SqliteStore``, LangChain's ``SQLChatMessageHistory``, and, awaited on both
sides, ``SQLiteSession`` of the OpenAI Agents SDK. All take turns in slices of a round, so that they
meet the same disturbances; a ratio is that of one round, and the table has the lowest, the median
and the highest of all rounds.

What is the same: the texts, the folder, the interpreter, and that an acknowledged append is on the
disk. SQLite's modes are asked of every connection and printed. LangGraph and LangChain leave the
rollback journal on, which is as durable as the write-ahead log and costs more; they are measured a
second time with the log switched on for them, as their users can do.

What is not, and for whom that counts:

- Of ours a row has an id that says its time and role, the session, a hash of the content and a
  checksum of the row, and is validated; appending it again stores it once. Theirs is the text in
  JSON beside the session's name: less to do, for them.
- Ours overwrites with zeros what is deleted (``secure_delete``), they do not: for them.
- LangGraph's lists by the second of the last change, in any order within it; ours in the order of
  the messages: for them. It is asked for 20, as ours is.
- LangChain's has no limit and returns all, of which the last 20 are taken: that is its only way,
  and for us the more, the longer the conversation is.
- Each reads its rows into the objects that its users get: messages, items, dicts.

``make peers`` installs them, and runs this.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import itertools
import json
import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

from ialstore import AsyncConversationStore, Message
from ialstore_backends.sqlite import SqliteConversationStore

BATCH: Final = 100
LAST: Final = 20
HELD: Final = (1_000, 10_000)
"""Messages in the conversations that are read."""
SLICES: Final = 10
"""Parts of a round: whoever is measured changes with each."""
SYNCHRONOUS: Final = ("off", "normal", "full", "extra")
USER: Final = "alice"
SESSION: Final = "monday"


class Store(ABC):
    """A conversation in a new file, and three things to do with it."""

    NAME: ClassVar[str]
    PACKAGES: ClassVar[tuple[str, ...]]
    IN_ORDER: ClassVar[bool] = True
    READS: ClassVar[int] = 10
    """In a slice: fewer, where one takes long."""

    def __init__(self, path: Path, *, log: bool) -> None:
        """Open it; with ``log``, switch the write-ahead log on where it is not on already."""

    @abstractmethod
    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""

    @abstractmethod
    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""

    @abstractmethod
    def read(self, times: int) -> list[str]:
        """Read the last messages so many times, and return their texts, the oldest first."""

    @abstractmethod
    def close(self) -> None:
        """Close it."""


def messages_of(texts: Sequence[str]) -> list[Message]:
    """Return new messages."""
    return [
        Message.new(user_id=USER, session_id=SESSION, role="user", content=one) for one in texts
    ]


class Ours(Store):
    """``SqliteConversationStore``."""

    NAME = "ialstore"
    PACKAGES = ("ialstore",)

    def __init__(self, path: Path, *, log: bool) -> None:
        self.store = SqliteConversationStore(path)

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""
        for one in texts:
            self.store.append(*messages_of([one]))

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        self.store.append(*messages_of(texts))

    def read(self, times: int) -> list[str]:
        """Read a page, the newest first."""
        for _ in range(times - 1):
            self.store.history(USER, session_id=SESSION, limit=LAST)
        page = self.store.history(USER, session_id=SESSION, limit=LAST)
        return [one.content for one in page][::-1]

    def close(self) -> None:
        """Close it."""
        self.store.close()


class LangGraph(Store):
    """``SqliteStore``: the session is a namespace, a message a value under a key of its own."""

    NAME = "LangGraph"
    PACKAGES = ("langgraph-checkpoint-sqlite",)
    IN_ORDER = False

    def __init__(self, path: Path, *, log: bool) -> None:
        module: Any = importlib.import_module("langgraph.store.sqlite")
        self.put_op: Any = importlib.import_module("langgraph.store.base").PutOp
        self.stack = ExitStack()
        self.store: Any = self.stack.enter_context(module.SqliteStore.from_conn_string(str(path)))
        if log:
            self.store.conn.execute("PRAGMA journal_mode=WAL")
        self.store.setup()

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""
        for one in texts:
            self.store.put((USER, SESSION), str(uuid.uuid4()), {"role": "user", "content": one})

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        self.store.batch(
            [
                self.put_op((USER, SESSION), str(uuid.uuid4()), {"role": "user", "content": one})
                for one in texts
            ]
        )

    def read(self, times: int) -> list[str]:
        """Search the namespace, which lists what changed last."""
        for _ in range(times - 1):
            self.store.search((USER, SESSION), limit=LAST)
        found = self.store.search((USER, SESSION), limit=LAST)
        return [one.value["content"] for one in found]

    def close(self) -> None:
        """Close it."""
        self.stack.close()


class LangChain(Store):
    """``SQLChatMessageHistory``."""

    NAME = "LangChain"
    PACKAGES = ("langchain-community", "langchain-core", "SQLAlchemy")
    READS = 1

    def __init__(self, path: Path, *, log: bool) -> None:
        histories: Any = importlib.import_module("langchain_community.chat_message_histories")
        self.message: Any = importlib.import_module("langchain_core.messages").HumanMessage
        self.history: Any = histories.SQLChatMessageHistory(SESSION, connection=f"sqlite:///{path}")
        if log:
            with self.history.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""
        for one in texts:
            self.history.add_message(self.message(one))

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""
        self.history.add_messages([self.message(one) for one in texts])

    def read(self, times: int) -> list[str]:
        """Read all, and take the last."""
        for _ in range(times - 1):
            self.history.get_messages()
        return [one.content for one in self.history.get_messages()[-LAST:]]

    def close(self) -> None:
        """Close its connections."""
        self.history.engine.dispose()


class OursAwaited(Store):
    """``AsyncConversationStore`` over ``SqliteConversationStore``."""

    NAME = "ialstore.aio"
    PACKAGES = ("ialstore",)

    def __init__(self, path: Path, *, log: bool) -> None:
        self.runner = asyncio.Runner()
        self.store = AsyncConversationStore(SqliteConversationStore(path))

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""

        async def append() -> None:
            for one in texts:
                await self.store.append(*messages_of([one]))

        self.runner.run(append())

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""

        async def append() -> None:
            await self.store.append(*messages_of(texts))

        self.runner.run(append())

    def read(self, times: int) -> list[str]:
        """Read a page, the newest first."""

        async def read() -> list[str]:
            for _ in range(times - 1):
                await self.store.history(USER, session_id=SESSION, limit=LAST)
            page = await self.store.history(USER, session_id=SESSION, limit=LAST)
            return [one.content for one in page][::-1]

        return self.runner.run(read())

    def close(self) -> None:
        """Close it, and its loop."""
        self.runner.run(self.store.aclose())
        self.runner.close()


class OpenAIAgents(Store):
    """``SQLiteSession``."""

    NAME = "OpenAI Agents"
    PACKAGES = ("openai-agents",)

    def __init__(self, path: Path, *, log: bool) -> None:
        self.runner = asyncio.Runner()
        self.session: Any = importlib.import_module("agents").SQLiteSession(SESSION, path)

    def append_each(self, texts: Sequence[str]) -> None:
        """Append texts, one a call."""

        async def append() -> None:
            for one in texts:
                await self.session.add_items([{"role": "user", "content": one}])

        self.runner.run(append())

    def append_all(self, texts: Sequence[str]) -> None:
        """Append texts in one call."""

        async def append() -> None:
            await self.session.add_items([{"role": "user", "content": one} for one in texts])

        self.runner.run(append())

    def read(self, times: int) -> list[str]:
        """Read the last items."""

        async def read() -> list[str]:
            for _ in range(times - 1):
                await self.session.get_items(limit=LAST)
            return [one["content"] for one in await self.session.get_items(limit=LAST)]

        return self.runner.run(read())

    def close(self) -> None:
        """Close it, and its loop."""
        self.session.close()
        self.runner.close()


@dataclass(frozen=True)
class Match:
    """Whom to measure together; the first one is ours.

    Attributes:
        title: above their rows.
        stores: who.
        log: whether the write-ahead log is switched on for all.
        goal: how many times as long the others should take, at least.
    """

    title: str
    stores: tuple[type[Store], ...]
    log: bool
    goal: float


MATCHES: Final = (
    Match("as they come", (Ours, LangGraph, LangChain), log=False, goal=2),
    Match("all with a write-ahead log", (Ours, LangGraph, LangChain), log=True, goal=2),
    Match("awaited", (OursAwaited, OpenAIAgents), log=False, goal=1),
)


@dataclass(frozen=True)
class Row:
    """A line of the table: microseconds of a message or a call, and how it compares with ours."""

    match: str
    question: str
    store: str
    modes: str
    low_us: float
    median_us: float
    high_us: float
    ratio: float
    low_ratio: float
    high_ratio: float
    goal: float | None

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty for ours."""
        if self.goal is None:
            return ""
        return "met" if self.ratio >= self.goal else "MISSED"


Prepare = Callable[[Store], object]
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
        for one in self._opened[owner]:
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
        folder: where their files are.
        rounds: how often each question is asked.
        connections: tells their modes.
    """

    def __init__(self, match: Match, folder: Path, rounds: int, connections: Connections) -> None:
        self.match = match
        self.folder = folder
        self.rounds = rounds
        self.connections = connections

    def rows(self, question: str, prepare: Prepare, act: Act) -> Iterator[Row]:
        """Yield a row for each store.

        Args:
            question: of the table.
            prepare: is called with each store, once.
            act: what is measured.
        """
        stores: dict[str, Store] = {}
        with ExitStack() as stack:
            for kind in self.match.stores:
                self.connections.owner = kind.NAME
                file = self.folder / f"{uuid.uuid4()}.db"
                stores[kind.NAME] = store = kind(file, log=self.match.log)
                stack.callback(store.close)
                prepare(store)
            spent = self._spent(stores, act)
            modes = {name: self.connections.modes(name) for name in stores}
        self.connections.forget()
        first = next(iter(stores))
        for name, each in spent.items():
            ratios = [one / ours for one, ours in zip(each, spent[first], strict=True)]
            yield Row(
                match=self.match.title,
                question=question,
                store=name,
                modes=modes[name],
                low_us=min(each),
                median_us=statistics.median(each),
                high_us=max(each),
                ratio=statistics.median(ratios),
                low_ratio=min(ratios),
                high_ratio=max(ratios),
                goal=None if name == first else self.match.goal,
            )

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


def measured(turns: Turns, appends: int) -> Iterator[Row]:
    """Yield the rows of a match.

    Args:
        turns: who, where and how often.
        appends: messages of each store, one a call and again in batches.
    """
    count = max(BATCH, appends // turns.rounds // SLICES)
    texts = texts_of(count * (turns.rounds * SLICES + 1), seed=1)

    def append_each(store: Store, number: int) -> int:
        some = texts[(number + 1) * count :][:count]
        store.append_each(some)
        return len(some)

    def append_batches(store: Store, number: int) -> int:
        return fill(store, texts[(number + 1) * count :][:count])

    yield from turns.rows("append, one a call", partial(fill, texts=()), append_each)
    yield from turns.rows(f"append, {BATCH} a call", partial(fill, texts=()), append_batches)
    for held in HELD:
        given = texts_of(held, seed=2)
        yield from turns.rows(
            f"last {LAST} of {held:,}", partial(fill, texts=given), partial(read, expected=given)
        )


def fill(store: Store, texts: Sequence[str]) -> int:
    """Append texts in batches, and return how many."""
    for start in range(0, len(texts), BATCH):
        store.append_all(texts[start : start + BATCH])
    return len(texts)


def read(store: Store, number: int, expected: Sequence[str]) -> int:
    """Read the last messages, look whether they are, and return how often."""
    found = store.read(store.READS)
    if store.IN_ORDER:
        is_right = found == list(expected[-LAST:])
    else:
        is_right = len(found) == LAST and set(found) <= set(expected)
    if not is_right:
        raise AssertionError(f"{store.NAME} read other messages in slice {number}")
    return store.READS


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


def show(rows: Sequence[Row]) -> None:
    """Print a table for each match."""
    for match in MATCHES:
        print(f"\n{match.title}; goal: the others take {match.goal:g}x as long, or more")
        print(
            f"{'':20}{'':14}{'us: median':>12}{'lowest':>12}{'highest':>12}"
            f"{'ratio':>8}{'lowest':>8}{'highest':>9}  {'':8}modes"
        )
        for question, group in itertools.groupby(
            (one for one in rows if one.match == match.title), lambda one: one.question
        ):
            for place, one in enumerate(group):
                print(
                    f"{question if place == 0 else '':20}{one.store:14}{one.median_us:12,.1f}"
                    f"{one.low_us:12,.1f}{one.high_us:12,.1f}{one.ratio:8.2f}{one.low_ratio:8.2f}"
                    f"{one.high_ratio:9.2f}  {one.verdict:8}{one.modes}"
                )


def main() -> int:
    """Measure, print, and return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description="What a message costs here and elsewhere.")
    parser.add_argument("--appends", type=int, default=10_000, help="messages of each store")
    parser.add_argument("--rounds", type=int, default=5, help="of each question")
    parser.add_argument("--folder", help="on the disk to measure; the temporary folder by default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    packages = dict.fromkeys(
        package for match in MATCHES for store in match.stores for package in store.PACKAGES
    )
    facts = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    facts |= {package: version(package) for package in packages}
    connections = Connections()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        disk = disk_us(Path(name))
        rows = [
            row
            for match in MATCHES
            for row in measured(
                Turns(match, Path(name), options.rounds, connections), options.appends
            )
        ]
    if options.json:
        found = [asdict(one) | {"verdict": one.verdict} for one in rows]
        print(json.dumps({"versions": facts, "disk_us": disk, "rows": found}, indent=2))
    else:
        print(", ".join(f"{name} {number}" for name, number in facts.items()))
        print(f"{disk:,.0f} us to write 4 KiB and force them onto the disk")
        show(rows)
    return 1 if any(one.verdict == "MISSED" for one in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
