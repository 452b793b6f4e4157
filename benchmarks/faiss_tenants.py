"""Many users: one FAISS index for all with a selector for each user, or an index for each user?

All vectors go into one bare index of each kind, which is searched for the nearest of one user, with
a selector of that user's vectors made beforehand; and into `faiss:`, where each user has rows and,
if there are many, an index alone. Medians, and recall of the ten best against exact search. The
vectors are those of `faiss_overhead.py`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _report import Report, arguments
from faiss_overhead import described, record, vectors
from numpy.typing import NDArray

from ialstore import IndexSpec
from ialstore_backends.faiss import FaissVectorIndex
from ialstore_backends.faiss.recipes import faiss as driver

K = 10
Matrix = NDArray[np.float32]


def shared(factory: str, base: Matrix, users: int) -> Callable[[int, Matrix], Any]:
    """Return a search of one bare index for the vectors of one user."""
    faiss = driver()
    index = faiss.index_factory(base.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(base)
    index.add(base)
    selectors: list[Any] = []
    for user in range(users):
        mask = np.arange(len(base)) % users == user
        selectors.append(faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little")))

    def search(user: int, query: Matrix) -> Any:
        selector = selectors[user]
        if factory.startswith("HNSW"):
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=192)
        elif factory.startswith("IVF"):
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=64)
        else:
            parameters = faiss.SearchParameters(sel=selector)
        return index.search(query[None], K, params=parameters)[1][0]

    return search


def measure(
    search: Callable[[int, Matrix], Any], base: Matrix, users: int, rounds: int
) -> tuple[float, float]:
    """Return the median in microseconds, and the recall."""
    rng = np.random.default_rng(2)
    times: list[float] = []
    found: list[float] = []
    for number in range(rounds):
        user = number % users
        own = np.arange(user, len(base), users)
        near = base[rng.choice(own)] + 0.03 * rng.standard_normal(base.shape[1], np.float32)
        query = np.asarray(near, np.float32)
        true = own[np.argpartition(-(base[own] @ query), K)[:K]]
        began = time.perf_counter()
        labels = search(user, query)
        times.append(time.perf_counter() - began)
        found.append(len({*true.tolist()} & {int(one) for one in labels}) / K)
    return 1e6 * statistics.median(times), statistics.fmean(found)


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--each", type=int, default=1000, help="vectors of a user (1000)")
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    base = vectors(given.users * given.each, np.random.default_rng(1))
    report = Report("faiss_tenants", __doc__, ["faiss-cpu", "numpy"])
    report.environment["vectors"] = described()
    title = f"Searches of {given.users} users with {given.each:,} vectors each"
    table = report.table("searches", title, "index", "of", "us", f"recall@{K}")
    for factory in ("Flat", "HNSW32", "IVF512,Flat"):
        search = shared(factory, base, given.users)
        found = measure(search, base, given.users, given.rounds)
        table.add(factory, "all, with a selector", *found)
    with tempfile.TemporaryDirectory() as folder:
        spec = IndexSpec(base.shape[1], "cosine", "benchmark")
        with FaissVectorIndex(Path(folder) / "faiss", spec) as index:
            records = [record(number, row) for number, row in enumerate(base)]
            place = {one.id: number for number, one in enumerate(records)}
            index.bulk_load((str(number % given.users), one) for number, one in enumerate(records))

            def own(user: int, query: Matrix) -> Iterator[int]:
                return (place[hit.id] for hit in index.search(str(user), query, K))

            for user in range(given.users):
                index.search(str(user), base[0], K)
            table.add("faiss:", "each user", *measure(own, base, given.users, given.rounds))
    report.finish(given)


if __name__ == "__main__":
    main()
