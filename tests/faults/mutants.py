"""Copies of a sound database with one kind of damage each, made by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from tests.faults.damage import Files, Sound

__all__ = ["LOG_MUTATIONS", "MUTATIONS", "PAGE", "Mutation", "older_pages"]

Mutation: TypeAlias = Callable[[Sound, random.Random], Files]
Change: TypeAlias = Callable[[bytearray, random.Random], None]
"""Damages bytes where they are."""

PAGE: Final = 4096
LOG_HEADER: Final = 32
FRAME: Final = 24 + PAGE
SECTOR: Final = 512


def _of(end: str, change: Change) -> Mutation:
    """Return what damages one file of a database."""

    def mutation(sound: Sound, rng: random.Random) -> Files:
        data = bytearray(sound.files[end])
        change(data, rng)
        return {**sound.files, end: bytes(data)}

    return mutation


def _place(data: bytearray, rng: random.Random) -> int:
    """Return a place: half of them in the beginning of a page, where its structure is."""
    if rng.random() < 0.5:
        return rng.randrange(len(data) // PAGE) * PAGE + rng.randrange(64)
    return rng.randrange(len(data))


def _two_blocks(
    data: bytearray, rng: random.Random, start: int = 0, size: int = PAGE
) -> tuple[slice, slice]:
    numbers = rng.sample(range((len(data) - start) // size), 2)
    one, other = (slice(start + n * size, start + (n + 1) * size) for n in numbers)
    return one, other


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    length = rng.choice([1, 4, 16, 100, SECTOR, PAGE])
    start = _place(data, rng)
    start -= start % length if length >= SECTOR else 0
    length = min(length, len(data) - start)
    data[start : start + length] = bytes(length) if rng.random() < 0.5 else rng.randbytes(length)


def exchange(data: bytearray, rng: random.Random) -> None:
    one, other = _two_blocks(data, rng)
    data[one], data[other] = data[other], data[one]


def duplicate(data: bytearray, rng: random.Random) -> None:
    one, other = _two_blocks(data, rng)
    data[one] = data[other]


def cut(data: bytearray, rng: random.Random) -> None:
    """Cut at the border of a page or inside; something is left."""
    pages = rng.randrange(1, len(data) // PAGE)
    del data[pages * PAGE - rng.choice([0, rng.randrange(1, PAGE)]) :]


def grow(data: bytearray, rng: random.Random) -> None:
    more = rng.choice([1, SECTOR, PAGE, 3 * PAGE])
    data += bytes(more) if rng.random() < 0.5 else rng.randbytes(more)


_FIELDS: Final = (
    (0, 16),
    (16, 2),
    *((start, 1) for start in range(18, 24)),
    *((start, 4) for start in range(24, 100, 4)),
)
"""Start and length of the fields of a database's header."""


def change_header(data: bytearray, rng: random.Random) -> None:
    start, length = rng.choice(_FIELDS)
    old, bound = int.from_bytes(data[start : start + length]), 256**length
    new = rng.choice([0, 1, old + 1, old - 1, bound - 1, rng.randrange(bound)]) % bound
    data[start : start + length] = new.to_bytes(length)


def put_back(sound: Sound, rng: random.Random) -> Files:
    """Put pages back as they were earlier: a disk that never made some writes."""
    data, earlier = bytearray(sound.files[""]), sound.earlier
    for start in rng.sample(older_pages(sound), rng.choice([1, 1, 1, 2, 5])):
        data[start : start + PAGE] = earlier[start : start + PAGE]
    return {**sound.files, "": bytes(data)}


def older_pages(sound: Sound) -> list[int]:
    """Return where the pages start that were another earlier."""
    data, earlier = sound.files[""], sound.earlier
    starts = range(0, min(len(data), len(earlier)), PAGE)
    return [start for start in starts if data[start:][:PAGE] != earlier[start:][:PAGE]]


MUTATIONS: Final[Mapping[str, Mutation]] = {
    "flip": _of("", flip),
    "overwrite": _of("", overwrite),
    "exchange": _of("", exchange),
    "duplicate": _of("", duplicate),
    "cut": _of("", cut),
    "grow": _of("", grow),
    "header": _of("", change_header),
    "put-back": put_back,
}
"""Of a database that was closed."""


# -- of a database with a log ------------------------------------------------------------------


def cut_log(data: bytearray, rng: random.Random) -> None:
    frames = rng.randrange((len(data) - LOG_HEADER) // FRAME)
    del data[LOG_HEADER + frames * FRAME + rng.choice([0, -LOG_HEADER, rng.randrange(FRAME)]) :]


def exchange_frames(data: bytearray, rng: random.Random) -> None:
    one, other = _two_blocks(data, rng, LOG_HEADER, FRAME)
    data[one], data[other] = data[other], data[one]


def change_log_header(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(LOG_HEADER)] ^= 1 << rng.randrange(8)


def lose_log(sound: Sound, _: random.Random) -> Files:
    return {"": sound.files[""]}


LOG_MUTATIONS: Final[Mapping[str, Mutation]] = {
    "flip": _of("-wal", flip),
    "overwrite": _of("-wal", overwrite),
    "cut": _of("-wal", cut_log),
    "exchange": _of("-wal", exchange_frames),
    "header": _of("-wal", change_log_header),
    "lose": lose_log,
    "file": _of("", flip),
    "page": _of("", overwrite),
}
"""Of a database whose writer was killed: its last writes stand in the log alone."""
