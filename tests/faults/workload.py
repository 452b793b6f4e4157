"""A small program that writes to a SQLite file, and what each of its steps should leave there.

Run as a program it goes through the steps of a workload and notes in a journal when each begins and
how it ends, so that whoever killed it, failed its calls or took its power away knows what was
acknowledged. The steps are the same in every run: the tests make them again to know what to expect.

A planted fault makes the program break a promise on purpose, to show that the checks can fail.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ialstore import IalStoreError, IndexSpec, Message, Outcome, VectorRecord, message_id
from ialstore.model import AppendResult, encode_message
from ialstore_backends.sqlite import SqliteConversationStore, SqliteOptions, SqliteVectorIndex
from ialstore_backends.sqlite.connection import Database

if TYPE_CHECKING:
    from ialstore.model import EncodedMessage
    from ialstore.operation import Operation

START: Final = datetime(2024, 2, 29, 12, tzinfo=UTC)
SPEC: Final = IndexSpec(16)
ACKNOWLEDGED: Final = "acknowledged"

Key: TypeAlias = tuple[str, str, str]
"""``message`` or ``vector``, user, id."""


def message_form(message: Message) -> str:
    """Return all fields of a message as text, to compare and to store."""
    entry = encode_message(message)
    parts = (entry.content_hash, message.role, message.summary, message.tokens, entry.expires)
    return repr((message.user_id, message.id, *parts))


def vector_form(record: Any) -> str:
    """Return all fields of a record as text; the vector as the index keeps it."""
    vector = [float(number) for number in record.vector.astype("<f4")]
    return repr((record.id, record.session_id, str(record.role), record.text, vector))


class Place:
    """The store and the index of one file, opened when they are first used."""

    def __init__(
        self, path: Path, *, synchronous: str = "full", planted: str = "", guest: bool = False
    ) -> None:
        self._path = path
        self._options = SqliteOptions(synchronous="normal" if synchronous == "normal" else "full")
        self._store_class = PLANTED_STORES.get(planted, SqliteConversationStore)
        self._store: SqliteConversationStore | None = None
        self._index: SqliteVectorIndex | None = None
        self._guest = SqliteConversationStore(path) if guest else None

    def begin(self) -> None:
        """Let a guest open the file, so that closing a connection does not end its log."""
        if self._guest is not None:
            self._guest.users()

    @property
    def store(self) -> SqliteConversationStore:
        if self._store is None:
            self._store = self._store_class(self._path, self._options, timeout_seconds=1)
        return self._store

    @property
    def index(self) -> SqliteVectorIndex:
        if self._index is None:
            options = self._options
            self._index = SqliteVectorIndex(self._path, SPEC, options=options, timeout_seconds=1)
        return self._index

    def close(self) -> None:
        for one in (self._store, self._index):
            if one is not None:
                one.close()
        self._store = self._index = None


@dataclass(frozen=True)
class Step:
    """One call, and the state of each message or vector that it touches when it is done.

    Attributes:
        name: of the public method.
        call: makes it, and returns what it answered.
        effect: forms by key; None for what is gone.
        whole: whether an interrupted call leaves all of it or nothing.
        answer: what the call returns when nothing went wrong before; None for anything.
    """

    name: str
    call: Callable[[Place], object]
    effect: Mapping[Key, str | None]
    whole: bool = True
    answer: object = None

    @property
    def creates(self) -> bool:
        """Whether it stores something new."""
        return self.name in ("append", "upsert", "bulk_load")


def message(
    number: int, *, user: str = "u", session: str = "s", text: str = "", **fields: Any
) -> Message:
    """Return a message that is the same in every run."""
    return Message.new(
        user_id=user,
        session_id=session,
        role="user",
        content=text or f"message {number} of {user}: é €",
        created_at=START + timedelta(seconds=number),
        key=str(number),
        **fields,
    )


def record(number: int, *, user: str = "u", text: str | None = "a text") -> VectorRecord:
    """Return a record that is the same in every run."""
    numbers = random.Random(f"{user} {number} {text}")
    vector = [numbers.uniform(-1, 1) for _ in range(SPEC.dimension)]
    made = message_id(user, "s", START + timedelta(seconds=number), "user", str(number))
    return VectorRecord(made, vector, "s", "user", text)


# -- steps -------------------------------------------------------------------------------------


def appending(*messages: Message) -> Step:
    effect: dict[Key, str | None] = {
        ("message", one.user_id, one.id): message_form(one) for one in messages
    }
    stored = AppendResult(tuple(one.id for one in messages))
    return Step("append", lambda place: place.store.append(*messages), effect, answer=stored)


def loading(*messages: Message) -> Step:
    effect: dict[Key, str | None] = {
        ("message", one.user_id, one.id): message_form(one) for one in messages
    }
    return Step("bulk_load", lambda place: place.store.bulk_load(messages), effect)


def replacing(changed: Message) -> Step:
    effect = {("message", changed.user_id, changed.id): message_form(changed)}
    return Step("replace", lambda place: place.store.replace(changed), effect, answer=True)


def deleting(*messages: Message) -> Step:
    user = messages[0].user_id
    ids = [one.id for one in messages]
    effect: dict[Key, str | None] = {("message", user, one): None for one in ids}
    return Step("delete", lambda place: place.store.delete(user, ids), effect, answer=len(ids))


def deleting_session(user: str, session: str, messages: Sequence[Message]) -> Step:
    effect: dict[Key, str | None] = {("message", user, one.id): None for one in messages}
    return Step(
        "delete_session",
        lambda place: place.store.delete_session(user, session),
        effect,
        answer=len(messages),
    )


def erasing(user: str, messages: Sequence[Message]) -> Step:
    effect: dict[Key, str | None] = {("message", user, one.id): None for one in messages}
    return Step("erase", lambda place: place.store.erase(user), effect, whole=False)


def optimizing(user: str) -> Step:
    return Step("optimize", lambda place: place.store.optimize(user), {})


def reopening() -> Step:
    return Step("close", lambda place: place.close(), {})


def upserting(user: str, *records: VectorRecord) -> Step:
    import numpy as np

    effect: dict[Key, str | None] = {
        ("vector", user, one.id): vector_form(replace(one, vector=np.array(one.vector)))
        for one in records
    }
    return Step("upsert", lambda place: place.index.upsert(user, records), effect)


def deleting_vectors(user: str, *records: VectorRecord) -> Step:
    ids = [one.id for one in records]
    effect: dict[Key, str | None] = {("vector", user, one): None for one in ids}
    return Step("delete", lambda place: place.index.delete(user, ids), effect, answer=len(ids))


def erasing_vectors(user: str, *records: VectorRecord) -> Step:
    effect: dict[Key, str | None] = {("vector", user, one.id): None for one in records}
    return Step("erase", lambda place: place.index.erase(user), effect, whole=False)


# -- workloads ---------------------------------------------------------------------------------


def life() -> Iterator[Step]:
    """Yield every kind of write of the conversation store once or twice, the first one creating."""
    one = [message(number) for number in range(20)]
    other = [message(number, user="v", session="t") for number in range(8)]
    yield appending(one[0])
    yield appending(one[1])
    yield appending(*one[2:5])
    yield appending(message(30, text="long " * 6000, summary="long", tokens=6000))
    yield replacing(replace(one[1], content="replaced", summary="r", tokens=7))
    yield loading(*other)
    yield deleting(one[2], one[3])
    yield deleting_session("v", "t", other)
    in_second_session = [message(number, session="gone") for number in range(3)]
    yield appending(*in_second_session)
    yield erasing("v", other)
    yield appending(*[message(number, user="v") for number in range(40, 43)])
    yield erasing("v", [message(number, user="v") for number in range(40, 43)])
    yield reopening()
    yield appending(one[5])
    yield appending(*one[6:9])
    yield optimizing("u")


def vectors() -> Iterator[Step]:
    """Yield every kind of write of the vector index, beside messages in the same file."""
    made = [record(number) for number in range(12)]
    others = [record(number, user="v") for number in range(4)]
    yield upserting("u", *made[:4])
    yield appending(message(1), message(2))
    yield upserting("u", record(1, text="replaced"), record(2, text=None), made[5])
    yield upserting("v", *others)
    yield deleting_vectors("u", made[0])
    yield erasing_vectors("v", *others)
    yield reopening()
    yield upserting("u", made[6])
    yield appending(message(3))


def many(seed: int = 0, steps: int = 120) -> Iterator[Step]:
    """Yield random writes, long texts among them, so that the log is emptied on the way."""
    rng = random.Random(seed)
    live: dict[str, Message] = {}
    number = 0

    def some(count: int) -> list[Message]:
        nonlocal number
        made: list[Message] = []
        user = rng.choice("uvw")
        for _ in range(count):
            number += 1
            text = "x" * rng.choice([10, 100, 1000, 1000, 20_000, 200_000])
            made.append(
                message(number, user=user, session=rng.choice("st"), text=f"{number} {text}")
            )
        return made

    for _ in range(steps):
        kind = rng.choices(["append", "replace", "delete", "session", "reopen"], [70, 12, 10, 2, 2])
        if kind == ["append"] or not live:
            fresh = some(rng.choice([1, 1, 1, 3, 6]))
            live |= {one.id: one for one in fresh}
            yield appending(*fresh)
        elif kind == ["replace"]:
            chosen = rng.choice(list(live.values()))
            changed = replace(chosen, content=f"{chosen.content[:50]} changed {rng.random()}")
            live[changed.id] = changed
            yield replacing(changed)
        elif kind == ["delete"]:
            chosen = live.pop(rng.choice(list(live)))
            yield deleting(chosen)
        elif kind == ["session"]:
            chosen = rng.choice(list(live.values()))
            who = (chosen.user_id, chosen.session_id)
            gone = [one for one in live.values() if (one.user_id, one.session_id) == who]
            live = {one: kept for one, kept in live.items() if kept not in gone}
            yield deleting_session(*who, gone)
        else:
            yield reopening()


WORKLOADS: Final[Mapping[str, Callable[[], Iterator[Step]]]] = {
    "life": life,
    "vectors": vectors,
    "many": many,
    **{f"many-{seed}": lambda seed=seed: many(seed) for seed in range(1, 10)},  # type: ignore[misc]  # a default binds it
}


# -- planted faults ----------------------------------------------------------------------------


class WriteBehind(SqliteConversationStore):
    """Acknowledges an append before it is written: the next one writes it."""

    _late: tuple[str, Sequence[EncodedMessage]] | None = None

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        late, self._late = self._late, (user_id, entries)
        if late is not None:
            super()._append(op, *late)
        return AppendResult(tuple(entry.message.id for entry in entries))


class OneByOne(SqliteConversationStore):
    """Writes a batch message by message, each in a transaction of its own."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        for entry in entries:
            super()._append(op, user_id, [entry])
        return AppendResult(tuple(entry.message.id for entry in entries))


class Silent(SqliteConversationStore):
    """Calls an append that failed done."""

    def _append(
        self, op: Operation, user_id: str, entries: Sequence[EncodedMessage]
    ) -> AppendResult:
        try:
            return super()._append(op, user_id, entries)
        except Exception:  # noqa: BLE001 - the planted fault
            return AppendResult(tuple(entry.message.id for entry in entries))


class _Sure(Database):
    def translate(
        self, error: Exception, outcome: Outcome = Outcome.NOT_APPLIED
    ) -> IalStoreError | None:
        return super().translate(error)


class Sure(SqliteConversationStore):
    """Says of every error that nothing was applied."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._db.__class__ = _Sure


PLANTED_STORES: Final[Mapping[str, type[SqliteConversationStore]]] = {
    "write-behind": WriteBehind,
    "one-by-one": OneByOne,
    "silent": Silent,
    "sure": Sure,
}


# -- the program -------------------------------------------------------------------------------


class Journal:
    """Lines in a file, each written at once with ``writev``, which SQLite doesn't use."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, **what: object) -> None:
        os.writev(self._descriptor, [json.dumps(what).encode() + b"\n"])


def run(place: Place, steps: Iterator[Step], journal: Journal, *, stop_at_error: bool) -> None:
    """Go through the steps, each once, whatever happens to it."""
    for number, step in enumerate(steps):
        ended: dict[str, object]
        journal.note(step=number, began=step.name)
        try:
            answer = step.call(place)
        except IalStoreError as error:
            ended = {
                "outcome": error.outcome,
                "error": type(error).__name__,
                "retryable": error.retryable,
                "text": str(error),
            }
        except Exception as error:  # noqa: BLE001 - the test judges it
            ended = {"outcome": Outcome.UNKNOWN, "error": type(error).__name__, "text": str(error)}
        else:
            as_expected = step.answer is None or answer == step.answer
            ended = {"outcome": ACKNOWLEDGED, "as_expected": as_expected}
            if isinstance(answer, bool):
                ended["answer"] = answer
        journal.note(step=number, **ended)
        if stop_at_error and "error" in ended:
            os._exit(0)  # as if killed: nothing is closed
    place.close()
    journal.note(ended=True)


def ready(arguments: Sequence[str]) -> Callable[[], None]:
    """Return what runs a workload as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("journal", type=Path)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--synchronous", default="full")
    parser.add_argument("--planted", default="")
    parser.add_argument("--guest", action="store_true")
    parser.add_argument("--stop-at-error", action="store_true")
    given = parser.parse_args(arguments)
    place = Place(
        given.path, synchronous=given.synchronous, planted=given.planted, guest=given.guest
    )
    place.begin()
    journal = Journal(given.journal)
    steps = WORKLOADS[given.workload]()
    return lambda: run(place, steps, journal, stop_at_error=given.stop_at_error)


def serve() -> None:
    """Run workloads in children, one after the other, as lines of standard input ask for them.

    A child says its number and waits for a line before it begins, so that a tracer can attach to
    it; its end is told as a line, too. Python starts once for all of them.
    """
    lines = os.fdopen(0, "rb", buffering=0)
    while line := lines.readline():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                workload = ready(json.loads(line))
                _let_anyone_trace()
                sys.stdout.write(f"{os.getpid()}\n")
                sys.stdout.flush()
                lines.readline()
                workload()
                status = 0
            finally:
                if status:
                    traceback.print_exc()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _let_anyone_trace() -> None:
    with contextlib.suppress(AttributeError):  # where there is no prctl, nothing is to be allowed
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)


if __name__ == "__main__":
    serve()
