"""What a file must hold after a workload was disturbed, and what it does hold.

The promises: what was acknowledged is all there; what was not is there whole or not at all; nothing
is there that nobody wrote; an error's outcome is true; all ways to read agree; and what is
delivered again is not there twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ialstore import ConversationStore, IalStoreError, Message, MessageSummary, VectorIndex
from ialstore_backends.sqlite import SqliteConversationStore, SqliteVectorIndex
from tests.faults.workload import ACKNOWLEDGED, SPEC, Key, Step, message_form, vector_form

__all__ = [
    "Ended",
    "Found",
    "Ledger",
    "deliver_again",
    "ledger_of",
    "points",
    "read_everything",
    "read_journal",
]


@dataclass(frozen=True)
class Ended:
    """How a step ended; one that was cut off has no outcome.

    Attributes:
        step: its number.
        outcome: acknowledged, or that of the error; empty when it was cut off.
        error: name of the error's class, or empty.
        retryable: whether the error said so.
        text: of the error.
        as_expected: whether the answer was that of an undisturbed run.
        answer: of a call that answers yes or no.
    """

    step: int
    outcome: str = ""
    error: str = ""
    retryable: bool = False
    text: str = ""
    as_expected: bool = True
    answer: bool = True


@dataclass(frozen=True)
class Found:
    """What was read from a file, and where two ways to read it did not agree."""

    forms: Mapping[Key, str]
    disagreements: Sequence[str] = ()


def read_journal(text: bytes) -> tuple[list[Ended], bool]:
    """Return how each step ended that began, and whether the program came to its end."""
    ended: dict[int, Ended] = {}
    whole = False
    for line in text.splitlines():
        noted: dict[str, Any] = json.loads(line)
        if "ended" in noted:
            whole = True
        elif "began" in noted:
            ended[noted["step"]] = Ended(noted["step"])
        else:
            ended[noted["step"]] = Ended(**noted)
    return list(ended.values()), whole


class Ledger:
    """Which states each message and vector may be in."""

    def __init__(self) -> None:
        self.possible: dict[Key, set[str | None]] = {}
        self._open: list[tuple[Step, dict[Key, str | None]]] = []

    def note(self, step: Step, ended: Ended) -> None:
        """Take note of a step and how it ended."""
        for key in step.effect:
            self.possible.setdefault(key, {None})
        if ended.outcome == "not_applied":
            return
        if ended.outcome == ACKNOWLEDGED:
            if step.name == "replace" and not ended.answer:
                return  # there was nothing to replace
            for key, form in step.effect.items():
                self.possible[key] = {form}
        else:
            whole = step.whole and ended.outcome != "partial"
            if whole:
                self._open.append((step, dict(step.effect)))
            for key, form in step.effect.items():
                self.possible[key].add(form)
        for earlier, effect in self._open:
            for key in step.effect.keys() if earlier is not step else ():
                effect.pop(key, None)  # a later step settled it

    def judge(self, found: Found) -> list[str]:
        """Return one sentence for each promise that is broken."""
        broken = list(found.disagreements)
        unknown = found.forms.keys() - self.possible.keys()
        broken += [f"{_named(key)} is there, and nobody wrote it" for key in sorted(unknown)]
        for key, states in self.possible.items():
            form = found.forms.get(key)
            if form in states:
                continue
            if form is None:
                broken.append(f"{_named(key)} was acknowledged and is lost")
            elif states == {None}:
                broken.append(f"{_named(key)} is there again, or though it was not applied")
            else:
                broken.append(f"{_named(key)} is not as it was written")
        for step, effect in self._open:
            done = {found.forms.get(key) == form for key, form in effect.items()}
            if len(done) > 1:
                broken.append(f"{step.name} of {len(effect)} was done in part")
        return broken


def ledger_of(steps: Iterable[Step], ended: Sequence[Ended]) -> Ledger:
    """Return the ledger of the steps that began."""
    ledger = Ledger()
    for step, how in zip(steps, ended, strict=False):
        ledger.note(step, how)
    return ledger


def points(total: int, most: int | None) -> list[int]:
    """Return numbers from 1 to the total: all, or a few with the same distance between them."""
    if most is None or total <= most:
        return list(range(1, total + 1))
    return sorted({1 + round(n * (total - 1) / (most - 1)) for n in range(most)})


def _named(key: Key) -> str:
    kind, user, one = key
    return f"{kind} {one} of {user}"


# -- reading -----------------------------------------------------------------------------------


def read_everything(path: Path) -> Found:
    """Read a file by every public way of the store, and of the index if there is one."""
    forms: dict[Key, str] = {}
    disagreements: list[str] = []
    with SqliteConversationStore(path, timeout_seconds=2) as store:
        disagreements += _read_messages(store, forms)
        faults = store.check()
    if "vectors" in _tables(path):
        with SqliteVectorIndex(path, SPEC, timeout_seconds=2) as index:
            disagreements += _read_vectors(index, forms)
            faults += index.check()
    # An erase that was cut off leaves its mark; what it left is judged by the ledger.
    disagreements += [fault for fault in faults if "an erase was held up" not in fault]
    return Found(forms, disagreements)


def _tables(path: Path) -> set[str]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def _read_messages(store: ConversationStore, forms: dict[Key, str]) -> Iterator[str]:
    for user in _users(store):
        there = _history(store, user)
        for message in there:
            forms["message", user, message.id] = message_form(message)
        ids = [message.id for message in there]
        if ids != sorted(set(ids)):
            yield f"history of {user} is not in order, or holds a message twice"
        if _history(store, user, newest_first=False) != there[::-1]:
            yield f"history of {user} differs with its direction"
        if [one for n in range(0, len(ids), 100) for one in store.get(user, ids[n : n + 100])] != (
            there
        ):
            yield f"get of {user} differs from history"
        if store.summaries(user, limit=1000).items != tuple(map(MessageSummary.of, there[::-1])):
            yield f"summaries of {user} differ from history"
        newest = {message.session_id: message.created_at for message in there}
        if {one.session_id: one.last_active for one in store.sessions(user, limit=1000)} != newest:
            yield f"sessions of {user} differ from history"
        for session in newest:
            own = [message for message in there if message.session_id == session]
            if _history(store, user, session_id=session) != own:
                yield f"history of {user} in {session} differs from all of it"


def _users(store: ConversationStore | VectorIndex) -> list[str]:
    return list(store.users(limit=1000))


def _history(store: ConversationStore, user: str, **which: Any) -> list[Message]:
    """Return all messages, oldest first, or newest first with ``newest_first=False``."""
    found: list[Message] = []
    cursor = None
    while True:
        page = store.history(user, limit=7, cursor=cursor, **which)
        found += page
        cursor = page.cursor
        if cursor is None:
            return found[::-1]


def _read_vectors(index: VectorIndex, forms: dict[Key, str]) -> Iterator[str]:
    for user in _users(index):
        ids = list(index.ids(user, limit=1000))
        records = index.get(user, ids[:100])
        for record in records:
            forms["vector", user, record.id] = vector_form(record)
        if [record.id for record in records] != ids:
            yield f"get of {user} differs from ids"
        if index.count(user) != len(ids):
            yield f"count of {user} differs from ids"
        hits = index.search(user, [1.0] * SPEC.dimension, k=1000).hits
        if {(hit.id, hit.text) for hit in hits} != {(one.id, one.text) for one in records}:
            yield f"search of {user} differs from get"


def deliver_again(path: Path, steps: Iterable[Step], ledger: Ledger) -> list[str]:
    """Repeat each append that may be there unchanged; return what that broke."""
    broken: list[str] = []
    with SqliteConversationStore(path, timeout_seconds=2) as store:
        for step in steps:
            if step.name != "append" or any(
                ledger.possible.get(key, {None}) - {form, None}
                or ledger.possible.get(key, {None}) == {None}
                for key, form in step.effect.items()
            ):
                continue
            ids = [one for _, _, one in step.effect]
            user = next(iter(step.effect))[1]
            try:
                result = step.call(_Reopened(store))  # type: ignore[arg-type]  # all an append asks
            except IalStoreError as error:
                broken.append(f"an append could not be repeated: {error}")
                continue
            answered = [*result.stored, *result.duplicates]  # type: ignore[attr-defined]
            if sorted(answered) != sorted(ids):
                broken.append("an append that was repeated answers for other messages")
            found = [message.id for message in _history(store, user)]
            if any(found.count(one) != 1 for one in ids):
                broken.append(f"an append of {user} that was repeated is not there once")
    return broken


@dataclass(frozen=True)
class _Reopened:
    store: SqliteConversationStore
