"""What a loss of power may leave of files, from a recorded program.

The program ran unmodified under strace, which noted every call that changes a file. From these
calls the folder is made again as it may be found after the power failed at any moment: what a
file's last completed sync covers is there; of what was written later any part may be missing, in
any order, and a write may be torn at sectors of 512 bytes; a new, renamed or removed name is
certain only when the folder was synced. After a sync that failed, what it should have covered may
be missing for ever, as on Linux, where the next sync reports success.

A file system of SQLite's own (a VFS, as ``apsw`` offers) would do the same with less code, but the
store uses the ``sqlite3`` module, which takes no VFS from another library: only a trace shows the
program that users run. The memory map of ``-shm`` can't be traced; after a loss of power SQLite
must not trust it, so it is left out or filled with noise. A disk that reports a sync as done before
it is (a lying one) is not simulated: nothing above it can help.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.strace import Call

__all__ = ["Disk", "Event", "events_of", "journal_of"]

_SECTOR_BYTES: Final = 512
_BEHIND_DESCRIPTOR: Final = re.compile(r"\b\d+<([^>]*)>")
_TEXT: Final = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Event:
    """One change of the folder, or a promise about it.

    Attributes:
        kind: ``write``, ``truncate``, ``create``, ``remove``, ``sync``, ``failed sync``, or
            ``note`` for a line of the journal.
        name: of the file; empty for the folder.
        offset: of a write; the new length for ``truncate``.
        data: written.
    """

    kind: str
    name: str
    offset: int = 0
    data: bytes = field(default=b"", repr=False)


def events_of(calls: Iterable[Call], home: Path) -> list[Event]:
    """Return the events of a recording in a folder, and the lines of its journal."""
    reader = _Reader(str(home))
    return [event for call in calls for event in reader.events(call)]


def journal_of(events: Iterable[Event]) -> bytes:
    """Return what the journal held after these events."""
    return b"".join(event.data for event in events if event.kind == "note")


class _Reader:
    """Makes events of calls, one after the other."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._there: set[str] = set()

    def events(self, call: Call) -> Iterator[Event]:
        behind = _BEHIND_DESCRIPTOR.search(call.arguments)
        name = self._name(behind[1]) if behind else ""
        data = b"".join(_decoded(text) for text in _TEXT.findall(call.arguments))
        last = call.arguments.rpartition(", ")[2]
        if call.name in ("fsync", "fdatasync"):
            yield Event("failed sync" if call.result else "sync", name)
        elif call.name == "fcntl" or call.result is None or call.result < 0:
            return
        elif call.name == "writev":
            yield Event("note", "", data=data[: call.result])
        elif call.name == "pwrite64":
            yield Event("write", name, int(last), data[: call.result])
        elif call.name == "ftruncate":
            yield Event("truncate", name, int(last))
        elif call.name == "unlink":
            yield from self._removed(data.decode().removeprefix(self._home + "/"))
        elif call.name == "openat":
            yield from self._opened(self._name(call.opened), call.arguments)
        else:
            is_shared = "PROT_WRITE" in call.arguments and "MAP_SHARED" in call.arguments
            assert call.name == "mmap", f"{call.name} is not simulated"
            assert name.endswith("-shm") or not is_shared, "a file is written through memory"

    def _removed(self, name: str) -> Iterator[Event]:
        self._there.discard(name)
        yield Event("remove", name)

    def _opened(self, name: str, arguments: str) -> Iterator[Event]:
        assert "O_TRUNC" not in arguments
        if "O_CREAT" in arguments and name != "journal" and name not in self._there:
            self._there.add(name)
            yield Event("create", name)

    def _name(self, path: str) -> str:
        """Return a name in the folder, or of the journal beside it; empty for the folder."""
        text = _decoded(path).decode()
        return "" if text == self._home else Path(text).name


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class _Change:
    event: Event
    hopeless: bool = False
    """A sync of it failed: later ones don't make it certain."""


class _File:
    """One file: what is certain to be on the disk, and what may be."""

    def __init__(self) -> None:
        self._certain = bytearray()
        self._open: list[tuple[_Change, bool]] = []

    def change(self, event: Event) -> None:
        self._open.append((_Change(event), False))

    def sync(self) -> None:
        self._open = [(change, not change.hopeless) for change, _ in self._open]
        while self._open and self._open[0][1]:
            _apply(self._certain, self._open.pop(0)[0].event)

    def fail_to_sync(self) -> None:
        for change, is_certain in self._open:
            change.hopeless = change.hopeless or not is_certain

    def image(self, rng: random.Random, manner: str) -> bytes:
        """Return its bytes after a loss of power."""
        data = bytearray(self._certain)
        noise = rng.random() < 0.3
        kept_so_far = True
        for change, is_certain in self._open:
            event = change.event
            if manner == "prefix":
                kept_so_far = kept_so_far and rng.random() < 0.8
            kept = {
                "lost": False,
                "kept": True,
                "prefix": kept_so_far,
                "some": rng.random() < 0.5,
                "torn": rng.random() < 0.8,
            }[manner]
            if is_certain:
                _apply(data, event)
            elif not kept or event.kind == "truncate":
                if kept:
                    _apply(data, event)
                elif rng.random() < 0.3:  # the length was written, the data not
                    _lengthen(data, event.offset + len(event.data), rng if noise else None)
            else:
                for part in _sectors(event) if manner == "torn" else [event]:
                    if manner != "torn" or rng.random() < 0.6:
                        _lengthen(data, part.offset, rng if noise else None)
                        _apply(data, part)
        return bytes(data)


def _apply(data: bytearray, event: Event) -> None:
    if event.kind == "truncate":
        del data[event.offset :]
        _lengthen(data, event.offset)
    else:
        _lengthen(data, event.offset)
        data[event.offset : event.offset + len(event.data)] = event.data


def _lengthen(data: bytearray, length: int, noise: random.Random | None = None) -> None:
    missing = max(0, length - len(data))
    data += noise.randbytes(missing) if noise else bytes(missing)


def _sectors(event: Event) -> Iterable[Event]:
    first, end = event.offset, event.offset + len(event.data)
    while first < end:
        after = min(end, (first // _SECTOR_BYTES + 1) * _SECTOR_BYTES)
        start = first - event.offset
        yield Event("write", event.name, first, event.data[start : after - event.offset])
        first = after


class Disk:
    """A folder on a disk, as the events have left it so far."""

    MANNERS: Final = ("lost", "kept", "prefix", "some", "torn")
    """What becomes of changes that no sync has made certain."""

    def __init__(self) -> None:
        self._now: dict[str, _File] = {}
        self._certain: dict[str, _File] = {}
        self._open: list[tuple[str, _File | None]] = []

    def take(self, event: Event) -> None:
        """Let one event happen."""
        if event.kind == "note":
            return
        if event.kind == "create":
            self._now[event.name] = _File()
            self._open.append((event.name, self._now[event.name]))
        elif event.kind == "remove":
            del self._now[event.name]
            self._open.append((event.name, None))
        elif not event.name:
            if event.kind == "sync":
                self._certain = dict(self._now)
                self._open.clear()
        elif event.kind == "sync":
            self._now[event.name].sync()
        elif event.kind == "failed sync":
            self._now[event.name].fail_to_sync()
        else:
            self._now[event.name].change(event)

    def left(self, rng: random.Random) -> Mapping[str, bytes]:
        """Return the files as a loss of power may leave them now, by name."""
        names = dict(self._certain)
        manner = rng.choice(self.MANNERS)
        for name, file in self._open:
            if manner == "kept" or (manner != "lost" and rng.random() < 0.5):
                if file is None:
                    names.pop(name, None)
                else:
                    names[name] = file
        left = {name: file.image(rng, manner) for name, file in names.items()}
        for name in [one for one in left if one.endswith("-shm")]:
            left[name] = rng.randbytes(32768)
            if rng.random() < 0.5:
                del left[name]
        return left


def power_fails(events: Sequence[Event], moment: int, rng: random.Random, folder: Path) -> Path:
    """Make in a new folder what a loss of power behind so many events leaves; return its path."""
    disk = Disk()
    for event in events[:moment]:
        disk.take(event)
    folder.mkdir()
    for name, data in disk.left(rng).items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    return folder / "agent.db"
