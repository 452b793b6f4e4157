"""Databases to damage, and a judge of what is read of them then; ``mutants`` damages them.

A sound database holds messages and their vectors on many pages, and what was acknowledged is known
from the messages themselves. Each way to read it answers as on the sound one, or raises an error of
ours. Where SQLite can't know that a page is not the one it wrote last, an answer may lack
something, or be what was true before a change: then ``check`` has to say that the file is damaged.
What was never acknowledged, or belongs to another user, is no answer at all.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from ialstore import (
    ConfigurationError,
    ContextEngine,
    CorruptError,
    Message,
    MessageSummary,
    StoreNotReadyError,
    UnavailableError,
    Where,
)
from ialstore.embedding import HashingEmbedder
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from tests.faults.ledger import read_everything
from tests.faults.workload import SPEC, START, message_form

__all__ = ["Files", "Sound", "judge", "make", "put"]

Files: TypeAlias = Mapping[str, bytes]
"""By the end of their names: nothing, ``-wal``, ``-shm``, ``-journal``."""
Way: TypeAlias = tuple[str, str]
"""Whose data are read, and how."""

USERS: Final = ("u", "u1", "v")
SESSIONS: Final = ("s", "s2")
QUERY: Final = "which harbour has the red boat"
WORDS: Final = ("red", "blue", "boat", "harbour", "night", "rain", "letter", "garden", "stone")
FIRST: Final = 180
LATER: Final = 24
TIMEOUT_SECONDS: Final = 5.0
TYPED: Final = (ConfigurationError, CorruptError, StoreNotReadyError)
"""What a read of a damaged file may raise; a write also ``UnavailableError``."""


# -- sound databases ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Sound:
    """A database without damage.

    Attributes:
        files: as they are.
        earlier: the main file as it was before the last writes.
        others: files of a store that was never this one.
        states: forms of all messages after each of the last writes, the newest last.
        right: what each way to read it answers.
        known: items of true answers, now and earlier, by user.
    """

    files: Files
    earlier: bytes = field(repr=False)
    others: Files = field(repr=False)
    states: Sequence[Collection[str]] = field(repr=False)
    right: Mapping[Way, Sequence[str]] = field(default_factory=dict, repr=False)
    known: Mapping[str, Collection[str]] = field(default_factory=dict, repr=False)


def make(folder: Path, *, with_log: bool) -> Sound:
    """Make a database; with a log, the last writes stand in the log alone."""
    folder.mkdir(parents=True)
    path, other = folder / "agent.db", folder / "other.db"
    with _engine(other) as engine:
        engine.append(*(_message(number, "w") for number in range(1000, 1060)))
        others = _files(other)
    held = {one.id: one for one in map(_message, range(FIRST))}
    with _engine(path) as engine:
        for user in USERS:
            engine.append(*(one for one in held.values() if one.user_id == user))
    earlier = path.read_bytes()
    vectors: dict[str, set[str]] = {user: set() for user in ("", *USERS)}
    with _engine(path) as engine:
        engine.store.users()  # opens the file: the log is written from here on
        states = [dict(held), *_later(engine, held, vectors)]
        files = _files(path)
    sound = Sound(
        files if with_log else _files(path),
        earlier,
        others,
        [{message_form(one) for one in state.values()} for state in states],
    )
    now, before = (
        read(put(folder / name, some))
        for name, some in (("now", sound.files), ("before", {"": earlier}))
    )
    for reading, state in ((now, sound.states[-1]), (before, sound.states[0])):
        assert not reading.errors, reading.errors
        assert not reading.faults, reading.faults
        assert _messages_of(reading) == state
    known = {
        user: {
            item
            for reading in (now, before)
            for way, answer in reading.answers.items()
            for item in answer
            if way[0] == user
        }
        | {
            item
            for state in states
            for one in state.values()
            for item in _items(one)
            if one.user_id == user
        }
        | vectors[user]
        for user in ("", *USERS)
    }
    return replace(sound, right=now.answers, known=known)


def _later(
    engine: ContextEngine, held: dict[str, Message], vectors: Mapping[str, set[str]]
) -> Iterator[Mapping[str, Message]]:
    """Append, replace and delete; yield the messages after each, and collect their vectors."""
    numbers = random.Random(0)
    for number in range(FIRST, FIRST + LATER):
        message = _message(number)
        engine.append(message)
        held[message.id] = message
        yield dict(held)
        old = numbers.choice(list(held.values()))
        if number % 3 == 0:
            held[old.id] = replace(old, content=f"changed {number} {old.content[:60]}")
            engine.replace(held[old.id])
            for call in _ways_of_index(engine, old.user_id).values():
                vectors[old.user_id].update(call())
        elif number % 3 == 1:
            engine.delete(old.user_id, [old.id])
            del held[old.id]
        yield dict(held)


def _message(number: int, user: str = "") -> Message:
    numbers = random.Random(number)
    text = " ".join(numbers.choices(WORDS, k=numbers.choice([3, 10, 60]) if number % 30 else 2500))
    rich: dict[str, Any] = {
        "summary": f"summary {number}",
        "tokens": number,
        "turn_id": f"turn {number}",
        "metadata": {"number": number},
        "payload": [number, text[:20]],
        "expires_at": START + timedelta(days=36500),
    }
    return Message.new(
        user_id=user or USERS[number % len(USERS)],
        session_id=SESSIONS[number // len(USERS) % len(SESSIONS)],
        role="user" if number % 2 else "assistant",
        content=f"{number} {text}",
        created_at=START + timedelta(seconds=number),
        key=str(number),
        **(rich if number % 4 == 0 else {}),
    )


def _engine(path: Path) -> ContextEngine:
    return ContextEngine(
        SqliteConversationStore(path, timeout_seconds=TIMEOUT_SECONDS),
        SqliteVectorIndex(path, SPEC, timeout_seconds=TIMEOUT_SECONDS),
        HashingEmbedder(dimension=SPEC.dimension),
    )


def _files(path: Path) -> Files:
    files = {end: path.with_name(path.name + end) for end in ("", "-wal")}
    return {end: file.read_bytes() for end, file in files.items() if file.exists()}


def put(folder: Path, files: Files) -> Path:
    """Put files into a new folder, for the owner alone; return the path of the main one."""
    folder.mkdir()
    for end, data in files.items():
        file = folder / f"agent.db{end}"
        file.write_bytes(data)
        file.chmod(0o600)
    return folder / "agent.db"


# -- reading -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What each way to read a database answered, or raised.

    Attributes:
        answers: items in their order.
        errors: of the ways that raised, of ``check`` and of appends.
        faults: what ``check`` of the store and of the index said.
        broken: what was read behind an append did not agree with its answer.
        seconds: the longest that a way took.
    """

    answers: Mapping[Way, Sequence[str]]
    errors: Mapping[Way, Exception]
    faults: Sequence[str]
    broken: Sequence[str]
    seconds: float


def read(path: Path, *, appending: bool = False) -> Reading:
    """Read a database in every way, whatever the others did; check it, and write to it at last."""
    answers: dict[Way, Sequence[str]] = {}
    errors: dict[Way, Exception] = {}
    faults: list[str] = []
    broken: list[str] = []
    seconds = 0.0
    with _engine(path) as engine:
        for way, call in _ways(engine):
            began = time.monotonic()
            try:
                answers[way] = list(call())
            except Exception as error:  # noqa: BLE001 - judged by its kind
                errors[way] = error
            seconds = max(seconds, time.monotonic() - began)
        for part in (engine.store, engine.index):
            try:
                faults += part.check()
            except Exception as error:  # noqa: BLE001 - judged by its kind
                errors["", f"check of {type(part).__name__}"] = error
                faults.append(str(error))
        for one in (_message(0), _message(FIRST + LATER)) if appending else ():
            try:
                broken += _append(engine, one)
            except Exception as error:  # noqa: BLE001 - judged by its kind
                errors[one.user_id, f"append of {one.id}"] = error
    return Reading(answers, errors, faults, broken, seconds)


def _append(engine: ContextEngine, message: Message) -> Iterator[str]:
    """Append a message, which may be there; yield what does not agree with the answer then."""
    store, user = engine.store, message.user_id
    store.append(message)
    if store.get(user, [message.id]) != [message]:
        yield f"{message.id} was acknowledged and can't be got"
    pages = _paged(store.history, user, session_id=message.session_id)
    if (times := [one.id for one in pages].count(message.id)) != 1:
        yield f"{message.id} was acknowledged and is {'twice' if times else 'not'} in its session"


def _ways(engine: ContextEngine) -> Iterator[tuple[Way, Callable[[], Collection[str]]]]:
    yield ("", "users of messages"), lambda: list(engine.store.users())
    yield ("", "users of vectors"), lambda: list(engine.index.users())
    for user in USERS:
        ways = {**_ways_of_store(engine, user), **_ways_of_index(engine, user)}
        for name, call in ways.items():
            yield (user, name), call


def _ways_of_store(engine: ContextEngine, user: str) -> Mapping[str, Callable[[], Collection[str]]]:
    store = engine.store
    ids = [one.id for one in map(_message, range(FIRST + LATER)) if one.user_id == user]

    def history(session: str | None, *, newest_first: bool) -> list[str]:
        pages = _paged(store.history, user, session_id=session, newest_first=newest_first)
        return list(map(message_form, pages))

    def summaries(session: str | None) -> list[str]:
        return list(map(repr, _paged(store.summaries, user, session_id=session)))

    def context(session: str | None) -> list[str]:
        built = engine.build_context(QUERY, user, session)
        return [*map(message_form, built.recent), *(f"{m.id} {m.text}" for m in built.memories)]

    def sessions() -> list[str]:
        found = store.sessions(user).items
        return [part for one in found for part in (one.session_id, str(one.last_active))]

    ways: dict[str, Callable[[], Collection[str]]] = {
        "sessions": sessions,
        "get": lambda: list(map(message_form, store.get(user, ids))),
    }
    for session in (None, *SESSIONS):
        ways[f"history of {session}, newest first"] = partial(history, session, newest_first=True)
        ways[f"history of {session}"] = partial(history, session, newest_first=False)
        ways[f"summaries of {session}"] = partial(summaries, session)
        ways[f"context of {session}"] = partial(context, session)
    return ways


def _ways_of_index(engine: ContextEngine, user: str) -> Mapping[str, Callable[[], Collection[str]]]:
    index = engine.index
    ids = [one.id for one in map(_message, range(FIRST + LATER)) if one.user_id == user]
    query = [1.0] * SPEC.dimension

    def search(session: str | None) -> list[str]:
        hits = index.search(user, query, 500, where=Where(session_id=session)).hits
        return [f"{one.id} {one.session_id} {one.text} {one.score:.4f}" for one in hits]

    return {
        "ids": lambda: list(_paged(index.ids, user)),
        "count": lambda: [str(index.count(user))],
        "get of vectors": lambda: [
            f"{one.id} {one.session_id} {one.text} {one.vector.tolist()}"
            for one in index.get(user, ids)
        ],
        "search": partial(search, None),
        **{f"search of {session}": partial(search, session) for session in SESSIONS},
    }


def _paged(call: Callable[..., Any], user: str, **which: Any) -> Iterator[Any]:
    cursor = None
    while True:
        page = call(user, limit=25, cursor=cursor, **which)
        yield from page
        cursor = page.cursor
        if cursor is None:
            return


def _items(message: Message) -> Iterator[str]:
    """Yield what true answers say of a message, but for its vector."""
    yield message_form(message)
    yield repr(MessageSummary.of(message))
    yield str(message.created_at)
    yield f"{message.id} {message.content}"


def _messages_of(reading: Reading) -> Collection[str]:
    return {form for user in USERS for form in reading.answers[user, "history of None"]}


# -- judging -----------------------------------------------------------------------------------


def judge(sound: Sound, folder: Path, files: Files) -> tuple[str, list[str]]:
    """Read a mutant; return what became of its answers, and which promises are broken.

    ``right``: they are. ``refused``: or an error was raised. ``noticed``: some lack something, or
    are those of before a change, and ``check`` says that the file is damaged. ``earlier``: all are
    those of an earlier state, and ``check`` says nothing; ``last``: of the one before the last
    write.
    """
    reading = read(put(folder, files), appending=True)
    broken = _broken(reading)
    wrong = {way: answer for way, answer in reading.answers.items() if answer != sound.right[way]}
    for way, answer in wrong.items():
        if way[1] != "count" and (unknown := {*answer} - {*sound.known[way[0]]}):
            broken.append(f"{way} answers what was never acknowledged: {min(unknown)[:200]}")
        if way[1] != "sessions" and len({*answer}) < len(answer):
            broken.append(f"{way} answers something twice")
    if not wrong:
        return ("refused" if reading.errors else "right"), broken
    if reading.faults:
        return "noticed", broken
    if broken:
        return "earlier", broken
    return _judge_earlier(sound, put(folder / "again", files))


def _broken(reading: Reading) -> list[str]:
    """Return which promises are broken whatever the answers are."""
    broken = [one for one in reading.broken if not reading.faults or "twice" in one]
    for way, error in reading.errors.items():
        if way[1].startswith("append"):
            if not isinstance(error, (*TYPED, UnavailableError)):
                broken.append(f"{way} raised {error!r}")
        elif not isinstance(error, TYPED):
            broken.append(f"{way} raised {error!r}")
        elif not reading.faults:
            broken.append(f"{way} raised {error!r}, and check says nothing")
    if reading.seconds > TIMEOUT_SECONDS + 1:
        broken.append(f"an answer took {reading.seconds:.1f} s")
    return broken


def _judge_earlier(sound: Sound, path: Path) -> tuple[str, list[str]]:
    """Return whether all but the last write is there, and what is not as it was at any time."""
    found = read_everything(path)
    forms = {form for (kind, _, _), form in found.forms.items() if kind == "message"}
    broken = list(found.disagreements)
    if forms not in sound.states:
        broken.append("what is read was never true, and check says nothing")
    before_last = max(n for n, state in enumerate(sound.states) if state != sound.states[-1])
    return ("last" if forms in sound.states[before_last:] else "earlier"), broken
