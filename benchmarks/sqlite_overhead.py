"""What the library adds to SQLite and to memory: ratios to the bare driver, and microseconds.

Three questions, each answered by two ways of doing the same thing that take turns, so that both
meet the same disturbances; figures are medians:

1. a durable append of one message, to the same INSERT through ``sqlite3``;
2. ``history(limit=20)``, to the same SELECT with its JSON decoded;
3. on the memory store, public methods to the hooks they call.
"""

from __future__ import annotations

import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _report import Bars, Report, arguments

from ialstore import Message
from ialstore.ids import HIGHEST_ID, LOWEST_ID
from ialstore.listing import HistoryQuery
from ialstore.model import encode_message
from ialstore_backends.memory import MemoryConversationStore
from ialstore_backends.sqlite import SqliteConversationStore
from ialstore_backends.sqlite import conversation_statements as statements
from ialstore_backends.sqlite.message_rows import row_of

USERS = 20
SESSIONS = 5
HELD = 5000
"""Messages in a store that is read."""
WARM_UP = 500
"""Appends that are not counted."""
TARGETS = {"durable append": 1.15, "history(limit=20)": 2.0, "template (memory)": 15.0}
"""Ratios, and for the template microseconds more."""

Action = Callable[[], object]


@dataclass(frozen=True)
class Result:
    """Medians of two ways to do the same, in microseconds."""

    question: str
    case: str
    ours_us: float
    bare_us: float
    target: str
    met: bool

    @property
    def ratio(self) -> float:
        """How many times as long ours takes."""
        return self.ours_us / self.bare_us


def make_messages(count: int, *, rich: bool, seed: int) -> list[Message]:
    """Return messages of several users and sessions; rich ones carry a payload and metadata."""
    rng = random.Random(seed)
    extra: dict[str, Any] = {}
    if rich:
        extra = {
            "payload": [
                {"type": "text", "text": "I look that up."},
                {"type": "tool_use", "id": "t1", "name": "search", "input": {"query": "weather"}},
            ],
            "metadata": {"model": "some-model", "latency_ms": 812.5, "tags": ["a", "b"]},
        }
    return [
        Message.new(
            user_id=f"user-{rng.randrange(USERS)}",
            session_id=f"session-{rng.randrange(SESSIONS)}",
            role="assistant",
            content="".join(rng.choices("abcdefghij klmno", k=rng.randrange(40, 600))),
            **extra,
        )
        for _ in range(count)
    ]


def open_bare(path: Path) -> sqlite3.Connection:
    """Return a plain connection in the store's modes, with the store's tables."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    for statement in statements.TABLES.values():
        connection.execute(statement)
    return connection


def medians(pairs: Iterable[tuple[Action, Action]], *, warm_up: int = 0) -> tuple[float, float]:
    """Return the median microseconds of the first and of the second actions, which take turns.

    Args:
        pairs: actions, each run once.
        warm_up: pairs at the beginning that are not counted.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for turn, pair in enumerate(pairs):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            pair[which]()
            times[which].append((time.perf_counter() - start) * 1e6)
    return statistics.median(times[0][warm_up:]), statistics.median(times[1][warm_up:])


def judged(question: str, case: str, ours: float, bare: float) -> Result:
    """Return the result of a ratio."""
    target = TARGETS[question]
    return Result(question, case, ours, bare, f"{target:g}x", ours / bare <= target)


def measure_append(folder: Path, case: str, count: int, *, rich: bool) -> Result:
    """Compare ``append`` of one message with the same INSERT."""
    messages = make_messages(2 * count + WARM_UP, rich=rich, seed=1)
    rows = [row_of(encode_message(message)) for message in messages]
    bare = open_bare(folder / f"bare-append-{rich}.db")
    bare.execute("BEGIN")
    bare.executemany(statements.INSERT_NEW, rows[:count])
    bare.execute("COMMIT")
    with SqliteConversationStore(folder / f"append-{rich}.db") as store:
        store.bulk_load(messages[:count])

        def pairs() -> Iterator[tuple[Action, Action]]:
            for message, row in zip(messages[count:], rows[count:], strict=True):
                yield (
                    partial(store.append, message),
                    partial(bare.execute, statements.INSERT_NEW, row),
                )

        # Until the log has its full length, the file system has more to write.
        ours, driver = medians(pairs(), warm_up=WARM_UP)
    bare.close()
    return judged("durable append", case, ours, driver)


def measure_history(folder: Path, case: str, count: int, *, rich: bool) -> Result:
    """Compare a page of 20 messages with the same SELECT and the decoding of its JSON."""
    messages = make_messages(HELD, rich=rich, seed=2)
    path = folder / f"history-{rich}.db"
    with SqliteConversationStore(path) as store:
        store.bulk_load(messages)
        bare = sqlite3.connect(path, isolation_level=None)

        def query(user_id: str, session_id: str) -> list[Any]:
            rows = bare.execute(
                statements.HISTORY[True, True],
                (user_id, session_id, LOWEST_ID, HIGHEST_ID, int(time.time()), 20),
            ).fetchall()
            return [(row, decoded(row[10]), decoded(row[11])) for row in rows]

        def pairs() -> Iterator[tuple[Action, Action]]:
            for one in random.Random(3).choices(messages, k=count):
                who = one.user_id, one.session_id
                yield (
                    partial(store.history, who[0], session_id=who[1], limit=20),
                    partial(query, *who),
                )

        ours, driver = medians(pairs())
        bare.close()
    return judged("history(limit=20)", case, ours, driver)


def decoded(text: str | None) -> Any:
    """Return the value of a JSON text, if there is one."""
    return None if text is None else json.loads(text)


def measure_template(count: int) -> Iterator[Result]:
    """Compare public methods of the memory store with the hooks they call."""
    messages = make_messages(HELD + count, rich=False, seed=4)
    held, fresh = messages[:HELD], messages[HELD:]
    store, inner = MemoryConversationStore(), MemoryConversationStore()
    for one in (store, inner):
        one.bulk_load(held)

    def hook(name: str, *arguments: object) -> Action:
        return partial(getattr(inner, name), inner._operation("benchmark"), *arguments)  # noqa: SLF001 - what is measured

    cases: dict[str, Iterable[tuple[Action, Action]]] = {
        "append": (
            (partial(store.append, one), hook("_append", one.user_id, [encode_message(one)]))
            for one in fresh
        ),
        "get": (
            (partial(store.get, one.user_id, [one.id]), hook("_get", one.user_id, [one.id]))
            for one in held[:count]
        ),
        "history": (
            (
                partial(store.history, one.user_id, limit=20),
                hook("_history", HistoryQuery(one.user_id, limit=20)),
            )
            for one in held[:count]
        ),
    }
    for case, pairs in cases.items():
        ours, bare = medians(pairs)
        target = TARGETS["template (memory)"]
        yield Result(
            "template (memory)", case, ours, bare, f"+{target:g} us", ours - bare <= target
        )


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=1000, help="pairs of calls per case")
    parser.add_argument("--folder", help="on the disk to measure; the temporary folder by default")
    given = parser.parse_args()
    report = Report("sqlite_overhead", __doc__)
    columns = ("question", "case", "ours, us", "bare, us", "ratio", "target", "is")
    table = report.table("calls", "Medians", *columns)
    report.pictures.append(Bars("calls", ["question", "case"], ["ours, us", "bare, us"]))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        results = [
            measure(Path(folder), case, given.count, rich=rich)
            for measure in (measure_append, measure_history)
            for case, rich in (("plain", False), ("payload, metadata", True))
        ]
    for one in [*results, *measure_template(given.count)]:
        met = "met" if one.met else "missed"
        table.add(one.question, one.case, one.ours_us, one.bare_us, one.ratio, one.target, met)
    report.finish(given)


if __name__ == "__main__":
    main()
