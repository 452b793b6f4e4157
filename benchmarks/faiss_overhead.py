"""What a search of `faiss:` costs, against the bare FAISS index of the same kind and vectors.

For each kind: a search through the public method, texts and exact scores included, taking turns
with two of FAISS, 25 in a row, each with another query than the ones before; medians. `faiss_us` is
what FAISS's own index of floats takes, `IndexFlatIP`, `IndexHNSWFlat` or `IndexIVFFlat`, made the
same way and asked with the same breadth; `index_us` is what the very index takes that ours asks, so
that what is left is ours. How much of that is work, and how much is memory that a walk through the
index drives out of the processor's caches, says the same call over and over with the index's part
left out, against a bare search of an empty index (`cached_more_us`). Recall is that of the ten
best, of ours and of FAISS's own, against exact search. The vectors are real ones, each five times
with a little noise, where IALSTORE_DATA has them, else clusters. The goals are a ratio of at most
1.05 for `flat` and 50 us more than FAISS for the others.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from _report import Bars, Report, arguments
from numpy.typing import NDArray

from ialstore import IndexSpec, VectorRecord, message_id
from ialstore_backends.faiss import FaissOptions, FaissVectorIndex
from ialstore_backends.faiss.matrix import FaissMatrix
from ialstore_backends.faiss.parts import Built
from ialstore_backends.faiss.recipes import Recipe

USER = "user"
START = datetime(2024, 1, 1, tzinfo=UTC)
DATA = "dialog20k_minilm.npz"
DIMENSION = 384
BLOCK = 25
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Times:
    """Medians of searches of one kind and storage, in microseconds."""

    kind: str
    storage: str
    vectors: int
    faiss_us: float
    index_us: float | None
    ours_us: float
    ratio: float
    more_us: float
    cached_more_us: float | None


@dataclass(frozen=True, slots=True)
class Beside:
    """What else there is to say of one kind and storage."""

    kind: str
    storage: str
    faiss_recall: float
    recall: float
    load_seconds: float
    optimize_seconds: float
    reopen_seconds: float
    held_mb: float


def real() -> Path | None:
    """Return the file of real vectors, if there is one."""
    path = Path(os.environ.get("IALSTORE_DATA", "/nonexistent")) / DATA
    return path if path.exists() else None


def described() -> str:
    """Return what the vectors are, for the environment of a report."""
    return "clusters" if real() is None else "of real dialogue turns"


def vectors(count: int, rng: np.random.Generator) -> Matrix:
    """Return vectors of length 1, real ones where there are some."""
    path = real()
    if path is not None:
        base = np.load(path)["base"].astype(np.float32)
        made = base[np.arange(count) % len(base)]
        noise = 0.3 / np.sqrt(made.shape[1])
    else:
        centres = rng.standard_normal((max(1, count // 50), DIMENSION), np.float32)
        made = centres[rng.integers(len(centres), size=count)]
        noise = 0.5
    made = made + np.float32(noise) * rng.standard_normal(made.shape, np.float32)
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    return np.asarray(made / lengths, np.float32)


def record(number: int, vector: Matrix) -> VectorRecord:
    """Return a record with a text, as an agent's message has one."""
    session = f"session {number // 100}"
    made = message_id(USER, session, START + timedelta(seconds=number), "user", "")
    return VectorRecord(made, vector, session, "user", f"What was said at {number}. " * 10)


def seconds(call: Callable[[], object]) -> float:
    """Return what a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def built_of(index: FaissVectorIndex) -> Built | None:
    """Return FAISS's index that a search of ours asks, if there is one."""
    held = index._held.find(USER).held  # noqa: SLF001 - to ask what it asks
    matrix = None if held is None else held.matrix
    return matrix.built if isinstance(matrix, FaissMatrix) else None


def plain_index(kind: str, base: Matrix) -> Any:
    """Return FAISS's own index of floats, with the settings that ours has."""
    if kind == "flat":
        index = faiss.IndexFlatIP(base.shape[1])
    else:
        index = Recipe(kind, "float32", "cosine").make(base.shape[1], base)
    index.add(base)
    return index


def bare_search(recipe: Recipe, index: Any, k: int) -> Callable[[Matrix], Any]:
    """Return a search of FAISS alone, as broad as ours."""
    if recipe.kind == "flat":
        return lambda query: index.search(query[None], k)[1][0]
    wanted = recipe.wanted(k, None, index.d)
    parameters = recipe.parameters(index, wanted, None, 1.0, None)
    return lambda query: index.search(query[None], k, params=parameters)[1][0]


def cached_more_us(index: FaissVectorIndex, query: Matrix, k: int) -> float | None:
    """Return what a search takes more than a bare one, none of both with an index to look into.

    All they need is in the caches then. None for `flat`, which asks no index.
    """
    held = index._held.find(USER).held  # noqa: SLF001 - to leave out what FAISS does
    matrix = None if held is None else held.matrix
    if not isinstance(matrix, FaissMatrix) or matrix._usual is None:  # noqa: SLF001 - as above
        return None
    index.search(USER, query, k)
    asking = matrix._usual[1][0]  # noqa: SLF001 - as above
    asking._search = partial(_nothing)  # noqa: SLF001 - what was found last is found again
    empty = faiss.IndexFlatIP(len(query))
    ours = [seconds(lambda: index.search(USER, query, k)) for _ in range(1000)]
    bare = [seconds(lambda: empty.search(query[None], k)) for _ in range(1000)]
    return 1e6 * (statistics.median(ours) - statistics.median(bare))


def _nothing(_: object) -> None:
    pass


def measure(
    options: FaissOptions, base: Matrix, asked: Matrix, k: int, folder: Path
) -> tuple[Times, Beside]:
    """Fill an index, let it be made, and measure."""
    spec = IndexSpec(base.shape[1], "cosine", "benchmark")
    recipe = options.recipe(spec.metric)
    path = folder / f"{recipe.kind}-{recipe.storage}"
    records = [record(number, row) for number, row in enumerate(base)]
    place = {one.id: number for number, one in enumerate(records)}
    truth = [set(np.argpartition(-(base @ query), k)[:k].tolist()) for query in asked]
    with FaissVectorIndex(path, spec, options=options, timeout_seconds=600) as index:
        load = seconds(lambda: index.bulk_load((USER, one) for one in records))
        optimize = seconds(lambda: index.optimize(USER))
    plain = bare_search(recipe, plain_index(options.kind, base), k)
    plain_times: list[float] = []
    index_times: list[float] = []
    times: list[float] = []
    found: list[float] = []
    plain_found: list[float] = []
    with FaissVectorIndex(path, spec, options=options, timeout_seconds=600) as index:
        index.count(USER)
        reopen = seconds(lambda: index.search(USER, asked[0], k))
        built = built_of(index)
        very = None if built is None else bare_search(recipe, built.index, k)
        third = len(asked) // 3
        for start in range(0, len(asked), BLOCK):
            # What one walked through shall not lie in the caches for the next.
            turns = range(start, min(start + BLOCK, len(asked)))
            first, second, last = (
                [(number + third * turn) % len(asked) for number in turns] for turn in range(3)
            )
            for number in first:
                began = time.perf_counter()
                labels = plain(asked[number])
                plain_times.append(time.perf_counter() - began)
                plain_found.append(len(truth[number] & set(labels.tolist())) / k)
            if very is not None:
                index_times += [seconds(partial(very, asked[number])) for number in second]
            for number in last:
                began = time.perf_counter()
                result = index.search(USER, asked[number], k)
                times.append(time.perf_counter() - began)
                found.append(len(truth[number] & {place[hit.id] for hit in result}) / k)
        held = index.held_bytes / 1e6
        cached = cached_more_us(index, asked[0], k)
    ours_us, plain_us = 1e6 * statistics.median(times), 1e6 * statistics.median(plain_times)
    times_of = Times(
        options.kind,
        recipe.storage,
        len(base),
        plain_us,
        1e6 * statistics.median(index_times) if index_times else None,
        ours_us,
        ours_us / plain_us,
        ours_us - plain_us,
        cached,
    )
    recalls = statistics.fmean(plain_found), statistics.fmean(found)
    return times_of, Beside(options.kind, recipe.storage, *recalls, load, optimize, reopen, held)


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where to put the files for the time")
    parser.add_argument("kinds", nargs="*", default=["flat", "hnsw", "ivf"], metavar="KIND,STORAGE")
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    base = vectors(given.count, rng)
    near = base[rng.choice(len(base), given.rounds)]
    asked = np.asarray(near + 0.03 * rng.standard_normal(near.shape, np.float32), np.float32)
    report = Report("faiss_overhead", __doc__, ["faiss-cpu", "numpy"])
    report.environment["vectors"] = described()
    names = [one.name for one in fields(Times)]
    table = report.table("searches", f"Medians, {given.k} hits", *names)
    others = report.table("indexes", "Recall, seconds, memory", *(o.name for o in fields(Beside)))
    report.pictures.append(Bars("searches", ["kind", "storage"], ["faiss_us", "ours_us"]))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for one in given.kinds:
            kind, _, storage = one.partition(",")
            options = FaissOptions(kind, storage or None)
            searched, beside = measure(options, base, asked, given.k, Path(folder))
            table.add(*astuple(searched))
            others.add(*astuple(beside))
            report.keep(given)
    report.finish(given)


if __name__ == "__main__":
    main()
