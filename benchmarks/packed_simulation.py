"""What a search in the layout `packed` would read in DynamoDB, and how much of the truth it finds.

Runs the core of the layout over items in memory and counts units as DynamoDB does: a Query sums
the bytes it reads and rounds up once to 4 KB, a BatchGet rounds every item up, both eventually
consistent; a write is rounded up to 1 KB. A user is measured between two rebuilds: the tail half
full, the codes made anew when there were 1.22 times fewer vectors, those since then plain. Recall
is at ten hits, against exact search, and ties cost nothing. Texts of the hits are in the rows read.

Cold is a process that holds nothing. Held is one that has all codes, and reads what is new of the
tail (half a unit) and the rows. `ms` is the CPU of a search that holds all codes, MiB what it
holds, `built` the seconds of CPU to encode everything and to merge once. Dialogue and LoCoMo are
measured where IALSTORE_DATA has them; the other vectors are synthetic, of quite another kind, and
show whether thresholds carry.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ialstore_backends.lsh.packed.codes import Codes, prepare
from ialstore_backends.lsh.packed.entries import EntryFormat, sign_bits
from ialstore_backends.lsh.packed.head import Head, cell_record_bytes, decode_head
from ialstore_backends.lsh.packed.rebuilding import (
    FILL,
    capacity,
    encode_all,
    merge,
    tail_limit,
)
from ialstore_backends.lsh.packed.rotation import rotation
from ialstore_backends.lsh.packed.searching import Search, View, cells_to_read, rank

Floats = NDArray[np.float32]

K = 10
KEY_BYTES = 96  # keys and names of attributes, of every item
ROW_BYTES = 120  # of a row: the same, id, session and counters
TEXT_BYTES = 500
SINCE = 1.5**0.5  # the middle of the time from one encoding of everything to the next
WRITERS = 3
ROUNDS = 300  # searches timed

FLOOR = 0.95  # of recall
FLOOR_ELSEWHERE = 0.94  # where a few hundred queries of one conversation are all there is
SYNTHETIC = 50_000
GOALS = {1_000: (14, 10), 6_000: (24, 11), 20_000: (36, 12), 50_000: (50, None)}


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors, and others of their kind to search with.

    Attributes:
        name: printed.
        base: shape (n, dimension).
        queries: shape (m, dimension).
        metric: of the index.
    """

    name: str
    base: Floats
    queries: Floats
    metric: str = "cosine"


@dataclass(frozen=True, slots=True, eq=False)
class User:
    """What is stored of one user, and the sizes of its items."""

    layout: EntryFormat
    head: Head
    cells: tuple[bytes, ...]
    head_bytes: int
    tail: NDArray[np.void]
    seconds: float

    @property
    def first_query_bytes(self) -> int:
        """Bytes that the Query of head and tail reads."""
        segments = -(-len(self.tail) // per_segment(self.layout))
        size = self.head_bytes + KEY_BYTES + self.tail.nbytes + segments * KEY_BYTES
        if self.head.facts.flat:
            size += sum(len(cell) + KEY_BYTES for cell in self.cells)
        return size


def per_segment(layout: EntryFormat) -> int:
    """Return how many entries a segment of 1 KB takes."""
    return max(1, (1024 - KEY_BYTES) // layout.nbytes)


def read_units(size: int) -> float:
    """Return what reading so many bytes costs, eventually consistent."""
    return 0.5 * max(1, math.ceil(size / 4096))


def stored(vectors: Vectors) -> User:
    """Return a user whose tail is half full."""
    base = vectors.base
    count, dimension = base.shape
    layout = EntryFormat(dimension, vectors.metric)
    turned = rotation(dimension).apply(base)
    in_cells = count
    while in_cells + tail_limit(layout, in_cells) // 2 > count:
        in_cells -= 1
    encoded = max(1, int(in_cells / SINCE))
    known = np.zeros(count, layout.dtype)
    known["tag"] = np.arange(count)
    began = time.process_time()
    made = encode_all(
        layout, turned[:encoded], known[:encoded], None, version=1, segment=0, key_bytes=KEY_BYTES
    )
    head = decode_head(made.head, layout)
    residuals = turned[encoded:] - head.facts.mean
    late = layout.encode(residuals, sign_bits(residuals), known[encoded:])
    old, tail = late[: in_cells - encoded], late[in_cells - encoded :]
    made = merge(
        head,
        layout.from_bytes(b"".join(made.cells)),
        old,
        segment=0,
        now=0,
        key_bytes=KEY_BYTES,
    )
    seconds = time.process_time() - began
    return User(layout, decode_head(made.head, layout), made.cells, len(made.head), tail, seconds)


def exact_scores(vectors: Vectors) -> Iterator[Floats]:
    """Yield, for each query, what its hits are judged by."""
    for query in vectors.queries:
        if vectors.metric == "euclidean":
            yield -np.sqrt(np.square(vectors.base - query).sum(axis=1))
        else:
            yield vectors.base @ query


@dataclass(slots=True)
class Tally:
    """Recall and units of each query."""

    recalls: list[float]
    units: list[float]

    def add(self, scores: Floats, rows: list[int], units: float, k: int) -> None:
        """Count the hits among the rows read, those at place k with their equals."""
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        least -= 1e-6 * max(1.0, abs(float(least)))
        found = int((scores[rows] >= least).sum())
        self.recalls.append(min(found, k) / k)
        self.units.append(units + 0.5 * len(rows))


def searched(
    vectors: Vectors, user: User, k: int = K, effort: float | None = None
) -> tuple[Tally, Tally]:
    """Return what cold and held searches find and read."""
    layout, head = user.layout, user.head
    cells = [layout.from_bytes(cell) for cell in user.cells]
    units = [read_units(len(cell) + KEY_BYTES) for cell in user.cells]
    everything = View(layout, Codes(layout, np.concatenate(cells)), user.tail)
    first = read_units(user.first_query_bytes)
    cold, held = Tally([], []), Tally([], [])
    for query, scores in zip(vectors.queries, exact_scores(vectors), strict=True):
        search = Search(prepare(query, head.facts.mean, vectors.metric), k, effort)
        cost = first
        chosen = list(range(len(cells)))
        view = everything
        if not head.facts.flat:
            chosen = cells_to_read(head, search)
            cost += sum(units[cell] for cell in chosen)
            some = np.concatenate([cells[cell] for cell in chosen])
            view = View(layout, Codes(layout, some), user.tail)
        complete = len(chosen) == len(cells)
        ranking = rank(view, search, head.facts.calibration, complete=complete)
        cold.add(scores, ranking.next_rows(0), cost, k)
        ranking = rank(everything, search, head.facts.calibration, complete=True)
        held.add(scores, ranking.next_rows(0), 0.5, k)
    return cold, held


def write_units(layout: EntryFormat, count: int) -> float:
    """Return the write units of an upsert on the way to ``count`` vectors, rebuilds included.

    The last doubling, whose rebuilds are the dearest, with several writers: each learns that a
    segment is full by a write that fails and is charged, but for the one that fills it.
    """
    row = math.ceil((layout.dimension + 4 + ROW_BYTES + TEXT_BYTES) / 1024)
    misses = (WRITERS - 1) / per_segment(layout)
    start = count // 2
    in_cells = start
    rebuilds = 0.0
    while in_cells < count:
        tail = tail_limit(layout, in_cells)
        in_cells += tail
        most = capacity(layout, in_cells, KEY_BYTES)
        number = math.ceil(in_cells / int(most * FILL))
        size = in_cells / number * layout.nbytes + KEY_BYTES
        head = layout.dimension + 48 + number * cell_record_bytes(layout)
        rebuilds += number * math.ceil(size / 1024) + math.ceil(head / 1024)
        rebuilds += math.ceil(tail / per_segment(layout))  # segments are deleted
    return row + 1 + misses + rebuilds / (in_cells - start)


def milliseconds(user: User, vectors: Vectors) -> float:
    """Return the CPU of a search that holds all codes, without its reads."""
    cells = np.concatenate([user.layout.from_bytes(cell) for cell in user.cells])
    view = View(user.layout, Codes(user.layout, cells), user.tail)
    began = time.process_time()
    for number in range(ROUNDS):
        query = vectors.queries[number % len(vectors.queries)]
        made = prepare(query, user.head.facts.mean, vectors.metric)
        rank(view, Search(made, K), user.head.facts.calibration, complete=True).next_rows(0)
    return (time.process_time() - began) * 1000 / ROUNDS


def held_bytes(user: User) -> int:
    """Return what a process holds that has all codes of the user."""
    cells = np.concatenate([user.layout.from_bytes(cell) for cell in user.cells])
    view = View(user.layout, Codes(user.layout, cells), user.tail)
    table = user.head.cells
    parts = view.cells.nbytes + view.tail.nbytes + view.alive.nbytes + user.tail.nbytes
    return parts + table.centroids.nbytes + table.spreads.nbytes + table.sizes.nbytes


# -- vectors --------------------------------------------------------------------------------------


def unit(vectors: NDArray[np.floating]) -> Floats:
    """Return rows of unit length."""
    wide = vectors.astype(np.float32)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float32)


def real(folder: Path, sizes: list[int]) -> Iterator[Vectors]:
    """Yield dialogue turns and LoCoMo's, with their own queries."""
    with np.load(folder / "dialog20k_minilm.npz") as data:
        base, queries = unit(data["base"]), unit(data["query"])
    order = np.random.default_rng(0).permutation(len(base))
    for size in sizes:
        if size <= len(base):
            yield Vectors("dialogue", base[order[:size]], queries)
    if SYNTHETIC in sizes:
        yield Vectors("dialogue, mixed", mixed(base, SYNTHETIC), queries)
    with np.load(folder / "locomo6_minilm.npz") as data:
        turns, questions = unit(data["turn_vectors"]), unit(data["question_vectors"])
        mine, asked = data["turn_conversation"], data["question_conversation"]
    yield Vectors("LoCoMo, all", turns, questions)
    for name in np.unique(mine):
        yield Vectors(f"LoCoMo {name}", turns[mine == name], questions[asked == name])


def mixed(base: Floats, count: int) -> Floats:
    """Return the vectors and more: each new one lies between a vector and a near one."""
    rng = np.random.default_rng(1)
    first = rng.integers(len(base), size=count - len(base))
    made: list[Floats] = [base]
    for start in range(0, len(first), 1000):
        some = base[first[start : start + 1000]]
        near = np.argpartition(-(some @ base.T), 40, axis=1)[:, :40]
        other = base[near[np.arange(len(some)), rng.integers(1, 40, len(some))]]
        noise = rng.standard_normal(some.shape) * 0.2 / math.sqrt(some.shape[1])
        made.append(unit(some + rng.uniform(0.3, 1, (len(some), 1)) * other + noise))
    return np.concatenate(made)


def synthetic(size: int) -> Iterator[Vectors]:
    """Yield vectors of other kinds."""
    kinds: dict[str, tuple[int, str, Callable[[np.random.Generator, int], NDArray[np.floating]]]]
    kinds = {
        "anisotropic": (384, "cosine", anisotropic),
        "12 dimensions": (384, "cosine", low_rank),
        "clustered": (384, "cosine", clustered),
        "uniform": (384, "cosine", lambda rng, n: rng.standard_normal((n, 384))),
        "uniform, 64-d": (64, "cosine", lambda rng, n: rng.standard_normal((n, 64))),
        "1024-d": (1024, "cosine", lambda rng, n: topics(rng, n, 1024)),
        "dot": (384, "dot", lambda rng, n: topics(rng, n, 384) * rng.uniform(0.5, 2, (n, 1))),
        "euclidean": (384, "euclidean", lambda rng, n: topics(rng, n, 384) * 7 + 3),
    }
    for name, (_, metric, make) in kinds.items():
        made = make(np.random.default_rng(5), size + 200).astype(np.float32)
        if metric == "cosine":
            made = unit(made)
        yield Vectors(name, made[200:], made[:200], metric)


def anisotropic(rng: np.random.Generator, count: int) -> NDArray[np.floating]:
    """Return vectors with a strong common part, and variances that fall as a power."""
    scale = np.arange(1, 385) ** -0.5
    made: NDArray[np.floating] = rng.standard_normal((count, 384)) * scale + 6 * scale.mean()
    return made


def low_rank(rng: np.random.Generator, count: int) -> NDArray[np.floating]:
    """Return vectors near 12 dimensions."""
    basis = np.random.default_rng(6).standard_normal((12, 384))
    return rng.standard_normal((count, 12)) @ basis + 0.3 * rng.standard_normal((count, 384))


def clustered(rng: np.random.Generator, count: int) -> NDArray[np.floating]:
    """Return vectors around 200 centres."""
    centres = np.random.default_rng(7).standard_normal((200, 384))
    return centres[rng.integers(200, size=count)] + 0.6 * rng.standard_normal((count, 384))


def topics(rng: np.random.Generator, count: int, dimension: int) -> NDArray[np.floating]:
    """Return vectors of topics and subtopics, like those of text."""
    fixed = np.random.default_rng(8)
    coarse = fixed.standard_normal((40, dimension))
    fine = fixed.standard_normal((1000, dimension)) + coarse[fixed.integers(40, size=1000)]
    scale = np.arange(1, dimension + 1) ** -0.3
    made = (fine[rng.integers(1000, size=count)] + rng.standard_normal((count, dimension))) * scale
    return np.asarray(made)


# -- the table ------------------------------------------------------------------------------------


def measure(vectors: Vectors) -> bool:
    """Print the row of some vectors; return whether their goals are met."""
    user = stored(vectors)
    cold, held = searched(vectors, user)
    recalls = [float(np.mean(tally.recalls)) for tally in (cold, held)]
    units = [float(np.mean(tally.units)) for tally in (cold, held)]
    print(
        f"{vectors.name:16} {len(vectors.base):6,} {len(user.cells):5}"
        f" {recalls[0]:7.3f} {units[0]:6.1f} {float(np.quantile(cold.units, 0.95)):6.1f}"
        f" {recalls[1]:9.3f} {units[1]:6.1f}"
        f" {write_units(user.layout, len(vectors.base)):6.2f}"
        f" {milliseconds(user, vectors):6.2f} {held_bytes(user) / 2**20:6.2f}"
        f" {user.seconds:7.1f}",
        flush=True,
    )
    goals = GOALS.get(len(vectors.base)) if vectors.name.startswith("dialogue") else None
    if goals is None:
        return min(recalls) >= FLOOR_ELSEWHERE
    return min(recalls) >= FLOOR and units[0] <= goals[0] and units[1] <= (goals[1] or math.inf)


def efforts(vectors: Vectors) -> None:
    """Print what effort and k change."""
    user = stored(vectors)
    print(f"\n{vectors.name}, {len(vectors.base):,}:   effort      k  recall    cold")
    for effort in (0.05, 0.25, 0.5, 0.75, 1.0):
        cold, _ = searched(vectors, user, effort=effort)
        print(f"{effort:34} {K:6} {np.mean(cold.recalls):7.3f} {np.mean(cold.units):7.1f}")
    for k in (1, 50, 100):
        cold, _ = searched(vectors, user, k=k)
        print(f"{0.5:34} {k:6} {np.mean(cold.recalls):7.3f} {np.mean(cold.units):7.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small numbers only")
    parser.add_argument("--data", type=Path, help="folder of the data (IALSTORE_DATA)")
    options = parser.parse_args()
    data = options.data or os.environ.get("IALSTORE_DATA")
    sizes = [1_000] if options.quick else list(GOALS)
    print(
        "vectors          number  cells  recall   cold    p95"
        "   recall   held  write     ms    MiB   built"
    )
    kinds = [synthetic(1_000 if options.quick else 6_000)]
    if data:
        kinds.insert(0, real(Path(data), sizes))
    else:
        print("no folder of data: set IALSTORE_DATA or --data; synthetic vectors only")
    missed = [
        f"{vectors.name} {len(vectors.base):,}"
        for vectors in chain.from_iterable(kinds)
        if not measure(vectors)
    ]
    if data:
        efforts(next(real(Path(data), [1_000 if options.quick else 6_000])))
    print("goals missed:", ", ".join(missed) or "none")


if __name__ == "__main__":
    main()
